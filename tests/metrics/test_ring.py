"""Slots and pages: what is known when, in two resolutions, in memory that grows as time passes."""

import sys
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from atmost.metrics.history import PAGE, Ring

BOOKINGS = st.lists(
    st.tuples(st.sampled_from(["receive", "lose", "increase"]), st.integers(0, 900), st.integers(1, 5)), max_size=60
)


@given(BOOKINGS, st.sampled_from([2, 7, PAGE, PAGE + 1, 300]))
def test_a_ring_holds_what_a_dictionary_of_slots_would(bookings, size):
    """Whatever the order: what is not too old is booked in its slot, and a slot that came round again has forgotten."""
    ring, oracle, newest = Ring(1.0, size), defaultdict(lambda: [0, 0, 0.0]), -1
    for what, when, amount in bookings:
        if when > newest - size:
            newest = max(newest, when)
            received, lost, total = oracle[when]
            oracle[when] = [
                received + (what == "receive"),
                lost + (amount if what == "lose" else 0),
                total + (0 if what == "lose" else amount),
            ]
        if what == "lose":
            ring.lose(when + 0.5, amount)
        else:
            getattr(ring, what)(when + 0.5, float(amount))
    known = {start: tuple(row) for start, row in oracle.items() if start > newest - size and any(row)}
    assert {start: tuple(row) for start, *row, _ in ring.rows(0, 2000) if any(row)} == known


@given(st.lists(st.tuples(st.integers(0, 90), st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=5)), max_size=20))
def test_booking_together_is_booking_one_by_one(turns):
    """In both resolutions, to the last bit."""
    together, apart = Ring(1.0, 60, Ring(10.0, 5)), Ring(1.0, 60, Ring(10.0, 5))
    for when, amounts in turns:
        together.receive_all(when + 0.5, amounts)
        for amount in amounts:
            apart.receive(when + 0.5, amount)
    for width in (1.0, 10.0):
        known = [[row for row in ring.for_width(width).rows(0, 100) if row[1]] for ring in (together, apart)]
        assert known[0] == known[1]


def test_many_in_one_slot_are_counted_in_every_width():
    """More than 16 bits hold: a page becomes wider, booked together as well as one by one."""
    together, apart = Ring(1.0, 60, Ring(10.0, 5)), Ring(1.0, 60, Ring(10.0, 5))
    for second in range(3):
        together.receive_all(second + 0.5, [1.0] * 40_000)
        for _ in range(40_000):
            apart.receive(second + 0.5, 1.0)
    for width, counts in ((1.0, [40_000] * 3), (10.0, [120_000])):
        assert [row[1] for row in together.for_width(width).rows(0, 10)] == counts
        assert together.for_width(width).rows(0, 10) == apart.for_width(width).rows(0, 10)


def test_the_coarse_ring_books_the_same_and_reaches_further_back():
    """What the fine one has forgotten is there in longer slots, sums and counts alike."""
    ring = Ring(1.0, 60, Ring(10.0, 100))
    for second in range(600):
        ring.receive(float(second), 2.0)
    ring.lose(5.0, 3)
    assert ring.window(0, 600) == (60, 0, 120.0)
    coarse = ring.for_width(10.0)
    assert coarse.window(0, 600) == (600, 3, 1200.0)
    assert coarse.rows(0, 20) == [(0.0, 10, 3, 20.0, 0.0), (10.0, 10, 0, 20.0, 10.0)]


def test_a_width_that_no_ring_has_is_answered_by_the_finest():
    """There is always an answer."""
    ring = Ring(1.0, 60, Ring(10.0, 100))
    assert ring.for_width(1.0) is ring
    assert ring.for_width(3.0) is ring


def test_a_new_ring_has_nothing_to_clear():
    """The first booking takes a few steps, however many slots there are: collectors begin with thousands of series at once."""
    steps = 0

    def count(_frame, event, _argument):
        nonlocal steps
        steps += event == "line"
        return count

    ring, before = Ring(1.0, 600, Ring(10.0, 2160)), sys.gettrace()
    sys.settrace(count)
    try:
        ring.receive(1_767_225_600.0, 1.0)
    finally:
        sys.settrace(before)
    assert 10 < steps < 100


def test_memory_is_taken_as_time_passes():
    """A series that was seen once has one page of each resolution."""
    ring = Ring(1.0, 600, Ring(10.0, 2160))
    ring.receive(1_767_225_600.0, 1.0)
    assert [sum(page is not None for page in each._pages) for each in (ring, ring.for_width(10.0))] == [1, 1]


def test_a_count_beyond_what_a_slot_holds_is_the_most_it_holds():
    """A forged gap of 2^62 is booked, and nothing raises."""
    ring = Ring(1.0, 60)
    ring.lose(1.0, 1 << 62)
    ring.lose(1.0, 1 << 62)
    assert ring.window(0, 10) == (0, 0xFFFF_FFFF, 0.0)
