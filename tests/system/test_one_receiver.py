"""At most one incarnation accepts at an address at once: a second one is refused, and told who is there (H2, R10)."""

import socket

import pytest

from tests.system.addresses import free_url, port_of

pytestmark = pytest.mark.needs("linux")


@pytest.mark.parametrize(
    ("scheme", "second"), [("udp", "127.0.0.1"), ("udp", "0.0.0.0"), ("unix", "")], ids=["same", "wildcard", "unix"]
)
def test_a_second_receiver_is_refused_and_told_who_holds_the_address(scene, tmp_path, scheme, second):
    """The first goes on as if nothing had happened; when it is killed, the address is free at once."""
    url = free_url(scheme, tmp_path)
    first, refused = scene.receiver(url), scene.receiver(url.replace("127.0.0.1", second))
    sender = scene.sender(first.go().ready(), "a")
    first.wait_handled(100)
    answer = refused.go().child.line()
    assert refused.child.wait() == 3
    assert f"(pid {first.child.pid})" in answer["holder"]
    assert answer["holder"] in answer["in_use"]
    first.wait_handled(first.handled() + 100)
    third = scene.receiver(url)
    first.kill()
    third.go().ready()
    third.wait_handled(100)
    sender.stop()
    third.wait_settled(sender.close())
    third.close()
    scene.verdict()
    assert refused.handled() == 0


def test_a_receiver_shares_its_port_with_nobody(scene, tmp_path):
    """Another program's socket cannot join it either, whatever it asks for: each would get a share, or a copy, of the datagrams."""
    url = free_url("udp", tmp_path)
    scene.receiver(url).go().bound()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port_of(url)))
