"""What both receivers have in common: an inlet, the core, and the bounded queue between core and handler (R14).

Datagrams are read by the caller's own thread: there is no hand-over between threads, and a late reader finds them in the kernel's buffer.
One thread consumes; `ledger`, `accept_keys` and `close` may be called from any thread and from signal handlers.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from operator import length_hint
from typing import Final

from atmost.compiled import native
from atmost.core.accounts import Ledger, SessionAccount
from atmost.core.booking import Books
from atmost.core.datagram import DECODING_ERRORS, decode_messages
from atmost.core.events import Arrival, Event, Message, RefusalReason, SessionEvicted
from atmost.core.keys import keyring
from atmost.core.limits import EPISODE, GRACE, MAX_QUEUE, MAX_SESSIONS, QUEUED_BYTES, WINDOW
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.core.seal import ChecksumSeal, no_keys
from atmost.core.sessions import NO_GAP, SessionState, SessionTable
from atmost.core.shards import Shards
from atmost.core.window import ReplayWindow
from atmost.endpoint.checking import KeyText, ReceiverArguments, check_audience, find_keys
from atmost.endpoint.clock import UNSYNCHRONISED, clock_is_synchronised
from atmost.errors import OptionError
from atmost.lifecycle import HERE, Floor, notice_fork, register, unregister
from atmost.transport.base import Inlet
from atmost.transport.sockets import SocketInlet
from atmost.transport.url import DEFAULT_URL, open_inlet

logger = logging.getLogger("atmost")

_DATAGRAMS_A_TURN: Final = 64
_TURN: Final = 0.01
"""After so long a turn reads no further datagrams, seconds."""
_BYTES_A_LOOK: Final = 1 << 17
"""It looks at the clock after so many bytes: small datagrams are bounded in number, and large ones may take long."""
_MESSAGES_A_TURN: Final = 2048
"""Enough to keep the handler busy; what is not read waits in the kernel's buffer."""
_SLOW_HANDLER: Final = 0.005
"""When the handler has not come back for this long, the socket is emptied into the queue, seconds."""
_BATCH: Final = 64
"""Messages that are handed to a consumer at once, where they come in small datagrams and it is quick."""
_QUICK: Final = 0.001
"""A consumer that comes back for the next batch within this time is quick, seconds."""
_LONGEST_WAIT: Final = 3600.0
"""The longest single wait, because systems limit it; a longer or endless one is made of several, seconds."""
_BOOT_MARGIN: Final = 1.0
"""The longest wait beyond F + G for a clock that was set back during the start (R10), seconds."""
_SWELLING: Final = 128
"""The most decoded bytes that one byte of a datagram can become: nested maps of one pair make 116 in CPython 3.11."""
_LIGHT: Final = 8
"""While an eighth of the queue could hold everything that waits at its heaviest, messages are not weighed."""
_MESSAGE_BYTES: Final = 192
"""What a message takes besides its payload: itself, its subject, and its place in the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeOptions:
    """What a receiver's user can choose; `Receiver` documents each."""

    audience: str = ""
    grace: float = GRACE
    window: int = WINDOW
    max_sessions: int = MAX_SESSIONS
    future_bound: float | None = None
    clock_guard: float | None = None
    max_age: float | None = None
    max_queue: int = MAX_QUEUE
    key: KeyText | None = None
    key_file: str | os.PathLike[str] | None = None
    shards: str | None = None

    def __post_init__(self) -> None:
        """Refuses what is wrong at any address; the rest is checked when the address is known."""
        check_audience(self.audience)
        if not (isinstance(self.max_queue, int) and 1 <= self.max_queue <= 1 << 30):
            raise OptionError("max_queue", self.max_queue, f"a whole number of messages from 1 to {1 << 30}")


def options_of(owner: str, arguments: ReceiverArguments) -> IntakeOptions:
    """The options of a receiver.

    Args:
        owner: the class or function that the user called.
        arguments: what the user gave to it.

    Raises:
        TypeError: an option is unknown; the error names the owner, as Python does.
        OptionError: an option is outside its range.
    """
    known = {field.name for field in fields(IntakeOptions)}
    for name in arguments:
        if name not in known:
            raise TypeError(f"{owner}() got an unexpected keyword argument {name!r}")
    return IntakeOptions(**arguments)


class Intake:
    """One incarnation at one address: reads, lets the core decide, queues.

    Theory of operation. A message is in one of five places: in the inlet, in the core's hand, in the queue, in `current`, or with the handler.
    (What the compiled half has read ahead is as in the inlet: nobody has decided on it.) What moves messages between the first four is a
    *turn*: `pump` (inlet to queue), `next_batch` (queue to `current`), and the end of the incarnation. From `current`, an iterator over a
    list, consumers take one message at a time, which is atomic.

    *One turn at a time.* Turns of other threads wait for the lock. A turn within a turn of the same thread is a signal handler's, or a
    finalizer's: it moves nothing, because the turn below it stands between two steps. So a handler that drains the receiver finds what
    is in `current` and no more; `close` there asks the turn below to end the incarnation; `ledger` reads, and books nothing. `_busy` says that a
    turn is under way. An exception may come between its end and the reset of `_busy`; so a turn that finds it set checks whether there
    really is one below it on the stack.

    *An exception in the middle of a turn*, raised by a signal handler (Ctrl-C, `signal.alarm`), may come after any call. Every step is
    therefore either one assignment or can be repeated: the core holds what it accepted `in_hand` until it was seen at the end of the queue,
    and a batch stays at the head of the queue until it is `current`. The next turn first finishes the one before (`_finish_turn`). So nothing
    is lost, and nothing is delivered twice.

    *A fork.* The child's copy is closed before it starts another handler: the hook of `atmost.lifecycle` notices forks; those that
    C code makes past the hook are noticed by checking `HERE` before each message.
    """

    def __init__(
        self,
        options: IntakeOptions,
        url: str | None = None,
        *,
        inlet: Inlet | None = None,
        shard: tuple[int, int] | None = None,
    ) -> None:
        """Binds, then starts an incarnation.

        Args:
            options: what the user chose.
            url: where; None takes `ATMOST_BIND`, then the default.
            inlet: one that is bound already, instead of `url`; closed with the intake.
            shard: which sessions are received here: the shard's number, and how many there are (R17). Nothing is logged then;
                see `warn`.
        """
        if inlet is not None and options.shards is not None:
            raise OptionError(
                "shards", options.shards, "None where workers share an address: they divide it themselves"
            )
        own = None if options.shards is None else Shards.parse(options.shards)
        keys = find_keys(options.key, options.key_file)
        self._audience = options.audience
        ring = keyring(keys, options.audience) if keys else no_keys(options.audience)
        self.inlet = inlet or open_inlet(url or os.environ.get("ATMOST_BIND") or DEFAULT_URL, own)
        try:
            usual = self.inlet.preset
            self._overlap = self.inlet.overlap
            future_bound = usual.future_bound if options.future_bound is None else options.future_bound
            clock_guard = usual.clock_guard if options.clock_guard is None else options.clock_guard
            parameters = ReceiverOptions(
                future_bound=future_bound,
                clock_guard=self._overlap + clock_guard,
                window=options.window,
                max_sessions=options.max_sessions,
                grace=options.grace,
                max_age=options.max_age,
            )
        except BaseException:
            self.inlet.close()
            raise
        self._warnings = [self.inlet.warning] if self.inlet.warning else []
        self._descriptor: Callable[[], int] | None = None
        if native is not None and isinstance(self.inlet, SocketInlet):
            self._descriptor = self.inlet.descriptor
        self._ahead: deque[bytes] = deque()
        """Datagrams that one system call has read and no turn has taken yet; the next turn begins with them."""
        self._incarnation = self.inlet.incarnation()
        self.inlet.resume(self._incarnation)
        # R10: the clock is read after the bind.
        self._core = ReceiverCore(parameters, self.inlet.clock(), ring, shard or self.inlet.shards)
        self._core.read_again = self._read_clock_again
        if not usual.one_clock and clock_is_synchronised() is False:
            self._core.unsynchronised(time.monotonic())
            self._warnings.append(UNSYNCHRONISED)
        if shard is None:  # else `Workers` logs it once for all of them
            self.warn()
        self._ready_by = time.monotonic() + parameters.future_bound + parameters.clock_guard + _BOOT_MARGIN
        self._max_queue = options.max_queue
        self._queue: deque[tuple[int, Sequence[Event]]] = deque()
        """Batches, each with the total weight queued up to its own end: these numbers only grow."""
        self._taken: tuple[int, Sequence[Event]] = (0, ())
        """The batch that `current` iterates over; queued batches with its number, or a lower one, have been taken."""
        self.current: Iterator[Event] = iter(())
        self._unhandled: list[Event] = []
        """Events left over at the end, still to be counted."""
        self._lock = threading.RLock()
        self._busy = False
        self._ending = False
        """Whether the end was asked for."""
        self._over = False
        """Whether the incarnation has ended."""
        self._batch_at = 0.0
        self._reading = 0
        """The wall clock, as it was read before the datagrams of this turn were taken, µs since 1970."""
        self._last_pump = 0.0
        self._complained: dict[str, float] = {}
        self._complaints: list[str] = []
        self.wants_events = False
        self.closed = False
        register(self, Floor.ENDPOINT)

    def warn(self) -> None:
        """Logs what the operator should know of this address and this host, with the fix."""
        for warning in self._warnings:
            logger.warning("%s: %s", self.inlet.url, warning)

    def accept_keys(self, key: KeyText) -> None:
        """Accepts these keys from now on, and no others."""
        self._core.accept_keys(keyring(find_keys(key, None), self._audience))

    def watch_refusals(self, report: Callable[[bytes, RefusalReason, bool], object]) -> None:
        """From now on reports each datagram that is refused: its bytes, the reason, and whether its session is known.

        Called in the middle of `pump`, in the consumer's thread; it must neither raise nor take long.
        """
        self._core.on_refused = report

    def boot_wait(self) -> float:
        """Seconds until this receiver is ready (R10); 0 when it is."""
        wall_us = self.inlet.clock()
        if self._core.is_ready(wall_us):
            return 0.0
        left = (self._core.floor_us - wall_us) / 1e6 + 0.000_1
        return max(0.0, min(left, self._ready_by - time.monotonic()))

    def next_batch(self) -> bool:
        """Makes a datagram's events `current`, or several datagrams' for a quick consumer; False when nothing is queued."""
        if length_hint(self.current):  # an iteration that was left early goes on here
            return True
        now = time.monotonic()
        if now - self._last_pump > _SLOW_HANDLER:
            self.pump(messages=self._max_queue)
        with self._lock:
            if self._busy and self._is_nested():
                return False
            try:
                self._busy = True
                return self._take_batch(now)
            finally:
                if self._ending:
                    self._end()
                self._busy = False
                if self._ending:  # asked for since the last look
                    self.close()

    def pump(self, messages: int = _MESSAGES_A_TURN) -> bool:
        """Reads what waits at the inlet, up to a bounded number of datagrams or about `messages`, and handles what is due.

        Returns:
            Whether more may wait there.
        """
        if not HERE[0]:
            notice_fork()
        with self._lock:
            if self.closed or self._is_nested():
                return False
            try:
                self._busy = True
                more = self._read(messages)
                self._handle_deadlines()
            finally:
                if self._ending:
                    self._end()
                self._busy = False
                if self._ending:  # asked for since the last look
                    self.close()
        # Outside the turn, because a log handler may be any code.
        if self._complaints:
            complaints, self._complaints = self._complaints, []
            for complaint in complaints:
                logger.warning("%s: %s", self.inlet.url, complaint)
        if self.inlet.ended is not None and not self.closed:
            logger.error("%s: %s; this receiver is closed", self.inlet.url, self.inlet.ended)
            self.close()
        return more

    def next_wait(self, timeout: float | None) -> float | None:
        """How long to wait for a datagram: until the core's next deadline, at most `timeout` seconds; None for ever."""
        if self._ahead:
            return 0.0
        deadline = self._core.next_deadline()
        longest = min(_LONGEST_WAIT, self.inlet.look_every)
        if deadline is None:
            if timeout is None:
                return None if longest == _LONGEST_WAIT else longest
            return min(timeout, longest)
        left = min(max(0.0, deadline - time.monotonic()), longest)
        return left if timeout is None else min(left, timeout)

    def handle_current(self, handler: Callable[[Message], object], matches: Callable[[str], bool]) -> None:
        """Starts the handler with each message of `current` whose subject matches, in this process and no other (H2)."""
        here = HERE[0]
        for event in self.current:
            if event.__class__ is Message and matches(event.subject):
                try:
                    # Whoever has forked meanwhile, in a handler or a signal handler, past the hook or not: the messages are the parent's.
                    # No signal handler comes in between this look and the start of the handler.
                    if HERE[0] == here and here:
                        handler(event)
                        continue
                except Exception:  # noqa: BLE001  the handler's own affair: counted, never redelivered (R14)
                    self.handler_failed(event)
                    continue
                if not HERE[0]:
                    notice_fork()
                return

    def handler_failed(self, message: Message) -> None:
        """Counts a handler that raised or was cancelled; call it while handling the exception."""
        self._core.handler_failed()
        if self._may_complain("handler"):
            logger.exception(  # noqa: LOG004  the caller is handling it
                "the handler failed on %s; counted, never redelivered", message.subject
            )

    def ledger(self) -> Ledger:
        """The account at this moment; a signal handler that has interrupted a turn may find its datagram not booked yet."""
        if not HERE[0]:
            notice_fork()
        with self._lock:
            if not self._is_nested():
                try:
                    self._busy = True
                    self._finish_turn()
                    if not self.closed:
                        self._handle_deadlines()
                finally:
                    if self._ending:
                        self._end()
                    self._busy = False
                    if self._ending:  # asked for since the last look
                        self.close()
            return self._core.ledger(time.monotonic(), self._queued(), self.inlet.kernel_drops())

    def close(self) -> None:
        """Ends the incarnation: what is queued is discarded and counted, the address is free.

        Called in the middle of a turn of the same thread, it leaves this to the end of that turn.
        """
        if not HERE[0]:
            notice_fork()  # else a child that C code forked would take the address from its parent
        if self._over:
            return
        self._ending = True
        with self._lock:
            if self._is_nested():
                return
            try:
                self._busy = True
                self._end()
            finally:
                self._busy = False

    def renew(self, *, seen: bool) -> None:  # noqa: ARG002  either way nothing of the parent's is processed here
        """Lets go in a forked child: two processes reading one socket could each process the same message (H2)."""
        self._lock, self._queue, self._unhandled, self._ahead = threading.RLock(), deque(), [], deque()
        if not self._over:
            self.closed = self._ending = self._over = True
            for _ in self.current:  # a handler that forked goes on in the child, with its loop over this very iterator
                pass
            self.inlet.abandon()

    # The steps of a turn. Each may be interrupted after any call, and is then finished by the next turn.

    def _read(self, messages: int) -> bool:
        """Takes datagrams from the inlet; returns whether more may wait there."""
        self._finish_turn()
        inlet, core, queue = self.inlet, self._core, self._queue
        incarnation = inlet.incarnation()
        if incarnation != self._incarnation:
            # Another receiver may have held the address meanwhile (H2); the overlap may have grown since the start, and that counts too.
            grown = max(0.0, inlet.overlap - self._overlap)
            core.take_over(inlet.clock() + round(grown * 1e6))
            inlet.resume(incarnation)
            self._incarnation = incarnation
        # H2: the clock is read first, then the inlet checks whether it still holds its address; `_read_clock_again` checks once more.
        now, self._reading = time.monotonic(), inlet.clock()
        receive, decide = inlet.receive, core.receive
        ahead, here = self._ahead, HERE[0]
        total = queue[-1][0] if queue else self._taken[0]
        goal = total + messages
        light = self._taken[0] + self._max_queue // _LIGHT
        more, left, unlooked = True, _DATAGRAMS_A_TURN, 0
        while left and total < goal and HERE[0] == here:  # a forked child takes nothing more: it is its parent's
            if unlooked > _BYTES_A_LOOK:
                if time.monotonic() - now > _TURN:
                    break
                unlooked = 0
            if not ahead and self._descriptor is not None and (descriptor := self._descriptor()) >= 0:
                # Compiled: queues the usual ones, and stops at another, which it leaves in `ahead`, or when the turn is over.
                total, left, is_empty = native.drain(
                    core, descriptor, queue, ahead, now, self._reading, total, goal, light, left, now + _TURN
                )
                if not is_empty and not self._ending:
                    continue
                datagram = None
            else:
                datagram = ahead.popleft() if ahead else receive()
                left -= 1
            if datagram is None or self._ending:
                more = False
                break
            unlooked += len(datagram)
            events = decide(datagram, now, self._reading)
            if not events:
                continue
            # The usual case: messages alone, and even at their heaviest they leave most of the queue free.
            if events[0].__class__ is Message:
                heaviest = len(datagram) * _SWELLING // QUEUED_BYTES + len(events)
                if total + heaviest <= light:
                    total += heaviest
                    queue.append((total, events))
                    continue
            self._queue_up(events)
            total = queue[-1][0] if queue else self._taken[0]
        core.in_hand = ()
        self._last_pump = time.monotonic()
        return more

    def _read_clock_again(self) -> int | None:
        """A later reading, for a datagram that was sent after the turn's; None when the address may have changed hands before it (H2)."""
        self._reading = wall_us = self.inlet.clock()
        return wall_us if self.inlet.confirms() else None

    def _handle_deadlines(self) -> None:
        now = time.monotonic()
        deadline = self._core.next_deadline()
        if deadline is not None and deadline <= now:
            events = self._core.handle_deadline(now)
            if events:
                self._queue_up(events)
            self._core.in_hand = ()

    def _take_batch(self, now: float) -> bool:
        queue = self._queue
        if self._core.in_hand or (queue and queue[0][0] <= self._taken[0]):
            self._finish_turn()
        if length_hint(self.current):  # taken by a signal handler since the caller looked
            return True
        if self.closed or not queue:
            return False
        # A slow consumer takes one datagram at a time, so that the socket is read in between.
        quick, self._batch_at = now - self._batch_at < _QUICK, now
        total, messages = queue[0]
        if quick and len(queue) > 1 and len(messages) < _BATCH:
            messages = [*messages]
            for total, more in islice(queue, 1, _BATCH):  # noqa: B007  the last one's
                messages += more
                if len(messages) >= _BATCH:
                    break
        self._taken, self.current = (total, messages), iter(messages)
        while queue and queue[0][0] <= total:
            queue.popleft()
        return True

    def _finish_turn(self) -> None:
        """Completes the step that an exception interrupted."""
        queue, in_hand = self._queue, self._core.in_hand
        while queue and queue[0][0] <= self._taken[0]:
            queue.popleft()
        if in_hand:
            placed = queue[-1] if queue else self._taken
            if placed[1] is not in_hand:
                self._queue_up(in_hand)
            self._core.in_hand = ()

    def _queue_up(self, events: Sequence[Event]) -> None:
        """Queues what the core has in hand, as far as there is room; one step puts it at the end of the queue."""
        core, queue = self._core, self._queue
        messages: Sequence[Event] = events
        others: Sequence[Event] = ()
        if (
            events[0].__class__ is not Message or events[-1].__class__ is not Message
        ):  # the last one where this is done again
            messages = [event for event in events if event.__class__ is Message]
            others = [event for event in events if event.__class__ is not Message]
            if any(isinstance(event, SessionEvicted) and event.live for event in others) and self._may_complain(
                "eviction"
            ):
                self._complaints.append(
                    f"more live senders than max_sessions={core.options.max_sessions}; one was forgotten, "
                    "and what it sends is refused until it is taken up again"
                )
            if not self.wants_events:
                others = ()
                core.in_hand = events = messages
            if not messages and (not others or len(queue) >= self._max_queue):
                core.in_hand = ()
                return
        total = queue[-1][0] if queue else self._taken[0]
        waiting = total - self._taken[0]
        room = max(0, self._max_queue - waiting)
        weight = _weight(messages, room) if messages else 1
        if messages and weight > room:
            # As many large messages are kept as there is room for; an empty queue takes one of any size.
            kept = len(messages) * room // weight if waiting else max(1, len(messages) * room // weight)
            first = messages[0]
            assert isinstance(first, Message)
            core.overflowed(first.session, len(messages) - kept, time.monotonic(), [*others, *messages[:kept]])
            events, weight = core.in_hand, room
        if events:
            queue.append((total + weight, events))

    def _end(self) -> None:
        """Ends the incarnation; if this is interrupted, the next `close` goes on with it, and the address is free in any case."""
        try:
            if not self.closed:
                self._finish_turn()
                self.closed = True
            self._ahead.clear()  # as what waits in the kernel's buffer
            # The consumer may be taking from `current` too: each message goes to one of the two.
            unhandled = self._unhandled
            unhandled.extend(self.current)
            self._finish_turn()
            while self._queue:
                batch = self._queue[0]
                self._taken, self.current = batch, iter(batch[1])
                self._queue.popleft()
                unhandled.extend(self.current)
            while unhandled:
                event = unhandled[-1]
                if isinstance(event, Message):
                    self._core.discarded(event.session.key)
                unhandled.pop()
        finally:
            self.inlet.close()
        self._ending, self._over = False, True
        unregister(self)

    @property
    def in_turn(self) -> bool:
        """Whether the caller has interrupted a turn: nothing moves until it returns."""
        return self._is_nested()

    def _is_nested(self) -> bool:
        """Whether a turn of this object stands below on this thread's stack."""
        if not self._busy:
            return False
        frame = sys._getframe(2)  # noqa: SLF001  the only way to look at the stack
        while frame is not None:
            if frame.f_code in _TURNS and frame.f_locals.get("self") is self:
                return True
            frame = frame.f_back  # type: ignore[assignment]
        return False

    def _may_complain(self, of: str) -> bool:
        """Whether to log a kind of trouble again: at once, then at most every ten seconds (R23)."""
        now = time.monotonic()
        if now - self._complained.get(of, float("-inf")) < EPISODE:
            return False
        self._complained[of] = now
        return True

    def _queued(self) -> dict[bytes, int]:
        """Messages waiting for the handler, by session key; also what an interrupted turn has left in the core's hand."""
        queue, in_hand = self._queue, self._core.in_hand
        batches = [batch for batch in list(queue) if batch[0] > self._taken[0]]
        queued: Counter[bytes] = Counter()
        for _, batch in batches:  # the messages of one datagram are of one session: a full queue is counted quickly
            if count := [event.__class__ for event in batch].count(Message):
                message = next(event for event in batch if isinstance(event, Message))
                queued[message.session.key] += count
        last = batches[-1] if batches else self._taken
        if in_hand and last[1] is not in_hand:
            queued.update(e.session.key for e in in_hand if isinstance(e, Message))
        left = length_hint(self.current)  # list iterators know exactly what is left
        if left:
            queued.update(e.session.key for e in self._taken[1][-left:] if isinstance(e, Message))
        queued.update(e.session.key for e in self._unhandled if isinstance(e, Message))
        return queued


_TURNS: Final = frozenset(method.__code__ for method in (Intake.pump, Intake.next_batch, Intake.ledger, Intake.close))
"""The methods that can be under way when a signal handler runs."""


def _weight(messages: Sequence[Event], room: int) -> int:
    """What decoded messages count for in the queue: the KiB they take, and at least one each.

    Args:
        messages: of one datagram.
        room: what is left; beyond it the exact figure does not matter.
    """
    most = room * QUEUED_BYTES
    total = _MESSAGE_BYTES * len(messages)
    values = [message.payload for message in messages if isinstance(message, Message)]
    while values and total <= 2 * most:
        value = values.pop()
        total += sys.getsizeof(value)
        kind = value.__class__
        if kind is list or kind is tuple:
            values += value
        elif kind is dict:
            values += value
            values += value.values()
    return max(len(messages), -(-total // QUEUED_BYTES))


if native is not None:
    native.bind_receiving(
        {
            "ReceiverCore": ReceiverCore,
            "SessionTable": SessionTable,
            "SessionState": SessionState,
            "ReplayWindow": ReplayWindow,
            "SessionAccount": SessionAccount,
            "Books": Books,
            "Seal": ChecksumSeal,
            "Arrival": Arrival,
            "Message": Message,
            "here": HERE,
            "decode": decode_messages,
            "decoding_errors": DECODING_ERRORS,
            "no_gap": NO_GAP,
            "swelling": _SWELLING,
            "queued_bytes": QUEUED_BYTES,
        }
    )
    ReceiverCore.receive = native.twin("receive", ReceiverCore.receive)  # type: ignore[method-assign]
