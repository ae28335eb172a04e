"""Cost of a cached read: `HintedCache.get()` of a fresh entry beside cachetools and functools, interleaved in one run.

    python -m benchmarks.uses_hints [--repetitions 15] [--calls 100000] [--json]

Each figure is processor time per call (ns) without the loop around it: the median over the repetitions, and the minimum,
which is the cost without disturbance. The cache knows an invalidator, and is fed by its thread.
cachetools' caches are not thread-safe, so users hold a lock around them: both are shown.
"""

from __future__ import annotations

import functools
import itertools
import json
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import cachetools

import atmost
from benchmarks.common import arguments

KEYS = 1000
Calls = dict[str, Callable[[str], Any]]


def main() -> None:
    """Measures, and prints a table or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--repetitions", type=int, default=15, help="interleaved runs of every call (%(default)s)")
    parser.add_argument("--calls", type=int, default=100_000, help="calls in one repetition (%(default)s)")
    options = parser.parse_args()
    with (
        atmost.Receiver("memory://bench") as receiver,
        atmost.Sender("memory://bench", name="bench") as sender,
        atmost.Invalidator(sender) as invalidator,
    ):
        caches = [
            atmost.HintedCache(3600, receiver=receiver),
            atmost.HintedCache(3600, store=cachetools.LRUCache(KEYS)),
        ]
        medians, least = measure(_calls(caches), options.repetitions, options.calls)
        sending = _once(invalidator.invalidate, ["key:1"] * 20_000, 0.0)
        assert caches[0].stats().misses == KEYS
        caches[0].close()
    if options.json:
        print(json.dumps({"ns": medians, "ns_least": least, "ns_invalidate": sending}))
        return
    peer = medians["cachetools TTLCache get, with a lock"]
    print(f"{'call':44} {'ns':>7} {'least':>7} {'of TTLCache with a lock':>24}")
    for name, cost in medians.items():
        print(f"{name:44} {cost:7.0f} {least[name]:7.0f} {cost / peer:24.2f}")
    print(f"{'atmost invalidate()':44} {sending:7.0f}")


def measure(calls: Calls, repetitions: int, count: int) -> tuple[dict[str, float], dict[str, float]]:
    """Nanoseconds of each call: the median of interleaved repetitions, and the least."""
    keys = [f"key:{number % KEYS}" for number in range(count)]
    runs: dict[str, list[float]] = {name: [] for name in calls}
    empty = min(_bare(keys) for _ in range(5))
    for _ in range(repetitions):
        for name, call in calls.items():
            runs[name].append(_once(call, keys, empty))
    return {name: statistics.median(costs) for name, costs in runs.items()}, {n: min(c) for n, c in runs.items()}


def _calls(caches: list[atmost.HintedCache]) -> Calls:
    hinted, over_cachetools = caches
    ttl: cachetools.TTLCache[str, int] = cachetools.TTLCache(KEYS, 3600)
    lru: cachetools.LRUCache[str, int] = cachetools.LRUCache(KEYS)
    lock = threading.Lock()
    memo = functools.lru_cache(KEYS)(len)
    for number in range(KEYS):
        key = f"key:{number}"
        ttl[key] = lru[key] = number
        memo(key)
        for cache in caches:
            cache.get_or_load(key, functools.partial(int, number))

    def locked(key: str) -> int | None:
        with lock:
            return ttl.get(key)

    @atmost.hinted(hinted, key="{key}")
    def function(key: str) -> int:
        return len(key)

    return {
        "atmost HintedCache get": hinted.get,
        "atmost get_or_load": lambda key: hinted.get_or_load(key, int),
        "atmost get, over a cachetools LRUCache": over_cachetools.get,
        "atmost @hinted function": function,
        "cachetools TTLCache get, with a lock": locked,
        "cachetools TTLCache get": ttl.get,
        "cachetools LRUCache get": lru.get,
        "functools.lru_cache": memo,
    }


def _bare(keys: list[str]) -> float:
    began = time.thread_time_ns()
    for _ in keys:
        pass
    return (time.thread_time_ns() - began) / len(keys)


def _once(call: Callable[[str], Any], keys: list[str], empty: float) -> float:
    turns = itertools.chain(keys)
    began = time.thread_time_ns()
    for key in turns:
        call(key)
    return (time.thread_time_ns() - began) / len(keys) - empty


if __name__ == "__main__":
    main()
