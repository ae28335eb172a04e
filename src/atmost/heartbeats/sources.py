"""Which sessions carry which heartbeats, so that any message of a session is a sign of life.

Pure; not thread-safe.
"""

from __future__ import annotations

from atmost.core.events import Session
from atmost.heartbeats.watched import Watched


class Source:
    """One session, and the heartbeats that it carries."""

    __slots__ = ("sequence", "session", "watched")

    def __init__(self, session: Session) -> None:
        """Args: session: whose datagrams these are."""
        self.session = session
        self.sequence = -1
        """The highest datagram number heard: what comes behind it was sent before, and is no news of now."""
        self.watched: tuple[Watched, ...] = ()


class Sources:
    """The sessions that carry heartbeats."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[bytes, Source] = {}

    def get(self, session: Session) -> Source | None:
        """The source, or None when the session carries no heartbeat."""
        return self._by_key.get(session.key)

    def watched(self, session: Session) -> tuple[Watched, ...]:
        """The heartbeats of a session."""
        source = self._by_key.get(session.key)
        return source.watched if source is not None else ()

    def by_id(self) -> dict[tuple[int, str], Source]:
        """The sources by key number and identity as text, as a ledger names them."""
        return {(source.session.key_id, source.session.id): source for source in self._by_key.values()}

    def move(self, watched: Watched, before: Session | None, after: Session | None, sequence: int = -1) -> None:
        """Notes that another session carries a heartbeat now, or none.

        Args:
            watched: the heartbeat.
            before: its session so far.
            after: its session from now on.
            sequence: the number of the datagram that shows it.
        """
        old = None if before is None else self._by_key.get(before.key)
        if old is not None:
            old.watched = tuple(one for one in old.watched if one is not watched)
            if not old.watched:
                del self._by_key[old.session.key]
        if after is not None:
            new = self._by_key.setdefault(after.key, Source(after))
            new.watched = (*new.watched, watched)
            new.sequence = max(new.sequence, sequence)
