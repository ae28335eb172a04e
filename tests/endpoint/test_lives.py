"""Receivers that are missing, stopped, killed and restarted: `send` never notices, and the account explains it."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from atmost import OptionError, Receiver, Sender, SenderStats
from atmost.core.keys import KeyMode, new_key
from tests.real import BOUND, Kind, Program, header, program, raw_receiver, until, url_of, waiting

RECEIVE = """
import json, sys, threading, time
import atmost
receiver = atmost.Receiver(sys.argv[1], clock_guard=0, grace=0)
print(receiver.url, flush=True)
seen = []
def handle(message):
    seen.append(str(message.payload))
    if len(seen) == 1:
        print("first", flush=True)
consumer = threading.Thread(target=receiver.run, args=(handle,), daemon=True)
consumer.start()
sys.stdin.readline()
while (ledger := receiver.ledger()).queued or not all(session.tail == "closed" for session in ledger.sessions):
    time.sleep(0.001)
receiver.close()
consumer.join()
ledger = receiver.ledger()
assert len(set(seen)) == len(seen) == ledger.delivered and ledger.balanced()
print(json.dumps([ledger.delivered, ledger.lost, ledger.before_join, ledger.sent]), flush=True)
"""


@pytest.fixture(params=["udp://127.0.0.1:0", "unix://{folder}/a.sock"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address on both kinds of sockets."""
    return str(request.param).format(folder=tmp_path)


@contextmanager
def sending(sender: Sender, counts: int) -> Iterator[threading.Thread]:
    """Send that many messages in a thread that must not hang."""
    thread = threading.Thread(target=lambda: [sender.send("a", number) for number in range(counts)], daemon=True)
    thread.start()
    yield thread
    thread.join(BOUND)
    assert not thread.is_alive()


def balanced(stats: SenderStats) -> bool:
    """Whether every message is somewhere (R20)."""
    return stats.offered == sum(stats.dropped.values()) + stats.open + stats.handed_over + sum(stats.refused.values())


def account(other: Program) -> list[int]:
    """Let a receiving program end; return delivered, lost, before_join, sent."""
    other.tell()
    numbers = [int(number) for number in other.line().strip("[]").split(",")]
    assert other.end() == 0
    return numbers


def test_a_sender_without_a_receiver_is_in_nobodys_way(tmp_path: Path) -> None:
    """All is counted: what the kernel refused by its errno, the rest as handed over to nobody."""
    with raw_receiver() as gone:
        nowhere = url_of(gone)
    for url in (nowhere, f"unix://{tmp_path}/a.sock", "memory://nobody"):
        with Sender(url) as sender:
            with sending(sender, 20_000):
                pass
            sender.flush()
            until(lambda: sender.stats().offered == 20_000)  # the flusher may be in the middle of a datagram
            stats = sender.stats()
            assert (stats.offered, stats.open) == (20_000, 0)
            assert balanced(stats)


@pytest.mark.parametrize("size", [10, 1000])
def test_a_stopped_receiver_stops_nobody(url: str, size: int) -> None:
    """SIGSTOP: `send` goes on, memory is bounded; after SIGCONT everything is accounted for at both ends (R4)."""
    with program(RECEIVE, url) as other:
        sender = Sender(other.line(), linger=0.001, max_hold=0.05)
        sender.send("a", "first")
        assert other.line() == "first"
        os.kill(other.pid, signal.SIGSTOP)
        try:
            thread = threading.Thread(
                target=lambda: [sender.send("a", [n, b"x" * size]) for n in range(20_000)], daemon=True
            )
            thread.start()
            thread.join(BOUND)
            assert not thread.is_alive()
            assert sum(map(len, sender._core.open)) <= 262_144
        finally:
            os.kill(other.pid, signal.SIGCONT)
        until(lambda: not sender.stats().open)
        sender.close(0.5)
        stats = sender.stats()
        assert stats.offered == 20_001
        assert balanced(stats)
        delivered, lost, before_join, sent = account(other)
        assert before_join == 0
        assert delivered + lost == sent == stats.handed_over + sum(stats.refused.values())
        assert lost >= sum(stats.refused.values())


def test_a_killed_receiver_and_the_next(url: str) -> None:
    """Each incarnation explains its own: what went to nobody is `before_join` for the second, and lost for none."""
    with program(RECEIVE, url) as first:
        address = first.line()
        sender = Sender(address, linger=0)
        sender.send("a", "first")
        assert first.line() == "first"
        first.kill()
    for number in range(100):
        assert sender.send("a", ["nobody", number])
    with program(RECEIVE, address) as second:
        assert second.line() == address
        sender.send("a", "reconnect")
        for number in range(100):
            assert sender.send("a", ["second", number])
        assert second.line() == "first"
        until(lambda: (sender.flush(), not sender.stats().open)[1])
        sender.close()
        delivered, lost, before_join, sent = account(second)
    stats = sender.stats()
    assert stats.offered == 202
    assert balanced(stats)
    assert sent == 202
    assert before_join in {101, 102}
    assert delivered + lost == 202 - before_join
    assert lost <= 1


def test_a_receiver_that_comes_later_gets_the_rest(url: str, tmp_path: Path) -> None:
    """The sender need not be told."""
    if url.endswith(":0"):
        with raw_receiver() as free:
            url = url_of(free)
    with Sender(url, linger=0) as sender:
        for number in range(10):
            sender.send("a", number)
        with Receiver(url, clock_guard=0) as receiver:
            arrived = None
            number = 10
            while arrived is None:
                sender.send("a", number)
                number += 1
                arrived = receiver.receive(0.01)
            assert arrived.payload >= 10
            assert receiver.ledger().before_join == arrived.payload
            assert receiver.ledger().lost == 0


def test_a_sender_that_is_closed_sends_nothing_more(tmp_path: Path) -> None:
    """Neither `flush` nor another key wakes it, long after a beacon would have been due; it opens no socket again."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "a"))
        with Sender(f"unix://{tmp_path}/a", linger=0) as sender:
            sender.send("a")
        arrived = [header(datagram).kind for datagram in waiting(receiver)]
        sender._core.beacon_at = 0.0
        sender.flush()
        sender.rotate_key(new_key(bytes(32), 1, KeyMode.SIGNED).text())
        assert arrived[-1] is Kind.GOODBYE
        assert waiting(receiver) == []
        assert sender._core.outlet._sock is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("timeout", [float("inf"), float("nan"), 86_401, None])
def test_a_sender_cannot_be_closed_for_ever(timeout: Any) -> None:
    """It says so, and can still be closed."""
    sender = Sender("memory://nobody")
    sender.send("a")
    with pytest.raises(OptionError, match="timeout"):
        sender.close(timeout)
    sender.close(0)
    assert not sender.send("a")


def test_a_unix_path_that_is_no_receiver_is_counted_by_name(tmp_path: Path) -> None:
    """A stream socket, a file, nothing at all: `send` answers True, and the stats say what came of it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.bind(str(tmp_path / "stream"))
        (tmp_path / "file").touch()
        for name, error in (("stream", "EPROTOTYPE"), ("file", "ECONNREFUSED"), ("missing", "ENOENT")):
            with Sender(f"unix://{tmp_path}/{name}", linger=0) as sender:
                assert sender.send("a", 1)
                assert sender.stats() == SenderStats(1, {}, 0, 0, {error: 1})
