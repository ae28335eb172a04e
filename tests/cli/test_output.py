"""How events, values and accounts are shown: to people harmlessly, to programs as JSON."""

import json

import msgspec
import pytest

from atmost.cli.output import account_lines, as_dict, clock_time, describe, harmless, refused_line, to_json, who
from atmost.core.accounts import Ledger, SessionLedger
from atmost.core.events import (
    ClockAlarm,
    ClockTrouble,
    DatagramRefused,
    LateArrival,
    Loss,
    Place,
    QueueOverflow,
    RefusalReason,
    Session,
    SessionClosed,
    SessionEvicted,
    SessionOpened,
    Tail,
)

EVIL = "\x1b[31m\x9b2J\r\n\x7f\u202e\u2066\u200f"


@pytest.fixture
def session():
    """A sender whose name is an attack."""
    session = Session(bytes(range(18)), 0)
    session.name, session.host, session.pid = f"worker{EVIL}", "h", 17
    return session


def row(number=0, **figures):
    """What an account says of one sender."""
    return SessionLedger(
        id=f"{number:016x}",
        name=f"s{number}",
        host="h",
        pid=1,
        key_id=0,
        tail=Tail.ALIVE,
        sent=0,
        datagrams=1,
        last_seen=0.0,
        **figures,
    )


def test_what_steers_a_terminal_is_shown_as_escapes():
    """C0 and C1 control characters, line separators and changes of direction; everything else stays."""
    assert harmless("größe 日本 😀") == "größe 日本 😀"
    assert harmless(EVIL) == r"\x1b[31m\x9b2J\r\n\x7f\u202e\u2066\u200f"


def test_json_keeps_the_value_and_steers_nothing():
    """The same characters as JSON escapes, so that a program reads what was sent."""
    text = to_json({EVIL: EVIL})
    assert text.isprintable()
    assert json.loads(text) == {EVIL: EVIL}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (msgspec.msgpack.Ext(7, b"\xff"), {"extension": 7, "data": "/w=="}),
        (1 + 2j, "(1+2j)"),
        (float("-inf"), None),
    ],
)
def test_json_of_what_json_has_no_form_for(value, shown):
    """An extension type is told apart from text; the rest is text."""
    assert json.loads(to_json(value)) == shown


def test_json_of_what_is_nested_beyond_reason():
    """One strange payload must not end a command."""
    value = []
    for _ in range(100_000):
        value = [value]
    assert json.loads(to_json({"payload": value})) == "nested too deeply to show"


def test_a_sender_without_a_name_is_shown_by_its_identity():
    """Until a beacon has told the name."""
    assert who(Session(bytes(range(18)), 0)) == bytes(range(10, 18)).hex()


def test_every_event_is_one_harmless_line(session):
    """Whatever a sender calls itself."""
    events = {
        Loss(session, 1, Place.IN_FLIGHT, 1, 1): "1 message of {} lost here (in flight)",
        Loss(session, 1234, Place.SENDER_SOCKET, 1, 9): "1,234 messages of {} lost here (sender socket)",
        LateArrival(session, 2): "2 messages of {} came late: not lost after all",
        SessionOpened(session, 0): "{} began",
        SessionOpened(session, 3): "{} began, joined after 3 messages",
        SessionClosed(session): "{} said goodbye",
        SessionEvicted(session, live=False): "{} was forgotten: the table is full",
        SessionEvicted(session, live=True): "{} was forgotten: the table is full (it was live: raise max_sessions)",
        DatagramRefused(RefusalReason.DUPLICATE, 1, session): "refused 1 datagram of {}: duplicate",
        DatagramRefused(RefusalReason.MALFORMED, 200, None): "refused 200 datagrams: malformed",
        QueueOverflow(session, 5): "5 messages of {} dropped: the handler is too slow",
    }
    name = r"worker\x1b[31m\x9b2J\r\n\x7f\u202e\u2066\u200f"
    for event, line in events.items():
        assert describe(event) == "-- " + line.format(name)
    for trouble in ClockTrouble:
        for whose in (session, None):
            assert describe(ClockAlarm(trouble, 2, whose, 0.5)).isprintable()


@pytest.mark.parametrize(
    ("make", "kind", "facts"),
    [
        (
            lambda s: Loss(s, 4, Place.IN_FLIGHT, 1, 2),
            "loss",
            {"count": 4, "place": "in_flight", "first_sequence": 1, "last_sequence": 2},
        ),
        (lambda s: LateArrival(s, 2), "late_arrival", {"count": 2}),
        (lambda s: SessionOpened(s, 3), "session_opened", {"before_join": 3}),
        (SessionClosed, "session_closed", {}),
        (lambda s: SessionEvicted(s, live=True), "session_evicted", {"live": True}),
        (
            lambda s: DatagramRefused(RefusalReason.TOO_OLD, 9, s),
            "datagram_refused",
            {"reason": "too_old", "count": 9},
        ),
        (lambda s: QueueOverflow(s, 5), "queue_overflow", {"count": 5}),
    ],
)
def test_every_event_is_an_object(session, make, kind, facts):
    """With its type, its sender and its facts, and nothing beside them."""
    sender = {"sender": session.name, "host": "h", "pid": 17, "session": session.id}
    assert json.loads(to_json(as_dict(make(session)))) == {"type": kind, **sender, **facts}


def test_an_event_of_nobody_names_nobody():
    """A datagram of no known session was refused."""
    event = as_dict(DatagramRefused(RefusalReason.MALFORMED, 2, None))
    assert json.loads(to_json(event)) == {"type": "datagram_refused", "reason": "malformed", "count": 2}


def test_the_account_names_everything_that_is_not_nothing():
    """What is 0 is left out, except what was delivered and lost."""
    small = account_lines(Ledger(), "udp://127.0.0.1:1", 1.0)
    assert [line.split()[:2] for line in small[1:]] == [["delivered", "0"], ["lost", "0"]]
    figures = dict.fromkeys(("late", "pending", "queued", "overflow", "discarded", "before_join"), 1234)
    full = Ledger(
        lost=3,
        lost_by_place={"sender_socket": 1, "in_flight": 2},
        handler_errors=1,
        tail_unknown=2,
        kernel_drops=4,
        refused={"malformed": 1, "duplicate": 1000},
        **figures,
    )
    text = "\n".join(account_lines(full, "udp://127.0.0.1:1", 1.0))
    for name in figures:
        assert f"  {name.replace('_', ' '):10}        1,234" in text
    for part in (
        "3  (sender socket 1, in flight 2)",
        "handler errors        1",
        "2 senders fell silent without a goodbye",
        "1,001 datagrams: duplicate 1,000, malformed 1",
        "4 datagrams dropped at this socket (counted in lost too)",
    ):
        assert part in text


def test_the_account_lists_the_busiest_senders():
    """A thousand senders do not scroll the account away."""
    rows = [row(number, delivered=number, lost=1) for number in range(100)]
    lines = account_lines(Ledger(sessions=rows), "udp://127.0.0.1:1", 1.0)
    assert lines[-1] == "  ... and 80 more senders"
    assert lines[-21].split() == ["s99", "99", "delivered", "1", "lost", "alive"]


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("ECONNREFUSED", "nobody receives on URL: start a receiver with 'atmost listen --bind URL'"),
        ("EACCES", "no permission to send to URL"),
        ("ENETUNREACH", "is the network up?"),
        ("ENOTCONN", "no server of URL accepted the connection: is one running?"),
        ("EAGAIN", "does not keep up"),
    ],
)
def test_a_refusal_comes_with_advice(reason, advice):
    """What this host's socket said, and what to do about it; a rare reason stands for itself."""
    line = refused_line({"EIO": 1, reason: 2000}, "URL")
    assert line.startswith(f"refused by this host's socket: 1 (EIO), 2,000 ({reason}); ")
    assert advice in line
    assert refused_line({"EIO": 1}, "URL") == "refused by this host's socket: 1 (EIO)"


def test_the_time_of_day_has_milliseconds():
    """Rounded down, so that it never shows a moment that has not been."""
    assert clock_time(0.9996).endswith(":00.999")
    assert clock_time(59.0625).endswith(":59.062")
