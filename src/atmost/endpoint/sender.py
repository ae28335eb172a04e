"""`Sender`: numbers what it is given, hands it over once, and never waits for anybody (R4–R9).

One object serves threads, signal handlers and asyncio alike, for sending never waits.
The hot path takes no lock: appending to the open datagram is atomic, and whoever finds it full tries for the lock that guards the hand-over.
Who does not get it leaves the message to the holder, who looks again before it lets go; nobody ever waits for the lock in `send()`.
"""

from __future__ import annotations

import atexit
import os
import secrets
import socket
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from atmost.core.datagram import encode_message
from atmost.core.events import DropReason
from atmost.core.keys import Key
from atmost.core.ledger import SenderStats
from atmost.core.limits import GOODBYES, OVERHEAD
from atmost.core.names import check_subject
from atmost.core.parameters import SenderOptions
from atmost.core.seal import NO_KEY, ChecksumSeal, SealFactory
from atmost.core.sending import NOT_NOW, SenderCore
from atmost.endpoint.encoding import explain
from atmost.endpoint.flusher import Flusher
from atmost.endpoint.keys import find_keys
from atmost.endpoint.must_deliver import declare_from_environment, on_declaration, refuse
from atmost.endpoint.presets import preset
from atmost.errors import OptionError, PayloadTooLarge
from atmost.transport.connect import open_outlet
from atmost.transport.url import DEFAULT_URL

_SUBJECTS_KEPT: Final = 4096
_EXIT_TIMEOUT: Final = 0.05
"""What closing at the interpreter's exit may take, seconds a sender."""
_CLOSE_LOCK_TIMEOUT: Final = 0.2
_DATAGRAMS_A_TURN: Final = 64
"""One `send()` never hands over more than this for other threads."""
_ALL: Final = 1 << 20
"""Turns of those who may take the time: `flush` and `close`."""
_BREATH: Final = 0.001
"""A flusher that cannot keep up stands aside for this long, so that those who send hand over themselves, seconds."""

_senders: weakref.WeakSet[Sender] = weakref.WeakSet()


class Sender:
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
        self._options = SenderOptions(
            linger=linger,
            max_datagram=max_datagram,
            max_bytes_per_second=max_bytes_per_second,
            max_buffer=max_buffer,
            max_hold=max_hold,
        )
        if not isinstance(audience, str):
            raise OptionError("audience", audience, "text")
        if not isinstance(name, str | None):
            raise OptionError("name", name, "text")
        self._audience = audience
        self._key_id, self._seals = self._seal_with(find_keys(key, key_file))
        self._outlet = open_outlet(url or os.environ.get("ATMOST_URL") or DEFAULT_URL)
        self._name = _readable(name if name is not None else os.environ.get("ATMOST_NAME") or _program())
        self._start()
        _senders.add(self)

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
            SubjectError: the subject is malformed.
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
            raise explain(payload, error) from None
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
        self._hand_over(time.monotonic(), turns=_ALL)

    def change_key(self, key: str) -> None:
        """Rotates the key: what was given to `send()` before still leaves under the old one, the rest in a new session.

        Args:
            key: the text of the new key; receivers must accept it already.

        Raises:
            InvalidKey: it is no key.
        """
        key_id, seals = self._seal_with(find_keys(key, None))
        with self._handing:
            if self._core.began:
                self._say_goodbye(self._core)
            self._key_id, self._seals = key_id, seals
            self._core.change_key(key_id, seals)

    def close(self, timeout: float = 0.1) -> None:
        """Hands over what waits, says goodbye and lets go of the socket; may be called twice.

        Args:
            timeout: seconds over which the goodbyes are spaced; 0 sends only one.
        """
        core = self._core
        if core.closed or os.getpid() != self._pid:
            core.close()
            return
        deadline = time.monotonic() + timeout
        self.flush()
        if timeout > 0:
            deadline += self._outlet.patience
        while (core.held is not None or core.open) and time.monotonic() < deadline:
            time.sleep(0.002)
            self.flush()
        core.close()
        self._flusher.stop()
        for turn in range(GOODBYES if timeout > 0 else 1):
            if turn:
                time.sleep(timeout / (GOODBYES - 1))
            # A signal handler may close a sender in the middle of a hand-over: then nobody can let go of the lock.
            if self._handing.acquire(timeout=_CLOSE_LOCK_TIMEOUT):
                try:
                    if not turn:
                        self._drain(core, time.monotonic(), flush=True)
                        self._write_off(core)  # nothing is numbered after the goodbye: it is exact (R21)
                    self._say_goodbye(core)
                finally:
                    self._handing.release()
        self._write_off(core)
        self._outlet.close()
        _senders.discard(self)

    def stats(self) -> SenderStats:
        """What became of the messages so far; exact when no other thread is sending at this moment."""
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

    def _start(self) -> None:
        """Begins a life: at construction, and again in a forked child, with nothing of the parent's."""
        same_host = self._outlet.same_host
        self._pid = os.getpid()
        self._core = SenderCore(
            self._options,
            self._options.max_datagram or self._outlet.max_datagram,
            self._seals,
            name=self._name,
            host=_readable(socket.gethostname()),
            pid=self._pid,
            key_id=self._key_id,
            step_back=preset(same_host=same_host).future_bound / 2,
        )
        self._subjects: set[str] = set()
        self._handing = threading.Lock()
        self._counting = threading.RLock()
        self._flusher = Flusher(self)
        self._ticked_at = 0
        self._armed = False

    def _seal_with(self, keys: Sequence[Key]) -> tuple[int, SealFactory]:
        if keys:
            return keys[0].key_id, keys[0].seals(self._audience)
        seal = ChecksumSeal(self._audience)
        return NO_KEY, lambda _session: seal

    def _after_fork(self) -> None:
        """The child's first step: a new session with empty buffers (R8)."""
        closed = self._core.closed
        self._start()
        if closed:
            self._core.close()

    def _admit(self, subject: str) -> None:
        subjects = (
            self._subjects
        )  # taken before the question: an answer that a declaration overtook goes with the old set
        check_subject(subject)
        refuse(subject)
        if len(subjects) >= _SUBJECTS_KEPT:
            subjects.clear()
        subjects.add(subject)

    def _first_in(self, core: SenderCore) -> None:
        """The first message of a datagram: it leaves at once when the sender was idle, else its linger begins.

        `_armed` says that somebody sees to what is open. Counting `open` would not do: two that come at once are both second.
        """
        self._armed = True
        now = core.open_since = time.monotonic()
        if now >= core.immediate_at:
            self._hand_over(now, own=core.open[-1:])
        elif now + self._options.linger < self._flusher.comes_at:
            self._flusher.wake_at(now + self._options.linger)

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

    def _drop(self, core: SenderCore, reason: DropReason) -> bool:
        with self._counting:
            core.drop(reason)
        return False

    def _hand_over(self, now: float, *, flush: bool = True, own: Sequence[bytes] = (), turns: int = 1) -> None:
        """Hands over what is due, unless another thread is at it or this one was interrupted in it.

        Args:
            now: monotonic, seconds.
            flush: whether what is neither full nor past its linger leaves too.
            own: messages that are certainly not those of a process this one was forked from.
            turns: how often to begin again with what other threads left behind; the flusher sees to the rest.
        """
        core = self._core if os.getpid() == self._pid else self._forked_unseen(own)
        handing = self._handing  # another one in a child forked by a signal handler in the middle of this
        while handing.acquire(blocking=False):
            try:
                self._drain(core, now, flush=flush)
            finally:
                handing.release()
            if core is not self._core:
                return
            # Another thread may have found the lock taken and left a full datagram behind.
            if not core.overfull(now):
                if self._flusher.comes_at > now + self._options.linger:
                    self._flusher.wake_at(core.next_deadline())
                return
            turns -= 1
            if not turns:
                self._flusher.wake_at(now + _BREATH)
                return
        self._flusher.wake_at(now + self._options.linger)

    def _forked_unseen(self, own: Sequence[bytes]) -> SenderCore:
        """Begins a forked child's life late, for C code can fork past the hook (R8).

        Args:
            own: what certainly is the child's; the rest of the buffer may be the parent's, is not sent, and counts as dropped.
        """
        doubtful = len(self._core.open) - len(own)
        self._after_fork()
        for _ in range(doubtful):
            self._core.drop(DropReason.FORKED)
        self._core.open.extend(own)
        return self._core

    def _drain(self, core: SenderCore, now: float, *, flush: bool) -> None:
        outlet = self._outlet
        wall_us = outlet.clock()
        if core.needs_session(wall_us):
            if not core.began and not core.open:
                return
            core.begin(secrets.randbits(64), wall_us, now)
        for _ in range(_DATAGRAMS_A_TURN):
            if core is not self._core:  # forked in the middle of this: these numbers are the parent's
                return
            outgoing = core.next_datagram(now, wall_us, flush=flush)
            if outgoing is None:
                return
            error = outlet.send(outgoing.data)
            core.handed_over(outgoing, error, now)
            if outgoing.count:
                self._armed = False  # what came before this line is seen by `_hand_over`, what comes after it arms anew
            if error == "EMSGSIZE":
                core.shrink(outlet.path_datagram() or (core.room + OVERHEAD) // 2)
            elif not core.open and now < core.beacon_at:
                return

    def _say_goodbye(self, core: SenderCore) -> None:
        now = time.monotonic()
        self._drain(core, now, flush=True)
        outgoing = core.goodbye(now, self._outlet.clock())
        if outgoing is not None:
            core.handed_over(outgoing, self._outlet.send(outgoing.data), now)

    def _write_off(self, core: SenderCore) -> None:
        """Counts what a closed sender can hand over no more."""
        if core.held is not None:
            core.handed_over(core.held, NOT_NOW, time.monotonic())
        with self._counting:
            for _ in range(len(core.open)):
                core.open.pop()
                core.drop(DropReason.CLOSED)

    def _tick(self) -> float | None:
        """The flusher's turn: hands over what is due; returns when to come again, monotonic seconds."""
        now = time.monotonic()
        self._hand_over(now, flush=False)
        deadline, handed_over = self._core.next_deadline(), self._core.datagrams
        if deadline is None or handed_over == self._ticked_at:
            return deadline
        if self._core.overfull(now):
            return now + _BREATH
        # While data flows the flusher comes once a linger by itself: waking it for every datagram would cost more than the datagram.
        self._ticked_at = handed_over
        return min(deadline, time.monotonic() + self._options.linger)


def _program() -> str:
    """The program's name, for people."""
    return Path(sys.argv[0]).name or "python" if sys.argv else "python"


def _readable(name: str) -> str:
    """The name with a question mark for each byte of it that is no text: a beacon carries only text."""
    return name.encode(errors="replace").decode()


def _renew_after_fork() -> None:
    for sender in list(_senders):
        sender._after_fork()  # noqa: SLF001  the module's own hook


def _forget_subjects() -> None:
    """Has every sender ask again which subjects may be sent on."""
    while True:
        try:
            senders = list(_senders)
        except RuntimeError:  # another thread constructed one in this moment
            continue
        break
    for sender in senders:
        sender._subjects = set()  # noqa: SLF001  the module's own hook


def close_senders() -> None:
    """Closes every sender of this process; a process that ends says goodbye."""
    for sender in list(_senders):
        sender.close(timeout=_EXIT_TIMEOUT)


on_declaration(_forget_subjects)
atexit.register(close_senders)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
