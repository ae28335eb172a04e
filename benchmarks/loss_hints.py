"""How stale a cache gets under loss, and what it costs: in virtual time with an oracle, and over the real lossy link.

    python -m benchmarks.loss_hints [--loss 0 1 5 30 60] [--seconds 600] [--real 8] [--seed 1] [--json]

Two worlds in virtual time, over the real cache and numbers. The rough one is there to break the bound: few keys, reads all the
time, writers and readers that restart, partitions up to 15 s, readers that stall up to 8 s, loads up to 3 s, delays up to the
grace, 5 % duplicates, losses in runs of two. The calm one is a service: 5,000 keys, 1,000 reads and one write a second; it
shows the cost of a lost hint, beside a cache of equal staleness that has only a time to live as short as the bound.
Over the real link (5 % duplicates, 10 % reordered), with marks and a grace of 0.1 s, a thread reads all the time while
another writes; the bound is 0.5 s.
"""

from __future__ import annotations

import threading
import time
from random import Random
from typing import Any

import atmost
from atmost.lab.faults import FaultRules, LinkFaults
from atmost.lab.link import Link
from benchmarks.common import arguments, show
from benchmarks.loss_hints_simulated import run
from benchmarks.loss_hints_world import World, flat

TITLES = {
    "world": "",
    "loss_%": "loss %",
    "reads": "reads",
    "violations": "beyond the bound",
    "worst": "stalest s",
    "bound": "bound s",
    "hit_%": "hits %",
    "ttl_hit_%": "TTL only %",
    "hints": "hints",
    "lost": "known lost",
    "gap_misses": "refetches by gaps",
    "other_misses": "by blindness, restarts",
}


def main() -> None:
    """Runs every loss rate in turn, and prints a table or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--loss", type=float, nargs="+", default=[0, 1, 5, 30, 60], help="percent (%(default)s)")
    parser.add_argument("--seconds", type=float, default=600.0, help="virtual seconds of each run (%(default)s)")
    parser.add_argument("--real", type=float, default=8.0, help="seconds over the real link, 0 for none (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    options = parser.parse_args()
    rows = []
    for loss in options.loss:
        rows.append(simulated("rough", World(loss=loss / 100, burst=2), options.seconds, options.seed))
        rows.append(simulated("calm", calm(loss / 100), options.seconds, options.seed))
        if options.real:
            rows.append(real(loss / 100, options.real, options.seed))
    rows.sort(key=lambda row: row["world"])
    show(rows, as_json=options.json, titles=TITLES)


def calm(loss: float) -> World:
    """A service whose only trouble is a bad network."""
    return World(
        loss=loss, writers=2, readers=2, keys=5000, writes=0.5, wide=0.0, reads=5, restart_writer=0.0, restart_reader=0.0,
        outage=0.0, stall=0.0, max_ttl=3600.0, slow_load=0.1,
    )  # fmt: skip


def simulated(name: str, world: World, seconds: float, seed: int) -> dict[str, Any]:
    """Does one run in virtual time."""
    report = run(world, seconds, seed)
    counts = report.counts
    return {
        "world": name,
        "loss_%": world.loss * 100,
        "reads": report.reads,
        "violations": report.violations,
        "worst": report.worst,
        "bound": report.bound,
        "hit_%": 100 * report.hits / report.reads,
        "ttl_hit_%": 100 * report.ttl_hits / report.reads,
        "hints": report.hints,
        "lost": counts["hints_lost"],
        "gap_misses": counts["misses_gap"],
        "other_misses": counts["misses_blind"] + counts["misses_ended"] + counts["misses_new_session"],
    }


def real(loss: float, seconds: float, seed: int) -> dict[str, Any]:
    """Does one run over sockets and threads; staleness is measured by the clock that both threads share."""
    faults = LinkFaults(loss=loss, duplicate=0.05, reorder=0.1, reorder_delay=0.02)
    chance, ended = Random(seed), threading.Event()
    keys = [f"key:{number}" for number in range(500)]
    truth: dict[str, list[float]] = {key: [] for key in keys}
    """When the hint about each version was sent."""
    with atmost.Receiver("udp://127.0.0.1:0") as receiver, Link(receiver.url, FaultRules(faults, Random(seed))) as link:
        forwarding = threading.Thread(target=link.run, args=(ended.is_set,))
        forwarding.start()
        cache = atmost.HintedCache(300, receiver=receiver, grace=0.1, jitter=0)
        with atmost.Sender(link.url, linger=0) as sender, atmost.Invalidator(sender, interval=0.1) as invalidator:
            while not cache.invalidators:
                time.sleep(0.01)
            writing = threading.Thread(target=_write, args=(invalidator, truth, Random(seed + 1), ended))
            writing.start()
            row = _read(cache, truth, chance, seconds)
            ended.set()
            writing.join()
            row["hints"] = invalidator.stats().keys
        counts = flat(cache.stats())
        cache.close()
        forwarding.join()
    return row | {
        "world": "real link",
        "loss_%": loss * 100,
        "lost": counts.get("hints_lost", 0),
        "gap_misses": counts.get("misses_gap", 0),
        "other_misses": counts.get("misses_blind", 0),
    }


def _write(
    invalidator: atmost.Invalidator, truth: dict[str, list[float]], chance: Random, ended: threading.Event
) -> None:
    keys = list(truth)
    while not ended.wait(0.02):
        key = chance.choice(keys)
        truth[key].append(time.monotonic())  # a commit
        invalidator.invalidate(key)


def _read(cache: atmost.HintedCache, truth: dict[str, list[float]], chance: Random, seconds: float) -> dict[str, Any]:
    keys, reads, worst, beyond, bound = list(truth), 0, 0.0, 0, cache.staleness_bound
    fresh_until = dict.fromkeys(keys, 0.0)
    ttl_hits = 0
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        key = chance.choice(keys)
        version = cache.get_or_load(key, lambda key=key: len(truth[key]))  # type: ignore[misc]
        reads += 1
        told = truth[key]
        if version < len(told):
            stale = now - told[version]
            worst, beyond = max(worst, stale), beyond + (stale > bound)
        if now < fresh_until[key]:
            ttl_hits += 1
        else:
            fresh_until[key] = now + bound
        if not reads % 50:
            time.sleep(0.001)
    hits = cache.stats().hits
    return {
        "reads": reads,
        "violations": beyond,
        "worst": worst,
        "bound": bound,
        "hit_%": 100 * hits / reads,
        "ttl_hit_%": 100 * ttl_hits / reads,
    }


if __name__ == "__main__":
    main()
