"""The replay window against a set that remembers every number."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.core.window import ReplayWindow, Verdict

widths = st.integers(1, 64)


class SetOfNumbers:
    """The window as the rule says it: every number ever accepted, and the highest."""

    def __init__(self, first, width):
        self.width = width
        self.highest = first
        self.seen = {first}

    def judge(self, number):
        if number <= self.highest - self.width:
            return Verdict.STALE
        return Verdict.DUPLICATE if number in self.seen else Verdict.NEW

    def mark(self, number):
        self.seen.add(number)
        self.highest = max(self.highest, number)


def steps(width):
    """Distances from the highest number: late, next, over a gap, and around the edge of the window."""
    edges = st.sampled_from([-width - 1, -width, -width + 1, width - 1, width, width + 1, 10 * width])
    return st.one_of(st.just(1), st.integers(-2 * width, 2 * width), edges)


@given(st.data(), widths, st.integers(0, 200))
def test_r11_the_window_agrees_with_a_set(data, width, first):
    """R11.4: whatever the order, each number is new exactly once, a duplicate afterwards, and stale below the window."""
    window, oracle = ReplayWindow(first, width), SetOfNumbers(first, width)
    for step in data.draw(st.lists(steps(width), max_size=60)):
        number = oracle.highest + step
        if number < 0:
            continue
        verdict = window.judge(number)
        assert verdict is oracle.judge(number)
        if verdict is Verdict.NEW:
            window.mark(number)
            oracle.mark(number)
        assert window.highest == oracle.highest
        assert window.unseen >> width == 0, "R13: never wider than its width"


@given(widths, st.integers(0, 200))
def test_r11_judging_changes_nothing(width, first):
    """R11: before the tag is checked the window is only asked, and answers the same again."""
    window = ReplayWindow(first, width)
    for number in range(first + 2 * width):
        before = (window.highest, window.unseen)
        assert window.judge(number) is window.judge(number)
        assert (window.highest, window.unseen) == before


@pytest.mark.parametrize("width", [1, 2, 3, 64, 4096])
def test_r11_the_edge_of_the_window(width):
    """R11.4: `highest - W` is too old, the number after it is still judged by its bit."""
    window = ReplayWindow(0, width)
    window.mark(10_000)
    assert window.judge(10_000 - width) is Verdict.STALE
    inside = 10_000 - width + 1
    assert window.judge(inside) is (Verdict.DUPLICATE if width == 1 else Verdict.NEW)


def test_r12a_numbers_below_the_width_are_not_stale():
    """R12a: `highest - W` is a signed comparison: early in a session nothing is below the window."""
    window = ReplayWindow(3, 64)
    assert [window.judge(number) for number in range(4)] == [Verdict.NEW] * 3 + [Verdict.DUPLICATE]


@pytest.mark.parametrize("number", [2**40, 2**63, 2**64 - 1])
def test_r13_a_jump_costs_no_memory(number):
    """R13: a distance from the wire is never shifted by: the window stays at its width, and so does the work."""
    window = ReplayWindow(0, 64)
    tracemalloc.start()
    try:
        assert window.judge(number) is Verdict.NEW
        window.mark(number)
        assert window.judge(0) is Verdict.STALE
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000
    assert window.judge(number) is Verdict.DUPLICATE
    assert window.judge(number - 63) is Verdict.NEW


def test_the_usual_state_is_zero():
    """Without loss the window is the integer 0, however far it goes."""
    window = ReplayWindow(0, 4096)
    for number in range(1, 10_000):
        window.mark(number)
    assert window.unseen == 0
