"""The numbers of one life against an oracle that keeps sets: whatever the order, none is forgotten and none counts twice."""

from hypothesis import given
from hypothesis import strategies as st

from atmost.hints.knowledge import MAX_GAPS, InvalidatorLife
from atmost.hints.wire import HintKind, HintMark

GRACE = 1.0


def life_at(number: int) -> InvalidatorLife:
    """A life whose only shard's keys have reached a number."""
    return InvalidatorLife(HintMark(bytes(8), "n", "h", 1.0, 0.0, False, [number], [0], 0, []), bytes(18), 0.0, 0.0)


def told(life: InvalidatorLife, number: int, now: float) -> bool:
    """A hint comes."""
    if number > life.numbers[0] + 1:
        life.reach(0, number - 1, now, GRACE, 1)
    return life.take_number(0, number)


steps = st.lists(st.tuples(st.sampled_from(["hint", "mark"]), st.integers(1, 40), st.floats(0, 0.4)), max_size=60)


@given(st.integers(0, 10), steps)
def test_every_number_is_taken_missing_or_given_up(first, some):
    """Each exactly once, and a hint is news only when it was missing or had not been reached."""
    life, now = life_at(first), 0.0
    highest, missing, taken = first, {}, set()
    for kind, number, passes in some:
        now += passes
        given_up = {n for gap in life.give_up(now) for n in range(gap.first, gap.last + 1)}
        assert given_up == {n for n, due in missing.items() if due <= now}
        missing = {n: due for n, due in missing.items() if due > now}
        due = min(now + GRACE, 3.0 + GRACE)  # the only mark is of time 0
        if kind == "mark":
            life.reach(0, number, now, GRACE, 1)
            missing |= dict.fromkeys(range(highest + 1, number + 1), due)
        else:
            missing |= dict.fromkeys(range(highest + 1, number), due)
            news = number > highest or number in missing
            assert told(life, number, now) is news
            assert number not in taken or not news
            missing.pop(number, None)
            taken.add(number)
        highest = max(highest, number)
        assert life.numbers[0] == highest
        assert {n for gap in life.gaps for n in range(gap.first, gap.last + 1)} == set(missing)


def test_a_jump_of_any_size_is_one_gap():
    """Memory does not follow a number from the network."""
    life = life_at(0)
    life.reach(0, 1 << 61, 0.0, GRACE, 1)
    assert len(life.gaps) == 1


def test_gaps_are_bounded():
    """Beyond the bound the next is given up at once."""
    life = life_at(0)
    for number in range(MAX_GAPS + 5):
        told(life, 2 * number + 2, 0.0)
    assert sum(gap.due <= 0.0 for gap in life.gaps) == 5
    assert len(life.give_up(0.0)) == 5


def test_sequences_are_apart():
    """Keys, tags and prefixes have numbers of their own."""
    life = life_at(0)
    assert [life.sequence(kind, 0) for kind in (HintKind.KEY, HintKind.TAG, HintKind.PREFIX)] == [0, 1, 2]
    assert life.sequence(HintKind.KEY, 1) is life.sequence(HintKind.TAG, 1) is None
