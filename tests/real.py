"""What tests of real sockets and processes share: waiting with a bound, programs of their own, hand-made datagrams."""

import gc
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import atmost
from atmost.core.datagram import HEADER_LAYOUT, BeaconBody, Kind, encode_message, pack_beacon, pack_messages
from atmost.core.limits import MAGIC, VERSION
from atmost.core.seal import ChecksumSeal
from atmost.transport.base import wall_clock

BOUND = 30.0
"""Seconds after which a test gives up waiting; far longer than anything takes."""

_PATHS = (str(Path(atmost.__file__).parents[1]), str(Path(__file__).parents[1]))
"""Where a program that a test starts finds this package, and the helpers of the tests."""
_QUIET = 0.2
"""Seconds without a datagram after which none is on its way."""
T = TypeVar("T")


def alive(kind: type[T]) -> list[T]:
    """Objects of a class that something still holds; asked of their types, for lazy ones of others do not bear `isinstance`."""
    gc.collect()
    return [each for each in gc.get_objects() if issubclass(type(each), kind)]


def until(condition: Callable[[], T], bound: float = BOUND) -> T:
    """Return what `condition` says as soon as that is true, and fail when it is not within so many seconds."""
    deadline = time.monotonic() + bound
    while not (answer := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)
    return answer


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a program that is to import this package, and to find nothing set for it.

    It is not measured for coverage either: what it writes to stderr, and what becomes of it in a fork, is the test's.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ATMOST_", "COVERAGE_"))}
    if "ATMOST_PURE" in os.environ:  # which code does the work is chosen for the whole run
        kept["ATMOST_PURE"] = os.environ["ATMOST_PURE"]
    kept["ATMOST_COLLECT_STATE_DIR"] = "off"  # what one test's collector knew is nothing to the next one's
    return kept | {"PYTHONPATH": os.pathsep.join(_PATHS), "PYTHONWARNINGS": "default"} | changes


def run(code: str, *arguments: object, **changes: str) -> str:
    """Run a program to its end, and return what it printed; it must succeed and complain of nothing."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment(**changes),
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * BOUND,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"status {done.returncode}\n{done.stderr}"
    return done.stdout


class Program:
    """A program that runs beside the test."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = process.pid

    def line(self) -> str:
        """Return the next line it prints."""
        got = b""
        assert self.process.stdout is not None
        while not got.endswith(b"\n"):
            assert select.select([self.process.stdout], [], [], BOUND)[0], "the program said nothing"
            one = os.read(self.process.stdout.fileno(), 1)
            assert one, f"the program ended after {got!r}"
            got += one
        return got.decode().strip()

    def tell(self, text: str = "") -> None:
        """Send it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Close its standard input, and wait until it ends."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(BOUND)

    def kill(self) -> None:
        """End it as nothing can prevent, and collect it."""
        self.process.kill()
        self.process.wait(BOUND)


@contextmanager
def program(code: str, *arguments: object, prefix: Sequence[str] = ()) -> Iterator[Program]:
    """Start a program, which does not outlive the test; `prefix` may be a way into a namespace."""
    with subprocess.Popen(
        [*prefix, sys.executable, "-c", code, *map(str, arguments)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            yield Program(process)
        finally:
            process.kill()


class Header(NamedTuple):
    """A datagram's first 48 bytes."""

    magic: int
    version_and_kind: int
    key_id: int
    start_us: int
    random64: int
    sequence: int
    prior: int
    sent_us: int
    count: int
    flags: int

    @property
    def kind(self) -> Kind:
        """Data, beacon or goodbye."""
        return Kind(self.version_and_kind & 15)


def header(datagram: bytes) -> Header:
    """Return a datagram's header by name."""
    return Header._make(HEADER_LAYOUT.unpack_from(datagram))


def forge(
    messages: Iterable[tuple[str, Any]] = (),
    *,
    kind: Kind = Kind.DATA,
    sequence: int = 0,
    prior: int = 0,
    start_us: int | None = None,
    sent_us: int | None = None,
    random64: int = 7140,
    refused: dict[str, int] | None = None,
) -> bytes:
    """Return a datagram as a sender would have made it at this moment, with the numbers given."""
    now_us = wall_clock()
    items = [encode_message(message) for message in messages]
    beacon = BeaconBody("forger", "here", 1, 0, {}, refused or {}, 0.0 if kind is Kind.GOODBYE else 5.0)
    head = HEADER_LAYOUT.pack(
        MAGIC,
        VERSION << 4 | kind,
        0,
        now_us if start_us is None else start_us,
        random64,
        sequence,
        prior,
        now_us if sent_us is None else sent_us,
        len(items),
        0,
    )
    return ChecksumSeal().seal(head, pack_messages(items) if kind is Kind.DATA else pack_beacon(beacon))


@contextmanager
def raw_receiver() -> Iterator[socket.socket]:
    """Open a plain UDP socket on the loopback interface, to see datagrams as they travel."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(BOUND)
        yield sock


def url_of(sock: socket.socket) -> str:
    """Return where a plain socket can be reached."""
    name = sock.getsockname()
    return f"unix://{name}" if isinstance(name, str) else f"udp://{name[0]}:{name[1]}"


def waiting(sock: socket.socket) -> list[bytes]:
    """Return what has arrived at a plain socket, once nothing more does.

    On a busy machine the kernel takes a datagram through the loopback interface some time after the system call that sent it.
    """
    datagrams = []
    deadline = time.monotonic() + BOUND
    while select.select([sock], [], [], _QUIET)[0]:
        assert time.monotonic() < deadline, "datagrams come without an end"
        datagrams.append(sock.recv(1 << 16))
    return datagrams
