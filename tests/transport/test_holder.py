"""Who holds an address, where /proc tells: the process that must be stopped, and never another one."""

import os
import pathlib
import socket
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from atmost.transport import holder
from atmost.transport.holder import udp_holder, unix_holder
from tests.real import Program, program

pytestmark = pytest.mark.needs("linux")

HOLD = """
import socket, sys
family, host, port, name = sys.argv[1:]
family = int(family)
sock = socket.socket(family, socket.SOCK_DGRAM)
if family == socket.AF_INET6:
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
sock.bind(host if family == socket.AF_UNIX else (host, int(port)))
if name:
    with open("/proc/self/comm", "wb") as comm:
        comm.write(bytes.fromhex(name))
print(0 if family == socket.AF_UNIX else sock.getsockname()[1], flush=True)
sys.stdin.read()
"""
COMMAND = Path("/proc/self/comm").read_text(encoding="utf-8").strip() if sys.platform == "linux" else ""
V4, V6 = socket.AF_INET, socket.AF_INET6


def held(family: int, host: str, port: int = 0, name: bytes = b"") -> AbstractContextManager[Program]:
    """Start a program that holds an address, and calls itself as told."""
    return program(HOLD, int(family), host, port, name.hex())


@pytest.mark.parametrize(
    ("family", "host", "asked"),
    [
        (V4, "127.0.0.1", "127.0.0.1"),
        (V4, "0.0.0.0", "127.0.0.1"),
        (V4, "127.0.0.1", "0.0.0.0"),
        pytest.param(V6, "::1", "::1", marks=pytest.mark.needs("ipv6")),
        pytest.param(V6, "::1", "::", marks=pytest.mark.needs("ipv6")),
        pytest.param(V6, "::", "::1", marks=pytest.mark.needs("ipv6")),
        pytest.param(V6, "::", "127.0.0.1", marks=pytest.mark.needs("ipv6")),
    ],
)
def test_the_process_that_is_in_the_way_is_named(family: int, host: str, asked: str) -> None:
    """Also where a wildcard collides with an address: of one kind, or an IPv6 socket that takes IPv4 too."""
    with held(family, host, name=b"collector") as other:
        port = int(other.line())
        asked_family = V6 if ":" in asked else V4
        assert udp_holder(asked_family, asked, port) == f"collector (pid {other.pid})"


def test_a_process_that_is_not_in_the_way_is_not_named() -> None:
    """It holds the same port of another address: stopping it would help nobody."""
    with held(V4, "127.0.0.2") as other:
        port = int(other.line())
        assert udp_holder(V4, "127.0.0.1", port) is None
        assert udp_holder(V4, "127.0.0.2", port) is not None
        assert udp_holder(V6, "::1", port) is None


def test_a_name_cut_in_the_middle_of_a_letter_is_still_a_name() -> None:
    """The kernel keeps 15 bytes of it."""
    with held(V4, "127.0.0.1", name="übertragungswärter".encode()) as other:
        assert udp_holder(V4, "127.0.0.1", int(other.line())) == f"übertragungsw\ufffd (pid {other.pid})"


@pytest.mark.parametrize("name", ["a.sock", "with a space.sock", "é.sock"])
def test_the_process_at_a_path_is_named(name: str, tmp_path: Path) -> None:
    """Whatever the path is made of."""
    path = str(tmp_path / name)
    with held(socket.AF_UNIX, path, name=b"collector") as other:
        other.line()
        assert unix_holder(path) == f"collector (pid {other.pid})"
        assert unix_holder(path + "x") is None


def test_this_process_is_named_too() -> None:
    """A program that binds twice learns that it is itself in the way."""
    with socket.socket(V4, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        assert udp_holder(V4, *sock.getsockname()) == f"{COMMAND} (pid {os.getpid()})"


def test_without_proc_nobody_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is only for the message; the refusal stands without it."""
    monkeypatch.setattr(pathlib, "Path", lambda path: tmp_path / path.lstrip("/"))
    with socket.socket(V4, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        assert udp_holder(V4, *sock.getsockname()) is None
    assert unix_holder("/run/atmost.sock") is None


def test_a_holder_whose_files_cannot_be_seen_stays_unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's process: the system tells that the address is held, and not by whom."""
    monkeypatch.setattr(holder, "_bound", lambda *_address: {"1"})
    assert udp_holder(V4, "127.0.0.1", 7140) is None
