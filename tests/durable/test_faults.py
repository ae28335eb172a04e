"""The table of docs/durable.md: what becomes of one message under each fault, in each guarantee. Every cell is run here."""

import asyncio
import re
import signal
from collections.abc import Callable, Coroutine
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from atmost.durable import NotAcknowledged
from tests.durable.jetstream import JetStream, Relay
from tests.durable.scene import ACK_WAIT, NAME, Mode, Scene, until
from tests.real import Program, program

pytestmark = pytest.mark.needs("nats-server")

PAGE = (Path(__file__).parents[2] / "docs" / "durable.md").read_text(encoding="utf-8")
Row = Callable[[Scene], Coroutine[Any, Any, int]]
ROWS: dict[str, Row] = {}
OWN_SERVER: set[str] = set()
"""Rows that kill or stop the server."""
WINDOW = 2.0


def row(name: str, *, own_server: bool = False) -> Callable[[Row], Row]:
    """Declare a row under the name it has on the page."""

    def declare(function: Row) -> Row:
        ROWS[name] = function
        if own_server:
            OWN_SERVER.add(name)
        return function

    return declare


@row("nothing")
async def nothing(scene: Scene) -> int:
    """The way of a message."""
    await scene.publish()
    return await scene.processed()


async def _acknowledgement_lost(scene: Scene, happens: Callable[[Relay], None], port: int) -> int:
    """The message is stored, and its publisher does not hear of it before something happens."""
    async with Relay(port) as relay:
        publisher = scene.guarantee(relay.url)
        await publisher._engine.jetstream(10)
        relay.swallow_answers = True
        publishing = asyncio.create_task(publisher.publish(scene.subject, "a"))
        await scene.until_stored(1)
        happens(relay)
        receipt = await publishing
        assert receipt.attempts > 1
        assert receipt.duplicate is (scene.mode is not Mode.AT_LEAST_ONCE)
        await publisher.close()
    return await scene.processed()


@row("the server is killed between storing a message and acknowledging it, and starts again", own_server=True)
async def server_killed_before_acknowledgement(scene: Scene) -> int:
    """What it stored is in its file, and so is the id."""

    def happens(relay: Relay) -> None:
        server = scene.server
        server.kill()
        relay.cut()
        server.start()

    return await _acknowledgement_lost(scene, happens, scene.server.port)


@row("the connection is cut there")
async def cut_before_acknowledgement(scene: Scene) -> int:
    """The publisher connects again and repeats."""
    return await _acknowledgement_lost(scene, Relay.cut, scene.server.port)


@row("the server is away when it is published, and comes back before the deadline", own_server=True)
async def away(scene: Scene) -> int:
    """Publishing waits for it."""
    scene.server.kill()
    async with scene.guarantee() as publisher:
        publishing = asyncio.create_task(publisher.publish(scene.subject, "a"))
        await until(lambda: publisher.stats().trouble)
        await asyncio.to_thread(scene.server.start)
        assert (await publishing).attempts >= 1
    return await scene.processed()


@row("it stays away: `NotAcknowledged`, which says that nothing was stored", own_server=True)
async def stays_away(scene: Scene) -> int:
    """The caller is told, with certainty."""
    async with scene.guarantee() as publisher:
        await publisher._engine.jetstream(10)
        scene.server.kill()
        await until(lambda: not publisher.connected)
        with pytest.raises(NotAcknowledged, match="it is not stored") as told:
            await publisher.publish(scene.subject, "a", deadline=0.5)
        assert told.value.unknown is False
    await asyncio.to_thread(scene.server.start)
    await scene.publish("another")
    return (await scene.processed()) * scene.books.effects().get("a", 0)


@row("the publisher repeats it under its id within the duplicate window")
async def repeated_within_window(scene: Scene) -> int:
    """As a program does that was restarted in the middle."""
    await scene.publish(id="order-17")
    await scene.publish(id="order-17")
    assert await scene.stored() == (2 if scene.mode is Mode.AT_LEAST_ONCE else 1)
    return await scene.processed()


async def _repeated_after_window(scene: Scene, between: Callable[[], object]) -> int:
    await scene.publish(id="order-17")
    assert await scene.processed() == 1
    between()
    async with scene.guarantee() as publisher:
        while (await publisher.publish(scene.subject, "a", id="order-17")).duplicate:  # noqa: ASYNC110  the server's clock
            await asyncio.sleep(0.1)
    assert await scene.stored() == 2  # the server knows nothing of it any more
    return await scene.processed()


@row("… after the window, within the record's retention")
async def repeated_after_window(scene: Scene) -> int:
    """The server stores it again, and the consumer's record knows it."""
    return await _repeated_after_window(scene, lambda: None)


@row("… after the record's retention")
async def repeated_after_retention(scene: Scene) -> int:
    """Nobody knows of it any more: a message like any other."""

    def nine_days_later() -> None:
        scene.books.jump = 9 * 86_400
        scene.books.store.prune()

    return await _repeated_after_window(scene, nine_days_later)


@contextmanager
def _other_process(scene: Scene, place: str):
    code = "from tests.durable.consumer import main; main()"
    arguments = (scene.url, scene.stream.name, scene.subject, scene.mode, scene.folder, place)
    with program(code, *arguments) as other:
        yield other


async def _killed(scene: Scene, place: str) -> int:
    """A consumer is killed at a place, and another one takes over."""
    await scene.publish()
    with _other_process(scene, place) as other:
        assert await asyncio.to_thread(other.line) == "held"
        other.kill()
    return await scene.processed()


ROWS["the consumer is killed before the effect"] = partial(_killed, place="before")
ROWS["… between the effect and its record"] = partial(_killed, place="effect")
ROWS["… between the record and the acknowledgement"] = partial(_killed, place="record")


@row("the consumer stands still for longer than `ack_wait` in the middle, and another one takes over")
async def paused(scene: Scene) -> int:
    """Two have the same message in hand."""
    await scene.publish()
    with _other_process(scene, "effect") as other:
        await _pass_on(scene, other)
    return scene.effects()


async def _pass_on(scene: Scene, other: Program) -> None:
    assert await asyncio.to_thread(other.line) == "held"
    other.process.send_signal(signal.SIGSTOP)
    async with scene.consuming() as second:
        await until(lambda: second.stats().redelivered)
        other.process.send_signal(signal.SIGCONT)
        other.tell()
        await scene.until_settled()


async def _last_word_lost(scene: Scene, happens: Callable[[Relay], None]) -> int:
    """The message is processed, and the server does not hear of it."""
    await scene.publish()
    async with Relay(scene.server.port) as relay:

        def handler(message: Any) -> None:
            first = scene.effects() == 0
            scene.books.affect(message)
            if first:
                relay.swallow_requests = relay.swallow_answers = True

        async with scene.consuming(handler, relay.url) as consumer:
            await until(lambda: consumer.stats().processed)
            await asyncio.sleep(
                0.2
            )  # until the acknowledgement has left: without the row's fault it would have arrived
            happens(relay)
            await scene.until_settled()
    return scene.effects()


@row("the acknowledgement of what was processed is lost with the connection")
async def last_word_lost(scene: Scene) -> int:
    """It is delivered again on the next connection."""
    return await _last_word_lost(scene, Relay.cut)


@row("… with the server, which is killed and starts again", own_server=True)
async def last_word_lost_with_the_server(scene: Scene) -> int:
    """The restarted one knows what was not acknowledged."""

    def happens(relay: Relay) -> None:
        scene.server.kill()
        relay.cut()
        scene.server.start()

    return await _last_word_lost(scene, happens)


@row("a handler takes longer than `ack_wait`, and another consumer is free")
async def slow(scene: Scene) -> int:
    """The server is told that somebody is at it."""
    await scene.publish()

    async def handler(message: Any) -> None:
        await asyncio.sleep(1.5 * ACK_WAIT)
        scene.books.affect(message)

    async with scene.consuming(handler) as one, scene.consuming(handler) as other:
        await scene.until_settled()
    assert one.stats().redelivered == other.stats().redelivered == 0
    return scene.effects()


@row("two consumers under one name")
async def two(scene: Scene) -> int:
    """They share twenty messages."""
    async with scene.guarantee() as publisher:
        await asyncio.gather(*(publisher.publish(scene.subject, str(number)) for number in range(20)))
    async with scene.consuming() as one, scene.consuming() as other:
        await scene.until_settled()
    assert one.stats().processed + other.stats().processed == 20
    return scene.effects()


@row("a handler raises once, before its effect")
async def raises_once(scene: Scene) -> int:
    """It is tried again, unless it was recorded already."""
    await scene.publish()
    calls: list[int] = []

    def handler(message: Any) -> None:
        calls.append(message.attempt)
        if len(calls) == 1:
            raise RuntimeError("no paper")
        scene.books.affect(message)

    async with scene.consuming(handler):
        await scene.until_settled()
    assert calls == ([1] if scene.mode is Mode.BEFORE else [1, 2])
    return scene.effects()


@row("it raises every time: poison, parked or on the dead-letter subject")
async def poison(scene: Scene) -> int:
    """After `max_deliver` it is given up, and counted."""
    await scene.publish()

    def handler(_message: Any) -> None:
        raise RuntimeError("no paper")

    async with scene.consuming(handler, max_deliver=3) as consumer:
        await scene.until_settled()
        await until(lambda: consumer.stats().parked)
    assert consumer.stats().failed == (1 if scene.mode is Mode.BEFORE else 3)
    assert await scene.stored() == 1
    return scene.effects()


def cells(name: str) -> list[str]:
    """A row of the page."""
    found = re.search(rf"^\| {re.escape(name)} \| (.*) \|$", PAGE, flags=re.MULTILINE)
    return found[1].split(" | ") if found else []


def shown(number: int) -> str:
    """A count as the page shows it."""
    return "2+" if number > 1 else str(number)


@pytest.mark.parametrize("name", ROWS)
def test_fault(name: str, server: JetStream, start: Callable[[], JetStream], tmp_path: Path):
    """What the page says of this fault is what happens, in all four columns."""

    async def cell(mode: Mode, at: JetStream) -> int:
        window = {"duplicate_window": WINDOW} if "window" in name or "retention" in name else {}
        async with Scene(mode, tmp_path / mode.name, at, **window) as scene:
            return await ROWS[name](scene)

    async def cells_of_row() -> list[int]:
        return await asyncio.gather(*(cell(*pair) for pair in zip(Mode, servers, strict=True)))

    servers = [start() if name in OWN_SERVER else server for _ in Mode]
    happened = [shown(number) for number in asyncio.run(cells_of_row())]
    assert cells(name) == happened, f"| {name} | {' | '.join(happened)} |"


def test_the_page_has_no_other_rows():
    """A row that is not run would be a claim."""
    table = PAGE.partition("| fault |")[2].partition("\n\n")[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]]
    assert rows == list(ROWS)
    assert "| fault | " + " | ".join(f"{mode}" for mode in Mode) + " |" in PAGE.replace("`", "")
    assert NAME
