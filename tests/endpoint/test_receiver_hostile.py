"""A port anybody can write to: what is foreign or hostile is counted by reason, and nothing good is lost for it."""

import itertools
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from atmost import Receiver, Sender
from atmost.core.datagram import Kind
from atmost.transport import sockets
from atmost.transport.base import wall_clock
from tests.real import BOUND, forge, until


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on the loopback interface."""
    with Receiver("udp://127.0.0.1:0", clock_guard=0, grace=0) as receiver:
        yield receiver


@pytest.fixture
def stranger(receiver: Receiver) -> Iterator[socket.socket]:
    """A socket that can write there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", int(receiver.url.rsplit(":", 1)[1])))
        yield sock


def changed(datagram: bytes, position: int, difference: int) -> bytes:
    """Return a datagram with one byte made different."""
    content = bytearray(datagram)
    content[position] ^= difference
    return bytes(content)


def now(**numbers: int) -> bytes:
    """Return a datagram of a stranger's own session."""
    return forge([("a", "forged")], random64=66, **numbers)


HOUR = 3_600_000_000
REASONS: dict[str, list[Callable[[], bytes]]] = {
    "malformed": [
        lambda: b"",
        lambda: b"metrics.cpu:1|c",
        lambda: os.urandom(1432),
        lambda: now()[:63],
        lambda: changed(now(), 0, 0xFF),
        lambda: changed(now(), 1, 0x30),
        lambda: changed(now(), 1, 0x0E),
        lambda: changed(now(), 46, 0x80),
        lambda: forge([]),
    ],
    "unknown_key": [lambda: changed(now(), 3, 7)],
    "future": [lambda: now(sent_us=wall_clock() + HOUR), lambda: now(sent_us=(1 << 64) - 1)],
    "boot_quarantine": [lambda: now(sent_us=wall_clock() - HOUR), lambda: now(sent_us=0)],
    "auth_failed": [lambda: changed(now(), -1, 1), lambda: changed(now(), 60, 0xFF), lambda: now() + b"x"],
    "inconsistent": [lambda: now(start_us=wall_clock() + HOUR), lambda: now(prior=1)],
    "implausible": [lambda: now(sequence=1 << 62), lambda: now(sequence=1 << 40, prior=1 << 40)],
}


@pytest.mark.parametrize(("reason", "number"), [(reason, n) for reason in REASONS for n in range(len(REASONS[reason]))])
def test_each_reason_is_counted_as_such_and_good_ones_arrive(
    reason: str, number: int, receiver: Receiver, stranger: socket.socket, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every refused datagram has one reason (R11, R24), nothing is printed for it, and senders notice nothing."""
    with Sender(receiver.url, linger=0) as sender:
        for good in range(20):
            stranger.send(REASONS[reason][number]())
            sender.send("a", good)
        arrived = [receiver.receive(BOUND).payload for _ in range(20)]  # type: ignore[union-attr]
    assert arrived == list(range(20))
    until(lambda: receiver.receive(0) is None and receiver.ledger().datagrams_in >= 44)
    ledger = receiver.ledger()
    assert ledger.refused == {reason: 20}
    assert (ledger.delivered, ledger.lost) == (20, 0)
    assert len(ledger.sessions) == 1
    assert ledger.balanced()
    assert capfd.readouterr() == ("", "")


def test_a_flood_of_everything_at_once_costs_nothing_good(receiver: Receiver, stranger: socket.socket) -> None:
    """The sum of all reasons is what was sent (R20)."""
    random = Random(7140)
    makers = [make for reason in REASONS.values() for make in reason]
    sent = 0
    with Sender(receiver.url, linger=0) as sender:
        for good in range(500):
            for _ in range(random.randrange(5)):
                stranger.send(random.choice(makers)())
                sent += 1
            sender.send("a", good)
            assert receiver.receive(BOUND).payload == good  # type: ignore[union-attr]
    until(lambda: receiver.receive(0) is None and receiver.ledger().sessions[0].tail == "closed")
    ledger = receiver.ledger()
    assert sum(ledger.refused.values()) == sent
    assert ledger.refused.keys() == REASONS.keys()
    assert (ledger.delivered, ledger.lost, ledger.overflow) == (500, 0, 0)


def test_a_replayed_recording_is_refused(receiver: Receiver, stranger: socket.socket) -> None:
    """Whoever can listen can send it again, from another address (R11)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tap:
        tap.bind(("127.0.0.1", 0))
        tap.settimeout(BOUND)
        with Sender(f"udp://127.0.0.1:{tap.getsockname()[1]}", linger=0) as sender:
            for number in range(50):
                sender.send("a", number)
            sender.close(0)
        recording = [tap.recv(2000) for _ in range(52)]
    for datagram in recording * 3:
        stranger.send(datagram)
    assert [receiver.receive(BOUND).payload for _ in range(50)] == list(range(50))  # type: ignore[union-attr]
    until(lambda: receiver.receive(0) is None and receiver.ledger().datagrams_in == 156)
    assert receiver.ledger().refused == {"duplicate": 104}


def test_another_audience_is_refused() -> None:
    """Both ends agree on a name, or nothing is accepted."""
    with Receiver("udp://127.0.0.1:0", clock_guard=0, audience="billing") as receiver:
        with Sender(receiver.url, audience="shipping") as other, Sender(receiver.url, audience="billing") as sender:
            other.send("a", "theirs")
            sender.send("a", "ours")
            assert receiver.receive(BOUND).payload == "ours"  # type: ignore[union-attr]
        until(lambda: receiver.receive(0) is None and "auth_failed" in receiver.ledger().refused)
        assert receiver.ledger().delivered == 1


def test_what_is_older_than_the_limit_is_refused(receiver: Receiver) -> None:
    """A policy of freshness; without one any age is accepted."""
    receiver.close()
    with (
        Receiver(receiver.url, clock_guard=0, max_age=60) as fresh,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending,
    ):
        sending.connect(("127.0.0.1", int(fresh.url.rsplit(":", 1)[1])))
        start = fresh._intake._core.floor_us + 1
        sending.send(forge([("a", "fresh")], start_us=start, sent_us=max(start, wall_clock())))
        assert fresh.receive(BOUND) is not None
        fresh._intake.inlet.clock = lambda: wall_clock() + 61_000_000  # type: ignore[method-assign, assignment]
        sending.send(forge([("a", "stale")], start_us=start, sent_us=max(start, wall_clock()), sequence=1, prior=1))
        until(lambda: fresh.receive(0) is None and fresh.ledger().refused)
        assert fresh.ledger().refused == {"expired": 1}


@pytest.mark.parametrize("transport", ["udp", "unix"])
def test_a_receiver_never_sends_anything(transport: str, tmp_path: Path) -> None:
    """Whatever it is sent, and whoever asks (R15): nobody can use it to write to somebody else."""
    url = "udp://127.0.0.1:0" if transport == "udp" else f"unix://{tmp_path}/a.sock"
    family = socket.AF_INET if transport == "udp" else socket.AF_UNIX
    with (
        Receiver(url, clock_guard=0, grace=0) as receiver,
        socket.socket(family, socket.SOCK_DGRAM) as probe,
    ):
        probe.bind(("127.0.0.1", 0) if transport == "udp" else str(tmp_path / "probe.sock"))
        if transport == "udp":
            target: object = ("127.0.0.1", int(receiver.url.rsplit(":", 1)[1]))
        else:
            target = str(tmp_path / "a.sock")
        good = forge([("a", 1)], sequence=3, prior=5)
        datagrams = [make() for reason in REASONS.values() for make in reason if make()]
        datagrams += [
            good,
            good,
            forge(kind=Kind.BEACON, sequence=9, prior=50),
            forge(kind=Kind.GOODBYE, sequence=10, prior=99),
        ]
        for sent, datagram in enumerate(datagrams, start=1):
            probe.sendto(datagram, target)  # type: ignore[arg-type]
            until(lambda sent=sent: [receiver.receive(0)] and receiver.ledger().datagrams_in == sent)
        assert receiver.ledger().accepted == 3
        receiver.close()
        probe.setblocking(False)
        with pytest.raises(BlockingIOError):  # on one host a datagram is there as soon as it is sent
            probe.recv(1)


@pytest.mark.needs("linux", "root")
def test_nothing_leaves_from_a_receivers_port() -> None:
    """Seen by listening to the whole loopback interface, so to any address (R15)."""
    with Receiver("udp://127.0.0.1:0", clock_guard=0) as receiver:
        port = int(receiver.url.rsplit(":", 1)[1])
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)) as wire:  # ETH_P_ALL
            wire.bind(("lo", 0))
            wire.settimeout(BOUND)
            with Sender(receiver.url) as sender:
                for number in range(100):
                    sender.send("a", number)
                for _ in range(100):
                    assert receiver.receive(BOUND) is not None
            until(lambda: [receiver.receive(0)] and receiver.ledger().sessions[0].tail == "closed")
            receiver.close()
            wire.setblocking(False)
            seen = []
            while True:
                try:
                    seen.append(wire.recv(65_536))
                except BlockingIOError:
                    break
    ports = [(int.from_bytes(ip[20:22], "big"), int.from_bytes(ip[22:24], "big")) for ip in seen if ip[9:10] == b"\x11"]
    assert sum(target == port for _, target in ports) >= 5
    assert [source for source, _ in ports if source == port] == []


@pytest.mark.needs("linux")
def test_what_the_kernel_drops_is_told_beside_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly, in datagrams and by socket; the loss is exact too, in messages and by sender (R22)."""
    monkeypatch.setattr(sockets, "RECEIVE_BUFFER", 8192)
    with Receiver("udp://127.0.0.1:0", clock_guard=0, grace=0) as receiver:
        with Sender(receiver.url, linger=0) as sender:
            for number in range(300):
                sender.send("a", [number, b"x" * 400])
            drops = receiver.ledger().kernel_drops
            assert drops is not None
            assert drops > 100
            until(lambda: receiver.receive(0) is None)
            sender.send("a", "last")
            until(lambda: receiver.receive(0) is None and receiver.ledger().sessions[0].sent == 301)
            datagrams = sender._core.datagrams
        until(lambda: receiver.receive(0) is None and receiver.ledger().sessions[0].tail == "closed")
        ledger = receiver.ledger()
        assert ledger.kernel_drops is not None
        assert ledger.kernel_drops >= drops
        assert ledger.datagrams_in + ledger.kernel_drops == sender._core.datagrams >= datagrams
        assert (ledger.delivered + ledger.lost, ledger.lost_by_place["sender_socket"]) == (301, 0)
        assert 0 < ledger.lost <= ledger.kernel_drops


def test_kernel_drops_are_unknown_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """And never 0 (R22)."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with Receiver("udp://127.0.0.1:0", clock_guard=0) as receiver:
        assert receiver.ledger().kernel_drops is None


def test_a_flood_of_forged_sessions_costs_bounded_memory(receiver: Receiver, stranger: socket.socket) -> None:
    """Without a key they are sessions like others: the table forgets the one that matters least (R16)."""
    receiver.close()
    with Receiver(receiver.url, clock_guard=0, max_sessions=8) as small, Sender(receiver.url, linger=0) as sender:
        for _ in range(3):
            sender.send("a", "good")
        numbers = itertools.count(1)
        flooded = threading.Event()

        def flood() -> None:
            for _ in range(500):
                stranger.send(forge([("a", "forged")], random64=next(numbers)))
            flooded.set()

        stranger.connect(("127.0.0.1", int(small.url.rsplit(":", 1)[1])))
        assert [small.receive(BOUND).payload for _ in range(3)] == ["good"] * 3  # type: ignore[union-attr]
        threading.Thread(target=flood).start()
        until(lambda: [small.receive(0)] and flooded.is_set() and small.receive(0) is None)
        sender.send("a", "still good")
        message = small.receive(BOUND)
        assert message is not None
        assert message.payload == "still good"
        ledger = small.ledger()
        assert len(ledger.sessions) == 8
        assert ledger.evicted >= 100
        assert ledger.balanced()
