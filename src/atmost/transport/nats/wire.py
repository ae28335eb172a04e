"""Cuts a NATS server's byte stream into operations, and encodes ours; bytes in, values out.

In the client protocol an operation is a line of text, and MSG has a payload behind it (https://docs.nats.io/reference/reference-protocols/nats-protocol).
Whatever bytes come, memory is bounded by the buffer (R3): a payload larger than any datagram is skipped, and a line without end is an error.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from atmost.core.limits import MAX_DATAGRAM

CRLF: Final = b"\r\n"
_ROOM: Final = 512 * 1024
"""How much is read at once; more than one payload and its line (bytes)."""
_MAX_LINE: Final = 64 * 1024
"""The longest line: INFO names every server of a cluster (bytes)."""
_MAX_SIZE: Final = 1 << 31


class Delivery(NamedTuple):
    """A message for one subscription."""

    sid: int
    payload: bytes | None
    """None when it was larger than any datagram."""


class Said(NamedTuple):
    """Anything else: INFO, PING, PONG, +OK, -ERR."""

    verb: str
    text: str


class ProtocolError(Exception):
    """The other end does not follow this protocol."""


class Cutter:
    """The stream of one connection: read into `space`, then `cut` what came."""

    def __init__(self) -> None:
        """Begins with an empty buffer."""
        self._buffer = bytearray(_ROOM)
        self._view = memoryview(self._buffer)
        self._end = 0
        self._skip = 0

    def space(self) -> memoryview:
        """Where to read to; never empty."""
        return self._view[self._end :]

    def cut(self, count: int) -> list[Delivery | Said]:
        """The operations completed by `count` more bytes in `space`.

        Raises:
            ProtocolError: the bytes are not an operation.
        """
        buffer, end, start = self._buffer, self._end + count, 0
        found: list[Delivery | Said] = []
        while True:
            if self._skip:
                passed = min(self._skip, end - start)
                self._skip -= passed
                start += passed
            line_end = buffer.find(CRLF, start, end)
            if line_end < 0:
                if end - start > _MAX_LINE:
                    raise ProtocolError("a line without end")
                break
            if buffer.startswith(b"MSG ", start):
                sid, size = _message_line(bytes(buffer[start:line_end]))
                body = line_end + 2
                if size > MAX_DATAGRAM:
                    found.append(Delivery(sid, None))
                    self._skip = size + 2
                    start = body
                    continue
                if end < body + size + 2:
                    break
                found.append(Delivery(sid, bytes(self._view[body : body + size])))
                start = body + size + 2
            else:
                verb, _, text = buffer[start:line_end].decode(errors="replace").partition(" ")
                found.append(Said(verb.upper(), text.strip()))
                start = line_end + 2
        rest = end - start
        if start and rest:
            buffer[:rest] = buffer[start:end]  # of equal length: the view's buffer keeps its size
        self._end = rest
        return found


def _message_line(line: bytes) -> tuple[int, int]:
    """Subscription and size of `MSG <subject> <sid> [reply-to] <size>`."""
    parts = line.split()
    if len(parts) not in {4, 5}:
        raise ProtocolError("a MSG that has neither three nor four parts")
    try:
        sid, size = int(parts[2]), int(parts[-1])
    except ValueError:
        raise ProtocolError("a MSG without a number where one belongs") from None
    if not 0 <= size <= _MAX_SIZE:
        raise ProtocolError("a MSG of impossible size")
    return sid, size


def publish(subject: str, payload: bytes) -> bytes:
    """The bytes that publish a message."""
    return b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(payload), payload)


def subscribe(subject: str, sid: int) -> bytes:
    """The bytes that subscribe, without a queue group: a shard has one receiver, and a group would divide its sessions."""
    return b"SUB %b %d\r\n" % (subject.encode(), sid)
