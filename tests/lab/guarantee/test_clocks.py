"""Wall clocks drift and step; the time they are read by does neither."""

from atmost.lab.guarantee.parameters import EPOCH_US, WallClock


def test_a_true_clock_shows_the_time():
    """Virtual time, counted from the epoch of the simulation."""
    assert WallClock().read(0) == EPOCH_US
    assert WallClock().read(1_500_000) == EPOCH_US + 1_500_000


def test_offset_and_drift():
    """A clock a second ahead that gains a tenth of a second in each."""
    clock = WallClock(1_000_000, 100_000)
    assert clock.read(10_000_000) == EPOCH_US + 12_000_000


def test_steps():
    """Forward, back, and to a given reading; from there it goes on as before."""
    clock = WallClock()
    clock.step(5)
    clock.step(-7)
    assert clock.read(100) == EPOCH_US + 98
    clock.set(42, 1000)
    assert clock.read(1000) == 42
    assert clock.read(1010) == 52
