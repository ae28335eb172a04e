"""structlog's events over a sender, with the real library."""

import logging
import time

import pytest
import structlog

from atmost import LogReader, OptionError, Receiver
from atmost.integrations.structlog import AtmostProcessor
from atmost.logs import LogGap, LogRecord
from tests.logs.scene import FakeSender, deliver
from tests.real import raw_receiver, url_of, waiting


@pytest.fixture(autouse=True)
def _fresh():
    """No test configures structlog for another."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def configured(*before, **options):
    """A logger whose events end here, and what carries them."""
    sender = FakeSender()
    processor = AtmostProcessor(sender, mark_interval=60, **options)
    structlog.configure(processors=[*before, processor], cache_logger_on_first_use=False)
    return structlog.get_logger(), sender, processor


def read(sender):
    """The records."""
    return deliver(LogReader(now=0.0), sender.take(), 1.0)


def test_events_are_records():
    """Level, text and what was bound; nothing is printed, for the chain ends here."""
    log, sender, processor = configured(structlog.contextvars.merge_contextvars)
    structlog.contextvars.bind_contextvars(request="r-1")
    log.bind(user=7).info("signed in", method="token")
    log.error("failed")
    first, second = read(sender)
    assert (first.level, first.message, first.logger) == ("INFO", "signed in", "structlog")
    assert first.fields == {"request": "r-1", "user": 7, "method": "token"}
    assert (second.level, second.number, sender.flushed) == ("ERROR", 1, 1)
    processor.close()


@pytest.mark.parametrize("before", [(), (structlog.processors.format_exc_info,)])
def test_exceptions_are_tracebacks(before):
    """Whether a processor has made them text already or not."""
    log, sender, _ = configured(*before)
    try:
        int("x")
    except ValueError as error:
        log.exception("failed")
        log.warning("again", exc_info=error)
    first, second = read(sender)
    for record in (first, second):
        assert record.exception.startswith("Traceback (most recent call last):")
        assert "ValueError: invalid literal" in record.exception
        assert record.exception.count("Traceback") == 1
        assert "exc_info" not in record.fields
    assert (first.level, second.level) == ("ERROR", "WARNING")
    log.info("nothing is being handled", exc_info=True)  # noqa: LOG014  what of it
    assert read_last(sender).exception == ""


def read_last(sender):
    """The last record, whatever is missing before it."""
    return deliver(LogReader(now=0.0, grace=0.0), sender.take(), 1.0)[-1]


def test_names_levels_and_stacks_of_the_standard_chain():
    """As `add_log_level`, `add_logger_name` and `StackInfoRenderer` leave them."""
    sender = FakeSender()
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.StackInfoRenderer(),
            AtmostProcessor(sender, mark_interval=60),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    log = structlog.get_logger("shop.checkout")
    log.critical("x", stack_info=True)
    log.warning("y %s", 5)
    first, second = read(sender)
    assert (first.level, first.logger, first.subject) == ("CRITICAL", "shop.checkout", "logs.shop.checkout")
    assert first.exception.startswith("Stack (most recent call last):")
    assert second.level == "WARNING"


def test_passing_on(capsys):
    """The processors that follow see the event as it was."""
    sender = FakeSender()
    structlog.configure(
        processors=[AtmostProcessor(sender, passing=True, mark_interval=60), structlog.processors.JSONRenderer()]
    )
    structlog.get_logger().info("x", a=1)
    assert capsys.readouterr().out == '{"a": 1, "event": "x"}\n'
    assert read(sender)[0].fields == {"a": 1}


def test_odd_events_harm_nobody():
    """Whatever is bound, it is sent as far as it can be."""

    class Hostile:
        def __str__(self):
            raise ValueError("no")

        __repr__ = __str__

    log, sender, _ = configured()
    log.info(Hostile(), thing=Hostile(), big=1 << 90)
    log.msg(None)
    log.info("x" * 5000)
    first, second, third = read(sender)
    assert first.message == "<unprintable Hostile>"
    assert first.fields == {"thing": "<unprintable Hostile>", "big": str(1 << 90)}
    assert (second.message, second.level, len(third.message)) == ("", "INFO", 5000)


def test_losses_are_counted_as_everywhere():
    """By level and in place, over a real sender that is closed by the processor."""
    with raw_receiver() as road, raw_receiver() as onward, Receiver("udp://127.0.0.1:0", clock_guard=0) as receiver:
        reader = LogReader(now=time.monotonic(), grace=0.0)
        processor = AtmostProcessor(url_of(road), mark_interval=60)
        structlog.configure(processors=[processor])
        log = structlog.get_logger()

        host, port = receiver.url.removeprefix("udp://").split(":")

        def travels():
            for datagram in waiting(road):
                onward.sendto(datagram, (host, int(port)))

        log.info("0")
        travels()
        log.warning("1")
        assert waiting(road)  # and gone
        log.info("2")
        processor.close()
        travels()
        found = []
        while (event := receiver.next_event(0.05)) is not None:
            found += reader.feed(event, time.monotonic())
    assert [one.lost if isinstance(one, LogGap) else one.message for one in found] == ["0", 1, "2"]
    assert reader.stats().lost_by_level == {"WARNING": 1}
    assert isinstance(found[0], LogRecord)


def test_a_closed_processor_opens_again():
    """As the handler does: what is logged after its end is a life of its own."""
    log, sender, processor = configured()
    log.info("before")
    processor.close()
    log.info("after")
    found = deliver(LogReader(now=0.0), sender.take(), 1.0)
    assert [one.message for one in found] == ["before", "after"]
    assert found[0].life != found[1].life
    assert processor.writer.stats().dropped == 0


def test_misuse():
    """As everywhere, at the call."""
    with pytest.raises(OptionError):
        AtmostProcessor(FakeSender(), drop="all")
    with pytest.raises(TypeError):
        AtmostProcessor(FakeSender(), size=1)
    assert logging.getLogger().level


class Ambiguous:
    """A value that refuses to be a truth value, as arrays do."""

    def __bool__(self):
        raise ValueError("ambiguous")


@pytest.mark.parametrize(
    "bound", [{"exc_info": (ValueError,)}, {"exc_info": Ambiguous()}, {"stack": Ambiguous()}, {"logger": Ambiguous()}]
)
def test_no_value_makes_it_raise(bound):
    """The event is told all the same, with what went wrong."""
    log, sender, _ = configured()
    log.info("signed in", **bound)
    [record] = read(sender)
    assert record.message == "signed in"
    assert record.error.startswith(("IndexError", "ValueError"))
