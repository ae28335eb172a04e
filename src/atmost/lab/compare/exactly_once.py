"""Exactly-once: at-least-once, and a receiver that remembers on disk which messages it has processed.

The network still loses and the sender still repeats; only the *effect* happens once. Two mechanisms on top of the retry.
The *token*, drawn once by the sender and the same in every transmission of one message: it makes "the same again"
recognisable. The *deduplication log* at the receiver: the effect and its token are committed together, in one transaction,
so that after a crash either both are there or neither. Where the effect lies outside the transaction (a mail sent, another
service called) there is no such commit, and the guarantee is at-least-once again.

The log must remember a token as long as the sender may repeat it. Here the sender never gives up, so nothing is ever
forgotten; an engine that forgets after two minutes guarantees exactly-once for two minutes.
"""

from __future__ import annotations

from typing import ClassVar, Final

from atmost.lab.compare.at_least_once import AtLeastOnce
from atmost.lab.compare.at_most_once import NUMBER
from atmost.lab.compare.measures import Tally
from atmost.lab.compare.network import Copy, Crash, Network
from atmost.lab.compare.options import CompareOptions

TOKEN: Final = 16
"""Bytes of an idempotency token: unique over all senders, as a UUID is."""


class ExactlyOnce(AtLeastOnce):
    """The sender of at-least-once with a token in each datagram, and a receiver that looks it up before it acts."""

    name: ClassVar = "exactly-once"
    extra_bytes: ClassVar = TOKEN

    def __init__(self, options: CompareOptions, network: Network, tally: Tally) -> None:
        """Args: options: sizes and waits. network: connects the ends. tally: the arm's book."""
        super().__init__(options, network, tally)
        # Survives every crash. One sender here, so a token's changing part, the message's number, stands for it.
        self._log: set[int] = set()

    def _receive(self, datagram: bytes, copy: Copy) -> None:
        """Looks the token up, acts only if it is missing, and acknowledges either way."""
        message = int.from_bytes(datagram[:NUMBER], "big")
        if message not in self._log:
            if copy.crash is Crash.BEFORE:
                self._tally.crashed()  # nothing was committed: the next copy is processed
                return
            self._commit(message)
            if copy.crash is Crash.AFTER:
                self._tally.crashed()  # committed and not acknowledged: the next copy is found in the log
                return
        # Known or new, the sender must hear of it, or it would repeat for ever.
        self._acknowledge(message, copy)

    def _commit(self, message: int) -> None:
        """Commits the effect and the token in one transaction, at the cost of one write to the disk per message."""
        self._tally.processed(message, self._network.now)
        self._log.add(message)
        self._tally.persistent_bytes = self._tally.receiver_bytes = len(self._log) * TOKEN
