"""What happened on the durable path, each thing counted under one name."""

from __future__ import annotations

import threading
from enum import StrEnum


class Count(StrEnum):
    """Facts of publishing and of processing; cumulative."""

    PUBLISHED = "published"
    """Messages that a server acknowledged."""
    DEDUPLICATED = "deduplicated"
    """Of those, how many the server had already stored."""
    RETRIES = "retries"
    """Attempts after the first."""
    NOT_ACKNOWLEDGED = "not_acknowledged"
    """Messages given up at their deadline."""
    PROCESSED = "processed"
    """Messages whose handler came to its end."""
    REDELIVERED = "redelivered"
    """Deliveries of a message that was delivered before."""
    SKIPPED = "skipped"
    """Messages found processed already, and not processed again."""
    IN_HAND = "in_hand"
    """Copies that came while the same message was being processed here; they are asked for again later."""
    FAILED = "failed"
    """Handlers that raised."""
    NOT_RECORDED = "not_recorded"
    """Messages whose record the store refused: they come again."""
    NOT_CONFIRMED = "not_confirmed"
    """Acknowledgements that the server did not confirm: the message comes again."""
    MALFORMED = "malformed"
    """Messages whose payload is no MessagePack: dead at once."""
    DEAD_LETTERED = "dead_lettered"
    """Poison messages moved to the dead-letter subject."""
    PARKED = "parked"
    """Poison messages without one: delivered no more, kept in the stream until they are too old."""
    DISCONNECTED = "disconnected"
    """Connections that were lost."""
    TROUBLE = "trouble"
    """Errors of the connection, and fetches that failed."""


class Counts:
    """A counter for each fact; safe from any thread."""

    def __init__(self) -> None:
        self._numbers: dict[Count, int] = dict.fromkeys(Count, 0)
        self._guard = threading.Lock()

    def add(self, what: Count) -> None:
        """Counts one."""
        with self._guard:
            self._numbers[what] += 1

    def stats(self) -> dict[str, int]:
        """All that are not 0, by name."""
        with self._guard:
            return {str(what): number for what, number in self._numbers.items() if number}
