"""Every subject seen: how often, how large, and the last payload; and taps, which are given the messages themselves.

Pure; not thread-safe: used under the state's lock. Bounded: `MAX_SUBJECTS` subjects, of which the one heard longest ago makes
room, and `MAX_SHOWN` characters of a payload, which is looked at once a second at most.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final

import msgspec

from atmost.core.events import Message

MAX_SUBJECTS: Final = 512
MAX_SHOWN: Final = 512
"""Characters of a payload as JSON; the rest is cut and marked."""
MAX_TAPPED: Final = 1000
"""Messages that wait for one tap."""
MAX_TAPPED_BYTES: Final = 1 << 20
"""Bytes of theirs, as JSON."""
_SAMPLE_EVERY: Final = 1.0


class Subject(msgspec.Struct, kw_only=True):
    """What is known of one subject."""

    subject: str
    count: int
    """Messages since the collector knows it."""
    rate: float
    """A second, over the last look."""
    size: int
    """Bytes of the last payload that was looked at, encoded."""
    payload: str
    """That payload as JSON, cut."""
    cut: bool
    sender: str
    last: float
    """Seconds since 1970."""


class TappedMessage(msgspec.Struct, kw_only=True):
    """A message as a tap is given it."""

    subject: str
    payload: Any
    sender: str
    host: str
    pid: int
    session: str
    sent_at: float
    received_at: float


class Tapping:
    """One reader of the messages themselves: what it does not take in time is dropped and counted."""

    def __init__(self, matches: Callable[[str], bool]) -> None:
        """Args: matches: which subjects are wanted."""
        self.matches = matches
        self.dropped = 0
        self._waiting: deque[bytes] = deque()
        self._size = 0

    def feed(self, message: Message) -> None:
        """Takes a message that is wanted."""
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
        """What came since, each as JSON."""
        found = list(self._waiting)
        self._waiting.clear()
        self._size = 0
        return found


class SubjectTable:
    """The subjects of all messages of ours."""

    def __init__(self) -> None:
        """Starts empty."""
        self.forgotten = 0
        """Subjects that made room for others."""
        self.taps: list[Tapping] = []
        self._rows: OrderedDict[str, _Row] = OrderedDict()
        self._looked = 0.0

    def __len__(self) -> int:
        """Subjects known."""
        return len(self._rows)

    def feed(self, message: Message, now: float) -> None:
        """Counts a message, and looks at its payload now and then."""
        row = self._rows.get(message.subject)
        if row is None:
            if len(self._rows) >= MAX_SUBJECTS:
                self._rows.popitem(last=False)
                self.forgotten += 1
            row = self._rows[message.subject] = _Row()
        row.count += 1
        if now - row.sampled >= _SAMPLE_EVERY:
            self._rows.move_to_end(message.subject)
            row.sample(message, now)
        row.last = now
        for tap in self.taps:
            if tap.matches(message.subject):
                tap.feed(message)

    def update_rates(self, now: float) -> None:
        """Takes the rates since the last look; about once a second."""
        elapsed = max(now - self._looked, 1e-6)
        self._looked = now
        for row in self._rows.values():
            row.rate, row.before = (row.count - row.before) / elapsed, row.count

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

    def sample(self, message: Message, now: float) -> None:
        self.sampled = now
        self.sender = message.session.name
        content = _as_json(message.payload)
        self.size = len(content)
        text = content.decode("utf-8", "replace")
        self.payload, self.cut = text[:MAX_SHOWN], len(text) > MAX_SHOWN


def _as_json(value: Any) -> bytes:
    """A value as JSON, whatever a stranger nested into it."""
    try:
        return _encode(value)
    except Exception:  # noqa: BLE001  too deep, or of a type that JSON has no form for
        return _encode(f"<{type(value).__name__}>")


_encode: Final = msgspec.json.Encoder(enc_hook=repr).encode
