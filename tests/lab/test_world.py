"""The parts of the virtual network: the agenda, the link in virtual time, and a sender's core driven in it."""

from random import Random

import pytest

from atmost.core.datagram import read_header, unpack_messages
from atmost.errors import PayloadTooLarge
from atmost.lab.faults import FaultRules, LinkFaults
from atmost.lab.world import EPOCH_US, Agenda, Path, VirtualSender, wall_us


def test_what_is_put_off_comes_so_much_later_and_in_its_order():
    """As when a host is suspended: nothing happens meanwhile."""
    agenda, seen = Agenda(0), []
    agenda.at(5, seen.append, "a")
    agenda.at(5, seen.append, "b")
    agenda.postpone(10)
    agenda.run_until(14)
    assert (seen, agenda.now) == ([], 14)
    agenda.run_until(15)
    assert seen == ["a", "b"]


def test_what_is_asked_for_in_the_past_happens_now_and_not_within_the_call():
    """Time never goes back."""
    agenda, seen = Agenda(10), []
    agenda.at(3, lambda: seen.append(agenda.now))
    assert seen == []
    agenda.run_until(10)
    assert seen == [10]


def test_a_cleared_agenda_has_nothing_to_come():
    """And time goes on."""
    agenda, seen = Agenda(0.0), []
    agenda.after(1.0, seen.append, "never")
    agenda.clear()
    agenda.run_until(2.0)
    assert (seen, agenda.now) == ([], 2.0)


@pytest.mark.parametrize("seed", range(20))
def test_a_path_delivers_what_its_account_says(seed):
    """Each copy at its time, and nothing that was dropped."""
    agenda, arrived = Agenda(0.0), []
    faults = LinkFaults(loss=0.3, duplicate=0.2, reorder=0.3, jitter=0.05)
    path = Path(agenda, FaultRules(faults, Random(seed)), lambda data: arrived.append((agenda.now, data)))
    for number in range(200):
        agenda.run_until(number * 0.01)
        path.send(bytes([number]))
    agenda.run_until(10.0)
    account = path.link.account()
    assert account.held_datagrams == 0
    assert len(arrived) == account.forwarded_datagrams + account.extra_copies
    assert len({data for _, data in arrived}) == account.forwarded_datagrams == 200 - account.dropped_datagrams
    assert [when for when, _ in arrived] == sorted(when for when, _ in arrived)


def test_a_healed_path_loses_nothing_more():
    """What comes after it arrives at once; what waits arrives in its time."""
    agenda, arrived = Agenda(0.0), []
    path = Path(agenda, FaultRules(LinkFaults(delay=1.0), Random(1)), arrived.append)
    path.send(b"held")
    path.heal()
    path.send(b"at once")
    assert arrived == [b"at once"]
    agenda.run_until(1.0)
    assert arrived == [b"at once", b"held"]


def test_a_virtual_sender_sends_what_a_sender_would():
    """A session's beacon first, then the messages; full datagrams leave by themselves; too large ones are refused."""
    agenda, sent = Agenda(0.0), []
    sender = VirtualSender(agenda, sent.append, identity=lambda: 7, max_datagram=200)
    for number in range(60):
        assert sender.send("a.b", number)
    sender.flush()
    assert len(sent) > 2
    assert all(len(data) <= 200 for data in sent)
    headers = [(read_header(data), data[48:-16]) for data in sent]
    messages = [unpack_messages(body, header[8]) for header, body in headers if header[8]]
    values = [message.payload for together in messages for message in together]
    assert values == list(range(60))
    with pytest.raises(PayloadTooLarge):
        sender.send("a.b", "x" * 200)


def test_a_virtual_senders_beacon_comes_when_it_is_due():
    """And not before."""
    agenda, sent = Agenda(0.0), []
    sender = VirtualSender(agenda, sent.append, identity=lambda: 7, max_datagram=1432)
    sender.send("a.b", 1)
    sender.flush()
    count = len(sent)
    sender.handle_deadline()
    assert len(sent) == count
    agenda.run_until(0.06)
    sender.handle_deadline()
    assert len(sent) == count + 1


def test_the_wall_clock_goes_with_virtual_time():
    """In whole microseconds."""
    assert wall_us(0.0) == EPOCH_US
    assert wall_us(1.25) == EPOCH_US + 1_250_000
