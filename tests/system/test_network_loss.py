"""What a real network drops, the account tells to the message: |counted lost − nftables' counter| = 0 after settling (R19, R20, R22).

Two hosts in network namespaces, a cable between them, and nftables, whose counters are the truth.
They count datagrams and bytes; all messages of a sender are of one size, so the bytes of the DATA that was dropped give its messages,
also where each datagram holds another number of them. Datagrams are compared as well, beacons included, by the numbers spent.
"""

import signal

import pytest

from tests.system.addresses import drops_at
from tests.system.network import ONE_CLOCK, PORT, RECEIVER_HOST, URL, encoded_size
from tests.system.processes import wait_until

pytestmark = pytest.mark.needs("root", "netns", "nft")

SINGLE = {"count": 3000, "width": 8, "linger": 0}
"""Every message in a datagram of its own."""
MULTI = {"count": 30_000, "width": 24, "burst": 256}
"""Datagrams of 1432 bytes, and smaller ones between bursts."""
SHAPES = pytest.mark.parametrize("shape", [SINGLE, MULTI], ids=["single", "multi"])
EVERY_FOURTH = "numgen inc mod 4 == 0"
THIRTY_PERCENT = "numgen random mod 100 < 30"


@SHAPES
@pytest.mark.parametrize("rule", [EVERY_FOURTH, THIRTY_PERCENT], ids=["exact", "random"])
def test_loss_in_flight_is_counted_to_the_message(scene, network, rule, shape):
    """Every fourth datagram exactly, or three in ten by chance; beacons and goodbyes are lost like the rest."""
    network.receiver.rules("input", f"{rule} goto lose")
    receiver = scene.receiver(URL, prefix=network.receiver.prefix, grace=0.2).go()
    receiver.ready()
    sender = scene.sender(URL, "a", prefix=network.sender.prefix, **shape)
    ledger, report, counters = settle(scene, network, receiver, sender)
    data, other = counters["data"], counters["other"]
    assert ledger["lost"] == data.messages(encoded_size(shape["width"])) > 0
    assert ledger["lost_by_place"] == {"sender_socket": 0, "in_flight": ledger["lost"]}
    assert report["numbers"] - ledger["accepted"] == data.datagrams + other.datagrams
    if rule == EVERY_FOURTH:
        assert data.datagrams + other.datagrams == (report["numbers"] + 3) // 4
    assert network.dropped_by_cable() == 0


@SHAPES
def test_loss_is_split_by_place_exactly(scene, network, shape):
    """What the sender's own firewall refuses is known to the sender, and told by its beacons; what is dropped later is not (R5, R20)."""
    network.sender.rules("output", "numgen inc mod 3 == 0 goto lose")
    network.receiver.rules("input", f"{EVERY_FOURTH} goto lose")
    receiver = scene.receiver(URL, prefix=network.receiver.prefix, grace=0.2, **ONE_CLOCK).go()
    receiver.ready()
    sender = scene.sender(URL, "a", prefix=network.sender.prefix, **shape)
    ledger, report, counters = settle(scene, network, receiver, sender)
    refused = network.sender.counters()
    at_sender, in_flight = (each["data"].messages(encoded_size(shape["width"])) for each in (refused, counters))
    assert report["stats"]["refused"] == {"EPERM": at_sender}
    assert ledger["lost_by_place"] == {"sender_socket": at_sender, "in_flight": in_flight}
    assert min(at_sender, in_flight) > 0
    assert report["numbers"] - ledger["accepted"] == network.sender.dropped() + network.receiver.dropped()


@SHAPES
def test_kernel_drops_are_told_apart_from_network_drops_by_socket(scene, network, shape):
    """Of two receivers on one host one has a buffer of 4 KiB, and is stopped for a while: only its socket drops (R22).

    For each, datagrams dropped by nftables and by its socket are the numbers that are missing, exactly.
    """
    counters = {"here": (PORT, 5), "there": (PORT + 1, 3)}
    rules = [
        f"udp dport {port} numgen inc mod {share} == 0 counter name {name} drop"
        for name, (port, share) in counters.items()
    ]
    network.receiver.rules("input", *rules, counters=list(counters))
    other_url = f"udp://{RECEIVER_HOST}:{PORT + 1}"
    small = scene.receiver(URL, prefix=network.receiver.prefix, grace=0.2, receive_buffer=4096, **ONE_CLOCK)
    large = scene.receiver(other_url, prefix=network.receiver.prefix, grace=0.2, **ONE_CLOCK)
    for receiver in (small.go(), large.go()):
        receiver.ready()
    here = scene.sender(URL, "a", prefix=network.sender.prefix, **shape)
    there = scene.sender(other_url, "b", prefix=network.sender.prefix, **SINGLE)
    small.child.signal(signal.SIGSTOP)
    wait_until(lambda: drops_at(small.child.pid, URL) > 0, "the small buffer is full")
    small.child.signal(signal.SIGCONT)
    drops = {}
    for name, receiver, sender in (("here", small, here), ("there", large, there)):
        sender.finish()
        receiver.wait_settled(sender.stop())
        report = sender.close()
        drops[name] = wait_missing(receiver, report["numbers"], lambda name=name: network.receiver.dropped(name))
        receiver.close()
    scene.verdict()
    assert drops["there"] == 0
    assert drops["here"] == network.receiver.receive_buffer_errors() > 0


def settle(scene, network, receiver, sender):
    """Waits until all is sent, known and either arrived or lost, and has the checker judge.

    Returns:
        The last account, the truth about the session, and the counters of the receiving host.
    """
    sender.finish()
    receiver.wait_settled(sender.stop())
    report = sender.close()
    refused = sum(report["stats"]["refused"].values())
    receiver.wait_ledger(
        lambda now: now["lost_by_place"]["sender_socket"] == refused, "the sender's refusals are known"
    )
    drops = wait_missing(receiver, report["numbers"], lambda: network.sender.dropped() + network.receiver.dropped())
    assert drops == 0, "a buffer that holds everything was full"
    ledger = receiver.close()
    verdict = scene.verdict()
    assert (verdict.lost, verdict.unknown, report["dropped"]) == (ledger["lost"], 0, [])
    return ledger, report, network.receiver.counters()


def wait_missing(receiver, numbers, dropped):
    """Waits until every number spent was accepted, dropped on the way, or dropped by the socket; how many the latter are.

    Args:
        receiver: whose socket.
        numbers: spent by the sender.
        dropped: gives the datagrams dropped on the way so far.
    """
    ledger = receiver.wait_ledger(
        lambda now: now["accepted"] + now["kernel_drops"] + dropped() == numbers, "every datagram is accounted for"
    )
    assert ledger["refused"] == {}
    return ledger["kernel_drops"]
