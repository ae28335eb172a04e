"""The same arms over real UDP: the promises hold, whatever the machine is busy with."""

import pytest

from atmost.errors import OptionError
from atmost.lab.compare import CompareOptions, compare_real
from atmost.lab.compare.network import Purpose
from atmost.lab.compare.real import RealNetwork
from tests.real import until

SHORT = CompareOptions(
    messages=150,
    interval=0.002,
    latency=0.001,
    jitter=0.001,
    retry_after=0.05,
    max_backoff=0.1,
    future_bound=0.1,
    clock_guard=0.05,
    loss=0.2,
    ack_loss=0.2,
    duplicate=0.1,
    crash_before=0.02,
    crash_after=0.02,
)


def test_the_promises_hold_over_sockets():
    """Never twice; never not at all; exactly once. And faults there were."""
    seen = []
    comparison = compare_real(SHORT, seen.append)
    most, least, exactly = comparison.arms
    assert comparison.complete
    assert comparison.real
    assert sum(seen) == 3 * 150
    assert [arm.offered for arm in comparison.arms] == [150] * 3
    assert most.repeated == 0
    assert 0 < most.once < 150
    assert most.transmissions == 150
    assert least.never == 0
    assert least.repeated > 0
    assert (exactly.once, exactly.persistent_bytes) == (150, 150 * 16)
    assert min(least.transmissions, exactly.transmissions) > 150
    assert min(arm.crashes for arm in comparison.arms) > 0
    assert (least.latency.mean or 0) >= SHORT.latency
    assert not any("(s)" in check.figure for check in comparison.checks)


def test_stopped_early_it_gives_up_what_is_still_retried():
    """After a Ctrl-C nobody waits for minutes of backoff."""
    options = CompareOptions(**SHORT.as_dict() | {"messages": 100_000, "loss": 0.9, "max_backoff": 60.0})
    seen = []
    comparison = compare_real(options, seen.append, lambda: len(seen) >= 20)
    assert comparison.offered == 20
    assert not comparison.complete


def test_a_run_of_hours_is_refused():
    """Real time is the user's."""
    with pytest.raises(OptionError, match="600 s"):
        compare_real(CompareOptions(messages=100_000, interval=0.02))


def test_a_socket_that_refuses_is_counted_and_raises_nothing():
    """As everywhere: the network never raises."""
    with RealNetwork(SHORT) as network:
        network.connect(lambda *_: None, lambda _: None)
        network.transmit(bytes(70_000), Purpose.FIRST)
        assert (network.traffic.refused, network.traffic.datagrams[Purpose.FIRST]) == (1, 1)


def test_timers_and_datagrams_take_their_time():
    """A datagram comes through the link, its answer back, a timer when it is due."""
    quiet = CompareOptions(loss=0.0, ack_loss=0.0, duplicate=0.0, crash_before=0.0, crash_after=0.0, latency=0.001)
    with RealNetwork(quiet) as network:
        seen = []
        network.connect(network.reply, seen.append)
        network.after(0.02, seen.append, "timer")
        network.transmit(b"there and back", Purpose.FIRST)
        until(lambda: network.step() or len(seen) == 2)
        until(lambda: network.step() is False and len(seen) == 2)
        assert set(seen) == {b"there and back", "timer"}
        assert network.now >= 0.02
