"""How a record that is too large is bounded, cut into parts that fit a datagram, kept back, and put together at the reader.

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

from atmost.core.events import Message
from atmost.errors import PayloadTooLarge
from atmost.logs.text import legible, plain_fields
from atmost.logs.wire import MAX_FIELDS, MAX_PARTS, Body, LevelKey, encode, level_key

if TYPE_CHECKING:  # readers put parts together, and have no sender
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


Position = tuple[int, int]
"""A number, and 1 for a record or 0 for a mark, which stands before the record of its number."""

_LOST = "[... part {} of {} lost ...]"
_ENVELOPE = 512


class Held:
    """What is held back until it is its turn: a mark, or a record with those of its parts that came."""

    __slots__ = ("at", "body", "message", "number", "parts", "size")

    def __init__(self, body: Body, message: Message, number: int, at: float) -> None:
        """Args: body: the first of it that came. message: that carried it. number: its own. at: seconds."""
        self.body = body
        self.message = message
        self.number = number
        self.at = at
        self.parts: dict[int, Body] | None = None if body.parts == 1 else {body.part: body}
        self.size = size_of(body)

    @property
    def position(self) -> Position:
        """Its place in the order."""
        return self.number, int(not self.body.mark)

    @property
    def complete(self) -> bool:
        """Whether all of it came."""
        return self.parts is None or len(self.parts) == self.body.parts

    @property
    def level(self) -> LevelKey:
        """The level as counts have it."""
        return level_key(self.body.level)

    def add_part(self, body: Body) -> bool:
        """Takes a further part; False when it is known or contradicts."""
        if self.parts is None or body.parts != self.body.parts or body.part in self.parts:
            return False
        self.parts[body.part] = body
        self.size += size_of(body)
        return True

    def join(self) -> tuple[str, str, dict[str, Any], tuple[int, ...]]:
        """Returns message, exception, fields and the parts that are missing; where one is missing the text says so."""
        if self.parts is None:
            return self.body.message, self.body.exception, _named(self.body.fields), ()
        message: list[str] = []
        exception: list[str] = []
        fields: dict[str, list[Any]] = {}
        missing: list[int] = []
        latest: list[Any] = []
        place = _Places(self.parts)
        for number in range(self.body.parts):
            part = self.parts.get(number)
            if part is None:
                missing.append(number)
                where = {"message": message, "exception": exception, "fields": latest}[place.of(number)]
                where.append(_LOST.format(number + 1, self.body.parts))
                continue
            message.append(part.message)
            exception.append(part.exception)
            for name, value in _named(part.fields).items():
                latest = fields.setdefault(name, [])
                latest.append(value)
        together = {name: _together(pieces) for name, pieces in fields.items()}
        return "".join(message), "".join(exception), together, tuple(missing)


class _Places:
    """Which text a missing part belongs to, as its neighbours show: message, exception and fields follow each other."""

    def __init__(self, parts: dict[int, Body]) -> None:
        self._last_message = max((number for number, part in parts.items() if part.message), default=-1)
        exceptions = [number for number, part in parts.items() if part.exception]
        self._first_exception = min(exceptions, default=MAX_PARTS)
        self._last_exception = max(exceptions, default=-1)
        self._first_field = min((number for number, part in parts.items() if part.fields), default=MAX_PARTS)

    def of(self, missing: int) -> str:
        """Returns the text that a missing part belongs to."""
        if missing < self._last_message:
            return "message"
        if missing < self._last_exception:
            return "exception" if self._first_exception < missing else "message"
        if self._first_field < missing:
            return "fields"
        return "exception" if self._first_exception < missing else "message"


def _together(pieces: list[Any]) -> Any:
    """A field: a text may have come in pieces, and anything else comes whole."""
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    return pieces[0]


def size_of(body: Body) -> int:
    """Returns about what it takes to keep it, bytes."""
    size = _ENVELOPE + 2 * (len(body.message) + len(body.exception))
    return size + sum(64 + _weight(name) + _weight(value) for name, value in (body.fields or {}).items())


def _weight(value: Any) -> int:
    if isinstance(value, str | bytes):
        return 2 * len(value)
    return 64 * (1 + _leaves(value))


def _leaves(value: Any) -> int:
    """How many values there are in a structure, and how much text."""
    waiting, count = [value], 0
    while waiting:
        one = waiting.pop()
        count += 1 + (len(one) // 32 if isinstance(one, str | bytes) else 0)
        if isinstance(one, dict):
            waiting += one.keys()
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
    return count


def _named(fields: Any) -> dict[str, Any]:
    if not fields:
        return {}
    return {name if isinstance(name, str) else str(name): value for name, value in fields.items()}


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
