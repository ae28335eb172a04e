"""The one clock that goes on the wire."""

import time

from atmost.transport.base import MEMORY, NETWORK, SAME_HOST, wall_clock


def test_the_wall_clock_reads_microseconds_since_1970() -> None:
    """A whole number between two readings of the system's clock."""
    before = time.time_ns() // 1000
    reading = wall_clock()
    assert isinstance(reading, int)
    assert before <= reading <= time.time_ns() // 1000


def test_the_bounds_on_clocks_are_those_of_the_specification() -> None:
    """Smaller ones would repeat messages; larger ones make every start longer (GUARANTEE §5)."""
    assert (SAME_HOST.future_bound, SAME_HOST.clock_guard) == (0.010, 0.500)
    assert (NETWORK.future_bound, NETWORK.clock_guard) == (0.500, 0.500)
    assert (MEMORY.future_bound, MEMORY.clock_guard) == (0, 0)
