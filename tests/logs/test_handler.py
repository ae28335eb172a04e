"""`LogHandler`: what a record becomes, and that nothing about it can harm the program that logs."""

import copy
import dataclasses
import logging
import logging.config
import logging.handlers
import pickle
import queue
import signal
import threading

import pytest

import atmost
from atmost import AddressError, LogHandler, OptionError, SubjectError
from atmost.logs.handler import MAX_DEPTH
from tests.logs.scene import FakeSender, make


class Hostile:
    """Raises whatever is done with it."""

    def __str__(self):
        raise ValueError("no")

    __repr__ = __str__

    def __iter__(self):
        raise KeyError("no")


def only(sender):
    """The payload of the one message that was sent."""
    [(_, payload)] = sender.take()
    return payload


def test_what_a_record_becomes():
    """Level, text, time, place, and what the caller added; on the subject of its logger."""
    logger, _, sender = make()
    logger.warning("%s took %d ms", "query", 12, extra={"table": "orders", "rows": [1, 2]})
    [(subject, payload)] = sender.take()
    assert subject == "logs.app.db"
    assert payload.pop("time") > 1.7e9
    assert len(payload.pop("handler")) == 12
    assert payload.pop("process") > 0
    assert payload == {
        "level": "WARNING",
        "message": "query took 12 ms",
        "fields": {"table": "orders", "rows": [1, 2]},
        "prior": {},
    }


def test_each_record_carries_the_counts_before_it():
    """By level: standard ones by number, others by name."""
    logging.addLevelName(25, "NOTICE")
    logger, _, sender = make()
    for level in (20, 40, 25, 20):
        logger.log(level, "x")
    assert [payload["prior"] for _, payload in sender.take()] == [
        {},
        {20: 1},
        {20: 1, 40: 1},
        {20: 1, 40: 1, "NOTICE": 1},
    ]


def test_exception_and_stack_are_text():
    """As the standard library formats them."""
    logger, _, sender = make(max_message=60_000)
    try:
        int("deep")
    except ValueError:
        logger.exception("failed", stack_info=True)
    exception = only(sender)["exception"]
    assert exception.startswith("Traceback (most recent call last):")
    assert "ValueError: invalid literal" in exception
    assert "Stack (most recent call last):" in exception
    logger.error("nothing is being handled", exc_info=True)  # noqa: LOG014  what of it
    assert "exception" not in only(sender)


def test_a_formatter_of_the_users_is_used():
    """Then the text is what it makes of the record, exception included."""
    logger, handler, sender = make()
    handler.setFormatter(logging.Formatter("<%(name)s> %(message)s"))
    try:
        int("deep")
    except ValueError:
        logger.exception("failed")
    payload = only(sender)
    assert payload["message"].startswith("<app.db> failed\nTraceback")
    assert "exception" not in payload


@pytest.mark.parametrize(
    ("text", "arguments"),
    [("%d", ("x",)), ("%s %s", ("x",)), ("%s", (Hostile(),)), (Hostile(), ()), ("%q", (1,)), ("x", (1, 2))],
)
def test_a_record_that_does_not_format_is_kept(text, arguments):
    """With what went wrong beside it, and counted."""
    logger, handler, sender = make()
    logger.info(text, *arguments)
    payload = only(sender)
    assert payload["message"]
    assert payload["error"].split(":")[0] in {"TypeError", "ValueError"}
    assert handler.stats().unformatted == 1


def test_fields_that_cannot_be_carried_become_text():
    """Objects, huge numbers, broken text, circles: the rest of the record is as it should be."""
    logger, handler, sender = make()
    circle: list = [1]
    circle.append(circle)
    values = {
        "thing": object(),
        "hostile": Hostile(),
        "big": 1 << 80,
        "broken": "\ud800",
        "circle": circle,
        "keys": {Hostile(): 1, 2: {3, 4}},
        "fine": 1.5,
        "bytes": b"\xff",
        "data": dataclasses.make_dataclass("Data", ["a"])(object()),
    }
    logger.info("x", extra=values)
    fields = only(sender)["fields"]
    assert fields.keys() == values.keys()
    assert fields["fine"] == 1.5
    assert fields["bytes"] == b"\xff"
    assert fields["big"] == str(1 << 80)
    assert fields["broken"] == "\\ud800"
    assert fields["hostile"] == "<unprintable Hostile>"
    assert fields["keys"]["2"] == [3, 4]
    assert handler.stats().records == 1
    assert handler.stats().dropped == 0


def test_text_that_utf8_cannot_carry_is_shown_as_escapes():
    """Surrogates come from file names and command lines."""
    logger, _, sender = make()
    logger.info("file \udcff")
    assert only(sender)["message"] == "file \\udcff"


def test_a_later_change_changes_nothing():
    """What waits, and what was sent, is what was logged."""
    logger, handler, sender = make(drop="oldest")
    sender.room = False
    fields = {"list": [1]}
    logger.info("x", extra=fields)
    fields["list"].append(2)
    sender.room = True
    handler.flush()
    assert only(sender)["fields"] == {"list": [1]}


@pytest.mark.parametrize(
    ("name", "subject", "told"),
    [
        ("root", "logs.root", None),
        ("a.b", "logs.a.b", None),
        ("a b.*", "logs.a_b._", "a b.*"),
        ("", "logs._", ""),
        ("a..b.", "logs.a._.b._", "a..b."),
        ("größe.日本", "logs.größe.日本", None),
        ("\ud800", "logs._", "?"),
        ("x" * 300, "logs." + "x" * 250, "x" * 255),
        ("é" * 200, "logs." + "é" * 125, "é" * 200),
    ],
)
def test_any_logger_has_a_subject(name, subject, told):
    """And where that cannot tell the name, the record does."""
    _, handler, sender = make()
    handler.handle(logging.LogRecord(name, 20, "", 0, "x", (), None))
    [(sent_on, payload)] = sender.take()
    assert sent_on == subject
    assert payload.get("logger") == (told or None)


def test_a_burst_of_logger_names_is_bounded():
    """Names are remembered up to a limit, then anew."""
    _, handler, sender = make()
    for number in range(3000):
        handler.handle(logging.LogRecord(f"n{number}", 20, "", 0, "x", (), None))
    assert len(handler.writer._subjects._known) <= 1024
    assert len({subject for subject, _ in sender.take()}) == 3000


def test_error_and_above_leave_at_once():
    """They often precede a crash; others wait for company as the sender has it."""
    logger, _, sender = make()
    logger.warning("x")
    assert sender.flushed == 0
    logger.error("x")
    logger.critical("x")
    assert sender.flushed == 2
    logger, _, sender = make(flush_level=logging.CRITICAL)
    logger.error("x")
    assert sender.flushed == 0


def test_level_and_filters_are_as_everywhere():
    """What does not pass is not this handler's, and is not counted."""
    logger, handler, sender = make(level="ERROR")
    handler.addFilter(lambda record: "secret" not in record.msg)
    for text in ("x", "secret"):
        logger.info(text)
        logger.error(text)
    assert [payload["message"] for _, payload in sender.take()] == ["x"]
    assert handler.stats().records == 1


def test_logging_inside_logging_neither_loops_nor_deadlocks():
    """A text that logs in being made is logged too, up to a depth; then the record says so."""
    logger, handler, sender = make()

    class Chatty:
        def __str__(self):
            logger.info("made text of %s", self)
            return "chatty"

    logger.info("outer %s", Chatty())
    messages = [payload["message"] for _, payload in sender.take()]
    assert len(messages) == MAX_DEPTH + 1
    assert messages[0].startswith("<logged while")
    assert messages[-1] == "outer chatty"
    assert handler.stats().reentered == 1
    logger.info("again")
    assert only(sender)["message"] == "again"


def test_a_signal_handler_may_log_inside_a_log_call():
    """It finds no lock taken."""
    logger, handler, sender = make(drop="lowest")

    class Interrupted:
        def __str__(self):
            signal.raise_signal(signal.SIGUSR1)
            return "interrupted"

    before = signal.signal(signal.SIGUSR1, lambda *_: logger.error("signal"))
    try:
        logger.info("%s", Interrupted())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [payload["message"] for _, payload in sender.take()] == ["signal", "interrupted"]
    assert handler.stats().records == 2


def test_it_waits_for_nobody():
    """Not even for its own lock, which a stuck thread may hold."""
    logger, handler, sender = make()
    taken, over = threading.Event(), threading.Event()

    def hold():
        handler.acquire()
        taken.set()
        assert over.wait(30)
        handler.release()

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(30)
    logger.info("x")
    assert len(sender.take()) == 1
    over.set()
    thread.join()


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"levelname": None},
        {"levelname": []},
        {"name": None},
        {"created": "x"},
        {"exc_info": (ValueError, None, None)},
        {"exc_text": object()},
        {"threadName": 5},
        {"process": "x"},
        {"args": {}},
        {5: 6},
    ],
)
def test_records_made_by_hand_harm_nobody(record):
    """Whatever is in them, it is sent or counted, and the next one is as ever."""
    logger, handler, sender = make()
    handler.handle(logging.makeLogRecord({"msg": "odd", "levelname": "INFO", "levelno": 20} | record))
    sender.take()
    logger.info("next")
    assert only(sender)["message"] == "next"


def test_a_sender_that_breaks_harms_nobody(monkeypatch):
    """Counted as our own error; nothing is raised, and nothing printed."""
    logger, handler, sender = make()
    monkeypatch.setattr(sender, "send", lambda *_: 1 / 0)
    logger.error("x")
    assert handler.stats().errors == 1
    assert handler.stats().dropped == 1


def test_with_dict_config():
    """By class, with a URL, with the arguments of a sender, or with a sender of the program's."""
    for arguments in (
        {"url": "memory://dict"},
        {"sender": "memory://dict"},
        {"sender": {"url": "memory://dict", "name": "web-1"}},
        {"sender": "ext://tests.logs.test_handler.SENDER"},
    ):
        config = {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"net": {"class": "atmost.LogHandler", "level": "INFO", "mark_interval": 60, **arguments}},
            "loggers": {"tests.dict_config": {"level": "DEBUG", "handlers": ["net"], "propagate": False}},
        }
        logging.config.dictConfig(config)
        logger = logging.getLogger("tests.dict_config")
        [handler] = logger.handlers
        assert isinstance(handler, LogHandler)
        logger.info("x")
        assert handler.stats().records == 1
        assert handler.level == logging.INFO
        logger.removeHandler(handler)
        handler.close()


SENDER = FakeSender()


def test_behind_a_queue():
    """`QueueListener` hands on records of other threads and processes, with their own process."""
    _, handler, sender = make()
    waiting: queue.Queue = queue.Queue()
    listener = logging.handlers.QueueListener(waiting, handler)
    listener.start()
    record = logging.LogRecord("a", 20, "", 0, "from elsewhere", (), None)
    record.process = 99
    logging.handlers.QueueHandler(waiting).handle(record)
    listener.stop()
    payload = only(sender)
    assert payload["process"] == 99
    assert payload["message"] == "from elsewhere"


@pytest.mark.parametrize(
    "options",
    [
        {"drop": "all"},
        {"drop": ["oldest"]},
        {"max_queue": 0},
        {"max_record": 100},
        {"max_record": 1 << 30},
        {"mark_interval": 0.01},
        {"mark_interval": "5"},
        {"flush_level": "ERROR"},
        {"url": "memory://both"},
    ],
)
def test_misuse_is_told_at_the_call(options):
    """With the option's name and its range."""
    with pytest.raises(OptionError) as caught:
        LogHandler(FakeSender(), **options)
    assert caught.value.option == next(iter(options))


def test_other_misuse():
    """Of the subject, the address and the sender."""
    with pytest.raises(SubjectError):
        LogHandler(FakeSender(), subject="a b")
    with pytest.raises(AddressError):
        LogHandler("http://a")
    with pytest.raises(OptionError):
        LogHandler(5)


def test_it_cannot_be_copied():
    """A copy would number its records like the original."""
    _, handler, _ = make()
    for way in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="construct one in each process"):
            way(handler)


def test_our_own_warnings_go_through_it_without_a_loop():
    """A receiver that complains through a handler which sends to that receiver says so once."""
    complaints = logging.getLogger("atmost")
    with atmost.Receiver("memory://loop") as receiver:
        handler = LogHandler("memory://loop", mark_interval=60)
        complaints.addHandler(handler)
        try:
            handler.handle(logging.LogRecord("a", 40, "", 0, "first", (), None))
            seen = []

            def take(message):
                seen.append(message.payload["message"])
                if len(seen) == 2:
                    receiver.close()
                raise ValueError("the handler's own affair")

            receiver.run(take)
        finally:
            complaints.removeHandler(handler)
            handler.close()
        assert handler.stats().records == 2
        assert "the handler failed" in seen[1]


def test_repr_and_public_names():
    """For people."""
    _, handler, sender = make(level=logging.INFO)
    assert repr(handler) == "<LogHandler INFO over <FakeSender web-1>>"
    assert handler.sender is sender
