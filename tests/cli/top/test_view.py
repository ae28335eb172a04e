"""The live view, driven by keys: what it shows of each snapshot, and what it does without one."""

import asyncio
import time

import pytest

pytest.importorskip("textual")

from atmost.cli.source import Source
from atmost.cli.top.view import MAX_LOG_LINES, MAX_ROWS, TopView
from tests.collector.page.answers import gap, heartbeat, record, sender
from tests.collector.page.scene import play
from tests.real import BOUND

SIZE = (130, 44)


def watch(fake, drive, size=SIZE):
    """Run the view against the collector, driven by a coroutine function of app and pilot."""
    source = Source(fake.url)
    app = TopView(source, source.snapshot(), every=0.15)

    async def whole():
        async with app.run_test(size=size) as pilot:
            await drive(app, pilot)

    asyncio.run(whole())
    source.close()


async def soon(pilot, condition):
    """Wait until a condition holds."""
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await pilot.pause(0.05)


def shown(app, name):
    """The text of a part of the screen."""
    return str(app.query_one(name).render())


def rows(app, name):
    """A table's cells as text."""
    table = app.query_one(name)
    return [[str(cell) for cell in table.get_row_at(number)] for number in range(table.row_count)]


def log_of(app):
    """The log's lines as they stand on the screen."""
    return [line.text.rstrip() for line in app.query_one("#log").lines]


def test_everything_has_its_place(fake):
    """Totals, warnings, senders worst first, heartbeats worst first, and the log with its holes."""
    play(fake)

    async def drive(app, pilot):
        await soon(pilot, lambda: log_of(app))
        assert "● live" in shown(app, "#title")
        assert "lost 5,198 (0.28 %: sender socket 61, in flight 5,137)" in shown(app, "#totals")
        assert "1 down" in shown(app, "#alive")
        assert "its clock is 41 s ahead" in shown(app, "#trouble")
        assert [row[0] for row in rows(app, "#senders")][:2] == ["checkout-1", "checkout-2"]
        assert rows(app, "#senders")[2][7] == "sender socket 61, in flight 15"
        assert [row[1] for row in rows(app, "#beats")][:3] == ["down", "suspect", "up"]
        assert any("-- 3 lost here (2 INFO, 1 DEBUG) of checkout-1" in line for line in log_of(app))

    watch(fake, drive)


def test_it_follows_the_collector(fake):
    """Senders, heartbeats and lines appear as they come; with nobody there it says what to do."""

    async def drive(app, pilot):
        assert app.query_one("#nobody").display
        assert not app.query_one("#senders").display
        fake.senders = [sender("first")]
        fake.heartbeats = [heartbeat("first", "down", verdict="silent for 9 s")]
        fake.log(record("hello"), gap(2, {"INFO": 2}))
        await soon(pilot, lambda: rows(app, "#senders") and len(log_of(app)) == 2)
        assert not app.query_one("#nobody").display
        assert rows(app, "#beats")[0][0:2] == ["first", "down"]
        fake.heartbeats = [heartbeat("first")]
        await soon(pilot, lambda: rows(app, "#beats")[0][1] == "up")

    watch(fake, drive)


def test_keys(fake):
    """s sorts by the next figure, p holds the log and lets it go on."""
    fake.senders = [sender("b", rate=1.0, lost=5), sender("a", rate=9.0), sender("c", rate=4.0, delivered=500)]
    fake.log(record("one"))

    async def drive(app, pilot):
        names = lambda: [row[0] for row in rows(app, "#senders")]  # noqa: E731
        await soon(pilot, lambda: log_of(app))
        assert names() == ["b", "a", "c"]
        for sort, expected in [
            ("lost", "bac"),
            ("rate", "acb"),
            ("delivered", "cba"),
            ("name", "abc"),
            ("lost now", "bac"),
        ]:
            await pilot.press("s")
            assert names() == list(expected)
            assert f"sorted by {sort}" in shown(app, "#title")
        await pilot.press("p")
        fake.log(record("two"), record("three"))
        await soon(pilot, lambda: "log paused, 2 waiting" in shown(app, "#title"))
        assert len(log_of(app)) == 1
        await pilot.press("p")
        await soon(pilot, lambda: len(log_of(app)) == 3)

    watch(fake, drive)


def test_a_collector_that_goes_and_comes_back(fake):
    """What stands there stays, with a line that says that it is old; then it is live again."""
    fake.senders = [sender("worker")]

    async def drive(app, pilot):
        fake.stop()
        await soon(pilot, lambda: "✕ no answer" in shown(app, "#title"))
        assert "start one with 'atmost collect'" in shown(app, "#trouble")
        assert [row[0] for row in rows(app, "#senders")] == ["worker"]
        fake.start()
        await soon(pilot, lambda: "● live" in shown(app, "#title"))
        assert not app.query_one("#trouble").has_class("shown")

    watch(fake, drive)


def test_it_is_bounded(fake):
    """Thousands of senders and lines: the screen holds so many, and counts the others."""
    fake.senders = [sender(f"s{number}", lost=number) for number in range(MAX_ROWS + 50)]

    async def drive(app, pilot):
        assert rows(app, "#senders")[-1][0] == "... and 50 more"
        for _ in range(8):
            before = fake.cursor
            fake.log(*[record(f"line {before + number}") for number in range(200)])
            await soon(pilot, lambda: any(f"line {fake.cursor - 1}" in line for line in log_of(app)[-3:]))
        assert len(log_of(app)) <= MAX_LOG_LINES

    watch(fake, drive)


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (200, 60)], ids=str)
def test_any_size_and_a_change_of_it(fake, size):
    """Small terminals show less of it; nothing breaks."""
    play(fake)

    async def drive(app, pilot):
        await soon(pilot, lambda: log_of(app))
        await pilot.resize_terminal(60, 20)
        await pilot.pause()
        assert app.query_one("#log").size.height >= 1
        await pilot.resize_terminal(*size)
        await pilot.pause()
        assert "web-3" in shown(app, "#title")

    watch(fake, drive, size)


def test_eighty_columns_reach_to_what_is_lost(fake):
    """With the host and process of each sender, however long the names; and rows keep their places from second to second."""
    fake.senders = [
        sender(
            f"checkout-worker-of-the-north-{number}", host="a-host-of-a-long-name", rate=500.0 + number, lost=899_309
        )
        for number in range(4)
    ]

    async def drive(app, pilot):
        await soon(pilot, lambda: len(rows(app, "#senders")) == 4)
        table = app.query_one("#senders")
        columns = [str(column.label) for column in table.ordered_columns]
        reach = sum(column.get_render_width(table) for column in table.ordered_columns[: columns.index("lost") + 1])
        assert reach <= 80
        before = [row[0] for row in rows(app, "#senders")]
        fake.senders.reverse()
        for one in fake.senders:
            one["rate"] += 3
        asked = len(fake.asked)
        await soon(pilot, lambda: len(fake.asked) >= asked + 8)
        assert [row[0] for row in rows(app, "#senders")] == before

    watch(fake, drive, (80, 24))


def test_names_are_no_markup(fake):
    """Brackets that textual would take for styles, and escapes, are text."""
    evil = "[red]x[/red] [@click=app.quit]y[/] \x1b[2J"
    fake.senders, fake.heartbeats = [sender(evil)], [heartbeat(evil, verdict=evil)]
    fake.overview |= {"host": evil, "warnings": [evil]}
    fake.log(record(evil))

    async def drive(app, pilot):
        await soon(pilot, lambda: log_of(app))
        escaped = evil.replace("\x1b", r"\x1b")
        assert rows(app, "#senders")[0][0] == escaped
        assert rows(app, "#beats")[0][3] == escaped
        assert escaped in shown(app, "#title")
        assert escaped in shown(app, "#trouble")
        assert escaped in log_of(app)[0]

    watch(fake, drive)
