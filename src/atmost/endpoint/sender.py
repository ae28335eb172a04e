"""`Sender`: numbers what it is given, hands it over once, and never waits for anybody (R4–R9).

One object serves threads, signal handlers and asyncio alike, for sending never waits.
The hot path takes no lock: appending to the open datagram is atomic, and whoever finds it full tries to hand it over.
Here is what a caller sees, and the life of a sender; how threads and forks share the hand-over is `Outbox`'s.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from atmost.core.accounts import SenderStats
from atmost.core.datagram import encode_message
from atmost.core.events import DropReason
from atmost.core.keys import sealing
from atmost.core.limits import GOODBYES
from atmost.core.names import check_subject
from atmost.core.sending import SenderCore, SenderOptions
from atmost.endpoint.checking import check_audience, find_keys, find_name
from atmost.endpoint.encoding import explain
from atmost.endpoint.must_deliver import declare_from_environment, on_declaration, refuse
from atmost.endpoint.outbox import Outbox
from atmost.errors import OptionError, PayloadTooLarge
from atmost.lifecycle import HERE, LONGEST_CLOSE, Floor, living, notice_fork, register, run, unregister
from atmost.transport.url import DEFAULT_URL, open_outlet

_SUBJECTS_KEPT: Final = 4096
_ALL: Final = 1 << 20
"""Turns of those who may take the time: `flush` and `close`."""


class Sender(Outbox):
    """Sends messages to one address, each at most once, without ever waiting.

    Thread-safe and re-entrant; cannot be copied or pickled; a forked child's sender begins a session of its own.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        name: str | None = None,
        audience: str = "",
        linger: float = 0.005,
        max_datagram: int | None = None,
        max_bytes_per_second: float | None = None,
        max_buffer: int = 262_144,
        max_hold: float = 1.0,
        key: str | None = None,
        key_file: str | os.PathLike[str] | None = None,
    ) -> None:
        """Prepares to send; nothing is sent, and no thread started, before the first message.

        Args:
            url: where to; None takes `ATMOST_URL`, then udp://127.0.0.1:7140.
            name: what receivers show; None takes `ATMOST_NAME`, then the program's name.
            audience: a name both ends agree on; receivers of another audience refuse these datagrams.
            linger: seconds a message may wait for company when the sender is busy; a lone one leaves at once.
                Larger fills datagrams better and delays more; 0 puts every message in a datagram of its own.
            max_datagram: bytes of one datagram; None takes 1432 on a network and 61,440 on loopback and Unix sockets.
                Larger costs less a message, and loses more messages with one datagram.
            max_bytes_per_second: pacing; None sends as fast as it is asked to. What does not fit is dropped and counted.
            max_buffer: bytes that may wait while the transport cannot take them.
            max_hold: seconds a numbered datagram waits for such a transport before it is counted as refused.
            key: the text of a key, as `atmost keygen` prints it; None takes `key_file`, then `ATMOST_KEY`, then no key.
            key_file: a file that holds it, readable by its owner only; of several keys the first is used.

        Raises:
            AddressError: the URL cannot be used.
            OptionError: an option is outside its range.
            InvalidKey: the key cannot be used.
            MissingExtra: the key is for encryption, and the extra `crypto` is not installed.
        """
        declare_from_environment()
        options = SenderOptions(
            linger=linger,
            max_datagram=max_datagram,
            max_bytes_per_second=max_bytes_per_second,
            max_buffer=max_buffer,
            max_hold=max_hold,
        )
        check_audience(audience)
        shown = find_name(name)
        key_id, seals = sealing(find_keys(key, key_file), audience)
        outlet = open_outlet(url or os.environ.get("ATMOST_URL") or DEFAULT_URL)
        super().__init__(outlet, options, shown, key_id, seals)
        self._audience = audience
        self._subjects: set[str] = set()
        register(self, Floor.ENDPOINT)

    @property
    def url(self) -> str:
        """Where this sender sends to."""
        return self._outlet.url

    @property
    def name(self) -> str:
        """What receivers show."""
        return self._name

    def send(self, subject: str, payload: Any = None) -> bool:
        """Sends a message once, or drops and counts it; never waits, and never raises for the network.

        Args:
            subject: dotted text without wildcards or white space, at most 255 bytes.
            payload: None, bool, int, float, str, bytes, list, tuple, dict, datetime, msgspec Struct or dataclass.
                It is encoded here; changing it afterwards changes nothing.

        Returns:
            True when the message is on its way or waits for company, False when it was dropped and counted.

        Raises:
            SubjectError: the subject is malformed, or of a class of its own that cannot be carried.
            LossNotTolerated: the subject was declared must-deliver.
            PayloadNotEncodable: something in the payload cannot be carried.
            PayloadTooLarge: the message fits no datagram of this sender.
        """
        try:
            if subject not in self._subjects:
                self._admit(subject)
        except TypeError:  # not even hashable
            check_subject(subject)
            raise
        try:
            item = encode_message((subject, payload))
        except Exception as error:  # noqa: BLE001  an encoder hook of a user's type may raise anything
            raise explain(payload, error, subject) from None
        core = self._core
        size = core.size + len(item)
        if size > core.capacity:
            return self._send_the_long_way(item)
        core.open.append(item)
        core.size = size
        if not self._armed:
            self._first_in(core)
        return True

    def flush(self) -> None:
        """Hands over what waits for company, now; what the transport cannot take keeps waiting, bounded."""
        if not self._core.closed:  # the goodbye was the last; a socket of its own would be opened for more
            self._hand_over(time.monotonic(), turns=_ALL)

    def change_key(self, key: str) -> None:
        """Rotates the key: what was given to `send()` before still leaves under the old one, the rest in a new session.

        Args:
            key: the text of the new key; receivers must accept it already.

        Raises:
            InvalidKey: it is no key.
        """
        self._change_seals(*sealing(find_keys(key, None), self._audience))

    def close(self, timeout: float = 0.1) -> None:
        """Hands over what waits, says goodbye and lets go of the socket; may be called twice.

        Args:
            timeout: seconds over which the goodbyes are spaced, at most 86,400; 0 sends only one.

        Raises:
            OptionError: the timeout is longer, or no number.
        """
        if not (isinstance(timeout, (int, float)) and timeout <= LONGEST_CLOSE):
            raise OptionError("timeout", timeout, f"seconds from 0 to {LONGEST_CLOSE:g}")
        run(self._closing(timeout))

    def last_words(self, until: float) -> Iterator[float]:
        """Ends the session, but not the sender: what is sent afterwards begins another; see `lifecycle.register`."""
        if not HERE[0]:
            notice_fork()
        core = self._core
        if core.closed or not (core.began or core.open):
            return
        timeout = max(0.0, until - time.monotonic())
        yield from self._wait_for_the_transport(core, timeout)
        yield from self._end(core, GOODBYES if timeout else 1, timeout / (GOODBYES - 1))

    def release(self) -> None:
        """Lets go of the socket when the interpreter takes itself down; see `lifecycle.Living`."""
        self._core.close()
        self._outlet.close()

    def _closing(self, timeout: float) -> Iterator[float]:
        if not HERE[0]:
            notice_fork()
        core = self._core
        if core.closed:
            return
        yield from self._wait_for_the_transport(core, timeout)
        core.close()
        self._flusher.stop()
        yield from self._end(core, GOODBYES if timeout > 0 else 1, timeout / (GOODBYES - 1))
        self._outlet.close()
        unregister(self)

    def _wait_for_the_transport(self, core: SenderCore, timeout: float) -> Iterator[float]:
        deadline = time.monotonic() + timeout
        self.flush()
        if timeout > 0:
            deadline += self._outlet.patience
        while (core.held is not None or core.open) and time.monotonic() < deadline:
            yield 0.002
            self.flush()

    def stats(self) -> SenderStats:
        """What became of the messages so far; exact when no thread, the one in the background included, is sending at this moment."""
        return self._core.stats()

    def __enter__(self) -> Self:
        """The sender itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()

    def __del__(self) -> None:
        """Hands over what waits when nobody holds the sender any more; a finalizer must not wait, so one goodbye."""
        if "_core" in self.__dict__ and not self._core.closed and not sys.is_finalizing():
            self.close(timeout=0)

    def __reduce__(self) -> NoReturn:
        """A copy would number its datagrams like the original (R8)."""
        raise TypeError("a Sender cannot be pickled or copied: construct one in each process")

    def __repr__(self) -> str:
        """Name and address."""
        return f"<Sender {self._name!r} to {self._outlet.url}>"

    def renew(self, *, seen: bool) -> None:
        """The child's first step; the fork may have come between a declaration and the senders that it tells, so they ask again."""
        super().renew(seen=seen)
        self._subjects = set()

    def _admit(self, subject: str) -> None:
        # Taken before the question: an answer that a declaration overtook goes with the old set.
        subjects = self._subjects
        check_subject(subject)
        refuse(subject)
        if len(subjects) >= _SUBJECTS_KEPT:
            subjects.clear()
        subjects.add(subject)

    def _send_the_long_way(self, item: bytes) -> bool:
        """A message that does not fit the open datagram, or a sender that is closed, blocked, or sends each alone."""
        core = self._core
        if len(item) > core.max_message:
            raise PayloadTooLarge(len(item), core.max_message)
        if core.closed:
            return self._drop(core, DropReason.CLOSED)
        if core.open and core.size + len(item) > core.room:
            self._hand_over(time.monotonic())
            core = self._core  # another one in a child that was forked unseen
            if core.open and core.size + len(item) > max(self._options.max_buffer, core.room):
                return self._drop(core, core.drop_reason())
        core.open.append(item)
        core.size += len(item)
        if not self._options.linger:
            self._hand_over(time.monotonic(), own=core.open[-1:] if len(core.open) == 1 else ())
        elif not self._armed:
            self._first_in(core)
        return True


def _forget_subjects() -> None:
    """Has every sender ask again which subjects may be sent on."""
    for sender in living(Floor.ENDPOINT):
        if isinstance(sender, Sender):
            sender._subjects = set()  # noqa: SLF001  the module's own hook


on_declaration(_forget_subjects)
