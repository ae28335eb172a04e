"""Whether anything keeps this host's clock right, as the kernel tells it (R18)."""

import ctypes
import logging
import struct
import sys
from collections.abc import Callable
from typing import Any

import pytest

from atmost import Receiver
from atmost.endpoint import clock, intake
from atmost.endpoint.clock import UNSYNCHRONISED, clock_is_synchronised

Kernel = Callable[[int, int], None]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A function that sets what adjtimex returns, and the status it fills in."""

    def set_kernel(returned: int, status: int) -> None:
        class System:
            @staticmethod
            def adjtimex(timex: Any) -> int:
                struct.pack_into("i", timex, clock._STATUS_AT, status)
                return returned

        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(ctypes, "CDLL", lambda *_arguments, **_options: System)

    return set_kernel


@pytest.mark.parametrize(
    ("returned", "status", "answer"),
    [(0, 0x2001, True), (5, 0x40, False), (0, 0x41, False), (-1, 0, None)],
)
def test_the_kernels_status_is_read(returned: int, status: int, answer: bool | None, kernel: Kernel) -> None:
    """One bit says that nothing disciplines the clock; an error says nothing."""
    kernel(returned, status)
    assert clock_is_synchronised() is answer


def test_it_is_unknown_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another system, or a C library without the call."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert clock_is_synchronised() is None
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_arguments, **_options: object())
    assert clock_is_synchronised() is None


@pytest.mark.needs("linux")
def test_this_kernel_answers() -> None:
    """Asking changes nothing and needs no permission."""
    assert clock_is_synchronised() in {True, False, None}


@pytest.mark.parametrize(
    ("url", "synchronised", "warned"),
    [
        ("udp://0.0.0.0:0", False, True),
        ("udp://0.0.0.0:0", True, False),
        ("udp://0.0.0.0:0", None, False),
        ("udp://127.0.0.1:0", False, False),
        ("memory://clock", False, False),
    ],
)
def test_a_receiver_on_a_network_warns_of_it(
    url: str,
    synchronised: bool | None,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once, with the fix, and in its account; on one host both ends have the same clock anyway."""
    monkeypatch.setattr(intake, "clock_is_synchronised", lambda: synchronised)
    with caplog.at_level(logging.WARNING), Receiver(url, future_bound=0, clock_guard=0) as receiver:
        said = [record.getMessage() for record in caplog.records if UNSYNCHRONISED in record.getMessage()]
        assert said == ([f"{receiver.url}: {UNSYNCHRONISED}"] if warned else [])
        assert receiver.ledger().clock_troubles == ({"unsynchronised": 1} if warned else {})
