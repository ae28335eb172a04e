"""What is asked of the kernel for a socket, and what the kernel tells of it (R22)."""

import socket
import struct
import sys
from collections.abc import Callable, Iterable

import pytest

from atmost.transport import sockets
from atmost.transport.base import RECEIVE_BUFFER
from atmost.transport.sockets import KernelDrops, ask_receive_buffer
from tests.real import BOUND, raw_receiver, until

FORCE = 33


class Kernel:
    """A socket whose kernel grants at most `limit` bytes, and more to the privileged only."""

    def __init__(self, limit: int, *, privileged: bool = False, doubles: bool = True) -> None:
        self.limit, self.privileged, self.doubles = limit, privileged, doubles
        self.size = 0
        self.asked: list[int] = []

    def setsockopt(self, _level: int, option: int, value: int) -> None:
        self.asked.append(option)
        if option == FORCE and not self.privileged:
            raise PermissionError
        self.size = value if option == FORCE else min(value, self.limit)

    def getsockopt(self, _level: int, _option: int) -> int:
        return 2 * self.size if self.doubles else self.size


def ask(kernel: Kernel) -> str | None:
    """Ask that kernel."""
    return ask_receive_buffer(kernel)  # type: ignore[arg-type]


def test_what_the_kernel_grants_whole_needs_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator who raised the limit hears nothing."""
    monkeypatch.setattr(sys, "platform", "linux")
    assert ask(Kernel(RECEIVE_BUFFER)) is None


def test_a_privileged_process_gets_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux lets it, and then it is asked nothing else."""
    monkeypatch.setattr(sys, "platform", "linux")
    kernel = Kernel(1000, privileged=True)
    assert ask(kernel) is None
    assert kernel.asked == [FORCE]


@pytest.mark.parametrize(
    ("platform", "doubles", "fix"),
    [("linux", True, f"sysctl -w net.core.rmem_max={RECEIVE_BUFFER}"), ("darwin", False, "raise kern.ipc.maxsockbuf")],
)
def test_a_small_buffer_is_a_warning_with_the_fix(
    platform: str, doubles: bool, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what was granted, what was wanted, what it costs and what to do."""
    monkeypatch.setattr(sys, "platform", platform)
    granted = f"the kernel granted a receive buffer of 212992 bytes instead of {RECEIVE_BUFFER}: bursts may be lost; "
    assert ask(Kernel(212_992, doubles=doubles)) == granted + fix


def test_a_real_socket_gets_no_less_than_it_had() -> None:
    """Asking never fails, whatever the limit is."""
    with raw_receiver() as sock:
        before = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        ask_receive_buffer(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= before


@pytest.fixture
def drops(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterable[int | bytes | OSError]], KernelDrops]:
    """A function that makes the counter of a socket that reads as given."""
    monkeypatch.setattr(sys, "platform", "linux")

    def make(readings: Iterable[int | bytes | OSError]) -> KernelDrops:
        left = iter(readings)

        class Socket:
            def getsockopt(self, _level: int, _option: int, _size: int) -> bytes:
                reading = next(left)
                if isinstance(reading, OSError):
                    raise reading
                return struct.pack("9I", *[7] * 8, reading) if isinstance(reading, int) else reading

        return KernelDrops(Socket())  # type: ignore[arg-type]

    return make


def test_drops_are_counted_from_the_start(drops: Callable[..., KernelDrops]) -> None:
    """What the socket had dropped before is not this receiver's."""
    counter = drops([5, 5, 6, 106])
    assert [counter.total() for _ in range(3)] == [0, 1, 101]


def test_the_kernels_counter_may_wrap(drops: Callable[..., KernelDrops]) -> None:
    """It is a u32 (R22): the total goes on, as often as it wraps."""
    top = (1 << 32) - 1
    counter = drops([top - 1, top, 3, top, 0])
    assert [counter.total() for _ in range(4)] == [1, 5, top + 2, top + 3]


@pytest.mark.parametrize("reading", [OSError(92, "Protocol not available"), b"", b"too short"])
def test_drops_that_nobody_tells_are_unknown(reading: bytes | OSError, drops: Callable[..., KernelDrops]) -> None:
    """And never 0."""
    assert drops([reading, reading]).total() is None
    assert drops([0, reading]).total() is None


def test_drops_are_unknown_where_there_is_no_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems do not tell them by socket."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with raw_receiver() as sock:
        assert KernelDrops(sock).total() is None


@pytest.mark.needs("linux")
def test_a_flood_into_a_tiny_buffer_is_counted_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What did not arrive is what the kernel says that it dropped (R22)."""
    monkeypatch.setattr(sockets, "RECEIVE_BUFFER", 4096)
    with raw_receiver() as receiving, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        ask_receive_buffer(receiving)
        receiving.settimeout(BOUND)
        counter = KernelDrops(receiving)
        for _ in range(1000):
            sending.sendto(bytes(500), receiving.getsockname())
        dropped = until(counter.total)
        receiving.setblocking(False)
        arrived = 0
        while True:
            try:
                receiving.recv(1000)
            except BlockingIOError:
                break
            arrived += 1
        assert arrived > 0
        assert dropped + arrived == 1000
        assert counter.total() == dropped
