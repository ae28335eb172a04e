"""Everything ever sent or forged: the truth about every datagram, to compare with what the receiver knows.

The tape also holds datagrams that never left (refused by the socket, or numbered just before a crash), because
their numbers are used up and the receiver must find their messages missing.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, NamedTuple

import msgspec

from atmost.core.datagram import FLAG_PADDED, HEADER_LAYOUT, PADDING_LAYOUT, Kind
from atmost.core.limits import HEADER, TAG

MESSAGES_A_STEP: Final = 4096
"""A message's name is its step's number times this, plus its index in the step."""
PADDING: Final = PADDING_LAYOUT.size


class Facts(NamedTuple):
    """What a datagram's header says."""

    kind: int
    key: bytes
    start_us: int
    sequence: int
    prior: int
    sent_us: int
    messages: int


def read_facts(data: bytes) -> Facts | None:
    """The header's fields, even if the rest is invalid; None if the datagram is shorter than a header."""
    if len(data) < HEADER + TAG:
        return None
    _, kind, _, start_us, _, sequence, prior, sent_us, count, _ = HEADER_LAYOUT.unpack_from(data)
    return Facts(kind & 15, data[2:20], start_us, sequence, prior, sent_us, count)


class Entry:
    """One datagram on the tape."""

    __slots__ = (
        "accepted_at",
        "data",
        "facts",
        "honest",
        "incarnations",
        "label",
        "messages",
        "name",
        "refused",
        "seen_by",
        "transmitted",
    )

    def __init__(self, name: str, label: str, data: bytes, *, honest: bool) -> None:
        """Args: name: unique. label: for the trace. data: its bytes. honest: whether a sender made it."""
        self.name = name
        self.label = label
        self.data = data
        self.honest = honest
        self.facts = read_facts(data)
        self.messages = messages_in(data) if self.facts and self.facts.kind == Kind.DATA else ()
        self.transmitted = False
        self.refused = False
        """Whether the socket said that it refused it; it may be wrong."""
        self.incarnations = 0
        """Incarnations of the receiver so far when this was handed over."""
        self.accepted_at: list[tuple[str, int, int]] = []
        """Receiver, incarnation and virtual time (µs) of each acceptance."""
        self.seen_by: set[tuple[str, int]] = set()
        """The incarnations that it reached undamaged."""


def messages_in(data: bytes) -> tuple[int, ...]:
    """The names of the messages in a datagram; empty if they cannot be read."""
    body = data[HEADER:-TAG]
    if data[HEADER - 1] & FLAG_PADDED and len(body) > PADDING:
        body = body[: -int.from_bytes(body[-PADDING:], "big")]
    try:
        pairs: Any = msgspec.msgpack.decode(body)
        return tuple(int(payload[0]) for _, payload in pairs)
    except Exception:  # noqa: BLE001  forged bytes may be anything
        return ()


class Tape:
    """All datagrams in the order in which they were numbered or made up."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.sessions: dict[bytes, dict[int, Entry]] = {}
        """Datagrams of senders, by session and sequence number."""
        self.labels: dict[bytes, str] = {}
        """The names of sessions in the trace."""
        self.homes: dict[int, list[tuple[bytes, int]]] = {}
        """Session and sequence number of the datagrams that hold a message."""
        self.forged: set[int] = set()
        """Messages in the adversary's own datagrams; some are copies of senders' messages, because without a key H0 does not hold."""
        self._named: Counter[int] = Counter()

    def next_name(self, step: int) -> str:
        """A name for one more datagram of a step."""
        self._named[step] += 1
        return f"{step}.{self._named[step]}"

    def add(self, entry: Entry) -> Entry | None:
        """Puts a datagram on the tape; returns the sender's first datagram with this number: itself, unless the number was reused."""
        self.entries[entry.name] = entry
        if entry.facts is not None:
            for message in entry.messages:
                if not entry.honest:
                    self.forged.add(message)
                self.homes.setdefault(message, []).append((entry.facts.key, entry.facts.sequence))
        if not entry.honest or entry.facts is None:
            return None
        session = self.sessions.setdefault(entry.facts.key, {})
        return session.setdefault(entry.facts.sequence, entry)

    def find(self, data: bytes) -> Entry:
        """The datagram of a sender with these bytes."""
        facts = read_facts(data)
        assert facts is not None
        return self.sessions[facts.key][facts.sequence]

    def at(self, key: bytes, sequence: int) -> Entry | None:
        """The datagram a sender gave this number."""
        return self.sessions.get(key, {}).get(sequence)
