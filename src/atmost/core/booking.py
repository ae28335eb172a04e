"""Books every accepted datagram, and turns what is missing into what is lost (R19–R22).

Missing becomes lost between one and two graces after its gap was noticed, when the gap leaves the window, or at eviction.
A late arrival is booked where it fits and lowers the loss; `lost_total` itself never decreases.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from atmost.core.accounts import Ledger
from atmost.core.datagram import BeaconBody
from atmost.core.events import Event, LateArrival, Loss, Place, RefusalReason, Tail
from atmost.core.gaps import Gap, Gaps
from atmost.core.limits import MAX_GAPS_TOTAL
from atmost.core.sessions import SessionState


class Books:
    """The account of one receiver: gaps that wait to be settled, and what forgotten sessions leave behind."""

    def __init__(self, grace: float) -> None:
        """Args: grace: seconds from noticing a gap to calling it lost, at the earliest."""
        self._grace = grace
        # Which sessions to settle and when, soonest first; a session that is forgotten leaves, or a flood would be remembered for a grace.
        self._due: OrderedDict[SessionState, float] = OrderedDict()
        self._gap_total = 0
        self._folded: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self.datagrams_in = 0
        self.accepted = 0
        self.evicted = 0
        self.handler_errors = 0
        self.clock_troubles: Counter[str] = Counter()

    def refuse(self, reason: RefusalReason, state: SessionState | None) -> None:
        """Counts a refused datagram, also with its session where that is known."""
        self._refused[reason.value] += 1
        if state is not None:
            account = state.account
            if account.refused is None:
                account.refused = {}
            account.refused[reason.value] = account.refused.get(reason.value, 0) + 1

    def fits(self, state: SessionState, sequence: int, prior: int, count: int) -> bool:
        """Whether booking this datagram would keep `missing` at or above 0 (R11.7)."""
        if sequence > state.window.highest:
            return prior >= state.account.end
        if sequence < state.first_sequence:
            return prior + count <= state.account.origin
        # E is the greatest end of all that was accepted, and a late one does not move it.
        if prior + count > state.account.end:
            return False
        return count == 0 if state.gaps is None else state.gaps.fits(sequence, prior, count)

    def open(self, state: SessionState, sequence: int, prior: int, count: int, now: float) -> list[Event]:
        """Books a session's first datagram."""
        account = state.account
        events: list[Event] = []
        if prior > account.origin:  # only where the origin is known to be 0
            events = self._add_gap(state, Gap(0, sequence - 1, account.origin, prior, now))
        account.end = prior + count
        account.accepted = count
        return events

    def book(self, state: SessionState, sequence: int, prior: int, count: int, now: float) -> list[Event]:
        """Books a further datagram that `fits`, before the window moves."""
        account, highest = state.account, state.window.highest
        account.accepted += count
        if sequence <= highest:
            return self._book_late(state, sequence, prior, count, now)
        events: list[Event] = []
        if prior > account.end:
            events = self._add_gap(state, Gap(highest + 1, sequence - 1, account.end, prior, now))
        account.end = prior + count
        if state.gaps is not None:
            events += self._forget_below(state, sequence - state.window.width + 1)
        return events

    def report(self, state: SessionState, beacon: BeaconBody) -> None:
        """Takes a sender's latest report; refusals before this receiver joined are not part of its loss."""
        if state.report is None and state.account.origin:
            state.account.sender_socket_base = sum(beacon.refused.values())
        state.report = beacon

    def evict(self, state: SessionState, now: float) -> list[Event]:
        """Folds a forgotten session into the totals; what was pending is lost, and a silent end stays unknown (R21)."""
        events: list[Event] = []
        self._due.pop(state, None)
        if state.gaps is not None:
            events = self._lose(state, state.gaps.settle(float("inf"), 0.0))
            self._gap_total -= len(state.gaps)
            state.gaps = None
        account = state.account
        account.lost_total += account.missing - account.lost
        self._folded.update(
            end=account.end,
            origin=account.origin,
            accepted=account.accepted,
            lost=account.lost,
            at_sender=account.at_sender(state.refused_at_sender()),
            late=account.late_total,
            overflow=account.overflow,
            discarded=account.discarded,
            tail_unknown=int(state.tail(now) is Tail.SILENT),
        )
        self.evicted += 1
        return events

    def not_handled(self, state: SessionState | None, field: str, count: int) -> None:
        """Books accepted messages that no handler will see: `field` is `overflow` or `discarded`.

        Those beyond what the session has accepted were accepted before it was forgotten and taken up again.
        """
        if state is not None:
            account = state.account
            own = min(count, account.accepted - account.overflow - account.discarded)
            setattr(account, field, getattr(account, field) + own)
            count -= own
        self._folded[field] += count

    def next_deadline(self) -> float | None:
        """When `settle` should be called, monotonic seconds."""
        return next(iter(self._due.values()), None)

    def settle(self, now: float) -> list[Event]:
        """Declares lost what has been missing for a grace."""
        events: list[Event] = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            state, _ = self._due.popitem(last=False)
            if state.gaps is None:
                continue
            events += self._lose(state, state.gaps.settle(now, self._grace))
            if state.gaps.pending():
                self._settle_later(state, now)
        return events

    def ledger(
        self, sessions: Iterable[SessionState], queued: Mapping[bytes, int], now: float, kernel_drops: int | None
    ) -> Ledger:
        """The whole account.

        Args:
            sessions: those remembered.
            queued: messages waiting for the handler, by session key.
            now: monotonic, seconds.
            kernel_drops: datagrams the kernel dropped at the socket; None when unknown.
        """
        rows = [state.ledger(now, queued.get(state.session.key, 0)) for state in sessions]
        folded, waiting = self._folded, sum(queued.values())
        waiting_folded = waiting - sum(row.queued for row in rows)
        total: dict[str, Any] = {
            "sent": folded["end"],
            "delivered": folded["accepted"] - folded["overflow"] - folded["discarded"] - waiting_folded,
            "queued": waiting_folded,
            "before_join": folded["origin"],
            "pending": 0,
            **{name: folded[name] for name in ("lost", "late", "overflow", "discarded", "tail_unknown")},
        }
        for name in total:
            total[name] += sum(getattr(row, name) for row in rows)
        at_sender = folded["at_sender"] + sum(row.lost_by_place[Place.SENDER_SOCKET] for row in rows)
        places = {Place.SENDER_SOCKET.value: at_sender, Place.IN_FLIGHT.value: total["lost"] - at_sender}
        return Ledger(
            datagrams_in=self.datagrams_in,
            accepted=self.accepted,
            refused=dict(self._refused),
            evicted=self.evicted,
            handler_errors=self.handler_errors,
            kernel_drops=kernel_drops,
            clock_troubles=dict(self.clock_troubles),
            lost_by_place=places,
            sessions=rows,
            **total,
        )

    def _book_late(self, state: SessionState, sequence: int, prior: int, count: int, now: float) -> list[Event]:
        account = state.account
        if sequence < state.first_sequence:
            room_end, account.origin = account.origin, prior
            last, state.first_sequence = state.first_sequence - 1, sequence
            if prior + count < room_end:
                return self._add_gap(state, Gap(sequence + 1, last, prior + count, room_end, now))
            return []
        if state.gaps is not None and state.gaps.fill(sequence, count) and count:
            account.late_total += count
            return [LateArrival(state.session, count)]
        return []

    def _add_gap(self, state: SessionState, gap: Gap) -> list[Event]:
        if state.gaps is None:
            state.gaps = Gaps()
        state.gaps.add(gap)
        self._gap_total += 1
        if state not in self._due:
            self._settle_later(state, gap.noticed)
        if len(state.gaps) > 1 and (state.gaps.over_limit() or self._gap_total > MAX_GAPS_TOTAL):
            self._gap_total -= 1
            early = state.gaps.join_oldest()
            return [] if early is None else self._lose(state, [early])
        return []

    def _settle_later(self, state: SessionState, now: float) -> None:
        self._due[state] = now + self._grace

    def _forget_below(self, state: SessionState, lowest: int) -> list[Event]:
        gaps = state.gaps
        assert gaps is not None
        before = len(gaps)
        pending = gaps.forget_below(lowest)
        self._gap_total -= before - len(gaps)
        if not len(gaps):
            state.gaps = None
        return self._lose(state, pending) if pending else []

    def _lose(self, state: SessionState, gaps: list[Gap]) -> list[Event]:
        """Books gaps as lost, first to the sender's socket as far as its reports explain them."""
        account = state.account
        events: list[Event] = []
        for gap in gaps:
            if not gap.room:
                continue
            account.lost_total += gap.room
            unexplained = state.refused_at_sender() - account.sender_socket_base - account.sender_socket_booked
            at_sender = min(gap.room, max(0, unexplained))
            account.sender_socket_booked += at_sender
            for place, count in ((Place.SENDER_SOCKET, at_sender), (Place.IN_FLIGHT, gap.room - at_sender)):
                if count:
                    events.append(Loss(state.session, count, place, gap.first, gap.last))
        return events
