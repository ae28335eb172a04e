"""The gaps of one session against an oracle that remembers every missing number by itself."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.core import gaps as module
from atmost.core.gaps import Gap, Gaps


def gap(first, last, start, end, noticed=0.0):
    """Datagrams `first`…`last` with messages `start`…`end - 1`."""
    return Gap(first, last, start, end, noticed, end - start)


def three():
    """Datagrams 2–4, 6 and 9–10, with 10, 1 and 5 messages."""
    made = Gaps()
    for each in (gap(9, 10, 50, 55, 2.0), gap(2, 4, 20, 30, 0.0), gap(6, 6, 40, 41, 1.0)):
        made.remember(each)
    return made


def test_gaps_are_kept_in_order():
    """However they are noticed, the oldest number comes first."""
    assert [each.first for each in three()._gaps] == [2, 6, 9]
    assert len(three()) == 3


@pytest.mark.parametrize(
    ("sequence", "first"), [(1, None), (2, 2), (4, 2), (5, None), (6, 6), (8, None), (10, 9), (11, None)]
)
def test_a_number_is_found_in_its_gap(sequence, first):
    """Inside a gap, at both of its ends, and beside it."""
    found = three().find(sequence)
    assert (found.first if found else None) == first


@pytest.mark.parametrize(
    ("prior", "count", "fits"),
    [(20, 10, True), (20, 0, True), (25, 5, True), (25, 6, False), (19, 1, False), (30, 1, False)],
)
def test_r11_a_late_datagram_must_fit_its_gap(prior, count, fits):
    """R11.7: its messages lie between those around the gap."""
    assert three().fits(3, prior, count) is fits


def test_r11_a_gap_never_takes_more_than_its_room():
    """R11.7: each late datagram takes its messages out of the gap; together they cannot claim more than was missing."""
    made = three()
    made.fill(2, 7)
    assert made.fits(3, 27, 3)
    assert not made.fits(3, 26, 4)


def test_r11_outside_every_gap_only_no_messages_fit():
    """R11.7: where nothing is missing a late datagram may be a beacon, and nothing else."""
    assert three().fits(5, 30, 0)
    assert not three().fits(5, 30, 1)
    assert not three().fill(5, 0)


def test_r19_a_gap_is_lost_after_its_grace_and_once():
    """R19: noticed a grace ago or longer, it is declared lost, one time."""
    made = three()
    assert made.pending()
    assert [each.first for each in made.settle(0.99, 1.0)] == []
    assert [each.first for each in made.settle(2.0, 1.0)] == [2, 6]
    assert [each.first for each in made.settle(2.0, 1.0)] == []
    assert made.pending()
    assert [each.first for each in made.settle(3.0, 1.0)] == [9]
    assert not made.pending()


def test_r19_filling_says_whether_it_had_been_lost():
    """R19: a late arrival of lost messages is booked as late, one of pending messages is not."""
    made = three()
    made.settle(0.0, 0.0)
    assert made.fill(3, 4)
    assert not made.fill(6, 1)
    assert [each.room for each in made._gaps] == [6, 0, 5]


def test_r19_what_leaves_the_window_is_forgotten_and_returned_once():
    """R19: a gap below the window is over; it is returned when it was still pending, for then it is lost now."""
    made = three()
    made.settle(0.0, 0.0)
    assert [each.first for each in made.forget_below(4)] == []
    assert len(made) == 3
    assert [each.first for each in made.forget_below(7)] == [6]
    assert len(made) == 1


def joined(*, older_lost, newer_lost):
    """The two gaps 2–4 and 6 in one, the given ones lost before; with the gap that became lost by it."""
    made = Gaps()
    for each, lost in ((gap(2, 4, 20, 30, 5.0), older_lost), (gap(6, 6, 40, 41, 1.0), newer_lost)):
        made.remember(replace(each, lost=lost))
    made.fill(3, 2)
    early = made.join_oldest()
    (only,) = made._gaps
    return only, early


def test_r19_joining_keeps_the_sum():
    """R19: beyond the cap the oldest two become one, which spans both and misses what both missed."""
    only, early = joined(older_lost=False, newer_lost=False)
    assert (only.first, only.last, only.start, only.end, only.room) == (2, 6, 20, 41, 9)
    assert not only.lost
    assert early is None
    assert only.noticed == 1.0, "due when the first of the two is"


def test_r19_joining_two_lost_ones_loses_nothing_again():
    """R19: both were booked already."""
    only, early = joined(older_lost=True, newer_lost=True)
    assert only.lost
    assert early is None


@pytest.mark.parametrize("older_lost", [True, False])
def test_r19_joining_a_lost_and_a_pending_one_loses_the_pending_one(older_lost):
    """R19: half a gap cannot be lost: the pending half is lost now, whichever it is, and neither is booked twice."""
    only, early = joined(older_lost=older_lost, newer_lost=not older_lost)
    assert only.lost
    assert early.room == (1 if older_lost else 8)
    assert not early.lost


@given(st.integers(1, 5), st.integers(2, 12))
def test_the_cap_is_where_it_is_said(cap, count):
    """One session keeps at most `MAX_GAPS`; the one above is what joins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_GAPS", cap)
        made = Gaps()
        for number in range(count):
            made.remember(gap(2 * number, 2 * number, number, number + 1))
            if made.over_limit():
                assert len(made) == cap + 1
                if len(made) > 1:
                    made.join_oldest()
        assert len(made) <= max(cap, 1)


class OneByOne:
    """Every missing datagram with its messages, when its gap was noticed, and whether it was booked as lost."""

    def __init__(self):
        self.missing = {}

    def add(self, numbers, noticed):
        for number, prior, count in numbers:
            self.missing[number] = [prior, count, noticed, False]

    def settle(self, now, grace):
        due = [m for m in self.missing.values() if not m[3] and m[2] + grace <= now]
        for each in due:
            each[3] = True
        return sum(each[1] for each in due)


@given(st.data())
def test_gaps_agree_with_an_oracle_that_knows_every_datagram(data):
    """True datagrams always fit, whatever is missing, and what is lost, late and forgotten is exact in messages."""
    made, oracle = Gaps(), OneByOne()
    number, prior, now = 0, 0, 0.0
    lost = late = lost_oracle = late_oracle = 0
    for _ in range(data.draw(st.integers(1, 30))):
        action = data.draw(st.sampled_from(["gap", "late", "time", "window"]))
        if action == "gap":
            counts = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
            numbers = [(number + i, prior + sum(counts[:i]), count) for i, count in enumerate(counts)]
            if sum(counts):
                made.remember(gap(number, number + len(counts) - 1, prior, prior + sum(counts), now))
                oracle.add(numbers, now)
            number, prior = number + len(counts) + 1, prior + sum(counts) + data.draw(st.integers(0, 2))
        elif action == "late" and oracle.missing:
            which = data.draw(st.sampled_from(sorted(oracle.missing)))
            start, count, _, was_lost = oracle.missing.pop(which)
            assert made.fits(which, start, count)
            if made.fill(which, count):
                late += count
            late_oracle += count if was_lost else 0
        elif action == "time":
            now += data.draw(st.sampled_from([0.0, 0.5, 1.0]))
            lost += sum(each.room for each in made.settle(now, 1.0))
            lost_oracle += oracle.settle(now, 1.0)
        elif action == "window":
            lowest = data.draw(st.integers(0, number))
            kept = {n for each in made._gaps if each.last >= lowest for n in range(each.first, each.last + 1)}
            lost += sum(each.room for each in made.forget_below(lowest))
            for gone in [n for n in oracle.missing if n not in kept]:
                lost_oracle += 0 if oracle.missing[gone][3] else oracle.missing[gone][1]
                del oracle.missing[gone]
        assert (lost, late) == (lost_oracle, late_oracle)
        assert sum(each.room for each in made._gaps) == sum(m[1] for m in oracle.missing.values())
        assert made.pending() == any(not each.lost for each in made._gaps)
