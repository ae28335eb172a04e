"""A link of the lab in its own thread, which loses until it is healed; the loss benchmarks send through it."""

from __future__ import annotations

import threading
from random import Random

from atmost.lab.faults import PASSED, FaultRules, LinkFaults, Overruled
from atmost.lab.link import Link, LinkAccount


class LossyPath:
    """Loses the given share, doubles 5 % and delays 10 % by 20 ms; the same seed gives the same faults."""

    def __init__(self, target: str, loss: float, seed: int) -> None:
        faults = LinkFaults(loss=loss, duplicate=0.05, reorder=0.1, reorder_delay=0.02)
        self._rules = Overruled(FaultRules(faults, Random(seed)))
        self.link = Link(target, self._rules)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self.link.run, args=(self._ended.is_set,))
        self._thread.start()

    def heal(self) -> None:
        """Lets everything pass from now on."""
        self._rules.verdict = PASSED

    def end(self) -> LinkAccount:
        """Stops once all held datagrams have left, and returns the account."""
        self._ended.set()
        self._thread.join()
        self.link.drain()
        account = self.link.account()
        self.link.close()
        return account
