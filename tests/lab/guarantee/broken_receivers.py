"""Receivers that differ from the real one in one rule each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from atmost.core.accounts import Ledger
from atmost.core.datagram import Header, Kind, read_header
from atmost.core.events import Event, Session
from atmost.core.limits import HEADER, TAG
from atmost.core.receiving import ReceiverOptions
from atmost.core.seal import NO_KEY, ChecksumSeal, Keyring
from atmost.core.sessions import SessionState, SessionTable
from atmost.core.window import ReplayWindow, Verdict
from atmost.lab.guarantee.cores import ObservedReceiver

FOREVER_US = 1 << 62


class NoBootMargin(ObservedReceiver):
    """M1."""

    margin = (0.0, 0.0)
    """What of F and of G is left in the boot floor."""

    def __init__(self, options: ReceiverOptions, wall_us: int, *rest: Any) -> None:
        super().__init__(options, wall_us, *rest)
        future, guard = self.margin
        margin_us = round((future * options.future_bound + guard * options.clock_guard) * 1e6)
        self._table = SessionTable(options.max_sessions, wall_us + margin_us)


class NoFutureInFloor(NoBootMargin):
    """M1a."""

    margin = (0.0, 1.0)


class NoGuardInFloor(NoBootMargin):
    """M1b."""

    margin = (1.0, 0.0)


class FloorOneLess(ObservedReceiver):
    """The boot floor off by one µs."""

    def __init__(self, options: ReceiverOptions, wall_us: int, *rest: Any) -> None:
        super().__init__(options, wall_us, *rest)
        self._table = SessionTable(options.max_sessions, self._table.boot_floor - 1)


class NoFutureBound(ObservedReceiver):
    """M2."""

    def __init__(self, options: ReceiverOptions, wall_us: int, *rest: Any) -> None:
        super().__init__(options, wall_us, *rest)
        self._future_us = FOREVER_US


class FoldingTable(SessionTable):
    """A table whose fold may be something else."""

    __slots__ = ("now_us", "with_now")

    def fold(self, evicted: SessionState) -> int:
        return max(self.floor, self.now_us) if self.with_now else self.floor


class NoFold(ObservedReceiver):
    """M3."""

    with_now = False

    def __init__(self, options: ReceiverOptions, wall_us: int, *rest: Any) -> None:
        super().__init__(options, wall_us, *rest)
        self._table = FoldingTable(options.max_sessions, self._table.boot_floor)
        self._table.with_now = self.with_now

    def receive(self, datagram: bytes, now: float, wall_us: int) -> Sequence[Event]:
        assert isinstance(self._table, FoldingTable)
        self._table.now_us = wall_us
        return super().receive(datagram, now, wall_us)


class FoldNow(NoFold):
    """M4."""

    with_now = True


class NoEfloor(ObservedReceiver):
    """M5."""

    def _take_up(self, header: Header, session: Session, efloor: int) -> SessionState:
        state = super()._take_up(header, session, efloor)
        state.efloor = -1
        return state


class EfloorFromBoot(ObservedReceiver):
    """M5a."""

    def _take_up(self, header: Header, session: Session, efloor: int) -> SessionState:
        state = super()._take_up(header, session, efloor)
        state.efloor = self._table.boot_floor
        return state


class EfloorAfterRoom(ObservedReceiver):
    """The efloor read after making room: what the newcomer sent before is shut out."""

    def _take_up(self, header: Header, session: Session, efloor: int) -> SessionState:
        victim = self._table.victim(self._now)
        return super()._take_up(header, session, efloor if victim is None else self._table.fold(victim))

    def receive(self, datagram: bytes, now: float, wall_us: int) -> Sequence[Event]:
        self._now = now
        return super().receive(datagram, now, wall_us)


class Windowless(ReplayWindow):
    """What fell out of the window counts as new."""

    __slots__ = ()

    def judge(self, number: int) -> Verdict:
        verdict = super().judge(number)
        return Verdict.NEW if verdict is Verdict.STALE else verdict

    def mark(self, number: int) -> None:
        if number > self.highest - self.width:
            super().mark(number)


class OneTooWide(Windowless):
    """A window that believes to remember one number more than it does."""

    __slots__ = ()

    def judge(self, number: int) -> Verdict:
        return Verdict.NEW if self.highest - number == self.width else ReplayWindow.judge(self, number)


class OneTooNarrow(ReplayWindow):
    """A window that refuses the last number it remembers."""

    __slots__ = ()

    def judge(self, number: int) -> Verdict:
        return Verdict.STALE if self.highest - number == self.width - 1 > 0 else super().judge(number)


class BelowWindow(ObservedReceiver):
    """M6."""

    window: type[ReplayWindow] = Windowless

    def _take_up(self, header: Header, session: Session, efloor: int) -> SessionState:
        state = super()._take_up(header, session, efloor)
        window = self.window(state.window.highest, state.window.width)
        window.unseen = state.window.unseen
        state.window = window
        return state


class WindowTooWide(BelowWindow):
    """The window off by one, to the wrong side."""

    window = OneTooWide


class WindowTooNarrow(BelowWindow):
    """The window off by one, to the safe side."""

    window = OneTooNarrow


class Unsharded(ObservedReceiver):
    """A worker that leaves the steering to the kernel, and takes what comes."""

    def __init__(self, options: ReceiverOptions, wall_us: int, *rest: Any) -> None:
        super().__init__(options, wall_us, *rest)
        self._shards = None


class MarkAfterDeliver(ObservedReceiver):
    """A number is marked when its handler has returned: not before the clock goes on, and not at all if it raised."""

    def __init__(self, options: ReceiverOptions, wall_us: int, *rest: Any) -> None:
        super().__init__(options, wall_us, *rest)
        self._in_handler: list[tuple[bytes, int]] = []
        self._at = 0.0

    def receive(self, datagram: bytes, now: float, wall_us: int) -> Sequence[Event]:
        if now > self._at:
            for key, sequence in self._in_handler:
                state = self._table.sessions.get(key)
                if state is not None and state.window.judge(sequence) is Verdict.NEW:
                    state.window.mark(sequence)
            self._in_handler = []
        self._at = now
        accepted = self._books.accepted
        events = super().receive(datagram, now, wall_us)
        header = read_header(datagram)
        if self._books.accepted > accepted and header is not None and header[8]:
            state = self._table.sessions[datagram[2:20]]
            state.window.unseen |= 1 << state.window.highest - header[5]
            self._in_handler.append((datagram[2:20], header[5]))
        return events

    def handler_failed(self) -> None:
        super().handler_failed()
        self._in_handler = []


class KernelDropsInLoss(ObservedReceiver):
    """The kernel's drops counted into the loss they are part of already (R22)."""

    def ledger(self, now: float, queued: Mapping[bytes, int] | None = None, kernel_drops: int | None = None) -> Ledger:
        ledger = super().ledger(now, queued, kernel_drops)
        return replace(ledger, lost=ledger.lost + (kernel_drops or 0))


class KernelDropsInDatagrams(ObservedReceiver):
    """The kernel's drops counted among the datagrams that arrived (R22)."""

    def ledger(self, now: float, queued: Mapping[bytes, int] | None = None, kernel_drops: int | None = None) -> Ledger:
        ledger = super().ledger(now, queued, kernel_drops)
        return replace(ledger, datagrams_in=ledger.datagrams_in + (kernel_drops or 0))


class FreedOnGoodbye(ObservedReceiver):
    """A session that said goodbye is forgotten, its greatest stamp with it (R12)."""

    def receive(self, datagram: bytes, now: float, wall_us: int) -> Sequence[Event]:
        accepted = self._books.accepted
        events = super().receive(datagram, now, wall_us)
        header = read_header(datagram)
        if self._books.accepted > accepted and header is not None and header[1] & 15 == Kind.GOODBYE:
            self._table.sessions.pop(datagram[2:20])
        return events


class AnyTag(ChecksumSeal):
    """A seal that opens whatever comes."""

    __slots__ = ()

    def open(self, datagram: bytes) -> memoryview:
        return memoryview(datagram)[HEADER:-TAG]


class Unchecked(ObservedReceiver):
    """The tag is not looked at (H0)."""

    def __init__(self, options: ReceiverOptions, wall_us: int, keys: Keyring | None = None, *rest: Any) -> None:
        super().__init__(options, wall_us, {NO_KEY: lambda _session: AnyTag()}, *rest)


class LateForgotten(ObservedReceiver):
    """Late arrivals are taken off what was lost in total, instead of being counted beside it (R19)."""

    def ledger(self, now: float, queued: Mapping[bytes, int] | None = None, kernel_drops: int | None = None) -> Ledger:
        return replace(super().ledger(now, queued, kernel_drops), late=0)


class NeverSettles(ObservedReceiver):
    """What is missing stays pending for ever (R19)."""

    def handle_deadline(self, now: float) -> Sequence[Event]:
        self._books._due.clear()
        return super().handle_deadline(now)


class Idle(ObservedReceiver):
    """Deadlines are announced and not kept."""

    def handle_deadline(self, now: float) -> Sequence[Event]:
        return []


class Fragile(ObservedReceiver):
    """An exception for what the remote side sends (R3)."""

    def receive(self, datagram: bytes, now: float, wall_us: int) -> Sequence[Event]:
        if read_header(datagram) is None:
            raise ValueError("not one of ours")
        return super().receive(datagram, now, wall_us)
