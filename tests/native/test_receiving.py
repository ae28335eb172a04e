"""The same datagrams into the compiled and the readable `ReceiverCore.receive`: the same events and the same state (R11, R19)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import atmost.endpoint.intake  # noqa: F401  it puts the compiled twin in its place
from atmost import Receiver, Sender
from atmost.core import receiving
from atmost.core.datagram import encode_message, read_header
from atmost.core.events import Event, Message
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.core.seal import NO_KEY, ChecksumSeal, no_keys
from atmost.core.sending import SenderCore, SenderOptions
from atmost.core.shards import Shards
from tests.core.by_hand import with_tag
from tests.real import until

START_US = 3_000_000
COMPILED: Callable[..., Sequence[Event]] = ReceiverCore.receive
READABLE: Callable[..., Sequence[Event]] = inspect.unwrap(ReceiverCore.receive)
ADDRESS = re.compile(" at 0x[0-9a-f]+")
"""In what an extension of MessagePack shows of itself."""
PAYLOADS = st.none() | st.integers(0, 300) | st.binary(max_size=40) | st.lists(st.text(max_size=3), max_size=3)


def shown(value: Any) -> Any:
    """Make events and state comparable: two runs have objects of their own."""
    if isinstance(value, Message):
        arrival = value.arrival
        return (
            value.subject,
            ADDRESS.sub("", repr(value.payload)),
            arrival.sequence,
            arrival.sent_us,
            arrival.received_us,
            shown(arrival.session),
        )
    if isinstance(value, (list, tuple)):
        return [shown(each) for each in value]
    return repr(value)


def state_of(core: ReceiverCore) -> Any:
    """Return everything that decides what happens next."""
    books, table = core._books, core._table
    sessions = {}
    for key, state in table.sessions.items():
        account, window = state.account, state.window
        sessions[key] = (
            [getattr(account, name) for name in account.__slots__],
            [window.highest, window.unseen, window.width],
            [
                state.datagrams,
                state.efloor,
                state.gaps_leave_at,
                state.last_seen,
                state.max_sent_us,
                state.closed,
                state.claim,
            ],
            repr(state.report),
            shown(state.session),
            None if state.gaps is None else len(state.gaps),
        )
    figures = [books.accepted, books.datagrams_in, books.gap_total, books.folded, books._refused, books.evicted]
    return sessions, figures, table.floor, core._wall_us, core._unfinished, shown(core.in_hand)


def datagrams(number: int, bodies: list[list[Any]], audience: str = "") -> list[bytes]:
    """Return what a sender hands over: a beacon, then one datagram of messages for each body."""
    core = SenderCore(
        SenderOptions(), 61_440, lambda _: ChecksumSeal(audience), name=f"n{number}", host="h", pid=number
    )
    core.begin(number, START_US + number, 0.0)
    made = []
    for at, body in enumerate(bodies):
        now = at * 0.03
        for payload in body:
            assert core.offer(encode_message(("a.b", payload)), now)
        while (outgoing := core.next_datagram(now, START_US + number + at * 30_000, flush=True)) is not None:
            core.handed_over(outgoing, None, now)
            made.append(outgoing.data)
    last = core.goodbye(9.0, START_US + len(bodies) * 30_000)
    assert last is not None
    return [*made, last.data]


def padded(datagram: bytes, size: int, said: int | None = None) -> bytes:
    """Return a datagram with so many bytes of padding, or with what else its padding says of itself."""
    head, body = datagram[:46] + (2).to_bytes(2), datagram[48:-16]
    return with_tag(head + body + bytes(size - 2) + (size if said is None else said).to_bytes(2) + bytes(16))


class Pair:
    """Two cores, one for each way; whatever is done to both must come out the same."""

    def __init__(self, **options: Any) -> None:
        keys, shard = options.pop("keys", None), options.pop("shard", None)
        parameters = ReceiverOptions(**{"future_bound": 0.5, "clock_guard": 0.5, "window": 8, **options})
        self.cores = [ReceiverCore(parameters, 0, keys, shard) for _ in range(2)]

    def receive(self, datagram: bytes, now: float, wall_us: int) -> Any:
        """Give both the datagram; return what the events were."""
        one, two = self.cores
        found, expected = COMPILED(one, datagram, now, wall_us), READABLE(two, datagram, now, wall_us)
        assert shown(found) == shown(expected)
        if any(event.__class__ is Message for event in found):
            assert found is one.in_hand
        self.check()
        return found

    def check(self) -> None:
        """Compare everything."""
        one, two = self.cores
        assert state_of(one) == state_of(two)
        assert shown(one.ledger(9.0)) == shown(two.ledger(9.0))


@st.composite
def arrivals(draw: st.DrawFn) -> list[tuple[bytes, int]]:
    """Return datagrams of two sessions as a bad network brings them, each with the step of the receiver's clock before it (µs)."""
    tapes = [draw(st.lists(st.lists(PAYLOADS, min_size=1, max_size=4), min_size=1, max_size=12)) for _ in range(2)]
    waiting = [datagrams(number + 1, tape) for number, tape in enumerate(tapes)]
    came: list[tuple[bytes, int]] = []
    while any(waiting):
        tape = draw(st.sampled_from([each for each in waiting if each]))
        one = tape.pop(0)
        fate = draw(st.sampled_from(["arrives"] * 12 + ["lost", "twice", "late", "padded", "flipped", "mended", "cut"]))
        step = draw(st.sampled_from([0, 1000, 30_000, 30_000, -2000]))
        if fate == "late" and tape:
            tape.insert(draw(st.integers(1, len(tape))), one)
            continue
        if fate == "padded":
            one = padded(one, draw(st.integers(2, 40)), draw(st.none() | st.sampled_from([0, 1, 2, 60_000])))
        if fate in {"flipped", "mended"}:
            at = draw(st.integers(0, len(one) - 1))
            one = one[:at] + bytes([one[at] ^ draw(st.integers(1, 255))]) + one[at + 1 :]
            if fate == "mended":  # the tag fits what was changed
                one = with_tag(one[:-16])
        if fate == "cut":
            one = one[: draw(st.integers(0, len(one) - 1))]
        came += [] if fate == "lost" else [(one, step)] * (2 if fate == "twice" else 1)
    return came


@given(arrivals(), st.sampled_from([{}, {}, {"max_age": 0.05}, {"max_sessions": 1}, {"window": 2}]))
def test_the_same_bytes_give_the_same_events_and_state(came: list[tuple[bytes, int]], options: dict[str, Any]) -> None:
    """Lost, repeated, late, damaged: after each datagram and each deadline everything is equal."""
    pair, wall_us = Pair(**options), START_US + 100_000
    for number, (datagram, step) in enumerate(came):
        wall_us += step
        pair.receive(datagram, number * 0.2, wall_us)
        if number % 5 == 4:
            one, two = (core.handle_deadline(number * 0.2) for core in pair.cores)
            assert shown(one) == shown(two)
            pair.check()


def usual(pair: Pair, monkeypatch: pytest.MonkeyPatch, datagram: bytes, wall_us: int = START_US + 9_000_000) -> bool:
    """Return whether the compiled twin took a datagram by itself; both cores take it."""
    read: list[bytes] = []
    with monkeypatch.context() as patch:
        patch.setattr(receiving, "read_header", lambda data: (read.append(data), read_header(data))[1])
        pair.receive(datagram, 1.0, wall_us)
    return len(read) == 1  # by the readable one


def test_the_next_number_takes_the_compiled_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data in order, also while earlier numbers are missing; beacons, gaps and repeats take the readable one."""
    pair = Pair()
    beacon, *data, goodbye = datagrams(1, [["x"]] * 6)
    data = [one for one in data if one[1] & 15 == 1]
    assert not usual(pair, monkeypatch, beacon)
    assert [usual(pair, monkeypatch, one) for one in data[:2]] == [True, True]
    assert not usual(pair, monkeypatch, data[1])  # a duplicate
    assert not usual(pair, monkeypatch, data[3])  # after a gap
    assert usual(pair, monkeypatch, data[4])
    assert not usual(pair, monkeypatch, data[2])  # late
    assert usual(pair, monkeypatch, data[5])
    assert not usual(pair, monkeypatch, goodbye)
    assert pair.cores[0].ledger(2.0).delivered == 6


def test_padding_is_taken_off_the_compiled_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """As datagrams that leave together have it; one that says something wrong of itself is refused by the readable Python."""
    pair = Pair()
    beacon, *data, _ = datagrams(1, [["x", "y"]] * 12)
    data = [one for one in data if one[1] & 15 == 1]
    assert not usual(pair, monkeypatch, beacon)
    assert [usual(pair, monkeypatch, padded(one, size)) for one, size in zip(data, (2, 3, 40, 1300), strict=False)] == [
        True
    ] * 4
    for wrong in (0, 1, 60_000, len(data[4]) - 64 + 3):
        assert not usual(pair, monkeypatch, padded(data[4], 3, wrong))
    assert usual(pair, monkeypatch, data[4])
    ledger = pair.cores[0].ledger(2.0)
    assert (ledger.delivered, ledger.refused["malformed"]) == (10, 4)


def test_what_only_the_readable_python_knows_goes_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards, ages, an audience with its own checksum, a key that was changed: the same answers, by either way."""
    data = datagrams(1, [["x"]] * 3)
    for options in ({"shard": Shards.parse("0-1/2")}, {"max_age": 100.0}):
        pair = Pair(**options)
        assert not any(usual(pair, monkeypatch, one) for one in data)
    pair = Pair(keys=no_keys("berlin"))
    berlin = datagrams(1, [["x"]] * 3, "berlin")
    assert [usual(pair, monkeypatch, one) for one in berlin] == [False, True, True, True, False][: len(berlin)]
    assert not usual(pair, monkeypatch, data[1])
    for core in pair.cores:
        core.accept_keys({NO_KEY: lambda _: ChecksumSeal("paris")})
    assert not usual(pair, monkeypatch, datagrams(1, [["x"]] * 4, "berlin")[-2])


def test_a_traced_thread_runs_the_readable_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a debugger, coverage and the tests that interrupt every line see it."""
    import sys

    pair = Pair()
    beacon, one, two, *_ = datagrams(1, [["x"]] * 3)
    pair.receive(beacon, 1.0, START_US + 9_000_000)
    assert usual(pair, monkeypatch, one)
    before = sys.gettrace()
    sys.settrace(lambda *_: None)
    try:
        took = usual(pair, monkeypatch, two)
    finally:
        sys.settrace(before)
    assert not took


def test_a_finalizer_that_reads_another_receiver_changes_nothing() -> None:
    """Garbage is collected while a datagram from the socket is decoded, and what that runs reads another socket (R9)."""
    import gc

    with Receiver("udp://127.0.0.1:0", clock_guard=0) as one, Receiver("udp://127.0.0.1:0", clock_guard=0) as other:
        receivers = {one: other, other: one}
        senders = [Sender(each.url, linger=60, max_datagram=508) for each in receivers]
        got: list[Any] = []

        def read(receiver: Receiver) -> bool:
            message = receiver.receive(0)
            if message is not None:
                got.append(message.payload)
            return message is not None

        class Litter:
            def __init__(self, receiver: Receiver) -> None:
                self.myself, self.receiver = self, receiver

            def __del__(self) -> None:
                read(receivers[self.receiver])

        sent = count()
        threshold = gc.get_threshold()
        gc.set_threshold(50, 2, 2)
        try:
            for _ in range(30):
                for sender in senders:
                    for _ in range(40):
                        sender.send("a.b", [[next(sent)], [], []])
                    sender.flush()
                for receiver in receivers:
                    Litter(receiver)
                    while read(receiver):
                        Litter(receiver)
        finally:
            gc.set_threshold(*threshold)
            gc.collect()
        for sender in senders:
            sender.close(1)
        many = next(sent)
        until(lambda: any([read(one), read(other)]) or len(got) == many)
        for receiver in receivers:
            ledger = receiver.ledger()
            assert ledger.refused == {}
            assert (ledger.delivered, ledger.lost) == (many // 2, 0)
        assert sorted(payload[0][0] for payload in got) == list(range(many))


def test_a_finalizer_in_the_middle_of_a_datagram_changes_nothing() -> None:
    """Garbage is collected while a body is decoded; what that runs may even bring the same datagram (R9)."""
    import gc

    core = ReceiverCore(ReceiverOptions(future_bound=0.5, clock_guard=0.5), 0)
    beacon, *data = datagrams(1, [[[n] for n in range(50)]] * 200)[:-1]
    core.receive(beacon, 0.0, START_US + 9_000_000)
    data = [one for one in data if one[1] & 15 == 1]
    taken: list[int] = []

    class Litter:
        def __init__(self, datagram: bytes) -> None:
            self.myself, self.datagram = self, datagram

        def __del__(self) -> None:
            taken.append(
                sum(event.__class__ is Message for event in core.receive(self.datagram, 1.0, START_US + 9_000_000))
            )

    threshold = gc.get_threshold()
    gc.set_threshold(20, 2, 2)
    try:
        for one in data:
            Litter(one)
            taken.append(sum(event.__class__ is Message for event in core.receive(one, 1.0, START_US + 9_000_000)))
            assert sum(taken) == core.ledger(1.0).delivered
    finally:
        gc.set_threshold(*threshold)
        gc.collect()
    ledger = core.ledger(1.0)
    assert ledger.balanced()
    assert ledger.delivered == sum(taken) == 50 * len(data)
    assert ledger.refused["duplicate"] > 0
