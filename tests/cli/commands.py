"""Commands as a user runs them: processes of their own, whose output is read as it comes."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

import pytest

from tests.real import BOUND, environment

__all__ = ["Ended", "Running", "Start", "ask", "commands", "run", "start"]


class Ended(NamedTuple):
    """A command that is over."""

    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[Any]:
        """Standard output as JSON, a value a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Running:
    """A command in a process of its own; `out` and `err` hold what it has said so far."""

    def __init__(self, program: list[str], stdin: int | IO[bytes], changes: dict[str, str]) -> None:
        self.out: list[str] = []
        self.err: list[str] = []
        self._said = threading.Condition()
        # What is ignored here would be ignored there: shells start what runs in the background so.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self.process = subprocess.Popen(
                [sys.executable, *program],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(**changes),
            )
        finally:
            signal.signal(signal.SIGINT, before)
        self.pid = self.process.pid
        streams = ((self.process.stdout, self.out), (self.process.stderr, self.err))
        self._readers = [threading.Thread(target=self._read, args=stream, daemon=True) for stream in streams]
        for reader in self._readers:
            reader.start()

    def until(self, condition: Callable[[], Any]) -> Any:
        """Return what `condition` says as soon as that is true; it is asked whenever the command says something."""
        deadline = time.monotonic() + BOUND
        with self._said:
            while not (answer := condition()):
                left = deadline - time.monotonic()
                ended = not any(reader.is_alive() for reader in self._readers)
                assert left > 0, f"waited in vain\n{''.join(self.out)}\n{''.join(self.err)}"
                assert not ended, f"it ended\n{''.join(self.out)}\n{''.join(self.err)}"
                self._said.wait(min(left, 0.1))
        return answer

    def says(self, text: str) -> str:
        """Return the first line of standard error that holds `text`, once it is there."""
        return self.until(lambda: next((line for line in self.err if text in line), ""))

    def prints(self, lines: int) -> list[str]:
        """Return the first lines of standard output, once there are that many."""
        return self.until(lambda: len(self.out) >= lines and self.out[:lines])

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        return self.says("listening on ").split("listening on ")[1].split()[0]

    def write(self, content: bytes) -> None:
        """Write to its standard input, at once."""
        assert self.process.stdin is not None
        self.process.stdin.write(content)
        self.process.stdin.flush()

    def close_input(self) -> None:
        """End its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self, number: signal.Signals = signal.SIGINT) -> Ended:
        """Send it a signal, Ctrl-C unless told otherwise, and return what it said in all."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> Ended:
        """Wait until it ends by itself."""
        try:
            status = self.process.wait(2 * BOUND)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end\n{''.join(self.out)}\n{''.join(self.err)}") from None
        for reader in self._readers:
            reader.join(BOUND)
        return Ended(status, "".join(self.out), "".join(self.err))

    def kill(self) -> None:
        """End it as nothing can prevent, and close everything."""
        self.process.kill()
        self.process.wait(BOUND)
        for reader in self._readers:
            reader.join(BOUND)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _read(self, stream: IO[bytes], lines: list[str]) -> None:
        for line in stream:
            with self._said:
                lines.append(line.decode())
                self._said.notify_all()
        with self._said:
            self._said.notify_all()


Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    """A function that starts `atmost` with arguments; none outlives the test.

    `code` is a program to run instead, `stdin` its standard input, other names are its environment.
    """
    running: list[Running] = []

    def begin(
        *arguments: object, code: str = "", stdin: int | IO[bytes] = subprocess.DEVNULL, **changes: str
    ) -> Running:
        program = ["-c", code] if code else ["-m", "atmost"]
        command = Running([*program, *map(str, arguments)], stdin, changes)
        running.append(command)
        return command

    yield begin
    for command in running:
        command.kill()


@pytest.fixture
def run(start: Start) -> Callable[..., Ended]:
    """A function that runs `atmost` to its end; `given` is its standard input."""

    def whole(*arguments: object, given: bytes | None = None, **options: Any) -> Ended:
        if given is None:
            return start(*arguments, **options).wait()
        command = start(*arguments, stdin=subprocess.PIPE, **options)
        command.write(given)
        command.close_input()
        return command.wait()

    return whole


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """A function that runs `atmost` in this process, where one of its own would add nothing."""
    from atmost.cli import main

    for name in [name for name in os.environ if name.startswith("ATMOST_")]:
        monkeypatch.delenv(name)

    def whole(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["atmost", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return whole


def ask(page: str, path: str) -> tuple[int, bytes]:
    """Return status and body of what a page answers."""
    connection = http.client.HTTPConnection(page.removeprefix("http://").rstrip("/"), timeout=BOUND)
    try:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
