"""`timer()` measures blocks, functions and coroutine functions, whatever they raise."""

import asyncio

import pytest

from atmost.metrics.instruments import Timer
from tests.metrics.scene import make


@pytest.fixture
def seen():
    """What was observed."""
    return []


@pytest.fixture
def timer(seen):
    """With a clock that ticks once a look."""
    ticks = iter(range(1000))
    return Timer(seen.append, lambda: float(next(ticks)))


def test_block(timer, seen):
    """Also when it raises, and nested."""
    with timer, timer:
        pass
    with pytest.raises(ValueError, match="x"), timer:
        raise ValueError("x")
    assert seen == [1.0, 3.0, 1.0]


def test_function(timer, seen):
    """Keeps its name, arguments and result; also when it raises."""

    @timer
    def add(left, right=1):
        """Adds."""
        return left + right

    assert (add(2, right=3), add.__name__, add.__doc__) == (5, "add", "Adds.")
    with pytest.raises(TypeError):
        add("x")
    assert seen == [1.0, 1.0]


def test_coroutine_function(timer, seen):
    """The time until it is done, not until it is made."""

    @timer
    async def work():
        timer._clock()
        await asyncio.sleep(0)
        return 7

    assert asyncio.run(work()) == 7
    assert seen == [2.0]


def test_callable_without_code(timer, seen):
    """As a builtin."""
    assert timer(len)("abc") == 3
    assert seen == [1.0]


def test_histogram_has_one():
    """In seconds."""
    histogram = make()[0].histogram("h_seconds", unit="seconds")
    with histogram.timer():
        pass
    assert 0 < histogram.sum < 10
