"""`LogWriter`: numbers records, sends each once, and says now and then how many there were.

What `LogHandler`, the structlog processor and the loguru sink have in common. `write` is safe from any thread, signal
handler and finalizer; it never raises and never waits. Without a queue of its own (`newest`) it takes no lock.
A forked child's records begin at 0, in a life of their own.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import re
import secrets
import sys
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, NoReturn, Protocol

import msgspec

from atmost.core.names import MAX_SUBJECT
from atmost.endpoint.must_deliver import check_lossy_below
from atmost.endpoint.sender import Sender
from atmost.errors import OptionError
from atmost.logs.text import Parcel
from atmost.logs.wire import LOCK_FREE, MAX_FIELDS, Body, Tally, encode


class DropPolicy(StrEnum):
    """Which record goes when there is no room for all."""

    NEWEST = "newest"
    """The one that is being logged: nothing is kept beside the sender's own buffer."""
    OLDEST = "oldest"
    """The one that waits for longest."""
    LOWEST = "lowest"
    """One of the lowest level, among those the one that waits for longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """The options of `LogHandler`, the structlog processor and the loguru sink."""

    subject: str = "logs"
    """The first tokens of the subjects; the logger's name is the rest."""
    drop: str = DropPolicy.NEWEST
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
        if self.drop not in tuple(DropPolicy):
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


_IN_SENDER: Final = 64
"""Messages in a sender that is not rid of them; beyond it the policy of this queue decides what goes."""


class _Entry(NamedTuple):
    order: int
    parcel: Parcel


class Waiting:
    """The records kept back while the sender has no room, bounded, and sent in the order in which they were logged.

    Its lock is held for as long as handing over takes, which never waits; a signal handler may log in the middle of it.
    """

    def __init__(self, sender: Sender, size: int, policy: DropPolicy) -> None:
        """Args: sender: takes them. size: records. policy: which goes when there are more."""
        self._sender = sender
        self._max = size
        self._policy = policy
        self._guard = threading.RLock()
        self._by_rank: dict[int, deque[_Entry]] = {}
        self._count = 0
        self._order = 0
        self._draining = False

    def __len__(self) -> int:
        """Records that wait."""
        return self._count

    def offer(self, rank: int, parcel: Parcel) -> int:
        """Sends a record, or keeps it back; returns how many were dropped for it, which may be itself.

        Args:
            rank: its level as a number.
            parcel: the record.
        """
        with self._guard:
            self.drain()
            if not self._count and self._has_room() and parcel.send(self._sender):
                return 0
            dropped = 0
            if self._count >= self._max:
                lowest = min(self._by_rank)
                if self._policy is DropPolicy.LOWEST and rank < lowest:
                    return 1
                self._remove(lowest if self._policy is DropPolicy.LOWEST else self._oldest())
                dropped = 1
            self._order += 1
            self._by_rank.setdefault(rank, deque()).append(_Entry(self._order, parcel))
            self._count += 1
            return dropped

    def drain(self) -> None:
        """Sends as much of it as there is room for."""
        if not self._count:
            return
        with self._guard:
            if self._draining:  # interrupted by a signal handler that logs
                return
            self._draining = True
            try:
                while self._count and self._has_room():
                    rank = self._oldest()
                    if not self._by_rank[rank][0].parcel.send(self._sender):
                        return
                    self._remove(rank)
            finally:
                self._draining = False

    def give_up(self) -> int:
        """Drops all of it; returns how many that were."""
        with self._guard:
            count, self._count = self._count, 0
            self._by_rank.clear()
            return count

    def _has_room(self) -> bool:
        if self._sender.stats().open < _IN_SENDER:
            return True
        self._sender.flush()
        return self._sender.stats().open < _IN_SENDER

    def _oldest(self) -> int:
        return min(self._by_rank, key=lambda rank: self._by_rank[rank][0].order)

    def _remove(self, rank: int) -> None:
        entries = self._by_rank[rank]
        entries.popleft()
        self._count -= 1
        if not entries:
            del self._by_rank[rank]


_LONGEST_WAIT: Final = 3600.0


class _Writer(Protocol):
    def _tick(self, now: float) -> float | None: ...


class Marker:
    """The one background thread for the marks of all writers of a process: it sleeps while nothing is logged.

    It holds the writers weakly, and is started by the first record of any of them.
    """

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._writers: list[weakref.ref[_Writer]] = []
        self._signal = threading.Lock()  # held while there is nothing to wake for
        self._signal.acquire()
        self._comes_at = math.inf
        self._started = False

    def add(self, writer: _Writer) -> None:
        """Makes a writer known."""
        self._writers.append(weakref.ref(writer))

    def wake_at(self, when: float) -> bool:
        """Makes sure that a turn comes at `when` (monotonic, seconds) or before; False when there is no thread to be had."""
        if when >= self._comes_at:
            return True
        self._comes_at = when
        if not self._started:
            self._started = True
            try:
                threading.Thread(target=_run, args=(self,), name="atmost-logs", daemon=True).start()
            except RuntimeError:  # the interpreter is ending, or threads have run out: the next record tries again
                self._started = False
                self._comes_at = math.inf
                return False
        with contextlib.suppress(RuntimeError):  # already rung
            self._signal.release()
        return True

    def turn(self) -> float:
        """One turn; returns seconds to wait."""
        self._comes_at = -math.inf  # awake: nobody need ring
        due = self._ask_all()
        self._comes_at = due
        # Whoever looked before this line may have relied on a turn to come; look once more.
        self._comes_at = due = min(due, self._ask_all())
        return max(0.0, min(_LONGEST_WAIT, due - time.monotonic()))

    def _ask_all(self) -> float:
        due = math.inf
        for reference in tuple(self._writers):
            writer = reference()
            if writer is None:
                self._writers.remove(reference)
                continue
            at = writer._tick(time.monotonic())  # noqa: SLF001  the two are one component
            due = min(due, math.inf if at is None else at)
        return due


def _run(marker: Marker) -> None:
    while True:
        marker._signal.acquire(timeout=marker.turn())  # noqa: SLF001


marker = Marker()


def the_marker() -> Marker:
    """The one of this process."""
    return marker


def _renew_marker_after_fork() -> None:
    global marker  # noqa: PLW0603  the child has another thread, so it needs another one
    marker = Marker()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_marker_after_fork)


MARK: Final = "mark"
"""The last token of the subject of marks."""
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

    def of(self, logger: str) -> tuple[str, str]:
        """The subject, and the logger's name where the subject does not tell it, else empty."""
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
"""Marks after the last record, and at a life's end: one may be lost."""
_AGAIN: Final = 0.02
"""Seconds until what is kept back is offered again."""
_EXIT_TIMEOUT: Final = 0.02
_UTF8: Final = 4
"""Bytes of a character, at most."""
_all: weakref.WeakSet[LogWriter] = weakref.WeakSet()


class LogWriter:
    """The records of one process, over one sender."""

    def __init__(
        self,
        sender: Sender | str | Mapping[str, Any] | None = None,
        options: LogOptions | None = None,
    ) -> None:
        """Prepares to write; no thread is started, and nothing sent, before the first record.

        Args:
            sender: as `LogHandler` has it.
            options: None takes the defaults.

        Raises:
            SubjectError: the subject cannot be used.
            LossNotTolerated: something below it was declared must-deliver.
            AddressError: the URL cannot be used.
        """
        self._options = options = LogOptions() if options is None else options
        self._mark_subject = f"{check_lossy_below(options.subject)}.{MARK}"
        self._subjects = Subjects(options.subject)
        self._newest = options.drop == DropPolicy.NEWEST
        self._owns = not isinstance(sender, Sender)
        self._sender = sender if isinstance(sender, Sender) else _open(sender)
        self._closed = False
        self._begin_life()
        _all.add(self)

    @property
    def sender(self) -> Sender:
        """What carries the records."""
        return self._sender

    @property
    def counts(self) -> dict[str, int]:
        """What became of the records of this life: `records` in all, and of them `dropped`, `waiting`, `truncated`,
        `parted` (sent in several parts), `unformatted` and `errors` (our own); and how many `marks` were sent.
        """  # noqa: D205
        records = sum(self._tally.spread(self._tally.packed).values())
        return {**self._counts, "records": records, "dropped": self._dropped, "waiting": len(self._waiting)}

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
        if process != self._pid and os.getpid() != self._pid:  # forked by C code, past the hook
            self._begin_life()
        if self._closed:
            self._dropped += 1
            return False
        step, level = self._tally.step(level)
        prior = self._take(step)  # from here on it is missed when it does not arrive
        try:
            subject, name = self._subjects.of(logger)
            body = Body(
                handler=self._life,
                prior=self._tally.spread(prior),
                time=at,
                level=level,
                message=message,
                logger=name,
                thread=thread,
                process=process or self._pid,
                exception=exception,
                error=error,
                dropped=self._dropped,
            )
            if error:
                self._counts["unformatted"] += 1
            dropped = self._offer(subject, body, fields, rank)
            if rank >= self._options.flush_level:
                self._sender.flush()
        except Exception:  # noqa: BLE001  logging never harms what it tells of: counted, and told by the next record
            self._counts["errors"] += 1
            dropped = 1
        if dropped:
            self._dropped += dropped
        self._marks_left = MARKS
        if not self._armed:
            self._arm(self._options.mark_interval)
        return not dropped

    def flush(self) -> None:
        """Hands over what waits, now; what the transport cannot take keeps waiting, bounded."""
        self._waiting.drain()
        self._sender.flush()

    def finish(self, timeout: float = 0.1) -> None:
        """Says how many records there were, so that losses at the end are known; more records may follow.

        Args:
            timeout: seconds over which the marks are spaced; 0 sends only one.
        """
        if os.getpid() != self._pid or self._tally.packed == self._finished:
            return
        deadline = time.monotonic() + timeout
        self.flush()
        while len(self._waiting) and time.monotonic() < deadline:
            time.sleep(0.002)
            self.flush()
        self._dropped += self._waiting.give_up()
        for turn in range(MARKS if timeout > 0 else 1):
            if turn:
                time.sleep(timeout / (MARKS - 1))
            if not self._mark(final=True):
                break
            self._sender.flush()

    def close(self, timeout: float = 0.1) -> None:
        """Finishes, and closes the sender when it was made here; may be called twice. Later records count as dropped."""
        if self._closed:
            return
        self._closed = True
        self.finish(timeout)
        if self._owns:
            self._sender.close(timeout)
        _all.discard(self)

    def __del__(self) -> None:
        """Says how many records there were when nobody holds the writer any more."""
        if "_armed" in self.__dict__ and not sys.is_finalizing():
            self.close(timeout=0)

    def __reduce__(self) -> NoReturn:
        """A copy would number its records like the original."""
        raise TypeError("what writes logs cannot be pickled or copied: construct one in each process")

    def _begin_life(self) -> None:
        """At construction, and again in a forked child, with nothing of the parent's."""
        self._pid = os.getpid()
        self._life = (time.time_ns() // 1000).to_bytes(8, "big") + secrets.token_bytes(4)
        self._tally = Tally()
        self._take = self._tally.take if LOCK_FREE else self._tally.take_guarded
        self._counts: Counter[str] = Counter()
        self._dropped = 0
        self._finished = 0
        self._waiting = Waiting(self._sender, self._options.max_queue, DropPolicy(self._options.drop))
        self._marks_left = 0
        self._mark_at = 0.0
        self._armed = False
        the_marker().add(self)

    def _offer(self, subject: str, body: Body, fields: Mapping[str, Any] | None, rank: int) -> int:
        """Sends, or keeps back; returns how many records were dropped."""
        if self._newest:
            size = _UTF8 * (len(body.message) + len(body.exception))
            try:
                if fields is not None:
                    body.fields = msgspec.Raw(encode(fields))
                    size += len(body.fields)
                if size <= self._options.max_record and (fields is None or len(fields) <= MAX_FIELDS):
                    return not self._sender.send(subject, body)  # the usual case
            except Exception:  # noqa: BLE001  too large for a datagram, or something that cannot be carried
                self._counts["reworked"] += 1
        parcel = Parcel(subject, body, fields, self._options.max_record)
        self._counts["truncated"] += parcel.truncated
        if self._newest:
            dropped = int(not parcel.send(self._sender))
        else:
            dropped = self._waiting.offer(rank, parcel)
            if len(self._waiting):
                self._arm(_AGAIN)
        self._counts["parted"] += parcel.parts > 1
        return dropped or int(parcel.failed)

    def _mark(self, *, final: bool = False) -> bool:
        """Says how many records there were so far."""
        packed = self._tally.packed
        counts = self._tally.spread(packed)
        mark = Body(self._life, counts, time.time(), dropped=self._dropped, mark=True, final=final)
        try:
            sent = self._sender.send(self._mark_subject, mark)
        except Exception:  # noqa: BLE001  see `write`
            self._counts["errors"] += 1
            return False
        self._counts["marks"] += sent
        if final:
            self._finished = packed
        return sent

    def _arm(self, after: float) -> None:
        """Sees that a turn of the marker comes."""
        now = time.monotonic()
        if not self._armed:
            self._mark_at = now + self._options.mark_interval
        self._armed = the_marker().wake_at(now + after)

    def _tick(self, now: float) -> float | None:
        """The marker's turn; returns when to come again, monotonic seconds."""
        if os.getpid() != self._pid or self._closed:
            return None
        self._waiting.drain()
        if len(self._waiting):  # a mark would call them lost
            return now + _AGAIN
        if self._marks_left and now >= self._mark_at:
            self._mark_at = now + self._options.mark_interval
            self._marks_left -= 1
            self._mark()
        if not self._marks_left:
            self._armed = False
            if not self._marks_left:
                return None
            self._armed = True  # a record came in between that relied on a turn to come
        return self._mark_at


def _open(sender: str | Mapping[str, Any] | None) -> Sender:
    if sender is None or isinstance(sender, str):
        return Sender(sender)
    if isinstance(sender, Mapping):
        return Sender(
            **{name: sender[name] for name in sender}
        )  # one by one: a configuration converts what is asked for
    raise OptionError("sender", sender, "a Sender, a URL, or the arguments of a Sender by name")


def _renew_after_fork() -> None:
    for writer in list(_all):
        writer._begin_life()  # noqa: SLF001  the module's own hook


def _finish_at_exit() -> None:
    for writer in list(_all):
        writer.finish(_EXIT_TIMEOUT)


atexit.register(_finish_at_exit)  # after the senders' own: what registers later is called earlier
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
