"""What each guarantee makes of each fault: a table, and then any faults at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atmost.lab.compare import CompareOptions, compare
from atmost.lab.compare.measures import Tally
from atmost.lab.compare.network import Copy, Crash, Purpose, SimulatedNetwork
from atmost.lab.compare.running import ARMS

OPTIONS = CompareOptions(messages=1, jitter=0.0)
GOOD = Copy(0.02, Crash.NEVER, 0.02)
FIRST = {
    "good": (GOOD,),
    "lost": (),
    "doubled": (GOOD, GOOD._replace(delay=0.03)),
    "unheard": (GOOD._replace(ack_delay=None),),
    "before": (GOOD._replace(crash=Crash.BEFORE),),
    "after": (GOOD._replace(crash=Crash.AFTER),),
    "after, then its copy": (GOOD._replace(crash=Crash.AFTER), GOOD._replace(delay=0.03)),
    "before, then its copy": (GOOD._replace(crash=Crash.BEFORE), GOOD._replace(delay=0.03)),
}
EXPECTED = {
    # fault: times processed, and transmissions, by at-most-once, at-least-once and exactly-once
    "good": ((1, 1), (1, 1), (1, 1)),
    "lost": ((0, 1), (1, 2), (1, 2)),
    "doubled": ((1, 1), (2, 1), (1, 1)),
    "unheard": ((1, 1), (2, 2), (1, 2)),
    "before": ((0, 1), (1, 2), (1, 2)),
    "after": ((1, 1), (2, 2), (1, 2)),
    "after, then its copy": ((1, 1), (2, 1), (1, 1)),
    "before, then its copy": ((0, 1), (1, 1), (1, 1)),
}


class Script:
    """The first transmission's fate; all others are good."""

    def __init__(self, first):
        self._first = first

    def of(self, purpose):
        return self._first if purpose is Purpose.FIRST else (GOOD,)


def run(kind, first):
    """One message through one arm; its book and its network."""
    network, tally = SimulatedNetwork(Script(first)), Tally()
    arm = kind(OPTIONS, network, tally)
    network.run_until(OPTIONS.ready_after)
    tally.offered.append(network.now)
    arm.send(0)
    network.run_until(OPTIONS.ready_after + 5)
    assert not arm.busy
    return tally, network


@pytest.mark.parametrize("fault", FIRST)
def test_one_message_and_one_fault(fault):
    """The whole difference between the guarantees in one table."""
    found = []
    for kind in ARMS:
        tally, network = run(kind, FIRST[fault])
        sent = network.traffic.datagrams[Purpose.FIRST] + network.traffic.datagrams[Purpose.AGAIN]
        found.append((len(tally.order), sent))
    assert tuple(found) == EXPECTED[fault]


def test_a_loss_that_the_receiver_outlives_is_told():
    """At-most-once loses, and says so; the others have nothing to say."""
    assert [run(kind, ())[0].told for kind in ARMS] == [1, 0, 0]


def test_only_exactly_once_keeps_anything_over_a_crash():
    """Sixteen bytes a message, in the log; the caller waits as long as an acknowledgement takes."""
    books = [run(kind, FIRST["after"])[0] for kind in ARMS]
    assert [book.persistent_bytes for book in books] == [0, 0, 16]
    assert [book.crashes for book in books] == [1, 1, 1]
    assert [list(book.waits) for book in books] == [[], [pytest.approx(0.24)], [pytest.approx(0.24)]]


def test_the_waits_between_retries_double():
    """A receiver that does not answer is asked more and more seldom."""

    class Deaf(Script):
        def of(self, purpose):
            return ()

    network, tally = SimulatedNetwork(Deaf(())), Tally()
    sent = []
    arm = ARMS[1](CompareOptions(messages=1, retry_after=0.2, max_backoff=1.0), network, tally)
    network.transmit = lambda _datagram, _purpose: sent.append(round(network.now, 9))
    tally.offered.append(0.0)
    arm.send(0)
    network.run_until(4.0)
    assert sent == [0.0, 0.2, 0.6, 1.4, 2.4, 3.4]
    assert arm.busy


share = st.floats(0.0, 0.6)


@settings(max_examples=25, deadline=None)
@given(loss=share, ack_loss=share, duplicate=share, before=share, after=share, seed=st.integers(0, 2**32))
def test_every_guarantee_holds_under_any_faults(loss, ack_loss, duplicate, before, after, seed):
    """Never twice, never not at all, and exactly once; and what the book says adds up."""
    options = CompareOptions(
        loss=loss,
        ack_loss=ack_loss,
        duplicate=duplicate,
        crash_before=before,
        crash_after=after,
        messages=60,
        interval=0.1,
        seed=seed,
    )
    most, least, exactly = compare(options).arms
    assert most.repeated == 0
    assert least.never == 0
    assert (exactly.never, exactly.repeated, exactly.persistent_bytes) == (0, 0, 60 * 16)
    for arm in (most, least, exactly):
        assert arm.never + arm.once + arm.repeated == arm.offered == 60
        assert arm.datagrams == arm.transmissions + arm.beacons + arm.acknowledgements
    assert most.transmissions == 60
    assert most.told <= most.never
    assert (least.wait.mean or 0) >= (least.latency.mean or 0)


def test_without_crashes_every_loss_is_told_to_the_message():
    """The goodbye reveals the last one; with crashes, what a life does not know of cannot be told."""
    most = compare(CompareOptions(loss=0.3, crash_before=0.0, crash_after=0.0, messages=3000, seed=4)).arms[0]
    assert most.never == most.told > 800


def test_the_arms_lose_the_same_first_transmissions():
    """What at-most-once never processed is what the others had to send again for, one for one."""
    options = CompareOptions(
        loss=0.2, ack_loss=0.0, duplicate=0.0, crash_before=0.0, crash_after=0.0, messages=2000, seed=5
    )
    most, least, exactly = compare(options).arms
    late = sum(wait > options.retry_after for wait in _waits(options))
    assert most.never == late
    assert least.transmissions == exactly.transmissions > 2000 + most.never


def _waits(options):
    from atmost.lab.compare.running import _SimulatedArm

    arm = _SimulatedArm(ARMS[1], options)
    arm.offer(0, options.messages)
    arm.finish()
    return arm.tally.waits
