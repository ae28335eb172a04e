"""R24: each reason of refusal is produced by a fault, alone, and leaves all other state as it was (R11)."""

from dataclasses import dataclass

import pytest

from atmost.core.datagram import FLAG_ENCRYPTED, FLAG_PADDED, Kind, pack_messages
from atmost.core.events import DatagramRefused, RefusalReason
from atmost.core.limits import MAX_COUNT, MAX_MESSAGES
from tests.core.twins import FUTURE_US, Hand, Receiving, beacon_body, datagram, messages

WINDOW = 8


@dataclass
class Scene:
    """A receiver that has seen something of everything: two sessions, a gap, a forgotten session, a report."""

    there: Receiving
    known: Hand
    """Numbers 0…20 were sent, 12 and 13 (two messages each) are missing; the next is 21."""
    joined: Hand
    """Taken up in the middle, at number 50 and message 500."""
    forgotten: bytes
    """Of a session that was evicted: its last datagram."""

    def fresh(self, **fields):
        """A datagram of a session never seen, sent now."""
        now = self.there.wall_us
        return datagram(**{"start_us": now, "sent_us": now, "random64": 97, **fields})

    def known_with(self, **fields):
        """The next datagram of the known session, with something else in its header."""
        return self.known.data(**fields)


@pytest.fixture
def scene():
    """The scene above, a moment later."""
    there = Receiving(window=WINDOW, max_sessions=2, max_age=100.0, shard=(1, 4))
    gone = there.hand(13)
    forgotten = gone.data()
    there.take(forgotten)
    there.pass_time(1000)
    known = there.hand(1)
    there.take(known.beacon(refused={"EPERM": 1}))
    there.take(*(known.data(2) for _ in range(11)))
    known.skip(2)
    known.skip(2)
    there.take(*(known.data(2) for _ in range(7)))
    there.pass_time(2000)
    joined = there.hand(5, age_us=10**9, sequence=50, prior=500)
    there.take(joined.data())
    there.pass_time(1000)
    known.sent_us = joined.sent_us = there.wall_us
    assert there.ledger().evicted == 1
    assert there.core.floor_us == gone.sent_us
    return Scene(there, known, joined, forgotten)


R = RefusalReason
FAULTS = {
    "nothing at all": (R.MALFORMED, lambda s: b""),
    "one byte short of a header and a tag": (R.MALFORMED, lambda s: s.fresh()[:63]),
    "another magic": (R.MALFORMED, lambda s: s.fresh(magic=0x5A)),
    "another version": (R.MALFORMED, lambda s: s.fresh(version=2)),
    "another type": (R.MALFORMED, lambda s: s.fresh(kind=4)),
    "a flag that must be 0": (R.MALFORMED, lambda s: s.fresh(flags=4)),
    "no message in DATA": (R.MALFORMED, lambda s: s.fresh(items=[])),
    "messages in a beacon": (R.MALFORMED, lambda s: s.fresh(kind=Kind.BEACON, count=1)),
    "encrypted without a key": (R.MALFORMED, lambda s: s.fresh(flags=FLAG_ENCRYPTED)),
    "more messages than counted": (R.MALFORMED, lambda s: s.fresh(items=messages(1, 2), count=1)),
    "fewer messages than counted": (R.MALFORMED, lambda s: s.fresh(items=messages(1, 2), count=3)),
    "a count that hides the messages behind it": (
        R.MALFORMED,
        lambda s: s.fresh(body=pack_messages(messages(1)) + messages(2)[0], count=1),
    ),
    "one message that is no pair": (R.MALFORMED, lambda s: s.fresh(items=[*messages(1), b"\x91\xa1s"])),
    "padding longer than the body": (R.MALFORMED, lambda s: s.fresh(flags=FLAG_PADDED, body=b"\xdc\xff\xff")),
    "a report that is none": (R.MALFORMED, lambda s: s.fresh(kind=Kind.BEACON, body=b"\xc0")),
    "a report of less than nothing": (
        R.MALFORMED,
        lambda s: s.fresh(kind=Kind.GOODBYE, body=beacon_body(offered=-1)),
    ),
    "a key nobody has": (R.UNKNOWN_KEY, lambda s: s.fresh(key_id=1)),
    "a session of another shard": (R.WRONG_SHARD, lambda s: s.fresh(random64=98)),
    "too far ahead": (R.FUTURE, lambda s: s.fresh(sent_us=s.there.wall_us + FUTURE_US + 1)),
    "too far ahead in a known session": (R.FUTURE, lambda s: s.known_with(sent_us=s.there.wall_us + FUTURE_US + 1)),
    "as far ahead as can be": (R.FUTURE, lambda s: s.fresh(sent_us=2**64 - 1)),
    "from before the start": (R.BOOT_QUARANTINE, lambda s: s.fresh(sent_us=s.there.core._table.boot_floor, start_us=0)),
    "from 1970": (R.BOOT_QUARANTINE, lambda s: s.fresh(sent_us=0, start_us=0)),
    "a forgotten session, replayed": (R.BELOW_FLOOR, lambda s: s.forgotten),
    "a new session from below the floor": (
        R.BELOW_FLOOR,
        lambda s: s.fresh(sent_us=s.there.core.floor_us, start_us=s.there.core.floor_us),
    ),
    "a known session from below its own floor": (
        R.BELOW_FLOOR,
        lambda s: s.joined.data(sent_us=s.there.core._table.sessions[s.joined.key].efloor),
    ),
    "behind the window": (R.TOO_OLD, lambda s: s.known_with(sequence=20 - WINDOW)),
    "the first number again, long after": (R.TOO_OLD, lambda s: s.known_with(sequence=0)),
    "the latest number again": (R.DUPLICATE, lambda s: s.known_with(sequence=20)),
    "a number inside the window again": (R.DUPLICATE, lambda s: s.known_with(sequence=14)),
    "the join point again": (R.DUPLICATE, lambda s: s.joined.data(sequence=50, prior=0)),
    "a tag of nothing": (R.AUTH_FAILED, lambda s: s.fresh()[:-16] + bytes(16)),
    "one bit of the body": (R.AUTH_FAILED, lambda s: _flip(s.fresh(), 52)),
    "one bit of the tag": (R.AUTH_FAILED, lambda s: _flip(s.fresh(), -1)),
    "one bit in a known session": (R.AUTH_FAILED, lambda s: _flip(s.known.data(), 52)),
    "a far number with a wrong tag": (R.AUTH_FAILED, lambda s: _flip(s.known.data(sequence=2**63), 52)),
    "sent before its session began": (R.INCONSISTENT, lambda s: s.fresh(start_us=s.there.wall_us + 1)),
    "the end of all numbers": (R.INCONSISTENT, lambda s: s.fresh(sequence=2**60, prior=MAX_MESSAGES, start_us=0)),
    "beyond the end of all numbers": (R.INCONSISTENT, lambda s: s.fresh(sequence=2**60, prior=2**64 - 1, start_us=0)),
    "a later number with earlier messages": (R.INCONSISTENT, lambda s: s.known_with(prior=s.known.prior - 1)),
    "a later beacon with earlier messages": (
        R.INCONSISTENT,
        lambda s: s.known.beacon(header={"prior": s.known.prior - 1}),
    ),
    "a late one with messages before its gap": (R.INCONSISTENT, lambda s: s.known_with(sequence=13, prior=21)),
    "a late one with messages behind its gap": (R.INCONSISTENT, lambda s: s.known_with(sequence=13, prior=26)),
    "a late one with more than its gap's room": (
        R.INCONSISTENT,
        lambda s: s.known.data(5, sequence=13, prior=22),
    ),
    "a late one below the join point that reaches above": (
        R.INCONSISTENT,
        lambda s: s.joined.data(2, sequence=49, prior=499),
    ),
    "older than the receiver wants": (R.EXPIRED, lambda s: (s.fresh(), s.there.pass_time(100_000_001))[0]),
    "a number beyond belief": (R.IMPLAUSIBLE, lambda s: s.known_with(sequence=20 + WINDOW // 2 + 1)),
    "a new session that begins beyond belief": (R.IMPLAUSIBLE, lambda s: s.fresh(sequence=WINDOW // 2 + 1)),
    "messages between neighbours": (R.INCONSISTENT, lambda s: s.known_with(prior=s.known.prior + 1)),
    "more messages than the missing datagrams hold": (
        R.INCONSISTENT,
        lambda s: s.known_with(sequence=22, prior=s.known.prior + MAX_COUNT + 1),
    ),
    "a new session with messages and no datagrams before it": (R.INCONSISTENT, lambda s: s.fresh(prior=1)),
    "a new session with more messages than its datagrams hold": (
        R.INCONSISTENT,
        lambda s: s.fresh(sequence=2, prior=2 * MAX_COUNT + 1),
    ),
    "the last number there is": (R.IMPLAUSIBLE, lambda s: s.known_with(sequence=2**64 - 1)),
}


@pytest.mark.parametrize(("reason", "fault"), FAULTS.values(), ids=FAULTS)
def test_r24_each_fault_has_its_reason_and_no_other_effect(scene, reason, fault):
    """R11, R24: one counter goes up by one; floor, table, window, account and report are as before."""
    refused = fault(scene)
    assert scene.there.refusal(refused, claims=reason is R.IMPLAUSIBLE) is reason


@pytest.mark.parametrize(("reason", "fault"), FAULTS.values(), ids=FAULTS)
def test_r24_the_true_datagram_is_accepted_after_the_false_one(scene, reason, fault):
    """R11: a refused datagram costs the session that it names nothing."""
    scene.there.take(fault(scene))
    accepted = scene.there.ledger().accepted
    scene.known.sent_us = scene.there.wall_us
    scene.there.take(scene.known.data())
    assert scene.there.ledger().accepted == accepted + 1


USUAL = {
    "a tag of nothing": (R.AUTH_FAILED, lambda t, h: h.data()[:-16] + bytes(16)),
    "encrypted without a key": (R.MALFORMED, lambda t, h: h.data(flags=FLAG_ENCRYPTED)),
    "more messages than counted": (R.MALFORMED, lambda t, h: h.data(body=pack_messages(messages(1, 2)))),
    "one message that is no pair": (R.MALFORMED, lambda t, h: h.data(body=pack_messages([b"\x91\xa1s"]))),
    "too far ahead": (R.FUTURE, lambda t, h: h.data(sent_us=t.wall_us + FUTURE_US + 1)),
    "below its floor": (R.BELOW_FLOOR, lambda t, h: h.data(sent_us=t.core.floor_us)),
    "sent before its session began": (R.INCONSISTENT, lambda t, h: h.data(sent_us=h.start_us - 1)),
    "older than the receiver wants": (R.EXPIRED, lambda t, h: (h.data(), t.pass_time(100_000_001))[0]),
    "messages between neighbours": (R.INCONSISTENT, lambda t, h: h.data(prior=h.prior + 1)),
    "earlier messages": (R.INCONSISTENT, lambda t, h: h.data(prior=h.prior - 1)),
}


@pytest.mark.parametrize(("reason", "fault"), USUAL.values(), ids=USUAL)
def test_r11_one_thing_wrong_with_a_sessions_next_datagram(reason, fault):
    """R11: what is taken in one step when everything is as usual is refused for the same reasons as anything else."""
    there = Receiving(window=WINDOW, max_age=100.0)
    there.pass_time(1000)
    hand = there.hand(1)
    there.take(*(hand.data(2) for _ in range(3)))
    there.pass_time(1000)
    hand.sent_us = there.wall_us
    assert there.refusal(fault(there, hand)) is reason


def test_r24_every_reason_has_a_fault():
    """R24: the enumeration is closed, and nothing in it is without a test."""
    assert {reason for reason, _ in FAULTS.values()} == set(RefusalReason)


def test_r24_a_refusal_is_reported_with_its_sender(scene):
    """R18, R23: the event names the session whose datagrams are refused, where it is known."""
    future = scene.there.wall_us + FUTURE_US + 1
    (of_known,) = scene.there.take(scene.known_with(sent_us=future))
    (of_nobody,) = scene.there.take(scene.fresh(sent_us=future))
    assert (of_known.reason, of_known.count, of_known.session.key) == (R.FUTURE, 1, scene.known.key)
    assert of_nobody == DatagramRefused(R.FUTURE, 1, None)
    assert scene.there.ledger().sessions[0].refused == {"future": 1}
    assert scene.there.ledger().refused == {"future": 2}


def _flip(sealed, position):
    torn = bytearray(sealed)
    torn[position] ^= 1
    return bytes(torn)
