"""A link of the lab in a thread of its own, which loses until it is healed: what the benchmarks of loss send through."""

from __future__ import annotations

import threading
from random import Random

from atmost.lab.faults import PASSED, FaultRules, LinkFaults, Overruled
from atmost.lab.link import Link, LinkAccount


class LossyPath:
    """Loses as told, doubles 5 % and delays 10 % by 20 ms, the same with the same seed."""

    def __init__(self, target: str, loss: float, seed: int) -> None:
        faults = LinkFaults(loss=loss, duplicate=0.05, reorder=0.1, reorder_delay=0.02)
        self._rules = Overruled(FaultRules(faults, Random(seed)))
        self.link = Link(target, self._rules)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self.link.run, args=(self._ended.is_set,))
        self._thread.start()

    def heal(self) -> None:
        """From now on everything passes."""
        self._rules.verdict = PASSED

    def end(self) -> LinkAccount:
        """Stops when what is held has left, and returns the account."""
        self._ended.set()
        self._thread.join()
        self.link.drain()
        account = self.link.account()
        self.link.close()
        return account
