"""From workers to the state: messages as they were, and those that find no room counted."""

import pytest

from atmost.collector.channel import WorkerChannel, _Parcel
from atmost.core.accounts import Ledger, SessionLedger
from atmost.core.events import SessionClosed, Tail
from tests.collector.scene import T0, make_state, message, session


@pytest.fixture
def state():
    """A state that has seen nothing."""
    return make_state()


@pytest.fixture
def channel(state):
    """A channel to it."""
    one = WorkerChannel(state, max_sessions=3)
    yield one
    one.close()


def test_a_message_arrives_as_it_was(channel, state):
    """With its sender, its times and its number."""
    by = session("shop")
    channel.handler(message("metrics.cpu", 0.5, by=by, sequence=7))
    channel.handler(message("logs.app", {"message": "m"}, by=by))
    assert channel.turn(T0, 0.0) is False
    [(name, found)] = state.metrics.found()
    assert (name, found.sender, found.last) == ("cpu", "shop", 0.5)
    assert state.logs.entries()[0].host == "host-1"


def test_what_finds_no_room_is_counted(channel):
    """The worker does not wait."""
    for _ in range(100_000):
        channel.handler(message("logs.app", {"message": "x" * 20_000}))
        if channel.dropped:
            break
    assert channel.dropped == 1
    taken = 0
    while channel.turn(T0, 0.0):
        taken += 1
    channel.handler(message("metrics.cpu", 1.0))
    assert channel.dropped == 1
    assert taken > 1


def test_what_is_too_large_is_counted(channel):
    """Nothing raises in a worker for it."""
    channel.handler(message("logs.app", {"message": "x" * (64 << 20)}))
    assert channel.dropped == 1


def test_goodbyes_come_from_the_account(channel, state):
    """Told once, of sessions that had sent something."""
    by = session("shop")
    channel.handler(message("heartbeats.w", {"number": 0, "interval": 1.0}, by=by))
    channel.turn(T0, 0.0)
    facts = {"host": "h", "pid": 1, "key_id": 0, "sent": 1, "datagrams": 1, "last_seen": 0.0}
    rows = [SessionLedger(id=each.id, name=each.name, tail=Tail.CLOSED, **facts) for each in (by, session("other", 2))]
    for _ in range(2):
        channel.ended(Ledger(sessions=rows), T0, 0.0)
    assert state.heartbeats.rows(T0, 0.0)[0].state == "stopped"
    assert state.heartbeats.changes == 2


def test_a_goodbye_is_told_while_messages_come(channel, state, monkeypatch):
    """The account is told in one thread, and sessions become known in another."""
    by = session("shop")
    for each in (by, session("other", 2)):
        channel.handler(message("heartbeats.w", {"number": 0, "interval": 1.0}, by=each))
    channel.turn(T0, 0.0)
    told = []

    def feed(event, *_times):
        told.append(event)
        if isinstance(event, SessionClosed):
            channel._message(_Parcel(b"1" * 18, 0, "late", "h", 2, 0, 0, 0, "heartbeats.x", None))

    monkeypatch.setattr(state, "feed", feed)
    facts = {"host": "h", "pid": 1, "key_id": 0, "sent": 1, "datagrams": 1, "last_seen": 0.0}
    channel.ended(Ledger(sessions=[SessionLedger(id=by.id, name="shop", tail=Tail.CLOSED, **facts)]), T0, 0.0)
    assert [event.session.name for event in told] == ["shop"]


def test_sessions_are_bounded(channel):
    """The oldest make room; their next message makes them known again."""
    for number in range(10):
        channel.handler(message("metrics.cpu", 1.0, by=session(f"s{number}", number + 1)))
    channel.turn(T0, 0.0)
    assert len(channel._sessions) == 3
