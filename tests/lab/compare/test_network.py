"""Virtual time: everything happens in order, and nothing before its time."""

import math

from atmost.lab.compare.network import Copy, Crash, Purpose, SimulatedNetwork
from atmost.lab.world import EPOCH_US


class Script:
    """Fates in a row."""

    def __init__(self, *fates):
        self._fates = iter(fates)

    def of(self, purpose):
        return next(self._fates)


def copy(delay, ack_delay=0.5):
    """One that arrives."""
    return Copy(delay, Crash.NEVER, ack_delay)


def test_datagrams_arrive_by_their_fates_and_are_all_counted():
    """The lost one too: it was sent."""
    network = SimulatedNetwork(Script((copy(2.0),), (), (copy(0.5), copy(1.0))))
    arrived, answers = [], []
    network.connect(lambda datagram, _copy: arrived.append((network.now, datagram)), answers.append)
    for datagram, purpose in ((b"a", Purpose.FIRST), (b"bb", Purpose.AGAIN), (b"ccc", Purpose.CONTROL)):
        network.transmit(datagram, purpose)
    network.run_until(10.0)
    assert arrived == [(0.5, b"ccc"), (1.0, b"ccc"), (2.0, b"a")]
    assert network.now == 10.0
    assert dict(network.traffic.datagrams) == {Purpose.FIRST: 1, Purpose.AGAIN: 1, Purpose.CONTROL: 1}
    assert network.traffic.bytes == 6


def test_an_answer_has_the_fate_of_the_copy_it_answers():
    """Lost with it, or as late as it says."""
    network = SimulatedNetwork(Script())
    answers = []
    network.connect(lambda *_: None, lambda datagram: answers.append((network.now, datagram)))
    network.reply(b"late", copy(0.0, 0.5))
    network.reply(b"lost", copy(0.0, None))
    network.run_until(1.0)
    assert answers == [(0.5, b"late")]
    assert network.traffic.datagrams["acknowledgement"] == 2


def test_what_is_due_together_keeps_its_order():
    """And what is due later does not happen yet; the clock on the wall goes with it."""
    network, seen = SimulatedNetwork(Script()), []
    for name in "abc":
        network.after(1.0, seen.append, name)
    network.after(1.5, seen.append, "later")
    network.run_until(1.25)
    assert seen == ["a", "b", "c"]
    assert network.wall_us == EPOCH_US + 1_250_000
    network.run_until(math.inf)
    assert seen[-1] == "later"
    assert network.now == 1.5


def test_it_runs_no_longer_than_a_condition_holds():
    """Nor longer than there is anything to come."""
    network, seen = SimulatedNetwork(Script()), []
    for second in range(1, 6):
        network.after(second, seen.append, second)
    network.run_while(lambda: len(seen) < 3)
    assert (seen, network.now) == ([1, 2, 3], 3)
    network.run_while(lambda: True)
    assert seen == [1, 2, 3, 4, 5]
