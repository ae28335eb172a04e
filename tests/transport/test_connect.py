"""A URL leads to the transport that serves it, at both ends."""

from pathlib import Path

import pytest

from atmost.errors import AddressError
from atmost.transport.connect import open_inlet, open_outlet
from atmost.transport.memory import MemoryInlet, MemoryOutlet
from atmost.transport.sockets import SocketInlet
from atmost.transport.udp import UdpOutlet
from atmost.transport.unix import UnixInlet, UnixOutlet
from tests.real import until


@pytest.mark.parametrize(
    ("url", "outlet", "inlet"),
    [
        ("udp://127.0.0.1:0", UdpOutlet, SocketInlet),
        ("unix://{folder}/a.sock", UnixOutlet, UnixInlet),
        ("memory://connect", MemoryOutlet, MemoryInlet),
    ],
)
def test_each_scheme_has_its_two_ends(url: str, outlet: type, inlet: type, tmp_path: Path) -> None:
    """What one end is given comes out at the other; both can be closed twice."""
    receiving = open_inlet(url.format(folder=tmp_path))
    sending = open_outlet(receiving.url)
    assert (type(sending), type(receiving)) == (outlet, inlet)
    assert sending.url == receiving.url
    assert sending.same_host
    assert receiving.same_host
    assert sending.send(b"datagram") is None
    assert until(receiving.receive) == b"datagram"
    for end in (sending, receiving, sending, receiving):
        end.close()


@pytest.mark.parametrize("url", ["", "tcp://127.0.0.1:1", "memory://"])
def test_what_is_no_url_opens_nothing(url: str) -> None:
    """Both ends say the same."""
    for open_end in (open_inlet, open_outlet):
        with pytest.raises(AddressError):
            open_end(url)
