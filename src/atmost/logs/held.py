"""What a reader holds back until it is its turn: records behind a gap, records of which parts are missing, and marks.

Pure.
"""

from __future__ import annotations

from typing import Any

from atmost.core.events import Message
from atmost.logs.levels import Key, key_of
from atmost.logs.wire import MAX_PARTS, Body

Position = tuple[int, int]
"""A number, and 1 for a record or 0 for a mark, which stands before the record of its number."""

_LOST = "[... part {} of {} lost ...]"
_ENVELOPE = 512


class Held:
    """A record, or a mark, with what came of its parts."""

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
    def level(self) -> Key:
        """The level as counts have it."""
        return key_of(self.body.level)

    def add(self, body: Body) -> bool:
        """Takes a further part; False when it is known or contradicts."""
        if self.parts is None or body.parts != self.body.parts or body.part in self.parts:
            return False
        self.parts[body.part] = body
        self.size += size_of(body)
        return True

    def join(self) -> tuple[str, str, dict[str, Any], tuple[int, ...]]:
        """Message, exception, fields and the parts that are missing; where one is missing the text says so."""
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
        """The text of a missing part."""
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
    """About what it takes to keep it, bytes."""
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
