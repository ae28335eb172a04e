"""The sender table: rates, totals over receivers, and clocks that cause refusals."""

import pytest

from atmost.collector.state.senders import SenderTable, by_sender, totals
from atmost.core.accounts import Ledger, SessionLedger
from atmost.core.events import ClockAlarm, ClockTrouble, Tail
from tests.collector.scene import session


def row(name, delivered=0, number=1, **changes):
    """The account of one session."""
    facts = {
        "host": "h",
        "pid": 1,
        "key_id": 0,
        "tail": Tail.ALIVE,
        "sent": delivered,
        "datagrams": 1,
        "last_seen": 0.0,
    }
    return SessionLedger(id=session(name, number).id, name=name, delivered=delivered, **facts | changes)


def ledger(*rows, **sums):
    """An account of sessions."""
    return Ledger(sessions=list(rows), delivered=sum(each.delivered for each in rows), **sums)


def test_rates_are_between_two_looks():
    """Of each and of all, the busiest first."""
    table = SenderTable(0.0)
    table.observe({"a": ledger(row("x", 10), row("y", 0, 2))}, 1.0)
    table.observe({"a": ledger(row("x", 20), row("y", 100, 2))}, 3.0)
    assert [(each.account.name, each.rate) for each in table.rows()] == [("y", 50.0), ("x", 5.0)]
    assert table.rate == 55.0


def rates(table, now, **delivered):
    """The rates by sender after one more look, in the order of the rows."""
    rows = [row(name, count, number) for number, (name, count) in enumerate(sorted(delivered.items()))]
    table.observe({"a": ledger(*rows)}, now)
    return {each.account.name: each.rate for each in table.rows()}


def test_a_sender_that_is_gone_is_forgotten():
    """One that comes is counted from nothing: its first row shows all of it, also when it had been there before."""
    table = SenderTable(0.0)
    rates(table, 1.0, a=10)
    assert rates(table, 3.0, a=10, b=4) == {"a": 0.0, "b": 2.0}
    assert rates(table, 4.0, a=10) == {"a": 0.0}
    assert rates(table, 5.0, a=10, b=4) == {"a": 0.0, "b": 4.0}


def test_one_identity_under_two_keys_is_two_senders():
    """A session is known by both."""
    table = SenderTable(0.0)
    for now in (1.0, 2.0):
        table.observe({"a": ledger(row("x", round(10 * now)), row("x", 500, key_id=7))}, now)
    assert [(each.account.key_id, each.rate) for each in table.rows()] == [(0, 10.0), (7, 0.0)]


def test_quiet_rows_keep_their_places():
    """Behind what comes faster, by what was delivered, then by name."""
    table = SenderTable(0.0)
    rates(table, 1.0, d=50, c=10, b=50, a=0)
    assert list(rates(table, 2.0, d=50, c=20, b=50, a=1)) == ["c", "a", "b", "d"]


@pytest.mark.parametrize("now", [0.0, -1.0])
def test_two_looks_at_one_moment_divide_by_no_zero(now):
    """Nor does a clock that seems to stand or to go back."""
    table = SenderTable(0.0)
    rates(table, 0.0, a=1)
    assert rates(table, now, a=1) == {"a": 0.0}


def test_totals_are_of_all_receivers():
    """Sessions that said goodbye are in the sums and not among the senders."""
    one = ledger(row("x", 10), row("y", 1, 2, tail=Tail.CLOSED), lost=2, overflow=1, lost_by_place={"in_flight": 2})
    two = ledger(row("z", 5, 3), refused={"duplicate": 4})
    found = totals({"a": one, "b": two})
    assert (found.senders, found.sums["delivered"], found.sums["lost"], found.sums["overflow"]) == (2, 16, 2, 1)
    assert (found.lost_by_place, found.refused) == ({"in_flight": 2}, {"duplicate": 4})


def test_a_sender_whose_clock_is_a_little_ahead_is_marked():
    """With how far it is off; forgotten with the session."""
    table = SenderTable(0.0)
    table.observe({"a": ledger(row("x"))}, 1.0)
    table.alarm(ClockAlarm(ClockTrouble.NEGATIVE_DELAY, 1, session("x"), 0.2))
    [found] = table.rows()
    assert found.clock_warning == "its clock is 0.2 s ahead of this host's"
    table.observe({"a": ledger()}, 2.0)
    table.observe({"a": ledger(row("x"))}, 3.0)
    assert table.rows()[0].clock_warning is None


def test_refusals_for_a_clock_are_told_without_an_alarm_too():
    """The account has them."""
    table = SenderTable(0.0)
    table.observe({"a": ledger(row("x", refused={"future": 3, "duplicate": 2}))}, 1.0)
    assert "3 of its datagrams were refused for its clock" in table.rows()[0].clock_warning


def test_this_hosts_own_clock_is_everybodys_trouble():
    """It is told once, by kind."""
    table = SenderTable(0.0)
    table.alarm(ClockAlarm(ClockTrouble.STEPPED_BACK, 1, None, 2.0))
    assert table.clock_warnings == {ClockTrouble.STEPPED_BACK: "this host's clock was set back by 2 s"}


def test_the_sessions_of_one_name_are_one_sender():
    """Under one key; a name under another key is somebody else, and sessions without a name stand for themselves."""
    table = SenderTable(0.0)
    rows = [row("cron", 1, 1), row("cron", 1, 2), row("cron", 1, 3, key_id=7), row("", 1, 4), row("", 1, 5)]
    table.observe({"a": ledger(*rows)}, 1.0)
    assert sorted(len(sessions) for sessions in by_sender(table.rows()).values()) == [1, 1, 1, 2]
