"""UDP over IPv4 and IPv6, unicast and multicast.

The outlet is a connected socket that never fragments: a datagram too large for the path is refused by the kernel and counted.
The inlet binds exclusively (no SO_REUSEADDR: on UDP it lets a second process bind, and each would process the same message, H2).
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from atmost.core.limits import MAX_DATAGRAM
from atmost.core.sending import NOT_NOW
from atmost.errors import AddressError, AddressInUse, BindError
from atmost.lifecycle import HERE, Floor, ThreadArguments, may_start_threads, register, unregister
from atmost.transport.base import (
    ANY_PROCESS,
    FORKED,
    LOCAL_DATAGRAM,
    NETWORK,
    NETWORK_DATAGRAM,
    SAME_HOST,
    Address,
    Preset,
    wall_clock,
)
from atmost.transport.holder import udp_holder
from atmost.transport.sockets import IS_BEACON, SocketInlet, errno_name, identity_of, is_still, let_go

if TYPE_CHECKING:
    import logging

# From linux/in.h, linux/in6.h and linux/udp.h; the socket module lacks some of them.
_IP_MTU_DISCOVER: Final = 10
_IP_MTU: Final = 14
_IPV6_MTU_DISCOVER: Final = 23
_IPV6_MTU: Final = 24
_PMTUDISC_DO: Final = 2
_UDP_SEGMENT: Final = 103
_HEADERS: Final[dict[int, int]] = {socket.AF_INET: 28, socket.AF_INET6: 48}
_LOOPBACK_MTU: Final = 65_535  # an interface of 65,536, as the socket reports it
_Target = tuple[int, Any]
"""An address family, and an address in the socket module's form."""
_PATIENCE: Final = 1.0
"""How long a constructor waits for a name's first lookup, and afterwards how long a sent datagram may wait for it (seconds)."""
_TEND: Final = 1.0
"""How often the socket is checked while datagrams are sent (seconds)."""
_LOOK_UP: Final = 30.0
"""How often a name is looked up again while all is well (seconds)."""
_RENEW: Final = 60.0
"""How often a socket that sends beyond this host is opened anew while all is well (seconds)."""
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
"""The pause before a name is looked up again after a refusal (seconds)."""
_PASSING: Final = frozenset({NOT_NOW, "ENOBUFS", "ENOMEM", "EMSGSIZE"})
"""Refusals that say nothing about the socket."""
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM})
"""Sending to a broadcast address."""
_RESOLVER_ERRORS: Final = {value: name for name, value in vars(socket).items() if name.startswith("EAI_")}
_FOR_GROUPS: Final = "interface and ttl are for multicast groups"
_OTHER_LOCAL: Final = 8_192  # macOS refuses more than net.inet.udp.maxdgram, 9,216 by default


@cache
def divides_datagrams() -> bool:
    """Whether the system divides what it is given at once into datagrams (`UDP_SEGMENT`, Linux 4.18).

    One that does not know the option would ignore it, and send a single datagram that nobody can read.
    """
    if sys.platform != "linux":
        return False
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.getsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT)
    except OSError:
        return False
    return True


class UdpOutlet:
    """Sends to one address, through a socket that is opened anew when the network has changed.

    Theory of operation. The name stands for a list of targets, and a socket is connected to the first of them, or there is none yet.
    Everything that changes the socket happens in `_tend`: in the thread that sends, between two datagrams, so that a new socket serves later
    datagrams only (R6). `_tend` runs with each beacon (one a second under load, one in five seconds otherwise), and before the next datagram
    after a refusal or a fork. It compares the descriptor with the socket that was opened, goes on from a refused target to the next one
    (`localhost` may be ::1 first), and replaces a socket that cannot reach anything any more. Once a minute it replaces a working socket
    too: a new source port repairs stale address translation on the path.
    Only looking up a name can wait. So each lookup has a thread of its own, which ends with it and leaves its answer to the next `_tend`.

    States: no socket and the first lookup under way (datagrams are refused as "not now" for a second, then by the name of the trouble); no socket
    (each datagram is refused by the name of the trouble); a socket; closed.
    """

    clock = staticmethod(wall_clock)

    def __init__(self, address: Address) -> None:
        """Looks the name up and connects; a failure of the network is reported once, and tried again while sending.

        Raises:
            AddressError: the port is 0, the host is not a valid name, or an option is wrong.
        """
        if not address.port:
            raise AddressError(address.url, "port 0 is for receiving; a sender needs the receiver's port")
        self.url = address.url
        self._address = address
        self._numeric = _is_numeric(address.host)
        self._targets: list[_Target] = []
        self._open: tuple[socket.socket, tuple[int, int]] | None = None
        """The socket and its identity in the system; one assignment, so that nothing interrupts between the two."""
        self._send: Callable[[bytes], int] | None = None
        self._trouble = NOT_NOW
        self._reported = False
        self._closed = False
        self._lookup: _Lookup | None = None
        self._pause = _FIRST_PAUSE
        self._begun = now = time.monotonic()
        self._open_anew = False
        self._tend_at, self._look_up_at, self._renew_at = now + _TEND, now + _LOOK_UP, now + _RENEW
        lookup = _Lookup(address, self._look_at_once)
        if self._numeric:
            lookup.run()
        else:
            self._lookup = lookup
            lookup.start(_PATIENCE)
        if lookup.done:
            if lookup.mistake is not None:
                raise lookup.mistake
            self._lookup = None
            self._take_up(lookup, now)
            trouble = self._connect(now) if self._targets else None
            if isinstance(trouble, AddressError):
                raise trouble
            if trouble is not None and trouble.errno in _FORBIDDEN:
                raise AddressError(address.url, _problem(trouble)) from trouble
        self._numeric = self._numeric and bool(
            self._targets
        )  # an address with a link that is not there yet is looked up again
        host = self._targets[0][1][0] if self._targets else ""
        self.preset = _preset(host) if host else NETWORK
        self.max_datagram = self._path_size()
        register(self, Floor.TRANSPORT)

    @property
    def patience(self) -> float:
        """What is left of the time for the name's first lookup (seconds)."""
        if self._lookup is None or self._trouble != NOT_NOW:
            return 0.0
        return max(0.0, self._begun + 2 * _PATIENCE - time.monotonic())

    def send(self, datagram: bytes, process: int = ANY_PROCESS) -> str | None:
        """Hands one datagram to the kernel; with ECONNREFUSED it was not transmitted (R6)."""
        if datagram[1:2] == IS_BEACON:
            self._tend()
        send = self._send
        if send is None:
            self._tend()
            send = self._send
            if send is None:
                return self._trouble
        try:
            return None if process in (HERE[0], ANY_PROCESS) and send(datagram) >= 0 else FORKED
        except OSError as error:
            return self.refused(error)

    def path_datagram(self) -> int | None:
        """The path's MTU as the kernel knows it now, less headers."""
        if self._open is None:
            return None
        sock, _ = self._open
        mtu = _path_mtu(sock, sock.family)
        return None if mtu is None else min(MAX_DATAGRAM, mtu - _HEADERS[sock.family])

    def close(self) -> None:
        """Closes the socket."""
        self._closed = True
        self._trouble = "EBADF"
        self._replace(None)
        unregister(self)

    release = close

    def renew(self, *, seen: bool) -> None:  # noqa: ARG002  the same whenever it is noticed
        """In a forked child: takes a socket of its own, because errors of the parent's datagrams are not the child's; no lookup runs here."""
        self._lookup = None
        self._tend_at_once()

    def _tend_at_once(self) -> None:
        """Has `_tend` run before the next datagram of any kind."""
        self._open_anew, self._tend_at, self._send = True, 0.0, None

    def refused(self, error: OSError) -> str:
        """Decides what a refusal says about the socket; the datagram is counted by the sender and never sent again."""
        name = errno_name(error)
        if name in _PASSING or self._closed:
            return name
        several = len(self._targets) > 1
        if name == "ECONNREFUSED" and several:
            self._targets = self._targets[1:] + self._targets[:1]
        if name == "EBADF" or (name == "ECONNREFUSED" and several):
            self._tend_at_once()
        elif name != "ECONNREFUSED":
            self._open_anew = True
        if not self._numeric:
            now = time.monotonic()
            self._look_up_at = min(self._look_up_at, now + self._pause)
        return name

    def _tend(self) -> None:
        """Checks, and where needed replaces, the socket; see the class."""
        now = time.monotonic()
        if now < self._tend_at:
            return
        self._tend_at = now + _TEND
        if self._closed:
            return
        lookup = self._lookup
        if lookup is not None and lookup.done:
            self._lookup = None
            self._take_up(lookup, now)
        elif lookup is not None and self._send is None and now >= self._begun + 2 * _PATIENCE:
            self._report("EAI_AGAIN", f"no answer yet for {self._address.host!r}")
        if self._open is not None and not is_still(*self._open):
            self._open[0].detach()
            self._open_anew = True
        if (self._open_anew or self._send is None or now >= self._renew_at) and self._targets:
            self._connect(now)
        if not self._numeric and self._lookup is None and now >= self._look_up_at:
            self._look_up_at = now + _LOOK_UP
            self._lookup = _Lookup(self._address, self._look_at_once)
            self._lookup.start(0.0)

    def _look_at_once(self) -> None:
        self._tend_at = 0.0

    def _take_up(self, lookup: _Lookup, now: float) -> None:
        """Has the socket opened anew when the name no longer stands for the socket's target."""
        if not lookup.targets:
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            self._look_up_at = now + self._pause
            if self._send is None:
                self._report(lookup.name, lookup.problem)
            return
        self._pause = _FIRST_PAUSE
        current = self._targets[:1]
        if current and current[0] in lookup.targets:
            self._targets = current + [target for target in lookup.targets if target != current[0]]
            return
        self._targets = list(lookup.targets)
        self._open_anew = True

    def _connect(self, now: float) -> OSError | AddressError | None:
        """Opens a socket to the first target that can be reached; if there is none the old one stays, and the first trouble is returned."""
        self._renew_at = now + (float("inf") if _is_loopback(self._targets[0][1][0]) else _RENEW)
        trouble: OSError | AddressError | None = None
        for _ in range(len(self._targets)):
            family, target = self._targets[0]
            try:
                sock = _connected(self._address, family, target)
            except (OSError, AddressError) as error:
                trouble = trouble or error
                self._targets = self._targets[1:] + self._targets[:1]
                continue
            if self._closed:  # by a signal handler, in the middle of this
                sock.close()
                return None
            self._open_anew = False
            self._replace(sock)
            if self._reported:
                self._reported = False
                _log().info("%s: sends to %s", self.url, target[0])
            return None
        assert trouble is not None
        if self._send is None:
            name = errno_name(trouble) if isinstance(trouble, OSError) else "EADDRNOTAVAIL"
            self._report(name, _problem(trouble))
        return trouble

    def _replace(self, sock: socket.socket | None) -> None:
        old = self._open
        self._open = None if sock is None else (sock, identity_of(sock))
        self._send = None if sock is None else sock.send
        if old is not None and old[0].fileno() >= 0:
            let_go(*old)

    def _report(self, name: str, problem: str) -> None:
        """Says once what is wrong; until there is a socket every datagram is refused by this name."""
        self._trouble = name
        if not self._reported:
            self._reported = True
            _log().warning("%s: %s; tried again in the background", self.url, problem)

    def _path_size(self) -> int:
        mtu = family = None
        if self._open is not None:
            sock, _ = self._open
            family = sock.family
            mtu = _path_mtu(sock, family)
        if mtu is None or family is None:
            return _OTHER_LOCAL if self.preset.one_clock else NETWORK_DATAGRAM
        return LOCAL_DATAGRAM if mtu >= _LOOPBACK_MTU else min(NETWORK_DATAGRAM, mtu - _HEADERS[family])


class _Lookup:
    """Asks once what a name stands for; the answer is complete when `done` is set."""

    def __init__(self, address: Address, answered: Callable[[], None]) -> None:
        self._address = address
        self._answered = answered
        self.targets: list[_Target] = []
        self.name = ""
        """The resolver's name for what went wrong."""
        self.problem = ""
        self.mistake: AddressError | None = None
        """An error that no change of the network can cure: an option does not go with the address."""
        self.done = False

    def start(self, patience: float) -> None:
        """Starts the lookup in a thread, and waits for it at most `patience` seconds; where no thread may run it looks the name up here."""
        if not may_start_threads():
            self.run()
            return
        thread = threading.Thread(
            target=self.run, args=ThreadArguments((), self._ended), name="atmost-lookup", daemon=True
        )
        if sys.is_finalizing():  # CPython 3.11 would wait for ever, because new threads can no longer run
            self.name, self.problem, self.done = "EAGAIN", "the interpreter is ending", True
            return
        try:
            thread.start()
        except RuntimeError:  # no thread can be started now: tried again later
            self.name, self.problem, self.done = "EAGAIN", "no thread can be started", True
            return
        if patience:
            thread.join(patience)

    def run(self) -> None:
        """Looks the name up."""
        try:
            self.targets = _resolve(self._address)
        except socket.gaierror as error:
            self.name, self.problem = (
                _RESOLVER_ERRORS.get(error.errno or 0, "EAI_FAIL"),
                _unresolved(self._address, error),
            )
        except OSError as error:
            self.name, self.problem = errno_name(error), error.strerror or str(error)
        except AddressError as error:
            self.mistake, self.name, self.problem = error, "EADDRNOTAVAIL", error.problem
        self.done = True
        self._answered()

    def _ended(self) -> None:
        """Has the name looked up again where an exception from outside ended the thread before its answer."""
        if not self.done:
            self.name, self.problem, self.done = "EAGAIN", "the lookup was interrupted", True
            self._answered()


def bind_udp(address: Address) -> SocketInlet:
    """Binds the receiving end exclusively; joins the group when the address is multicast.

    Raises:
        AddressError: the name cannot be resolved, or an option is wrong.
        AddressInUse: another socket holds the address.
        BindError: the system refused for another reason.
    """
    try:
        # The first answer is the system's preference (RFC 6724).
        family, target = _resolve(address)[0]
    except socket.gaierror as error:
        raise AddressError(address.url, _unresolved(address, error)) from None
    multicast = _is_multicast(target[0])
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(target)
        if multicast:
            _join(sock, family, address, target)
    except OSError as error:
        sock.close()
        raise _bind_error(address, family, target[0], error) from error
    except BaseException:
        sock.close()
        raise
    return SocketInlet(sock, _bound_url(sock, address), preset=_preset(target[0]))


def _bound_url(sock: socket.socket, address: Address) -> str:
    """Where senders of this host reach the socket: with the port the system chose, the link and the interface."""
    host, port, *link = sock.getsockname()
    if link:
        scope = f"%{socket.if_indextoname(link[1])}" if link[1] else ""
        host = f"[{host}{scope}]"
    interface = address.options.get("interface")
    return f"udp://{host}:{port}" + (f"?interface={interface}" if interface else "")


def _bind_error(address: Address, family: int, host: str, error: OSError) -> AddressInUse | BindError:
    if error.errno == errno.EADDRINUSE:
        return AddressInUse(address.url, udp_holder(family, host, address.port))
    if error.errno == errno.EACCES:
        return BindError(address.url, "no permission: ports below 1024 need root or CAP_NET_BIND_SERVICE")
    if error.errno == errno.EADDRNOTAVAIL:
        return BindError(address.url, "this host has no such address")
    return BindError(address.url, f"{error.strerror or error}")


def _resolve(address: Address) -> list[_Target]:
    """What the name stands for, the system's preference first (RFC 6724).

    Raises:
        AddressError: it cannot be a name, or an option does not go with the address.
        socket.gaierror: the resolver has no answer.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
    except UnicodeError:
        raise AddressError(address.url, f"cannot resolve {address.host!r}: not a valid host name") from None
    targets: list[_Target] = []
    for family, _, _, _, sockaddr in found:
        host, port, *link = sockaddr
        if not _is_multicast(str(host)) and address.options:
            raise AddressError(address.url, _FOR_GROUPS)
        if link and not link[1] and _needs_link(str(host)):
            targets.append((int(family), (host, port, 0, _interface(address))))
        else:
            targets.append((int(family), (host, port, *link)))
    return list(dict.fromkeys(targets))


def _connected(address: Address, family: int, target: Any) -> socket.socket:
    """A socket connected to the target."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if _is_multicast(target[0]):
            _set_multicast(sock, family, address, target)
        _forbid_fragments(sock, family)
        sock.connect(target)
    except BaseException:
        sock.close()
        raise
    return sock


def _problem(error: OSError | AddressError) -> str:
    return error.problem if isinstance(error, AddressError) else f"cannot send there: {error.strerror or error}"


def _unresolved(address: Address, error: socket.gaierror) -> str:
    return f"cannot resolve {address.host!r}: {error.strerror or error}"


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _preset(host: str) -> Preset:
    """The preset for a host; only datagrams to a loopback address are sure to stay on this host."""
    return SAME_HOST if _is_loopback(host) else NETWORK


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.split("%", maxsplit=1)[0]).is_loopback


def _is_multicast(host: str) -> bool:
    return ipaddress.ip_address(host.split("%", maxsplit=1)[0]).is_multicast


def _needs_link(host: str) -> bool:
    """Whether it is a group that exists once on every link (ff01::/16, ff02::/16), so that the system must be told which link."""
    return host.startswith(("ff01:", "ff02:"))


def _path_mtu(sock: socket.socket, family: int) -> int | None:
    if sys.platform != "linux":
        return None
    try:
        if family == socket.AF_INET6:
            return sock.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
        return sock.getsockopt(socket.IPPROTO_IP, _IP_MTU)
    except OSError:
        return None


def _forbid_fragments(sock: socket.socket, family: int) -> None:
    if sys.platform != "linux":
        return
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DO)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DO)


def _interface(address: Address) -> int:
    name = address.options.get("interface", "")
    if not name:
        return 0
    try:
        return socket.if_nametoindex(name)
    except OSError:
        known = ", ".join(name for _, name in socket.if_nameindex())
        raise AddressError(address.url, f"no interface {name!r}; this host has: {known}") from None


def _set_multicast(sock: socket.socket, family: int, address: Address, target: Any) -> None:
    text = address.options.get("ttl", "1")
    if not text.isdecimal() or not 0 <= int(text) <= 255:
        raise AddressError(address.url, f"ttl={text}: expected a number from 0 to 255")
    index = _interface(address) or _link(target)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, int(text))
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, int(text))
        if index:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _mreqn("0.0.0.0", index))  # noqa: S104  not bound


def _join(sock: socket.socket, family: int, address: Address, target: Any) -> None:
    index = _interface(address) or _link(target)
    if family == socket.AF_INET6:
        group = socket.inet_pton(socket.AF_INET6, target[0].split("%")[0]) + index.to_bytes(4, sys.byteorder)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, _mreqn(target[0], index))


def _link(target: Any) -> int:
    """The interface an IPv6 address names behind its `%`; 0 without one."""
    _, _, *link = target
    return int(link[1]) if link else 0


def _mreqn(group: str, index: int) -> bytes:
    """struct ip_mreqn: group, local address (any), interface."""
    return socket.inet_aton(group) + bytes(4) + index.to_bytes(4, sys.byteorder)


def _log() -> logging.Logger:
    """The package's logger; its module is loaded when there is something to say."""
    import logging

    return logging.getLogger("atmost")
