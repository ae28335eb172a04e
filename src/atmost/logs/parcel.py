"""`Parcel`: a record on its way that is too large for one message, or has to wait.

It keeps its own copies, so that what the caller changes later changes nothing. Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from atmost.errors import PayloadTooLarge
from atmost.logs.cutting import LEAST, bounded, cut, whole
from atmost.logs.rendering import MAX_KEY, legible, plain_fields
from atmost.logs.wire import Body, encode

_PART_HEAD = 32
"""What says which part of how many it is, bytes, at most."""


class Taker(Protocol):
    """What of a sender is used here."""

    def send(self, subject: str, payload: Any = None) -> bool:
        """Sends a message, or drops and counts it."""
        ...


class Parcel:
    """A record, or what is left of one."""

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
        self._pieces = bounded(body, None if fields is None else _carried(fields), limit)
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


def _carried(fields: Mapping[Any, Any]) -> dict[str, Any]:
    """The fields such that they can be carried, and are nobody else's."""
    try:
        again: dict[str, Any] = msgspec.msgpack.decode(encode(fields))
    except Exception:  # noqa: BLE001  something in it cannot be carried
        return plain_fields(fields)
    usual = all(isinstance(name, str) and len(name.encode()) <= MAX_KEY for name in again)
    return again if usual else plain_fields(fields)
