"""R15: a receiver only listens; and R11.9: what it says of a datagram, it says once."""

from atmost.core.events import Message
from atmost.core.limits import EPISODE
from atmost.core.seal import ChecksumSeal
from tests.core.twins import Receiving


class OnlyOpens(ChecksumSeal):
    """A seal for somebody who never sends."""

    def seal(self, header, body):
        """Says that something was about to be sent."""
        raise AssertionError("a receiver made a datagram")


def test_r15_a_receiver_never_makes_a_datagram():
    """R15: neither for a message nor for a beacon, a duplicate, a forgery, a loss or an eviction; amplification is 0."""
    there = Receiving(keys={0: lambda _session: OnlyOpens()}, max_sessions=1)
    hand = there.hand(1)
    there.take(hand.beacon(), hand.data(), b"noise", hand.data()[:-1] + b"\x00")
    hand.skip(3)
    last = hand.data()
    there.take(last, last, hand.goodbye())
    there.settle_all()
    there.take(there.hand(2, age_us=10).data())
    there.settle(EPISODE)
    assert there.payloads == [0, 5, 0]
    assert not any(isinstance(event, bytes | bytearray | memoryview) for event in there.events)


def test_r11_every_message_has_the_arrival_of_its_datagram():
    """R11.9: handed over after marking, in their order, with the sender, the number and both clocks of their datagram."""
    there = Receiving()
    hand = there.hand()
    there.take(hand.beacon(name="w"))
    there.pass_time(40)
    said = there.take(hand.data(3))
    assert [event.payload for event in said] == [0, 1, 2]
    for event in said:
        assert isinstance(event, Message)
        assert (event.session.name, event.arrival.sequence) == ("w", 1)
        assert (event.arrival.sent_us, event.arrival.received_us) == (hand.sent_us, there.wall_us)
