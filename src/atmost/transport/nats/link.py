"""Keeps one connection to a cluster: a thread that connects, listens, answers, and finishes partly written messages.

Theory of operation. A link is in one of four states:

* *not started*: nothing has been sent yet, and there is no thread;
* *connecting*: `dial` tries the known servers one after the other, with growing pauses. Until the first attempt has failed, datagrams are refused
  as "not now", because they may soon be taken; afterwards as not connected, or as denied where the server refuses this user;
* *connected*: `_connection` is set, and the thread reads, answers pings, and asks the end behind it what is due;
* *stopped*: by `close`, which lets the thread finish, or by `abandon` in a forked child, where no thread runs.

Two threads write. The sender's own thread writes datagrams (`offer`), straight to the socket and without waiting. The link's thread writes everything else, and
may wait. They take turns, and the sender never waits for its own: another's turn means "not now". A datagram of which the system took
nothing is refused as a whole. One of which it took a part must be finished, or the stream is torn: its rest stays with the connection, and
is written before anything else. So the only data that waits here is the rest of one message. When the connection is lost the rest is lost
with it, and after a reconnect nothing old is sent (R6).

A thread that an exception from outside ends is replaced by another, which connects anew.
"""

from __future__ import annotations

import errno
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

from atmost.core.limits import EPISODE
from atmost.core.sending import NOT_NOW
from atmost.lifecycle import ThreadArguments
from atmost.transport.mailbox import Waker
from atmost.transport.nats.dial import Connection, DialError, dial, is_denied, read_info, wait_for
from atmost.transport.nats.url import NatsAddress, Server
from atmost.transport.nats.wire import Delivery, ProtocolError, Said
from atmost.transport.sockets import errno_name

logger = logging.getLogger("atmost")

NOT_CONNECTED: Final = "ENOTCONN"
DENIED: Final = "EACCES"
_JOIN: Final = 0.5
_BREATH: Final = 0.05
"""After an exception that nobody expected (seconds)."""
_LAST_WORDS: Final = 0.2
"""How long a closing link may take to finish a partly written message (seconds)."""
_FOR_EVER: Final = 3600.0
_FULL: Final = 0.02
"""A connection that took nothing for this long is left to the thread, which the system wakes when there is room (seconds).
Every system call lets other threads run first, and on a busy machine the sender would wait for them."""
_FIRST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 5.0
_HOLDS: Final = 1.0
"""A connection that lasted this long ended the trouble before it (seconds)."""


class Ends(Protocol):
    """The end behind a link; called in the link's thread."""

    def connected(self) -> Sequence[bytes]:
        """Returns what to write first on a new connection."""
        ...

    def disconnected(self) -> None:
        """Called when the connection was lost."""
        ...

    def delivered(self, delivery: Delivery) -> Sequence[bytes]:
        """Handles a message; returns what to write."""
        ...

    def complained(self, text: str) -> bool:
        """Handles an error that leaves the connection open; False when it does not concern this end."""
        ...

    def deadline(self) -> float | None:
        """When `due` should be called next, by `time.monotonic`."""
        ...

    def due(self) -> Sequence[bytes]:
        """Does what is due; returns what to write."""
        ...


class _Alone:
    """Waits until nobody else writes; entered, it says whether that is so.

    Not a generator: between its first step and `with`, a signal's exception would leave the ticket in place.
    """

    def __init__(self, tickets: dict[object, None], patience: float) -> None:
        """Args: tickets: of those who write or wait. patience: the longest wait (seconds)."""
        self._tickets = tickets
        self._until = time.monotonic() + patience
        self.thread = threading.get_ident()

    def __enter__(self) -> bool:
        tickets = self._tickets
        try:
            while True:
                tickets[self] = None
                alone = [*tickets][0] is self  # noqa: RUF015  as in `Link.offer`
                if alone or time.monotonic() >= self._until:
                    return alone
                tickets.pop(self, None)  # who waits keeps nobody from writing
                time.sleep(0.000_5)
        except BaseException:
            tickets.pop(self, None)
            raise

    def __exit__(self, *_: object) -> None:
        self._tickets.pop(self, None)


class Link:
    """One end's connection, and the thread that keeps it."""

    def __init__(self, address: NatsAddress, ends: Ends, name: str) -> None:
        """Starts nothing; see `start`."""
        self._address = address
        self._ends = ends
        self._name = name
        self._tickets: dict[object, None] = {}
        """Who writes, and who waits for it: a lock that an exception raised by a signal cannot leave taken, as `Sender` has it."""
        self._waker = Waker()
        self._stopped = False
        self._thread: dict[str, tuple[object, threading.Thread]] = {}
        """Who keeps the connection, under one key that the first thread takes: a caller interrupted in `start` may have started one and not know it."""
        self._connection: Connection | None = None
        # In random order, so that senders spread over a cluster.
        self._known = random.sample(address.servers, len(address.servers))
        self._asked_at: float | None = None
        self._heard_at = 0.0
        self.refusal = NOT_NOW
        """Why a datagram is refused while there is no connection; "not now" until the first attempt has failed."""
        self.losses = 0
        """Connections lost so far."""
        self._outages = Outages(address.url)

    def start(self) -> bool:
        """Starts the thread, once; False when none can be started now."""
        if not self._thread and not self._stopped:
            return self._begin()
        return True

    @property
    def trouble(self) -> str | None:
        """Why there is no connection, for people."""
        return self._outages.trouble

    @property
    def max_payload(self) -> int | None:
        """The server's limit, bytes; None without a connection."""
        connection = self._connection
        return None if connection is None else connection.max_payload

    def offer(self, head: bytes, datagram: bytes) -> str | None:
        """Publishes one datagram without waiting; None when the system took it or began to, else why not.

        Args:
            head: the operation's line, up to the size.
            datagram: the payload.
        """
        connection = self._connection
        if connection is None:
            return self.refusal
        full_since = connection.full_since
        if full_since is not None and time.monotonic() - full_since > _FULL:
            return NOT_NOW
        ticket = object()
        try:
            self._tickets[ticket] = None
            if [*self._tickets][0] is not ticket:  # noqa: RUF015  `next(iter())` would be two steps, between which another may come
                return NOT_NOW
            if connection is not self._connection:
                return self.refusal
            taken = connection.write(b"%b%d\r\n%b\r\n" % (head, len(datagram), datagram))
            waits = connection.rest or (full_since is None and not taken)
        except OSError as error:
            self._waker.wake()
            name = errno_name(error)
            return name if name != NOT_NOW else NOT_CONNECTED
        finally:
            self._tickets.pop(ticket, None)
        if waits:
            self._waker.wake()  # so that the rest is written even if nobody sends again
        return None if taken else NOT_NOW

    def close(self, last: bytes = b"") -> None:
        """Writes the last words if it can, and has the thread finish a partly written message and end; see `wait_for_end`."""
        if self._stopped:
            return
        connection = self._connection
        try:
            if last and connection is not None:
                with self._alone(_LAST_WORDS) as alone, suppress(OSError):
                    if alone:
                        connection.write(last)
        finally:
            self._stopped = True
            self._waker.wake()
            if not self._thread:
                self._waker.close()

    def _alone(self, patience: float = float("inf")) -> _Alone:
        return _Alone(self._tickets, patience)

    def wait_for_end(self) -> None:
        """Waits until a closed link has ended; bounded."""
        for _, thread in [*self._thread.values()]:
            if thread is not threading.current_thread():
                thread.join(_JOIN)

    def abandon(self) -> None:
        """Closes a forked child's copies: no thread runs there, and not a byte is written to the parent's connection."""
        self._stopped = True
        connection, self._connection = self._connection, None
        self._thread = {}
        if connection is not None:
            connection.abandon()
        self._waker.close()

    def _begin(self) -> bool:
        token = object()
        arguments = ThreadArguments((token,), partial(self._ended, token))
        try:
            threading.Thread(target=self._run, args=arguments, name="atmost-nats", daemon=True).start()
        except RuntimeError:
            arguments.forget()
            self.refusal = NOT_CONNECTED
            return False
        return True

    # --- in the link's thread ---------------------------------------------------------------------------------------

    def _run(self, token: object) -> None:
        if self._thread.setdefault("it", (token, threading.current_thread()))[0] is not token:
            return
        while not self._stopped:
            try:
                self._leave()
                self._keep_connected()
            except Exception as error:  # noqa: BLE001  memory ran out, or another thread raised it here: begin again
                self._complain(f"interrupted by {error!r}")
                time.sleep(_BREATH)

    def _ended(self, token: object) -> None:
        """Has another thread take over from one that was ended from outside."""
        if self._thread.get("it", (token, None))[0] is not token:  # there is another one
            return
        self._thread.pop("it", None)
        if self._stopped:
            self._waker.close()
        else:
            self._begin()

    def _give_turns_back(self) -> None:
        """Gives back the turns that an exception from outside, right before their end, has left to this thread; it is in none now."""
        for ticket in [*self._tickets]:
            if isinstance(ticket, _Alone) and ticket.thread == threading.get_ident():
                self._tickets.pop(ticket, None)

    def _leave(self) -> None:
        """Lets go of what an exception from outside has left."""
        self._give_turns_back()
        connection, self._connection = self._connection, None
        if connection is not None:
            with self._alone():
                connection.close()
            self._ends.disconnected()

    def _keep_connected(self) -> None:
        turn = faults = 0
        while not self._stopped:
            servers = self._known
            server = servers[turn % len(servers)]
            turn += 1
            try:
                connection = self._dial(server)
                if connection is not None:
                    self._serve(connection)
                    turn = 0
                faults = 0
            except Exception as error:  # noqa: BLE001  memory ran out, or another thread raised it here: as any other trouble
                self._complain(f"interrupted by {error!r}")
                faults += 1
                if faults == 1:
                    continue  # one by itself says nothing of the servers: they are not called unreachable
            if turn % len(servers) == 0 and not self._stopped:
                if self.refusal == NOT_NOW:
                    self.refusal = NOT_CONNECTED
                self._pause(self._outages.pause())

    def _dial(self, server: Server) -> Connection | None:
        try:
            return dial(self._address, server, self._name)
        except DialError as error:
            if error.denied:
                self.refusal = DENIED
            elif self.refusal == DENIED:
                self.refusal = NOT_CONNECTED
            self._complain(f"no connection to {server}: {error.problem}")
            return None

    def _complain(self, trouble: str) -> None:
        if not self._stopped:
            self._outages.complain(trouble, time.monotonic())

    def _pause(self, seconds: float) -> None:
        """Waits until it is time to connect again, and still does what is due meanwhile."""
        until = time.monotonic() + seconds
        while not self._stopped and (left := until - time.monotonic()) > 0:
            self._ends.due()
            due = self._ends.deadline()
            wait_for(self._waker, None, left if due is None else max(0.0, min(left, due - time.monotonic())))

    def _serve(self, connection: Connection) -> None:
        """Listens until the connection is gone."""
        now = time.monotonic()
        self._heard_at, self._asked_at = now, None
        self._learn_peers(connection)
        self._outages.connected(connection.server, now)
        why = "the connection broke"
        try:
            self._write(connection, self._ends.connected())
            self._connection = connection
            self.refusal = NOT_CONNECTED
            while not self._stopped:
                self._turn(connection)
            self._finish(connection)
        except DialError as error:
            why = error.problem
            if error.denied:
                self.refusal = DENIED
        except (OSError, ProtocolError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or str(error) or why
        finally:
            self.losses += 1
            self._connection = None
            self._outages.disconnected(time.monotonic())
            self._give_turns_back()
            with self._alone():
                connection.close()
            self._ends.disconnected()
        if not self._stopped:
            self._known.append(self._known.pop(self._known.index(connection.server)))
            self._complain(f"{connection.server} is gone: {why}")

    def _turn(self, connection: Connection) -> None:
        now = time.monotonic()
        ends = self._ends
        due = ends.deadline()
        if due is not None and now >= due:
            self._write(connection, ends.due())
            due = ends.deadline()
        quiet = self._address.ping - (now - (self._asked_at or self._heard_at))
        if quiet <= 0:
            if self._asked_at is not None:
                raise DialError(f"no answer for {self._address.ping:g} s")
            self._asked_at = now
            self._write(connection, [b"PING\r\n"])
            quiet = self._address.ping
        room = wait_for(self._waker, connection, min(quiet, _FOR_EVER if due is None else max(0.0, due - now)))
        self._read(connection)
        if connection.unsure:  # somebody writes, or was interrupted while writing
            with self._alone(0.0) as alone:
                if alone and connection.unsure:
                    raise BrokenPipeError(errno.EPIPE, "a write was interrupted")
        if room:
            with self._alone():
                connection.full_since = None
                connection.flush()

    def _read(self, connection: Connection) -> None:
        if isinstance(connection.sock, ssl.SSLSocket):
            with self._alone():  # one TLS state serves both directions
                count = connection.read()
        else:
            count = connection.read()
        if count is None:
            return
        if not count:
            raise DialError("it closed the connection")
        self._heard_at, self._asked_at = time.monotonic(), None
        for one in connection.cutter.cut(count):
            if isinstance(one, Delivery):
                answers = self._ends.delivered(one)
                if answers:
                    self._write(connection, answers)
            else:
                self._hear(connection, one)

    def _hear(self, connection: Connection, said: Said) -> None:
        if said.verb == "PING":
            self._write(connection, [b"PONG\r\n"])
        elif said.verb == "INFO":
            connection.learn(read_info(said.text))
            self._learn_peers(connection)
        elif said.verb == "-ERR" and not self._ends.complained(said.text):
            raise DialError(f"it says {said.text}", denied=is_denied(said.text))

    def _learn_peers(self, connection: Connection) -> None:
        """Learns the servers that a cluster announces, to be tried when those of the URL do not answer, and forgets those no longer announced."""
        own = [server for server in self._known if server in self._address.servers]
        known = [*own, *connection.peers, connection.server]
        self._known = list(dict.fromkeys(known))

    def _write(self, connection: Connection, parts: Sequence[bytes]) -> None:
        """Writes all of it, waiting where it must: this is the link's own thread."""
        if not parts:
            return
        data = b"".join(parts)
        deadline = time.monotonic() + self._address.ping
        while True:
            with self._alone():
                if connection.write(data):
                    return
            if self._stopped or time.monotonic() > deadline:
                raise DialError("it accepts no more data")
            connection.wait_for_room(0.01)

    def _finish(self, connection: Connection) -> None:
        """Ends the stream after the message that was begun, and reads what came: unread input would make the system discard unsent output."""
        deadline = time.monotonic() + _LAST_WORDS
        with self._alone(), suppress(OSError):
            while not connection.flush() and (left := deadline - time.monotonic()) > 0:
                connection.wait_for_room(left)
            connection.read()
            if not isinstance(connection.sock, ssl.SSLSocket):
                connection.sock.shutdown(socket.SHUT_WR)


class Outages:
    """Decides when a missing connection is tried again, and what is logged about it.

    Pauses grow until a connection has held for a while: a server that accepts connections and drops them is not asked ever faster.
    An outage is logged once, and at most one in ten seconds (R23). One thread calls; anybody may read `trouble`.
    """

    def __init__(self, url: str) -> None:
        """Args: url: as it may be shown."""
        self._url = url
        self._wait = _FIRST_WAIT
        self._connected_at = 0.0
        self._told = False
        self._tell_at = float("-inf")
        self.trouble: str | None = None
        """Why there is no connection, for people."""

    def complain(self, trouble: str, now: float) -> None:
        """Notes and logs that there is no connection; `now` is monotonic (seconds)."""
        self.trouble = trouble
        if not self._told and now >= self._tell_at:
            self._told, self._tell_at = True, now + EPISODE
            logger.warning("%s: %s; tried again in the background", self._url, trouble)

    def connected(self, server: Server, now: float) -> None:
        """Notes a connection, and logs it if the outage was logged."""
        told, self._told, self.trouble = self._told, False, None
        self._connected_at = now
        if told:
            logger.info("%s: connected to %s", self._url, server)

    def disconnected(self, now: float) -> None:
        """Notes that the connection is gone."""
        if now - self._connected_at >= _HOLDS:
            self._wait = _FIRST_WAIT

    def pause(self) -> float:
        """Seconds until all servers are tried again, spread so that not all senders come back at once."""
        wait, self._wait = self._wait, min(self._wait * 2, _LONGEST_WAIT)
        return wait * random.uniform(1, 2)  # noqa: S311  keeps no secret
