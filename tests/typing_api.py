"""The public interface as a type checker sees it; `make types` checks this file, and nothing ever runs it."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_type

import msgspec

import atmost
from atmost import (
    AddressInUse,
    AsyncReceiver,
    ClockAlarm,
    DatagramRefused,
    Event,
    LateArrival,
    Ledger,
    Loss,
    Message,
    PayloadTooLarge,
    QueueOverflow,
    Receiver,
    Sender,
    SenderStats,
    Session,
    SessionClosed,
    SessionEvicted,
    SessionLedger,
    SessionOpened,
    durable,
)
from atmost.heartbeats import HeartbeatChange
from atmost.logs import LogGap, LogRecord, display_lines, read


class Order(msgspec.Struct):
    """A payload."""

    id: int


@dataclass
class Basket:
    """Another."""

    orders: list[Order]


def sending(moment: dt.datetime) -> None:
    """A sender: what it takes and what it answers."""
    assert_type(atmost.__version__, str)
    Sender()
    Sender(None, name=None, audience="", linger=0.005, max_datagram=None, max_bytes_per_second=None)
    Sender("udp://127.0.0.1:7140", max_buffer=1, max_hold=1, key=None, key_file=Path("key"))
    with atmost.Sender("memory://a", linger=0, max_datagram=1432, max_bytes_per_second=1e6) as sender:
        assert_type(sender, Sender)
        assert_type(sender.send("a"), bool)
        for payload in (None, True, 1, 1.5, "", b"", [1], (1, 2), {"a": [1]}, moment, Order(1), Basket([])):
            assert_type(sender.send("a", payload), bool)
        sender.flush()
        assert_type(sender.url, str)
        assert_type(sender.name, str)
        stats = sender.stats()
        assert_type(stats, SenderStats)
        assert_type(stats.offered, int)
        assert_type(stats.dropped, dict[str, int])
        assert_type(stats.open, int)
        assert_type(stats.handed_over, int)
        assert_type(stats.refused, dict[str, int])
        sender.close()
        sender.close(timeout=0)


def misuse(sender: Sender) -> None:
    """What a type checker refuses; an unused `ignore` would be an error."""
    Sender(7140)  # type: ignore[arg-type]
    Sender("memory://a", None, "name")  # type: ignore[call-arg]
    Sender("memory://a", linger="soon")  # type: ignore[arg-type]
    Sender("memory://a", batch_size=7)  # type: ignore[call-arg]
    sender.send(b"a")  # type: ignore[arg-type]
    sender.stats().offered = 1  # type: ignore[misc]
    Receiver("memory://a", graze=1)  # type: ignore[call-arg]
    atmost.Socket  # type: ignore[attr-defined] # noqa: B018


def receiving() -> None:
    """A receiver: messages in every way."""
    Receiver(None, audience="", grace=1.0, window=4096, max_sessions=4096, future_bound=None, clock_guard=None)
    Receiver("memory://a", future_bound=0, clock_guard=1, max_age=60.0, max_queue=1, key=["a", "b"], key_file="key")
    with atmost.Receiver("memory://a") as receiver:
        assert_type(receiver, Receiver)
        assert_type(receiver.receive(), Message | None)
        assert_type(receiver.receive(timeout=1), Message | None)
        assert_type(receiver.next_event(0.5), Event | None)
        assert_type(iter(receiver), Iterator[Message])
        assert_type(receiver.events(), Iterator[Event])
        for message in receiver:
            assert_type(message, Message)
        for event in receiver.events():
            happened(event)
        receiver.run(handle)
        receiver.run(print, subjects=("metrics.>",))
        receiver.run(lambda message: message.payload, subjects=["a"])
        assert_type(receiver.ledger(), Ledger)
        assert_type(receiver.url, str)
        assert_type(receiver.closed, bool)
        assert_type(receiver.close(), None)


def handle(message: Message) -> int:
    """A handler may return anything."""
    assert_type(message.subject, str)
    assert_type(message.payload, Any)
    assert_type(message.sent_at, float)
    assert_type(message.received_at, float)
    session = message.session
    assert_type(session, Session)
    assert_type(session.name, str)
    assert_type(session.host, str)
    assert_type(session.pid, int)
    assert_type(session.id, str)
    return 1


def happened(event: Event) -> int:
    """Every kind of event, and no other: without a `case` for one, a type checker finds a way without `return`."""
    match event:
        case Message():
            return handle(event)
        case Loss(session, count, place):
            assert_type(session, Session)
            assert_type(count, int)
            assert_type(place.value, str)
            return event.last_sequence - event.first_sequence
        case LateArrival() | QueueOverflow() | DatagramRefused():
            return event.count
        case SessionOpened():
            return event.before_join
        case SessionClosed() | SessionEvicted():
            return event.session.pid
        case ClockAlarm():
            return event.count


async def asynchronous() -> None:
    """The same with `await`."""
    async with atmost.AsyncReceiver("memory://a", grace=0.5) as receiver:
        assert_type(receiver, AsyncReceiver)
        assert_type(await receiver.ready(), AsyncReceiver)
        assert_type(await receiver.receive(), Message | None)
        assert_type(await receiver.receive(timeout=1), Message | None)
        assert_type(await receiver.next_event(0.5), Event | None)
        assert_type(receiver.events(), AsyncIterator[Event])
        async for message in receiver:
            assert_type(message, Message)
        async for event in receiver.events():
            assert_type(event, Event)
        await receiver.run(handle)
        await receiver.run(handle_later, subjects=("a.*",))
        assert_type(receiver.ledger(), Ledger)
        receiver.close()


async def handle_later(message: Message) -> None:
    """A coroutine function is a handler too."""
    assert_type(message.payload, Any)


def account(ledger: Ledger) -> None:
    """What is known of what arrived and what did not."""
    for number in (ledger.delivered, ledger.lost, ledger.late, ledger.pending, ledger.queued, ledger.overflow):
        assert_type(number, int)
    for number in (ledger.discarded, ledger.before_join, ledger.tail_unknown):
        assert_type(number, int)
    assert_type(ledger.lost_by_place, dict[str, int | None])
    assert_type(ledger.refused, dict[str, int])
    assert_type(ledger.kernel_drops, int | None)
    assert_type(ledger.balanced(), bool)
    assert_type(ledger.sessions, list[SessionLedger])
    for session in ledger.sessions:
        assert_type(session.name, str)
        assert_type(session.tail.value, str)


def uses(sender: Sender, event: Event, now: float) -> None:
    """Metrics, logs and heartbeats: both ends of each."""
    metrics = atmost.Metrics(sender, interval=1.0)
    metrics.counter("a_total").inc()
    metrics.counter("b_total", "", ("route",)).labels("/").inc(2)
    metrics.gauge("c", mode="each").set(0.5)
    metrics.histogram("d_seconds", buckets=(0.1, 1)).observe(2)
    atmost.Metrics("memory://a").close()
    atmost.Metrics({"url": "memory://a"}, process=True).close(timeout=0)
    atmost.Metrics(7140)  # type: ignore[arg-type]
    assert_type(atmost.MetricsReader(now=now).total_of("a_total", now).completeness, float | None)
    assert_type(metrics.reading("cpu", 1), bool)
    assert_type(atmost.MetricsReader(now=now).total("a_total"), float | None)
    handler: logging.Handler = atmost.LogHandler(sender)
    atmost.LogHandler("memory://a", level="INFO", drop="lowest", max_record=512, flush_level=logging.WARNING)
    atmost.LogHandler({"url": "memory://a", "name": "b"}, subject="audit", max_queue=1, mark_interval=1)
    atmost.LogHandler(7140)  # type: ignore[arg-type]
    handler.flush()
    reader = atmost.LogReader(grace=0.5, now=now)
    for found in reader.feed(event, now) + reader.tick(now) + reader.close(now):
        if isinstance(found, LogGap):
            assert_type(found.by_level, Mapping[str, int] | None)
        else:
            assert_type(found, LogRecord)
            assert_type(found.level, str | None)
        assert_type(display_lines(found), list[str])
    assert_type(reader.next_deadline(), float | None)
    assert_type(reader.stats().lost_by_level, Mapping[str, int])
    assert_type(reader.stats().records, int)
    assert_type(read(atmost.Receiver("memory://a"), reader, seconds=1), Iterator[LogRecord | LogGap])
    assert_type(atmost.LogHandler(sender).stats().dropped, int)
    assert_type(atmost.Heartbeat(None, "job").stats().beats, int)
    with atmost.Heartbeat(sender, "job", 1.0, timeout=5.0) as heartbeat:
        assert_type(heartbeat, atmost.Heartbeat)
    monitor = atmost.HeartbeatMonitor(on_change=print)
    assert_type(monitor.feed(event, now), list[HeartbeatChange])
    assert_type(monitor.wait(now), float | None)


def errors() -> None:
    """They are caught with their facts."""
    try:
        Receiver("udp://127.0.0.1:7140")
    except AddressInUse as error:
        assert_type(error.holder, str | None)
    except PayloadTooLarge as error:
        assert_type(error.limit, int)
    except atmost.AtMostError:
        pass


async def must_be_delivered() -> None:
    """The guard, and the guarantees it leads to."""
    atmost.must_deliver("payments.>", "stock.*.decrement")
    stream = durable.Stream("PAYMENTS", ["payments.>"], max_age=0)

    async def handler(message: durable.DurableMessage) -> None:
        assert_type(message.redelivered, bool)

    def plain(message: Message) -> None:
        assert_type(message.payload, Any)

    async with durable.AtLeastOnce("nats://a", stream) as more:
        assert_type(more, durable.AtLeastOnce)
        assert_type(await more.publish("payments.captured", {"amount": 1}), durable.Receipt)
        await more.run(handler, durable="ledger", concurrency=4)
        assert_type(more.stats(), durable.DurableStats)
    with durable.SQLiteStore("ledger.db") as store:
        records: durable.IdempotencyStore = store
        async with durable.ExactlyOnce("nats://a", stream) as once:
            await once.run(plain, durable="ledger", store=records, record="before")
    with durable.Blocking(lambda: durable.ExactlyOnce("nats://a", stream)) as blocking:
        assert_type(blocking.publish("payments.captured", id="order-17"), durable.Receipt)


def hints(sender: Sender, receiver: Receiver) -> None:
    """Caches that hear hints: what is loaded keeps its type, and so does what is decorated."""
    with atmost.HintedCache(300, receiver=receiver, policy="soft") as cache, atmost.Invalidator(sender) as invalidator:
        assert_type(cache.get_or_load("a", lambda: 5, tags=lambda value: (str(value),)), int)
        assert_type(cache.staleness_bound, float)
        assert_type(invalidator.invalidate("a"), bool)
        with cache.filling("a") as fill:
            assert_type(fill.set(Order(1), ttl=5, tags=("a",)), Order)

        @atmost.hinted(cache, key="order:{number}")
        def load(number: int) -> Order:
            return Order(number)

        assert_type(load(5), Order)
        load("5")  # type: ignore[arg-type]
        invalidator.invalidate(load.key(5))
