"""What both receivers have in common: an inlet, the core, and the bounded queue between core and handler (R14).

Datagrams are read by the caller's own thread: no hand-over between threads, and a late reader finds them in the kernel's buffer.
One thread consumes; `ledger`, `wake` and `close` may be called from any.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from operator import length_hint
from typing import Final

from atmost.core.accounts import Ledger
from atmost.core.datagram import SENT_AT
from atmost.core.events import Event, Message, RefusalReason, Session, SessionEvicted
from atmost.core.keys import keyring
from atmost.core.limits import EPISODE, GRACE, MAX_QUEUE, MAX_SESSIONS, QUEUED_BYTES, WINDOW
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.core.seal import no_keys
from atmost.core.shards import Shards
from atmost.endpoint.checking import KeyText, check_audience, find_keys
from atmost.endpoint.clock import UNSYNCHRONISED, clock_is_synchronised
from atmost.errors import OptionError
from atmost.transport.base import Inlet
from atmost.transport.url import DEFAULT_URL, open_inlet

logger = logging.getLogger("atmost")

_DATAGRAMS_A_TURN: Final = 64
_MESSAGES_A_TURN: Final = 2048
"""Enough to keep the handler busy; what is not read waits in the kernel's buffer."""
_SLOW_HANDLER: Final = 0.005
"""When the handler has not come back for this long, the socket is emptied into the queue, seconds."""
_LONGEST_WAIT: Final = 3600.0
"""What a system can wait for has limits; whoever waits for longer, or for ever, looks again then, seconds."""
_BOOT_MARGIN: Final = 1.0
"""The longest wait beyond F + G for a clock that was set back during the start (R10), seconds."""

_intakes: weakref.WeakSet[Intake] = weakref.WeakSet()


class Intake:
    """One incarnation at one address: reads, lets the core decide, queues."""

    def __init__(
        self,
        url: str | None = None,
        *,
        audience: str = "",
        grace: float = GRACE,
        window: int = WINDOW,
        max_sessions: int = MAX_SESSIONS,
        future_bound: float | None = None,
        clock_guard: float | None = None,
        max_age: float | None = None,
        max_queue: int = MAX_QUEUE,
        key: KeyText | None = None,
        key_file: str | os.PathLike[str] | None = None,
        shards: str | None = None,
        inlet: Inlet | None = None,
        shard: tuple[int, int] | None = None,
    ) -> None:
        """Binds, then starts an incarnation; the arguments are those of `Receiver`.

        Args:
            inlet: bound by somebody else, instead of `url`; closed with the intake.
            shard: which sessions are received here: the shard's number, and how many there are (R17). Nothing is logged then;
                see `warn`.
            url, audience, grace, window, max_sessions, future_bound, clock_guard, max_age, max_queue, key, key_file, shards: see there.
        """
        check_audience(audience)
        if not (isinstance(max_queue, int) and 1 <= max_queue <= 1 << 30):
            raise OptionError("max_queue", max_queue, f"a whole number of messages from 1 to {1 << 30}")
        if inlet is not None and shards is not None:
            raise OptionError("shards", shards, "None where workers share an address: they divide it themselves")
        own = None if shards is None else Shards.parse(shards)
        keys = find_keys(key, key_file)
        self._audience = audience
        ring = keyring(keys, audience) if keys else no_keys(audience)
        self.inlet = inlet or open_inlet(url or os.environ.get("ATMOST_BIND") or DEFAULT_URL, own)
        try:
            usual = self.inlet.preset
            self._overlap = self.inlet.overlap
            options = ReceiverOptions(
                future_bound=usual.future_bound if future_bound is None else future_bound,
                clock_guard=self._overlap + (usual.clock_guard if clock_guard is None else clock_guard),
                window=window,
                max_sessions=max_sessions,
                grace=grace,
                max_age=max_age,
            )
        except BaseException:
            self.inlet.close()
            raise
        self._warnings = [self.inlet.warning] if self.inlet.warning else []
        # R10: the clock after the bind
        self._core = ReceiverCore(options, self.inlet.clock(), ring, shard or self.inlet.shards)
        if not usual.one_clock and clock_is_synchronised() is False:
            self._core.unsynchronised(time.monotonic())
            self._warnings.append(UNSYNCHRONISED)
        if shard is None:  # else it is said once for all of them
            self.warn()
        self._ready_by = time.monotonic() + options.future_bound + options.clock_guard + _BOOT_MARGIN
        self._max_queue = max_queue
        self._queue: deque[tuple[int, Sequence[Event]]] = deque()
        """Batches with their weights, which `_waiting` sums up."""
        self._waiting = 0
        self._lock = threading.RLock()  # a signal handler may close the receiver in the middle of a turn
        self._last_pump = 0.0
        self._busy = False
        """Whether the core is in the middle of something."""
        self._complained: dict[str, float] = {}
        self._pid = os.getpid()
        self.current: Iterator[Event] = iter(())
        self._current_batch: Sequence[Event] = ()
        self.wants_events = False
        self.closed = False
        _intakes.add(self)

    def warn(self) -> None:
        """Logs what the operator should know of this address and this host, with the fix."""
        for warning in self._warnings:
            logger.warning("%s: %s", self.inlet.url, warning)

    def accept_keys(self, key: KeyText) -> None:
        """Accepts these keys from now on, and no others."""
        ring = keyring(find_keys(key, None), self._audience)
        with self._lock:
            self._core.accept_keys(ring)

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
        """Makes the next queued datagram's messages (or events) `current`; False when nothing is queued."""
        if length_hint(self.current):  # whoever left an iteration early finds the rest
            return True
        if time.monotonic() - self._last_pump > _SLOW_HANDLER:
            self.pump(messages=self._max_queue)
        with self._lock:  # or a batch could slip past `close`
            if not self._queue:
                return False
            weight, batch = self._queue.popleft()
            self._waiting -= weight
            self._current_batch = batch
            self.current = iter(batch)
            if self.closed:  # by a signal handler, in the middle of this
                self._discard(list(self.current))
            return not self.closed

    def pump(self, messages: int = _MESSAGES_A_TURN) -> bool:
        """Reads what waits at the inlet, up to a bounded number of datagrams or about `messages`, and handles what is due.

        Returns:
            Whether more may wait there.
        """
        if os.getpid() != self._pid:
            self.abandon()
        with self._lock:
            if self.closed:
                return False
            if self.inlet.renewed():  # somebody else may have received here meanwhile (H2)
                # What was seen of the way between owners since the start counts as well.
                grown = max(0.0, self.inlet.overlap - self._overlap)
                self._core.take_over(self.inlet.clock() + round(grown * 1e6))
            more = True
            receive, take, clock = self.inlet.receive, self._core.receive, self.inlet.clock
            future_us = round(self._core.options.future_bound * 1e6)
            goal = self._waiting + messages
            self._busy = True
            try:
                for _ in range(_DATAGRAMS_A_TURN):
                    # H2: the clock is read first, and the inlet looks then whether it still holds its address. Only a datagram that was sent
                    # after that reading needs another one, and another look.
                    wall_us = clock()
                    datagram = receive()
                    if datagram is None or self.closed:
                        more = False
                        break
                    if int.from_bytes(datagram[SENT_AT]) > wall_us + future_us:
                        wall_us = clock()
                        if not self.inlet.confirms():
                            continue
                    events = take(datagram, time.monotonic(), wall_us)
                    if events:
                        self._put(events, len(datagram))
                        if self._waiting >= goal:
                            break
            finally:  # Ctrl-C may come in between, and the account be asked for afterwards
                self._busy = False
            now = self._last_pump = time.monotonic()
            self._handle_deadlines(now)
        if self.inlet.ended is not None and not self.closed:
            logger.error("%s: %s; this receiver is closed", self.inlet.url, self.inlet.ended)
            self.close()
        return more

    def next_wait(self, timeout: float | None) -> float | None:
        """How long to wait for a datagram: until the core's next deadline, at most `timeout` seconds; None for ever."""
        deadline = self._core.next_deadline()
        longest = min(_LONGEST_WAIT, self.inlet.look_every)
        if deadline is None:
            if timeout is None:
                return None if longest == _LONGEST_WAIT else longest
            return min(timeout, longest)
        left = min(max(0.0, deadline - time.monotonic()), longest)
        return left if timeout is None else min(left, timeout)

    def handle(self, handler: Callable[[Message], object], message: Message) -> None:
        """Starts the handler once; what it raises is counted, reported now and then, and never redelivered (R14)."""
        try:
            handler(message)
        except Exception:  # noqa: BLE001  the handler's own affair
            self.handler_failed(message)

    def handler_failed(self, message: Message) -> None:
        """Counts a handler that raised or was cancelled; call it while handling the exception."""
        self._core.handler_failed()
        if self._may_complain("handler"):
            logger.exception(  # noqa: LOG004  the caller is handling it
                "the handler failed on %s; counted, never redelivered", message.subject
            )

    def ledger(self) -> Ledger:
        """The account at this moment; a signal handler may find one datagram half booked, where it has interrupted the consumer."""
        with self._lock:
            now = time.monotonic()
            if not self.closed:
                self._handle_deadlines(now)
            return self._core.ledger(now, self._queued(), self.inlet.kernel_drops())

    def close(self) -> None:
        """Ends the incarnation: what is queued is discarded and counted, the address is free."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            rest = list(self.current)  # taken from under the consumer's hands: each message goes to one of the two
            for batch in (rest, *(batch for _, batch in self._queue)):
                self._discard(batch)
            self._queue.clear()
            self._waiting = 0
        self.inlet.close()
        _intakes.discard(self)

    def abandon(self) -> None:
        """A forked child lets go: two processes reading one socket could each process the same message (H2)."""
        if not self.closed:
            self.closed = True
            self._lock = threading.RLock()
            self._queue.clear()
            for _ in self.current:  # a handler that forked goes on in the child, with its loop over this very iterator
                pass
            self.inlet.abandon()

    def _may_complain(self, of: str) -> bool:
        """Whether to log a kind of trouble again: at once, then at most every ten seconds (R23)."""
        now = time.monotonic()
        if now - self._complained.get(of, float("-inf")) < EPISODE:
            return False
        self._complained[of] = now
        return True

    def _handle_deadlines(self, now: float) -> None:
        deadline = self._core.next_deadline()
        if deadline is not None and deadline <= now and not self._busy:
            self._busy = True  # a signal handler that asks for the ledger must not book the same loss
            try:
                events = self._core.handle_deadline(now)
            finally:
                self._busy = False
            if events:
                self._put(events, 0)

    def _put(self, events: Sequence[Event], size: int) -> None:
        """Queues what a datagram of so many bytes brought, as far as there is room."""
        if events[0].__class__ is not Message:
            if any(isinstance(event, SessionEvicted) and event.live for event in events) and self._may_complain(
                "eviction"
            ):
                logger.warning(
                    "%s: more live senders than max_sessions=%d; one was forgotten, and what it sends is refused until it is taken up again",
                    self.inlet.url,
                    self._core.options.max_sessions,
                )
            if self.wants_events and len(self._queue) < self._max_queue:
                self._queue.append((0, [event for event in events if event.__class__ is not Message]))
            events = [event for event in events if event.__class__ is Message]
        count = len(events)
        if not count:
            return
        if self.closed:  # by a signal handler, in the middle of a turn
            self._discard(events)
            return
        # Large messages count as several, lest they fill the memory; an empty queue takes one of any size.
        weight = count if size <= count * QUEUED_BYTES else -(-size // QUEUED_BYTES)
        room = self._max_queue - self._waiting
        if weight > room:
            session = _session_of(events)
            assert session is not None
            kept = count * room // weight if self._waiting else max(1, count * room // weight)
            trouble = self._core.overflowed(session, count - kept, time.monotonic())
            if trouble and self.wants_events:
                self._queue.append((0, trouble))
            events, weight = events[:kept], room
        if events:
            self._waiting += weight
            self._queue.append((weight, events))

    def _discard(self, batch: Sequence[Event]) -> None:
        """Counts what no handler will see."""
        session = _session_of(batch) if batch else None
        if session is not None:
            self._core.discarded(session.key, len(batch))

    def _queued(self) -> dict[bytes, int]:
        """Messages waiting for the handler, by session key."""
        queued: Counter[bytes] = Counter()
        for _, batch in list(self._queue):
            session = _session_of(batch)
            if session is not None:
                queued[session.key] += len(batch)
        rest = length_hint(self.current)  # list iterators know exactly what is left
        session = _session_of(self._current_batch) if rest else None
        if session is not None:
            queued[session.key] += rest
        return queued


def _session_of(batch: Sequence[Event]) -> Session | None:
    """The sender of a batch of messages, which all come from one datagram; None for a batch of other events."""
    first = batch[0]
    return first.session if isinstance(first, Message) else None


def _abandon_after_fork() -> None:
    for intake in list(_intakes):
        intake.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_after_fork)
