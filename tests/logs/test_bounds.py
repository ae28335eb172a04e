"""What a stranger's records may make a reader keep: each table has a bound, and what is beyond it is forgotten, oldest first."""

import gc
import tracemalloc

from atmost import LogReader
from atmost.logs.life import MAX_INTERVALS
from tests.logs.scene import START_US, message, session


def record(number, life=0, **more):
    """A record of a handler that began with the reader, with so many before it."""
    handler = START_US.to_bytes(8) + life.to_bytes(4)
    return {"handler": handler, "prior": {20: number} if number else {}, "time": 1.0, "level": "INFO", **more}


def grown(feed, *, first, then):
    """Bytes that a reader keeps more after `then` steps than after `first`."""
    tracemalloc.start()
    try:
        for number in range(first):
            feed(number)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for number in range(first, then):
            feed(number)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def test_late_records_that_split_a_gap_again_and_again():
    """Every other number of a huge gap comes late: each splits a run in two, and only so many runs are remembered."""
    reader, by = LogReader(grace=0.0, now=0.0), session("s")
    reader.feed(message(("logs.x", record(0)), by=by), 0.0)
    reader.feed(message(("logs.x", record(1_000_000)), by=by), 0.0)
    reader.tick(10.0)
    assert reader.stats().lost == 999_999

    def feed(number):
        reader.feed(message(("logs.x", record(2 + 2 * number)), by=by), 10.0)

    assert grown(feed, first=MAX_INTERVALS, then=8 * MAX_INTERVALS) < 100_000
    assert reader.stats().lost > 990_000


def test_what_was_reported_early_is_not_kept_behind_what_waits():
    """Beyond `max_held` a life reports all it holds, and then holds nothing of it any more."""
    reader, by = LogReader(grace=60.0, max_held=1 << 16, now=0.0), session("s")

    def feed(number):
        text = f"{number}" + "x" * 2000
        reader.feed(message(("logs.x", record(2 + 2 * number, life=number // 10, message=text)), by=by), 1.0)

    assert grown(feed, first=200, then=2000) < 2_000_000
    assert reader.stats().held_limit
