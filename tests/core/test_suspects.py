"""R18: an event names the sender whose clock causes refusals, although its datagrams never open a session."""

from __future__ import annotations

from atmost.core.datagram import Kind
from atmost.core.events import ClockAlarm, ClockTrouble, Event
from atmost.core.receiving import MAX_SUSPECTS, ReceiverCore, ReceiverOptions
from tests.core.twins import EPOCH_US, beacon_body, datagram

NOW_US = EPOCH_US + 2_000_000
AHEAD_US = NOW_US + 3_000_000


def receiving() -> ReceiverCore:
    """A receiver past its floor."""
    return ReceiverCore(ReceiverOptions(future_bound=0.5, clock_guard=0.5), EPOCH_US)


def beacon(name: str, sent_us: int, random64: int = 1) -> bytes:
    """A beacon of a sender whose clock reads `sent_us`."""
    return datagram(kind=Kind.BEACON, start_us=sent_us, sent_us=sent_us, random64=random64, body=beacon_body(name=name))


def alarms(events: list[Event]) -> list[ClockAlarm]:
    """The clock alarms among events."""
    return [event for event in events if isinstance(event, ClockAlarm)]


def test_r18_a_sender_ahead_is_named() -> None:
    """R18: its first refused beacon tells who it is and by how much it is ahead; nothing of it is accepted."""
    core = receiving()
    (alarm,) = alarms(list(core.receive(beacon("clockless", AHEAD_US), 0.0, NOW_US)))
    assert alarm.trouble is ClockTrouble.SENDER_AHEAD
    assert alarm.session is not None
    assert alarm.session.name == "clockless"
    assert alarm.seconds == 3.0
    assert core.ledger(0.0).sessions == []


def test_r18_a_sender_behind_is_named() -> None:
    """R18: the same for one at or below the floor."""
    (alarm,) = alarms(list(receiving().receive(beacon("late", EPOCH_US), 0.0, NOW_US + 1)))
    assert alarm.trouble is ClockTrouble.SENDER_BEHIND
    assert alarm.session is not None
    assert alarm.session.name == "late"


def test_r18_r23_its_data_is_counted_and_reported_with_it() -> None:
    """R18, R23: after the first alarm the rest comes as one event with its count."""
    core = receiving()
    core.receive(beacon("clockless", AHEAD_US), 0.0, NOW_US)
    data = datagram(start_us=AHEAD_US, sent_us=AHEAD_US, sequence=1)
    for _ in range(4):
        assert alarms(list(core.receive(data, 1.0, NOW_US))) == []
    (alarm,) = alarms(list(core.handle_deadline(11.0)))
    assert alarm.count == 4
    assert core.ledger(0.0).clock_troubles == {"sender_ahead": 5}


def test_data_alone_names_nobody() -> None:
    """A datagram without a name raises no alarm: it is counted as refused."""
    core = receiving()
    assert alarms(list(core.receive(datagram(start_us=AHEAD_US, sent_us=AHEAD_US), 0.0, NOW_US))) == []
    assert core.ledger(0.0).refused == {"future": 1}


def test_a_wrong_tag_names_nobody() -> None:
    """The name is taken only from a beacon whose tag fits."""
    torn = beacon("innocent", AHEAD_US)
    torn = torn[:-1] + bytes([torn[-1] ^ 1])
    assert alarms(list(receiving().receive(torn, 0.0, NOW_US))) == []


def test_suspects_are_bounded() -> None:
    """A flood of suspects is forgotten in whole, and goes on being refused."""
    core = receiving()
    for number in range(3 * MAX_SUSPECTS):
        core.receive(beacon("flood", AHEAD_US, random64=number), 0.0, NOW_US)
    assert core.ledger(0.0).refused == {"future": 3 * MAX_SUSPECTS}


def test_what_was_sent_during_the_start_accuses_nobody() -> None:
    """A beacon sent just before the receiver was ready is refused without an alarm."""
    core = receiving()
    assert alarms(list(core.receive(beacon("early", EPOCH_US + 900_000), 0.0, NOW_US))) == []
    assert core.ledger(0.0).refused == {"boot_quarantine": 1}
