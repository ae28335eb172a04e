"""`Receiver`: messages one by one, by iteration, with events, or into a handler; for threads.

One thread consumes a receiver; `ledger()` and `close()` may be called from any thread, `close()` also from a handler.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self, Unpack

from atmost.core.accounts import Ledger
from atmost.core.events import Event, Message
from atmost.core.names import matcher
from atmost.endpoint.checking import KeyText, ReceiverArguments, check_handler
from atmost.endpoint.intake import Intake, options_of
from atmost.lifecycle import HERE, notice_fork


class Receiver:
    """Receives at one address, alone; every message at most once, every loss counted."""

    def __init__(self, url: str | None = None, **options: Unpack[ReceiverArguments]) -> None:
        """Binds the address and waits until what is sent from now on is accepted: F + G, 0.51 s on one host, 1 s on a network.

        Args:
            url: where; None takes `ATMOST_BIND`, then udp://127.0.0.1:7140. Port 0 lets the system choose, see `url`.
            audience: a name both ends agree on; datagrams for another audience are refused.
            grace: seconds before a missing message is called lost, at the earliest; at the latest after two of them.
                Larger calls fewer reordered datagrams lost, and reports loss later.
            window: datagrams; how far behind the highest number of its session one may arrive.
                Larger tolerates more reordering, and takes an eighth of it in bytes for each session that loses.
            max_sessions: sessions remembered, about 1 KB each; beyond it the one is forgotten whose loss matters least.
            future_bound: F, seconds a sender's clock may be ahead; None takes 0.01 on one host, 0.5 on a network.
                Larger accepts worse clocks, and lengthens the start by as much.
            clock_guard: G, seconds this host's clock may be set back in total between starts; None takes 0.5.
                Larger survives larger steps, and lengthens the start by as much.
            max_age: seconds; older datagrams are refused as `expired`; None accepts any age.
            max_queue: messages that wait for a slow handler; one that takes more than 1 KiB when decoded counts as several. Beyond it
                they are dropped and counted as `overflow`.
            key: the text of a key, or of several; datagrams of other keys, or of none, are refused. None takes `key_file`,
                then `ATMOST_KEY`; without any, only datagrams without a key are accepted.
            key_file: a file with a key on each line, readable by its owner only.
            shards: the shards of a nats:// channel to receive, and how many it has, as in 0-7/16. None takes all of them.

        Raises:
            AddressError: the URL cannot be used.
            AddressInUse: another receiver holds the address.
            BindError: the system refused the address.
            OptionError: an option is outside its range.
            InvalidKey: a key cannot be used.
            MissingExtra: a key is for encryption, and the extra `crypto` is not installed.
        """
        self._intake = intake = Intake(options_of("Receiver", options), url)
        # A receiver dropped without `close` releases its address, as a dropped file is closed.
        weakref.finalize(self, intake.close).atexit = False
        try:
            while wait := intake.boot_wait():
                intake.inlet.wait(wait)
                intake.pump()
        except BaseException:
            intake.close()
            raise

    @property
    def url(self) -> str:
        """The address really bound."""
        return self._intake.inlet.url

    @property
    def closed(self) -> bool:
        """Whether this incarnation is over."""
        return self._intake.closed

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message.

        Args:
            timeout: seconds to wait; 0 looks once, None waits until there is one or the receiver is closed.

        Returns:
            None when the time is over or the receiver is closed; also when nothing is at hand and the caller is a signal
            handler that has interrupted the reading.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            for event in self._intake.current:
                if event.__class__ is Message:
                    if HERE[0]:
                        return event
                    notice_fork()
            if not self._advance(None if deadline is None else deadline - time.monotonic()):
                return None

    def next_event(self, timeout: float | None = None) -> Event | None:
        """The next message or other event; see `events` and `receive`."""
        intake = self._intake
        intake.wants_events = True
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            for event in intake.current:
                if HERE[0]:
                    return event
                notice_fork()
            if not self._advance(None if deadline is None else deadline - time.monotonic()):
                return None

    def __iter__(self) -> Iterator[Message]:
        """Yields messages until the receiver is closed."""
        intake = self._intake
        while self._advance(None):
            for event in intake.current:
                if event.__class__ is Message:
                    if not HERE[0]:
                        notice_fork()
                        return
                    yield event

    def events(self) -> Iterator[Event]:
        """Yields messages and other events, in the order in which they became known, until the receiver is closed.

        Events before the first step of the iteration are in the ledger only.
        """
        intake = self._intake
        intake.wants_events = True
        while self._advance(None):
            for event in intake.current:
                if not HERE[0]:
                    notice_fork()
                    return
                yield event

    def run(self, handler: Callable[[Message], object], subjects: Iterable[str] = (">",)) -> None:
        """Calls `handler` with every message whose subject matches, until the receiver is closed.

        Args:
            handler: called once a message; an exception is counted and reported, and the message is never redelivered.
            subjects: patterns; messages on other subjects count as delivered.

        Raises:
            OptionError: the handler cannot be called, or is async.
            SubjectError: a pattern is malformed.
        """
        check_handler(handler)
        matches, intake = matcher(subjects), self._intake
        while self._advance(None):
            intake.handle_current(handler, matches)

    def accept_keys(self, key: KeyText) -> None:
        """Accepts these keys from now on, and no others; from any thread.

        To rotate without loss: accept the old and the new key, `Sender.rotate_key` everywhere, then accept only the new one.

        Raises:
            InvalidKey: a text is not a key.
        """
        self._intake.accept_keys(key)

    def ledger(self) -> Ledger:
        """The account of this incarnation at this moment; from any thread.

        A signal handler that has interrupted the consumer may find one datagram half booked.
        """
        return self._intake.ledger()

    def close(self) -> None:
        """Ends the incarnation; what is queued is discarded and counted, and iterations end."""
        self._intake.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Receiver on {self.url}{' (closed)' if self.closed else ''}>"

    def _advance(self, timeout: float | None) -> bool:
        """Makes the next batch current, waiting for it; False when the time is over or the receiver is closed.

        False also in a signal handler that has interrupted the reading: nothing can come until it returns.
        """
        intake = self._intake
        if intake.next_batch():
            return True
        deadline = None if timeout is None else time.monotonic() + timeout
        while not intake.closed and not intake.in_turn:
            intake.pump()
            if intake.next_batch():
                return True
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            intake.inlet.wait(intake.next_wait(left))
        return False
