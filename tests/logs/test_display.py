"""Records and gaps for people: nothing in them steers a terminal, and no text passes for a record of its own."""

import pytest

from atmost import LogReader
from atmost.core.events import Loss, Place
from atmost.logs import LogGap, LogRecord, display_lines
from atmost.logs.records import MAX_DISPLAY
from tests.logs.scene import ONE, deliver, make, message, session

EVIL = "\x1b[2J\x07\u202e"


def test_a_record():
    """Level, logger, text and what was added; further lines are indented."""
    logger, _, sender = make(max_message=60_000)
    try:
        int("x")
    except ValueError:
        logger.exception("failed\nhere", extra={"order": 17, "who": "me"})
    [record] = deliver(LogReader(now=0.0), sender.take(), 1.0)
    first, second, third, *rest = display_lines(record)
    assert first == "ERROR app.db: failed order=17 who=me"
    assert second == "    | here"
    assert third == "    | Traceback (most recent call last):"
    assert rest[-1].startswith("    | ValueError: invalid")


def test_text_stays_true_and_is_shown_harmless():
    """In the record it is what was logged; on the terminal no character of it does anything."""
    logger, handler, sender = make()
    handler.handle(logger.makeRecord(EVIL, 20, "", 0, EVIL + "\n2026-01-01 forged line", (), None, extra={EVIL: EVIL}))
    [record] = deliver(LogReader(now=0.0), sender.take(), 1.0, session(EVIL))
    assert record.message.startswith(EVIL)
    assert (record.logger, record.sender) == (EVIL, EVIL)
    shown = display_lines(record)
    assert all(line.isprintable() for line in shown)
    assert shown[1] == "    | 2026-01-01 forged line"
    gap = LogGap(EVIL, "", ONE, "", 0, 0, 1, "lost", {EVIL: 1}, 0, 0, None, None)
    assert all(line.isprintable() for line in display_lines(gap))


def test_notes_of_a_record():
    """Late, cut, with a hole, not formatted."""
    logger, _, sender = make()
    logger.info("0")
    logger.error(f"%d{'x' * 100_000}", "y")  # noqa: G004  a format that is large
    logger.info("2")
    first, *parts, last = sender.take()
    reader = LogReader(now=0.0)
    deliver(reader, [first, last], 1.0)
    reader.tick(2.0)
    found = deliver(reader, parts[:-1], 2.1) + reader.tick(3.1)
    [record] = [one for one in found if isinstance(one, LogRecord)]
    shown = "\n".join(display_lines(record))
    for note in ("(late)", "(head and tail of 100,0", "(1 of ", "parts lost)", "(TypeError: %d format"):
        assert note in shown


def test_gaps():
    """How many of which level, and always whether there was an error among them."""
    logger, _, sender = make()
    for level in (20, 20, 30, 20):
        logger.log(level, "x")
    sent = sender.take()
    reader = LogReader(now=0.0, grace=0.0)
    gap = deliver(reader, [sent[0], sent[3]], 1.0)[1]
    assert display_lines(gap) == ["-- 2 records of web-1 lost here: 1 INFO, 1 WARNING, 0 ERROR"]
    deliver(reader, sent[1:2], 1.0)
    [gap] = reader.tick(2.0)
    assert display_lines(gap) == [
        "-- 1 record of web-1 lost here: 1 WARNING, 0 ERROR (1 that were counted here came late)"
    ]
    deliver(reader, sent[2:3], 2.5)
    [gap] = reader.tick(3.0)
    assert display_lines(gap) == ["-- 2 records of web-1 came late: nothing lost after all"]
    reader.feed(message(("logs.a", "x")), 4.0)
    [gap] = reader.feed(Loss(ONE, 1, Place.IN_FLIGHT, 1, 1), 4.0)
    assert display_lines(gap) == ["-- 1 message of web-1 lost here; whether they were log messages is not known"]


def huge(**changes):
    """A record that a stranger made to be large on a display."""
    facts = {"t": 1.0, "sender": "x", "host": "", "session": ONE, "subject": "logs.x", "logger": "x", "level": "INFO"}
    return LogRecord(**(facts | {"message": "", "fields": {}} | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"message": "\x1b" * 1_000_000},
        {"message": "\n" * 1_000_000},
        {"exception": "\u202e\n" * 1_000_000},
        {"message": "x" * 70_000, "exception": "y" * 70_000},
        {"fields": {f"{'k' * 200}{number}": "\x00" * 10_000 for number in range(256)}},
        {"fields": {"\x1b" * 100_000: 1}},
        {"logger": "\x1b" * 1_000_000, "level": "\x1b" * 1_000_000, "error": "\x1b" * 1_000_000},
    ],
)
def test_a_display_is_bounded_in_characters(changes):
    """Whatever the text is made of: escapes are ten times the size of what they stand for; what is left out is counted."""
    shown = display_lines(huge(**changes))
    assert sum(len(line) for line in shown) < 2 * MAX_DISPLAY
    assert len(shown) < MAX_DISPLAY // 4
    if "message" in changes or "exception" in changes:
        assert "more than is shown here" in shown[-1]


def test_a_value_that_cannot_be_shown_costs_itself_only():
    """A structure deeper than the interpreter goes is named, and the rest of the record stands."""
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    [line] = display_lines(huge(message="text", fields={"deep": deep, "fine": 1}))
    assert "deep=<not shown: RecursionError>" in line
    assert "fine=1" in line
    assert display_lines(huge(message="text", error="note")) == ["INFO x: text (note)"]
