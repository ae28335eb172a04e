"""The facts a receiver reports, and the closed lists of their reasons."""

import pytest

from atmost.core.events import Arrival, ClockTrouble, DropReason, Message, Place, RefusalReason, Session, Tail

WORDS = {
    RefusalReason: "malformed unknown_key wrong_shard future boot_quarantine below_floor too_old duplicate expired "
    "auth_failed inconsistent implausible",
    DropReason: "buffer_full pacing closed forked",
    Place: "sender_socket in_flight unknown",
    Tail: "alive silent closed",
    ClockTrouble: "stepped_back unsynchronised negative_delay sender_ahead sender_behind",
}


@pytest.mark.parametrize(("reasons", "words"), WORDS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_r24_the_reasons_are_closed_lists_of_words(reasons, words):
    """R24: they become metric labels: each is its own text, and none is added without this list."""
    assert [str(reason) for reason in reasons] == words.split()


def test_a_session_is_known_by_its_random_number():
    """The identity as people see it is the random part; the whole is on the wire."""
    session = Session(bytes(10) + bytes(range(8)), 5)
    assert session.id == "0001020304050607"
    session.name, session.host, session.pid = "worker", "box", 7
    assert repr(session) == "<Session worker box:7 0001020304050607>"
    assert "?" in repr(Session(bytes(18), 0))


def test_a_message_knows_its_sender_and_times():
    """Times are seconds since 1970, by the clock of each end."""
    session = Session(bytes(18), 0)
    message = Message("a.b", {"x": 1}, Arrival(session, 3, 1_500_000, 2_000_000))
    assert (message.session, message.sent_at, message.received_at) == (session, 1.5, 2.0)
    assert repr(message) == f"Message('a.b', {{'x': 1}}, session={session!r})"
