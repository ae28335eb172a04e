"""What a transport offers: an outlet that takes datagrams and an inlet that returns them, both without waiting.

An outlet's `send` answers at once; a datagram it has taken is never taken back or repeated.
An inlet holds its address exclusively from construction to `close` (H2).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from atmost.core.shards import Shards

Clock = Callable[[], int]
"""A wall clock: µs since 1970."""

RECEIVE_BUFFER: Final = 4 << 20
"""The receive buffer requested from the system: about 2,000 small datagrams of one message each (bytes)."""
NETWORK_DATAGRAM: Final = 1432
"""The usual safe Ethernet payload, tunnels included (bytes)."""
LOCAL_DATAGRAM: Final = 61_440
"""The datagram for paths that never fragment: loopback (MTU 65,536) and Unix sockets (bytes)."""


def wall_clock() -> int:
    """The system's wall clock, µs since 1970."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Address:
    """A URL in parts."""

    url: str
    scheme: str
    host: str = ""
    """A host name or address, or the name of a memory network."""
    port: int = 0
    path: str = ""
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preset:
    """The usual bounds on clocks at one kind of address (seconds)."""

    future_bound: float
    """F: how far a sender's clock may be ahead of the receiver's."""
    clock_guard: float
    """G: how far the receiver's clock may be behind what an earlier incarnation has read."""
    one_clock: bool
    """Whether both ends surely read the same clock."""


SAME_HOST: Final = Preset(future_bound=0.010, clock_guard=0.500, one_clock=True)
"""Both ends read the same clock: their readings differ by scheduling only."""
NETWORK: Final = Preset(future_bound=0.500, clock_guard=0.500, one_clock=False)
"""The clocks are kept by NTP. Wildcard binds belong here, because a network can reach them."""
MEMORY: Final = Preset(future_bound=0.0, clock_guard=0.0, one_clock=True)
"""memory:// has one strictly increasing clock for both ends."""


def without_credentials(url: str) -> str:
    """A URL as it may be shown: everything before its last @ is left out, because a wrong URL may hold a secret anywhere there."""
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}" if mark else scheme.rpartition("@")[2]


ANY_PROCESS: Final = -1
"""For datagrams that may be sent from any process."""
FORKED: Final = "EFORKED"
"""The answer to a parent's datagram in its child; the child has no account that it could count in."""


class Outlet(Protocol):
    """The sending end."""

    url: str
    max_datagram: int
    """The largest datagram the path takes in one piece (bytes)."""
    preset: Preset
    clock: Clock

    @property
    def patience(self) -> float:
        """How long a closing sender may still wait for a first connection (seconds); 0 where there are no connections."""
        ...

    def send(self, datagram: bytes, process: int = ANY_PROCESS) -> str | None:
        """Hands one datagram over; returns None when it was taken, else the errno's name. Never waits, never raises for the network.

        Args:
            datagram: at most `max_datagram` bytes.
            process: whose datagram it is, as `lifecycle.HERE` numbers processes. A child that a signal handler forks in the middle of this call
                returns into it, and must not hand its parent's datagram over: the number is compared in the same line as the system call (R8).
        """
        ...

    def path_datagram(self) -> int | None:
        """The largest datagram the path takes, asked after EMSGSIZE (bytes); None when the system does not say."""
        ...

    def close(self) -> None:
        """Closes the socket; may be called twice."""
        ...


class Inlet(Protocol):
    """The receiving end, exclusive at its address."""

    url: str
    """The address really bound, including a port that the system chose."""
    preset: Preset
    clock: Clock
    warning: str | None
    """Warnings for the operator about this socket, each with its fix."""
    shards: Shards | None
    """Which sessions arrive here, when others receive the rest (R17)."""

    look_every: float
    """How often `ended` should be checked even if nothing arrives (seconds)."""

    @property
    def overlap(self) -> float:
        """How long an earlier owner may still accept after this one began (seconds); 0 where the system forbids that. Added to G."""
        ...

    @property
    def ended(self) -> str | None:
        """Why nothing will arrive here any more, for people; None while datagrams can still arrive."""
        ...

    def receive(self) -> bytes | None:
        """The next datagram, or None when none waits.

        At the end of the call the address still belonged to this inlet, so the datagram may be judged by a clock that was read *before* the call.
        A later clock would be wrong: a process that stood still in between might accept what a new owner has accepted meanwhile (H2).
        """
        ...

    def confirms(self) -> bool:
        """Whether the address is still held, so that the last datagram may be judged by a clock that was read again before this call.

        A datagram that is not confirmed is counted as dropped, and must not be processed.
        """
        ...

    def wait(self, timeout: float | None) -> None:
        """Returns when a datagram may wait, when `wake` was called, or after `timeout` seconds."""
        ...

    def wake(self) -> None:
        """Ends a `wait`, from any thread or signal handler."""
        ...

    def fileno(self) -> int:
        """The descriptor that an event loop watches for reading."""
        ...

    def incarnation(self) -> int:
        """How often this inlet has taken the address over; more than at the last `resume` when it was lost in between (H2)."""
        ...

    def resume(self, incarnation: int) -> None:
        """From now on `receive` returns datagrams of this incarnation; before this call it returns none of them."""
        ...

    def kernel_drops(self) -> int | None:
        """Datagrams dropped before `receive` could return them, since the start; None where the system does not say."""
        ...

    def abandon(self) -> None:
        """Closes a forked child's copy; the address stays with the parent."""
        ...

    def close(self) -> None:
        """Releases the address; may be called twice."""
        ...
