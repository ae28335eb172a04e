"""Full datagrams that leave by one system call: what they carry, and the account, whatever comes in between (R4 to R9)."""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest

from atmost import Receiver, Sender, SenderStats
from atmost.core import sending
from atmost.core.keys import KeyMode, new_key
from atmost.core.limits import OVERHEAD
from atmost.endpoint import sender as endpoint
from atmost.endpoint.background import Background
from atmost.transport import udp
from atmost.transport.udp import UdpOutlet, divides_datagrams
from tests.core.by_hand import read
from tests.real import header, raw_receiver, until, url_of, waiting

_IPV6_MTU = 24
"""linux/in6.h: what larger datagrams of a socket are refused."""
_SO_NO_CHECK = 11
"""asm-generic/socket.h: without checksums the system refuses to divide what it is given into datagrams."""


@pytest.fixture
def flat_out(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every sender seems to send as fast as it can, and its thread to be about to come: what waits does not depend on the clock."""
    monkeypatch.setattr(sending, "_IMMEDIATE_EVERY", 1e9)
    monkeypatch.setattr(Background, "wake_at", lambda _self, _when: True)
    endpoint._bind()
    yield
    monkeypatch.undo()
    endpoint._bind()


@contextmanager
def hurried(url: str, size: int, linger: float = 0.01, **options: Any) -> Iterator[Sender]:
    """Open a sender that has said its first words, and whose thread seems to be at work."""
    sender = Sender(url, name="n", linger=linger, max_datagram=size, **options)
    sender.send("a.b", "first")
    sender._core.background.comes_at = 0.0
    yield sender
    sender.close(0)


def send_quickly(sender: Sender, payload: Any) -> bool:
    """Send a message as if no time had passed since the one before, and no beacon were due."""
    core = sender._core
    core.beacon_at = core.open_since = 1e18
    if core._session is not None:
        core._session.load_until = 1e18
    return sender.send("a.b", payload)


def payloads_of(kind: str, random: Random, size: int) -> Iterator[Any]:
    """Yield payloads without an end."""
    largest = size - OVERHEAD - 40
    while True:
        yield {
            "equal": "x" * 40,
            "small": "x" * random.randrange(0, 20),
            "large": "x" * random.randrange(0, largest),
            "most": "x" * random.randrange(largest // 2, largest),
        }[kind]


def waiting_now(sock: socket.socket) -> list[bytes]:
    """Return what has arrived so far: more than a small buffer holds is sent."""
    datagrams = []
    while select.select([sock], [], [], 0)[0]:
        datagrams.append(sock.recv(1 << 16))
    return datagrams


def data_of(sock: socket.socket) -> list[bytes]:
    """Return the datagrams with messages that have arrived."""
    return [one for one in waiting(sock) if header(one).kind == 1]


@pytest.mark.parametrize("size", [508, 1432, 4000, 9000])
@pytest.mark.parametrize("kind", ["equal", "small", "large", "most"])
def test_the_messages_arrive_in_order_in_datagrams_of_their_own(kind: str, size: int, flat_out: None) -> None:
    """Numbered one after the other, none larger than it may be, padded only where sizes differ."""
    random = Random(size)
    payloads = payloads_of(kind, random, size)
    sent = ["first"]
    with raw_receiver() as sock, hurried(url_of(sock), size) as sender:
        core, data = sender._core, []
        several = 0
        for payload in payloads:
            before = core.datagrams
            assert send_quickly(sender, payload)
            data += waiting_now(sock)
            sent.append(payload)
            several += core.datagrams - before > 1
            assert sum(map(len, core.open)) <= core.together * core.room
            if core.datagrams > 100:
                break
        assert several > 3
        sender.flush()
        data = [one for one in data if header(one).kind == 1] + data_of(sock)
        assert sender.stats() == SenderStats(len(sent), {}, 0, len(sent), {})
    seen = [read(one) for one in data]
    assert [payload for one in seen for payload in one.payloads] == sent
    assert [one.prior for one in seen] == [sum(len(one.payloads) for one in seen[:at]) for at in range(len(seen))]
    assert [one.sequence for one in seen] == sorted({one.sequence for one in seen})
    assert seen[-1].sequence - seen[0].sequence == len(seen) - 1
    assert max(map(len, data)) <= size
    assert {header(one).flags for one in data} == ({0} if kind == "equal" else {0, 2})


@pytest.mark.parametrize("kind", ["equal", "small", "large"])
@pytest.mark.parametrize("pure", [False, True])
def test_a_receiver_takes_all_of_them(kind: str, pure: bool, flat_out: None) -> None:
    """With or without a compiled half of its own."""
    payloads = payloads_of(kind, Random(1), 1432)
    with Receiver("udp://127.0.0.1:0", clock_guard=0) as receiver, hurried(receiver.url, 1432) as sender:
        if pure:
            receiver._intake._descriptor = None
        sent = ["first"] + [next(payloads) for _ in range(600)]
        got = []
        for payload in sent[1:]:
            send_quickly(sender, payload)
            if (message := receiver.receive(0)) is not None:
                got.append(message.payload)
        sender.flush()
        while len(got) < len(sent) and (message := receiver.receive(30)) is not None:
            got.append(message.payload)
        assert got == sent
        assert receiver.ledger().refused == {}
        assert receiver.ledger().balanced()


@pytest.mark.parametrize(("linger", "comes_in"), [(0.01, 30), (60, 0)])
def test_none_waits_where_nobody_comes_soon(linger: float, comes_in: float, flat_out: None) -> None:
    """Of a sender with a long linger, or whose thread is far, every full datagram leaves at once (R4)."""
    with raw_receiver() as sock, hurried(url_of(sock), 508, linger) as sender:
        core = sender._core
        core.background.comes_at = time.monotonic() + comes_in
        for _ in range(200):
            send_quickly(sender, "x" * 40)
            assert sum(map(len, core.open)) <= core.room


def test_none_waits_while_messages_come_slowly(flat_out: None) -> None:
    """Others that are full would be long in coming."""
    with raw_receiver() as sock, hurried(url_of(sock), 508) as sender:
        core = sender._core
        for _ in range(200):
            core.open_since = 0.0
            sender.send("a.b", "x" * 40)
            assert sum(map(len, core.open)) <= core.room


def test_what_waits_for_others_leaves_within_its_linger() -> None:
    """Without any further call: the thread in the background sees to it."""
    with raw_receiver() as sock:
        sender = Sender(url_of(sock), name="n", max_datagram=508)
        sent = 0
        for _ in range(20):
            for _ in range(60):
                sender.send("a.b", [sent, "x" * 20])
                sent += 1
            until(lambda: not sender.stats().open)
        data = data_of(sock)
        assert [payload[0] for one in data for payload in read(one).payloads] == list(range(sent))
        sender.close(0)


def test_a_refusal_refuses_all_of_them(flat_out: None) -> None:
    """Nobody is there: all were one attempt, their numbers are spent, and what comes afterwards is sent (R5, R6)."""
    with raw_receiver() as sock:
        url = url_of(sock)
    with hurried(url, 508) as sender:
        for number in range(600):
            send_quickly(sender, [number, "x" * 40])
        sender.flush()
        stats = sender.stats()
        assert stats.refused.keys() == {"ECONNREFUSED"}
        assert stats.offered == 601 == stats.handed_over + stats.refused["ECONNREFUSED"] + stats.open
        core = sender._core
        session = core._session
        assert session is not None
        assert session.prior == 601 - stats.open
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(("127.0.0.1", int(url.rpartition(":")[2])))
            for number in range(600):
                send_quickly(sender, [number, "x" * 40])
            sender.flush()
            data = data_of(again)
        stats = sender.stats()
        lost = stats.refused["ECONNREFUSED"]
    assert stats == SenderStats(1201, {}, 0, 1201 - lost, {"ECONNREFUSED": lost})
    seen = [read(one) for one in data]
    assert seen[-1].prior + len(seen[-1].payloads) == 1201
    assert [one.prior + len(one.payloads) for one in seen[:-1]] == [one.prior for one in seen[1:]]


def test_where_the_system_cannot_divide_them_they_leave_one_by_one(flat_out: None) -> None:
    """Nothing was transmitted, so all of it is sent, and nothing is counted twice (R6)."""
    with raw_receiver() as sock, hurried(url_of(sock), 508) as sender:
        core = sender._core
        assert core.together > 1
        assert isinstance(core.outlet, UdpOutlet)
        assert core.outlet._open is not None
        core.outlet._open[0].setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
        for number in range(1000):
            send_quickly(sender, number)
        sender.flush()
        assert core.together == 1
        assert sender.stats() == SenderStats(1001, {}, 0, 1001, {})
        data = data_of(sock)
    assert [payload for one in data for payload in read(one).payloads] == ["first", *range(1000)]


@pytest.mark.needs("ipv6", "linux")
def test_where_they_are_too_large_they_become_smaller_and_leave_together(flat_out: None) -> None:
    """One of them finds that out, as one alone does (R2)."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::1", 0))
        with hurried(f"udp://[::1]:{sock.getsockname()[1]}", 1432) as sender:
            core = sender._core
            assert isinstance(core.outlet, UdpOutlet)
            assert core.outlet._open is not None
            core.outlet._open[0].setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU, 1280)
            core.outlet.path_datagram = lambda: 1280 - 48  # type: ignore[method-assign]
            several = 0
            for number in range(1000):
                before = core.datagrams
                send_quickly(sender, [number, "x" * 40])
                several += core.datagrams - before > 1 and core.room == 1280 - 48 - OVERHEAD
            assert several > 1
            sender.flush()
            stats = sender.stats()
            data = data_of(sock)
    assert stats.refused.keys() == {"EMSGSIZE"}
    assert stats.offered == 1001 == stats.handed_over + stats.refused["EMSGSIZE"]
    assert max(map(len, data)) <= 1280 - 48
    seen = [read(one) for one in data]
    assert sum(len(one.payloads) for one in seen) == stats.handed_over
    assert seen[-1].prior + len(seen[-1].payloads) == 1001


def test_where_the_system_does_not_know_how_none_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take several for one, which nobody could read."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOPROTOOPT, "Protocol not available")

    class Old(socket.socket):
        getsockopt = refuse  # type: ignore[assignment]

    with raw_receiver() as sock:
        assert Sender(url_of(sock), max_datagram=508)._core.together > 1
        divides_datagrams.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(udp.socket, "socket", Old)
            assert not divides_datagrams()
        with Sender(url_of(sock), max_datagram=508) as sender:
            assert sender._core.together == 1
    divides_datagrams.cache_clear()


def test_a_small_buffer_is_not_outgrown(flat_out: None) -> None:
    """What waits for others counts against `max_buffer` as what waits for the transport does."""
    with raw_receiver() as sock, hurried(url_of(sock), 508, max_buffer=1000) as sender:
        for number in range(300):
            assert send_quickly(sender, number)
            assert sum(map(len, sender._core.open)) <= 1000
        sender.flush()
        assert sender.stats() == SenderStats(301, {}, 0, 301, {})


def test_a_key_seals_what_was_given_after_it(flat_out: None) -> None:
    """What waits for others leaves in its own session, with its own numbers, before the key is another."""
    with raw_receiver() as sock, hurried(url_of(sock), 508) as sender:
        for number in range(200):
            send_quickly(sender, number)
        assert sum(map(len, sender._core.open)) > sender._core.room
        sender.rotate_key(new_key(bytes(32), 7, KeyMode.SIGNED).text())
        for number in range(200):
            send_quickly(sender, number)
        data = data_of(sock)
        before = [one for one in data if header(one).key_id == 0]
    assert [payload for one in before for payload in read(one).payloads] == ["first", *range(200)]
    assert len({header(one).random64 for one in before}) == 1


def test_r21_a_goodbye_comes_after_all_that_waited(flat_out: None) -> None:
    """`close` leaves nothing behind."""
    with Receiver("udp://127.0.0.1:0", clock_guard=0) as receiver:
        with hurried(receiver.url, 508) as sender:
            for number in range(200):
                send_quickly(sender, number)
            assert sum(map(len, sender._core.open)) > sender._core.room
        got = []
        while len(got) < 201 and (message := receiver.receive(30)) is not None:
            got.append(message.payload)
        assert got == ["first", *range(200)]
        until(lambda: [receiver.receive(0)] and receiver.ledger().sessions[0].tail == "closed")
        assert receiver.ledger().lost == receiver.ledger().pending == 0
