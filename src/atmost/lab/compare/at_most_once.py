"""At-most-once: send once, never wait, never repeat; the receiver refuses what it may have seen.

This arm is the real thing: `SenderCore` and `ReceiverCore`, as every Sender and Receiver runs them, with one message a
datagram (linger 0) so that the arms lose alike. The two mechanisms below cost little: a datagram a message, a beacon now
and then, and a short wait after a crash. They do not prevent loss, but they count it.

The algorithm: Liskov, Shrira and Wroclawski, *Efficient at-most-once messages based on synchronized clocks* (1991).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from atmost.core.datagram import encode_message
from atmost.core.events import Event, LateArrival, Loss, Message
from atmost.core.limits import GOODBYES, GRACE
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.core.seal import NO_KEY, no_keys
from atmost.core.sending import SenderCore, SenderOptions
from atmost.lab.compare.measures import Tally
from atmost.lab.compare.network import Copy, Crash, Network, Purpose
from atmost.lab.compare.options import CompareOptions
from atmost.transport.base import NETWORK_DATAGRAM

SUBJECT: Final = "lab.message"
NUMBER: Final = 8
"""Bytes of a message's number, at the beginning of its payload."""
_IDENTITY: Final = 18
_COUNTERS: Final = 5 * 8
"""Bytes of a session: its highest number, the end of its messages, what was accepted, its latest stamp, its floor."""


class AtMostOnce:
    """A sender that forgets what it sent, and a receiver that remembers no messages, only numbers and a time."""

    name: ClassVar = "at-most-once"

    def __init__(self, options: CompareOptions, network: Network, tally: Tally) -> None:
        """Args: options: sizes and bounds on clocks. network: connects the ends. tally: the arm's book."""
        self._network, self._tally = network, tally
        self._filler = bytes(options.payload - NUMBER)
        self._bounds = ReceiverOptions(future_bound=options.future_bound, clock_guard=options.clock_guard)
        self._seed = options.seed
        self._sender = SenderCore(
            SenderOptions(linger=0), NETWORK_DATAGRAM, no_keys()[NO_KEY], name="sender", host="lab", pid=1
        )
        self._ended = False
        self._start_receiver()
        network.connect(self._receive, self._acknowledged)
        network.after(GRACE, self._settle)

    # --- the sender

    def send(self, message: int) -> None:
        """Sends the message; the caller waits for nothing, and nothing is kept to be sent again."""
        item = encode_message((SUBJECT, message.to_bytes(NUMBER, "big") + self._filler))
        core, network = self._sender, self._network
        if core.needs_session(network.wall_us):
            # Numbers count from 0 within a session; its random part keeps two lives of one sender apart.
            core.begin(self._seed, network.wall_us, network.now)
            network.after(0.0, self._beacon)
        core.offer(item, network.now)
        self._tally.max_held = max(self._tally.max_held, core.size)
        self._hand_over()

    def finish(self) -> None:
        """Says goodbye, so that the receiver knows the last number and with it any loss at the end.

        It is sent several times, because no acknowledgement says whether one got through.
        """
        self._ended = True
        for _ in range(GOODBYES):
            goodbye = self._sender.goodbye(self._network.now, self._network.wall_us)
            if goodbye is not None:
                self._network.transmit(goodbye.data, Purpose.CONTROL)
                self._sender.handed_over(goodbye, None, self._network.now)

    @property
    def busy(self) -> bool:
        """Nothing is ever sent again, so there is nothing to wait for."""
        return False

    def _hand_over(self) -> None:
        core, network = self._sender, self._network
        while (outgoing := core.next_datagram(network.now, network.wall_us, flush=True)) is not None:
            network.transmit(outgoing.data, Purpose.FIRST if outgoing.count else Purpose.CONTROL)
            core.handed_over(outgoing, None, network.now)  # never sent again, whatever becomes of it

    def _beacon(self) -> None:
        """A beacon repeats the latest number: without it, a loss at the end would show no gap."""
        if self._ended:
            return
        self._hand_over()
        deadline = self._sender.next_deadline()
        assert deadline is not None
        self._network.after(max(0.0, deadline - self._network.now), self._beacon)

    def _acknowledged(self, _datagram: bytes) -> None:
        raise AssertionError("nobody acknowledges here")

    # --- the receiver

    def _start_receiver(self) -> None:
        """Reads nothing from a disk: everything sent up to now, plus the possible error of the clocks, is refused instead."""
        self._receiver = ReceiverCore(self._bounds, self._network.wall_us)

    def _receive(self, datagram: bytes, copy: Copy) -> None:
        """The core marks the datagram's number before it hands on the messages, so a second copy finds the mark."""
        for event in self._account(self._receiver.receive(datagram, self._network.now, self._network.wall_us)):
            if copy.crash is Crash.BEFORE:
                self._crash()  # accepted, never processed: lost, because nobody will send it again
                return
            self._tally.processed(int.from_bytes(event.payload[:NUMBER], "big"), self._network.now)
            if copy.crash is Crash.AFTER:
                self._crash()  # processed, and never again, because the new floor is above everything sent so far
                return

    def _crash(self) -> None:
        self._tally.crashed()
        self._start_receiver()

    def _account(self, events: Sequence[Event]) -> list[Message]:
        """Books the losses that the receiver reports; returns the messages."""
        messages = []
        for event in events:
            if isinstance(event, Message):
                messages.append(event)
            elif isinstance(event, Loss):
                self._tally.told += event.count
            elif isinstance(event, LateArrival):
                self._tally.told -= event.count
        return messages

    def _settle(self) -> None:
        """Lets the core declare lost the messages that have been missing for long enough."""
        self._account(self._receiver.handle_deadline(self._network.now))
        sessions = len(self._receiver.ledger(self._network.now).sessions)
        self._tally.receiver_bytes = sessions * (_IDENTITY + _COUNTERS + self._bounds.window // 8)
        self._network.after(GRACE, self._settle)
