"""The virtual network: time that moves only on request, an agenda of what is to happen, links, and senders' cores.

The simulator of the guarantee, the comparison, the fleet, the benchmarks under loss and the tests are built from these
parts. Nothing here reads a clock or opens a socket, and all randomness comes from the rules of a link, so the same seed
gives the same run. Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final, Generic, TypeVar

from atmost.core.datagram import encode_message
from atmost.core.seal import NO_KEY, no_keys
from atmost.core.sending import SenderCore, SenderOptions
from atmost.errors import PayloadTooLarge
from atmost.lab.faults import Judge
from atmost.lab.link import Carried, LinkCore

EPOCH_US: Final = 1_767_225_600_000_000
"""Reading of a true wall clock at virtual time 0, the start of 2026 (µs since 1970)."""

Time = TypeVar("Time", int, float)
Arrive = Callable[[Carried, int], None]
"""Called with an arriving datagram and the number of its copies that arrive together."""
_NEVER: Final = float("inf")


def wall_us(now: float) -> int:
    """Reading of a true wall clock (µs since 1970) at a moment of virtual time (s)."""
    return EPOCH_US + round(now * 1e6)


class Agenda(Generic[Time]):
    """Virtual time, in the unit of its user's choice, and the calls that are due in it.

    Calls that are due at the same moment run in the order of their scheduling.
    """

    __slots__ = ("_coming", "_order", "now")

    def __init__(self, now: Time) -> None:
        """Starts at a moment, with an empty agenda."""
        self.now: Time = now
        self._coming: list[tuple[Time, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = 0

    def at(self, when: Time, action: Callable[..., object], *arguments: Any) -> None:
        """Calls `action(*arguments)` at a moment; at once, but not within this call, if the moment has passed."""
        self._order += 1
        heappush(self._coming, (max(when, self.now), self._order, action, arguments))

    def after(self, delay: Time, action: Callable[..., object], *arguments: Any) -> None:
        """Calls `action(*arguments)` after a delay."""
        self.at(self.now + delay, action, *arguments)

    def run_until(self, time: Time) -> None:
        """Runs every call due by a moment and moves the time there; infinity only empties the agenda."""
        coming = self._coming
        while coming and coming[0][0] <= time:
            self._next()
        if time < _NEVER:
            self.now = max(self.now, time)

    def run_while(self, condition: Callable[[], bool]) -> None:
        """Runs calls one by one while the condition holds and the agenda is not empty."""
        while self._coming and condition():
            self._next()

    def postpone(self, by: Time) -> None:
        """Lets time pass in which nothing happens: all calls move back by as much."""
        self.now += by
        self._coming = [(when + by, order, action, arguments) for when, order, action, arguments in self._coming]

    def clear(self) -> None:
        """Empties the agenda."""
        self._coming.clear()

    def _next(self) -> None:
        self.now, _, action, arguments = heappop(self._coming)
        action(*arguments)


class Path:
    """A link in virtual time: datagrams arrive when they are due, by the verdicts of its rules.

    The link is the real one without its socket, so its account holds here too.
    """

    def __init__(self, agenda: Agenda[float], rules: Judge, arrive: Callable[[bytes], object]) -> None:
        """Connects the two ends.

        Args:
            agenda: the time of both ends (s).
            rules: asked once for every datagram.
            arrive: called with each copy that arrives.
        """
        self.link = LinkCore(rules)
        self._agenda = agenda
        self._arrive = arrive
        self._due = _NEVER
        self._healed = False

    def send(self, datagram: bytes) -> None:
        """Takes a datagram at one end."""
        if self._healed:
            self._arrive(datagram)
            return
        self.link.receive(datagram, self._agenda.now)
        self._come_due()

    def heal(self) -> None:
        """Ends all faults: from now on everything arrives at once, and held datagrams arrive when they are due."""
        self._healed = True

    def _come_due(self) -> None:
        take_due(self.link, self._agenda.now, self._deliver)
        deadline = self.link.next_deadline()
        # Usually one call waits on the agenda; several if a later datagram is due earlier, and then the others find nothing due.
        if deadline is not None and deadline < self._due:
            self._due = deadline
            self._agenda.at(deadline, self._wake)

    def _wake(self) -> None:
        self._due = _NEVER
        self._come_due()

    def _deliver(self, carried: Carried, copies: int) -> None:
        for _ in range(copies):
            self._arrive(carried.content)


def take_due(link: LinkCore, now: float, arrive: Arrive) -> None:
    """Delivers everything that is due, with one call for copies that arrive together.

    Args:
        link: holds the datagrams.
        now: seconds; infinity takes everything that waits.
        arrive: called when the link has nothing more that is due.
    """
    together: list[tuple[Carried, int]] = []
    while (carried := link.take_due(now)) is not None:
        link.sent(carried)
        if together and together[-1][0] is carried:
            together[-1] = (carried, together[-1][1] + 1)
        else:
            together.append((carried, 1))
    for carried, copies in together:
        arrive(carried, copies)


class VirtualSender:
    """A sender's core driven in virtual time; the uses take it as their `Sender`.

    It hands over when a datagram is full, on `flush`, and when a beacon is due.
    """

    def __init__(
        self,
        agenda: Agenda[float],
        transmit: Callable[[bytes], object],
        *,
        identity: Callable[[], int],
        max_datagram: int,
        options: SenderOptions | None = None,
        name: str = "virtual",
        host: str = "lab",
        pid: int = 1,
    ) -> None:
        """A sender without a session; its first hand-over begins one.

        Args:
            agenda: its time (s); its wall clock is true.
            transmit: called with each sealed datagram.
            identity: gives the 64 random bits of each session.
            max_datagram: bytes.
            options: the core's.
            name, host, pid: sent in its beacons.
        """
        seals = no_keys()[NO_KEY]
        self.name = name
        self.core = SenderCore(options or SenderOptions(), max_datagram, seals, name=name, host=host, pid=pid)
        self._agenda = agenda
        self._transmit = transmit
        self._identity = identity

    def send(self, subject: str, payload: Any = None) -> bool:
        """Takes a message as `Sender.send` does; it waits for more messages until the next hand-over.

        Raises:
            PayloadTooLarge: the message does not fit a datagram.
        """
        core, item = self.core, encode_message((subject, payload))
        if len(item) > core.max_message:
            raise PayloadTooLarge(len(item), core.max_message)
        if core.open and core.size + len(item) > core.room:
            self.hand_over()
        return core.offer(item, self._agenda.now)

    def flush(self) -> None:
        """Hands over all open messages."""
        self.hand_over()

    def hand_over(self) -> None:
        """Transmits all open messages, and a beacon if one is due."""
        core, now = self.core, self._agenda.now
        reading = wall_us(now)
        if core.needs_session(reading):
            core.begin(self._identity(), reading, now)
        while (outgoing := core.next_datagram(now, reading, flush=True)) is not None:
            self._transmit(outgoing.data)
            core.handed_over(outgoing, None, now)

    def handle_deadline(self) -> None:
        """Hands over if something is due by now."""
        deadline = self.core.next_deadline()
        if deadline is not None and deadline <= self._agenda.now:
            self.hand_over()
