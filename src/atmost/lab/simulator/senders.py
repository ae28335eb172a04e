"""A sender as the endpoint drives its core, without threads and with a socket that answers as it is told.

It counts on its own what it was offered and what became of it, so that the core's figures can be held against the truth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from xxhash import xxh3_64_intdigest

from atmost.core.events import DropReason
from atmost.core.limits import GOODBYES, OVERHEAD
from atmost.core.sending import Outgoing, SenderCore
from atmost.lab.simulator.steps import AMBIGUOUS, TOO_LARGE, SenderCrashPoint

_DATAGRAMS_A_TURN: Final = 64


class HandOver(NamedTuple):
    """One attempt to transmit a datagram."""

    outgoing: Outgoing
    transmitted: bool
    answer: str | None


class SimulatedSender:
    """One life of a sender's process."""

    def __init__(self, name: str, life: str, core: SenderCore) -> None:
        """Args: name: for people. life: unique, and the source of its sessions' random part. core: fresh."""
        self.name = name
        self.core = core
        self.sessions = 0
        self.offered = 0
        self.handed_over = 0
        self.refused: Counter[str] = Counter()
        self.clock: tuple[int, int] | None = None
        """Virtual time and the wall clock at the step before, µs."""
        self._life = life

    def send(self, item: bytes, now: float, wall_us: int, answer: str | None) -> list[HandOver]:
        """What `Sender.send` does with an encoded message."""
        core = self.core
        self.offered += 1
        size = core.size + len(item)
        if size > core.capacity:
            return self._send_the_long_way(item, now, wall_us, answer)
        core.open.append(item)
        core.size = size
        return self._first_in(now, wall_us, answer) if len(core.open) == 1 else []

    def hand_over(
        self, now: float, wall_us: int, answer: str | None, *, flush: bool, crash: SenderCrashPoint | None = None
    ) -> list[HandOver]:
        """Hands over what is due, up to the point of a crash."""
        core = self.core
        done: list[HandOver] = []
        if core.needs_session(wall_us):
            if not core.began and not core.open:
                return done
            self.sessions += 1
            core.begin(xxh3_64_intdigest(f"{self._life} {self.sessions}".encode()), wall_us, now)
        for _ in range(_DATAGRAMS_A_TURN):
            outgoing = core.next_datagram(now, wall_us, flush=flush)
            if outgoing is None:
                break
            if crash is SenderCrashPoint.AFTER_NUMBERING:
                done.append(HandOver(outgoing, transmitted=False, answer=None))
                break
            done.append(HandOver(outgoing, answer is None or answer == AMBIGUOUS, answer))
            if crash is SenderCrashPoint.AFTER_HAND_OVER:
                break
            self._book(outgoing, answer, now)
            if answer == TOO_LARGE:
                core.shrink((core.room + OVERHEAD) // 2)
        return done

    def close(self, now: float, wall_us: int, answer: str | None) -> list[HandOver]:
        """What `Sender.close` does, the goodbyes at one moment; then one more message is offered, and dropped."""
        core = self.core
        done = self.hand_over(now, wall_us, answer, flush=True)
        core.close()
        for _ in range(GOODBYES):
            done += self.hand_over(now, wall_us, answer, flush=True)
            outgoing = core.goodbye(now, wall_us)
            if outgoing is not None:
                done.append(HandOver(outgoing, answer is None or answer == AMBIGUOUS, answer))
                self._book(outgoing, answer, now)
        self.offered += 1
        core.drop(DropReason.CLOSED)
        return done

    def fork(self, name: str, life: str, fork: Callable[[SenderCore], SenderCore], *, unseen: bool) -> SimulatedSender:
        """The child's sender; a fork that went unseen drops and counts what may be its parent's."""
        child = SimulatedSender(name, life, fork(self.core))
        if unseen:
            for _ in self.core.open:
                child.offered += 1
                child.core.drop(DropReason.FORKED)
        return child

    def check(self) -> str | None:
        """What is wrong with the core's account (R20), or None."""
        stats = self.core.stats()
        if stats.offered != self.offered:
            return f"{self.name}: offered {self.offered}, but the parts of its account add up to {stats.offered}"
        if stats.handed_over != self.handed_over:
            return f"{self.name}: handed over {self.handed_over}, counted {stats.handed_over}"
        # Counters, so that a reason with the count of 0 is the same as none.
        if Counter(stats.refused) != self.refused:
            return f"{self.name}: refused {dict(self.refused)}, counted {stats.refused}"
        return None

    def _send_the_long_way(self, item: bytes, now: float, wall_us: int, answer: str | None) -> list[HandOver]:
        core, options = self.core, self.core.options
        done: list[HandOver] = []
        if core.closed:
            core.drop(DropReason.CLOSED)
            return done
        if core.open and core.size + len(item) > core.room:
            done += self.hand_over(now, wall_us, answer, flush=True)
        if core.open and core.size + len(item) > max(options.max_buffer, core.room):
            core.drop(core.drop_reason())
            return done
        core.open.append(item)
        core.size += len(item)
        if not options.linger:
            return done + self.hand_over(now, wall_us, answer, flush=True)
        return done + self._first_in(now, wall_us, answer) if len(core.open) == 1 else done

    def _first_in(self, now: float, wall_us: int, answer: str | None) -> list[HandOver]:
        core = self.core
        core.open_since = now
        return self.hand_over(now, wall_us, answer, flush=True) if now >= core.immediate_at else []

    def _book(self, outgoing: Outgoing, answer: str | None, now: float) -> None:
        self.core.handed_over(outgoing, answer, now)
        if answer is None:
            self.handed_over += outgoing.count
        elif self.core.held is not outgoing:
            self.refused[answer] += outgoing.count
