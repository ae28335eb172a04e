"""What loss does to metrics, over many runs: loss_metrics.py in virtual time, with a seed for each run.

    python -m benchmarks.loss_metrics_simulated [--loss 0 1 5 30 60] [--runs 100] [--seconds 60] [--json]

The real registry, the real cores of sender and receiver and the real reader, joined by the link's own rules: loss, 5 %
duplicates, 10 % reordered by 20 ms. Twenty counters, a gauge and a histogram; a snapshot a second; then the link heals,
and after the ten seconds in which every series is repeated the totals are compared with the truth.
StatsD is modelled as one datagram per increment, through the same rules and seed, added up as a server does.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from random import Random

from atmost import Metrics, MetricsReader
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.lab.faults import FaultRules, LinkFaults
from atmost.lab.world import EPOCH_US, Agenda, Path, VirtualSender, wall_us
from benchmarks.common import arguments, show

COUNTERS = 20
TURN = 0.01
"""Virtual time of a step (s)."""
HEALED = 13.0
"""Time after the faults (s): ten seconds until every series is repeated, plus the grace."""


class Ours(VirtualSender):
    """Registry, sender, link, receiver and reader; `Metrics` takes it as its sender."""

    def __init__(self, agenda: Agenda[float], faults: LinkFaults, seed: int) -> None:
        self.path = Path(agenda, FaultRules(faults, Random(seed)), self._arrive)
        super().__init__(agenda, self.path.send, identity=lambda: seed + 1, max_datagram=1432)
        self._receiver = ReceiverCore(ReceiverOptions(future_bound=0.5, clock_guard=0.5), EPOCH_US - 2_000_000)
        self.metrics = Metrics(self)  # type: ignore[arg-type]
        self.metrics._rhythm.stop()  # noqa: SLF001  the time is ours
        self.reader = MetricsReader(now=0.0)
        self._now = agenda

    def flush(self) -> None:
        """Does nothing, because every step flushes."""

    def snapshot(self) -> None:
        """Takes a snapshot as `Metrics` does once per interval."""
        self.metrics._registry.snapshot(self._now.now, self.metrics._send_part)  # noqa: SLF001
        self.hand_over()

    def step(self) -> None:
        """Handles beacons and deadlines."""
        self.handle_deadline()
        for event in self._receiver.handle_deadline(self._now.now):
            self.reader.feed(event, self._now.now)

    def _arrive(self, data: bytes) -> None:
        now = self._now.now
        for event in self._receiver.receive(data, now, wall_us(now)):
            self.reader.feed(event, now)


def run(loss: float, seconds: float, seed: int) -> dict[str, float]:
    """Simulates one sender's life at one loss rate."""
    faults = LinkFaults(loss=loss, duplicate=0.05, reorder=0.1, reorder_delay=0.02)
    agenda: Agenda[float] = Agenda(0.0)
    ours, chance = Ours(agenda, faults, seed), Random(seed)
    added: Counter[str] = Counter()
    statsd = Path(agenda, FaultRules(faults, Random(seed)), lambda data: added.update([data.decode()]))
    metrics = ours.metrics
    counters = [metrics.counter(f"c{number}_total") for number in range(COUNTERS)]
    gauge, latency = metrics.gauge("depth"), metrics.histogram("latency_seconds", unit="seconds")
    truth: Counter[str] = Counter()
    depths: list[float] = []
    healed = False
    turns, next_snapshot = int((seconds + HEALED) / TURN), 1.0
    for turn in range(turns):
        now = turn * TURN
        agenda.run_until(now)
        if now < seconds:
            name = int(COUNTERS * chance.random() ** 3)  # some move all the time, others hardly ever
            counters[name].inc()
            truth[f"c{name}"] += 1
            statsd.send(f"c{name}".encode())
            latency.observe(chance.randrange(1, 400) / 1000)
        elif not healed:
            healed = True
            ours.path.heal()
            statsd.heal()
        if now >= next_snapshot:
            next_snapshot += 1.0
            depths.append(10 + 5 * math.sin(len(depths) / 7))
            gauge.set(depths[-1])
            ours.snapshot()
        ours.step()
    [source] = ours.reader.sources(now)
    gone = {each.snapshot for each in source.missing}
    came = [value for number, value in enumerate(depths) if number not in gone]
    seen = ours.reader.window("depth", seconds + HEALED, now)
    assert seen.mean is not None
    return {
        "wrong_totals": sum(ours.reader.total(f"{name}_total") != count for name, count in truth.items()),
        "observations_missing": truth.total() - (ours.reader.total("latency_seconds") or 0),
        "statsd_error": abs(added.total() - truth.total()) / truth.total(),
        "statsd_worst": max(abs(added[name] - count) / count for name, count in truth.items()),
        "gauge_skew": abs(seen.mean - sum(came) / len(came)) / seen.mean,
        "lost": source.lost + source.parts_lost,
        "snapshots": len(depths),
        "completeness_error": abs(seen.received - len(came)),
    }


def main() -> None:
    """Runs every loss rate with every seed, and prints a table or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--loss", type=float, nargs="+", default=[0, 1, 5, 30, 60], help="percent (%(default)s)")
    parser.add_argument(
        "--runs", type=int, default=100, help="runs at each loss rate, each with its own seed (%(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="virtual seconds with faults (%(default)s)")
    options = parser.parse_args()
    rows = []
    for loss in options.loss:
        results = []
        for seed in range(options.runs):
            results.append(run(loss / 100, options.seconds, seed))
            if sys.stderr.isatty():
                print(f"\r{loss:g} %: {seed + 1}/{options.runs} ", end="", file=sys.stderr, flush=True)
        total = {name: sum(one[name] for one in results) for name in results[0]}
        rows.append(
            {
                "loss_%": loss,
                "runs": options.runs,
                "counters": options.runs * COUNTERS,
                "wrong_totals": total["wrong_totals"],
                "observations_missing": total["observations_missing"],
                "snapshots": total["snapshots"],
                "lost": total["lost"],
                "miscounted": total["completeness_error"],
                "gauge_skew_%": 100 * max(one["gauge_skew"] for one in results),
                "statsd_error_%": 100 * total["statsd_error"] / options.runs,
                "statsd_worst_%": 100 * max(one["statsd_worst"] for one in results),
            }
        )
    show(rows, as_json=options.json)


if __name__ == "__main__":
    main()
