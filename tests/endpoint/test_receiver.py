"""What the user of a receiver sees: messages one by one, by iteration, with events, into a handler."""

import logging
import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from atmost import (
    AddressError,
    DatagramRefused,
    LateArrival,
    Loss,
    Message,
    OptionError,
    QueueOverflow,
    Receiver,
    Sender,
    SessionClosed,
    SessionOpened,
    SubjectError,
)
from atmost.transport import sockets
from tests.endpoint.tape import Hand
from tests.real import BOUND, until

URL = "memory://receiver"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that calls lost at once what is missing."""
    with Receiver(URL, grace=0) as receiver:
        yield receiver


@pytest.fixture
def hand(receiver: Receiver) -> Hand:
    """A session whose datagrams are made by hand."""
    return Hand(URL)


def test_messages_are_received_one_by_one(receiver: Receiver, hand: Hand) -> None:
    """Several from one datagram too; and None when there are no more."""
    hand.data(1, 2, 3)
    hand.data(4)
    assert [receiver.receive(0).payload for _ in range(4)] == [1, 2, 3, 4]  # type: ignore[union-attr]
    assert receiver.receive(0) is None
    assert receiver.receive(0.001) is None
    assert receiver.receive(-1) is None


def test_receive_waits_for_what_comes(receiver: Receiver, hand: Hand) -> None:
    """As long as it takes."""
    later = threading.Timer(0.02, hand.data, ("late",))
    later.start()
    message = receiver.receive()
    assert message is not None
    assert message.payload == "late"
    later.join()


@pytest.mark.parametrize("url", ["memory://long", "udp://127.0.0.1:0"])
@pytest.mark.parametrize("timeout", [1e12, float("inf")])
def test_receive_waits_longer_than_a_system_can(url: str, timeout: float) -> None:
    """A timeout beyond what one wait may take is no error; what comes is received."""
    with Receiver(url, clock_guard=0) as receiver, Sender(receiver.url) as sender:
        later = threading.Timer(0.02, sender.send, ("late",))
        later.start()
        message = receiver.receive(timeout)
        later.join()
    assert message is not None
    assert message.subject == "late"


def test_iteration_yields_until_the_receiver_is_closed(receiver: Receiver, hand: Hand) -> None:
    """From inside the loop, too: what the same datagram holds besides is discarded, and counted."""
    hand.data(1, 2)
    hand.data(3, 4, 5)
    seen = []
    for message in receiver:
        seen.append(message.payload)
        if message.payload == 3:
            receiver.close()
    assert seen == [1, 2, 3]
    assert list(receiver) == []
    assert receiver.receive() is None
    ledger = receiver.ledger()
    assert (ledger.delivered, ledger.discarded) == (3, 2)
    assert ledger.balanced()


def test_an_iteration_that_was_left_goes_on_where_it_was(receiver: Receiver, hand: Hand) -> None:
    """In whichever way: nothing of a datagram is lost because its first message ended a loop."""
    hand.data(*range(12))
    assert next(iter(receiver)).payload == 0
    assert [message.payload for message in islice(receiver, 2)] == [1, 2]
    assert receiver.receive(0).payload == 3  # type: ignore[union-attr]
    assert [event.payload for event in islice(receiver.events(), 2) if isinstance(event, Message)] == [4, 5]
    assert receiver.next_event(0).payload == 6  # type: ignore[union-attr]
    seen: list[Any] = []

    def fail(message: Message) -> None:
        seen.append(message.payload)
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            receiver.run(fail)
    assert seen == [7, 8]
    assert [receiver.receive(0).payload for _ in range(3)] == [9, 10, 11]  # type: ignore[union-attr]
    assert (receiver.ledger().delivered, receiver.ledger().queued) == (12, 0)


def test_events_show_a_loss_in_its_place(receiver: Receiver, hand: Hand) -> None:
    """Between the messages that came before it was known and those that came after (R19)."""
    events = receiver.events()
    hand.data("before")
    assert isinstance(next(events), SessionOpened)
    assert next(events).payload == "before"  # type: ignore[union-attr]
    lost = hand.make("lost", "lost too")
    hand.data("after")
    assert next(events).payload == "after"  # type: ignore[union-attr]
    loss = next(events)
    assert loss == Loss(loss.session, 2, "unknown", 1, 1)  # type: ignore[union-attr, arg-type]
    assert receiver.ledger().lost == 2
    hand.pass_on(lost)
    late = next(events)
    assert late == LateArrival(loss.session, 2)  # type: ignore[union-attr]
    assert [next(events).payload for _ in range(2)] == ["lost", "lost too"]  # type: ignore[union-attr]
    assert (receiver.ledger().lost, receiver.ledger().late) == (0, 2)
    hand.goodbye()
    assert next(events) == SessionClosed(loss.session)  # type: ignore[union-attr]


def test_a_loss_at_the_senders_socket_is_told_apart(receiver: Receiver, hand: Hand) -> None:
    """As far as the sender's beacons explain it (R20)."""
    hand.data(0)
    hand.make(1, 2)
    hand.make(3)
    hand.beacon({"ENOBUFS": 2})
    until(lambda: receiver.receive(0) is None and receiver.ledger().lost == 3)
    ledger = receiver.ledger()
    assert ledger.lost_by_place == {"sender_socket": 2, "in_flight": 1}
    assert ledger.balanced()


def test_the_next_event_is_had_one_by_one(receiver: Receiver, hand: Hand) -> None:
    """Messages and the rest; None when the time is over, and at once when the receiver is closed."""
    assert receiver.next_event(0) is None
    hand.data(1)
    assert isinstance(receiver.next_event(BOUND), SessionOpened)
    assert isinstance(receiver.next_event(BOUND), Message)
    assert receiver.next_event(0) is None
    receiver.close()
    assert receiver.next_event() is None


def test_what_happened_before_the_events_were_asked_for_is_in_the_ledger(receiver: Receiver, hand: Hand) -> None:
    """The messages themselves are there."""
    hand.data(1)
    hand.data(2)
    assert receiver.receive(0).payload == 1  # type: ignore[union-attr]
    assert next(receiver.events()).payload == 2  # type: ignore[union-attr]
    assert len(receiver.ledger().sessions) == 1


def test_run_calls_the_handler_with_what_matches(receiver: Receiver) -> None:
    """The rest counts as delivered: nobody wanted it."""
    handled = []

    def handle(message: Message) -> None:
        handled.append(message.subject)
        if message.subject == "stop.now":
            receiver.close()

    with Sender(URL, linger=0) as sender:
        for subject in ("metrics.cpu", "metrics", "orders.new", "orders.new.eu", "stop.now"):
            sender.send(subject)
        receiver.run(handle, subjects=("metrics.>", "orders.*", "stop.now"))
    assert handled == ["metrics.cpu", "orders.new", "stop.now"]
    assert receiver.ledger().delivered == 5


@pytest.mark.parametrize("pattern", ["", "a.>.b", "a*", "a..b"])
def test_a_malformed_pattern_is_the_callers_mistake(pattern: str, receiver: Receiver) -> None:
    """Before anything is received."""
    with pytest.raises(SubjectError):
        receiver.run(print, subjects=(pattern,))


def test_a_raising_handler_is_counted_and_never_called_again(
    receiver: Receiver, hand: Hand, caplog: pytest.LogCaptureFixture
) -> None:
    """The datagram was marked before (R14): its duplicate is refused. One line tells of many failures (R23)."""
    started = []

    def fail(message: Message) -> None:
        started.append(message.payload)
        if message.payload == "last":
            receiver.close()
        raise ValueError(message.payload)

    repeated = [hand.data(number) for number in range(20)]
    for datagram in repeated:
        hand.pass_on(datagram)
    hand.data("last")
    with caplog.at_level(logging.ERROR):
        receiver.run(fail)
    assert started == [*range(20), "last"]
    ledger = receiver.ledger()
    assert (ledger.handler_errors, ledger.delivered, ledger.refused) == (21, 21, {"duplicate": 20})
    (record,) = caplog.records
    assert record.getMessage() == "the handler failed on a; counted, never redelivered"
    assert record.exc_info is not None


def test_trouble_is_one_event_and_not_one_a_datagram(receiver: Receiver, hand: Hand) -> None:
    """Refusals and overflow alike (R23)."""
    events = receiver.events()
    datagram = hand.data(1)
    for _ in range(50):
        hand.pass_on(datagram)
    hand.data(2)
    kinds = [type(next(events)) for _ in range(4)]
    assert kinds == [SessionOpened, Message, DatagramRefused, Message]


def test_overflow_is_an_event_with_its_count() -> None:
    """The first at once (R14, R23)."""
    with Receiver(URL, max_queue=3) as receiver:
        Hand(URL).data(*range(10))
        events = list(islice(receiver.events(), 5))
        assert [type(event) for event in events] == [SessionOpened, Message, Message, Message, QueueOverflow]
        assert events[4].count == 7  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("grace", -1),
        ("grace", "long"),
        ("window", 0),
        ("window", 1.5),
        ("max_sessions", 0),
        ("future_bound", float("nan")),
        ("clock_guard", -0.5),
        ("max_age", 0),
        ("max_queue", 0),
        ("max_queue", 1.5),
        ("audience", None),
    ],
)
def test_an_option_outside_its_range_says_what_is_expected(option: str, value: Any) -> None:
    """And leaves the address free."""
    with pytest.raises(OptionError) as refused:
        Receiver(URL, **{option: value})
    assert refused.value.option == option
    Receiver(URL).close()


def test_without_a_url_the_environment_tells_where_to_receive(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given wins."""
    monkeypatch.setenv("ATMOST_BIND", "memory://elsewhere")
    with Receiver() as told, Receiver(URL) as given:
        assert (told.url, given.url) == ("memory://elsewhere", URL)
        assert repr(given) == f"<Receiver on {URL}>"
    assert repr(given) == f"<Receiver on {URL} (closed)>"
    monkeypatch.setenv("ATMOST_BIND", "tcp://elsewhere")
    with pytest.raises(AddressError):
        Receiver()


def test_a_small_receive_buffer_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """With address and fix, once, when the receiver starts."""
    monkeypatch.setattr(sockets, "RECEIVE_BUFFER", 1 << 40)
    monkeypatch.setattr(sockets, "_ask", lambda _sock, _option: 212_992)
    with Receiver("udp://127.0.0.1:0", clock_guard=0) as receiver:
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert record.getMessage().startswith(f"{receiver.url}: the kernel granted a receive buffer of 212992 bytes")
