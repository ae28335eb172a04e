"""A link that carries datagrams one way and loses, duplicates, delays and reorders them on purpose.

`LinkCore` is the link without a socket: it takes datagrams, asks the rules, and gives back the copies whose time has come.
`Link` is the same between two UDP addresses, in user space; `python -m atmost.lab.process` runs one as a process of its own.

Theory of operation: each datagram received is forwarded, dropped or held, and the account counts deeds, not intentions.
A datagram is forwarded when its first copy was sent, duplicated when the second was, and reordered when one received later
had been sent before it. A copy handed out by `take_due` stays held until `sent` or `refused` reports its outcome, so that
received = forwarded + dropped + held holds between any two calls, in datagrams and in messages.

Promise: memory is bounded in copies and in bytes; a refusal by the network is counted, never raised.
Not thread-safe: one thread at a time.
"""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from heapq import heappop, heappush
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from atmost.lab.faults import Judge, corrupted_copy

_MAGIC = 0xA5
_DATA = 1
_MIN_LENGTH = 64
"""Header of 48 bytes and tag of 16: anything shorter is not one of our datagrams."""
_COUNT = slice(44, 46)


class DropReason(StrEnum):
    """Why the link sent no copy of a datagram."""

    LOSS = "loss"
    """A rule dropped it."""
    PARTITION = "partition"
    """It arrived, or became due, during a partition."""
    OVERFLOW = "overflow"
    """It had to wait, but the link already held as much as it may."""
    REFUSED = "refused"
    """The socket refused every copy of it."""


@dataclass(frozen=True, slots=True)
class LinkAccount:
    """The account of what a link really did so far.

    `received = forwarded + dropped + held` holds in datagrams and in messages. Messages are the number in a
    datagram's header; beacons and foreign datagrams have none.
    """

    received_datagrams: int
    """Datagrams read from the link's socket."""
    received_messages: int
    """Messages in them."""
    forwarded_datagrams: int
    """Datagrams of which at least one copy was sent."""
    forwarded_messages: int
    """Messages in them, counted once however many copies were sent."""
    dropped_datagrams: int
    """Datagrams of which no copy was sent and none ever will be."""
    dropped_messages: int
    """Messages in them."""
    dropped_datagrams_by_reason: dict[str, int]
    """The same by `DropReason`, every reason present."""
    dropped_messages_by_reason: dict[str, int]
    """The same by `DropReason`, every reason present."""
    held_datagrams: int
    """Datagrams waiting for their first copy to leave."""
    held_messages: int
    """Messages in them."""
    duplicated_datagrams: int
    """Datagrams sent more than once."""
    extra_copies: int
    """Copies sent beyond the first of each datagram."""
    reordered_datagrams: int
    """Datagrams whose first copy left after the first copy of one received later."""
    corrupted_datagrams: int
    """Forwarded datagrams of which every copy was damaged: a receiver that checks its input must refuse them."""
    corrupted_messages: int
    """Messages in them: a receiver cannot have these, although they are counted as forwarded."""
    send_errors: int
    """Copies the socket refused."""
    kernel_drops: int | None = None
    """Datagrams the kernel dropped because the link's receive buffer was full, on top of those received.

    The messages in them are unknown. None if the kernel does not report it.
    """


class Carried:
    """A datagram and what became of its copies; opaque but for `content`, the bytes to send."""

    __slots__ = ("content", "corrupted", "messages", "number", "outstanding", "sent", "waiting")

    def __init__(self, content: bytes, number: int) -> None:
        """Describe the datagram received as the link's `number`th, from 0."""
        self.content = content
        self.number = number
        self.messages = messages_in(content)
        self.corrupted = False
        self.waiting = 0
        """Copies not yet taken."""
        self.outstanding = 0
        """Copies neither sent nor given up."""
        self.sent = 0


class LinkCore:
    """A link that carries datagrams one way by the verdicts of its rules."""

    def __init__(self, rules: Judge, *, max_held: int = 65_536, max_held_bytes: int = 64 * 1024 * 1024) -> None:
        """Start empty.

        Args:
            rules: Asked once for every datagram received, even during a partition.
            max_held: Copies that may wait at one time. A datagram whose waiting copies do not all fit is dropped.
            max_held_bytes: Bytes of the datagrams that may wait at one time; copies share their datagram's.
        """
        if max_held < 0 or max_held_bytes < 0:
            raise ValueError(
                f"max_held and max_held_bytes must not be negative, got {max_held!r} and {max_held_bytes!r}"
            )
        self._rules = rules
        self._max_held = max_held
        self._max_held_bytes = max_held_bytes
        self._partitioned = False
        self._waiting: list[tuple[float, int, Carried]] = []  # a heap by due time, then by order of receipt
        self._waiting_bytes = 0
        self._order = 0
        self._newest_sent = -1
        self._received = _Count()
        self._forwarded = _Count()
        self._corrupted = _Count()
        self._held = _Count()
        self._dropped = {reason: _Count() for reason in DropReason}
        self._totals: Counter[str] = Counter()

    def partition(self, on: bool) -> None:  # noqa: FBT001 - a switch, and its only argument
        """Start or stop dropping everything. A waiting copy is dropped if it becomes due meanwhile."""
        self._partitioned = on

    def receive(self, content: bytes, now: float) -> None:
        """Take a datagram.

        Args:
            content: The datagram's bytes, of whatever protocol.
            now: Seconds by a clock that never steps back.
        """
        datagram = Carried(content, self._received.datagrams)
        self._received.add(datagram)
        verdict = self._rules.judge()
        if self._partitioned:
            self._dropped[DropReason.PARTITION].add(datagram)
        elif verdict.dropped:
            self._dropped[DropReason.LOSS].add(datagram)
        elif not self._has_room(datagram, sum(delay > 0 for delay in verdict.delays)):
            self._dropped[DropReason.OVERFLOW].add(datagram)
        else:
            if verdict.corrupt_at is not None and content:
                datagram.content = corrupted_copy(content, verdict.corrupt_at)
                datagram.corrupted = True
            datagram.outstanding = datagram.waiting = len(verdict.delays)
            self._held.add(datagram)
            self._waiting_bytes += len(content)
            for delay in verdict.delays:
                heappush(self._waiting, (now + delay, self._order, datagram))
                self._order += 1

    def next_deadline(self) -> float | None:
        """Return when the next copy is due, in seconds of the clock given to `receive`; None if nothing waits."""
        return self._waiting[0][0] if self._waiting else None

    def take_due(self, now: float) -> Carried | None:
        """Return the datagram of the copy due first, if its time has come.

        The caller sends the content once and then calls `sent` or `refused`.

        Args:
            now: Seconds; infinity takes all waiting copies, in the order of due times.
        """
        while self._waiting and self._waiting[0][0] <= now:
            _, _, datagram = heappop(self._waiting)
            datagram.waiting -= 1
            if not datagram.waiting:
                self._waiting_bytes -= len(datagram.content)
            if not self._partitioned:
                return datagram
            self._fail(datagram, DropReason.PARTITION)
        return None

    def sent(self, datagram: Carried) -> None:
        """Record that a copy was sent."""
        datagram.outstanding -= 1
        datagram.sent += 1
        if datagram.sent > 1:
            self._totals["extra_copies"] += 1
            self._totals["duplicated_datagrams"] += datagram.sent == 2
            return
        self._held.remove(datagram)
        self._forwarded.add(datagram)
        if datagram.corrupted:
            self._corrupted.add(datagram)
        if datagram.number < self._newest_sent:
            self._totals["reordered_datagrams"] += 1
        self._newest_sent = max(self._newest_sent, datagram.number)

    def refused(self, datagram: Carried) -> None:
        """Record that a copy could not be sent."""
        self._totals["send_errors"] += 1
        self._fail(datagram, DropReason.REFUSED)

    def account(self, kernel_drops: int | None = None) -> LinkAccount:
        """Return what the link did so far.

        Args:
            kernel_drops: Datagrams dropped at the receiving socket, if the kernel reports it.
        """
        dropped_datagrams = sum(count.datagrams for count in self._dropped.values())
        dropped_messages = sum(count.messages for count in self._dropped.values())
        return LinkAccount(
            received_datagrams=self._received.datagrams,
            received_messages=self._received.messages,
            forwarded_datagrams=self._forwarded.datagrams,
            forwarded_messages=self._forwarded.messages,
            dropped_datagrams=dropped_datagrams,
            dropped_messages=dropped_messages,
            dropped_datagrams_by_reason={str(reason): count.datagrams for reason, count in self._dropped.items()},
            dropped_messages_by_reason={str(reason): count.messages for reason, count in self._dropped.items()},
            held_datagrams=self._held.datagrams,
            held_messages=self._held.messages,
            duplicated_datagrams=self._totals["duplicated_datagrams"],
            extra_copies=self._totals["extra_copies"],
            reordered_datagrams=self._totals["reordered_datagrams"],
            corrupted_datagrams=self._corrupted.datagrams,
            corrupted_messages=self._corrupted.messages,
            send_errors=self._totals["send_errors"],
            kernel_drops=kernel_drops,
        )

    def _has_room(self, datagram: Carried, waiting: int) -> bool:
        """Whether so many more copies may wait; copies that leave at once always may."""
        if not waiting:
            return True
        size = self._waiting_bytes + len(datagram.content)
        return len(self._waiting) + waiting <= self._max_held and size <= self._max_held_bytes

    def _fail(self, datagram: Carried, reason: DropReason) -> None:
        """Record that a copy will not leave; with the last of them, and none sent, the datagram is dropped."""
        datagram.outstanding -= 1
        if not datagram.outstanding and not datagram.sent:
            self._held.remove(datagram)
            self._dropped[reason].add(datagram)


class _Count:
    """A count of datagrams and of the messages in them."""

    __slots__ = ("datagrams", "messages")

    def __init__(self) -> None:
        self.datagrams = 0
        self.messages = 0

    def add(self, datagram: Carried) -> None:
        self.datagrams += 1
        self.messages += datagram.messages

    def remove(self, datagram: Carried) -> None:
        self.datagrams -= 1
        self.messages -= datagram.messages


def messages_in(datagram: bytes) -> int:
    """Return how many messages a datagram's header announces; 0 for a beacon, a goodbye or foreign bytes.

    Reads the header itself (docs/wire.md) rather than through the core's decoder: the link is a witness of what the
    core counts, so it must not share its code. A forged header is believed.
    """
    if len(datagram) < _MIN_LENGTH or datagram[0] != _MAGIC or datagram[1] & 0x0F != _DATA:
        return 0
    return int.from_bytes(datagram[_COUNT], "big")


_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("=9I")
"""linux/sock_diag.h: nine counters, the last of them (SK_MEMINFO_DROPS) the datagrams this socket dropped."""


def resolve(option: str, url: str, *, lowest_port: int) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Return the address family and the address of a URL, for `socket.bind` and `sendto`.

    Args:
        option: The option that holds the URL, named in the error.
        url: `udp://host:port`.
        lowest_port: 0 if port 0 (any free port) is allowed, else 1.

    Raises:
        ValueError: The URL has another form.
        OSError: The name does not resolve.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "udp" or not parts.hostname or port is None or port < lowest_port:
        raise ValueError(f"{option} must be udp://host:port with a port from {lowest_port} to 65535, got {url!r}")
    family, _, _, _, address = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_DGRAM)[0]
    return family, address


def ask_receive_buffer(receiving: socket.socket, size: int) -> None:
    """Ask for a receive buffer of so many bytes; the kernel gives what it allows."""
    if sys.platform == "linux":
        with contextlib.suppress(PermissionError):
            receiving.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
            return
    with contextlib.suppress(OSError):  # Some kernels refuse a size above their limit and keep the old one.
        receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def kernel_drops(receiving: socket.socket) -> int | None:
    """Return how many datagrams the kernel dropped because this socket's buffer was full; None if it does not report it.

    The counter has 32 bits and wraps.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            counters = receiving.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
            if len(counters) == _MEMINFO.size:
                return int(_MEMINFO.unpack(counters)[-1])
    return None


_LARGEST_DATAGRAM = 65_536
"""Bytes; no UDP datagram is larger, so none is truncated."""
_BATCH = 64
"""Datagrams read in one `step`, so that a flood cannot keep its caller waiting."""
_MAX_DRAIN = 65_536
"""Datagrams read by `drain`, so that a flood cannot keep it from ending; more than the receive buffer holds."""
_LONGEST_WAIT = 0.05
"""Seconds between two checks of what may end a loop: too short to notice, too rare to cost anything."""


class Link:
    """Forwards datagrams from a UDP address to another, with faults.

    Example:
        >>> with Link("udp://127.0.0.1:7140", FaultRules(LinkFaults(loss=0.05), Random(7))) as link:
        ...     link.run(until=lambda: link.account().received_datagrams >= 1000)
        ...     link.drain()
        ...     print(link.account())
    """

    def __init__(
        self,
        target: str,
        rules: Judge,
        *,
        bind: str = "udp://127.0.0.1:0",
        receive_buffer: int = 4 * 1024 * 1024,
        max_held: int = 65_536,
        max_held_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Bind the link's address; datagrams wait in its receive buffer until `step`, `run` or `drain`.

        Args:
            target: Where to forward, `udp://host:port`.
            rules: What to do with each datagram, asked once for each.
            bind: Where to receive, `udp://host:port`; port 0 takes a free one, see `url`.
            receive_buffer: Bytes to ask the kernel for, beyond its limit where privileges allow. Too small a buffer
                loses datagrams before the link sees them, and these are known by number only.
            max_held: Copies that may wait for their time at once; a datagram that does not fit is dropped.
            max_held_bytes: Bytes that may wait for their time at once; a datagram that does not fit is dropped.
            clock: Seconds that never step back.

        Raises:
            ValueError: An address is not `udp://host:port`, or the target is the link itself.
            OSError: A name does not resolve, or an address cannot be bound.
        """
        self._core = LinkCore(rules, max_held=max_held, max_held_bytes=max_held_bytes)
        self._clock = clock
        self._buffer = memoryview(bytearray(_LARGEST_DATAGRAM))
        target_family, self._target = resolve("target", target, lowest_port=1)
        family, address = resolve("bind", bind, lowest_port=0)
        # Two sockets: what comes back from the target, answer or ICMP error, cannot reach the one that is read.
        self._receiving = socket.socket(family, socket.SOCK_DGRAM)
        self._sending = socket.socket(target_family, socket.SOCK_DGRAM)
        self._selector = selectors.DefaultSelector()
        try:
            self._receiving.setblocking(False)
            self._sending.setblocking(False)
            ask_receive_buffer(self._receiving, receive_buffer)
            self._receiving.bind(address)
            self.address: tuple[str, int] = self._receiving.getsockname()[:2]
            """Host and port the link receives on."""
            _refuse_loop(target, self._target, self.address)
            self._selector.register(self._receiving, selectors.EVENT_READ)
        except BaseException:
            self.close()
            raise
        host, port = self.address
        self.url = f"udp://[{host}]:{port}" if ":" in host else f"udp://{host}:{port}"
        """The link's address as a sender's `url`."""

    def __enter__(self) -> Self:
        """Return the link itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the link, without draining it."""
        self.close()

    def step(self, timeout: float = 0.0) -> int:
        """Forward the copies that are due and take in one batch of arrived datagrams.

        Args:
            timeout: Seconds to wait for either, rounded up to whole milliseconds by some kernels.

        Returns:
            How many datagrams were taken in.
        """
        deadline = self._core.next_deadline()
        if deadline is not None:
            timeout = min(timeout, deadline - self._clock())
        ready = self._selector.select(max(0.0, timeout))
        self._send_due(self._clock())
        return self._read(_BATCH) if ready else 0

    def run(self, until: Callable[[], bool]) -> None:
        """Forward until `until` returns True; datagrams held then stay held.

        Args:
            until: Called before every step, at least every 50 ms.
        """
        while not until():
            self.step(_LONGEST_WAIT)

    def drain(self) -> None:
        """Take in what has arrived already, by the rules, and send all held copies at once, in the order of their due times."""
        self._read(_MAX_DRAIN)
        self._send_due(math.inf)

    def partition(self, on: bool) -> None:  # noqa: FBT001 - a switch, and its only argument
        """Start or stop dropping everything. A held copy is dropped if it becomes due meanwhile."""
        self._core.partition(on)

    def account(self) -> LinkAccount:
        """Return what the link did so far."""
        return self._core.account(kernel_drops(self._receiving))

    def close(self) -> None:
        """Close the sockets. Held or unread datagrams are lost without being counted: drain first. May be repeated."""
        self._selector.close()
        self._receiving.close()
        self._sending.close()

    def _read(self, limit: int) -> int:
        """Take in up to so many datagrams, forwarding what is due after each; return how many there were."""
        for taken in range(limit):
            try:
                size = self._receiving.recv_into(self._buffer)
            except BlockingIOError:
                return taken
            now = self._clock()
            self._core.receive(bytes(self._buffer[:size]), now)
            self._send_due(now)
        return limit

    def _send_due(self, now: float) -> None:
        """Send the copies due by now."""
        while (datagram := self._core.take_due(now)) is not None:
            try:
                self._sending.sendto(datagram.content, self._target)
            except OSError:
                self._core.refused(datagram)
            else:
                self._core.sent(datagram)


def _refuse_loop(url: str, target: tuple[Any, ...], own: tuple[str, int]) -> None:
    """Refuse a target with which the link would forward datagrams to itself for ever."""
    if target[:2] == own:
        raise ValueError(f"target must be another address than the link's own, got {url!r}")
