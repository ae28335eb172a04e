"""Steps written by hand: what each does to the real cores, what it tells, and that it does nothing where nothing is."""

from dataclasses import replace

import pytest

from atmost.core.seal import ChecksumSeal
from atmost.lab.guarantee.cast import Cast
from atmost.lab.guarantee.parameters import EPOCH_US
from atmost.lab.guarantee.steps import (
    Check,
    Close,
    CloseSender,
    Crash,
    CrashPoint,
    CrashSender,
    Deliver,
    Elapse,
    Forge,
    Fork,
    Offer,
    SenderCrashPoint,
    StartReceiver,
    StartSender,
    Turn,
    Work,
)
from tests.lab.guarantee.test_accounts import QUIET

READY = 200_000
"""The floor has passed, µs of virtual time."""


def at(now_us: int) -> tuple[int, int]:
    """The time, and what a true clock shows."""
    return now_us, EPOCH_US + now_us


def play(*steps, parameters=QUIET) -> Cast:
    """A cast in which these steps have happened, numbered from 0."""
    cast = Cast(parameters, trace=True)
    for number, step in enumerate(steps):
        cast.apply(number, step)
    return cast


BEGIN = (StartReceiver("r", *at(0)), StartSender("a"), Offer("a", *at(READY), 2))
"""Step 2 hands over a beacon (2.1) and two datagrams of one message each (2.2 and 2.3)."""


def test_messages_arrive_once():
    """R11: of two copies the second is refused, and nothing is processed twice."""
    cast = play(*BEGIN, Deliver("r", "2.2", *at(READY), copies=2), Deliver("r", "2.3", *at(READY)))
    assert cast.findings.figures["messages_processed"] == 2
    assert cast.findings.hits["refusal", "duplicate"] == 1
    assert cast.findings.violations == []
    assert any("a/1#1" in line and "the link delivers" in line for line in cast.findings.trace)


@pytest.mark.parametrize(
    ("point", "processed"),
    [
        (CrashPoint.IDLE, 0),
        (CrashPoint.BEFORE_TAG, 0),
        (CrashPoint.AFTER_MARK, 0),
        (CrashPoint.QUEUED, 0),
        (CrashPoint.IN_HANDLER, 1),
    ],
)
def test_a_crash_turns_one_processing_into_none_and_never_into_two(point, processed):
    """Wherever the receiver dies, the next incarnation refuses what the one before may have processed (R10)."""
    later = at(READY + 50_000)
    cast = play(
        *BEGIN,
        Deliver("r", "2.2", *at(READY), read=0, handle=0),
        Crash("r", point, *at(READY)),
        Deliver("r", "2.2", *at(READY)),
        StartReceiver("r", *at(READY)),
        Deliver("r", "2.2", *later, replay=True),
    )
    assert cast.findings.figures["messages_processed"] == processed
    assert cast.findings.hits["link fault", "nobody listening"] == 1
    assert cast.findings.hits["refusal", "boot_quarantine"] == 1
    assert cast.findings.violations == []
    assert cast.findings.hits["receiver crash", point.value] == (point is not CrashPoint.IDLE)


def test_what_is_queued_at_a_close_is_discarded_and_counted():
    """R20: discarded, and the account balances."""
    cast = play(*BEGIN, Deliver("r", "2.2", *at(READY), handle=0), Close("r", READY))
    assert cast.findings.hits["receiver fault", "closed with a full queue"] == 1
    assert cast.receivers.newest("r") is None
    assert cast.findings.violations == []


def test_a_full_socket_and_a_full_queue_drop_and_count():
    """R14, R22: kernel drops are lost, overflow is not."""
    tight = replace(QUIET, kernel_buffer=1, max_queue=1)
    cast = play(
        *BEGIN,
        Deliver("r", "2.1", *at(READY), read=0),
        Deliver("r", "2.2", *at(READY), read=0),
        Work("r", *at(READY)),
        Deliver("r", "2.3", *at(READY), handle=0),
        Deliver("r", "2.2", *at(READY), handle=0),
        Check("r", READY + 40_000_000, settled=True),
        parameters=tight,
    )
    ledger = cast.receivers.settled["r"]
    assert (ledger.kernel_drops, ledger.overflow, ledger.queued, ledger.lost) == (1, 1, 1, 0)
    assert cast.findings.violations == []


def test_a_fork_sends_nothing_of_its_parent():
    """R8: each message is in one datagram, whoever's buffer it was in; unseen, the doubtful ones are dropped and counted."""
    busy = replace(QUIET, sender=replace(QUIET.sender, linger=1.0))
    cast = play(
        StartSender("a"),
        Offer("a", *at(READY), 1),
        Offer("a", *at(READY), 3),
        Fork("a", "b", unseen=False),
        Fork("a", "c", unseen=True),
        Turn("a", *at(READY + 1), flush=True),
        Offer("b", *at(READY + 2), 1),
        Turn("c", *at(READY + 2), flush=True),
        parameters=busy,
    )
    assert all(len(homes) == 1 for homes in cast.tape.homes.values())
    assert len(cast.tape.homes) == 5
    assert cast.senders.living["c"].core.stats().dropped == {"forked": 3}
    assert cast.findings.violations == []


@pytest.mark.parametrize(
    ("point", "numbered", "transmitted"),
    [
        (SenderCrashPoint.BEFORE_NUMBERING, 2, 2),
        (SenderCrashPoint.AFTER_NUMBERING, 3, 2),
        (SenderCrashPoint.AFTER_HAND_OVER, 3, 3),
    ],
)
def test_a_crashed_sender_is_over(point, numbered, transmitted):
    """R5: a number spent is spent, and the next life has a session of its own."""
    busy = replace(QUIET, sender=replace(QUIET.sender, linger=1.0))
    cast = play(
        StartSender("a"),
        Offer("a", *at(READY), 1),
        Offer("a", *at(READY), 2),
        CrashSender("a", point, *at(READY)),
        StartSender("a"),
        parameters=busy,
    )
    entries = cast.tape.entries.values()
    assert (len(entries), sum(entry.transmitted for entry in entries)) == (numbered, transmitted)
    assert cast.findings.hits["sender crash", point.value] == 1
    assert cast.findings.hits["sender fault", "restart"] == 1


@pytest.mark.parametrize(
    "step",
    [
        Deliver("r", "7.1", *at(0)),
        Work("r", *at(0)),
        Elapse("r", 0),
        Crash("r", CrashPoint.IDLE, *at(0)),
        Close("r", 0),
        Check("r", 0),
        Offer("a", *at(0), 1),
        Turn("a", *at(0)),
        CloseSender("a", *at(0)),
        CrashSender("a", SenderCrashPoint.AFTER_HAND_OVER, *at(0)),
        Fork("a", "b", unseen=True),
    ],
    ids=lambda step: type(step).__name__,
)
def test_a_step_without_its_object_does_nothing(step):
    """What a shortened list refers to may never have happened."""
    cast = play(step)
    assert cast.findings.violations == []
    assert cast.findings.hits == {}
    assert cast.tape.entries == {}
    assert len(cast.findings.trace) == 1


def test_the_adversary_may_imitate_without_breaking_the_promise():
    """Without a key there is no H0: the same message in a datagram of the adversary's own is not ours to refuse."""
    cast = play(*BEGIN, Deliver("r", "2.2", *at(READY)))
    data = bytearray(cast.tape.entries["2.2"].data)
    data[15] ^= 1  # another session
    forged = ChecksumSeal().seal(bytes(data[:48]), bytes(data[48:-16]))
    cast.apply(10, Forge("forged", forged))
    cast.apply(11, Deliver("r", "forged", *at(READY), replay=True))
    assert cast.findings.figures["messages_processed"] == 2
    assert cast.findings.hits["forgery", "accepted"] == 1
    assert cast.findings.violations == []
