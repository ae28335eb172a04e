"""UDP over IPv4 and IPv6, unicast and multicast.

The outlet is a connected socket that never fragments: what the path cannot take is refused by the kernel and counted.
The inlet binds exclusively (no SO_REUSEADDR: on UDP it lets a second process bind, and each would process the same message, H2).
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys
from typing import Any, Final

from atmost.core.limits import MAX_DATAGRAM
from atmost.errors import AddressError, AddressInUse, BindError
from atmost.transport.base import LOCAL_DATAGRAM, NETWORK, NETWORK_DATAGRAM, SAME_HOST, Address, Preset, wall_clock
from atmost.transport.holder import udp_holder
from atmost.transport.sockets import SocketInlet, errno_name

# From linux/in.h and linux/in6.h; the socket module has not all of them.
_IP_MTU_DISCOVER: Final = 10
_IP_MTU: Final = 14
_IPV6_MTU_DISCOVER: Final = 23
_IPV6_MTU: Final = 24
_PMTUDISC_DO: Final = 2
_HEADERS: Final[dict[int, int]] = {socket.AF_INET: 28, socket.AF_INET6: 48}
_LOOPBACK_MTU: Final = 65_535  # an interface of 65,536, as the socket reports it
_FOR_GROUPS: Final = "interface and ttl are for multicast groups"
_OTHER_LOCAL: Final = 8_192  # macOS refuses more than net.inet.udp.maxdgram, 9,216 by default


class UdpOutlet:
    """Sends to one address."""

    clock = staticmethod(wall_clock)
    patience = 0.0

    def __init__(self, address: Address) -> None:
        """Resolves and connects.

        Raises:
            AddressError: the name cannot be resolved, the port is 0, or an option is wrong.
        """
        if not address.port:
            raise AddressError(address.url, "port 0 is for receiving; a sender needs the receiver's port")
        self.url = address.url
        self._family, target = _resolve(address)
        self._sock = socket.socket(self._family, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        try:
            _set_multicast(self._sock, self._family, address, target)
            _forbid_fragments(self._sock, self._family)
            self._sock.connect(target)
        except OSError as error:
            self._sock.close()
            raise AddressError(address.url, f"cannot send there: {error.strerror}") from error
        except BaseException:
            self._sock.close()
            raise
        self._send = self._sock.send
        self.preset = _preset(target[0])
        self.max_datagram = self._path_size()

    def send(self, datagram: bytes) -> str | None:
        """Hands one datagram to the kernel; with ECONNREFUSED it was not transmitted (R6)."""
        try:
            self._send(datagram)
        except OSError as error:
            return errno_name(error)
        return None

    def path_datagram(self) -> int | None:
        """The path's MTU as the kernel knows it now, less headers."""
        mtu = _path_mtu(self._sock, self._family)
        return None if mtu is None else min(MAX_DATAGRAM, mtu - _HEADERS[self._family])

    def close(self) -> None:
        """Closes the socket."""
        self._sock.close()

    def _path_size(self) -> int:
        mtu = _path_mtu(self._sock, self._family)
        if mtu is None:
            return _OTHER_LOCAL if self.preset.one_clock else NETWORK_DATAGRAM
        if mtu >= _LOOPBACK_MTU:
            return LOCAL_DATAGRAM
        return min(NETWORK_DATAGRAM, mtu - _HEADERS[self._family])


def bind_udp(address: Address) -> SocketInlet:
    """Binds the receiving end exclusively; joins the group when the address is multicast.

    Raises:
        AddressError: the name cannot be resolved, or an option is wrong.
        AddressInUse: another socket holds the address.
        BindError: the system refused for another reason.
    """
    family, target = _resolve(address)
    multicast = _is_multicast(target[0])
    if address.options and not multicast:
        raise AddressError(address.url, _FOR_GROUPS)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows shares addresses by default
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        sock.bind(("", target[1]) if multicast and sys.platform == "win32" else target)
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


def _resolve(address: Address) -> tuple[int, Any]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
    except (socket.gaierror, UnicodeError) as error:
        detail = error.strerror if isinstance(error, socket.gaierror) else "not a valid host name"
        raise AddressError(address.url, f"cannot resolve {address.host!r}: {detail}") from None
    # The first answer is the system's preference (RFC 6724).
    family, _, _, _, target = found[0]
    host, port, *link = target
    if link and not link[1] and _needs_link(str(host)):
        target = (str(host), int(port), 0, _interface(address))
    return family, target


def _preset(host: str) -> Preset:
    """Only what is bound to, or sent to, a loopback address stays on this host."""
    return SAME_HOST if _is_loopback(host) else NETWORK


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.split("%", maxsplit=1)[0]).is_loopback


def _is_multicast(host: str) -> bool:
    return ipaddress.ip_address(host.split("%", maxsplit=1)[0]).is_multicast


def _needs_link(host: str) -> bool:
    """Whether it is a group that exists once on every link (ff01::/16, ff02::/16), so that the system wants to know which."""
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
    if not _is_multicast(target[0]):
        if address.options:
            raise AddressError(address.url, _FOR_GROUPS)
        return
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
