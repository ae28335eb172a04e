"""The receiving thread: one selector over all listeners, so that none waits for another.

Only this thread writes the state. An internal error in one turn is logged and counted, and the thread goes on.
"""

from __future__ import annotations

import gc
import logging
import selectors
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from atmost.collector.listening import Listening, OurListener
from atmost.collector.state.state import CollectorState
from atmost.core.accounts import Ledger
from atmost.transport.mailbox import Waker

logger = logging.getLogger("atmost.collector")

TICK: Final = 0.25
"""Seconds between two ticks of the state."""
LOOK: Final = 1.0
"""Seconds between two readings of the ledgers."""
_GATHER: Final = 0.01
"""How long datagrams gather before they are taken (seconds)."""
_DENSE: Final = 0.03
"""Datagrams that come within this time of others are in quick succession (seconds)."""
_GROWTH: Final = 500
"""Series, after which the garbage collector is told to leave the state alone."""
_DRAIN: Final = 1.0
"""Time to take in what had arrived before the stop (seconds)."""
_COMPLAIN: Final = 10.0


class Receiving:
    """The thread with its listeners."""

    def __init__(
        self,
        state: CollectorState,
        listening: Sequence[Listening],
        now: Callable[[], float],
        others: Callable[[], dict[str, Ledger]] = dict,
    ) -> None:
        """Prepares it.

        Args:
            state: what it writes.
            listening: what it reads; the caller closes them.
            now: seconds since 1970 that never step back.
            others: ledgers of receivers that are not in `listening`, by address.
        """
        self._state = state
        self._listening = list(listening)
        self._now = now
        self._others = others
        self._waker = Waker()
        self._stop = False
        self._until = 0.0
        self._complained = float("-inf")
        self._spared = 0
        """Series that the garbage collector no longer looks at."""
        self.defects = 0
        """Turns that failed by an internal error."""
        self.beat = time.monotonic()
        """When the loop last went round, for the watchdog (monotonic, seconds)."""
        self._thread = threading.Thread(target=self._run, name="atmost-receive", daemon=True)

    def start(self) -> None:
        """Begins to receive."""
        self._thread.start()

    def stop(self) -> None:
        """Takes in what has arrived, and ends the thread."""
        self._until = time.monotonic() + _DRAIN
        self._stop = True
        self._waker.wake()
        if self._thread.ident is not None:
            self._thread.join()
        self._waker.close()

    @property
    def ready(self) -> bool:
        """Whether every receiver accepts messages sent from now on."""
        return all(each.intake.boot_wait() == 0 for each in self._ours())

    def ledgers(self) -> dict[str, Ledger]:
        """The ledgers of all receivers, by address."""
        return {each.url: each.intake.ledger() for each in self._ours()} | self._others()

    @property
    def taken_over(self) -> list[OurListener]:
        """Receivers whose address another process has taken over (H2)."""
        return [each for each in self._ours() if each.intake.closed and each.intake.inlet.ended is not None]

    def pass_ledgers(self) -> None:
        """Passes the ledgers to the state."""
        for each in self._listening:
            each.read_drops()
        ledgers = self.ledgers()
        with self._state.lock:
            for one in self.taken_over:
                ended = one.intake.inlet.ended
                self._state.warnings[one.url] = f"{one.url}: {ended}; nothing is received there any more"
            self._state.observe(ledgers, self._now(), time.monotonic())

    def _ours(self) -> list[OurListener]:
        return [each for each in self._listening if isinstance(each, OurListener)]

    def _run(self) -> None:
        self._spare_the_state()  # with it all that was loaded, which is most of what there is at first
        with selectors.DefaultSelector() as selector, selectors.DefaultSelector() as urgent:
            for one in (selector, urgent):
                one.register(self._waker.reader, selectors.EVENT_READ, None)
            for each in self._listening:
                selector.register(each.fileno(), selectors.EVENT_READ, each)
                if not each.patient:
                    urgent.register(each.fileno(), selectors.EVENT_READ, each)
            self._loop(selector, urgent)

    def _loop(self, selector: selectors.BaseSelector, urgent: selectors.BaseSelector) -> None:
        tick_at = ledgers_at = time.monotonic()
        woken_at = float("-inf")
        again: set[Listening] = set()
        while True:
            mono = self.beat = time.monotonic()
            if self._stop and (mono >= self._until or not again):
                again = {each for each in self._listening if self._turn(each)}
                if mono >= self._until or not again:
                    self._guarded(self.pass_ledgers)
                    return
            if mono >= ledgers_at:
                ledgers_at = mono + LOOK
                self._guarded(self.pass_ledgers)
            if mono >= tick_at:
                tick_at = mono + TICK
                self._guarded(self._tick)
                due = set(self._listening)
            else:
                due = set(again)
            waits = [(wait, each) for each in self._listening if (wait := each.next_wait()) is not None]
            timeout = 0.0 if again else self._timeout(mono, min(tick_at, ledgers_at), waits)
            ready = selector.select(timeout)
            for key, _ in ready:
                if key.data is None:
                    self._waker.clear()
                else:
                    due.add(key.data)
            late = time.monotonic() - mono
            due.update(each for wait, each in waits if wait <= late)
            again = {each for each in due if self._turn(each)}
            # While datagrams come in quick succession, they gather in the kernel's buffers for a moment, and are taken together:
            # waking up costs as much as taking many of them. Where the buffers are small nothing waits.
            if ready and not again and not self._stop:
                if mono + late - woken_at < _DENSE:
                    urgent.select(_GATHER)
                woken_at = mono + late

    def _timeout(self, mono: float, at: float, waits: list[tuple[float, Listening]]) -> float:
        deadline = self._state.next_deadline()
        least = at if deadline is None else min(at, max(deadline, mono + 0.01))
        return max(0.0, min([least - mono, *(wait for wait, _ in waits)]))

    def _turn(self, each: Listening) -> bool:
        try:
            more = each.turn(self._now(), time.monotonic())
            if self._state.series_kept >= self._spared + _GROWTH:
                self._spare_the_state()
            return more
        except Exception:  # noqa: BLE001  an internal error must not end the collector; it is logged and counted
            self._defect()
            return False

    def _tick(self) -> None:
        with self._state.lock:
            self._state.tick(self._now(), time.monotonic())

    def _spare_the_state(self) -> None:
        """Takes the state out of the garbage collector's sight when it has grown, because a look at all of it stops every thread.

        Series hold no cycles: what is forgotten is freed at once. Of everything else, which comes and goes, only what lives at that
        moment is taken along, and a state stops growing. At the end of the turn in which it grew, because a quarter of a second later
        there may be thousands of series to look at.
        """
        self._spared = self._state.series_kept
        gc.collect(1)
        gc.freeze()

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:  # noqa: BLE001  as above
            self._defect()

    def _defect(self) -> None:
        self.defects += 1
        mono = time.monotonic()
        if mono - self._complained >= _COMPLAIN:
            self._complained = mono
            logger.exception("a fault in receiving; the collector goes on")  # noqa: LOG004  the caller is handling it
