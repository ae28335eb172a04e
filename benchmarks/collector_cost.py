"""What a line costs the collector, beside npm's statsd 0.9 under the same traffic: CPU time of the process for each line, and the ratio.

    python -m benchmarks.collector_cost [--rounds 5] [--seconds 3] [--rate 20000] [--npm DIR] [--source DIR] [--json]

Both run at the same time, and get the same prepared datagrams in turn, paced, from one process. Counted is the CPU time of all
threads of each process by `/proc` (in the kernel too), less what it spends without traffic; the figures are medians of the rounds.
A round in which a socket dropped something says so. statsd has a backend that does nothing, and its default interval.
`alone` is one line in a datagram, `packed` as many as fit 1432 bytes.
Readings, records and syslog lines of the collector are measured in the same way, without a peer.
`--source DIR` also measures a collector of another checkout's `src`: the commit before, in `git worktree add DIR COMMIT`.

`--npm DIR` is a folder with `node_modules/statsd`; without it `npm install statsd@0.9` is run in a temporary one, and where there is
no npm, statsd's columns stay empty.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from atmost.bench.collecting import (
    Measured,
    alone,
    dogstatsd_lines,
    packed,
    reading,
    send_ours,
    send_paced,
    send_records,
    start_collector,
    start_statsd,
    statsd_lines,
    syslog_lines,
)
from benchmarks.common import arguments, show


def statsd_folder(given: Path | None, scratch: Path) -> Path | None:
    """Where `node_modules/statsd` is; installs it where npm is there."""
    if given is not None:
        return given
    if shutil.which("npm") is None or shutil.which("node") is None:
        return None
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(scratch), "statsd@0.9"],
        env=os.environ.copy(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return scratch


class Subject:
    """A process that is measured, and what was found."""

    def __init__(self, name: str, measured: Measured) -> None:
        self.name, self.measured, self.ports = name, measured, measured.ports
        self.url = f"udp://127.0.0.1:{self.ports['atmost']}" if "atmost" in self.ports else ""
        self.costs: dict[str, list[float]] = {}

    def measure(self, name: str, send: Callable[[], int], port: int | None = None, lines_each: float = 1.0) -> None:
        """Adds the CPU time for each line that reached it (µs); arguments as `Measured.cost` has them."""
        self.costs.setdefault(name, []).append(self.measured.cost(send, port, lines_each))


def compare(options: Any) -> list[dict[str, Any]]:
    """All measurements, in turn."""
    plain, tagged = statsd_lines(), dogstatsd_lines()
    traffic = {
        "StatsD lines, packed": packed(plain),
        "StatsD lines, alone": alone(plain),
        "DogStatsD lines, packed": packed(tagged),
        "DogStatsD lines, alone": alone(tagged),
    }
    seconds, rate = options.seconds, options.rate
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = statsd_folder(options.npm, scratch)
        subjects = [Subject("collector", start_collector(scratch))]
        stack.callback(subjects[0].measured.close)
        if options.source is not None:
            subjects.append(Subject("before", start_collector(scratch, options.source)))
            stack.callback(subjects[-1].measured.close)
        if folder is not None:
            subjects.append(Subject("statsd", start_statsd(folder / "node_modules" / "statsd", scratch)))
            stack.callback(subjects[-1].measured.close)
        time.sleep(2.0)
        for each in subjects:
            each.measured.rest(2.0)
        for _ in range(options.rounds):
            for name, datagrams in traffic.items():
                if not options.only or any(part in name for part in options.only):
                    lines_each = sum(lines for _, lines in datagrams) / len(datagrams)
                    for each in subjects:
                        port = each.ports["statsd"]
                        each.measure(name, partial(send_paced, datagrams, port, rate, seconds), port, lines_each)
            for each in subjects:
                if each.url:
                    for name, send in others(each, rate, seconds).items():
                        if not options.only or any(part in name for part in options.only):
                            each.measure(name, send)
        return [row(name, subjects) for name in subjects[0].costs]


def others(to: Subject, rate: float, seconds: float) -> dict[str, Callable[[], int]]:
    """Traffic that npm's statsd does not know."""
    return {
        "syslog lines": partial(send_paced, alone(syslog_lines()), to.ports["syslog"], rate / 4, seconds),
        "readings of ours": partial(send_ours, reading, to.url, rate, seconds),
        "records of ours": partial(send_records, to.url, rate / 4, seconds),
        "other messages of ours": partial(send_ours, lambda n: ("orders.viewed", n), to.url, rate, seconds),
    }


def row(name: str, subjects: list[Subject]) -> dict[str, Any]:
    """Medians, and the medians of the ratios within the rounds."""
    found: dict[str, Any] = {"traffic": name}
    mine = subjects[0].costs[name]
    for each in subjects:
        costs = each.costs.get(name)
        found[f"{each.name}_us"] = None if costs is None else statistics.median(costs)
    for each in subjects[1:]:
        costs = each.costs.get(name)
        ratio = None if costs is None else statistics.median(a / b for a, b in zip(mine, costs, strict=True))
        found[f"ratio_to_{each.name}"] = ratio
    return found | {"dropped": sum(each.measured.dropped for each in subjects)}


def main() -> None:
    """Measures, and prints a table or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of everything in turn (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of each traffic in a round (%(default)s)")
    parser.add_argument("--rate", type=float, default=20_000.0, help="lines a second (%(default)s)")
    parser.add_argument("--source", type=Path, help="the src folder of another checkout, measured as `before`")
    parser.add_argument("--npm", type=Path, help="a folder with node_modules/statsd")
    parser.add_argument("--only", nargs="+", default=[], help="run only traffic whose name contains one of these")
    options = parser.parse_args()
    show(compare(options), as_json=options.json)


if __name__ == "__main__":
    main()
