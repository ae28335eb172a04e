"""loguru's records over a sender, with the real library."""

import threading

import pytest
from loguru import logger

from atmost import LogReader, OptionError, Receiver, SessionClosed
from atmost.integrations.loguru import AtmostSink
from tests.logs.scene import FakeSender, deliver


class Odd(Exception):
    """Cannot be pickled."""

    def __reduce__(self):
        raise TypeError("no")


@pytest.fixture
def added():
    """A function that adds a sink over a sender that keeps what it is given; every one is removed in the end."""
    logger.remove()

    def add(**options):
        sender = FakeSender()
        logger.add(AtmostSink(sender, mark_interval=60), **options)
        return sender

    yield add
    logger.remove()


def read(sender):
    """The records."""
    return deliver(LogReader(now=0.0), [one for one in sender.take() if one[0] != "logs.mark"], 1.0)


def test_records_are_records(added):
    """Level, text, logger, thread and what was bound; loguru's own levels count by name."""
    sender = added(level="TRACE")
    logger.bind(user=7).info("hello {}", "you")
    with logger.contextualize(request="r-1"):
        thread = threading.Thread(target=lambda: logger.success("done", took=5), name="worker")
        thread.start()
        thread.join()
    logger.trace("x")
    first, second, third = read(sender)
    assert (first.level, first.message, first.fields) == ("INFO", "hello you", {"user": 7})
    assert first.logger == __name__
    assert first.subject == f"logs.{__name__}"
    assert (second.level, second.thread, second.fields["took"]) == ("SUCCESS", "worker", 5)
    assert third.level == "TRACE"
    assert first.t > 1.7e9
    assert first.process > 0


def test_exceptions_are_tracebacks(added):
    """As Python prints them, causes included."""
    sender = added()

    @logger.catch
    def fails():
        try:
            int("x")
        except ValueError as error:
            raise KeyError("outer") from error

    fails()
    [record] = read(sender)
    assert record.level == "ERROR"
    assert "ValueError: invalid literal" in record.exception
    assert "direct cause" in record.exception
    assert "KeyError: 'outer'" in record.exception
    assert sender.flushed == 1


def test_through_loguru_s_queue(added):
    """With `enqueue` records are pickled on the way; an exception that cannot be is told by its class."""
    sender = added(enqueue=True)
    logger.info("plain")
    for error in (ValueError("deep"), Odd("odd")):
        try:
            raise error  # noqa: TRY301  it is caught for its traceback
        except Exception:  # noqa: BLE001  either of them
            logger.exception("failed")
    logger.complete()
    plain, picklable, odd = read(sender)
    assert (plain.message, plain.exception) == ("plain", "")
    assert "ValueError: deep" in picklable.exception
    assert "Odd" in odd.exception


def test_odd_extras_harm_nobody(added):
    """Whatever is bound, it is sent as far as it can be."""
    sender = added()
    logger.bind(thing=object(), big=1 << 90, **{"a b": {1}}).warning("x" * 5000)
    [record] = read(sender)
    assert len(record.message) == 5000
    assert record.fields["big"] == str(1 << 90)
    assert record.fields["thing"].startswith("<object object")
    assert record.fields["a b"] == [1]


def test_removing_the_sink_says_how_many_there_were():
    """loguru's `remove` ends it, and the sender that was made for it."""
    logger.remove()
    with Receiver("memory://loguru") as receiver:
        sink = AtmostSink({"url": "memory://loguru", "name": "web-1"}, mark_interval=60)
        number = logger.add(sink)
        logger.info("x")
        logger.remove(number)
        reader = LogReader(now=0.0)
        found = []
        while (event := receiver.next_event(0.05)) is not None:
            last = event
            found += reader.feed(event, 1.0)
        assert [one.message for one in found] == ["x"]
        assert [(one.numbered, one.closed) for one in reader.sources()] == [(1, True)]
        assert isinstance(last, SessionClosed)


def test_misuse():
    """As everywhere, at the call."""
    with pytest.raises(OptionError):
        AtmostSink(FakeSender(), max_record=5)
