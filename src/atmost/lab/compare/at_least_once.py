"""At-least-once: keep the message, and send it again until the receiver says that it has processed it.

Two mechanisms. The *acknowledgement* after processing: only then may the sender forget. The *retry with backoff*: silence
may mean that the datagram was lost, that the receiver crashed, or that only the acknowledgement was lost, and the sender
cannot tell which. So it sends again; where only the acknowledgement was lost, the message is processed once more. That is
the price of the guarantee, and no timeout avoids it.

The datagrams have the size of the project's own: header, message and tag, and header and tag for an acknowledgement.
"""

from __future__ import annotations

from typing import ClassVar, Final

from atmost.core.datagram import encode_message
from atmost.core.limits import HEADER, OVERHEAD, TAG
from atmost.lab.compare.at_most_once import NUMBER, SUBJECT
from atmost.lab.compare.measures import Tally
from atmost.lab.compare.network import Copy, Crash, Network, Purpose
from atmost.lab.compare.options import CompareOptions

_ACKNOWLEDGEMENT: Final = HEADER + TAG
"""Bytes of an acknowledgement; the number acknowledged takes the place of the datagram's own number."""


class AtLeastOnce:
    """A sender that remembers each message until it is acknowledged, and a receiver that remembers nothing."""

    name: ClassVar = "at-least-once"
    extra_bytes: ClassVar = 0
    """Bytes of a datagram on top of what every arm sends."""

    def __init__(self, options: CompareOptions, network: Network, tally: Tally) -> None:
        """Args: options: sizes and waits. network: connects the ends. tally: the arm's book."""
        self._options, self._network, self._tally = options, network, tally
        self._message_bytes = len(encode_message((SUBJECT, bytes(options.payload))))
        self._filler = bytes(OVERHEAD + self._message_bytes + self.extra_bytes - NUMBER)
        self._ack_filler = bytes(_ACKNOWLEDGEMENT - NUMBER)
        self._unacknowledged: set[int] = set()
        network.connect(self._receive, self._acknowledged)

    # --- the sender

    def send(self, message: int) -> None:
        """Sends and keeps the message. A caller that must know that it arrived waits for the acknowledgement.

        The memory grows with the rate and with everything that delays an acknowledgement. A sender that crashes
        loses the messages it kept, unless they were written to a disk first.
        """
        self._unacknowledged.add(message)
        held = len(self._unacknowledged) * self._message_bytes
        self._tally.max_held = max(self._tally.max_held, held)
        self._transmit(message, 0)

    def finish(self) -> None:
        """Nothing more to send; the retries go on."""

    @property
    def busy(self) -> bool:
        """Whether some message may still have to be sent again."""
        return bool(self._unacknowledged)

    def _transmit(self, message: int, attempt: int) -> None:
        datagram = message.to_bytes(NUMBER, "big") + self._filler
        self._network.transmit(datagram, Purpose.AGAIN if attempt else Purpose.FIRST)
        # Each wait is twice the last: a receiver in trouble must not be drowned in retries.
        # A fleet of senders adds randomness, or all would come back at once; for one it would only blur the closed form.
        self._network.after(self._options.backoff(attempt), self._overdue, message, attempt + 1)

    def _overdue(self, message: int, attempt: int) -> None:
        """No acknowledgement came in time. The sender cannot know which of the three reasons it was."""
        if message in self._unacknowledged:
            self._transmit(message, attempt)

    def _acknowledged(self, datagram: bytes) -> None:
        """The receiver has processed it: forget it. A second acknowledgement of one message says nothing new."""
        message = int.from_bytes(datagram[:NUMBER], "big")
        if message in self._unacknowledged:
            self._unacknowledged.remove(message)
            self._tally.acknowledged(message, self._network.now)

    # --- the receiver

    def _receive(self, datagram: bytes, copy: Copy) -> None:
        """Processes first and acknowledges afterwards: the other way round, a crash in between would lose the message."""
        message = int.from_bytes(datagram[:NUMBER], "big")
        if copy.crash is Crash.BEFORE:
            self._tally.crashed()  # nothing was acknowledged, so the sender will try again
            return
        # Nothing here distinguishes a message that was processed before from a new one.
        self._tally.processed(message, self._network.now)
        if copy.crash is Crash.AFTER:
            self._tally.crashed()  # processed and not acknowledged: it will be processed again
            return
        self._acknowledge(message, copy)

    def _acknowledge(self, message: int, copy: Copy) -> None:
        self._network.reply(message.to_bytes(NUMBER, "big") + self._ack_filler, copy)
