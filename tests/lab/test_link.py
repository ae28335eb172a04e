"""The link over real sockets of this machine, and as a process of its own."""

import socket
import sys
import time
from collections import Counter
from random import Random

import pytest

from atmost.lab.faults import DROPPED, PASSED, FaultRules, LinkFaults, Verdict
from atmost.lab.link import Link
from tests.lab.scripted import BOUND, Script, data, number_of


class Clock:
    """A clock set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def assert_balanced(account) -> None:
    """The identity of every account."""
    assert account.received_datagrams == (
        account.forwarded_datagrams + account.dropped_datagrams + account.held_datagrams
    )
    assert account.received_messages == account.forwarded_messages + account.dropped_messages + account.held_messages


def test_a_link_has_an_address_of_its_own(sink):
    """Port 0 takes a free one, told by `address` and, for a sender, by `url`."""
    with Link(sink.url, Script()) as link:
        host, port = link.address
        assert host == "127.0.0.1"
        assert port > 0
        assert link.url == f"udp://127.0.0.1:{port}"


def test_an_address_in_use_is_an_error(sink):
    """Two links do not share an address by accident."""
    with Link(sink.url, Script()) as link, pytest.raises(OSError, match="in use"):
        Link(sink.url, Script(), bind=link.url)


def test_a_link_to_itself_is_refused(sink):
    """It would forward the same datagram for ever."""
    sink.socket.close()
    with pytest.raises(ValueError, match="target must be another address than the link's own"):
        Link(sink.url, Script(), bind=sink.url)


def test_datagrams_of_any_protocol_are_forwarded_unchanged(sink, source):
    """Foreign ones too, with no messages in them; an empty one, and the largest there is."""
    datagrams = [data(3), b"page.views:1|c", b"", data(2, size=1432), b"\xa5" * 65_507]
    with Link(sink.url, Script()) as link:
        arrived = []
        for datagram in datagrams:
            source.sendto(datagram, link.address)
            assert link.step(BOUND) == 1
            arrived += sink.arrived()
        account = link.account()
    assert arrived == datagrams
    assert (account.received_datagrams, account.forwarded_datagrams) == (5, 5)
    assert (account.received_messages, account.forwarded_messages) == (5, 5)


def test_loss_of_one_forwards_nothing_and_of_zero_everything(sink, source):
    """Exactly, in datagrams and in messages."""
    for loss, expected in ((0.0, 50), (1.0, 0)):
        with Link(sink.url, FaultRules(LinkFaults(loss=loss), Random(1))) as link:
            for number in range(50):
                source.sendto(data(2, number), link.address)
            link.drain()
            account = link.account()
        assert len(sink.arrived()) == account.forwarded_datagrams == expected
        assert account.dropped_messages == 100 - 2 * expected
        assert account.dropped_messages_by_reason["loss"] == 100 - 2 * expected


def test_copies_really_arrive_and_are_counted(sink, source):
    """A datagram sent three times is one duplicated datagram with two extra copies."""
    with Link(sink.url, Script([PASSED, Verdict(delays=(0.0, 0.0, 0.0))])) as link:
        for number in range(3):
            source.sendto(data(1, number), link.address)
        link.drain()
        account = link.account()
    assert [number_of(datagram) for datagram in sink.arrived()] == [0, 1, 1, 1, 2]
    assert (account.duplicated_datagrams, account.extra_copies, account.forwarded_messages) == (1, 2, 3)


def test_a_held_datagram_is_overtaken_on_the_wire(sink, source):
    """It arrives after one sent later, and leaves no earlier than its time."""
    clock = Clock()
    with Link(sink.url, Script([Verdict(delays=(0.5,), reordered=True)]), clock=clock) as link:
        source.sendto(data(1, 0), link.address)
        source.sendto(data(1, 1), link.address)
        assert link.step(BOUND) == 2
        assert [number_of(datagram) for datagram in sink.arrived()] == [1]
        clock.now += 0.4
        assert link.step() == 0
        assert sink.arrived() == []
        clock.now += 0.2
        assert link.step(BOUND) == 0
        assert [number_of(datagram) for datagram in sink.arrived()] == [0]
        assert link.account().reordered_datagrams == 1


def test_a_step_waits_for_what_is_due_and_run_for_its_condition(sink, source):
    """By the real clock: a delayed datagram leaves although nothing else arrives."""
    with Link(sink.url, FaultRules(LinkFaults(delay=0.01), Random(1))) as link:
        source.sendto(data(1), link.address)
        bound = time.monotonic() + BOUND
        link.run(until=lambda: link.account().forwarded_datagrams == 1 or time.monotonic() > bound)
        assert link.account().forwarded_datagrams == 1
    assert len(sink.arrived()) == 1


def test_a_step_takes_in_one_batch(sink, source):
    """However much waits, the caller has its turn again after 64 datagrams."""
    with Link(sink.url, Script()) as link:
        for number in range(100):
            source.sendto(data(1, number), link.address)
        assert [link.step(), link.step(), link.step()] == [64, 36, 0]


def test_drain_sends_what_is_held_at_once_in_the_order_it_is_due(sink, source):
    """What waits in the receive buffer is taken in first; nothing is held afterwards."""
    with Link(sink.url, Script(Verdict(delays=(delay,)) for delay in (300.0, 100.0, 200.0))) as link:
        for number in range(3):
            source.sendto(data(1, number), link.address)
        link.drain()
        account = link.account()
    assert [number_of(datagram) for datagram in sink.arrived()] == [1, 2, 0]
    assert_balanced(account)
    assert (account.held_datagrams, account.forwarded_datagrams, account.reordered_datagrams) == (0, 3, 1)


def test_what_is_held_is_bounded(sink, source):
    """What does not fit is dropped and counted by its reason."""
    with Link(sink.url, FaultRules(LinkFaults(delay=60), Random(1)), max_held=10) as link:
        for number in range(25):
            source.sendto(data(4, number), link.address)
        assert link.step(BOUND) == 25
        account = link.account()
        assert_balanced(account)
        assert (account.held_datagrams, account.held_messages) == (10, 40)
        assert account.dropped_messages_by_reason["overflow"] == 60
        link.drain()
    assert [number_of(datagram) for datagram in sink.arrived()] == list(range(10))


def test_a_partition_drops_everything_until_it_is_over(sink, source):
    """The n-th datagram still gets the n-th verdict."""
    with Link(sink.url, Script([PASSED, DROPPED, DROPPED, PASSED])) as link:
        for number, on in enumerate((False, True, False, False)):
            link.partition(on)
            source.sendto(data(2, number), link.address)
            assert link.step(BOUND) == 1
        account = link.account()
    assert [number_of(datagram) for datagram in sink.arrived()] == [0, 3]
    assert account.dropped_messages_by_reason == {"loss": 2, "partition": 2, "overflow": 0, "refused": 0}


def test_a_target_where_nobody_listens_hurts_no_other_datagram(source):
    """The ICMP errors that come back are nobody's: every datagram was sent, and the link still reads."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        target = f"udp://127.0.0.1:{taken.getsockname()[1]}"
    with Link(target, Script()) as link:
        for number in range(20):
            source.sendto(data(1, number), link.address)
            assert link.step(BOUND) == 1
        account = link.account()
    assert (account.forwarded_datagrams, account.send_errors) == (20, 0)


def test_what_the_socket_refuses_is_dropped_and_counted(sink):
    """A datagram that fits IPv6 and not IPv4 cannot be forwarded; the next one can."""
    try:
        source = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        source.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 loopback address")
    with source, Link(sink.url, Script(), bind="udp://[::1]:0") as link:
        assert link.url == f"udp://[::1]:{link.address[1]}"
        source.sendto(data(6, 0, size=65_520), link.address)
        source.sendto(data(1, 1), link.address)
        link.drain()
        account = link.account()
    assert [number_of(datagram) for datagram in sink.arrived()] == [1]
    assert (account.send_errors, account.dropped_datagrams, account.dropped_messages) == (1, 1, 6)
    assert account.dropped_messages_by_reason["refused"] == 6


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a socket dropped")
def test_what_the_kernel_drops_before_the_link_is_told(sink, source):
    """With a receive buffer too small, what was received and what was dropped there add up to what was sent."""
    with Link(sink.url, Script(), receive_buffer=4096) as link:
        for number in range(200):
            source.sendto(data(1, number, size=1000), link.address)
        link.drain()
        account = link.account()
    assert account.kernel_drops > 0
    assert account.received_datagrams + account.kernel_drops == 200


@pytest.mark.parametrize("seed", range(5))
def test_the_account_agrees_with_both_ends(sink, source, seed):
    """Under all faults at once, what the link says it did is what was sent, what the rules say, and what arrived."""
    faults = LinkFaults(
        loss=0.2, burst=2, duplicate=0.2, copies=3, reorder=0.2, reorder_delay=0.05, delay=0.005, jitter=0.01
    )
    rules = FaultRules(faults, Random(seed))
    expected = [rules.judge() for _ in range(400)]
    clock = Clock()
    messages = [number % 7 for number in range(400)]
    arrived = []
    with Link(sink.url, FaultRules(faults, Random(seed)), clock=clock) as link:
        for number in range(400):
            source.sendto(data(messages[number], number), link.address)
            assert link.step(BOUND) <= 1
            clock.now += 0.002
            assert_balanced(link.account())
            arrived += [number_of(datagram) for datagram in sink.arrived()]
        link.drain()
        account = link.account()
    arrived += [number_of(datagram) for datagram in sink.arrived()]
    assert_balanced(account)
    copies = Counter(arrived)
    assert copies == Counter({number: len(verdict.delays) for number, verdict in enumerate(expected) if verdict.delays})
    firsts = list(dict.fromkeys(arrived))
    overtaken = sum(any(later > number for later in firsts[:index]) for index, number in enumerate(firsts))
    assert account.received_datagrams == 400
    assert account.received_messages == sum(messages)
    assert account.forwarded_messages == sum(messages[number] for number in copies)
    assert account.dropped_datagrams == sum(verdict.dropped for verdict in expected) > 0
    assert account.duplicated_datagrams == sum(verdict.duplicated for verdict in expected) > 0
    assert account.extra_copies == len(arrived) - len(copies)
    assert account.reordered_datagrams == overtaken > 0
    assert account.held_datagrams == account.send_errors == 0


def test_a_closed_link_may_be_closed_again_and_keeps_its_account(sink, source):
    """Only what the kernel could tell is unknown then."""
    link = Link(sink.url, Script())
    source.sendto(data(2), link.address)
    link.drain()
    link.close()
    link.close()
    assert link.account().forwarded_messages == 2
    assert link.account().kernel_drops is None
