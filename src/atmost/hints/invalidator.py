"""`Invalidator`: tells the caches of other processes what has changed.

A hint is a message with a number in the sequence of its shard; a mark tells the highest number of every sequence once an
interval, so that whoever misses one finds out. Safe from any thread. A forked child's hints are those of another life.
"""

from __future__ import annotations

import atexit
import os
import secrets
import socket
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, NoReturn, Protocol, Self

import msgspec

from atmost.endpoint.checking import check_sender
from atmost.endpoint.must_deliver import check_lossy_below
from atmost.endpoint.rhythm import Rhythm
from atmost.errors import OptionError, PayloadTooLarge
from atmost.hints.numbering import Numbering
from atmost.hints.wire import (
    MAX_INTERVAL,
    MIN_INTERVAL,
    SHARDS,
    SUBJECT,
    Kind,
    check_shards,
    check_text,
    subjects,
)

GOODBYES: Final = 3
_EXIT_TIMEOUT: Final = 0.02
_all: weakref.WeakSet[Invalidator] = weakref.WeakSet()


class SendsHints(Protocol):
    """What an invalidator needs of a `Sender`."""

    @property
    def name(self) -> str: ...  # noqa: D102
    def send(self, subject: str, payload: Any = None) -> bool: ...  # noqa: D102
    def flush(self) -> None: ...  # noqa: D102


def _uptime_clock() -> Callable[[], float]:
    """A clock that never steps, and counts the time a host was suspended, where there is one."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic


_now: Final = _uptime_clock()


class Invalidator:
    """Sends hints over a sender; readers have a `HintedCache`.

    Example:
        >>> hints = Invalidator(sender)
        >>> database.commit()
        >>> hints.invalidate("user:42")
    """

    def __init__(
        self,
        sender: SendsHints,
        *,
        interval: float = 1.0,
        shards: int = SHARDS,
        subject: str = SUBJECT,
    ) -> None:
        """Announces itself with a first mark, and then marks once an interval from a thread of its own.

        Args:
            sender: carries hints and marks; it stays its owner's to close, after `close` here.
            interval: seconds between marks. Shorter makes readers find losses sooner, and costs a datagram each.
            shards: 1 to 256. More make a lost hint cost fewer refetches, and a mark longer, by 4 to 10 bytes each.
            subject: the first tokens of the subjects; caches with the same one listen.

        Raises:
            OptionError: an option is outside its range, the sender is none, or a mark with so many shards fits no datagram of this sender.
            SubjectError: the subject cannot be used.
            LossNotTolerated: something below it was declared must-deliver.
        """
        number = isinstance(interval, int | float) and not isinstance(interval, bool)
        if not number or not MIN_INTERVAL <= interval <= MAX_INTERVAL:
            raise OptionError("interval", interval, f"{MIN_INTERVAL:g} to {MAX_INTERVAL:g} seconds")
        self._interval = float(interval)
        self._shards = check_shards(shards)
        self._subjects = {kind: name for name, kind in subjects(check_lossy_below(subject)).items()}
        self._sender = check_sender(sender)
        self._counts: Counter[str] = Counter()
        self._guard = threading.RLock()
        self._numbering: Numbering
        self._rhythm: Rhythm[Invalidator]
        self._pid = os.getpid()
        self._closed = False
        self._begin_life()
        try:
            self._send_mark(self._numbering.mark(0.0))
        except PayloadTooLarge as error:
            raise OptionError(
                "shards", shards, f"so few that a mark fits {error.limit} bytes, or a sender with larger datagrams"
            ) from None
        self._rhythm.start()
        _all.add(self)

    @property
    def life(self) -> bytes:
        """Which life of which invalidator this is; another one in a forked child, and after `close`."""
        return self._numbering.life

    @property
    def counts(self) -> dict[str, int]:
        """Hints by kind, `marks`, hints the sender dropped (`dropped`), and marks that could not be made (`errors`)."""
        return dict(self._counts)

    def invalidate(self, key: str, *, digest: int | None = None) -> bool:
        """Tells that the value of a key has changed; call it when the change can be seen by whoever loads it, as after commit.

        Args:
            key: text, at most 1024 bytes.
            digest: of the new value, 64 bits; a reader that has just this value, by its own digest, may keep it.

        Returns:
            True when the hint is on its way; False when the sender dropped it, which readers find out like any other loss.

        Raises:
            HintError: the key is not text.
            OptionError: the digest is no number of 64 bits.
            PayloadTooLarge: it fits no datagram of this sender; readers refetch its shard.
        """
        if digest is not None and (type(digest) is not int or not -(1 << 63) <= digest < 1 << 64):
            raise OptionError("digest", digest, "a whole number of 64 bits, or None")
        return self._hint(Kind.KEY, check_text("key", key), digest)

    def invalidate_prefix(self, prefix: str) -> bool:
        """Tells that the values of all keys that begin with this have changed; the empty prefix is all there are.

        A lost one would cost readers everything they have cached, so marks repeat the last ones.

        Args:
            prefix: text, at most 1024 bytes.

        Returns:
            As `invalidate` does.

        Raises:
            HintError: the prefix is not text.
            PayloadTooLarge: it fits no datagram of this sender; readers refetch everything.
        """
        return self._hint(Kind.PREFIX, check_text("prefix", prefix))

    def invalidate_tag(self, tag: str) -> bool:
        """Tells that all values that were cached with this tag have changed.

        Args:
            tag: text, at most 1024 bytes.

        Returns:
            As `invalidate` does.

        Raises:
            HintError: the tag is not text.
            PayloadTooLarge: it fits no datagram of this sender; readers refetch what has a tag of its shard.
        """
        return self._hint(Kind.TAG, check_text("tag", tag))

    def close(self, timeout: float = 0.1) -> None:
        """Says goodbye, so that readers do not take silence for blindness; may be called twice, and before the sender's.

        Args:
            timeout: seconds over which the goodbyes are spaced; 0 sends only one.
        """
        with self._guard:
            if self._closed or os.getpid() != self._pid:
                return
            self._closed = True
            self._rhythm.stop()
        mark = self._numbering.mark(self._uptime(), closed=True)
        for turn in range(GOODBYES if timeout > 0 else 1):
            if turn:
                time.sleep(timeout / (GOODBYES - 1))
            self._send_quietly(mark)

    def __enter__(self) -> Self:
        """The invalidator itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()

    def __reduce__(self) -> NoReturn:
        """A copy would give its hints the same numbers."""
        raise TypeError("an Invalidator cannot be pickled or copied: construct one in each process")

    def __repr__(self) -> str:
        """Sender and life."""
        return f"<Invalidator {self._sender.name!r} {self.life.hex()}>"

    def _hint(self, kind: Kind, text: str, digest: int | None = None) -> bool:
        if self._closed or os.getpid() != self._pid:
            self._begin_again()
        payload = self._numbering.hint(kind, text, self._uptime(), digest)
        self._counts[kind] += 1
        sent = self._sender.send(self._subjects[kind], payload)
        if not sent:
            self._counts["dropped"] += 1
        return sent

    def _begin_life(self) -> None:
        self._pid = os.getpid()
        self._closed = False
        self._born = _now()
        host = socket.gethostname()[:128]
        self._numbering = Numbering(secrets.token_bytes(8), self._sender.name[:128], host, self._interval, self._shards)
        self._rhythm = Rhythm(self, Invalidator._mark, self._interval, "atmost-marks")

    def _begin_again(self) -> None:
        """A life after `close` or a fork: its first mark goes before its first hint."""
        with self._guard:
            if self._closed or os.getpid() != self._pid:
                self._begin_life()
                self._mark()
                self._rhythm.start()

    def _uptime(self) -> float:
        return _now() - self._born

    def _mark(self) -> None:
        """The turn of the rhythm; the numbers are read after the clock."""
        if os.getpid() == self._pid and not self._closed:
            self._send_quietly(self._numbering.mark(self._uptime()))

    def _send_quietly(self, mark: Any) -> None:
        """Sends a mark; one that cannot be made leaves readers blind, which is safe, and is counted."""
        try:
            self._send_mark(mark)
        except Exception:  # noqa: BLE001  whatever it is, the next mark may come through
            self._counts["errors"] += 1

    def _send_mark(self, mark: Any) -> None:
        self._counts["marks"] += 1
        try:
            self._sender.send(self._subjects[Kind.MARK], mark)
        except PayloadTooLarge:
            self._sender.send(self._subjects[Kind.MARK], msgspec.structs.replace(mark, recent=[]))
        self._sender.flush()

    def _after_fork(self) -> None:
        """The child's first step; its life begins with its first hint."""
        self._guard = threading.RLock()
        self._closed = True
        self._rhythm.stop()


def _renew_after_fork() -> None:
    for invalidator in list(_all):
        invalidator._after_fork()  # noqa: SLF001  the module's own hook


def _goodbye_at_exit() -> None:
    for invalidator in list(_all):
        invalidator.close(_EXIT_TIMEOUT)


atexit.register(_goodbye_at_exit)  # after the senders' own: what registers later is called earlier
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
