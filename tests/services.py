"""Real servers and pools beside a test, and an observer that adds up what their processes sent."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from atmost import Receiver
from atmost.core.events import Message, SessionClosed, SessionOpened
from atmost.logs import LogReader, LogRecord
from atmost.metrics import MetricsReader
from tests.real import BOUND, environment, until

T = TypeVar("T")
SCRIPTS = Path(sys.executable).parent


class Observer:
    """A receiver whose metrics, logs and sessions are added up by a thread."""

    def __init__(self) -> None:
        self.receiver = Receiver("udp://127.0.0.1:0", grace=0.3)
        self.url = self.receiver.url
        self.metrics, self.logs = MetricsReader(), LogReader()
        self.records: list[LogRecord] = []
        self.subjects: Counter[str] = Counter()
        self.opened: set[bytes] = set()
        self.closed: set[bytes] = set()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            event = self.receiver.next_event(0.05)
            now = time.monotonic()
            with self._lock:
                if event is None:
                    self.records += [one for one in self.logs.tick(now) if isinstance(one, LogRecord)]
                    continue
                self.metrics.feed(event, now)
                self.records += [one for one in self.logs.feed(event, now) if isinstance(one, LogRecord)]
                if isinstance(event, Message):
                    self.subjects[event.subject] += 1
                elif isinstance(event, SessionOpened):
                    self.opened.add(event.session.key)
                elif isinstance(event, SessionClosed):
                    self.closed.add(event.session.key)

    def total(self, name: str, **labels: str) -> float:
        """A counter's total, or a histogram's observations, over all processes."""
        with self._lock:
            return self.metrics.total(name, labels) or 0

    def routes(self) -> dict[tuple[str, ...], float]:
        """Requests by method, route and status."""
        found: Counter[tuple[str, ...]] = Counter()
        with self._lock:
            for _, labels, last in self.metrics.series("http_requests_total"):
                found[labels["method"], labels["route"], labels["status"]] += last or 0
        return dict(found)

    def is_quiet(self) -> bool:
        """Whether every session that began has said goodbye."""
        with self._lock:
            return bool(self.opened) and self.opened == self.closed

    def close(self) -> None:
        """Ends."""
        self._ended.set()
        self._thread.join()
        self.receiver.close()


def settles(ask: Callable[[], T], wanted: T, *, patience: float = BOUND) -> None:
    """Waits until the answer is what is wanted; at the end of patience the assertion shows what it is instead."""
    deadline = time.monotonic() + patience
    while ask() != wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    found = ask()
    assert found == wanted, f"{found!r} is not {wanted!r}"


@contextlib.contextmanager
def observing() -> Iterator[Observer]:
    """An observer for one test."""
    observer = Observer()
    try:
        yield observer
    finally:
        observer.close()


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def serving(*command: object, cwd: Path, port: int | None = None, **changes: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs beside the test, in a directory; it has answered on its port before the test goes on.

    At the end it is asked to stop as an init system asks, and must do so.
    """
    with (
        (cwd / "output").open("wb") as output,
        subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=environment(**changes) | {"PYTHONWARNINGS": "ignore"},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            if port is not None:
                until(lambda: process.poll() is not None or _answers(port))
            assert process.poll() is None, (cwd / "output").read_text()
            yield process
            process.terminate()
            process.wait(BOUND)
        finally:
            if process.poll() is None:
                process.kill()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def fetch(port: int, path: str, **headers: str) -> tuple[int, str, str]:
    """Status, request identity and text of an answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=BOUND) as answer:  # noqa: S310
            return answer.status, answer.headers.get("X-Request-ID", ""), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("X-Request-ID", ""), error.read().decode()
