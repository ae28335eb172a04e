"""How a record that is too large is bounded, cut into parts that fit a datagram, and kept back while there is no room.

Beyond the limit texts keep head and tail, the longest first, so that a long traceback does not cost the message.
Parts repeat what is small, and share the texts: a lost part leaves a hole in a text, and no more.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

from atmost.errors import PayloadTooLarge
from atmost.logs.text import legible, plain_fields
from atmost.logs.wire import MAX_FIELDS, MAX_PARTS, Body, encode

if TYPE_CHECKING:  # the package is loaded by readers too, which have no sender
    from atmost.endpoint.sender import Sender

LEAST: Final = 64
"""Below this much room a part would be mostly head, bytes."""
_PIECE: Final = 16
"""What a piece costs in a part besides its text and name, bytes, at most."""
_OMITTED: Final = "\n[... {:,} bytes left out ...]\n"
_OMITTED_ROOM: Final = len(_OMITTED) + 24

MESSAGE: Final = 0
EXCEPTION: Final = 1
FIELD: Final = 2

Piece = tuple[int, str, Any, int]
"""What it belongs to, the name of a field, the value (bytes where it is text that may be cut), and its size in bytes."""


def bounded(body: Body, fields: Mapping[Any, Any] | None, limit: int) -> list[Piece]:
    """Returns the contents of a record, at most `limit` bytes of texts and fields; notes on the body what was cut.

    Args:
        body: the record; `truncated` and `original_bytes` are set here.
        fields: what the caller added.
        limit: bytes.
    """
    pieces = _pieces(body, None if fields is None else plain_fields(fields))
    total = sum(size for *_, size in pieces)
    if fields is not None and len(fields) > MAX_FIELDS:
        body.truncated = True
    if total > limit:
        body.truncated = True
        share = _share([size for *_, size in pieces], limit)
        pieces = [_shortened(piece, share) for piece in pieces]
    if body.truncated:
        body.original_bytes = total
    return pieces


def cut(body: Body, pieces: list[Piece], room: int) -> list[Body]:
    """Returns parts of a record that each have at most `room` bytes of contents, in order; empty when there would be too many.

    Args:
        body: what each part repeats; its own texts and fields are not looked at.
        pieces: the contents.
        room: bytes, at least `LEAST`.
    """
    groups: list[list[tuple[int, str, Any]]] = [[]]
    left = room
    for kind, name, value, size in pieces:
        overhead = _PIECE + len(name.encode())
        if not isinstance(value, bytes):
            if size + overhead <= room:
                if size + overhead > left:
                    groups.append([])
                    left = room
                groups[-1].append((kind, name, value))
                left -= size + overhead
                continue
            value = _as_text(value)  # noqa: PLW2901  too large to stay what it is
        begun = kind != FIELD  # an empty field is a field too
        while value or not begun:
            begun = True
            if left < overhead + LEAST // 2 and groups[-1]:
                groups.append([])
                left = room
            piece = _whole_characters(value, max(4, left - overhead))
            groups[-1].append((kind, name, piece.decode()))
            left -= len(piece) + overhead
            value = value[len(piece) :]  # noqa: PLW2901  the rest of it
    if len(groups) > MAX_PARTS:
        return []
    return [_part(body, group, number, len(groups)) for number, group in enumerate(groups)]


def whole(body: Body, pieces: list[Piece]) -> Body:
    """Returns the record in one piece."""
    return _part(body, [(k, n, v.decode() if isinstance(v, bytes) else v) for k, n, v, _ in pieces], 0, 1)


def _pieces(body: Body, fields: dict[str, Any] | None) -> list[Piece]:
    return [piece for piece in _all_pieces(body, fields) if piece[3]]


def _all_pieces(body: Body, fields: dict[str, Any] | None) -> Iterator[Piece]:
    for kind, text in ((MESSAGE, body.message), (EXCEPTION, body.exception)):
        data = legible(text).encode()
        yield kind, "", data, len(data)
    for name, value in (fields or {}).items():
        if isinstance(value, str):
            data = legible(value).encode()
            yield FIELD, name, data, max(1, len(data))
        elif isinstance(value, bytes | bytearray | memoryview):
            yield FIELD, name, bytearray(value), len(encode(value))  # bytes here are text
        else:
            yield FIELD, name, value, len(encode(value))


def _share(sizes: list[int], limit: int) -> int:
    """The most that each may have so that all together have at most `limit`: the small ones keep all they need."""
    left, others = limit, len(sizes)
    for size in sorted(sizes):
        if size * others > left:
            break
        left -= size
        others -= 1
    return left // max(1, others)


def _shortened(piece: Piece, share: int) -> Piece:
    kind, name, value, size = piece
    if size <= share:
        return piece
    text = value if isinstance(value, bytes) else _as_text(value)
    kept = max(0, share - _OMITTED_ROOM)
    head = _whole_characters(text, kept - kept // 2)
    tail = text[len(text) - kept // 2 :] if kept // 2 else b""
    while tail and tail[0] & 0xC0 == 0x80:  # the rest of a character
        tail = tail[1:]
    short = head + _OMITTED.format(len(text) - len(head) - len(tail)).encode() + tail
    return kind, name, short, len(short)


def _whole_characters(text: bytes, size: int) -> bytes:
    """The beginning of a text, at most so many bytes, without half a character."""
    if size >= len(text):
        return text
    while size and text[size] & 0xC0 == 0x80:
        size -= 1
    return text[:size]


def _as_text(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except Exception:  # noqa: BLE001  what MessagePack carries and JSON does not
        return legible(repr(value)).encode()


def _part(body: Body, group: list[tuple[int, str, Any]], number: int, count: int) -> Body:
    texts = ["", ""]
    fields = {}
    for kind, name, value in group:
        if kind == FIELD:
            fields[name] = value
        else:
            texts[kind] += value
    part = msgspec.structs.replace(body, message=texts[0], exception=texts[1], fields=fields or None)
    part.part, part.parts = number, count
    return part


_PART_HEAD = 32
"""What says which part of how many it is, bytes, at most."""


class Taker(Protocol):
    """What of a sender is used here."""

    def send(self, subject: str, payload: Any = None) -> bool:
        """Sends a message, or drops and counts it."""
        ...


class Parcel:
    """A record on its way that is too large for one message, or has to wait. Not thread-safe.

    It keeps its own copies, so that what the caller changes later changes nothing.
    """

    __slots__ = ("_begun", "_body", "_messages", "_pieces", "_subject", "failed", "parts")

    def __init__(self, subject: str, body: Body, fields: Mapping[Any, Any] | None, limit: int) -> None:
        """Takes the record as it is now.

        Args:
            subject: to send on.
            body: the record; its texts are made such that they can be carried.
            fields: what the caller added.
            limit: bytes of texts and fields that are kept.
        """
        body.thread, body.logger, body.error = (legible(text)[:255] for text in (body.thread, body.logger, body.error))
        body.fields = None
        self._subject = subject
        self._body = body
        self._pieces = bounded(body, fields, limit)
        self._messages: list[msgspec.Raw] = [msgspec.Raw(encode(whole(body, self._pieces)))]
        self._begun = False
        self.parts = 1
        self.failed = False
        """Whether some of it can never be sent."""

    @property
    def truncated(self) -> bool:
        """Whether only head and tail are left."""
        return self._body.truncated

    def send(self, sender: Taker) -> bool:
        """Sends what the sender takes; True when nothing is left to send."""
        while self._messages:
            try:
                if not sender.send(self._subject, self._messages[0]):
                    return False
            except PayloadTooLarge as error:
                if self.parts > 1:  # the way has become narrower since it was cut
                    self.failed = True
                    return True
                self._cut(error.limit)
            else:
                del self._messages[0]
        return True

    def _cut(self, limit: int) -> None:
        self._body.message = self._body.exception = ""
        room = limit - len(encode((self._subject, self._body))) - _PART_HEAD
        parts = cut(self._body, self._pieces, room) if room >= LEAST else []
        self.parts = len(parts)
        self.failed = not parts
        self._messages = [msgspec.Raw(encode(part)) for part in parts]


class LogDropPolicy(StrEnum):
    """Which record goes when there is no room for all."""

    NEWEST = "newest"
    """The one that is being logged: nothing is kept beside the sender's own buffer."""
    OLDEST = "oldest"
    """The one that waits for longest."""
    LOWEST = "lowest"
    """One of the lowest level, among those the one that waits for longest."""


_IN_SENDER: Final = 64
"""Messages in a sender that is not rid of them; beyond it the policy of this queue decides what goes."""


class _Entry(NamedTuple):
    order: int
    parcel: Parcel


class KeptBack:
    """The records kept back while the sender has no room, bounded, and sent in the order in which they were logged.

    Its lock is held for as long as handing over takes, which never waits; a signal handler may log in the middle of it.
    """

    def __init__(self, sender: Sender, size: int, policy: LogDropPolicy) -> None:
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
        """Sends a record, or keeps it back; returns how many were dropped for it, which may be the record itself.

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
                if self._policy is LogDropPolicy.LOWEST and rank < lowest:
                    return 1
                self._remove(lowest if self._policy is LogDropPolicy.LOWEST else self._oldest())
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
