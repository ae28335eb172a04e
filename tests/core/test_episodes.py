"""R23: one report when trouble begins, then one every ten seconds with its count."""

from contextlib import suppress
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from atmost.core import episodes
from atmost.core.episodes import Episodes
from atmost.core.limits import EPISODE
from atmost.lab.guarantee.signals import Interruption, Signal


def test_r23_the_first_is_reported_and_the_rest_counted():
    """R23: at once, then silence for ten seconds, then what happened meanwhile."""
    made = Episodes()
    assert made.note("a", 0.0) == 1
    assert [made.note("a", 1.0 * n) for n in range(1, 5)] == [0] * 4
    assert list(made.due(EPISODE - 0.001)) == []
    assert list(made.due(EPISODE)) == [("a", 4)]
    assert list(made.due(2 * EPISODE)) == []


def test_r23_counts_may_come_in_lots():
    """R23: an occurrence may stand for many."""
    made = Episodes()
    assert made.note("a", 0.0, 7) == 7
    assert made.note("a", 0.0, 5) == 0
    assert list(made.due(EPISODE)) == [("a", 5)]


def test_r23_after_a_silence_without_trouble_the_next_is_news():
    """R23: the episode is forgotten, and so is its memory."""
    made = Episodes()
    made.note("a", 0.0)
    assert made.next_deadline() == EPISODE
    assert list(made.due(EPISODE)) == []
    assert made.next_deadline() is None
    assert made.note("a", EPISODE) == 1


def test_r23_kinds_are_apart():
    """R23: each has its own silence."""
    made = Episodes()
    assert made.note("a", 0.0) == 1
    assert made.note("b", 5.0) == 1
    made.note("a", 6.0)
    made.note("b", 6.0)
    assert list(made.due(EPISODE)) == [("a", 1)]
    assert made.next_deadline() == 5.0 + EPISODE
    assert list(made.due(5.0 + EPISODE)) == [("b", 1)]


def test_r23_the_kinds_remembered_are_bounded(monkeypatch):
    """R23: beyond the bound nothing is reported, and nothing is kept; the ledger still counts."""
    monkeypatch.setattr(episodes, "MAX_EPISODES", 3)
    made = Episodes()
    assert [made.note(kind, 0.0) for kind in range(5)] == [1, 1, 1, 0, 0]
    assert len(made._kinds) == 3
    list(made.due(EPISODE))
    assert made.note(4, EPISODE) == 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 8), st.integers(1, 5)), max_size=40))
def test_r23_every_occurrence_is_reported_once_and_seldom(occurrences):
    """R23: the reports of a kind add up to its occurrences, and lie ten seconds apart."""
    made, now = Episodes(), 0.0
    noted, told, times = {"a": 0, "b": 0}, {"a": 0, "b": 0}, {"a": [], "b": []}
    for kind, pause, count in [*occurrences, ("a", 2 * EPISODE, 1), ("a", 2 * EPISODE, 1)]:
        end = now + pause
        while (deadline := made.next_deadline()) is not None and deadline <= end:
            for which, reported in made.due(deadline):
                told[which] += reported
                times[which].append(deadline)
        now = end
        noted[kind] += count
        if reported := made.note(kind, now, count):
            told[kind] += reported
            times[kind].append(now)
    list(made.due(now))
    assert told == noted
    for moments in times.values():
        assert all(after >= before + EPISODE for before, after in pairwise(moments))


def test_r23_a_kind_that_was_noted_has_a_deadline_also_when_an_exception_came_in():
    """R9, R23: at whichever line a signal handler raises; without a deadline what happened later was never reported."""
    for line in range(1, 20):
        made = Episodes()
        with suppress(Signal), Interruption(line):
            made.note("a", 0.0)
        made.note("a", 1.0)
        assert made.next_deadline() in {EPISODE, 1.0 + EPISODE}
