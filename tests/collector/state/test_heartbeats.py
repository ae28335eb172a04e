"""The board: states with their verdicts and since when, in seconds since 1970 though silences are measured otherwise."""

import pytest

from atmost.collector.state.heartbeats import SLOT, STATES, HeartbeatBoard
from atmost.core.events import SessionClosed
from tests.collector.scene import T0
from tests.heartbeats.scene import FakeSender


def make(limit=10, name="worker"):
    """A board, and a heartbeat of one second that the test beats."""
    board = HeartbeatBoard(limit)
    return board, FakeSender(board.monitor, name)


def beat(board, sender, mono, **more):
    """One beat that arrives; the wall clock is T0 + mono."""
    return board.feed(sender.message(mono, **more), T0 + mono, mono)


def test_a_heartbeat_goes_down_and_comes_back():
    """With a sentence each time, and since when the state has held."""
    board, sender = make()
    for second in range(5):
        beat(board, sender, float(second))
    [row] = board.rows(T0 + 4.5, 4.5)
    assert (row.name, row.state, row.beats, row.lost, row.loss, row.interval) == ("worker", "up", 5, 0, 0.0, 1.0)
    assert (row.since, row.last_beat) == (T0, T0 + 4)
    now = 5.0
    while (due := board.next_deadline()) is not None and board.rows(T0 + now, now)[0].state != "down":
        now = due
        board.tick(T0 + now, now)
    [row] = board.rows(T0 + now, now)
    assert (row.state, row.since) == ("down", T0 + now)
    assert row.verdict.startswith("silent for ")
    beat(board, sender, now + 5)
    [row] = board.rows(T0 + now + 5, now + 5)
    assert (row.state, row.since) == ("up", T0 + now + 5)
    assert row.verdict.startswith("paused(")


def test_every_state_is_counted():
    """Zero among them: that is known."""
    board, sender = make()
    beat(board, sender, 0.0)
    assert board.alive(0.5) == dict.fromkeys(STATES, 0) | {"up": 1}


def test_what_failed_is_failed_everywhere():
    """With the reason in the verdict; it counts as down for the uptime."""
    board, sender = make()
    beat(board, sender, 0.0)
    beat(board, sender, 1.0, ending="failed", reason="ValueError")
    [row] = board.rows(T0 + 1, 1.0)
    assert row.state == "failed"
    assert board.alive(1.0)["failed"] == 1
    assert board.rows(T0 + 4, 4.0)[0].uptime == 0.25
    assert row.verdict == "failed: ValueError ended it"


def test_a_goodbye_is_no_death():
    """Nor is it counted as one."""
    board, sender = make()
    beat(board, sender, 0.0)
    board.feed(SessionClosed(sender.session), T0 + 1, 1.0)
    assert board.rows(T0 + 1, 1.0)[0].state == "stopped"


def test_changes_are_counted_for_those_who_wait_for_them():
    """A reader sees by one number that there is something new."""
    board, sender = make()
    assert board.changes == 0
    beat(board, sender, 0.0)
    assert board.changes == 1
    beat(board, sender, 1.0)
    assert board.changes == 1


def test_the_limit_is_counted_when_it_is_hit():
    """Heartbeats beyond it are not watched."""
    board, sender = make(limit=1)
    beat(board, sender, 0.0)
    beat(board, FakeSender(board.monitor, "other", number=2), 0.0)
    assert (len(board), board.refused) == (1, 1)


def test_heartbeats_that_come_and_go_are_forgotten_though_nobody_looks():
    """Where no page and no scrape asks for the rows: the books stay within twice the bound."""
    board = HeartbeatBoard(2)
    for number in range(20):
        sender = FakeSender(board.monitor, f"job-{number}", number=number)
        beat(board, sender, number * 10.0)
        board.feed(SessionClosed(sender.session), T0 + number * 10 + 1, number * 10 + 1.0)
    assert board.monitor.stats().forgotten == 18
    assert len(board) == 2


def test_the_history_of_a_day():
    """A letter for each quarter of an hour, the gravest state of it, and the uptime of the time that is known."""
    board, sender = make()
    now, told = 0.0, []
    board.monitor.on_change(told.append)
    beat(board, sender, now)
    while board.rows(T0 + now, now)[0].state != "down":
        now = board.next_deadline()
        board.tick(T0 + now, now)
    died = now
    [row] = board.rows(T0 + SLOT * 2 + 10, SLOT * 2 + 10)
    assert row.history == "." * 93 + "ddd"
    unknown = next(change.at for change in told if change.state == "unknown")  # lossy: neither up nor down
    assert row.uptime == pytest.approx(unknown / (SLOT * 2 + 10 - (died - unknown)), rel=1e-3)
    beat(board, sender, SLOT * 3 + 5, life="anew", number=0)
    for slot in (4, 5):
        beat(board, sender, SLOT * slot + 5, life="anew", number=slot)
    [row] = board.rows(T0 + SLOT * 5 + 10, SLOT * 5 + 10)
    assert row.history.startswith("." * 90 + "dddd")
    [row] = board.rows(T0 + SLOT * 200, SLOT * 200)
    assert len(row.history) == 96
    assert "d" not in row.history


def test_what_is_expected_is_missed_though_it_never_beat():
    """By name or pattern; a pattern stands for itself until something matches it."""
    board, sender = make(name="worker-7")
    board.expect("db", T0, 0.0)
    board.expect("worker-*", T0, 0.0)
    now = 0.0
    while (due := board.next_deadline()) is not None and due < 60:
        now = due
        board.tick(T0 + now, now)
    assert {row.name: (row.state, row.expected) for row in board.rows(T0 + now, now)} == {
        "db": ("down", True),
        "worker-*": ("down", True),
    }
    beat(board, sender, now + 1)
    assert {row.name: row.state for row in board.rows(T0 + now + 1, now + 1)} == {"db": "down", "worker-7": "up"}


def test_what_was_decommissioned_is_forgotten():
    """Until it beats again; readers are told that something changed."""
    board, sender = make()
    beat(board, sender, 0.0)
    changes = board.changes
    assert board.forget("worker")
    assert board.changes == changes + 1
    assert board.rows(T0, 0.0) == []
    assert not board.forget("worker")
    beat(board, sender, 1.0)
    assert [row.name for row in board.rows(T0 + 1, 1.0)] == ["worker"]
    assert not board.forget("worker", key_id=9)


def test_two_under_one_name_are_a_conflict():
    """Named, on the board."""
    board, sender = make()
    twin = FakeSender(board.monitor, "worker", number=2)
    for second in range(6):
        beat(board, sender, float(second))
        beat(board, twin, second + 0.5)
    [row] = board.rows(T0 + 6, 6.0)
    assert row.conflict
