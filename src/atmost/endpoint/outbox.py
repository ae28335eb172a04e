"""Decides who hands over what a sender has taken, and when: one at a time, and nobody waits to be the one (R4, R6–R9).

Threads: the hand-over is guarded by a lock that `send()` and the flusher only try.
Who does not get it leaves what waits to the holder, who looks again when it has let go, and to the flusher, who comes within a linger.
A signal handler, a finalizer or a transport that sends in the middle of a hand-over is to the lock like another thread.
Only `change_key` waits for the lock, and `close` for a while: the one that it interrupted can never let go.
Appending to the open datagram needs no lock, as the core says.

Forks: a child begins a life of its own, with nothing of the parent's: not its session, what waits, its flusher's thread or its locks,
for a lock that another thread of the parent held would never be let go.
The hook calls `_after_fork`; C code can fork past the hook, so every hand-over looks at the process id first.
Whichever comes first begins the life, once; what a hand-over then finds and is not certainly the child's is dropped and counted (R8).
A child that was forked in the middle of a hand-over returns into it, finds another core than it began with, and lets it be.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Final

from atmost.core.events import DropReason
from atmost.core.limits import OVERHEAD
from atmost.core.seal import SealFactory
from atmost.core.sending import NOT_NOW, SenderCore, SenderOptions
from atmost.endpoint.flusher import Flusher
from atmost.lifecycle import HERE, notice_fork
from atmost.transport.base import Outlet

_CLOSE_LOCK_TIMEOUT: Final = 0.2
_DATAGRAMS_A_TURN: Final = 64
"""One `send()` never hands over more than this for other threads."""
_BREATH: Final = 0.001
"""A flusher that cannot keep up stands aside for this long, so that those who send hand over themselves, seconds."""


class Outbox:
    """What a sender has taken, until it is handed over.

    The base of `Sender` rather than a part of it, for `send()` looks at `_core` and `_armed` with every message.
    """

    def __init__(self, outlet: Outlet, options: SenderOptions, name: str, key_id: int, seals: SealFactory) -> None:
        """Begins empty; no thread is started before the first message.

        Args:
            outlet: where to.
            options: the user's choices.
            name: what the beacons say.
            key_id: the key's number on the wire.
            seals: the seal of each session.
        """
        self._outlet = outlet
        self._options = options
        self._name = name
        self._key_id = key_id
        self._seals = seals
        self._pid = 0
        self._begin()

    def _begin(self) -> bool:
        """Begins a life: at construction, and once in a forked child, with nothing of the parent's; False when somebody else has."""
        pid = os.getpid()
        core = SenderCore(
            self._options,
            self._options.max_datagram or self._outlet.max_datagram,
            self._seals,
            name=self._name,
            host=socket.gethostname(),
            pid=pid,
            key_id=self._key_id,
            step_back=self._outlet.preset.future_bound / 2,
        )
        handing, counting, flusher = threading.Lock(), threading.RLock(), Flusher(self)
        if self._pid == pid:  # whoever interrupted this, or another hook before it, has sent and thereby begun
            return False
        # No signal handler runs between here and the end, for nothing is called: it finds the parent's id, or all of the new life.
        self._core, self._handing, self._counting, self._flusher = core, handing, counting, flusher
        self._ticked_at = 0
        self._armed = False
        self._pid = pid
        return True

    def renew(self, *, seen: bool) -> None:
        """The child's first step: a new session with empty buffers (R8).

        Args:
            seen: whether it is taken at the fork; else what waits may be the parent's, is not sent, and counts as dropped.
        """
        before = self._core
        if not self._begin():
            return
        if before.closed:
            self._core.close()
        if not seen:
            for _ in before.open:
                self._core.drop(DropReason.FORKED)

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

    def _hand_over(self, now: float, *, flush: bool = True, own: Sequence[bytes] = (), turns: int = 1) -> None:
        """Hands over what is due, unless another thread is at it or this one was interrupted in it.

        Args:
            now: monotonic, seconds.
            flush: whether what is neither full nor past its linger leaves too.
            own: messages that are certainly not those of a process this one was forked from.
            turns: how often to begin again with what other threads left behind; the flusher sees to the rest.
        """
        core = self._core if HERE[0] else self._forked_unseen(own)
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
            own: what certainly is the child's.
        """
        if own:
            del self._core.open[-len(own) :]
        notice_fork()
        self._core.open.extend(own)
        return self._core

    def _drain(self, core: SenderCore, now: float, *, flush: bool) -> None:
        """Hands over what is due, with the lock held."""
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

    def _change_seals(self, key_id: int, seals: SealFactory) -> None:
        """Ends the session under its own seal; the next one has these."""
        with self._handing:
            if self._core.began and not self._core.closed:
                self._say_goodbye(self._core)
            self._key_id, self._seals = key_id, seals
            self._core.change_key(key_id, seals)

    def _end(self, core: SenderCore, goodbyes: int, apart: float) -> Iterator[float]:
        """Hands over what can be, counts the rest, and says goodbye; yields the pauses between its steps, seconds.

        Args:
            core: this life's.
            goodbyes: how many, because each may be lost.
            apart: from one to the next, seconds.
        """
        for turn in range(goodbyes):
            if turn:
                yield apart
            # A signal handler may close a sender in the middle of a hand-over: then nobody can let go of the lock.
            give_up = time.monotonic() + _CLOSE_LOCK_TIMEOUT
            while not (mine := self._handing.acquire(blocking=False)) and time.monotonic() < give_up:
                yield _BREATH
            if mine:
                try:
                    if not turn:
                        self._drain(core, time.monotonic(), flush=True)
                        self._write_off(core)  # nothing is numbered after the goodbye: it is exact (R21)
                    self._say_goodbye(core)
                finally:
                    self._handing.release()
        self._write_off(core)

    def _say_goodbye(self, core: SenderCore) -> None:
        """Ends the session for its receivers, with the lock held."""
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

    def _drop(self, core: SenderCore, reason: DropReason) -> bool:
        """Counts a message that is not taken; False, as `send()` answers then."""
        with self._counting:
            core.drop(reason)
        return False
