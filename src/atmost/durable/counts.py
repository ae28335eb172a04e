"""Counts what happens on the durable path, each fact under one name."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class DurableStats:
    """Facts of publishing and of processing since the guarantee was constructed."""

    published: int = 0
    """Messages that a server acknowledged."""
    deduplicated: int = 0
    """Of those, how many the server had already stored."""
    retries: int = 0
    """Attempts after the first."""
    not_acknowledged: int = 0
    """Messages given up at their deadline."""
    processed: int = 0
    """Messages whose handler finished."""
    redelivered: int = 0
    """Deliveries of a message that was delivered before."""
    skipped: int = 0
    """Messages that were already processed, and were not processed again."""
    in_hand: int = 0
    """Copies that came while the same message was being processed here; they are asked for again later."""
    failed: int = 0
    """Handlers that raised."""
    not_recorded: int = 0
    """Messages whose record the store refused: they come again."""
    not_confirmed: int = 0
    """Acknowledgements that the server did not confirm: the message comes again."""
    malformed: int = 0
    """Messages whose payload is not MessagePack: dead at once."""
    dead_lettered: int = 0
    """Poison messages moved to the dead-letter subject."""
    parked: int = 0
    """Poison messages without a dead-letter subject: no longer delivered, kept in the stream until they are too old."""
    disconnected: int = 0
    """Connections that were lost."""
    trouble: int = 0
    """Errors of the connection, and fetches that failed."""


class Count(StrEnum):
    """The facts, by the names they have in `DurableStats`."""

    PUBLISHED = "published"
    DEDUPLICATED = "deduplicated"
    RETRIES = "retries"
    NOT_ACKNOWLEDGED = "not_acknowledged"
    PROCESSED = "processed"
    REDELIVERED = "redelivered"
    SKIPPED = "skipped"
    IN_HAND = "in_hand"
    FAILED = "failed"
    NOT_RECORDED = "not_recorded"
    NOT_CONFIRMED = "not_confirmed"
    MALFORMED = "malformed"
    DEAD_LETTERED = "dead_lettered"
    PARKED = "parked"
    DISCONNECTED = "disconnected"
    TROUBLE = "trouble"


class Counts:
    """A counter for each fact; safe from any thread."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = dict.fromkeys(Count, 0)
        self._guard = threading.Lock()

    def increment(self, what: Count) -> None:
        """Adds one; from any thread."""
        with self._guard:
            self._numbers[what] += 1

    def stats(self) -> DurableStats:
        """All of them, as they are now."""
        with self._guard:
            return DurableStats(**{str(what): number for what, number in self._numbers.items()})
