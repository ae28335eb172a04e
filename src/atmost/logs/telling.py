"""Makes what a reader yields of what it knows: records, gaps and sources for its user."""

from __future__ import annotations

from atmost.core.events import Session
from atmost.logs.gaps import Gap
from atmost.logs.held import Held
from atmost.logs.levels import name_of
from atmost.logs.life import Life
from atmost.logs.plain import PlainSession
from atmost.logs.records import LogGap, LogRecord, LogSource


def record_of(life: Life, held: Held, prefix: str, *, late: bool) -> LogRecord:
    """A record of a handler; the prefix is that of its subject, with the dot."""
    body, message = held.body, held.message
    text, exception, fields, hole = held.join()
    return LogRecord(
        t=body.time,
        sender=who(message.session),
        host=message.session.host,
        session=message.session,
        subject=message.subject,
        logger=body.logger or message.subject[len(prefix) :],
        level=body.level,
        message=text,
        exception=exception,
        fields=fields,
        thread=body.thread,
        process=body.process,
        error=body.error,
        late=late,
        truncated=body.truncated,
        original_bytes=body.original_bytes,
        hole=hole,
        parts=body.parts,
        life=life.id,
        number=held.number,
    )


def gap_of(one: Life | PlainSession, gap: Gap) -> LogGap:
    """A gap as it is now."""
    return LogGap(
        sender=who(one.session),
        host=one.session.host,
        session=one.session,
        life=one.id if isinstance(one, Life) else one.session.id,
        first=gap.first,
        last=gap.last,
        lost=gap.lost,
        reason=gap.why(),
        by_level=None if gap.by_level is None else {name_of(key): count for key, count in gap.by_level.items()},
        dropped=gap.dropped,
        late=gap.late,
        from_t=gap.from_t,
        to_t=gap.to_t,
    )


def source_of(life: Life) -> LogSource:
    """What is known of a life."""
    return LogSource(
        sender=who(life.session),
        host=life.session.host,
        pid=life.session.pid,
        life=life.id,
        numbered=life.top,
        received=life.received,
        lost=life.lost,
        by_level={name_of(key): count for key, count in life.by_level.items() if count},
        late=life.late,
        pending=life.pending,
        before_join=life.before_join,
        holes=life.holes,
        dropped=life.dropped,
        closed=life.closed,
        last_t=life.last_t,
    )


def who(session: Session) -> str:
    """A sender's name, or its identity while no beacon has told the name."""
    return session.name or session.id
