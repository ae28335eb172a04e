"""What the caller of `send` sees: what it answers and raises, and what arrives."""

import asyncio
import datetime as dt
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from atmost import (
    PayloadNotEncodable,
    PayloadTooLarge,
    Receiver,
    Sender,
    SenderStats,
    SubjectError,
)
from tests.real import BOUND

URL = "memory://sender"
UTC = dt.UTC


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on the network inside the process."""
    with Receiver(URL) as receiver:
        yield receiver


@pytest.fixture
def sender() -> Iterator[Sender]:
    """A sender to it."""
    sender = Sender(URL, name="checkout-1")
    yield sender
    sender.close(0)


class Order(msgspec.Struct):
    id: int
    lines: list[str]


@dataclass
class Shop:
    city: str
    orders: list[Order]


@pytest.mark.parametrize(
    ("payload", "arrives"),
    [
        (None, None),
        (True, True),
        (False, False),
        (0, 0),
        (-(1 << 63), -(1 << 63)),
        ((1 << 64) - 1, (1 << 64) - 1),
        (1.5, 1.5),
        (float("inf"), float("inf")),
        ("", ""),
        ("Käse 🧀", "Käse 🧀"),
        (b"\x00\xff", b"\x00\xff"),
        ([], []),
        ([1, [2, "three"]], [1, [2, "three"]]),
        ((1, (2, 3)), [1, [2, 3]]),
        ({}, {}),
        ({"a": {"b": [None, True]}, 7: "seven"}, {"a": {"b": [None, True]}, 7: "seven"}),
        (dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC), dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)),
        (
            dt.datetime(2026, 1, 2, 3, tzinfo=dt.timezone(dt.timedelta(hours=2))),
            dt.datetime(2026, 1, 2, 1, tzinfo=UTC),
        ),
        (Order(1, ["a"]), {"id": 1, "lines": ["a"]}),
        (Shop("Bern", [Order(1, [])]), {"city": "Bern", "orders": [{"id": 1, "lines": []}]}),
    ],
    ids=repr,
)
def test_each_kind_of_payload_arrives(payload: Any, arrives: Any, sender: Sender, receiver: Receiver) -> None:
    """As itself; tuples as lists, structures as dictionaries."""
    assert sender.send("orders.new", payload) is True
    message = receiver.receive(BOUND)
    assert message is not None
    assert message.subject == "orders.new"
    assert message.payload == arrives
    assert type(message.payload) is type(arrives)


def test_a_message_names_its_sender_and_its_times(sender: Sender, receiver: Receiver) -> None:
    """Already the first: a beacon goes before it (R7)."""
    sender.send("a")
    message = receiver.receive(BOUND)
    assert message is not None
    assert message.payload is None
    assert (message.session.name, message.session.pid) == ("checkout-1", os.getpid())
    assert message.session.host
    assert message.sent_at <= message.received_at


def test_what_becomes_of_a_payload_after_send_changes_nothing(sender: Sender, receiver: Receiver) -> None:
    """It is encoded at `send` (R4), not when it leaves."""
    sender.send("warm.up")
    payload = {"items": [1]}
    sender.send("a", payload)
    payload["items"].append(2)
    payload["more"] = [3]
    sender.flush()
    receiver.receive(BOUND)
    message = receiver.receive(BOUND)
    assert message is not None
    assert message.payload == {"items": [1]}


@pytest.mark.parametrize(
    ("subject", "problem"),
    [
        ("", "must not be empty"),
        ("orders..new", "has an empty token"),
        (".orders", "has an empty token"),
        ("orders.", "has an empty token"),
        ("orders.*", "wildcards"),
        (">", "wildcards"),
        ("orders new", "white space"),
        ("orders\n", "white space"),
        ("a\0b", "control characters"),
        ("x" * 256, "is 256 bytes long, at most 255 are allowed"),
        ("é" * 128, "is 256 bytes long"),
        ("caf\udce9", "white space or control characters"),
        (None, "must be a string, not NoneType"),
        (b"orders", "must be a string, not bytes"),
        (7, "must be a string, not int"),
        (["orders"], "must be a string, not list"),
    ],
)
def test_a_malformed_subject_is_the_callers_mistake(subject: Any, problem: str, sender: Sender) -> None:
    """It raises, before anything is sent or counted; every time."""
    for _ in range(2):
        with pytest.raises(SubjectError, match=problem) as refused:
            sender.send(subject, 1)
        assert refused.value.subject == subject
    assert sender.stats() == SenderStats(0)


class Dotted(str):
    """Text of a class of its own, which says of itself something else."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something.else"


def test_a_subject_of_a_class_of_its_own_travels_as_its_text(sender: Sender, receiver: Receiver) -> None:
    """As a payload does: what was checked is what is sent."""
    assert sender.send(Dotted("a.b"), 1)
    message = receiver.receive(BOUND)
    assert message is not None
    assert message.subject == "a.b"
    with pytest.raises(SubjectError):
        sender.send(Dotted("a..b"), 1)


def test_many_subjects_are_all_accepted(sender: Sender, receiver: Receiver) -> None:
    """The memory of those that were checked is bounded; what is forgotten is checked again."""
    for number in range(10_000):
        assert sender.send(f"metrics.{number}")
    assert len(sender._subjects) <= 4096
    assert sender.send("metrics.0")
    assert receiver.receive(BOUND) is not None


def test_a_payload_that_cannot_be_carried_is_the_callers_mistake(sender: Sender) -> None:
    """The line names place and type; nothing is counted, for nothing was given to the sender."""
    with pytest.raises(
        PayloadNotEncodable, match=r"^payload\['a'\]\[1\]: builtins\.object cannot be carried: "
    ) as refused:
        sender.send("a", {"a": [1, object()]})
    assert refused.value.where == "payload['a'][1]"
    assert sender.stats() == SenderStats(0)


def test_a_payload_that_fits_no_datagram_is_the_callers_mistake(receiver: Receiver) -> None:
    """Size and limit are told; one byte less is sent (R2). The limit does not depend on what else waits."""
    with Sender(URL, max_datagram=1432) as sender:
        limit = 1432 - 48 - 3 - 16
        largest = b"x" * (limit - 6)  # the pair, the subject and the length of the payload take six bytes
        sender.send("a", 1)
        with pytest.raises(
            PayloadTooLarge, match=f"message of {limit + 1} bytes, at most {limit} fit one datagram"
        ) as big:
            sender.send("a", largest + b"x")
        assert (big.value.size, big.value.limit) == (limit + 1, limit)
        assert sender.stats().offered == 1
        assert sender.send("a", largest)
        sender.flush()
        assert [receiver.receive(BOUND).payload for _ in range(2)] == [1, largest]  # type: ignore[union-attr]


def test_asyncio_tasks_send_as_they_are(receiver: Receiver, sender: Sender) -> None:
    """Nothing to await: sending never waits (R9)."""

    async def work(task: int) -> None:
        for number in range(20):
            assert sender.send(f"task.{task}", number)
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(work(task) for task in range(10)))

    asyncio.run(main())
    sender.flush()
    arrived = [receiver.receive(BOUND) for _ in range(200)]
    assert {(message.subject, message.payload) for message in arrived if message} == {
        (f"task.{task}", number) for task in range(10) for number in range(20)
    }


def test_two_senders_are_two_sessions(receiver: Receiver) -> None:
    """Also of one name in one thread."""
    with Sender(URL, name="twin") as one, Sender(URL, name="twin") as two:
        one.send("a")
        two.send("a")
        sessions = {receiver.receive(BOUND).session.id for _ in range(2)}  # type: ignore[union-attr]
    assert len(sessions) == 2


def test_the_background_thread_does_not_spin_while_another_thread_hands_over(monkeypatch):
    """What is due is in another thread's turn: looking again at once would take the interpreter from that thread."""
    ticks = 0
    tick = Sender._tick

    def counted(sender):
        nonlocal ticks
        ticks += 1
        return tick(sender)

    monkeypatch.setattr(Sender, "_tick", counted)
    with Receiver("memory://spin") as receiver, Sender("memory://spin", name="busy") as sender:
        sender.send("a", 1)
        assert receiver.receive(5) is not None
        core = sender._core
        send = core.outlet.send
        inside, over = threading.Event(), threading.Event()

        def slow(data, process):
            inside.set()
            over.wait(30)
            return send(data, process)

        monkeypatch.setattr(core.outlet, "send", slow)
        thread = threading.Thread(target=lambda: (sender.send("a", 2), sender.flush()))
        thread.start()
        assert inside.wait(30)
        sender.send("a", 3)
        ticks = 0
        threading.Event().wait(0.2)
        seen = ticks
        over.set()
        thread.join()
    assert seen < 2000  # once a millisecond or less; spinning it was 20,000 and more
