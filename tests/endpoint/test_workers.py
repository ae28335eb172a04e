"""R17: several processes at one port process every message at most once, whatever is replayed from wherever."""

import functools
import os
import signal
import socket

import pytest

from atmost import Sender, Workers
from atmost.core.shards import shard_of
from atmost.endpoint import worker
from atmost.transport import steering
from tests.endpoint.crew import Hand, crew, settled, transmit, watch

pytestmark = pytest.mark.needs("linux")

PORTS = 40


@pytest.fixture
def unsteered(monkeypatch):
    """The kernel chooses the socket by the addresses, as it does without a program."""
    monkeypatch.setattr(steering, "_steer", lambda _sock, _count: None)


@pytest.fixture
def unrefusing(monkeypatch):
    """A worker takes any session."""

    class Anything(worker.Intake):
        def __init__(self, *chosen, **options):
            super().__init__(*chosen, **{**options, "shard": (0, 1)})

    monkeypatch.setattr(worker, "Intake", Anything)


def record(group: Workers, sessions: int = 8) -> list[bytes]:
    """Send three datagrams of each of some sessions, and return the tape of them."""
    hands = [Hand(number) for number in range(sessions)]
    tape = [hand.next() for _ in range(3) for hand in hands]
    transmit(group.url, tape)
    return tape


def test_r17_many_senders_every_message_once(journal):
    """R17: all messages of real senders are processed once, each sender's by the worker its session says."""
    with crew(journal.handle, workers=3) as group:
        senders = [Sender(group.url, name=f"sender-{number}") for number in range(12)]
        for count in range(50):
            for sender in senders:
                sender.send("s", f"{sender.name}.{count}")
        for sender in senders:
            sender.close()
        ledger = watch(group, lambda: (ledger := group.ledger()).delivered == 600 and ledger)
        pids = group.pids
    assert journal.times() == {f"sender-{number}.{count}": 1 for number in range(12) for count in range(50)}
    assert ledger.balanced()
    assert (ledger.refused, ledger.lost, ledger.workers, ledger.replaced) == ({}, 0, 3, 0)
    worker_of = {row.name: pids[shard_of(bytes(10) + bytes.fromhex(row.id), 3)] for row in ledger.sessions}
    assert {(payload.split(".")[0], pid) for pid, payload in journal.entries()} == set(worker_of.items())


def test_r17_one_session_from_many_ports_meets_one_window(journal):
    """R17: the datagrams of a session may come from any port; all are processed by one worker, and none is refused."""
    with crew(journal.handle) as group:
        hands = [Hand(number) for number in range(4)]
        for _ in range(10):
            for hand in hands:
                transmit(group.url, [hand.next()])
        ledger = settled(group, 40)
        pids = group.pids
    assert (ledger.delivered, ledger.refused) == (40, {})
    assert {(payload[0], pid) for pid, payload in journal.entries()} == {(str(n), pids[n % 2]) for n in range(4)}


def test_r17_a_tape_replayed_from_40_ports_is_processed_once(journal):
    """R17: a recording of everything, played again from 40 other source ports, is refused datagram by datagram."""
    with crew(journal.handle) as group:
        tape = record(group)
        assert settled(group, len(tape)).delivered == len(tape)
        replayed = transmit(group.url, tape, ports=PORTS)
        ledger = settled(group, len(tape) + replayed)
    assert ledger.refused == {"duplicate": replayed}
    assert set(journal.times().values()) == {1}
    assert len(journal.times()) == len(tape)


@pytest.mark.usefixtures("unsteered", "unrefusing")
def test_r17_mutant_steering_by_address_processes_a_replay_twice(journal):
    """R17: with the kernel's own choice, by address and port, and workers that take any session, the same replay is a duplicate."""
    with crew(journal.handle) as group:
        tape = record(group)
        replayed = transmit(group.url, tape, ports=PORTS)
        settled(group, len(tape) + replayed)
    assert set(journal.times().values()) == {2}


@pytest.mark.usefixtures("unsteered")
def test_r17_refusing_alone_prevents_the_duplicate(journal):
    """R17: where the kernel does not steer, workers refuse what is not theirs: copies are lost, and never processed twice."""
    with crew(journal.handle) as group:
        tape = record(group)
        replayed = transmit(group.url, tape, ports=PORTS)
        ledger = settled(group, len(tape) + replayed)
    assert set(journal.times().values()) == {1}
    assert set(ledger.refused) == {"wrong_shard", "duplicate"}
    assert ledger.balanced()


def broadcast(group: Workers, tape: list[bytes]) -> None:
    """Send to everybody on the loopback interface: the kernel gives every socket a copy."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for datagram in tape:
            sock.sendto(datagram, ("127.255.255.255", int(group.url.rpartition(":")[2])))


def test_r17_what_reaches_the_wrong_worker_is_refused(journal):
    """R17: a broadcast is not steered; each copy but one is refused as `wrong_shard`, and nothing else."""
    with crew(journal.handle, "udp://0.0.0.0:0") as group:
        tape = [Hand(number).next() for number in range(6)]
        broadcast(group, tape)
        ledger = settled(group, 12)
    assert ledger.refused == {"wrong_shard": 6}
    assert journal.times() == {f"{number}.0": 1 for number in range(6)}


@pytest.mark.usefixtures("unrefusing")
def test_r17_mutant_steering_alone_processes_a_broadcast_twice(journal):
    """R17: steered workers that take any session each process their copy of a broadcast."""
    with crew(journal.handle, "udp://0.0.0.0:0") as group:
        broadcast(group, [Hand(number).next() for number in range(6)])
        settled(group, 12)
    assert journal.times() == {f"{number}.0": 2 for number in range(6)}


def test_r17_h2_a_killed_worker_is_replaced_by_a_new_incarnation(journal):
    """R17, H2, R10: its socket gets a worker with its own floor: nothing replayed is processed again; the other one goes on."""
    with crew(journal.handle) as group:
        gone, stays = Hand(0), Hand(1)
        transmit(group.url, [gone.next(), stays.next()])
        settled(group, 2)
        watch(group, lambda: len(journal.entries()) == 2)
        before = group.pids
        os.kill(before[0], signal.SIGKILL)
        watch(group, lambda: group.pids.get(0) not in {None, before[0]} and group.ready)
        pids = group.pids
        assert pids[1] == before[1]

        replayed = transmit(group.url, gone.tape + stays.tape, ports=PORTS)
        ledger = settled(group, 2 + replayed)
        assert ledger.refused == {"boot_quarantine": PORTS, "duplicate": PORTS}

        transmit(group.url, [gone.next(), stays.next()])
        ledger = settled(group, 2 + replayed + 2)
    assert journal.entries()[2:] in ([(pids[0], "0.1"), (pids[1], "1.1")], [(pids[1], "1.1"), (pids[0], "0.1")])
    assert set(journal.times().values()) == {1}
    assert (ledger.delivered, ledger.replaced, ledger.killed, ledger.unknown) == (4, 1, 1, 0)
    assert (ledger.lost, ledger.balanced()) == (0, True)
    assert {(row.before_join, row.delivered) for row in ledger.sessions} == {(1, 1), (0, 2)}


def test_h2_what_waits_at_a_dead_workers_socket_is_not_processed_by_another(journal):
    """R17, H2: while nobody receives, datagrams wait at their own socket; the next incarnation refuses what was sent before it."""
    with crew(journal.handle) as group:
        victim = group.pids[0]
        os.kill(victim, signal.SIGSTOP)
        hands = [Hand(number) for number in range(6)]
        transmit(group.url, [hand.next() for hand in hands])
        watch(group, lambda: len(journal.entries()) == 3)
        os.kill(victim, signal.SIGKILL)
        ledger = settled(group, 6)
    assert journal.times() == {"1.0": 1, "3.0": 1, "5.0": 1}
    assert (ledger.delivered, ledger.refused, ledger.killed) == (3, {"boot_quarantine": 3}, 1)


def test_r1_keys_are_handed_on(journal):
    """R1, R12a: the options of a receiver are those of each worker, keys included."""
    text = functools.partial(_key, 7)
    with crew(journal.handle, key=text()) as group:
        for number in range(4):
            with Sender(group.url, key=text(), name=str(number)) as sender:
                sender.send("s", number)
        transmit(group.url, [Hand(1).next()])
        ledger = watch(group, lambda: (ledger := group.ledger()).delivered == 4 and ledger.refused and ledger)
    assert journal.times() == {str(number): 1 for number in range(4)}
    assert ledger.refused == {"unknown_key": 1}
    assert {row.key_id for row in ledger.sessions} == {7}


def test_subjects_are_a_filter(journal):
    """Messages on other subjects count as delivered and reach no handler."""
    with crew(journal.handle, subjects="wanted.*") as group:
        with Sender(group.url) as sender:
            sender.send("wanted.1", 1)
            sender.send("other.2", 2)
        ledger = watch(group, lambda: (ledger := group.ledger()).delivered == 2 and ledger)
    assert journal.times() == {"1": 1}
    assert ledger.handler_errors == 0


def _key(number):
    from atmost.core.keys import KeyMode, new_key

    return new_key(bytes(32), number, KeyMode.SIGNED).text()
