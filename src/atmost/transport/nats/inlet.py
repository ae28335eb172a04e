"""The receiving end of a channel: it receives its shards only while it is their single owner (H2).

A thread listens even while a handler is slow, so that the servers keep the connection and other receivers get an answer.
Datagrams wait in a mailbox. A datagram that arrives while ownership is in doubt, or finds the mailbox full, is dropped and counted as `kernel_drops`.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Final

from atmost.core.limits import EPISODE
from atmost.core.names import legible
from atmost.core.sending import NOT_NOW
from atmost.core.shards import Shards
from atmost.errors import AddressInUse, BindError, OptionError
from atmost.lifecycle import HERE, Floor, notice_fork, register, unregister
from atmost.transport.base import NETWORK, Address, Clock, wall_clock
from atmost.transport.holder import this_program
from atmost.transport.mailbox import Mailbox
from atmost.transport.nats.dial import TIMEOUT, DialError, check_credentials
from atmost.transport.nats.link import Link
from atmost.transport.nats.presence import CLAIM_LEASES, Presence
from atmost.transport.nats.url import NatsAddress, parse_nats
from atmost.transport.nats.wire import Delivery, publish, subscribe

logger = logging.getLogger("atmost")

_PRESENCE: Final = 0
"""The number of the subscription to the presence subject; a shard's is its own number plus one."""
_DEAF: Final = 2
"""A connection on which a receiver has not heard its own announcements for this many leases is given up."""
_CLAIM_SPARE: Final = 2.0
"""What a claim may take beyond its time on a busy machine (seconds)."""


def lease_clock() -> float:
    """A monotonic clock that also counts while the host sleeps, because a lease must not outlive the sleep (seconds)."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.clock_gettime(time.CLOCK_MONOTONIC)  # macOS counts its sleep here, and not in `time.monotonic`


class NatsInlet:
    """Receives some shards of one channel, alone."""

    clock = staticmethod(wall_clock)
    preset = NETWORK
    warning: str | None = None
    look_every = float("inf")

    def __init__(self, address: Address, shards: Shards | None = None) -> None:
        """Connects, and claims the shards; returns once it owns them.

        Args:
            address: of the scheme nats.
            shards: the ones to receive here; None for all.

        Raises:
            AddressError: the URL or a file it names cannot be used.
            AddressInUse: another receiver owns a shard, or claims it at this moment.
            BindError: no server can be reached, or it refuses.
            OptionError: the URL says another number of shards.
            MissingExtra: signing needs the extra `nats`.
        """
        self._address = where = parse_nats(address.url)
        check_credentials(where)
        own = shards or Shards(frozenset(range(where.shards)), where.shards)
        if own.count != where.shards:
            raise OptionError("shards", str(own), f"shards of {where.shards}, as the URL says; 16 without ?shards=")
        self.url = where.url
        self.shards: Shards | None = own
        self._mailbox = Mailbox()
        self._receiving = _Receiving(where, own, self._mailbox, self.clock)
        self._link = Link(where, self._receiving, self._receiving.who)
        self._incarnation = 1
        self._give_free = weakref.finalize(self, _give_free, self._receiving, self._link, self._mailbox)
        self._give_free.atexit = False
        register(self, Floor.TRANSPORT)
        try:
            self._claim()
        except BaseException:
            self.close()
            raise

    @property
    def overlap(self) -> float:
        """How long an earlier owner may still accept after this one began (seconds)."""
        return self._receiving.presence.overlap

    @property
    def ended(self) -> str | None:
        """Who has the shards now, when they were taken over."""
        holder = self._receiving.presence.holder
        return None if holder is None else f"its shards were taken over by {holder}"

    def receive(self) -> bytes | None:
        """The next datagram; None when none waits, or when ownership is in doubt."""
        if self._receiving.presence.incarnations != self._incarnation:
            return None
        datagram = self._mailbox.take()
        return datagram if datagram is not None and self.confirms() else None

    def confirms(self) -> bool:
        """Whether the lease still runs."""
        if self._receiving.presence.holds(lease_clock()):
            return True
        self._receiving.doubtful += 1
        return False

    def incarnation(self) -> int:
        """How often ownership began; one more when it lapsed for lack of contact and was claimed again."""
        return self._receiving.presence.incarnations

    def resume(self, incarnation: int) -> None:
        """From now on `receive` returns datagrams of this incarnation."""
        self._incarnation = incarnation

    def wait(self, timeout: float | None) -> None:
        """Returns when a datagram may wait, `wake` was called, or `timeout` seconds passed."""
        self._mailbox.wait(timeout)

    def wake(self) -> None:
        """Ends a `wait`."""
        self._mailbox.wake()

    def fileno(self) -> int:
        """The descriptor that an event loop watches for reading."""
        return self._mailbox.fileno()

    def kernel_drops(self) -> int | None:
        """Datagrams that arrived here and were dropped because there was no room, or because ownership was in doubt."""
        return self._mailbox.dropped + self._receiving.doubtful

    def renew(self, *, seen: bool) -> None:  # noqa: ARG002  the same whenever it is noticed
        """In a forked child: the shards stay with the parent."""
        self.abandon()

    def abandon(self) -> None:
        """Closes a forked child's copies; the shards stay with the parent."""
        if self._give_free.detach() is not None:
            self._link.abandon()
            self._mailbox.close()

    def close(self) -> None:
        """Releases the shards."""
        if not HERE[0]:
            notice_fork()
        unregister(self)
        self._give_free()
        self._link.wait_for_end()

    def _claim(self) -> None:
        receiving, link = self._receiving, self._link
        presence = receiving.presence
        link.start()
        reported_at, reported = float("-inf"), 0.0
        deadline = lease_clock() + TIMEOUT * len(self._address.servers) + _CLAIM_SPARE
        while not receiving.decided.wait(0.02):
            now = lease_clock()
            if receiving.connected_at is not None and (presence.claim_time > reported or now > reported_at + EPISODE):
                reported_at, reported = now, presence.claim_time
                self._report_progress()
            never = receiving.connected_at is None and (link.refusal != NOT_NOW or now > deadline)
            # A receiver that hears itself still waits only when another one has a longer lease.
            unheard = receiving.connected_at is not None and now > receiving.heard_at + receiving.patience
            if never or (unheard and link.trouble):
                raise BindError(
                    self.url, f"{link.trouble or 'no server answers'}; is the server running, and is the URL right?"
                )
            if unheard:
                raise BindError(
                    self.url,
                    f"what is published on {self._address.presence} does not come back: "
                    "a receiver must be allowed to publish and subscribe there",
                )
        if presence.holder is not None:
            raise AddressInUse(f"{self.url} ({self.shards})", presence.holder)
        if presence.objection is not None:
            raise BindError(self.url, presence.objection)
        if receiving.forbidden is not None:
            raise BindError(self.url, f"the server forbids it: {receiving.forbidden}")

    def _report_progress(self) -> None:
        """Logs how long the start takes, at a higher level when it is long enough that people would ask why."""
        presence = self._receiving.presence
        still = presence.overlap + self.preset.future_bound + self.preset.clock_guard
        logger.log(
            logging.WARNING if presence.claim_time + still > EPISODE else logging.INFO,
            "%s: claiming the shards %s, which takes %.1f s when nobody contradicts; ready about %.1f s after that",
            self.url,
            self.shards,
            presence.claim_time,
            still,
        )


def _give_free(receiving: _Receiving, link: Link, mailbox: Mailbox) -> None:
    """Releases the shards without waiting; also called, from any thread, when an inlet is collected that nobody closed."""
    link.close(receiving.farewell())
    mailbox.close()


class _Receiving:
    """The end behind a receiving link: keeps presence, and puts datagrams into the mailbox."""

    def __init__(self, address: NatsAddress, shards: Shards, mailbox: Mailbox, clock: Clock) -> None:
        self._address = address
        self._shards = shards
        self._mailbox = mailbox
        self.who = legible(f"{this_program()} (pid {os.getpid()} on {socket.gethostname()})"[:128])
        self.presence = Presence(secrets.token_hex(8), self.who, shards, address.lease, clock)
        self.decided = threading.Event()
        self.connected_at: float | None = None
        self.forbidden: str | None = None
        self.patience = CLAIM_LEASES * address.lease + _CLAIM_SPARE
        self.doubtful = 0
        self._leaving = False
        self._online_at: float | None = None
        self._complained = False

    def farewell(self) -> bytes:
        """The last words. Nothing is processed after them, and later arrivals are not counted as dropped."""
        self._leaving = True
        return publish(self._address.presence, self.presence.leave())

    @property
    def heard_at(self) -> float:
        """When this end last heard itself; if it never has, when it was connected."""
        return max(self.connected_at or 0.0, self.presence.heard_at)

    def connected(self) -> Sequence[bytes]:
        now = lease_clock()
        if self.connected_at is None:
            self.connected_at = now
        self._online_at = now
        subscriptions = [subscribe(self._address.presence, _PRESENCE)]
        subscriptions += [subscribe(self._address.subject(shard), shard + 1) for shard in sorted(self._shards.owned)]
        return [*subscriptions, *self._publish(self.presence.connected(now))]

    def disconnected(self) -> None:
        self.presence.disconnected()
        self._online_at = None

    def delivered(self, delivery: Delivery) -> Sequence[bytes]:
        payload = delivery.payload
        if delivery.sid != _PRESENCE:
            if payload is None or not self.presence.owning:
                self.doubtful += self.presence.incarnations > 0 and not self._leaving
            else:
                self._mailbox.put(payload)
            return ()
        answers = self.presence.receive(payload, lease_clock())
        self._decide()
        return self._publish(answers)

    def complained(self, text: str) -> bool:
        if "permissions violation" not in text.lower():
            return False
        if not self.decided.is_set():
            self.forbidden = text
            self.decided.set()
        elif not self._complained:
            self._complained = True
            logger.warning("%s: the server says %s: messages sent there are lost", self._address.url, text)
        return True

    def deadline(self) -> float | None:
        due = self.presence.next_deadline()
        if due is None:
            return None
        return time.monotonic() + min(due, self._deaf_at()) - lease_clock()

    def due(self) -> Sequence[bytes]:
        now = lease_clock()
        said = self.presence.handle_deadline(now)
        self._decide()
        for warning in self.presence.warnings:
            logger.warning("%s: %s", self._address.url, warning)
        self.presence.warnings.clear()
        if now >= self._deaf_at():
            raise DialError(f"nothing has come back for {_DEAF * self._address.lease:g} s")
        return self._publish(said)

    def _deaf_at(self) -> float:
        """When this connection is given up unless an own announcement comes back first."""
        if self._online_at is None or not self.presence.incarnations:
            return float("inf")
        return max(self._online_at, self.presence.heard_at) + _DEAF * self._address.lease

    def _decide(self) -> None:
        if self.presence.holder is not None or self.presence.objection is not None or self.presence.incarnations:
            self.decided.set()
            if self.presence.holder is not None:
                self._mailbox.wake()

    def _publish(self, announcements: Sequence[bytes]) -> list[bytes]:
        return [publish(self._address.presence, said) for said in announcements]
