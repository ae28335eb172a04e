"""From workers to the state: messages as they were, and those that find no room counted."""

import pytest

from atmost.collector.channel import WorkerChannel, _Parcel
from atmost.collector.state.subjects import MAX_SUBJECTS
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


def drain(channel, now=T0, mono=0.0):
    """Take in all that waits: one turn ends early where the machine is busy."""
    while channel.turn(now, mono):
        pass


def test_a_message_arrives_as_it_was(channel, state):
    """With its sender, its times and its number."""
    by = session("shop")
    channel.handler(message("metrics.cpu", 0.5, by=by, sequence=7))
    channel.handler(message("logs.app", {"message": "m"}, by=by))
    drain(channel)
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
    drain(channel)
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
    drain(channel)
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
    drain(channel)
    assert len(channel._sessions) == 3


def test_other_subjects_are_counted_with_one_message_each(channel, state):
    """They are not handed on, but the table of subjects has them: how many, and what one of them said."""
    by = session("shop")
    for number in range(3):
        channel.handler(message("orders.placed", {"number": number}, by=by))
    channel.handler(message("orders.paid", "x" * 2000, by=by))
    drain(channel)
    assert state.subjects.rows() == []
    channel.handler.tell()
    drain(channel)
    channel.handler(message("orders.placed", {"number": 3}, by=by))
    channel.handler.tell()
    drain(channel, T0 + 1, 1.0)
    paid, placed = state.subjects.rows()
    assert (placed.count, placed.payload, placed.sender, placed.last) == (4, '{"number":3}', "shop", T0 + 1)
    assert (paid.count, paid.size, paid.cut, len(paid.payload)) == (1, 2002, True, 512)
    assert not channel.dropped


def test_sightings_that_find_no_room_wait(channel, state):
    """Their count is told when there is room again; subjects without end are bounded."""
    by = session("shop")
    while not channel.dropped:
        channel.handler(message("logs.app", {"message": "x" * 20_000}))
    for number in range(3 * MAX_SUBJECTS):
        channel.handler(message(f"orders.n{number}", None, by=by))
    channel.handler(message("orders.n0", None, by=by))
    channel.handler.tell()
    assert len(channel.handler._seen) == 2 * MAX_SUBJECTS
    drain(channel)
    channel.handler.tell()
    drain(channel)
    assert len(state.subjects) == MAX_SUBJECTS
    assert not channel.handler._seen


def test_what_a_fault_leaves_is_taken_in_the_next_turn(channel, state, monkeypatch):
    """Messages and sightings that were read are not read again, and none is forgotten."""
    by = session("shop")
    for number in range(5):
        channel.handler(message("metrics.cpu", float(number), by=by, sequence=number))
    channel.handler(message("orders.placed", 1, by=by))
    channel.handler.tell()
    feed_all = state.feed_all

    def faulty(events, now, mono):
        next(events)
        raise MemoryError

    monkeypatch.setattr(state, "feed_all", faulty)
    with pytest.raises(MemoryError):
        channel.turn(T0, 0.0)
    monkeypatch.setattr(state, "feed_all", feed_all)
    drain(channel)
    [(_, found)] = state.metrics.found()
    assert found.last == 4.0
    assert [row.count for row in state.subjects.rows() if row.subject == "orders.placed"] == [1]


def test_the_subjects_of_the_last_second_are_told_at_the_end(channel, state):
    """A worker that ends says what it has not said yet."""
    channel.handler(message("orders.placed", 1, by=session("shop")))
    channel.handler.ended()
    drain(channel)
    assert [row.subject for row in state.subjects.rows()] == ["orders.placed"]
