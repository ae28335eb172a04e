"""Log messages without counts, of any sender: what they say, and what is known of losses between them.

The agent's lines are such messages, and so is any text sent on the subject. Pure.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final

from atmost.core.events import Loss, Message, Session
from atmost.logs.gaps import Gap, Gaps
from atmost.logs.levels import MAX_LEVEL
from atmost.logs.reasons import GapReason
from atmost.logs.records import LogRecord

_PLACES: Final = 256
"""Arrivals remembered, to tell between which of them a gap lies."""
_OWN: Final = {"message", "level", "exception", "logger", "time", "truncated", "original_bytes"}


class PlainSession:
    """A session that sends plain log messages."""

    __slots__ = ("_overflow", "_overflow_at", "_places", "gaps", "heard_at", "queued", "session")

    def __init__(self, session: Session, pause: float) -> None:
        """Args: session: whose. pause: seconds between two gaps that are told of."""
        self.session = session
        self.gaps = Gaps(pause)
        self._overflow: Gap | None = None
        self._overflow_at = -1
        self._places: deque[tuple[int, float]] = deque(maxlen=_PLACES)
        self.heard_at = -math.inf
        self.queued = math.inf

    def heard(self, message: Message, now: float) -> None:
        """Notes that a message came."""
        self._places.append((message.arrival.sequence, message.sent_at))
        self.heard_at = now

    def lost(self, loss: Loss, now: float) -> Gap | None:
        """Takes in a loss; returns the gap when it may be told of now."""
        before = [t for sequence, t in self._places if sequence < loss.first_sequence]
        after = [t for sequence, t in self._places if sequence > loss.last_sequence]
        gap = Gap(
            loss.first_sequence,
            loss.last_sequence,
            loss.count,
            None,
            reason=GapReason.UNATTRIBUTED,
            from_t=max(before, default=None),
            to_t=min(after, default=None),
        )
        return self.gaps.add(gap, now)

    def overflowed(self, count: int, now: float) -> Gap | None:
        """Messages came and found the receiver's queue full."""
        last, t = self._places[-1] if self._places else (0, None)
        if self._overflow is not None and self._overflow_at == last:  # nothing came in between: the same gap
            self.gaps.raise_by(self._overflow, count)
            return None
        gap = Gap(last, last, count, None, reason=GapReason.OVERFLOW, from_t=t)
        told = self.gaps.add(gap, now)
        if self.gaps.recent is gap:  # else it was joined with another one
            self._overflow, self._overflow_at = gap, last
        return told

    def came_late(self, count: int) -> int:
        """Lowers the latest gap; returns by how many messages."""
        recent = self.gaps.recent
        lowered = 0 if recent is None else min(count, recent.lost)
        if recent is not None and lowered:
            self.gaps.lower(recent, None, lowered)
        return lowered


def plain_record(message: Message, prefix: str) -> LogRecord:
    """A record of a message that has no counts, whatever its payload is."""
    payload, session = message.payload, message.session
    facts: dict[Any, Any] = payload if isinstance(payload, dict) else {"message": payload}
    text, level, t = facts.get("message", ""), facts.get("level"), facts.get("time")
    original = facts.get("original_bytes")
    known = isinstance(level, str) and 0 < len(level) <= MAX_LEVEL
    return LogRecord(
        t=float(t) if isinstance(t, int | float) and math.isfinite(t) else message.sent_at,
        sender=session.name or session.id,
        host=session.host,
        session=session,
        subject=message.subject,
        logger=_text(facts.get("logger")) or message.subject[len(prefix) :],
        level=level if known else None,
        message=_text(text),
        exception=_text(facts.get("exception")),
        fields={str(name): value for name, value in facts.items() if name not in _OWN},
        truncated=facts.get("truncated") is True,
        original_bytes=original if isinstance(original, int) and original > 0 else 0,
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return "" if value is None else repr(value)
