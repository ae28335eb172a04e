"""Decides what a sender transmits, numbers it, and counts what it could not hand over (R4–R7).

A message waits in the open datagram until it is full, its linger is over, or somebody flushes; what was handed over is never handed over again (R6).
Numbers are spent just before the hand-over, so that what was dropped earlier leaves no gap, and what the socket refused leaves one (R5).

Time and bytes in, datagrams out; one caller at a time.
The exception is the hot path of `send()`: `open` may be appended to, and `size` raised, by any thread without a lock.
`size` is therefore a hint, put right at every datagram; `open` itself is exact, for only `next_datagram` takes from it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from atmost.core.accounts import SenderStats
from atmost.core.datagram import HEADER_LAYOUT, BeaconBody, Kind, pack_beacon, pack_messages
from atmost.core.events import DropReason
from atmost.core.limits import (
    BEACON_AFTER_DATA,
    BEACON_GROWTH,
    BEACON_IDLE,
    BEACON_UNDER_LOAD,
    MAGIC,
    MAX_COUNT,
    MAX_DATAGRAM,
    MAX_NAME,
    MIN_DATAGRAM,
    OVERHEAD,
    VERSION,
)
from atmost.core.names import legible
from atmost.core.seal import NO_KEY, SealFactory
from atmost.errors import OptionError

NOT_NOW: Final = "EAGAIN"
"""What a transport answers when it cannot take a datagram at this moment: a certain refusal (R6)."""

_HELD_RETRY: Final = 0.001
"""A held datagram is offered again this often, seconds."""
_IMMEDIATE_EVERY: Final = 0.000_25
"""A lone message leaves at once, but waking an idle receiver costs 11 µs: at most one such datagram in this time, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderOptions:
    """What a sender's user can choose; each is a trade-off."""

    linger: float = 0.005
    """Seconds a message may wait for company. Larger fills datagrams better and delays more; 0: every message alone, at once."""
    max_datagram: int | None = None
    """Bytes of one datagram, headers included; None takes what the path allows. Larger costs less a message and loses more at once."""
    max_bytes_per_second: float | None = None
    """Pacing of the datagrams' bytes; None sends as fast as asked. What does not fit is dropped and counted as `pacing`."""
    max_buffer: int = 262_144
    """Bytes that may wait while the transport cannot take them. Larger survives longer stalls, and sends older messages after them."""
    max_hold: float = 1.0
    """Seconds a numbered datagram waits for a transport that says "not now"; then it is counted as refused."""

    def __post_init__(self) -> None:
        """Refuses values outside their range."""
        for name in ("linger", "max_hold"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and 0 <= value <= 60):
                raise OptionError(name, value, "seconds from 0 to 60")
        size, rate, buffer = self.max_datagram, self.max_bytes_per_second, self.max_buffer
        if size is not None and not (isinstance(size, int) and MIN_DATAGRAM <= size <= MAX_DATAGRAM):
            raise OptionError("max_datagram", size, f"bytes from {MIN_DATAGRAM} to {MAX_DATAGRAM}")
        if rate is not None and not (isinstance(rate, (int, float)) and rate >= 1):
            raise OptionError("max_bytes_per_second", rate, "bytes per second, at least 1, or None")
        if not (isinstance(buffer, int) and MIN_DATAGRAM <= buffer <= 1 << 30):
            raise OptionError("max_buffer", buffer, f"bytes from {MIN_DATAGRAM} to {1 << 30}")


class Outgoing:
    """A sealed datagram on its way to the transport."""

    __slots__ = ("count", "data", "sealed_at")

    def __init__(self, data: bytes, count: int, sealed_at: float) -> None:
        """Args: data: the datagram. count: its messages. sealed_at: monotonic, seconds."""
        self.data = data
        self.count = count
        self.sealed_at = sealed_at


class SenderCore:
    """One sender: the open datagram, the session's numbers, and the counts."""

    def __init__(
        self,
        options: SenderOptions,
        max_datagram: int,
        seals: SealFactory,
        *,
        name: str,
        host: str,
        pid: int,
        key_id: int = NO_KEY,
        step_back: float = 0.25,
    ) -> None:
        """Makes a sender without a session; the first hand-over needs one.

        Args:
            options: the user's choices.
            max_datagram: bytes of a datagram.
            seals: the seal of each session.
            name, host, pid: what the beacons say.
            key_id: the key's number on the wire.
            step_back: seconds the wall clock may be set back before a new session begins (F/2, GUARANTEE §2).
        """
        self.options = options
        self.open: list[bytes] = []
        self.size = 0
        self.room = max_datagram - OVERHEAD
        self.max_message = self.room
        # The gate of the hot path: what does not fit under it goes the long way round.
        self.capacity = self.room if options.linger else 0
        self.immediate_at = 0.0
        self.held: Outgoing | None = None
        self.closed = False
        self._seals = seals
        # Neither may keep `send()` from making a beacon.
        self._name, self._host, self._pid = legible(name[:MAX_NAME]), legible(host[:MAX_NAME]), pid
        self._key_id = key_id
        self._step_back_us = round(step_back * 1e6)
        self._session: tuple[int, int] | None = None
        self._sequence = 0
        self._max_sent_us = 0
        self.beacon_at = 0.0
        self._handed_over = 0
        self._dropped: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        # What earlier sessions handed over, dropped and had refused: a report tells only of its own (R5).
        self._base: tuple[int, Counter[str], Counter[str]] = (0, Counter(), Counter())
        self._inherited: Outgoing | None = None
        self._begun = False
        self._resting = False
        self._retry_at = 0.0
        self._pace_at = 0.0
        self.open_since = 0.0

    def needs_session(self, wall_us: int) -> bool:
        """Whether a session must begin first: there is none, or the wall clock was set back too far for the old one."""
        return self._session is None or self._resting or wall_us < self._max_sent_us - self._step_back_us

    @property
    def datagrams(self) -> int:
        """Numbers spent in this session."""
        return self._sequence

    @property
    def began(self) -> bool:
        """Whether there is a session, or a datagram of the last one still waits to be handed over."""
        return (self._session is not None and not self._resting) or self.held is not None

    def overfull(self, now: float) -> bool:
        """Whether a full datagram waits that nothing keeps from being handed over."""
        if not self.open or (self.size < self.room and self.options.linger):
            return False
        return self.held is None and now >= self._pace_at

    def begin(self, random64: int, wall_us: int, now: float) -> None:
        """Begins a session: identity `(key_id, start_us, random64)`, numbers from 0, a beacon first (R7)."""
        if self._begun:
            self._base = (self._handed_over, Counter(self._dropped), Counter(self._refused))
            self._inherited = self.held
        self._begun = True
        self._resting = False
        self._session = (wall_us, random64)
        self._seal = self._seals(HEADER_LAYOUT.pack(0, 0, self._key_id, wall_us, random64, 0, 0, 0, 0, 0)[2:20])
        self._sequence = 0
        self._prior = 0
        self._max_sent_us = wall_us
        self.beacon_at = now
        self._interval = BEACON_AFTER_DATA
        self._load_until: float | None = None

    def change_key(self, key_id: int, seals: SealFactory) -> None:
        """Seals what is numbered from now on with another key, in a session of its own (R1)."""
        self._key_id, self._seals = key_id, seals
        self._session = None

    def drop(self, reason: DropReason) -> None:
        """Counts a message dropped before it was numbered."""
        self._dropped[reason.value] += 1

    def drop_reason(self) -> DropReason:
        """Why there is no room: pacing, when that is what holds the messages up."""
        return DropReason.PACING if self.options.max_bytes_per_second and self.held is None else DropReason.BUFFER_FULL

    def next_datagram(self, now: float, wall_us: int, *, flush: bool) -> Outgoing | None:
        """The datagram to hand over now, numbered and sealed; None when nothing is due. Follow it with `handed_over`.

        Args:
            now: monotonic, seconds.
            wall_us: the wall clock, µs since 1970.
            flush: whether a datagram that is neither full nor past its linger leaves too.
        """
        if self.held is not None:
            return self.held if now >= self._retry_at else None
        if not self._prior and not self._sequence:
            return self._beacon(Kind.BEACON, now, wall_us)
        if now >= self.beacon_at:  # before the data, or pacing under overload would silence the beacons
            return self._beacon(Kind.BEACON, now, wall_us)
        if self.open and (flush or self.size >= self.room or now >= self.open_since + self.options.linger):
            return self._data(now, wall_us) if now >= self._pace_at else None
        return None

    def goodbye(self, now: float, wall_us: int) -> Outgoing | None:
        """A datagram that ends the session, with a number of its own; None when there is no session to end.

        What is given to the sender afterwards begins another session; until then the goodbye can be repeated.
        """
        if self._session is None or self.held is not None:
            return None
        self._resting = True
        return self._beacon(Kind.GOODBYE, now, wall_us)

    def handed_over(self, outgoing: Outgoing, error: str | None, now: float) -> None:
        """Books one attempt: None when the transport took it, else the errno's name; never to be repeated but for `NOT_NOW` (R6)."""
        self.held = None
        if error is None:
            self._handed_over += outgoing.count
        elif error == NOT_NOW and not self.closed and now - outgoing.sealed_at < self.options.max_hold:
            self.held = outgoing
            self._retry_at = now + _HELD_RETRY
        elif outgoing.count:
            self._refused[error] += outgoing.count
        if outgoing is self._inherited and self.held is None:  # the session before had numbered it
            self._base = (self._handed_over, self._base[1], Counter(self._refused))
            self._inherited = None

    def shrink(self, max_datagram: int) -> None:
        """Makes datagrams smaller after EMSGSIZE; a message that was allowed before stays allowed (R2)."""
        self.room = max(1, min(self.room, max_datagram - OVERHEAD))
        self.capacity = min(self.capacity, self.room)

    def close(self) -> None:
        """From now on every `send()` is dropped and counted."""
        self.closed = True
        self.capacity = -1

    def next_deadline(self) -> float | None:
        """When `next_datagram` has something, monotonic seconds; None without a session."""
        if self.held is not None:
            return self._retry_at
        if self._session is None or self._resting:
            return None
        if self.open:
            return min(self.beacon_at, max(self._pace_at, self.open_since + self.options.linger))
        return self.beacon_at

    def stats(self) -> SenderStats:
        """The account of this sender since it was made, over all its sessions."""
        waiting = len(self.open) + (self.held.count if self.held is not None else 0)
        offered = self._handed_over + self._dropped.total() + self._refused.total() + waiting
        return SenderStats(offered, dict(self._dropped), waiting, self._handed_over, dict(self._refused))

    def _data(self, now: float, wall_us: int) -> Outgoing:
        waiting = self.open
        count = min(len(waiting), MAX_COUNT) if self.options.linger else 1
        items = waiting[:count]
        body = pack_messages(items)
        if len(body) - 3 > self.room and count > 1:
            count = max(1, bisect_right(list(accumulate(map(len, items))), self.room))
            body = pack_messages(items[:count])
        del waiting[:count]  # other threads only append, so these are the ones that were packed
        self.size = sum(map(len, waiting)) if waiting else 0
        self.open_since = now
        self.immediate_at = now + _IMMEDIATE_EVERY
        self._interval = BEACON_AFTER_DATA
        if self._load_until is None:
            self._load_until = now + BEACON_UNDER_LOAD
        self.beacon_at = min(self._load_until, now + BEACON_AFTER_DATA)
        return self._seal_next(Kind.DATA, body, count, now, wall_us)

    def _beacon(self, kind: Kind, now: float, wall_us: int) -> Outgoing:
        self._load_until = None
        self._interval = min(self._interval * BEACON_GROWTH, BEACON_IDLE)
        self.beacon_at = now + self._interval
        base_handed, base_dropped, base_refused = self._base
        dropped, refused = self._dropped - base_dropped, self._refused - base_refused
        handed = self._handed_over - base_handed
        body = BeaconBody(
            name=self._name,
            host=self._host,
            pid=self._pid,
            offered=handed + dropped.total() + refused.total() + len(self.open),
            dropped=dropped,
            refused=refused,
            # The longest wait if the very next beacon is lost: one loss must not look like silence (R21).
            next=0.0 if kind is Kind.GOODBYE else min(self._interval * BEACON_GROWTH, BEACON_IDLE),
        )
        return self._seal_next(kind, pack_beacon(body), 0, now, wall_us)

    def _seal_next(self, kind: Kind, body: bytes, count: int, now: float, wall_us: int) -> Outgoing:
        assert self._session is not None
        start_us, random64 = self._session
        sent_us = self._max_sent_us = max(self._max_sent_us, wall_us)
        header = HEADER_LAYOUT.pack(
            MAGIC,
            VERSION << 4 | kind,
            self._key_id,
            start_us,
            random64,
            self._sequence,
            self._prior,
            sent_us,
            count,
            self._seal.flags,
        )
        self._sequence += 1  # spent, whatever the transport answers (R5)
        self._prior += count
        data = self._seal.seal(header, body)
        rate = self.options.max_bytes_per_second
        if rate is not None:
            self._pace_at = max(self._pace_at, now) + len(data) / rate
        return Outgoing(data, count, now)
