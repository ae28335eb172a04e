"""The one clock that goes on the wire."""

import time

from atmost.transport.base import wall_clock


def test_the_wall_clock_reads_microseconds_since_1970() -> None:
    """A whole number between two readings of the system's clock."""
    before = time.time_ns() // 1000
    reading = wall_clock()
    assert isinstance(reading, int)
    assert before <= reading <= time.time_ns() // 1000
