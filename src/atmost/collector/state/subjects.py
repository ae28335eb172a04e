"""Every subject seen, with its count, rate, size and last payload; and taps, which receive the messages themselves.

Pure; not thread-safe: used under the state's lock. Bounded: `MAX_SUBJECTS` subjects, the one heard longest ago goes first;
and `MAX_SHOWN` characters of a payload, which is sampled at most once a second.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from atmost.core.events import Message

MAX_SUBJECTS: Final = 512
MAX_SHOWN: Final = 512
"""Characters shown of a payload as JSON; longer ones are cut and marked."""
MAX_TAPPED: Final = 1000
"""Messages that wait for one tap."""
MAX_TAPPED_BYTES: Final = 1 << 20
"""Bytes of JSON that wait for one tap."""
_SAMPLE_EVERY: Final = 1.0


class Subject(msgspec.Struct, kw_only=True):
    """What is known of one subject."""

    subject: str
    count: int
    """Messages since the collector first saw it."""
    rate: float
    """Messages a second, over about the last second."""
    size: int
    """Size of the last payload sampled, as JSON (bytes)."""
    payload: str
    """That payload as JSON, cut."""
    cut: bool
    sender: str
    last: float
    """Seconds since 1970."""


class Sample(msgspec.Struct, array_like=True):
    """One message of a subject, as it is shown."""

    sender: str
    size: int
    payload: str
    cut: bool


class TappedMessage(msgspec.Struct, kw_only=True):
    """A message as a tap receives it."""

    subject: str
    payload: Any
    sender: str
    host: str
    pid: int
    session: str
    sent_at: float
    received_at: float


class Tapping:
    """One reader of messages; messages that it does not take in time are dropped and counted."""

    def __init__(self, matches: Callable[[str], bool]) -> None:
        """Args: matches: whether a subject is wanted."""
        self.matches = matches
        self.dropped = 0
        self._waiting: deque[bytes] = deque()
        self._size = 0

    def feed(self, message: Message) -> None:
        """Queues a wanted message, or counts it as dropped."""
        session = message.session
        content = _as_json(
            TappedMessage(
                subject=message.subject,
                payload=message.payload,
                sender=session.name,
                host=session.host,
                pid=session.pid,
                session=session.id,
                sent_at=message.sent_at,
                received_at=message.received_at,
            )
        )
        if len(self._waiting) >= MAX_TAPPED or self._size + len(content) > MAX_TAPPED_BYTES:
            self.dropped += 1
            return
        self._waiting.append(content)
        self._size += len(content)

    def drain(self) -> list[bytes]:
        """Returns and removes the waiting messages, each as JSON."""
        found = list(self._waiting)
        self._waiting.clear()
        self._size = 0
        return found


class SubjectTable:
    """The subjects of all messages received."""

    def __init__(self) -> None:
        self.forgotten = 0
        """Subjects forgotten to make room for others."""
        self.taps: list[Tapping] = []
        self._rows: OrderedDict[str, _Row] = OrderedDict()
        self._looked = 0.0

    def __len__(self) -> int:
        return len(self._rows)

    def feed(self, message: Message, now: float) -> None:
        """Counts a message, and samples its payload about once a second."""
        row = self._row(message.subject)
        row.count += 1
        if now - row.sampled >= _SAMPLE_EVERY:
            self._rows.move_to_end(message.subject)
            row.take(sample_of(message), now)
        row.last = now
        for tap in self.taps:
            if tap.matches(message.subject):
                tap.feed(message)

    def feed_together(self, messages: Sequence[Message], now: float) -> None:
        """Takes messages of one subject that came together: the same as `feed` with each."""
        self.feed(messages[0], now)
        if self.taps:
            for message in messages[1:]:
                self.feed(message, now)
        else:
            self._rows[messages[0].subject].count += len(messages) - 1

    def feed_sample(self, subject: str, count: int, sample: Sample, now: float) -> None:
        """Takes messages that another process received and counted, one of which it shows; no tap receives them."""
        row = self._row(subject)
        row.count += count
        self._rows.move_to_end(subject)
        row.take(sample, now)
        row.last = now

    def update_rates(self, now: float) -> None:
        """Computes the rates since the last call; about once a second."""
        elapsed = max(now - self._looked, 1e-6)
        self._looked = now
        for row in self._rows.values():
            row.rate, row.before = (row.count - row.before) / elapsed, row.count

    def _row(self, subject: str) -> _Row:
        row = self._rows.get(subject)
        if row is None:
            if len(self._rows) >= MAX_SUBJECTS:
                self._rows.popitem(last=False)
                self.forgotten += 1
            row = self._rows[subject] = _Row()
        return row

    def rows(self) -> list[Subject]:
        """Every subject, by name."""
        return [
            Subject(
                subject=subject, count=row.count, rate=row.rate, size=row.size, payload=row.payload, cut=row.cut,
                sender=row.sender, last=row.last,
            )
            for subject, row in sorted(self._rows.items())
        ]  # fmt: skip


class _Row:
    __slots__ = ("before", "count", "cut", "last", "payload", "rate", "sampled", "sender", "size")

    def __init__(self) -> None:
        self.count = self.before = self.size = 0
        self.rate = 0.0
        self.last = 0.0
        self.sampled = float("-inf")
        self.payload = self.sender = ""
        self.cut = False

    def take(self, sample: Sample, now: float) -> None:
        self.sampled = now
        self.sender, self.size, self.payload, self.cut = sample.sender, sample.size, sample.payload, sample.cut


def sample_of(message: Message) -> Sample:
    """A message as the table shows it."""
    content = _as_json(message.payload)
    text = content.decode("utf-8", "replace")
    return Sample(message.session.name, len(content), text[:MAX_SHOWN], len(text) > MAX_SHOWN)


def _as_json(value: Any) -> bytes:
    """A value as JSON; one that cannot be encoded becomes the name of its type."""
    try:
        return _encode(value)
    except Exception:  # noqa: BLE001  nested too deeply, or of a type that JSON does not have
        return _encode(f"<{type(value).__name__}>")


_encode: Final = msgspec.json.Encoder(enc_hook=repr).encode
