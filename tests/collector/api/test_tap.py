"""The table of subjects, and taps: the messages of a running collector as they come."""

import asyncio
import json

from atmost.collector.state.subjects import MAX_SHOWN, MAX_SUBJECTS, MAX_TAPPED, SubjectTable, Tapping
from tests.collector.api.test_stream import Reader, until
from tests.collector.scene import T0, Asked, message, session


def test_every_subject_is_seen():
    """The README's first message too: how often, how large, and the last payload, cut."""
    asked = Asked()
    for second in range(3):
        asked.state.feed(message("orders.new", {"id": second}), T0 + second, 0.0)
    asked.state.feed(message("big", "x" * 2000), T0, 0.0)
    asked.state.observe({}, T0 + 3, 3.0)
    big, orders = asked.json("/api/v1/subjects")["subjects"]
    assert (orders["subject"], orders["count"], orders["payload"], orders["size"]) == ("orders.new", 3, '{"id":2}', 8)
    assert (orders["sender"], orders["last"]) == ("web-1", T0 + 2)
    assert (len(big["payload"]), big["cut"], big["size"]) == (MAX_SHOWN, True, 2002)


def test_rates_and_bounds():
    """Between two looks; of too many subjects the one heard longest ago makes room."""
    table = SubjectTable()
    table.update_rates(T0)
    for number in range(20):
        table.feed(message("a", number), T0)
    table.update_rates(T0 + 2)
    assert table.rows()[0].rate == 10.0
    for number in range(MAX_SUBJECTS + 10):
        table.feed(message(f"s.{number}"), T0 + 3 + number)
    assert (len(table), table.forgotten) == (MAX_SUBJECTS, 11)
    nested = []
    for _ in range(2000):
        nested = [nested]
    table.feed(message("deep", nested), T0 + 9000)
    assert next(row for row in table.rows() if row.subject == "deep").payload


def test_a_tap_is_given_what_it_wants():
    """As lines of JSON, from now on; others see nothing of it, and it ends with its reader."""

    async def scene():
        asked = Asked()
        reader = Reader(asked)
        reader.scope |= {"path": "/api/v1/tap", "query_string": b"subject=orders.*"}
        task = asyncio.ensure_future(reader.run())
        await until(lambda: asked.state.subjects.taps)
        asked.state.feed(message("orders.new", {"id": 1}, by=session("shop")), T0, 0.0)
        asked.state.feed(message("metrics.cpu", 0.5), T0, 0.0)
        lines = lambda: [json.loads(line) for part in reader.sent[1:] for line in part["body"].splitlines() if line]  # noqa: E731
        await until(lines)
        [found] = lines()
        assert (found["subject"], found["payload"], found["sender"], found["pid"]) == (
            "orders.new",
            {"id": 1},
            "shop",
            4242,
        )
        asked.app.close()
        await task
        assert asked.state.subjects.taps == []

    asyncio.run(scene())


def test_a_tap_that_is_not_read_is_bounded():
    """What finds no room is counted."""
    tap = Tapping(lambda _: True)
    for number in range(MAX_TAPPED + 7):
        tap.feed(message("a", number))
    assert (len(tap.drain()), tap.dropped) == (MAX_TAPPED, 7)
    tap.feed(message("a", "x" * (2 << 20)))
    assert tap.dropped == 8


def test_misuse():
    """A pattern that is none, and more taps than there may be."""
    asked = Asked()
    assert asked.get("/api/v1/tap?subject=a..b").json()["error"]["code"] == "bad_subject"
    assert asked.get("/api/v1/tap?other=1").status_code == 400
    asked.state.subjects.taps += [Tapping(lambda _: True) for _ in range(4)]
    assert asked.get("/api/v1/tap").json()["error"]["code"] == "too_many_taps"
