"""What is left of a failing list is as short as can be, and still fails."""

from hypothesis import given
from hypothesis import strategies as st

from atmost.lab.guarantee.running import shrink


@given(st.lists(st.integers(0, 30), min_size=1, unique=True), st.data())
def test_only_what_is_needed_is_left(items, data):
    """Of a list that fails for some of its members together, exactly these are left, in their order."""
    needed = set(data.draw(st.lists(st.sampled_from(items), min_size=1, unique=True)))
    left = shrink(items, lambda rest: needed <= set(rest))
    assert list(left) == [item for item in items if item in needed]


def test_the_tests_are_bounded():
    """A list that cannot be shortened in time is given back as far as it came."""
    asked = []

    def fails(rest):
        asked.append(rest)
        return len(rest) >= 90

    assert len(shrink(range(100), fails, max_tests=7)) >= 90
    assert len(asked) <= 7 + 100  # one round may be finished
    assert len(shrink(range(100), fails)) == 90
