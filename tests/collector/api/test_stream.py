"""The event stream: what comes when, what a slow reader misses, how many readers there may be, and how it ends."""

import asyncio
import json

import pytest

from atmost.collector.api import stream
from tests.collector.scene import T0, Asked, message


class Reader:
    """One reader of the stream."""

    def __init__(self, asked, headers=(), method="GET"):
        self.asked, self.sent, self.gone = asked, [], asyncio.Event()
        self.block = None
        headers = [(b"host", b"127.0.0.1"), *headers]
        self.scope = {
            "type": "http",
            "method": method,
            "path": "/api/v1/stream",
            "headers": headers,
            "query_string": b"",
        }

    async def receive(self):
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, part):
        if self.block is not None and part["type"] == "http.response.body":
            await self.block.wait()
        self.sent.append(part)

    async def run(self):
        await self.asked.app(self.scope, self.receive, self.send)

    @property
    def status(self):
        return self.sent[0]["status"]

    @property
    def events(self):
        """Kind, id and data of each event."""
        text = b"".join(part.get("body", b"") for part in self.sent[1:]).decode()
        found = []
        for block in text.split("\n\n"):
            lines = dict(line.partition(": ")[::2] for line in block.splitlines() if not line.startswith(":"))
            if "event" in lines:
                found.append((lines["event"], lines.get("id"), json.loads(lines["data"])))
        return found

    def of(self, kind):
        """The data of one kind."""
        return [data for name, _, data in self.events if name == kind]


async def until(condition):
    """Waits for a condition, with a bound."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  what is waited for sets no event
            await asyncio.sleep(0.005)


@pytest.fixture
def quick(monkeypatch):
    """Shorter intervals, in the same proportions."""
    for name in ("OVERVIEW_EVERY", "SENDERS_EVERY", "HEARTBEATS_EVERY", "LOGS_EVERY", "COMMENT_EVERY"):
        monkeypatch.setattr(stream, name, getattr(stream, name) / 20)


def log(asked, count):
    """So many records come."""
    for number in range(count):
        asked.state.feed(message("logs.app", {"message": f"line {number}"}), T0, 0.0)


def test_everything_comes_by_itself(quick):
    """Overview, senders, heartbeats at once and again; log entries as they come, with their cursor."""

    async def scene():
        asked = Asked()
        log(asked, 3)
        reader = Reader(asked)
        task = asyncio.ensure_future(reader.run())
        await until(lambda: len(reader.of("overview")) > 2 and len(reader.of("senders")) > 1)
        assert reader.of("logs") == []
        log(asked, 2)
        await until(lambda: reader.of("logs"))
        [page] = reader.of("logs")
        assert [record["message"] for record in page["records"]] == ["line 0", "line 1"]
        assert [number for kind, number, _ in reader.events if kind == "logs"] == [str(page["cursor"])]
        count = len(reader.of("heartbeats"))
        asked.state.feed(message("heartbeats.w", {"number": 0, "interval": 1.0}), T0, 0.0)
        await until(lambda: len(reader.of("heartbeats")) > count)
        assert asked.app.streams.open == 1
        reader.gone.set()
        await task
        assert asked.app.streams.open == 0
        assert dict(reader.sent[0]["headers"])[b"content-type"] == b"text/event-stream; charset=utf-8"

    asyncio.run(scene())


def test_a_reader_resumes_where_it_was(quick):
    """By Last-Event-ID; what it cannot have any more is counted."""

    async def scene():
        asked = Asked()
        start = asked.state.logs.cursor
        log(asked, stream.MAX_ENTRIES + 10)
        reader = Reader(asked, [(b"last-event-id", str(start).encode())])
        task = asyncio.ensure_future(reader.run())
        await until(lambda: reader.of("logs"))
        [page] = reader.of("logs")
        assert (len(page["records"]), page["skipped"]) == (stream.MAX_ENTRIES, 10)
        assert asked.app.streams.skipped == 10
        reader.gone.set()
        await task

    asyncio.run(scene())


def test_there_are_only_so_many_readers(quick):
    """One more is refused, and told."""

    async def scene():
        asked = Asked()
        readers = [Reader(asked) for _ in range(3)]
        tasks = [asyncio.ensure_future(reader.run()) for reader in readers]
        await tasks[2]
        assert (readers[2].status, asked.app.streams.refused) == (503, 1)
        for reader in readers:
            reader.gone.set()
        await asyncio.gather(*tasks)

    asyncio.run(scene())


def test_a_reader_that_takes_nothing_is_cut_off(quick, monkeypatch):
    """And counted; nothing is kept for it meanwhile."""
    monkeypatch.setattr(stream, "PATIENCE", 0.05)

    async def scene():
        asked = Asked()
        reader = Reader(asked)
        reader.block = asyncio.Event()
        task = asyncio.ensure_future(reader.run())
        await until(lambda: asked.app.streams.cut == 1)
        assert asked.app.streams.open == 0
        reader.block.set()
        await task

    asyncio.run(scene())


def test_streams_end_with_the_collector(quick):
    """The page sees it and connects again."""

    async def scene():
        asked = Asked()
        reader = Reader(asked)
        task = asyncio.ensure_future(reader.run())
        await until(lambda: reader.of("overview"))
        asked.app.streams.closing = True
        async with asyncio.timeout(20):
            await task
        assert reader.sent[-1] == {"type": "http.response.body", "body": b""}

    asyncio.run(scene())


def test_a_quiet_stream_says_that_it_is_there(quick, monkeypatch):
    """With comments, which proxies let through."""
    for name in ("OVERVIEW_EVERY", "SENDERS_EVERY", "HEARTBEATS_EVERY"):
        monkeypatch.setattr(stream, name, 1000.0)

    async def scene():
        asked = Asked()
        reader = Reader(asked)
        task = asyncio.ensure_future(reader.run())
        await until(lambda: any(b": still here" in part.get("body", b"") for part in reader.sent[1:]))
        reader.gone.set()
        await task

    asyncio.run(scene())


def test_the_head_of_a_stream_has_an_end(quick):
    """HEAD asks for no events."""

    async def scene():
        reader = Reader(Asked(), method="HEAD")
        async with asyncio.timeout(20):
            await reader.run()
        assert reader.status == 200

    asyncio.run(scene())


def test_an_event_is_bounded_in_bytes_and_encoded_once(quick, monkeypatch):
    """The newest lines that fit go out, the others are told as skipped; two readers are given the same bytes."""
    monkeypatch.setattr(stream, "MAX_EVENT", 20_000)
    encoded = []
    encode = stream._encode
    monkeypatch.setattr(stream, "_encode", lambda value: encoded.append(type(value).__name__) or encode(value))

    async def scene():
        asked = Asked()
        readers = [Reader(asked), Reader(asked)]
        tasks = [asyncio.ensure_future(reader.run()) for reader in readers]
        await until(lambda: all(reader.of("overview") for reader in readers))
        for number in range(30):
            asked.state.feed(message("logs.app", {"message": f"{number:02}" + "\x00" * 500}), T0, 0.0)
        asked.state.tick(T0 + 5, 5.0)
        await until(lambda: all(reader.of("logs") for reader in readers))
        for reader in readers:
            [page] = reader.of("logs")
            assert page["records"][-1]["message"].startswith("29")
            assert len(json.dumps(page["records"])) < 25_000
            assert page["skipped"] + len(page["records"]) == 30
        for reader in readers:
            reader.gone.set()
        await asyncio.gather(*tasks)

    asyncio.run(scene())
    assert encoded.count("Record") <= 30
