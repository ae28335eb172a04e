"""Reads GELF datagrams: joins chunks, inflates, and reads the JSON.

Pure; one thread at a time. Nothing raises for what arrives, and everything held is bounded by `GelfLimits`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from atmost.ingest.gelf.chunks import MAGIC, Chunks
from atmost.ingest.gelf.inflating import GZIP, inflated, is_zlib
from atmost.ingest.gelf.message import read_message
from atmost.ingest.gelf.values import ENDING, MARK, GelfIncomplete, GelfLimits, GelfReason, GelfRecord, Refusal
from atmost.ingest.pickled import is_pickle
from atmost.ingest.rejected import Rejected, rejected

Outcome = GelfRecord | GelfIncomplete | Rejected


class GelfReader:
    """Takes datagrams of many peers, and gives messages, losses and refusals.

    Args:
        limits: what is held at most.
    """

    def __init__(self, limits: GelfLimits | None = None) -> None:
        self._limits = limits or GelfLimits()
        self._chunks = Chunks(self._limits)

    @property
    def counts(self) -> Mapping[str, int]:
        """Chunks: `chunks` taken, `repeated_chunks`, and `late_chunks` of messages given up; and those messages, by reason."""
        return Counter(self._chunks.counts)

    @property
    def held(self) -> int:
        """Bytes held for messages that are not complete, with what they cost besides their data."""
        return self._chunks.held

    @property
    def waiting(self) -> int:
        """Messages that are not complete."""
        return len(self._chunks)

    def receive(self, datagram: bytes, peer: str, now: float) -> list[Outcome]:
        """Takes a datagram.

        Args:
            datagram: a message or a chunk of one.
            peer: whom it came from; chunks of two peers are never joined.
            now: Unix seconds, for the message and for the time its chunks have.

        Returns:
            The message it completes or why there is none, after those whose time is over; empty while chunks are missing.
        """
        outcomes = self.tick(now)
        try:
            record = self._read(datagram, peer, now)
        except Refusal as refusal:
            outcomes.append(rejected(refusal.reason, datagram))
        else:
            outcomes += self._take_given_up()
            if record is not None:
                outcomes.append(record)
        return outcomes

    def tick(self, now: float) -> list[Outcome]:
        """Gives up what is due; to be called at `next_deadline`, and may be called at any time.

        Args:
            now: Unix seconds.
        """
        self._chunks.expire(now)
        return self._take_given_up()

    def next_deadline(self) -> float | None:
        """When `tick` should be called next, on the clock of `now`; None while no message is incomplete."""
        return self._chunks.next_deadline()

    def close(self, now: float) -> list[Outcome]:
        """Gives up all that is incomplete.

        Args:
            now: Unix seconds.
        """
        self._chunks.close(now)
        return self._take_given_up()

    def _read(self, datagram: bytes, peer: str, now: float) -> GelfRecord | None:
        data, count = datagram, 1
        if datagram[:2] == MAGIC:
            joined = self._chunks.add(datagram, peer, now)
            if joined is None:
                return None
            data, count = joined
        elif datagram[:1] == b"\0" and is_pickle(datagram):
            raise Refusal(GelfReason.PICKLE_REFUSED)
        if not data.strip(ENDING):
            raise Refusal(GelfReason.EMPTY)
        if data[:2] != GZIP and not is_zlib(data) and data.removeprefix(MARK).lstrip(b" \t\r\n")[:1] != b"{":
            raise Refusal(GelfReason.UNKNOWN_FORMAT)
        return read_message(inflated(data, self._limits.max_message), peer, now, count)

    def _take_given_up(self) -> list[Outcome]:
        given_up: list[Outcome] = list(self._chunks.given_up)
        self._chunks.given_up.clear()
        return given_up
