"""What a transport offers: an outlet that takes datagrams without waiting, and an inlet that gives them up without waiting.

An outlet's `send` answers at once, and what it took it never takes back or repeats.
An inlet holds its address exclusively from construction to `close` (H2).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from atmost.core.shards import Shards

Clock = Callable[[], int]
"""A wall clock: µs since 1970."""

RECEIVE_BUFFER: Final = 4 << 20
"""What is asked for as receive buffer, bytes: about 2,000 small datagrams of one message each."""
NETWORK_DATAGRAM: Final = 1432
"""The usual safe Ethernet payload, tunnels included, bytes."""
LOCAL_DATAGRAM: Final = 61_440
"""Where the path never fragments: loopback (MTU 65,536) and Unix sockets, bytes."""


def wall_clock() -> int:
    """The system's wall clock, µs since 1970."""
    return time.time_ns() // 1000


class Outlet(Protocol):
    """The sending end."""

    url: str
    max_datagram: int
    """What the path takes in one piece, bytes."""
    same_host: bool
    """Whether the other end surely shares this host's clock; sets F."""
    clock: Clock

    @property
    def patience(self) -> float:
        """How long what waits may wait for a first connection when the sender is closed, seconds; 0 where there are none."""
        ...

    def send(self, datagram: bytes) -> str | None:
        """Hands one datagram over; None when taken, else the errno's name. Never waits, never raises for the network."""
        ...

    def path_datagram(self) -> int | None:
        """What the path takes after EMSGSIZE, bytes; None when the system does not tell."""
        ...

    def close(self) -> None:
        """Lets go of the socket; may be called twice."""
        ...


class Inlet(Protocol):
    """The receiving end, exclusive at its address."""

    url: str
    """The address really bound, a port chosen by the system included."""
    same_host: bool
    """Whether all senders surely share this host's clock; sets F and G."""
    clock: Clock
    warning: str | None
    """What the operator should know of this socket, with the fix."""
    shards: Shards | None
    """Which sessions arrive here, when others receive the rest (R17)."""

    @property
    def ended(self) -> str | None:
        """Why nothing will arrive here any more, for people; None while something can."""
        ...

    def receive(self) -> bytes | None:
        """The next datagram, or None when none waits."""
        ...

    def wait(self, timeout: float | None) -> None:
        """Returns when a datagram may wait, `wake` was called, or `timeout` seconds passed."""
        ...

    def wake(self) -> None:
        """Ends a `wait`, from any thread or signal handler."""
        ...

    def fileno(self) -> int:
        """What an event loop watches for reading."""
        ...

    def renewed(self) -> bool:
        """Whether the address was lost and taken over again since the last call; until the call nothing is given up (H2)."""
        ...

    def kernel_drops(self) -> int | None:
        """Datagrams dropped in front of `receive` since the start; None where the system does not tell."""
        ...

    def abandon(self) -> None:
        """Closes a forked child's copy; the address stays with the parent."""
        ...

    def close(self) -> None:
        """Lets go of the address; may be called twice."""
        ...
