"""Log records that come together make the tail and the account that they make one by one, in whatever shape and order they come."""

import math
from operator import length_hint

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atmost.core.events import Arrival, LateArrival, Loss, Message, Place, SessionClosed, SessionOpened
from atmost.logs.wire import MAX_LEVEL, MAX_LEVELS, Body, LevelKey, encode, level_key
from tests.collector.scene import T0, make_state, session

LEVELS = st.sampled_from(["INFO", "INFO", "INFO", "ERROR", "AUDIT", "DEBUG"])
ODD = (
    {"level": ""},
    {"level": "x" * (MAX_LEVEL + 1)},
    {"level": 20},
    {"prior": {20: 1, 30: 0}},
    {"prior": {20: -1}},
    {"prior": {20: 1.0}},
    {"prior": {"INFO": 1}},
    {"prior": {f"l{number}": 1 for number in range(MAX_LEVELS + 1)}},
    {"prior": {20: (1 << 63) - 1}},
    {"prior": {20: 1 << 63}},
    {"prior": []},
    {"time": math.nan},
    {"time": -1.0},
    {"time": 5},
    {"time": "noon"},
    {"fields": []},
    {"fields": {}},
    {"fields": {1: "number", "thread": "own", "nested": {"a": [1, None]}, "big": 2**60}},
    {"fields": {f"f{number}": number for number in range(70)}},
    {"exception": "Traceback: " + "x" * 1000},
    {"message": "é\U0001f600"},
    {"message": "y" * 5000},
    {"message": b"bytes"},
    {"thread": "Thread-1", "process": 7},
    {"thread": "", "process": 0},
    {"process": True},
    {"logger": "a logger"},
    {"error": "it did not fit its arguments"},
    {"dropped": 3},
    {"dropped": -1},
    {"truncated": True, "original_bytes": 9000},
    {"truncated": True, "original_bytes": -1},
    {"part": 0, "parts": 2},
    {"part": 1, "parts": 2},
    {"part": 1, "parts": 1},
    {"mark": True},
    {"mark": True, "final": True},
    {"final": True},
    {"handler": b"short"},
    {"handler": "text"},
    {"something": "new"},
)


class Handler:
    """Numbers records as a handler does."""

    def __init__(self, number: int) -> None:
        self.life = int(T0 * 1e6).to_bytes(8, "big") + number.to_bytes(4, "big")
        self.counts: dict[LevelKey, int] = {}

    def record(self, level: str, text: str) -> bytes:
        """The next one, as it travels."""
        body = Body(self.life, dict(self.counts), T0, level=level, message=text, process=4242)
        self.counts[level_key(level)] = self.counts.get(level_key(level), 0) + 1
        return encode(body)


@st.composite
def turns(draw):
    """Batches of events of three sessions, of which two send records of the same handler one after the other."""
    sessions = [session("one", 1), session("two", 2), session("", 3)]
    handlers = [Handler(1), Handler(1), Handler(2)]
    sequences, held, made = [0, 0, 0], [], []
    for _ in range(draw(st.integers(1, 5))):
        events = []
        for _ in range(draw(st.integers(0, 12))):
            which = draw(st.integers(0, 2))
            by = sessions[which]
            sequences[which] += 1
            arrival = Arrival(by, sequences[which], int(T0 * 1e6), int(T0 * 1e6))
            kind = draw(st.integers(0, 9))
            if kind == 0:
                lost = Loss(by, 2, Place.IN_FLIGHT, sequences[which], sequences[which] + 1)
                others = [lost, LateArrival(by, 1), SessionClosed(by), SessionOpened(by, 0)]
                events.append(draw(st.sampled_from(others)))
                continue
            if kind == 1:
                other = draw(
                    st.sampled_from([("orders.x", 1), ("logs.app", {"message": "a line"}), ("metrics.a", 1.0)])
                )
                events.append(Message(*other, arrival))
                continue
            subject = draw(st.sampled_from(["logs.shop", "logs.shop", "logs.shop.cart"]))
            payload = msgspec.msgpack.decode(handlers[which].record(draw(LEVELS), f"record {sequences[which]}"))
            message = Message(subject, payload, arrival)
            fate = draw(st.integers(0, 19))
            if fate == 0:
                held.append(message)
            elif fate > 1:  # else it is lost
                events += [message] * (2 if fate == 2 else 1)
        if held and draw(st.booleans()):
            events.append(held.pop(0))
        made.append((draw(st.sampled_from([0.0, 0.01, 0.3, 1.0, 3.0])), events))
    return sessions[2], made


def seen(state):
    """What can be asked about records, their account and their subjects."""
    tail, reader = state.logs, state.our_logs.reader
    return (
        [msgspec.to_builtins(entry) for entry in tail.entries()],
        (tail.bytes, tail.longest, tail.cursor, +tail.counts, +tail.lost_by_level),
        reader.stats(),
        reader.sources(),
        reader.next_deadline(),
        state.subjects.rows(),
        repr(state.metrics.stats()),
    )


def feed(together, apart, events, now):
    """Gives them to one state together, and to the other one by one."""
    left = iter(events)
    while length_hint(left):
        together.feed_all(left, now, now - T0)
    for event in events:
        apart.feed(event, now, now - T0)


@pytest.mark.parametrize(
    "odd", ODD, ids=lambda odd: msgspec.json.encode(odd, enc_hook=repr).decode(errors="replace")[:40]
)
def test_a_record_of_any_shape_is_taken_as_it_would_be_alone(odd):
    """Between usual records: of each kind that a handler or a stranger may send, as the next of its life and not."""
    together, apart, by = make_state(max_record=256), make_state(max_record=256), session("one", 1)
    for step in (1, 2):
        handler, events = Handler(step), []
        for number in range(8):
            payload = msgspec.msgpack.decode(handler.record(("INFO", "ERROR")[number // 5], "text"))
            if number in {2, 4}:
                payload |= odd
            arrival = Arrival(by, 10 * step + number, int(T0 * 1e6), int(T0 * 1e6))
            if step == 1 or number != 3:  # the second time one is missing
                events.append(Message("logs.shop", payload, arrival))
        feed(together, apart, events, T0 + step)
        assert repr(seen(together)) == repr(seen(apart))
    for state in (together, apart):
        state.tick(T0 + 9, 9.0)
    assert repr(seen(together)) == repr(seen(apart))


@pytest.mark.parametrize(
    "counts", [{20: (1 << 63) - 1}, {f"l{number}": 1 for number in range(MAX_LEVELS)}], ids=["numbers", "levels"]
)
def test_counts_at_their_bounds_are_refused_alike(counts):
    """The last number that there is, and one more level than is counted apart."""
    together, apart, by = make_state(), make_state(), session("one", 1)
    handler, events = Handler(1), []
    handler.counts = counts
    for number in range(3):
        payload = msgspec.msgpack.decode(handler.record("INFO", "text"))
        events.append(Message("logs.shop", payload, Arrival(by, number, int(T0 * 1e6), int(T0 * 1e6))))
    feed(together, apart, events[:1], T0 + 1)
    for state in (together, apart):
        state.tick(T0 + 9, 9.0)  # what was before the first is lost: nothing is held back any more
    feed(together, apart, events[1:], T0 + 10)
    assert repr(seen(together)) == repr(seen(apart))
    assert together.our_logs.reader.stats().malformed == 2


@settings(max_examples=40)
@given(turns(), st.sampled_from([{}, {"max_log_records": 5}, {"max_log_records_per_sender": 3, "max_record": 256}]))
def test_records_together_are_records_one_by_one(drawn, limits):
    """Entries with all they show, what is missing, and every count; also of malformed, late, repeated and split ones."""
    together, apart = make_state(**limits), make_state(**limits)
    now, (late, batches) = T0, drawn
    for number, (after, events) in enumerate(batches):
        now += after
        if number == 2:
            late.name = "three"  # a beacon has brought it
        feed(together, apart, events, now)
        assert repr(seen(together)) == repr(seen(apart))
        for state in (together, apart):
            state.tick(now, now - T0)
    assert repr(seen(together)) == repr(seen(apart))


def test_the_usual_record_goes_the_short_way(monkeypatch):
    """And only the first of a life, and of a level, the other: else this file would compare nothing."""
    state, by, handler = make_state(), session("one", 1), Handler(1)
    fed, events = [], []
    for number in range(20):
        payload = msgspec.msgpack.decode(handler.record("INFO", f"text {number}"))
        events.append(Message("logs.shop", payload, Arrival(by, number, int(T0 * 1e6), int(T0 * 1e6))))
    state.our_logs.feed(events[0], T0)
    monkeypatch.setattr(state.our_logs, "feed", lambda event, _now: fed.append(event))
    state.feed_all(iter(events[1:]), T0, 0.0)
    assert fed == []
    assert [entry.message for entry in state.logs.entries()] == [f"text {number}" for number in range(20)]
