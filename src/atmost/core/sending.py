"""Decides what a sender transmits, numbers it, and counts what it could not hand over (R4–R7).

Time and bytes in, datagrams out; one caller at a time.
The exception is the hot path of `send()`: `open` may be appended to, and `size` raised, by any thread without a lock.
`size` is therefore a hint, corrected at every datagram; `open` itself is exact, because only a hand-over takes from it.

Theory of operation.

A message waits in the open datagram until it is full, its linger is over, or a caller flushes.
Then it goes through four steps, and each of them ends with one assignment (R9):

1. *numbered*: a datagram is packed and sealed, and becomes `flight`. From here its number is spent (R5).
   Its messages leave `open` only afterwards: a caller interrupted in between leaves them in both places,
   and the next caller finds the first of them still in `open` and removes them.
2. *attempted*: the caller sets `attempted`, and then makes the system call.
3. *booked*: `handed_over` records the result, and `flight` becomes None in the same statement.
4. *held*: instead of being booked, a datagram that the transport certainly did not take stays in `flight`, no longer attempted (R6).

An exception raised by a signal handler may end a caller anywhere, so the next caller first completes what it finds.
A datagram that was attempted but not booked is booked as handed over by `recover`, because it may have been transmitted.
One that was not attempted is handed over now, for the first time.
Sessions are objects, replaced whole. A session is over after its goodbye, after a change of key, and when the clock was set back:
the next message begins another one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
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
from atmost.core.seal import NO_KEY, Seal, SealFactory
from atmost.errors import OptionError

NOT_NOW: Final = "EAGAIN"
"""A transport's answer when it cannot take a datagram now: the datagram was certainly not transmitted (R6)."""

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


class SenderSession:
    """One session of a sender: its identity, its seal and its numbers."""

    __slots__ = (
        "base",
        "identity",
        "interval",
        "key_id",
        "load_until",
        "max_sent_us",
        "over",
        "prior",
        "seal",
        "sequence",
    )

    def __init__(self, identity: tuple[int, int], key_id: int, seal: Seal, base: Totals) -> None:
        """Begins at number 0.

        Args:
            identity: the start (µs since 1970) and the random part.
            key_id: the key's number on the wire.
            seal: of this session.
            base: the totals of the sessions before it; a report covers only its own session (R5).
        """
        self.identity = identity
        self.key_id = key_id
        self.seal = seal
        self.base = base
        self.sequence = 0
        self.prior = 0
        self.max_sent_us = identity[0]
        self.interval = BEACON_AFTER_DATA
        self.load_until: float | None = None
        self.over = False
        """Whether the next datagram begins another session."""


Totals = tuple[int, Mapping[str, int], Mapping[str, int]]
"""Messages handed over, dropped and refused by reason."""


class Outgoing:
    """A sealed datagram on its way to the transport; a number is spent on it."""

    __slots__ = ("attempted", "before", "count", "data", "first", "sealed_at", "session")

    def __init__(
        self,
        data: bytes,
        count: int,
        sealed_at: float,
        session: SenderSession,
        first: bytes | None,
        before: tuple[int, Mapping[str, int]],
    ) -> None:
        """Takes a datagram that is sealed already.

        Args:
            data: the datagram.
            count: its messages.
            sealed_at: monotonic, seconds.
            session: the session that numbered it.
            first: the first of its messages, the same object as in `open`.
            before: what was handed over and refused before it, messages.
        """
        self.data = data
        self.count = count
        self.sealed_at = sealed_at
        self.session = session
        self.first = first
        self.before = before
        self.attempted = False
        """Whether it may have been transmitted; set just before the transport is called."""


class SenderCore:
    """One sender: the open datagram, the session's numbers, and the counts.

    In slots, like everything on the hot path: they are found at once, by compiled code too.
    """

    __slots__ = (
        "_dropped",
        "_handed_over",
        "_host",
        "_key",
        "_name",
        "_pace_at",
        "_pid",
        "_refused",
        "_retry_at",
        "_session",
        "_step_back_us",
        "beacon_at",
        "capacity",
        "closed",
        "finished",
        "flight",
        "immediate_at",
        "max_message",
        "open",
        "open_since",
        "options",
        "room",
        "size",
    )

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
        # Fast-path limit: larger messages take the slow path.
        self.capacity = self.room if options.linger else 0
        self.immediate_at = 0.0
        self.open_since = 0.0
        self.beacon_at = 0.0
        self.flight: Outgoing | None = None
        self.closed = False
        self.finished = False
        """Whether the messages still open will never leave; they count as dropped."""
        # Shortened and made legible: no name may prevent a beacon.
        self._name, self._host, self._pid = legible(name[:MAX_NAME]), legible(host[:MAX_NAME]), pid
        self._key: tuple[int, SealFactory] = (key_id, seals)
        self._step_back_us = round(step_back * 1e6)
        self._session: SenderSession | None = None
        self._handed_over = 0
        self._dropped: dict[str, int] = dict.fromkeys((reason.value for reason in DropReason), 0)
        self._refused: Mapping[str, int] = {}  # replaced, never changed
        self._retry_at = 0.0
        self._pace_at = 0.0

    @property
    def session(self) -> tuple[int, int] | None:
        """The identity of the session: its start (µs since 1970) and its random part; None without one."""
        return None if self._session is None else self._session.identity

    @property
    def datagrams(self) -> int:
        """Numbers spent in this session."""
        return 0 if self._session is None else self._session.sequence

    @property
    def held(self) -> Outgoing | None:
        """A numbered datagram that waits for the transport."""
        return self.flight

    @property
    def began(self) -> bool:
        """Whether there is a session, or a datagram of the last one still waits to be handed over."""
        return (self._session is not None and not self._session.over) or self.flight is not None

    def needs_session(self, wall_us: int) -> bool:
        """Whether a session must begin first: there is none, it is over, or the wall clock was set back too far for it."""
        session = self._session
        return session is None or session.over or wall_us < session.max_sent_us - self._step_back_us

    def overfull(self, now: float) -> bool:
        """Whether a full datagram waits that could be handed over now."""
        if not self.open or (self.size < self.room and self.options.linger):
            return False
        return self.flight is None and now >= self._pace_at

    def offer(self, item: bytes, now: float) -> bool:
        """Takes an encoded message into the open datagram, or drops and counts it.

        `Sender.send()` repeats this inline for the case that there is room: a call would add a tenth to its cost.

        Args:
            item: the pair as `encode_message` makes it, at most `max_message` bytes.
            now: monotonic, seconds; the linger begins with a datagram's first message.

        Returns:
            Whether it was taken.
        """
        waiting = self.open
        if self.closed:
            self.drop(DropReason.CLOSED)
            return False
        if not waiting:
            self.open_since = now
        elif self.size + len(item) > max(self.options.max_buffer, self.room):
            self.drop(self.drop_reason())
            return False
        waiting.append(item)
        self.size += len(item)
        return True

    def drop(self, reason: DropReason, count: int = 1) -> None:
        """Counts messages dropped before they were numbered."""
        self._dropped[reason.value] += count

    def drop_reason(self) -> DropReason:
        """Why there is no room: pacing, when that is what holds the messages up."""
        return (
            DropReason.PACING if self.options.max_bytes_per_second and self.flight is None else DropReason.BUFFER_FULL
        )

    def begin(self, random64: int, wall_us: int, now: float) -> None:
        """Begins a session: identity `(key_id, start_us, random64)`, numbers from 0, a beacon first (R7)."""
        key_id, seals = self._key
        seal = seals(HEADER_LAYOUT.pack(0, 0, key_id, wall_us, random64, 0, 0, 0, 0, 0)[2:20])
        # The first session also reports what was dropped before it.
        base: Totals = (0, {}, {}) if self._session is None else (self._handed_over, dict(self._dropped), self._refused)
        self.beacon_at = now
        self._session = SenderSession((wall_us, random64), key_id, seal, base)

    def rotate_key(self, key_id: int, seals: SealFactory) -> None:
        """Seals what is numbered from now on with another key, in a session of its own (R1)."""
        self._key = (key_id, seals)
        if self._session is not None:
            self._session.over = True

    def recover(self, now: float) -> None:
        """Books the datagram of a caller that was interrupted in or after the system call; call it before handing over."""
        if self.flight is not None and self.flight.attempted:
            self.handed_over(self.flight, None, now)

    def next_datagram(self, now: float, wall_us: int, *, flush: bool) -> Outgoing | None:
        """The datagram to hand over now, numbered and sealed; None when nothing is due.

        Set its `attempted`, hand it over, and call `handed_over`.

        Args:
            now: monotonic, seconds.
            wall_us: the wall clock, µs since 1970.
            flush: whether a datagram that is neither full nor past its linger leaves too.
        """
        flight = self.flight
        if flight is not None:
            if self.open and self.open[0] is flight.first:  # the caller that numbered it was interrupted
                del self.open[: flight.count]
            return flight if now >= self._retry_at else None
        session = self._session
        assert session is not None
        if not session.sequence:
            return self._beacon(session, Kind.BEACON, now, wall_us)
        if now >= self.beacon_at:  # before the data, or pacing under overload would silence the beacons
            return self._beacon(session, Kind.BEACON, now, wall_us)
        if self.open and (flush or self.size >= self.room or now >= self.open_since + self.options.linger):
            return self._data(session, now, wall_us) if now >= self._pace_at else None
        return None

    def goodbye(self, now: float, wall_us: int) -> Outgoing | None:
        """A datagram that ends the session, with a number of its own; None when there is no session to end.

        What is given to the sender afterwards begins another session; until then the goodbye can be repeated.
        """
        if self._session is None or self.flight is not None:
            return None
        self._session.over = True
        return self._beacon(self._session, Kind.GOODBYE, now, wall_us)

    def handed_over(self, outgoing: Outgoing, error: str | None, now: float) -> None:
        """Books one attempt: `error` is None when the transport took it, else the errno's name; only `NOT_NOW` is tried again (R6)."""
        handed_over, refused = outgoing.before
        if error is None:
            handed_over += outgoing.count
        elif error == NOT_NOW and not self.closed and now - outgoing.sealed_at < self.options.max_hold:
            self._retry_at = now + _HELD_RETRY
            outgoing.attempted = False
            return
        elif outgoing.count:
            refused = {**refused, error: refused.get(error, 0) + outgoing.count}
        session = self._session
        if session is not None and outgoing.session is not session:  # an earlier session numbered it
            session.base = (handed_over, session.base[1], refused)
        # One statement on one line: what was booked as refused must not be booked as handed over by `recover` too.
        self._handed_over, self._refused, self.flight = handed_over, refused, None

    def shrink(self, max_datagram: int) -> None:
        """Makes datagrams smaller after EMSGSIZE; a message that was allowed before stays allowed (R2)."""
        self.room = max(1, min(self.room, max_datagram - OVERHEAD))
        self.capacity = min(self.capacity, self.room)

    def close(self) -> None:
        """From now on every `send()` is dropped and counted."""
        self.capacity = -1
        self.closed = True

    def finish(self, now: float) -> None:
        """Gives up what a closed sender could not hand over: what is open counts as dropped, what is held as refused."""
        self.finished = True
        if self.flight is not None:
            self.handed_over(self.flight, None if self.flight.attempted else NOT_NOW, now)

    def next_deadline(self) -> float | None:
        """When `next_datagram` has something, monotonic seconds; None without a session."""
        if self.flight is not None:
            return self._retry_at
        if self._session is None or self._session.over:
            return None
        if self.open:
            return min(self.beacon_at, max(self._pace_at, self.open_since + self.options.linger))
        return self.beacon_at

    def stats(self) -> SenderStats:
        """The account of this sender since it was made, over all its sessions."""
        handed_over, dropped, refused, waiting = self._totals()
        offered = handed_over + sum(dropped.values()) + sum(refused.values()) + waiting
        return SenderStats(offered, {k: n for k, n in dropped.items() if n}, waiting, handed_over, dict(refused))

    def _totals(self) -> tuple[int, dict[str, int], Mapping[str, int], int]:
        """Handed over, dropped, refused, and waiting; right at every moment, also for a signal handler that interrupts a step."""
        handed_over, refused, dropped = self._handed_over, self._refused, dict(self._dropped)
        waiting, first = len(self.open), self.open[:1]  # another thread, or a signal handler, may empty it from here on
        flight = self.flight
        if flight is not None and flight.count and flight.before == (handed_over, refused):  # not booked yet
            if first and first[0] is flight.first:  # its messages have not left `open` yet
                waiting -= flight.count
            if flight.attempted:
                handed_over += flight.count
            else:
                waiting += flight.count
        if self.finished:
            dropped[DropReason.CLOSED.value] += waiting
            waiting = 0
        return handed_over, dropped, refused, waiting

    def _data(self, session: SenderSession, now: float, wall_us: int) -> Outgoing:
        waiting = self.open
        count = min(len(waiting), MAX_COUNT) if self.options.linger else 1
        items = waiting[:count]
        body = pack_messages(items)
        if len(body) - 3 > self.room and count > 1:
            count = max(1, bisect_right(list(accumulate(map(len, items))), self.room))
            body = pack_messages(items[:count])
        outgoing = self._seal_next(session, Kind.DATA, body, count, now, wall_us)
        del waiting[:count]  # other threads only append, so these are the ones that were packed
        self.size = sum(map(len, waiting)) if waiting else 0
        self.open_since = now
        self.immediate_at = now + _IMMEDIATE_EVERY
        session.interval = BEACON_AFTER_DATA
        if session.load_until is None:
            session.load_until = now + BEACON_UNDER_LOAD
        self.beacon_at = min(session.load_until, now + BEACON_AFTER_DATA)
        return outgoing

    def _beacon(self, session: SenderSession, kind: Kind, now: float, wall_us: int) -> Outgoing:
        session.load_until = None
        session.interval = min(session.interval * BEACON_GROWTH, BEACON_IDLE)
        self.beacon_at = now + session.interval
        base_handed, base_dropped, base_refused = session.base
        handed_over, all_dropped, all_refused, waiting = self._totals()
        dropped, refused = _since(base_dropped, all_dropped), _since(base_refused, all_refused)
        handed = handed_over - base_handed
        body = BeaconBody(
            name=self._name,
            host=self._host,
            pid=self._pid,
            offered=handed + sum(dropped.values()) + sum(refused.values()) + waiting,
            dropped=dropped,
            refused=refused,
            # The longest wait if the very next beacon is lost: one loss must not look like silence (R21).
            next=0.0 if kind is Kind.GOODBYE else min(session.interval * BEACON_GROWTH, BEACON_IDLE),
        )
        return self._seal_next(session, kind, pack_beacon(body), 0, now, wall_us)

    def _seal_next(
        self, session: SenderSession, kind: Kind, body: bytes, count: int, now: float, wall_us: int
    ) -> Outgoing:
        start_us, random64 = session.identity
        sequence, prior = session.sequence, session.prior
        sent_us = max(session.max_sent_us, wall_us)
        seal = session.seal
        header = HEADER_LAYOUT.pack(
            MAGIC, VERSION << 4 | kind, session.key_id, start_us, random64, sequence, prior, sent_us, count, seal.flags
        )
        data = seal.seal(header, body)
        first = self.open[0] if count else None
        outgoing = Outgoing(data, count, now, session, first, (self._handed_over, self._refused))
        # The number is spent, whatever the transport answers (R5): four assignments, and nothing is called between them.
        session.sequence, session.prior, session.max_sent_us, self.flight = (
            sequence + 1,
            prior + count,
            sent_us,
            outgoing,
        )
        rate = self.options.max_bytes_per_second
        if rate is not None:
            self._pace_at = max(self._pace_at, now) + len(data) / rate
        return outgoing


def _since(base: Mapping[str, int], counts: Mapping[str, int]) -> dict[str, int]:
    """What was added to each count since `base`, without zeros."""
    return {reason: count - base.get(reason, 0) for reason, count in counts.items() if count > base.get(reason, 0)}
