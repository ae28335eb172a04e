"""A real cluster of three NATS servers, real processes at both ends, and faults between: nothing twice, and what is lost is known.

The checker judges each run (`checker.py`); the sender's own account is checked when it closes.
"""

import pytest

from tests.nats_server import HOST, NatsServer, cluster, formed, free_ports, running
from tests.real import until
from tests.system.scene import Scene

pytestmark = pytest.mark.needs("nats-server")

READY = {"future_bound": 0.05, "clock_guard": 0.05, "grace": 0.2}
SETTINGS = "lease=1.5&ping=1"


@pytest.fixture
def nodes(tmp_path):
    """Three servers that know each other."""
    with cluster(tmp_path) as nodes:
        yield nodes


def url(nodes, options=SETTINGS):
    """Return a URL with these servers; who connects tries them in any order."""
    return f"nats://{','.join(node.address for node in nodes)}/run?{options}"


def enough(scene: Scene, receiver, sender):
    """End both in order; return the sender's and the receiver's account, and what the checker says."""
    report = sender.close()
    receiver.wait_settled(report)
    ledger = receiver.close()
    return report, ledger, scene.verdict()


def test_without_a_fault_nothing_is_lost(scene, nodes):
    """Sender and receiver at different servers: every message arrives, once."""
    receiver = scene.receiver(url(nodes[:1]), **READY).go()
    receiver.ready()
    sender = scene.sender(url(nodes[1:2]), "a", count=8_000, linger=0.002)
    sender.finish()
    report, ledger, verdict = enough(scene, receiver, sender)
    assert (verdict.handled, verdict.lost, verdict.unknown) == (8_000, 0, 0)
    assert report["stats"]["refused"] == report["stats"]["dropped"] == {}
    assert ledger["kernel_drops"] == 0


def test_the_senders_server_is_killed(scene, nodes):
    """The sender goes on at another one; what it could not hand over is counted on its side, the rest is known as lost in flight."""
    receiver = scene.receiver(url(nodes[:1]), **READY).go()
    receiver.ready()
    sender = scene.sender(url(nodes[1:2]), "a")
    receiver.wait_handled(500)
    nodes[1].kill()
    before = receiver.handled()
    receiver.wait_handled(before + 2_000)
    report, _, verdict = enough(scene, receiver, sender)
    assert report["stats"]["refused"].keys() <= {"ENOTCONN", "EPIPE", "ECONNRESET", "EAGAIN"}
    assert report["stats"]["refused"].get("ENOTCONN", 0) > 0
    assert verdict.lost >= sum(report["stats"]["refused"].values())


def test_the_receivers_server_is_killed(scene, nodes):
    """The receiver goes on at another one, in time to keep its shards or by a new claim; the books of its sessions go on."""
    receiver = scene.receiver(url(nodes[:1]), **READY).go()
    receiver.ready()
    sender = scene.sender(url(nodes[1:2]), "a")
    receiver.wait_handled(500)
    nodes[0].kill()
    before = receiver.handled()
    receiver.wait_handled(before + 2_000)
    report, ledger, verdict = enough(scene, receiver, sender)
    assert report["stats"]["refused"] == {}
    (session,) = ledger["sessions"]
    assert session["sent"] == report["accepted"]
    assert verdict.unknown == 0


@pytest.mark.parametrize("end", ["sender", "receiver"])
def test_a_server_stands_still(scene, nodes, end):
    """It neither takes nor gives nor closes anything: whoever is connected to it finds out by itself and goes elsewhere."""
    still = nodes[0 if end == "receiver" else 1]
    receiver = scene.receiver(url(nodes[:1]), **READY).go()
    receiver.ready()
    sender = scene.sender(url(nodes[1:2]), "a")
    receiver.wait_handled(500)
    still.stop()
    accepted = sender.progress()["accepted"]
    sender.wait_accepted(accepted + 3_000)  # it never waits for that server
    before = receiver.handled()
    receiver.wait_handled(before + 2_000)
    still.go_on()
    receiver.wait_handled(before + 4_000)
    _, _, verdict = enough(scene, receiver, sender)
    assert verdict.unknown == 0


def test_all_servers_are_restarted(scene, nodes):
    """While none is there all is refused and counted; afterwards the shards are claimed anew, and the books go on."""
    receiver = scene.receiver(url(nodes), **READY).go()
    receiver.ready()
    sender = scene.sender(url(nodes), "a")
    receiver.wait_handled(500)
    for node in nodes:
        node.kill()
    accepted = sender.progress()["accepted"]
    sender.wait_accepted(accepted + 5_000)
    for node in nodes:
        node.start()
    until(lambda: formed(nodes))
    before = receiver.handled()
    receiver.wait_handled(before + 2_000)
    report, ledger, verdict = enough(scene, receiver, sender)
    refused = sum(report["stats"]["refused"].values())
    assert refused > 0
    assert ledger["lost_by_place"]["sender_socket"] == refused
    assert verdict.unknown == 0


def test_a_topology_that_duplicates(scene, tmp_path):
    """A leaf with two ways to one cluster brings everything twice: the window refuses the second, and nothing is lost."""
    ports = free_ports(4)
    routes = f'"nats://{HOST}:{ports[0]}", "nats://{HOST}:{ports[1]}"'
    hubs = [
        NatsServer(
            tmp_path,
            f"hub{number}",
            f'cluster {{ name: hub, listen: "{HOST}:{ports[number]}", routes: [{routes}], pool_size: -1 }}\n'
            f'leafnodes {{ listen: "{HOST}:{ports[2 + number]}" }}\n',
        )
        for number in range(2)
    ]
    remotes = ", ".join(f'{{ url: "nats://{HOST}:{port}" }}' for port in ports[2:])
    leaf = NatsServer(tmp_path, "leaf", f"leafnodes {{ remotes: [{remotes}] }}\n")
    with running(hubs), running([leaf]):
        until(lambda: formed(hubs))
        until(lambda: leaf.log.read_text().count("Leafnode connection created") == 2)
        receiver = scene.receiver(hubs[0].url("run", SETTINGS), **READY).go()
        receiver.ready()
        sender = scene.sender(leaf.url("run", SETTINGS), "a", count=5_000)
        sender.finish()
        _, ledger, verdict = enough(scene, receiver, sender)
    assert (verdict.handled, verdict.lost) == (5_000, 0)
    assert ledger["refused"]["duplicate"] > 100
