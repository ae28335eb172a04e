"""From a URL to the transport that serves it."""

from __future__ import annotations

from atmost.core.shards import Shards
from atmost.errors import OptionError
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
    if address.scheme == "nats":
        from atmost.transport.nats.outlet import NatsOutlet

        return NatsOutlet(address)
    if address.scheme == "memory":
        return MemoryOutlet(address)
    return UnixOutlet(address) if address.scheme == "unix" else UdpOutlet(address)


def open_inlet(url: str, shards: Shards | None = None) -> Inlet:
    """The receiving end for `url`, bound exclusively.

    Args:
        url: where.
        shards: those of a nats:// channel that are received here; None takes all of them.

    Raises:
        AddressError: the URL cannot be used.
        AddressInUse: somebody already receives there.
        BindError: the system, or the server, refused.
        OptionError: this kind of address has no shards, or another number of them.
    """
    address = parse_url(url)
    if address.scheme == "nats":
        from atmost.transport.nats.inlet import NatsInlet

        return NatsInlet(address, shards)
    if shards is not None:
        raise OptionError("shards", str(shards), f"None for {address.scheme}://: only a nats:// channel has shards")
    if address.scheme == "memory":
        return MemoryInlet(address)
    return bind_unix(address) if address.scheme == "unix" else bind_udp(address)
