"""Tells systemd how it goes: sd_notify(3) over the datagram socket that NOTIFY_SOCKET names, and its watchdog.

Without that variable nothing is sent. Failing to tell is no reason to fail.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """The line to the service manager."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Args: environment: of the process; None takes the present one."""
        given = os.environ if environment is None else environment
        path = given.get("NOTIFY_SOCKET", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._every = _watchdog(given)
        self._next = 0.0

    @property
    def enabled(self) -> bool:
        """Whether anybody listens."""
        return bool(self._address) and hasattr(socket, "AF_UNIX")

    def say(self, *states: str) -> None:
        """Sends states, such as `READY=1` or `STATUS=text`."""
        if not self.enabled:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto("\n".join(states).encode(), self._address)

    def alive(self, now: float) -> None:
        """Feeds the watchdog, when one was asked for and it is time; call it often while all is well.

        Args:
            now: monotonic, seconds.
        """
        if self._every is not None and now >= self._next:
            self._next = now + self._every
            self.say("WATCHDOG=1")

    def reloading(self) -> None:
        """Says that a reload begins; `READY=1` ends it."""
        self.say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """Half the time after which systemd gives the process up, seconds; None without a watchdog for this process."""
    text, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not text.isdecimal() or int(text) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(text) / 2e6
