"""Reads GELF datagrams: joins chunks, inflates, and reads the JSON.

Pure; one thread at a time. Nothing raises for what arrives, and everything held is bounded by `GelfLimits`.
"""

from __future__ import annotations

from atmost.ingest.gelf.chunks import MAGIC, Chunks
from atmost.ingest.gelf.inflating import GZIP, inflated, is_zlib
from atmost.ingest.gelf.message import read_message
from atmost.ingest.gelf.values import (
    ENDING,
    MARK,
    GelfEnding,
    GelfIncomplete,
    GelfLimits,
    GelfReason,
    GelfRecord,
    GelfRefusal,
    GelfStats,
)
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

    def stats(self) -> GelfStats:
        """What became of chunks so far, and what is held for messages that are not complete."""
        counts = self._chunks.counts
        given_up = {ending: counts[ending] for ending in GelfEnding if counts[ending]}
        return GelfStats(
            chunks=counts["chunks"],
            repeated_chunks=counts["repeated_chunks"],
            late_chunks=counts["late_chunks"],
            given_up=given_up,
            waiting=len(self._chunks),
            held=self._chunks.held,
        )

    def feed(self, datagram: bytes, peer: str, now: float) -> list[Outcome]:
        """Takes a datagram.

        Args:
            datagram: a message or a chunk of one.
            peer: who sent it; chunks of two peers are never joined.
            now: Unix seconds, for the message and for the time its chunks have.

        Returns:
            First the messages whose time is over, then the message it completes, or why it was refused; nothing while chunks are missing.
        """
        outcomes = self.tick(now)
        try:
            record = self._read(datagram, peer, now)
        except GelfRefusal as refusal:
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
            joined = self._chunks.accept(datagram, peer, now)
            if joined is None:
                return None
            data, count = joined
        elif datagram[:1] == b"\0" and is_pickle(datagram):
            raise GelfRefusal(GelfReason.PICKLE_REFUSED)
        if not data.strip(ENDING):
            raise GelfRefusal(GelfReason.EMPTY)
        if data[:2] != GZIP and not is_zlib(data) and data.removeprefix(MARK).lstrip(b" \t\r\n")[:1] != b"{":
            raise GelfRefusal(GelfReason.UNKNOWN_FORMAT)
        return read_message(inflated(data, self._limits.max_message), peer, now, count)

    def _take_given_up(self) -> list[Outcome]:
        given_up: list[Outcome] = list(self._chunks.given_up)
        self._chunks.given_up.clear()
        return given_up
