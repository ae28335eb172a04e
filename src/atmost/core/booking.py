"""Books every accepted datagram, and decides when a missing message is lost (R19–R22).

It is lost between one and two graces after its gap was noticed, when the gap leaves the window, or at eviction.
A late arrival is booked where it fits and lowers the loss; `lost_total` itself never decreases.

`open`, `book`, `report`, `lose_all` and `fold` change only a draft of a session (`SessionState.copy`) or a new dictionary.
`ReceiverCore` puts the results in their places in one statement, so that an exception in the middle leaves the account as it was.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from atmost.core.accounts import Ledger, SessionAccount, divide
from atmost.core.datagram import BeaconBody
from atmost.core.events import Event, LateArrival, Loss, Place, RefusalReason, Tail
from atmost.core.gaps import Gap, Gaps, crowded
from atmost.core.limits import MAX_GAPS_TOTAL
from atmost.core.sessions import SessionState

_NOTHING_FOLDED: Final = dict.fromkeys(
    (
        "end",
        "origin",
        "accepted",
        "lost",
        "at_sender",
        "unknown",
        "late",
        "overflow",
        "discarded",
        "tail_unknown",
    ),
    0,
)


class Books:
    """The account of one receiver: gaps that wait to be settled, and what forgotten sessions leave behind."""

    __slots__ = (
        "_due",
        "_grace",
        "_refused",
        "accepted",
        "clock_troubles",
        "datagrams_in",
        "evicted",
        "folded",
        "gap_total",
        "handler_errors",
    )

    def __init__(self, grace: float) -> None:
        """Args: grace: seconds from noticing a gap to calling it lost, at the earliest."""
        self._grace = grace
        # Which sessions to settle and when, soonest first; forgotten sessions are removed, so that a flood is not remembered for a grace.
        self._due: OrderedDict[bytes, float] = OrderedDict()
        self.gap_total = 0
        self.folded: dict[str, int] = dict(_NOTHING_FOLDED)
        self._refused: dict[str, int] = {}
        self.datagrams_in = 0
        self.accepted = 0
        self.evicted = 0
        self.handler_errors = 0
        self.clock_troubles: Counter[str] = Counter()

    def refuse(self, reason: RefusalReason, state: SessionState | None) -> None:
        """Counts a refused datagram, also with its session where that is known."""
        if state is not None:
            account = state.account
            if account.refused is None:
                account.refused = {}
            account.refused[reason.value] = account.refused.get(reason.value, 0) + 1
        refused = self._refused
        refused[reason.value], self.datagrams_in = refused.get(reason.value, 0) + 1, self.datagrams_in + 1

    def fits(self, state: SessionState, sequence: int, prior: int, count: int) -> bool:
        """Whether a sender can have given a datagram these numbers, given the others (R11.7); if so, `missing` stays at or above 0."""
        account, highest = state.account, state.window.highest
        if sequence > highest:
            return not crowded(prior - account.end, sequence - highest - 1)
        if sequence < state.first_sequence:
            return not crowded(account.origin - prior - count, state.first_sequence - sequence - 1) and not crowded(
                prior, sequence
            )
        # E is the greatest end of all accepted datagrams, so a late one does not move it.
        if prior + count > account.end:
            return False
        return count == 0 if state.gaps is None else state.gaps.fits(sequence, prior, count)

    def open(self, draft: SessionState, sequence: int, prior: int, count: int, now: float) -> list[Event]:
        """Books a session's first datagram."""
        account = draft.account
        events: list[Event] = []
        if prior > account.origin:  # only where the origin is known to be 0
            events = self._add_gap(draft, Gap(0, sequence - 1, account.origin, prior, now, prior - account.origin))
        account.end = prior + count
        account.accepted = count
        return events

    def book(self, draft: SessionState, sequence: int, prior: int, count: int, now: float) -> list[Event]:
        """Books a further datagram that `fits`, before the window moves."""
        account, highest = draft.account, draft.window.highest
        account.accepted += count
        if sequence <= highest:
            return self._book_late(draft, sequence, prior, count, now)
        events: list[Event] = []
        if prior > account.end:
            gap = Gap(highest + 1, sequence - 1, account.end, prior, now, prior - account.end)
            events = self._add_gap(draft, gap)
        account.end = prior + count
        if draft.gaps is not None:
            events += self._lose(draft, draft.gaps.forget_below(sequence - draft.window.width + 1))
        return events

    def report(self, draft: SessionState, beacon: BeaconBody) -> None:
        """Notes a sender's latest report; refusals before this receiver joined are not part of its loss."""
        if draft.report is None and draft.account.origin:
            draft.account.sender_socket_base = sum(beacon.refused.values())
        draft.report = beacon

    def lose_all(self, draft: SessionState) -> list[Event]:
        """Books the missing messages of a session that is being forgotten: what was pending is lost."""
        events: list[Event] = []
        if draft.gaps is not None:
            events = self._lose(draft, draft.gaps.settle(float("inf"), 0.0))
        draft.account.lost_total += draft.account.missing - draft.account.lost
        return events

    def fold(self, draft: SessionState, now: float) -> dict[str, int]:
        """The totals of all forgotten sessions and this one, after `lose_all`; a silent end stays unknown (R21)."""
        account = draft.account
        at_sender = account.at_sender(draft.refused_at_sender())
        own = {
            "end": account.end,
            "origin": account.origin,
            "accepted": account.accepted,
            "lost": account.lost,
            "at_sender": at_sender or 0,
            "unknown": account.lost if at_sender is None else 0,
            "late": account.late_total,
            "overflow": account.overflow,
            "discarded": account.discarded,
            "tail_unknown": int(draft.tail(now) is Tail.SILENT),
        }
        return {name: figure + own[name] for name, figure in self.folded.items()}

    def forget(self, key: bytes) -> None:
        """Removes a forgotten session from those to be settled."""
        self._due.pop(key, None)

    def share(self, state: SessionState | None, count: int) -> tuple[dict[str, int], SessionAccount, int]:
        """Where to book accepted messages that no handler will see: the totals, the session's account, and how many belong to the latter.

        Messages beyond what the session has accepted were accepted before it was forgotten and taken up again.
        """
        if state is None:
            return self.folded, SessionAccount(0), 0
        account = state.account
        return self.folded, account, min(count, account.accepted - account.overflow - account.discarded)

    def next_deadline(self) -> float | None:
        """When `next_due` has a session, monotonic seconds; None when nothing waits."""
        return next(iter(self._due.values()), None)

    def next_due(self, now: float) -> bytes | None:
        """The session whose missing messages are due to be called lost, if any."""
        for key, deadline in self._due.items():
            return key if deadline <= now else None
        return None

    def settle(self, draft: SessionState, now: float) -> list[Event]:
        """Declares lost what has been missing for a grace."""
        return [] if draft.gaps is None else self._lose(draft, draft.gaps.settle(now, self._grace))

    def end_turn(self, key: bytes, state: SessionState | None, now: float) -> None:
        """Ends a session's turn; gaps that were noticed within the grace get another turn."""
        self._due.pop(key, None)
        if state is not None and state.gaps is not None and state.gaps.pending():
            self._due[key] = now + self._grace

    def settle_later(self, state: SessionState, now: float) -> None:
        """Schedules a turn for a session with gaps."""
        if state.gaps is not None and state.session.key not in self._due:
            self._due[state.session.key] = now + self._grace

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
        folded, waiting = self.folded, sum(queued.values())
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
        at_sender = folded["at_sender"] + sum(row.lost_by_place[Place.SENDER_SOCKET] or 0 for row in rows)
        unknown = folded["unknown"] + sum(row.lost_by_place.get(Place.UNKNOWN) or 0 for row in rows)
        nothing_known = unknown > 0 and unknown == total["lost"]
        return Ledger(
            datagrams_in=self.datagrams_in,
            accepted=self.accepted,
            refused=dict(self._refused),
            evicted=self.evicted,
            handler_errors=self.handler_errors,
            kernel_drops=kernel_drops,
            clock_troubles=dict(self.clock_troubles),
            lost_by_place=divide(total["lost"], None if nothing_known else at_sender, unknown),
            sessions=rows,
            **total,
        )

    def _book_late(self, draft: SessionState, sequence: int, prior: int, count: int, now: float) -> list[Event]:
        account = draft.account
        if sequence < draft.first_sequence:
            room_end, account.origin = account.origin, prior
            last, draft.first_sequence = draft.first_sequence - 1, sequence
            if prior + count < room_end:
                room = room_end - prior - count
                return self._add_gap(draft, Gap(sequence + 1, last, prior + count, room_end, now, room))
            return []
        if draft.gaps is not None and draft.gaps.fill(sequence, count) and count:
            account.late_total += count
            return [LateArrival(draft.session, count)]
        return []

    def _add_gap(self, draft: SessionState, gap: Gap) -> list[Event]:
        if draft.gaps is None:
            draft.gaps = Gaps()
        draft.gaps.remember(gap)
        if len(draft.gaps) > 1 and (draft.gaps.over_limit() or self.gap_total >= MAX_GAPS_TOTAL):
            early = draft.gaps.join_oldest()
            return [] if early is None else self._lose(draft, [early])
        return []

    def _lose(self, draft: SessionState, gaps: list[Gap]) -> list[Event]:
        """Books gaps as lost: at the sender's socket as far as its reports explain them, and the rest elsewhere."""
        account, reported = draft.account, draft.refused_at_sender()
        events: list[Event] = []
        for gap in gaps:
            if not gap.room:
                continue
            account.lost_total += gap.room
            unexplained = (reported or 0) - account.sender_socket_base - account.sender_socket_booked
            at_sender = min(gap.room, max(0, unexplained))
            account.sender_socket_booked += at_sender
            elsewhere = Place.UNKNOWN if reported is None else Place.IN_FLIGHT
            for place, count in ((Place.SENDER_SOCKET, at_sender), (elsewhere, gap.room - at_sender)):
                if count:
                    events.append(Loss(draft.session, count, place, gap.first, gap.last))
        return events
