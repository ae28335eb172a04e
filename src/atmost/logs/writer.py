"""`LogWriter`: numbers records, sends each once, and says now and then how many there were.

What `LogHandler`, the structlog processor and the loguru sink have in common. `write` is safe from any thread, signal
handler and finalizer; it never raises and never waits. Without a queue of its own (`newest`) it takes no lock.
A forked child's records begin at 0, in a life of their own.
"""

from __future__ import annotations

import atexit
import os
import secrets
import sys
import time
import weakref
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import msgspec

from atmost.endpoint.must_deliver import check_lossy_below
from atmost.endpoint.sender import Sender
from atmost.errors import OptionError
from atmost.logs.levels import LOCK_FREE, Tally
from atmost.logs.marker import the_marker
from atmost.logs.options import LogOptions
from atmost.logs.parcel import Parcel
from atmost.logs.reasons import DropPolicy
from atmost.logs.subjects import MARK, Subjects
from atmost.logs.waiting import Waiting
from atmost.logs.wire import MAX_FIELDS, Body, encode

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
