"""A real NATS server with JetStream, and a relay in front of it that can swallow, stop and cut."""

import asyncio
import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Self

from atmost.demo.cluster import find_server, free_ports
from tests.real import BOUND, until


class JetStream:
    """A server on a free port of the loopback interface, with a store of its own that outlives it."""

    def __init__(self, store: Path, *options: str, jetstream: bool = True) -> None:
        self._store = store
        self._options = (*options, *(("-js", "-sd", str(store)) if jetstream else ()))
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it with what is in the store, and wait until it takes connections."""
        found = find_server()
        assert found is not None
        log = self._store / "log"
        place = ["-a", "127.0.0.1", "-p", str(self.port), "-l", str(log)]
        log.unlink(missing_ok=True)
        self._process = subprocess.Popen([found, *place, *self._options])
        until(lambda: log.exists() and "Server is ready" in log.read_text())

    def kill(self) -> None:
        """SIGKILL: it keeps what it had written, and says nothing to anybody."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(BOUND)

    def pause(self) -> None:
        """SIGSTOP: its connections stand, and nothing answers."""
        assert self._process is not None
        stat = Path(f"/proc/{self._process.pid}/task")
        os.kill(self._process.pid, signal.SIGSTOP)
        until(lambda: all(_state(thread) == "T" for thread in stat.iterdir()))

    def go_on(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


def _state(thread: Path) -> str:
    """What the system says of a thread; it may take a moment to stop."""
    return (thread / "stat").read_text().rpartition(")")[2].split()[0]


class Relay:
    """Passes bytes between whoever connects and a server, in the loop that runs the test."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.swallow_answers = False
        """What the server says is read and thrown away."""
        self.swallow_requests = False
        """What is said to the server is."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"nats://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """End every connection; new ones pass again, in both directions."""
        for writer in self._writers:
            writer.transport.abort()
        self.swallow_answers = self.swallow_requests = False

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, there[1]}
        for source, target, what in ((reader, there[1], "swallow_requests"), (there[0], writer, "swallow_answers")):
            task = asyncio.create_task(self._pass(source, target, what))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, what: str) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                if not getattr(self, what):
                    target.write(data)
        target.close()
        self._writers.discard(target)
