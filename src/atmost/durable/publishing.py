"""Publishes until a server acknowledges or the deadline is over, and then reports what is known of the outcome."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from atmost.durable.counts import Count, Counts
from atmost.durable.engine import Engine
from atmost.durable.errors import NotAcknowledged, NotConnected
from atmost.durable.message import encode_payload, headers
from atmost.durable.options import PublishOptions, Stream, check_id, check_seconds

_HOPELESS: Final = frozenset({10054, 10060})
"""The server's codes for "message too large" and "kept by another stream": no retry helps."""
_STORED_NOTHING: Final = _HOPELESS | {10077}
"""These codes and "the stream is full"; after any other error of a server the message may be stored all the same."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a server confirmed: the message is kept by the stream's quorum."""

    stream: str
    sequence: int
    """The message's number in the stream."""
    id: str
    attempts: int
    """How often it was handed over."""
    duplicate: bool
    """Whether the server had stored it before, under the same id."""


class Publisher:
    """Publishes on one engine; belongs to its event loop."""

    def __init__(
        self, engine: Engine, stream: Stream, options: PublishOptions, name: str, counts: Counts, *, deduplicated: bool
    ) -> None:
        """Args: name: sent to consumers. deduplicated: whether the server is to refuse a second copy."""
        self._engine = engine
        self._stream = stream
        self._options = options
        self._name = name
        self._counts = counts
        self._deduplicated = deduplicated
        self._room = asyncio.Semaphore(options.max_in_flight)

    async def publish(self, subject: str, payload: Any, message_id: str | None, deadline: float | None) -> Receipt:
        """Publishes until the stream has confirmed it; what `AtLeastOnce.publish` promises."""
        self._stream.check(subject)
        data = encode_payload(payload)
        attempt = _Attempts(
            subject,
            uuid4().hex if message_id is None else check_id(message_id),
            self._options.deadline if deadline is None else _checked(deadline, self._options.deadline),
        )
        try:
            async with asyncio.timeout_at(attempt.ends_at), self._room:
                receipt = await self._until_acknowledged(attempt, data)
        except TimeoutError:
            pass
        else:
            self._counts.increment(Count.PUBLISHED)
            if receipt.duplicate:
                self._counts.increment(Count.DEDUPLICATED)
            return receipt
        self._counts.increment(Count.NOT_ACKNOWLEDGED)
        if attempt.connecting:
            attempt.cause = self._engine.last_trouble or "no server answers"
        raise attempt.failure()

    async def _until_acknowledged(self, attempt: _Attempts, data: bytes) -> Receipt:
        from nats.errors import Error, MaxPayloadError, OutboundBufferLimitError
        from nats.js.errors import APIError, NoStreamResponseError

        options, delay, sent_us = self._options, self._options.retry_delay, time.time_ns() // 1000
        while True:
            try:
                attempt.connecting = True  # in case the deadline comes meanwhile
                js = await self._engine.jetstream(attempt.left())
                attempt.connecting = False
                attempt.number += 1
                if attempt.number > 1:
                    self._counts.increment(Count.RETRIES)
                said = headers(attempt.id, self._name, sent_us, attempt.number, deduplicated=self._deduplicated)
                attempt.begin()
                wait = max(0.001, min(options.ack_timeout, attempt.left()))
                ack = await js.publish(attempt.subject, data, timeout=wait, stream=self._stream.name, headers=said)
                return Receipt(ack.stream, ack.seq, attempt.id, attempt.number, bool(ack.duplicate))
            except NotConnected as error:
                attempt.cause, attempt.connecting = error.problem, False  # nothing was handed over
                if self._engine.closed:  # for good
                    raise TimeoutError from None
            except (OutboundBufferLimitError, NoStreamResponseError):
                attempt.failed(
                    self._engine.last_trouble or "no connection, or JetStream is not ready", stored_nothing=True
                )
            except MaxPayloadError:
                attempt.failed(f"{len(data)} bytes are more than the server takes (max_payload)", stored_nothing=True)
                raise TimeoutError from None
            except APIError as error:
                attempt.failed(error.description or str(error), stored_nothing=error.err_code in _STORED_NOTHING)
                if error.err_code in _HOPELESS:
                    raise TimeoutError from None
            except (Error, OSError) as error:
                attempt.failed(str(error) or type(error).__name__, stored_nothing=False)
            if attempt.over():  # `wait_for` of Python 3.11 may swallow the deadline's one cancellation
                raise TimeoutError
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  spreads retries, keeps no secret
            delay = min(2 * delay, options.max_retry_delay)


class _Attempts:
    """The attempts to publish one message, and what is known of their outcome."""

    def __init__(self, subject: str, message_id: str, seconds: float) -> None:
        self.subject = subject
        self.id = message_id
        self.number = 0
        self.cause = "no room: too many messages wait for their acknowledgement"
        self.connecting = False
        """Whether it waits for a connection at this moment."""
        self._seconds = seconds
        self._began_at = asyncio.get_running_loop().time()
        self.ends_at = self._began_at + seconds
        self._unknown = 0
        """Attempts that may have been stored."""

    def left(self) -> float:
        return max(0.001, self.ends_at - asyncio.get_running_loop().time())

    def over(self) -> bool:
        return asyncio.get_running_loop().time() >= self.ends_at

    def begin(self) -> None:
        """Begins an attempt: from here on the message may be stored, whatever happens."""
        self._unknown += 1
        self.cause = "no answer"

    def failed(self, cause: str, *, stored_nothing: bool) -> None:
        """Notes that no acknowledgement came of this attempt, and whether it is known to have stored nothing."""
        self._unknown -= stored_nothing
        self.cause = cause

    def failure(self) -> NotAcknowledged:
        tried = min(self._seconds, round(asyncio.get_running_loop().time() - self._began_at, 3))
        return NotAcknowledged(self.subject, self.id, self.number, tried, self.cause, unknown=bool(self._unknown))


def _checked(deadline: float, most: float) -> float:
    """Checks a call's deadline: it may be shorter than the guarantee's, but a longer one could outlast the duplicate window."""
    check_seconds("deadline", deadline, 0.001, most)
    return deadline
