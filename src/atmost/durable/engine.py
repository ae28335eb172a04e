"""The connection to NATS and the stream behind a guarantee: opened by the first call that needs it, and kept over outages.

Belongs to one event loop. nats-py reconnects by itself; a connection that it gave up is opened anew by the next call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from atmost.durable.counts import Count, Counts
from atmost.durable.errors import NotConnected, StreamMismatch
from atmost.durable.options import ConsumeOptions, Stream
from atmost.errors import AddressError, MissingExtra
from atmost.transport.base import without_credentials

if TYPE_CHECKING:
    from nats.js.api import ConsumerConfig, StreamConfig
    from nats.js.client import JetStreamContext

    from atmost.durable.client import Asking


_SCHEMES: Final = ("nats", "tls", "ws", "wss")
_CONNECT_TIMEOUT: Final = 2
_RECONNECT_EVERY: Final = 0.2
"""Seconds between two attempts at the same server."""
_PING_EVERY: Final = 2
"""Seconds between pings; two unanswered ones mean that the server is gone."""
_API_TIMEOUT: Final = 2.0

logger = logging.getLogger("atmost")


class Engine:
    """One connection, and the stream behind it, which was verified."""

    def __init__(self, url: str, stream: Stream, name: str, connect: Mapping[str, Any], counts: Counts) -> None:
        """Prepares; nothing is connected.

        Args:
            url: one server, or several separated by commas.
            stream: to be created or verified.
            name: of this connection, for the server's operator.
            connect: further options of `nats.connect`, such as `user_credentials` or `tls`.
            counts: where trouble is counted.

        Raises:
            AddressError: a URL cannot be used.
            MissingExtra: nats-py is not installed.
        """
        shown = without_credentials(_text(url))
        self._servers = [_checked(part.strip(), shown) for part in url.split(",")]
        self.url = ",".join(map(without_credentials, self._servers))
        try:
            import nats.aio.client  # noqa: F401  before our client, whose module is loaded only once
        except ImportError:
            raise MissingExtra("nats", "atmost.durable") from None
        from atmost.durable.client import Asking

        self._new = Asking
        self._stream = stream
        self._name = name
        self._options = dict(connect)
        self._counts = counts
        self._opening = asyncio.Lock()
        self._client: Asking | None = None
        self._js: JetStreamContext | None = None
        self._last = ""
        self._refused = asyncio.Event()
        self.closed = False
        self.max_age = stream.max_age
        """How long the stream on the server keeps a message; 0 for ever (seconds)."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection at this moment."""
        return self._client is not None and self._client.is_connected

    @property
    def last_trouble(self) -> str:
        """What went wrong last, for people."""
        return self._last

    async def jetstream(self, timeout: float) -> JetStreamContext:
        """The engine, connected once and with a stream that was verified.

        Args:
            timeout: seconds to wait for a server.

        Raises:
            NotConnected: no server took the connection.
            StreamMismatch: the stream is not as it must be.
        """
        if self._js is not None and self._client is not None and not self._client.is_closed:
            return self._js
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout
        try:
            async with asyncio.timeout_at(ends_at), self._opening:
                while self._js is None or self._client is None or self._client.is_closed:
                    if self.closed:
                        raise NotConnected(self.url, "closed")
                    if loop.time() >= ends_at:  # a cancellation comes once, and nats-py may have swallowed it
                        raise TimeoutError  # noqa: TRY301  it ends as the timeout does
                    await self._try_to_open()
                return self._js
        except TimeoutError:
            raise NotConnected(
                self.url,
                f"no server within {timeout:g} s ({self._last or 'no answer'}): is one running with JetStream?",
            ) from None

    async def close(self) -> None:
        """Closes the connection; messages that wait for an acknowledgement end as not acknowledged."""
        self.closed = True
        self._refused.set()  # ends a call that is opening a connection at this moment, which holds the lock
        async with self._opening:
            client, self._client, self._js = self._client, None, None
        if client is not None:
            await client.close()

    async def _try_to_open(self) -> None:
        """Opens the connection, or waits a little after an error that may pass; called by one task at a time."""
        from nats.errors import Error
        from nats.js.errors import ServiceUnavailableError

        client = self._new()
        try:
            await self._connect(client)
            js = client.jetstream(timeout=_API_TIMEOUT)
            self.max_age = await ensure_stream(js, self._stream)
        except BaseException as error:
            await client.close()
            if isinstance(error, NotConnected) or not isinstance(error, Error | OSError):
                raise
            unready = isinstance(error, ServiceUnavailableError) and error.err_code is None  # nothing there answers
            self._last = "JetStream does not answer" if unready else str(error) or type(error).__name__
            await asyncio.sleep(_RECONNECT_EVERY)
        else:
            self._client, self._js = client, js

    async def _connect(self, client: Asking) -> None:
        """Connects; returns when a server has taken the connection, or raises when it refuses the user."""

        async def on_disconnect() -> None:
            if client is self._client:  # any other client was never connected, or is being closed
                self._counts.increment(Count.DISCONNECTED)
                logger.warning("atmost.durable: the connection to %s is lost, trying again", self.url)

        self._refused.clear()
        options: dict[str, Any] = {
            "servers": self._servers,
            "name": self._name,
            "error_cb": self._on_error,
            "disconnected_cb": on_disconnect,
            "allow_reconnect": True,
            "max_reconnect_attempts": -1,
            "connect_timeout": _CONNECT_TIMEOUT,
            "reconnect_time_wait": _RECONNECT_EVERY,
            "ping_interval": _PING_EVERY,
            "pending_size": 0,  # keep nothing for an absent server: it would be published later behind our back
            **self._options,
        }
        client.buffered = bool(options["pending_size"])
        connecting = asyncio.ensure_future(client.connect(**options))
        refused = asyncio.ensure_future(self._refused.wait())
        try:
            await asyncio.wait({connecting, refused}, return_when=asyncio.FIRST_COMPLETED)
            if self.closed:
                raise NotConnected(self.url, "closed")
            if not connecting.done():
                raise NotConnected(self.url, f"{self._last}: check user, token or credentials")
            await connecting
        finally:
            await end(connecting, refused)

    async def _on_error(self, error: Exception) -> None:
        """Counts the errors nats-py reports; a refusal ends the first connecting at once, because no retry helps."""
        self._counts.increment(Count.TROUBLE)
        if self._refused.is_set():  # errors that follow a refusal explain nothing
            return
        self._last = str(error) or type(error).__name__
        if "authorization" in self._last.lower() or "authentication" in self._last.lower():
            self._refused.set()


def _text(url: object) -> str:
    if not isinstance(url, str) or not url:
        raise AddressError(repr(url), "not a string: write nats://HOST:PORT, several separated by commas")
    return url


def _checked(url: str, shown: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        escape = "a port is a number to 65535; in a user or password / is written %2F, ? %3F, # %23 and a comma %2C"
        raise AddressError(shown, escape if "ort" in str(error) else str(error)) from None
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise AddressError(shown, "write nats://HOST:PORT (or tls, ws, wss), for example nats://127.0.0.1:4222")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise AddressError(
            shown.partition("?")[0],
            "a path or option has no meaning here: the Stream says where messages are kept",
        )
    return url


# The stream and the consumer that a guarantee needs: created, or verified where they exist. A stream is never changed.
# A stream that silently deletes unprocessed messages, or keeps nothing on disk, would make the guarantee an empty claim.

_OVERLAP: Final = 10065
"""The server's code for "subjects overlap with an existing stream"."""
_IMPOSSIBLE: Final = frozenset({10052, 10074})
"""The server's codes for "no valid configuration", such as overlapping subjects, and "replicas without a cluster": no retry helps."""
_IN_USE: Final = 10058
"""The server's code for "stream name already in use with a different configuration": another client has just created it."""


async def ensure_stream(js: JetStreamContext, wanted: Stream) -> float:
    """Creates the stream, or verifies the one that exists.

    Returns:
        Seconds for which it keeps a message; 0 for ever.

    Raises:
        StreamMismatch: it is not as it must be, or another stream keeps its subjects.
        nats.errors.Error: the server cannot be asked.
    """
    from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
    from nats.js.errors import APIError, NotFoundError

    try:
        config = (await js.stream_info(wanted.name)).config
    except NotFoundError:
        made = StreamConfig(
            name=wanted.name,
            subjects=list(wanted.subjects),
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.NEW,
            storage=StorageType.FILE,
            max_age=wanted.max_age,
            max_bytes=wanted.max_bytes or -1,
            duplicate_window=wanted.duplicate_window,
            num_replicas=wanted.replicas,
        )
        try:
            config = (await js.add_stream(made)).config
        except APIError as error:
            if error.err_code == _OVERLAP:
                raise StreamMismatch(
                    f"stream {wanted.name}", [f"another stream keeps some of {', '.join(wanted.subjects)}"]
                ) from None
            if error.err_code in _IMPOSSIBLE:
                raise StreamMismatch(f"stream {wanted.name}", [f"the server refuses it: {error.description}"]) from None
            if error.err_code != _IN_USE:
                raise
            config = (await js.stream_info(wanted.name)).config
    if problems := _stream_problems(config, wanted):
        raise StreamMismatch(f"stream {wanted.name}", problems)
    return config.max_age or 0.0


def _stream_problems(config: StreamConfig, wanted: Stream) -> list[str]:
    from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType

    problems = []
    missing = [s for s in wanted.subjects if not any(covers(kept, s) for kept in config.subjects or ())]
    if missing:
        problems.append(f"it does not keep {', '.join(missing)}")
    if config.storage != StorageType.FILE:
        problems.append("it keeps messages in memory only")
    if config.no_ack:
        problems.append("it acknowledges nothing (no_ack)")
    limits = (config.max_msgs or 0, config.max_bytes or 0, config.max_msgs_per_subject or 0)
    if config.discard == DiscardPolicy.OLD and max(limits) > 0:
        problems.append("at its limit it deletes old messages, processed or not (discard must be new)")
    elif limits[2] > 0 and not config.discard_new_per_subject:
        problems.append(
            f"beyond {limits[2]} messages of a subject it deletes old ones, processed or not (discard_new_per_subject)"
        )
    if config.retention == RetentionPolicy.INTEREST:
        problems.append("it keeps no message without a consumer (retention must be limits)")
    if config.max_age and (not wanted.max_age or config.max_age < wanted.max_age):
        problems.append(f"it keeps messages for {config.max_age:g} s (max_age={wanted.max_age:g})")
    if config.duplicate_window < wanted.duplicate_window:
        problems.append(f"its duplicate window is {config.duplicate_window:g} s (wanted {wanted.duplicate_window:g})")
    if (config.num_replicas or 1) < wanted.replicas:
        problems.append(f"it has {config.num_replicas or 1} replicas (wanted {wanted.replicas})")
    return problems


async def ensure_consumer(js: JetStreamContext, stream: str, options: ConsumeOptions) -> None:
    """Creates the consumer, or verifies the one that exists.

    The server gets no limit of deliveries, because it would stop delivering silently; this side logs and counts poison.

    Raises:
        StreamMismatch: the consumer is of another kind, or no stream keeps the dead letters.
        nats.errors.Error: the server cannot be asked.
    """
    from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
    from nats.js.errors import NotFoundError

    if options.dead_letter is not None:
        try:
            await js.find_stream_name_by_subject(options.dead_letter)
        except NotFoundError:
            problem = f"no stream keeps the dead letters on {options.dead_letter}: add it to a stream's subjects"
            raise StreamMismatch(f"consumer {options.durable}", [problem]) from None
    wanted = ConsumerConfig(
        durable_name=options.durable,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=options.ack_wait,
        max_deliver=-1,
        filter_subjects=list(options.subjects) or None,
    )
    try:
        config = (await js.consumer_info(stream, options.durable)).config
    except NotFoundError:
        await js.add_consumer(stream, wanted)
        return
    if problems := _consumer_problems(config, options):
        raise StreamMismatch(f"consumer {options.durable} of stream {stream}", problems)
    if config.ack_wait != options.ack_wait:
        await js.add_consumer(stream, wanted)


def _consumer_problems(config: ConsumerConfig, options: ConsumeOptions) -> list[str]:
    from nats.js.api import AckPolicy

    problems = []
    if config.deliver_subject:
        problems.append("it pushes, and messages are pulled here")
    if config.ack_policy != AckPolicy.EXPLICIT:
        problems.append(f"it takes messages as acknowledged ({config.ack_policy})")
    if (config.max_deliver or -1) != -1:
        problems.append(f"the server stops delivering after {config.max_deliver} times, and reports it to nobody")
    kept = config.filter_subjects or ([config.filter_subject] if config.filter_subject else [])
    if sorted(kept) != sorted(options.subjects):
        problems.append(f"it has the subjects {', '.join(kept) or '>'}")
    return problems


def covers(wide: str, narrow: str) -> bool:
    """Whether every subject that matches `narrow` matches `wide`."""
    theirs = narrow.split(".")
    for position, token in enumerate(wide.split(".")):
        if token == ">":
            return len(theirs) > position
        if position >= len(theirs) or theirs[position] == ">":
            return False
        if token not in {"*", theirs[position]}:
            return False
    return len(wide.split(".")) == len(theirs)


_AGAIN: Final = 0.05
"""Seconds after which a task that is still running is cancelled once more."""


async def end(*tasks: asyncio.Future[Any]) -> None:
    """Cancels tasks until all have ended, and ignores what they raise.

    Code that waits with a timeout of its own may swallow one cancellation, as Python 3.11's `wait_for` does.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN)
    await asyncio.gather(*tasks, return_exceptions=True)
