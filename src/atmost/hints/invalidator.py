"""`Invalidator`: sends hints about what has changed, for the caches of other processes.

A hint is a message with a number in the sequence of its shard. A mark repeats the highest number of every sequence once an
interval, so that a reader that misses a hint finds out. Safe from any thread. A forked child's hints are those of another life.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self

import msgspec
from xxhash import xxh3_64_intdigest

from atmost.endpoint.background import Rhythm
from atmost.endpoint.checking import check_sender
from atmost.endpoint.must_deliver import check_lossy_below
from atmost.endpoint.opening import open_sender
from atmost.endpoint.sender import Sender
from atmost.errors import OptionError, PayloadTooLarge
from atmost.hints.members import MemberSenders, SendsHints, addresses_of
from atmost.hints.wire import (
    MAX_INTERVAL,
    MIN_INTERVAL,
    SHARDS,
    SUBJECT,
    HintKind,
    HintMark,
    check_shards,
    check_text,
    shard_of,
    subjects,
)
from atmost.lifecycle import HERE, Floor, notice_fork, register, run, run_async

GOODBYES: Final = 3
_RECENT: Final = 8
_RECENT_BYTES: Final = 256
_RECENT_INTERVALS: Final = 4
"""So many marks repeat a prefix hint: the gap that its loss left is filled by whatever shows it."""


def _boot() -> int:
    """Returns an identity of this boot and its clock, the same in all processes that read that clock; 0 without one."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        return 0
    try:
        clock = str(Path("/proc/self/ns/time").readlink())  # a container may have a clock of its own
    except FileNotFoundError:  # before Linux 5.6 nobody has
        clock = ""
    except OSError:
        return 0
    return xxh3_64_intdigest(f"{boot} {clock}".encode()) >> 1


_BOOT: Final = _boot()


def boot_clock() -> tuple[int, float] | None:
    """Returns the identity of this boot and what its clock says, in seconds; None without one."""
    return (_BOOT, _now()) if _BOOT else None


def _now() -> float:
    """Returns seconds that never step, and that go on while the host is suspended, where there is such a clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(frozen=True, slots=True)
class InvalidatorStats:
    """What an invalidator has sent in this process."""

    keys: int
    """Hints for keys."""
    prefixes: int
    """Hints for prefixes."""
    tags: int
    """Hints for tags."""
    marks: int
    dropped: int
    """Hints that the sender dropped; readers find out about them like about any other loss."""
    errors: int
    """Marks that could not be made; readers are blind meanwhile, which is safe."""


class Numbering:
    """The numbers of one life of an invalidator, and the payloads that carry them.

    Time is an argument. The lock makes taking a number one step; safe from any thread.
    """

    def __init__(
        self, life: bytes, name: str, host: str, interval: float, shards: int, boot: int = 0, born: float = 0.0
    ) -> None:
        """Begins at zero.

        Args:
            life: 8 random bytes.
            name, host: who this is, so that a life that takes over from a dead one is known as such.
            interval: seconds between marks.
            shards: number of shards of keys, and of tags.
            boot, born: which clock dates this life, and when it began by that clock, in seconds; 0 when there is none.
        """
        self.life = life
        self._name, self._host = name, host
        self._interval = interval
        self._shards = shards
        self._boot, self._born = boot, born
        self._keys = [0] * shards
        self._tags = [0] * shards
        self._prefixes = 0
        self._recent: deque[tuple[int, str, float]] = deque(maxlen=_RECENT)
        self._guard = threading.RLock()  # a signal handler may invalidate in the middle of an invalidation

    def hint(self, kind: HintKind, text: str, uptime: float, digest: int | None = None) -> list[object]:
        """Spends a number: every mark from here on shows that there is such a hint.

        Args:
            kind: of the text.
            text: the key, prefix or tag.
            uptime: seconds of this life.
            digest: of the new value.
        """
        shard = 0
        with self._guard:
            if kind is HintKind.PREFIX:
                self._prefixes = number = self._prefixes + 1
                self._recent.append((number, text, uptime))
            else:
                numbers = self._keys if kind is HintKind.KEY else self._tags
                shard = shard_of(text, self._shards)
                numbers[shard] = number = numbers[shard] + 1
        head: list[object] = [self.life, shard, number, text]
        return head if digest is None else [*head, digest]

    def mark(self, uptime: float, *, closed: bool = False) -> HintMark:
        """Returns the highest number of every sequence.

        Args:
            uptime: seconds of this life, read *before* this call: every number taken until then is in it.
            closed: whether this is the goodbye.
        """
        with self._guard:
            return HintMark(
                life=self.life,
                name=self._name,
                host=self._host,
                interval=self._interval,
                uptime=uptime,
                closed=closed,
                keys=self._keys.copy(),
                tags=self._tags.copy(),
                prefixes=self._prefixes,
                recent=self._repeated(uptime),
                boot=self._boot,
                born=self._born,
            )

    def _repeated(self, uptime: float) -> list[tuple[int, str]]:
        room, chosen = _RECENT_BYTES, []
        for number, text, at in reversed(self._recent):  # the latest first, because a gap is filled from its end
            room -= len(text.encode()) + 8
            if room < 0 or at + _RECENT_INTERVALS * self._interval < uptime:
                break
            chosen.append((number, text))
        return chosen[::-1]


class Invalidator:
    """Sends hints; readers have a `HintedCache`.

    Example:
        >>> hints = Invalidator("udp://127.0.0.1:7150-7157")
        >>> database.commit()
        >>> hints.invalidate("user:42")
    """

    def __init__(
        self,
        sender: SendsHints | str | Mapping[str, Any] | Collection[SendsHints | str] | None = None,
        *,
        interval: float = 1.0,
        shards: int = SHARDS,
        subject: str = SUBJECT,
    ) -> None:
        """Announces itself with a first mark, and then sends a mark once an interval from a thread of its own.

        Args:
            sender: carries hints and marks. A sender, which stays its owner's to close, after `close` here; or an address, or the
                arguments of a `Sender` by name; or addresses that the processes of a host share, as "udp://127.0.0.1:7150-7157" or "unix:///run/shop/" (a
                directory), all of which are sent to; or several of these; None takes `ATMOST_URL`, then udp://127.0.0.1:7140.
            interval: seconds between marks. Shorter makes readers find losses sooner, and costs a datagram each.
            shards: 1 to 256. More make a lost hint cost fewer refetches, and a mark longer, by 4 to 10 bytes each.
            subject: the first tokens of the subjects; caches with the same one listen.

        Raises:
            OptionError: an option is outside its range, or a mark with so many shards fits no datagram of this sender.
            SubjectError: the subject cannot be used.
            LossNotTolerated: something below the subject was declared must-deliver.
            AddressError: an address cannot be used.
        """
        number = isinstance(interval, int | float) and not isinstance(interval, bool)
        if not number or not MIN_INTERVAL <= interval <= MAX_INTERVAL:
            raise OptionError("interval", interval, f"{MIN_INTERVAL:g} to {MAX_INTERVAL:g} seconds")
        self._interval = float(interval)
        self._shards = check_shards(shards)
        self._subjects = {kind: name for name, kind in subjects(check_lossy_below(subject)).items()}
        self._given = sender
        self._counts: Counter[str] = Counter()
        self._guard = threading.RLock()
        self._sender: SendsHints
        self._opened: Sender | MemberSenders | None = None
        self._numbering: Numbering
        self._rhythm: Rhythm[Invalidator]
        self._closed = False
        self._begin_life()
        try:
            self._send_mark(self._numbering.mark(0.0))
        except PayloadTooLarge as error:
            raise OptionError(
                "shards", shards, f"so few that a mark fits {error.limit} bytes, or a sender with larger datagrams"
            ) from None
        self._rhythm.start()
        register(self, Floor.USE)

    @property
    def life(self) -> bytes:
        """Identity of this life; a forked child has another, as has an invalidator that is used again after `close`."""
        return self._numbering.life

    def stats(self) -> InvalidatorStats:
        """Returns what was sent."""
        counts = self._counts
        return InvalidatorStats(
            keys=counts[HintKind.KEY],
            prefixes=counts[HintKind.PREFIX],
            tags=counts[HintKind.TAG],
            marks=counts["marks"],
            dropped=counts["dropped"],
            errors=counts["errors"],
        )

    def invalidate(self, key: str, *, digest: int | None = None) -> bool:
        """Reports that the value of a key has changed; call it when a load sees the change, for example after the commit.

        Args:
            key: text, at most 1024 bytes.
            digest: of the new value, 64 bits; a reader that has this very value, by its own digest, may keep it.

        Returns:
            True when the hint was handed over or waits for others; False when the sender dropped it. Readers notice that as
            they notice any loss.

        Raises:
            HintError: the key is not text.
            OptionError: the digest is not a number of 64 bits.
            PayloadTooLarge: it fits no datagram of this sender; readers refetch its shard.
        """
        if digest is not None and (type(digest) is not int or not -(1 << 63) <= digest < 1 << 64):
            raise OptionError("digest", digest, "a whole number of 64 bits, or None")
        return self._hint(HintKind.KEY, check_text("key", key), digest)

    def invalidate_prefix(self, prefix: str) -> bool:
        """Reports that the values of all keys that begin with this have changed; the empty prefix stands for all keys.

        A lost hint for a prefix would cost readers everything they have cached, so marks repeat the last such hints.

        Args:
            prefix: text, at most 1024 bytes.

        Returns:
            As `invalidate` does.

        Raises:
            HintError: the prefix is not text.
            PayloadTooLarge: it fits no datagram of this sender; readers refetch everything.
        """
        return self._hint(HintKind.PREFIX, check_text("prefix", prefix))

    def invalidate_tag(self, tag: str) -> bool:
        """Reports that all values that were cached with this tag have changed.

        Args:
            tag: text, at most 1024 bytes.

        Returns:
            As `invalidate` does.

        Raises:
            HintError: the tag is not text.
            PayloadTooLarge: it fits no datagram of this sender; readers refetch what has a tag of its shard.
        """
        return self._hint(HintKind.TAG, check_text("tag", tag))

    def close(self, timeout: float = 0.1) -> None:
        """Says goodbye, so that readers do not take silence for blindness, and closes the senders that were opened here.

        It may be called twice. Call it before the sender's own `close`.

        Args:
            timeout: seconds over which the goodbyes are spaced; 0 sends only one.
        """
        run(self._closing(timeout))

    async def aclose(self, timeout: float = 0.1) -> None:
        """As `close`, without blocking the event loop."""
        await run_async(self._closing(timeout))

    def last_words(self, until: float) -> Iterator[float]:
        """Says goodbye, some times over; yields the seconds to wait in between. A hint afterwards begins another life.

        Args:
            until: when to be done, in seconds on the monotonic clock.
        """
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._rhythm.stop()
        mark = self._numbering.mark(self._uptime(), closed=True)
        for turn in range(GOODBYES):
            left = until - time.monotonic()
            if turn and left <= 0:
                return
            if turn:
                yield left / (GOODBYES - turn)
            self._send_quietly(mark)

    def renew(self, *, seen: bool) -> None:  # noqa: ARG002
        """A forked child's first step: another life, which announces itself before its first hint."""
        self._guard = threading.RLock()
        self._begin_life()
        self._announced = False
        self._closed = True

    def __enter__(self) -> Self:
        """The invalidator itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        """Refuses: a copy would give its hints the same numbers."""
        raise TypeError("an Invalidator cannot be pickled or copied: construct one in each process")

    def __repr__(self) -> str:
        """Sender and life."""
        return f"<Invalidator {self._sender.name!r} {self.life.hex()}>"

    def _hint(self, kind: HintKind, text: str, digest: int | None = None) -> bool:
        if not HERE[0]:
            notice_fork()
        if self._closed:
            self._begin_again()
        payload = self._numbering.hint(kind, text, self._uptime(), digest)
        self._counts[kind] += 1
        sent = self._sender.send(self._subjects[kind], payload)
        if not sent:
            self._counts["dropped"] += 1
        return sent

    def _begin_life(self) -> None:
        if self._opened is None:
            self._sender, self._opened = _sender_of(self._given)
        self._announced = True
        self._born = _now()
        host = socket.gethostname()[:128]
        name = self._sender.name[:128]
        self._numbering = Numbering(
            secrets.token_bytes(8), name, host, self._interval, self._shards, _BOOT, self._born if _BOOT else 0.0
        )
        self._rhythm = Rhythm(self, Invalidator._mark, self._interval, "atmost-marks")

    def _begin_again(self) -> None:
        """Begins a life after `close` or a fork: its first mark goes before its first hint."""
        with self._guard:
            if self._closed:
                if self._announced:  # a renewed one has not been heard of yet
                    self._begin_life()
                self._announced, self._closed = True, False
                self._mark()
                self._rhythm.start()

    def _closing(self, timeout: float) -> Iterator[float]:
        yield from self.last_words(time.monotonic() + timeout)
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close(timeout=timeout)

    def _uptime(self) -> float:
        return _now() - self._born

    def _mark(self) -> None:
        """Takes the turn of the rhythm; the numbers are read after the clock."""
        if not self._closed:
            if isinstance(self._sender, MemberSenders):
                self._sender.refresh()
            self._send_quietly(self._numbering.mark(self._uptime()))

    def _send_quietly(self, mark: Any) -> None:
        """Sends a mark; one that cannot be made leaves readers blind, which is safe and counted."""
        try:
            self._send_mark(mark)
        except Exception:  # noqa: BLE001  whatever it is, the next mark may come through
            self._counts["errors"] += 1

    def _send_mark(self, mark: Any) -> None:
        self._counts["marks"] += 1
        try:
            self._sender.send(self._subjects[HintKind.MARK], mark)
        except PayloadTooLarge:
            self._sender.send(self._subjects[HintKind.MARK], msgspec.structs.replace(mark, recent=[]))
        self._sender.flush()


def _sender_of(
    given: SendsHints | str | Mapping[str, Any] | Collection[SendsHints | str] | None,
) -> tuple[SendsHints, Sender | MemberSenders | None]:
    """Returns what carries the hints, and what of it was opened here."""
    opened: Sender | MemberSenders
    if given is None or isinstance(given, Mapping):
        opened = open_sender(given)[0]
        return opened, opened
    if not isinstance(given, Collection):
        return check_sender(given), None
    several = (given,) if isinstance(given, str) else given
    senders = [check_sender(one) for one in several if not isinstance(one, str)]
    urls = [one for one in several if isinstance(one, str)]
    opened = MemberSenders(addresses_of(urls, "sender") if urls or not senders else (), senders)
    return opened, opened
