"""From a URL to the transport that serves it."""

from __future__ import annotations

from atmost.transport.base import Inlet, Outlet
from atmost.transport.memory import MemoryInlet, MemoryOutlet
from atmost.transport.udp import UdpOutlet, bind_udp
from atmost.transport.unix import UnixOutlet, bind_unix
from atmost.transport.url import parse_url


def open_outlet(url: str) -> Outlet:
    """The sending end for `url`.

    Raises:
        AddressError: the URL cannot be used for sending.
    """
    address = parse_url(url)
    if address.scheme == "memory":
        return MemoryOutlet(address)
    return UnixOutlet(address) if address.scheme == "unix" else UdpOutlet(address)


def open_inlet(url: str) -> Inlet:
    """The receiving end for `url`, bound exclusively.

    Raises:
        AddressError: the URL cannot be used.
        AddressInUse: somebody already receives there.
        BindError: the system refused.
    """
    address = parse_url(url)
    if address.scheme == "memory":
        return MemoryInlet(address)
    return bind_unix(address) if address.scheme == "unix" else bind_udp(address)
