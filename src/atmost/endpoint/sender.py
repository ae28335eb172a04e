"""`Sender`: numbers what it is given, hands it over once, and never waits for anybody (R4–R9).

One object serves threads, signal handlers and asyncio alike, because sending never waits.

Theory of operation.

*The hot path takes no lock.* Appending to the open datagram is atomic. `armed` says that the open datagram will leave: its first
message arms it, and either hands it over at once, when the sender was idle, or has the background thread come when the linger is over.

*Turns.* One caller at a time hands over; no caller waits for that. A caller that wants a turn adds a ticket behind those already there,
and has the turn if its ticket is the first. Otherwise it leaves its messages to the caller that has the turn, which looks again at the end
of it, and to the background thread, which comes within a linger. A ticket is added inside `try` and removed by the first call in `finally`,
both in C: no exception from a signal handler can come between a ticket and its removal. So no turn stays taken for ever, and no native lock
is held that a green thread could wait for.

*Nested calls.* A signal handler, a finalizer or a transport that calls a method in the middle of a turn does not get one. Messages wait in
`open`, a new key in `wanted_key`, a close in `left`; the caller that has the turn handles them at its end. Between the steps of a turn the
state is whole: `atmost.core.sending` explains how.

*Forks.* A life is what belongs to one process: the core with its session and counts, the tickets, the thread, the outlet. A child gets
another life in one assignment, with nothing of the parent's. A child that was forked in the middle of a turn returns into it, finds that
its life is no longer the current one, and leaves it alone. C code can fork past Python's hook, so every turn checks the process first.
Waiting messages that are not certainly the child's are then dropped and counted, because the parent sends them (R8).

*The end.* `close`, `aclose` and the end of the process take the same steps: wait for a transport that is busy, say goodbye three times, let go.
What a closed sender could not hand over counts as dropped, at the goodbye, which is therefore exact (R21).

*Compiled.* Where `atmost.compiled` has one, `send` is its compiled twin. It takes the usual steps on the same state without letting anybody
come between, so it needs no ticket, and it calls the functions here for everything else: a beacon that is due, a turn that is taken, a key.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from atmost.atomic import guarded
from atmost.compiled import native
from atmost.core import sending
from atmost.core.accounts import SenderStats
from atmost.core.datagram import encode_message
from atmost.core.events import DropReason
from atmost.core.limits import BEACON_AFTER_DATA, BEACON_UNDER_LOAD, GOODBYES, OVERHEAD
from atmost.core.names import check_subject
from atmost.core.seal import ChecksumSeal, SealFactory
from atmost.core.sending import SenderCore, SenderOptions, SenderSession
from atmost.endpoint.background import Background
from atmost.endpoint.checking import check_audience, find_name, find_sealing
from atmost.endpoint.encoding import explain
from atmost.endpoint.must_deliver import declare_from_environment, on_declaration, refuse
from atmost.errors import OptionError, PayloadTooLarge
from atmost.lifecycle import HERE, LONGEST_CLOSE, Floor, living, notice_fork, register, run, run_async, unregister
from atmost.transport.base import FORKED, Outlet, wall_clock
from atmost.transport.udp import UdpOutlet, divides_datagrams
from atmost.transport.url import DEFAULT_URL, open_outlet

_SUBJECTS_KEPT: Final = 4096
_ALL: Final = 1 << 20
"""The turns that `flush`, `rotate_key` and `close` may take."""
_DATAGRAMS_A_TURN: Final = 64
"""One `send()` never hands over more than this for other threads."""
_TOGETHER: Final = 8
"""Full datagrams that wait for each other where they fill quickly. More cost less each, and a crash loses them all."""
_TOGETHER_BYTES: Final = 40_000
"""As large as they may be together: the system takes 64 KiB at once, and there are more of them when none is quite full."""
_BREATH: Final = 0.001
"""A background thread that cannot keep up pauses for this long, so that sending threads hand over themselves, seconds."""
_ABANDONED: Final = 0.1
"""A turn that takes longer than this is looked for on the stack of its thread; if it is not there, it is over, seconds."""
_TURN_PATIENCE: Final = 0.2
"""How long a close waits for another thread's turn before it leaves the rest to that thread, seconds."""


class _Life(SenderCore):
    """A sender in one process: replaced whole in a forked child."""

    __slots__ = (
        "armed",
        "background",
        "ended",
        "left",
        "looked_at",
        "outlet",
        "pid",
        "ticked_at",
        "tickets",
        "together",
        "wanted_key",
    )

    def __init__(self, sender: Sender, outlet: Outlet, options: SenderOptions, key: tuple[int, SealFactory]) -> None:
        """Begins empty; no thread is started before the first message."""
        pid = os.getpid()
        super().__init__(
            options,
            options.max_datagram or outlet.max_datagram,
            key[1],
            name=sender.name,
            host=socket.gethostname(),
            pid=pid,
            key_id=key[0],
            step_back=outlet.preset.future_bound / 2,
        )
        self.pid = pid
        self.outlet = outlet
        self.tickets: dict[object, tuple[int, float]] = {}
        """The callers that want a turn, in order, each with its thread and time (monotonic, seconds); the first has it."""
        self.looked_at = 0.0
        """When a caller last looked whether the turn is abandoned, monotonic, seconds."""
        self.background = Background(sender, Sender._tick, "atmost-flusher")  # noqa: SLF001  one component
        self.armed = False
        """Whether the open messages will leave by themselves. Counting `open` would not do: two that come at once both look like the second."""
        self.ticked_at = 0
        """Numbers spent at the background thread's last turn."""
        self.wanted_key: tuple[int, SealFactory] | None = None
        """A key that waits for the next turn."""
        # Compiled code alone does it, where the system divides them again.
        several = native is not None and isinstance(outlet, UdpOutlet) and divides_datagrams()
        self.together = max(1, min(_TOGETHER, _TOGETHER_BYTES // (self.room + OVERHEAD))) if several else 1
        """Full datagrams that may leave by one system call; 1 from the first time on that the system refuses to divide them."""
        self.left = False
        """Whether a close that got no turn left the end to the caller that has it."""
        self.ended = False
        """Whether the socket is gone."""


class Sender:
    """Sends messages to one address, each at most once, without ever waiting.

    Thread-safe and re-entrant; cannot be copied or pickled; a forked child's sender begins a session of its own.
    """

    __slots__ = ("__dict__", "__weakref__", "_core", "_linger", "_subjects")

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
            url: where to send; None takes `ATMOST_URL`, then udp://127.0.0.1:7140.
            name: the sender's name that receivers show; None takes `ATMOST_NAME`, then the program's name.
            audience: a name both ends agree on; receivers of another audience refuse these datagrams.
            linger: seconds a message may wait for others when the sender is busy; a message that comes alone leaves at once.
                Larger fills datagrams better and delays more; 0 puts every message in a datagram of its own.
            max_datagram: bytes of one datagram; None takes 1432 on a network and 61,440 on loopback and Unix sockets.
                Larger costs less a message, and loses more messages with one datagram.
            max_bytes_per_second: pacing; None sends as fast as `send` is called. Messages beyond the rate are dropped and counted.
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
        self._name = find_name(name)
        self._audience = audience
        self._linger = linger
        self._key = find_sealing(key, key_file, audience)
        self._subjects: set[str] = set()
        self._counting = threading.RLock()  # only where CPython's global lock does not do
        outlet = open_outlet(url or os.environ.get("ATMOST_URL") or DEFAULT_URL)
        self._core = _Life(self, outlet, options, self._key)
        register(self, Floor.ENDPOINT)

    @property
    def url(self) -> str:
        """Where this sender sends to."""
        return self._core.outlet.url

    @property
    def name(self) -> str:
        """What receivers show."""
        return self._name

    def send(self, subject: str, payload: Any = None) -> bool:
        """Sends a message once, or drops and counts it; never waits, and never raises for the network.

        Args:
            subject: dotted text without wildcards or white space, at most 255 bytes.
            payload: None, bool, int, float, str, bytes, list, tuple, dict, datetime, msgspec Struct or dataclass.
                An instance of a subclass travels as the type that it extends. It is encoded here; changing it afterwards changes nothing.
                A dict with more than 15 tuples as keys is not noticed here, and receivers refuse its datagram: send a list of pairs.

        Returns:
            True when the message was handed over or waits for others, False when it was dropped and counted.

        Raises:
            SubjectError: the subject is malformed.
            LossNotTolerated: the subject was declared must-deliver.
            PayloadNotEncodable: something in the payload cannot be carried.
            PayloadTooLarge: the message fits no datagram of this sender.
        """
        # First, and in one line: a child forked in the middle of this returns to its parent's core, and leaves it alone.
        here = (core := self._core).armed or HERE[0]
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
        size = core.size + len(item)
        if size > core.capacity:
            return self._send_the_long_way(core, item, here=here)
        core.open.append(item)
        core.size = size
        if not core.armed:
            self._first_in(core, item, here=here)
        return True

    def flush(self) -> None:
        """Hands over the waiting messages now; those that the transport cannot take keep waiting, within bounds."""
        if not self._core.closed:  # after the goodbye nothing leaves: it would need another socket
            self._hand_over(time.monotonic(), turns=_ALL)

    def rotate_key(self, key: str) -> None:
        """Rotates the key: messages given to `send()` before still leave under the old key, later ones in a new session.

        Args:
            key: the text of the new key; receivers must accept it already.

        Raises:
            InvalidKey: it cannot be used as a key.
        """
        self._key = wanted = find_sealing(key, None, self._audience)
        self._core.wanted_key = wanted
        self._hand_over(time.monotonic(), turns=_ALL)

    def close(self, timeout: float = 0.1) -> None:
        """Hands over the waiting messages, says goodbye and closes the socket; may be called twice.

        It sleeps between the goodbyes: in an event loop await `aclose()`.

        Args:
            timeout: seconds over which the goodbyes are spaced, at most 86,400; 0 sends only one.

        Raises:
            OptionError: the timeout is longer, or not a number.
        """
        run(self._closing(_checked(timeout)))

    async def aclose(self, timeout: float = 0.1) -> None:
        """Closes as `close` does, without blocking the event loop."""
        await run_async(self._closing(_checked(timeout)))

    def stats(self) -> SenderStats:
        """What became of the messages so far; exact when no thread, the one in the background included, is sending at this moment."""
        return self._core.stats()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A finalizer must not wait, so one goodbye.
        if hasattr(self, "_core") and not self._core.ended and not sys.is_finalizing():
            run(self._closing(0.0, patience=0.0))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Sender cannot be pickled or copied: construct one in each process")

    def __repr__(self) -> str:
        return f"<Sender {self._name!r} to {self.url}>"

    # What `lifecycle` asks for.

    def renew(self, *, seen: bool) -> None:
        """Begins the life of a forked child, with nothing of the parent's; once.

        Args:
            seen: whether this is called at the fork; else messages that wait may be the parent's, and are dropped and counted.
        """
        before = self._core
        if before.pid == os.getpid():
            return
        life = _Life(self, before.outlet, before.options, self._key)
        if not seen:
            life.drop(DropReason.FORKED, len(before.open))
        if before.closed:
            life.close()
            life.ended = before.ended
        # A fork may come after a must-deliver declaration and before the senders know of it, so they ask again.
        self._subjects = set()
        if self._core is before:  # else a call that interrupted this one has begun the life
            self._core = life

    def last_words(self, until: float) -> Iterator[float]:
        """Ends the session, but not the sender: a later message begins another session."""
        core = self._core
        if core.ended or not (core.began or core.open):
            return
        if core.closed:
            self._end(core)
            return
        timeout = max(0.0, until - time.monotonic())
        yield from self._wait_for_the_transport(core, timeout)
        core.background.rest()
        yield from self._say_goodbyes(core, GOODBYES if timeout else 1, timeout / (GOODBYES - 1), _TURN_PATIENCE)
        if core.left:
            self._end(core)
        yield from core.background.ending(time.monotonic() + _TURN_PATIENCE)

    def release(self) -> None:
        """Lets go of the socket when the interpreter takes itself down."""
        core = self._core
        core.close()
        core.ended = True
        core.outlet.close()

    # The slow path of `send()`.

    def _admit(self, subject: str) -> None:
        # Read before asking: if a declaration comes in between, the answer goes into the old set, which is dropped.
        subjects = self._subjects
        check_subject(subject)
        refuse(subject)
        if len(subjects) >= _SUBJECTS_KEPT:
            subjects.clear()
        subjects.add(subject)

    def _send_the_long_way(self, core: _Life, item: bytes, *, here: bool) -> bool:
        """A message that does not fit the open datagram, or a sender that is closed, blocked, or sends each alone."""
        unseen = not HERE[0]
        if len(item) > core.max_message:
            raise PayloadTooLarge(len(item), core.max_message)
        now = time.monotonic()
        if core.open and core.size + len(item) > core.room and not core.closed:
            self._hand_over(now)
            if unseen:
                core = self._core
                if here:  # C code may have forked in the middle of this call, and then the parent sends it
                    return self._drop_as_parents(core)
        if not self._offer(core, item, now):
            return False
        if not self._linger:
            self._hand_over(now, own=None if here else item)
        elif not core.armed:
            self._first_in(core, item, here=here)
        return True

    @staticmethod
    def _drop_as_parents(core: _Life) -> bool:
        core.drop(DropReason.FORKED)
        return False

    def _offer(self, core: _Life, item: bytes, now: float) -> bool:
        return core.offer(item, now)

    _offer = guarded(_offer, "_counting")

    def _first_in(self, core: _Life, item: bytes, *, here: bool) -> None:
        """The first message of a datagram: it leaves at once when the sender was idle, else its linger begins.

        Args:
            core: the life it was given to.
            item: the message.
            here: whether the call of `send()` may have begun in the process this one was forked from.
        """
        try:
            core.armed = True
            now = core.open_since = time.monotonic()
            due = now + self._linger
            # Without a thread that comes when the linger is over it leaves at once.
            if now >= core.immediate_at or (due < core.background.comes_at and not core.background.wake_at(due)):
                self._hand_over(now, own=None if here else item)
        except BaseException:
            core.armed = False  # this datagram would wait for ever: the next message arms it again
            raise

    # Turns.

    def _hand_over(self, now: float, *, flush: bool = True, own: bytes | None = None, turns: int = 1) -> None:
        """Hands over what is due, unless another thread is at it or this one was interrupted in it.

        Args:
            now: monotonic, seconds.
            flush: whether what is neither full nor past its linger leaves too.
            own: a message that is certainly not that of a process this one was forked from.
            turns: how often to begin again with what others left behind; the background thread sees to the rest.
        """
        core = self._core if HERE[0] else self._forked_unseen(own)
        ticket = object()
        while turns:
            try:
                core.tickets[ticket] = threading.get_ident(), now
                # `next(iter())` would be two steps, between which another may come.
                if [*core.tickets][0] is not ticket and not _take_over(core, ticket, now):  # noqa: RUF015
                    break
                self._drain(core, now, flush=flush)
            finally:
                core.tickets.pop(ticket, None)
            if core is not self._core:
                return
            # Others may have come meanwhile, found the turn taken, and left a full datagram, a key or the end behind.
            if core.left:
                self._end(core)
                return
            if core.wanted_key is None and not core.overfull(now):
                if core.background.comes_at > now + self._linger:
                    core.background.wake_at(core.next_deadline())
                return
            if core.finished:  # it was closed: neither the key nor what is left will ever be needed
                return
            turns -= 1
        core.background.wake_at(now + (self._linger if turns else _BREATH))

    def _forked_unseen(self, own: bytes | None) -> _Life:
        """Begins a forked child's life late, because C code can fork past the hook (R8).

        Args:
            own: a message that is certainly the child's.
        """
        before = self._core
        mine = own is not None and own in before.open
        if own is not None and mine:
            before.open.remove(own)
        notice_fork()
        if own is not None and mine:
            self._core.open.append(own)
        return self._core

    def _drain(self, core: _Life, now: float, *, flush: bool) -> None:
        """Hands over what is due; the caller has the turn."""
        wanted = core.wanted_key
        if wanted is not None and not core.finished:
            self._part(core, now)
            core.rotate_key(*wanted)
            if core.wanted_key is wanted:  # else a signal handler has rotated it further
                core.wanted_key = None
        self._transmit(core, now, flush=flush)

    def _transmit(self, core: _Life, now: float, *, flush: bool) -> None:
        core.recover(now)
        if core.finished:
            return
        outlet = core.outlet
        wall_us = outlet.clock()
        if core.needs_session(wall_us):
            if not core.began and not core.open:
                return
            core.begin(int.from_bytes(os.urandom(8)), wall_us, now)
        here = HERE[0]
        for _ in range(_DATAGRAMS_A_TURN):
            outgoing = core.next_datagram(now, wall_us, flush=flush)
            if outgoing is None:
                return
            outgoing.attempted = True
            # A child forked in the middle of this has another core: these numbers are its parent's.
            error = outlet.send(outgoing.data, here) if here and here == HERE[0] and core is self._core else FORKED
            if error is FORKED:
                return
            core.handed_over(outgoing, error, now)
            if outgoing.count:
                core.armed = False  # what came before this line is seen by `_hand_over`, what comes after it arms anew
            if error == "EMSGSIZE":
                core.shrink(outlet.path_datagram() or (core.room + OVERHEAD) // 2)
            elif not core.open and now < core.beacon_at:
                return

    def _after_refusal(self, core: _Life, number: int) -> None:
        """Draws the conclusions from a datagram that the compiled twin handed over and the kernel refused: it is booked already.

        Args:
            core: the life that sent it.
            number: the errno.
        """
        outlet = core.outlet
        assert isinstance(outlet, UdpOutlet)
        if outlet.refused(OSError(number, os.strerror(number))) == "EMSGSIZE":
            core.shrink(outlet.path_datagram() or (core.room + OVERHEAD) // 2)

    def _tick(self) -> float | None:
        """The background thread's turn: hands over what is due; returns when to come again, monotonic seconds."""
        now = time.monotonic()
        self._hand_over(now, flush=False)
        core = self._core
        deadline, handed_over = core.next_deadline(), core.datagrams
        if deadline is None:
            return None
        # What is due and could not leave now is in another thread's turn: looking again at once would take the interpreter from it.
        deadline = max(deadline, now + _BREATH)
        if handed_over == core.ticked_at:
            return deadline
        if core.overfull(now):
            return now + _BREATH
        # While data flows the thread comes once a linger by itself: waking it for every datagram would cost more than the datagram.
        core.ticked_at = handed_over
        return min(deadline, time.monotonic() + self._linger)

    # The end.

    def _closing(self, timeout: float, patience: float = _TURN_PATIENCE) -> Iterator[float]:
        """The steps of closing; yields the pauses between them.

        Args:
            timeout: seconds over which the goodbyes are spaced.
            patience: how long to wait for other threads, seconds.
        """
        if not HERE[0]:
            notice_fork()
        core = self._core
        if core.ended:
            return
        if not core.closed:
            yield from self._wait_for_the_transport(core, timeout)
        core.close()
        core.background.stop()
        if (yield from self._say_goodbyes(core, GOODBYES if timeout > 0 else 1, timeout / (GOODBYES - 1), patience)):
            self._let_go(core)
        else:
            core.left = True  # the caller that has the turn sees it at its end
            self._end(core)  # unless it was over already
        yield from core.background.ending(time.monotonic() + patience)

    def _wait_for_the_transport(self, core: _Life, timeout: float) -> Iterator[float]:
        deadline = time.monotonic() + timeout
        self.flush()
        if timeout > 0:
            deadline += core.outlet.patience
        while (core.held is not None or core.open) and time.monotonic() < deadline and not _is_inside(core):
            yield 0.002
            self.flush()

    def _say_goodbyes(self, core: _Life, goodbyes: int, apart: float, patience: float) -> Generator[float, None, bool]:
        """Ends the session for its receivers; False when another caller keeps the turn.

        Args:
            core: the life that ends.
            goodbyes: how many, because each may be lost.
            apart: from one to the next, seconds.
            patience: how long to wait for another thread's turn, seconds.
        """
        for number in range(goodbyes):
            if number:
                yield apart
            give_up = time.monotonic() + patience
            while not self._take_turn(core, lambda: self._part(core, time.monotonic())):
                if _is_inside(core) or time.monotonic() >= give_up:
                    return False
                yield _BREATH
        return True

    def _end(self, core: _Life) -> None:
        """Ends a closed life at once, for a close that could not."""
        if not core.ended and self._take_turn(core, lambda: self._part(core, time.monotonic())):
            self._let_go(core)

    def _let_go(self, core: _Life) -> None:
        with suppress(OSError):  # the descriptor was closed by somebody else
            core.outlet.close()
        unregister(self)
        core.ended = True

    def _take_turn(self, core: _Life, step: Callable[[], None]) -> bool:
        """Takes one step that needs the turn; False when another caller has it."""
        ticket = object()
        try:
            now = time.monotonic()
            core.tickets[ticket] = threading.get_ident(), now
            if [*core.tickets][0] is not ticket and not _take_over(core, ticket, now):  # noqa: RUF015  see `_hand_over`
                return False
            step()
            return True
        finally:
            core.tickets.pop(ticket, None)

    def _part(self, core: _Life, now: float) -> None:
        """Ends the session for its receivers; the caller has the turn."""
        for _ in range(1 + len(core.open) // _DATAGRAMS_A_TURN):  # a datagram has a message at least
            self._transmit(core, now, flush=True)
            if not core.open:
                break
        if core.closed:
            core.finish(now)  # nothing is numbered after the goodbye: it is exact (R21)
        outgoing = core.goodbye(now, core.outlet.clock())
        here = HERE[0]
        if outgoing is not None:
            outgoing.attempted = True
            error = core.outlet.send(outgoing.data, here) if here and here == HERE[0] and core is self._core else FORKED
            if error is not FORKED:
                core.handed_over(outgoing, error, now)


def _is_inside(core: _Life) -> bool:
    """Whether this thread has the turn already: the interrupted call goes on only after this one."""
    return any(
        thread == threading.get_ident() and _is_on_stack(ticket, thread)
        for ticket, (thread, _) in [*core.tickets.items()][:1]
    )


def _take_over(core: _Life, mine: object, now: float) -> bool:
    """Takes the turn if the call that had it is over: a debugger's or tracer's exception can come even between `finally` and its first call."""
    while (first := [*core.tickets][0]) is not mine:  # noqa: RUF015  see `Sender._hand_over`
        thread, since = core.tickets.get(first, (0, now))
        # Another green thread of this thread is on no stack that can be seen; but no turn takes as long as `_ABANDONED`.
        if thread != threading.get_ident() or "greenlet" in sys.modules:
            # A look costs more than a message. If every caller looked while a busy machine keeps the turn waiting, it would wait even longer.
            if now - max(since, core.looked_at) <= _ABANDONED:
                return False
            core.looked_at = now
        if _is_on_stack(first, thread):
            return False
        core.looked_at = 0.0
        core.tickets.pop(first, None)
    return True


def _is_on_stack(ticket: object, thread: int) -> bool:
    """Whether a thread is in the call that put down the ticket."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001  public, though its name says otherwise
    while frame is not None:
        if frame.f_code in _TAKE_TURNS and frame.f_locals.get("ticket") is ticket:
            return True
        frame = frame.f_back
    return False


_TAKE_TURNS: Final = (Sender._hand_over.__code__, Sender._take_turn.__code__)  # noqa: SLF001


def _checked(timeout: float) -> float:
    if not (isinstance(timeout, (int, float)) and timeout <= LONGEST_CLOSE):
        raise OptionError("timeout", timeout, f"seconds from 0 to {LONGEST_CLOSE:g}")
    return timeout


def _forget_subjects() -> None:
    """Has every sender ask again which subjects may be sent on."""
    for sender in living(Floor.ENDPOINT):
        if isinstance(sender, Sender):
            sender._subjects = set()  # noqa: SLF001  the module's own hook


on_declaration(_forget_subjects)


def _bind() -> None:
    """Gives the compiled twin the types and figures it works with."""
    native.bind_sending(
        {
            "Sender": Sender,
            "Life": _Life,
            "SenderSession": SenderSession,
            "Seal": ChecksumSeal,
            "Background": Background,
            "Options": SenderOptions,
            "Outlet": UdpOutlet,
            "wall_clock": wall_clock,
            "here": HERE,
            "immediate_every": sending._IMMEDIATE_EVERY,  # noqa: SLF001  one component
            "beacon_after_data": BEACON_AFTER_DATA,
            "beacon_under_load": BEACON_UNDER_LOAD,
        }
    )


if native is not None:
    _bind()
    Sender.send = native.twin("send", Sender.send)  # type: ignore[method-assign]
    UdpOutlet.send = native.twin("outlet_send", UdpOutlet.send)  # type: ignore[method-assign]
