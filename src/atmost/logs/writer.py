"""`LogWriter`: numbers records, sends each once, and says now and then how many there were.

What `LogHandler`, the structlog processor and the loguru sink have in common. `write` is safe from any thread, signal
handler and finalizer; it never raises and never waits. Without a queue of its own (`newest`) it takes no lock.

Theory of operation
-------------------

All that counts belongs to a *life* (`_Life`): its identity, how many records of each level it has numbered, what became of
them, and what waits. A life begins with its first record, because a reader must be able to see from its age whether it could
have heard all of it. It ends when the writer is closed, when the process says its last words, and at a fork. Whatever is
written afterwards begins another life, so a writer is never closed for good: programs configure their logging again, and log
at their exit after everything was closed.

`write` takes the writer's life once, and everything it does is done to that one. So a life that another thread ends, or a
fork replaces, meanwhile still gets the record into its own counts: the record was numbered there, and is missed there when
it does not arrive. Two threads that find no life agree on one, because `dict.setdefault` is one step.

The number of a record is taken before anything else can fail. From then on it is either sent, or dropped and counted in
`dropped`, or it is missed by the reader, which sees the number jump. A mark repeats the counts so that the end is known
without a further record: a few after the last record, and `FINAL_MARKS` at the end of a life, all of them before the
sender's own goodbye.
"""

from __future__ import annotations

import logging
import math
import os
import re
import secrets
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import msgspec

from atmost.atomic import guarded, locked
from atmost.core.names import MAX_SUBJECT
from atmost.endpoint.background import Background
from atmost.endpoint.must_deliver import check_lossy_below
from atmost.endpoint.opening import GivenSender, open_sender
from atmost.endpoint.sender import Sender
from atmost.errors import OptionError
from atmost.lifecycle import HERE, Floor, notice_fork, register, run
from atmost.logs.parts import KeptBack, LogDropPolicy, Parcel
from atmost.logs.text import is_plain, plain_fields
from atmost.logs.wire import MAX_FIELDS, MAX_LEVEL, MAX_LEVELS, OTHER, STANDARD, Body, LevelKey, encode

log_fields: Final[ContextVar[Mapping[str, Any] | None]] = ContextVar("atmost_log_fields", default=None)
"""Fields of every record that this thread or task logs, as the identity of the request it serves; a record's own win."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """The options of `LogHandler`, the structlog processor and the loguru sink."""

    subject: str = "logs"
    """The first tokens of the subjects; the logger's name is the rest."""
    drop: str = LogDropPolicy.NEWEST
    """Which record goes when the sender has no room: the `newest`, the `oldest`, or one of the `lowest` level.
    With `newest` nothing is kept beside the sender's own buffer, and no lock taken."""
    max_queue: int = 1000
    """Records kept back for the other two while the sender has no room. Larger survives longer stalls, and sends older
    records after them."""
    max_record: int = 65_536
    """Bytes of texts and fields of one record; beyond it head and tail are kept."""
    mark_interval: float = 5.0
    """Seconds between marks, which say how many records there were. Shorter finds losses at the end of a burst sooner,
    and costs a message each while something is logged."""
    flush_level: int = logging.ERROR
    """Records of this level and above leave at once, without waiting for company."""

    def __post_init__(self) -> None:
        """Refuses values outside their range."""
        if self.drop not in tuple(LogDropPolicy):
            raise OptionError("drop", self.drop, "newest, oldest or lowest")
        for name, least, most, unit in (
            ("max_queue", 1, 1_000_000, "records"),
            ("max_record", 512, 1 << 20, "bytes"),
            ("flush_level", 0, 1_000_000, "as a level's number, like logging.ERROR"),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise OptionError(name, value, f"{least:,} to {most:,} {unit}")
        interval = self.mark_interval
        if not isinstance(interval, int | float) or not 0.05 <= interval <= 3600:
            raise OptionError("mark_interval", interval, "0.05 to 3600 seconds")


class Marker:
    """The one background thread for the marks of all writers of a process: it sleeps while nothing is logged.

    It holds the writers weakly, and is started by the first record of any of them.
    """

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._writers: weakref.WeakSet[LogWriter] = weakref.WeakSet()
        self._background = Background(self, Marker._turn, "atmost-logs")
        register(self, Floor.ENDPOINT)  # renewed before the writers, which rely on it

    def renew(self, *, seen: bool) -> None:
        """A forked child has no thread; see `lifecycle.Living`."""
        del seen
        self._background = Background(self, Marker._turn, "atmost-logs")

    def watch(self, writer: LogWriter) -> None:
        """Sends the marks of this writer too."""
        self._writers.add(writer)

    def wake_at(self, when: float) -> bool:
        """Makes sure that a turn comes at `when` (monotonic, seconds) or before; False when there is no thread to be had."""
        return self._background.wake_at(when)

    def rest(self, until: float) -> Iterator[float]:
        """Ends the thread when no writer needs it any more, and waits for its end, which lasts until a record comes."""
        if any(writer.is_open for writer in list(self._writers)):
            return
        self._background.rest()
        if any(writer.is_open for writer in list(self._writers)):  # it began meanwhile, and relied on the thread
            self._background.wake_at(time.monotonic())
        yield from self._background.ending(until)

    def _turn(self) -> float | None:
        now = time.monotonic()
        due = [at for writer in list(self._writers) if (at := writer.tick(now)) is not None]
        return min(due, default=None)


_marker: Final = Marker()


MARK: Final = "mark"  # the last token of the subject of marks
MAX_LOGGER: Final = 255
"""A logger's name on the wire, characters."""
_KEPT: Final = 1024
_NOT_IN_TOKEN: Final = re.compile(r"[\s\x00-\x20\x7f-\x9f\ud800-\udfff*>]")


class Subjects:
    """The subjects of one handler's loggers: the logger's name, token by token.

    Not thread-safe, but nothing worse than doing the same work twice can happen.
    """

    __slots__ = ("_known", "_prefix")

    def __init__(self, prefix: str) -> None:
        """Args: prefix: the first tokens."""
        self._prefix = prefix
        self._known: dict[str, tuple[str, str]] = {}

    def of_logger(self, logger: str) -> tuple[str, str]:
        """Returns the subject, and the logger's name where the subject does not show it, else empty."""
        known = self._known.get(logger)
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[logger] = self._make(logger)
        return known

    def _make(self, logger: str) -> tuple[str, str]:
        room = MAX_SUBJECT - len(self._prefix.encode()) - 1
        tokens = [_NOT_IN_TOKEN.sub("_", token) or "_" for token in logger[:MAX_LOGGER].split(".")]
        name = ".".join(tokens).encode()[:room].decode(errors="ignore").rstrip(".") or "_"
        legible = logger[:MAX_LOGGER].encode(errors="replace").decode()
        return f"{self._prefix}.{name}", "" if name == logger else legible


MARKS: Final = 3
"""Marks after the last record: one may be lost."""
FINAL_MARKS: Final = 5
"""Marks at the end of a life: the loss of all of them leaves its last losses unattributed, which is one in 100 at 40 % loss."""
_AGAIN: Final = 0.02
"""Seconds until what is kept back is offered again."""
_UTF8: Final = 4
"""Bytes of a character, at most."""


@dataclass(frozen=True, slots=True)
class LogStats:
    """What became of the records of a writer's present life."""

    records: int
    dropped: int
    """Not sent, because there was no room, the sender was closed, or something went wrong."""
    waiting: int
    """Kept back until there is room."""
    truncated: int
    """Sent with head and tail of their texts only, or with some of their fields."""
    parted: int
    """Sent in several parts."""
    unformatted: int
    """Sent with the format and the arguments as they are, because the arguments do not fit."""
    reentered: int
    """Sent without their text, because they were logged in making others text, too deeply."""
    errors: int
    """Our own errors."""
    marks: int


_FIRST: Final[tuple[LevelKey, ...]] = (20, 30, 40, 10, 50, OTHER)
"""The order of the bits: the usual levels low, so that the integer stays small and is spread quickly."""
_BITS: Final = 64
_MASK: Final = (1 << _BITS) - 1


class LevelTally:
    """How many records of each level one life of a handler has numbered, all in one integer, so that counting takes no lock.

    Each level has 64 bits of its own. Between reading the integer and storing the greater one there is no call and no
    jump backward, and only there does CPython switch threads or run signal handlers. On an interpreter without a global
    lock the same step takes a lock.
    """

    __slots__ = ("_keys", "_steps", "guard", "packed")

    def __init__(self) -> None:
        """Begins at 0."""
        self.packed = 0
        self._keys: list[LevelKey] = list(_FIRST)
        self._steps: dict[str, tuple[int, str]] = {}
        self.guard = threading.RLock()

    def step(self, level: str) -> tuple[int, str]:
        """Returns what `number` adds for a level, and the name under which it counts."""
        try:
            known = self._steps.get(level)
        except TypeError:  # not even hashable
            known = None
        return self._admit(level) if known is None else known

    def _number(self, step: int) -> int:
        prior = self.packed
        self.packed = prior + step
        return prior

    number = guarded(_number, "guard")
    """Numbers a record: returns the counts prior to it, packed."""
    number_under_lock = locked(_number, "guard")
    """The same on an interpreter where nothing else makes it one step for other threads."""

    def spread(self, packed: int) -> dict[LevelKey, int]:
        """Returns counts by level; levels without records are left out."""
        counts: dict[LevelKey, int] = {}
        for key in self._keys:
            if not packed:
                break
            count = packed & _MASK
            if count:
                counts[key] = count
            packed >>= _BITS
        return counts

    def _admit(self, level: str) -> tuple[int, str]:
        name = (level[:MAX_LEVEL].encode(errors="replace").decode() or OTHER) if isinstance(level, str) else OTHER
        key = STANDARD.get(name, name)
        if key not in self._keys:
            if len(self._keys) < MAX_LEVELS:
                self._keys.append(key)  # two threads may append the same one: the second stays unused
            else:
                key = name = OTHER
        known = 1 << _BITS * self._keys.index(key), name
        if isinstance(level, str) and len(self._steps) < 4 * MAX_LEVELS:
            self._steps[level] = known
        return known


class _Life:
    """One life of a writer; see the theory of operation above."""

    __slots__ = (
        "armed",
        "closed",
        "counts",
        "dropped",
        "id",
        "kept_back",
        "mark_at",
        "marks_left",
        "number",
        "pid",
        "successor",
        "tally",
    )

    def __init__(self, began_us: int, kept_back: KeptBack) -> None:
        self.id = began_us.to_bytes(8, "big") + secrets.token_bytes(4)
        self.pid = os.getpid()
        self.tally = LevelTally()
        self.number = self.tally.number
        self.counts: Counter[str] = Counter()
        self.dropped = 0
        self.kept_back = kept_back
        self.marks_left = 0
        self.mark_at = math.inf
        self.armed = False
        self.closed = False
        self.successor: dict[str, _Life] = {}

    def numbered(self) -> dict[LevelKey, int]:
        """Returns how many records of each level there were so far."""
        return self.tally.spread(self.tally.packed)


class LogWriter:
    """The records of one process, over one sender."""

    def __init__(
        self,
        sender: GivenSender = None,
        options: LogOptions | None = None,
        *,
        wall_clock: Callable[[], float] = time.time,
        marker: Marker = _marker,
    ) -> None:
        """Prepares to write; no thread is started, and nothing sent, before the first record.

        Args:
            sender: as `LogHandler` has it.
            options: None takes the defaults.
            wall_clock: seconds since 1970, for tests in virtual time.
            marker: takes this writer's turns; the one of the process, but in tests in virtual time.

        Raises:
            SubjectError: the subject cannot be used.
            LossNotTolerated: something below it was declared must-deliver.
            AddressError: the URL cannot be used.
        """
        self._options = options = LogOptions() if options is None else options
        self._mark_subject = f"{check_lossy_below(options.subject)}.{MARK}"
        self._subjects = Subjects(options.subject)
        self._newest = options.drop == LogDropPolicy.NEWEST
        self._wall_clock = wall_clock
        self._sender, self._owned = open_sender(sender, "stats")
        self._pid = os.getpid()
        self._first: dict[str, _Life] = {}
        self._life: _Life | None = None
        self._marker = marker
        marker.watch(self)
        register(self, Floor.USE)

    @property
    def sender(self) -> Sender:
        """What carries the records."""
        return self._sender

    @property
    def is_open(self) -> bool:
        """Whether something was written since the last `close`."""
        life = self._life
        return life is not None and not life.closed

    def stats(self) -> LogStats:
        """Returns what became of the records of the present life, which began with the first one since the last `close`."""
        life = self._life
        if life is None:
            return LogStats(0, 0, 0, 0, 0, 0, 0, 0, 0)
        counts = life.counts
        return LogStats(
            records=sum(life.numbered().values()),
            dropped=life.dropped,
            waiting=len(life.kept_back),
            truncated=counts["truncated"],
            parted=counts["parted"],
            unformatted=counts["unformatted"],
            reentered=counts["reentered"],
            errors=counts["errors"],
            marks=counts["marks"],
        )

    def write(
        self,
        level: str,
        rank: int,
        logger: str,
        message: str,
        *,
        at: float,
        thread: str = "MainThread",
        process: int | None = None,
        exception: str = "",
        fields: Mapping[str, Any] | None = None,
        error: str = "",
    ) -> bool:
        """Sends a record, or counts what became of it.

        Args:
            level: its name.
            rank: the level as a number; from `flush_level` on it leaves at once.
            logger: whose record it is; the rest of the subject.
            message: the text.
            at: when it was logged, seconds since 1970.
            thread: where it was logged.
            process: where it was logged; None takes this process.
            exception: a traceback.
            fields: what the caller added.
            error: what went wrong in making the message.

        Returns:
            False when it was dropped.
        """
        if process != self._pid and not HERE[0]:  # forked by C code, past the hook
            notice_fork()
        life = self._life
        while life is None or life.closed:
            life = self._begin(life)
        step, level = life.tally.step(level)
        prior = life.number(step)  # from here on it is missed when it does not arrive
        counts = life.counts
        try:
            around = log_fields.get()
            if around:
                fields = {**around, **fields} if fields else around
            subject, name = self._subjects.of_logger(logger)
            body = Body(
                handler=life.id,
                prior=life.tally.spread(prior),
                time=at,
                level=level,
                message=message,
                logger=name,
                thread=thread,
                process=process or self._pid,
                exception=exception,
                error=error,
                dropped=life.dropped,
            )
            if error:
                counts["unformatted"] += 1
            # The usual case: nothing waits, everything can be carried, and it fits a datagram.
            sent = False
            if self._newest and (fields is None or len(fields) <= MAX_FIELDS):
                size = _UTF8 * (len(message) + len(exception))
                try:
                    if fields is not None:
                        encoded = encode(fields if is_plain(fields) else plain_fields(fields))
                        body.fields = msgspec.Raw(encoded)
                        size += len(encoded)
                    if size <= self._options.max_record:
                        dropped = int(not self._sender.send(subject, body))
                        sent = True
                except Exception:  # noqa: BLE001  too large for a datagram, or something that cannot be carried
                    counts["reworked"] += 1
            if not sent:
                dropped = self._rework(life, subject, body, fields, rank)
            if rank >= self._options.flush_level:
                self._sender.flush()
        except Exception:  # noqa: BLE001  logging never harms what it reports on: counted, and the next record says so
            counts["errors"] += 1
            dropped = 1
        if dropped:
            life.dropped += dropped
        life.marks_left = MARKS
        if not life.armed:
            self._arm(life, self._options.mark_interval)
        return not dropped

    def count(self, what: str) -> None:
        """Counts what a handler did to a record of the present life before it was written, as `reentered` and `errors`."""
        life = self._life or self._begin(None)
        life.counts[what] += 1

    def flush(self) -> None:
        """Hands over what waits, now; what the transport cannot take keeps waiting, bounded."""
        life = self._life
        if life is not None:
            life.kept_back.drain()
        self._sender.flush()

    def mark(self, *, final: bool = False) -> bool:
        """Sends a mark with the number of records so far; returns whether it could be sent.

        Args:
            final: whether it is the last of this life, as `close` has it.
        """
        life = self._life
        return life is not None and self._mark(life, final=final)

    def close(self, timeout: float = 0.1) -> None:
        """Sends the number of records, and ends the session of a sender that was made here; may be called twice.

        A later record opens it again.

        Args:
            timeout: seconds over which the marks are spaced; 0 sends only one.
        """
        run(self._closing(timeout, goodbye=self._owned))

    def last_words(self, until: float) -> Iterator[float]:
        """Sends the number of records when the process ends; see `lifecycle.register`."""
        return self._closing(max(0.0, until - time.monotonic()), goodbye=False)

    def renew(self, *, seen: bool) -> None:
        """The child's first step: nothing of the parent's, and a life of its own with its first record; see `lifecycle.Living`."""
        del seen
        self._pid, self._first, self._life = os.getpid(), {}, None

    def tick(self, now: float) -> float | None:
        """Does what is due, and returns when to come again; called by the background thread.

        Args:
            now: monotonic seconds.
        """
        life = self._life
        if life is None or life.closed or not HERE[0]:
            return None
        life.kept_back.drain()
        if len(life.kept_back):  # a mark would call them lost
            return now + _AGAIN
        if life.marks_left and now >= life.mark_at:
            life.mark_at = now + self._options.mark_interval
            life.marks_left -= 1
            self._mark(life)
        if not life.marks_left:
            life.armed = False
            if not life.marks_left:
                return None
            life.armed = True  # a record came in between that relied on a turn to come
        return life.mark_at

    def __del__(self) -> None:
        """Says how many records there were when nobody holds the writer any more."""
        if "_life" in self.__dict__ and not sys.is_finalizing():
            self.close(timeout=0)

    def __reduce__(self) -> NoReturn:
        """A copy would number its records like the original."""
        raise TypeError("a LogWriter cannot be pickled or copied: construct one in each process")

    def _begin(self, before: _Life | None) -> _Life:
        """The life after this one: the same for all who ask, whatever comes between."""
        kept_back = KeptBack(self._sender, self._options.max_queue, LogDropPolicy(self._options.drop))
        new = _Life(int(self._wall_clock() * 1e6), kept_back)
        life = (self._first if before is None else before.successor).setdefault("", new)
        self._life = life
        self._first = {"": life}  # or all lives would hang on the first
        return life

    def _rework(self, life: _Life, subject: str, body: Body, fields: Mapping[str, Any] | None, rank: int) -> int:
        """Sends a record in whatever form it can take, or keeps it back; returns how many records were dropped."""
        parcel = Parcel(subject, body, fields, self._options.max_record)
        life.counts["truncated"] += parcel.truncated
        if self._newest:
            dropped = int(not parcel.send(self._sender))
        else:
            dropped = life.kept_back.offer(rank, parcel)
            if len(life.kept_back):
                self._arm(life, _AGAIN)
        life.counts["parted"] += parcel.parts > 1
        return dropped or int(parcel.failed)

    def _mark(self, life: _Life, *, final: bool = False) -> bool:
        mark = Body(life.id, life.numbered(), self._wall_clock(), dropped=life.dropped, mark=True, final=final)
        try:
            sent = self._sender.send(self._mark_subject, mark)
        except Exception:  # noqa: BLE001  see `write`
            life.counts["errors"] += 1
            return False
        life.counts["marks"] += sent
        return sent

    def _closing(self, timeout: float, *, goodbye: bool) -> Iterator[float]:
        """The end of a life."""
        if not HERE[0]:
            notice_fork()
        life = self._life
        if life is None or life.closed:
            return
        life.closed = True  # whoever writes from now on begins another one
        deadline = time.monotonic() + timeout
        self.flush()
        while len(life.kept_back) and time.monotonic() < deadline:
            yield 0.002
            self.flush()
        life.dropped += life.kept_back.give_up()
        # New messages with the same meaning, spaced: back to back they would die together in a full buffer.
        for turn in range(FINAL_MARKS if timeout > 0 else 1):
            if turn:
                yield timeout / (FINAL_MARKS - 1)
            if not self._mark(life, final=True):
                break
            self._sender.flush()
        yield from self._marker.rest(deadline + timeout)
        if goodbye:
            yield from self._sender.last_words(time.monotonic() + timeout)

    def _arm(self, life: _Life, after: float) -> None:
        """Sees that a turn of the background thread comes."""
        now = time.monotonic()
        if not life.armed:
            life.mark_at = now + self._options.mark_interval
        life.armed = self._marker.wake_at(now + after)
