"""Names the senders whose clocks cause refusals (R18): their datagrams never open a session, so nothing else would name them.

Only what a sender says in a beacon whose tag fits is taken, for reports alone: no decision depends on it.
Bounded: at most `MAX_SUSPECTS` are remembered, and forgotten all at once beyond that.
"""

from __future__ import annotations

from typing import Final

from atmost.core.datagram import Header, Kind, unpack_beacon
from atmost.core.events import ClockTrouble, RefusalReason, Session
from atmost.core.seal import Keyring

MAX_SUSPECTS: Final = 64

_TROUBLES: Final = {
    RefusalReason.FUTURE: ClockTrouble.SENDER_AHEAD,
    RefusalReason.BOOT_QUARANTINE: ClockTrouble.SENDER_BEHIND,
    RefusalReason.BELOW_FLOOR: ClockTrouble.SENDER_BEHIND,
}


class Suspects:
    """Senders that were refused for their clocks, by session key."""

    __slots__ = ("_sessions",)

    def __init__(self) -> None:
        """Begins without suspects."""
        self._sessions: dict[bytes, Session] = {}

    def look(
        self, reason: RefusalReason, datagram: bytes, header: Header, keys: Keyring
    ) -> tuple[ClockTrouble, Session] | None:
        """What may be wrong with whose clock, when a refused datagram tells; None when it does not.

        Args:
            reason: why it was refused; only those that compare clocks matter.
            datagram, header: what was refused.
            keys: to check the tag of a beacon, before its name is taken.
        """
        trouble = _TROUBLES.get(reason)
        if trouble is None:
            return None
        session = self._sessions.get(datagram[2:20]) or self._introduce(datagram, header, keys)
        return None if session is None else (trouble, session)

    def _introduce(self, datagram: bytes, header: Header, keys: Keyring) -> Session | None:
        if header[1] & 15 == Kind.DATA:
            return None
        key = datagram[2:20]
        body = keys[header[2]](key).open(datagram)
        beacon = None if body is None else unpack_beacon(body)
        if beacon is None:
            return None
        session = Session(key, header[3])
        session.name, session.host, session.pid = beacon.name, beacon.host, beacon.pid
        if len(self._sessions) >= MAX_SUSPECTS:
            self._sessions.clear()
        self._sessions[key] = session
        return session
