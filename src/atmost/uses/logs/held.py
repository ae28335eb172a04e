"""What a reader holds back until it is its turn: records behind a gap, records of which parts are missing, and marks.

Pure.
"""

from __future__ import annotations

from typing import Any

from atmost.core.events import Message
from atmost.uses.logs.levels import Key, key_of
from atmost.uses.logs.wire import Body

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
        texts = {"message": "", "exception": ""}
        fields: dict[str, Any] = {}
        missing: list[int] = []
        name = ""
        for number in range(self.body.parts):
            part = self.parts.get(number)
            if part is None:
                missing.append(number)
                where, lost = self._place(number), _LOST.format(number + 1, self.body.parts)
                if where in texts:
                    texts[where] += lost
                elif isinstance(fields.get(name), str):
                    fields[name] += lost
                continue
            texts["message"] += part.message
            texts["exception"] += part.exception
            for name, value in _named(part.fields).items():
                known = fields.get(name)
                fields[name] = known + value if isinstance(known, str) and isinstance(value, str) else value
        return texts["message"], texts["exception"], fields, tuple(missing)

    def _place(self, missing: int) -> str:
        """Which text a missing part belongs to, as its neighbours show: message, exception and fields follow each other."""
        assert self.parts is not None
        before = [part for number, part in self.parts.items() if number < missing]
        after = [part for number, part in self.parts.items() if number > missing]
        if any(part.message for part in after):
            return "message"
        if any(part.exception for part in after):
            return "exception" if any(part.exception for part in before) else "message"
        if any(part.fields for part in before):
            return "fields"
        return "exception" if any(part.exception for part in before) else "message"


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
