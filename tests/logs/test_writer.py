"""`LogWriter`: marks, drop policies, forks, ends, and one thread for all of them."""

import gc
import itertools
import logging
import os
import threading
import time

import pytest

from atmost import LogHandler, LogReader, Receiver, Sender, SessionClosed
from atmost.logs import LogGap, LogOptions, LogRecord, LogWriter
from atmost.logs.writer import FINAL_MARKS, Marker
from tests.logs.scene import FakeSender, deliver, make, shown
from tests.real import run, until

BLOCKED = 10


def texts(sender):
    """The messages of the records that were sent."""
    return [payload["message"] for _, payload in sender.take() if "level" in payload]


def marks(sender):
    """What the marks said that were sent."""
    return [payload for subject, payload in sender.take() if subject == "logs.mark"]


def test_marks_follow_records_and_then_end():
    """One an interval while something is logged, three more after the last record, and none while nothing is."""
    logger, handler, sender = make(mark_interval=5.0)
    writer = handler.writer
    assert writer.tick(0.0) is None
    assert sender.take() == []
    now = time.monotonic()
    logger.info("x")
    sender.take()
    first = writer.tick(now)
    assert now + 5.0 <= first <= time.monotonic() + 5.0
    seen = [(writer.tick(first + 5.0 * turn), len(marks(sender))) for turn in range(4)]
    assert seen == [(first + 5.0, 1), (first + 10.0, 1), (None, 1), (None, 0)]
    assert handler.stats().marks == 3


def test_closing_says_how_many_there_were():
    """Several times, because most may be lost; not at all when nothing was logged, and only once in all."""
    logger, handler, sender = make()
    handler.close()
    assert sender.take() == []
    logger, handler, sender = make()
    logger.info("x")
    logger.error("x")
    handler.close()
    handler.close()
    said = marks(sender)
    assert [(mark["prior"], mark["final"]) for mark in said] == [({20: 1, 40: 1}, True)] * FINAL_MARKS
    assert not sender.closed


def test_a_sender_made_here_is_closed_here():
    """One from outside is not."""
    with Receiver("memory://own") as receiver:
        handler = LogHandler("memory://own")
        handler.handle(logging.LogRecord("a", 20, "", 0, "x", (), None))
        handler.close()
        events = list(iter(lambda: receiver.next_event(1), None))
    assert isinstance(events[-1], SessionClosed)
    sender = FakeSender()
    handler = LogHandler(sender)
    handler.handle(logging.LogRecord("a", 20, "", 0, "x", (), None))
    handler.close()
    assert not sender.closed


def block(policy, levels="i" * 20, size=BLOCKED):
    """Records of these levels while the sender has no room; returns logger, handler and sender."""
    logger, handler, sender = make(drop=policy, max_queue=size)
    sender.room = False
    for number, level in enumerate(levels):
        logger.log({"d": 10, "i": 20, "e": 40}[level], str(number))
    return logger, handler, sender


def test_newest_keeps_nothing_beside_the_sender():
    """What the sender does not take is dropped, and visible by the counts."""
    logger, handler, sender = block("newest", "ie")
    sender.room = True
    logger.info("after")
    [(_, payload)] = sender.take()
    assert (payload["prior"], payload["dropped"]) == ({20: 1, 40: 1}, 2)
    assert handler.stats().dropped == 2


def test_oldest_goes_first():
    """The last ones are kept, in their order."""
    logger, handler, sender = block("oldest")
    assert handler.stats().waiting == BLOCKED
    assert handler.stats().dropped == 10
    assert sender.refused == 0  # nothing was offered that there was no room for
    sender.room = True
    logger.info("20")
    assert texts(sender) == [str(number) for number in range(10, 21)]


def test_the_lowest_level_goes_first():
    """Among those the oldest; a record below all that wait is dropped itself; what is sent is in order."""
    _, handler, sender = block("lowest", "didi" + "e" * 8)
    sender.room = True
    handler.flush()
    assert texts(sender) == ["1", "3", *map(str, range(4, 12))]
    _, handler, sender = block("lowest", "i" * 10 + "d")
    sender.room = True
    handler.flush()
    assert texts(sender) == [str(number) for number in range(10)]
    _, handler, sender = block("lowest", "i" * 11)
    sender.room = True
    handler.flush()
    assert texts(sender) == [str(number) for number in range(1, 11)]


@pytest.mark.parametrize("policy", ["oldest", "lowest"])
def test_what_was_dropped_is_visible_at_the_reader(policy):
    """By level and in its place, as with every other loss."""
    logger, handler, sender = block(policy, "di" * 10)
    sender.room = True
    logger.info("20")
    handler.close()
    found = deliver(reader := LogReader(now=0.0, grace=0.0), sender.take(), 1.0) + reader.tick(9.0)
    assert sum(one.lost for one in found if isinstance(one, LogGap)) == 10
    assert reader.stats().lost_by_level == ({"DEBUG": 10} if policy == "lowest" else {"DEBUG": 5, "INFO": 5})
    assert len([one for one in found if isinstance(one, LogRecord)]) == 11
    assert [source.dropped for source in reader.sources()] == [10]


def test_no_mark_while_records_wait():
    """It would call them lost; they are offered again soon."""
    _, handler, sender = block("oldest", "ii")
    writer = handler.writer
    assert writer.tick(100.0) == pytest.approx(100.02)
    assert marks(sender) == []
    sender.room = True
    writer.tick(time.monotonic() + 60)
    assert [payload.get("message", "mark") for _, payload in sender.take()] == ["0", "1", "mark"]


def test_closing_gives_up_what_still_waits():
    """Counted, and told by the last mark."""
    _, handler, sender = block("oldest", "iii")
    send = sender.send
    sender.send = lambda subject, payload=None: subject == "logs.mark" and _with_room(sender, send, subject, payload)
    handler.close()
    assert marks(sender)[0]["dropped"] == 3
    assert handler.stats().waiting == 0


def _with_room(sender, send, subject, payload):
    sender.room = True
    sent = send(subject, payload)
    sender.room = False
    return sent


def test_a_record_in_parts_waits_in_parts():
    """What left stays left, and the rest follows."""
    logger, handler, sender = make(drop="oldest")
    send, taken = sender.send, itertools.count()

    def two(subject, payload=None):
        sender.room = next(taken) < 3  # the first is found too large, and cut
        return send(subject, payload)

    sender.send = two  # type: ignore[method-assign]
    logger.error("x" * 5000)
    assert handler.stats().waiting == 1
    sender.send, sender.room = send, True  # type: ignore[method-assign]
    handler.flush()
    [record] = deliver(LogReader(now=0.0), sender.take(), 1.0)
    assert (record.message, record.hole) == ("x" * 5000, ())
    assert handler.stats().waiting == 0


@pytest.mark.parametrize("policy", ["newest", "oldest", "lowest"])
def test_threads_log_at_once(policy):
    """Every record has a number of its own, and each arrives once."""
    logger, handler, sender = make(drop=policy)

    def log(name):
        for number in range(500):
            logger.info("%s %d", name, number)

    threads = [threading.Thread(target=log, args=(name,), name=f"t{name}") for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = deliver(reader := LogReader(now=0.0), sender.take(), 1.0)
    assert sorted(one.number for one in found) == list(range(2000))
    assert {one.thread for one in found} == {f"t{name}" for name in range(4)}
    assert reader.stats().lost_by_level == {}
    assert handler.stats().records == 2000


@pytest.mark.needs("linux")
def test_a_forked_child_begins_at_0():
    """In a life of its own, with nothing of its parent's; neither harms the other's account."""
    with Receiver("udp://127.0.0.1:0") as receiver:
        handler = LogHandler(receiver.url, drop="oldest")
        record = logging.LogRecord("a", 20, "", 0, "parent", (), None)
        handler.handle(record)
        pid = os.fork()
        if not pid:
            try:
                for _ in range(3):
                    handler.handle(logging.LogRecord("a", 40, "", 0, "child", (), None))
                handler.close()
            finally:
                os._exit(0)
        handler.handle(record)
        handler.close()
        os.waitpid(pid, 0)
        reader, found = LogReader(now=0.0), []

        def done():
            while (event := receiver.next_event(0)) is not None:
                found.extend(reader.feed(event, 1.0))
            sources = reader.sources()
            return len(sources) == 2 and all(source.closed for source in sources)

        until(done)
        assert sorted(shown(found)) == ["child"] * 3 + ["parent"] * 2
        assert sorted(source.numbered for source in reader.sources()) == [2, 3]
        assert reader.stats().lost_by_level == {}


def test_a_process_that_ends_says_how_many_there_were():
    """Without a call of `close`, also of what is logged by others at the exit."""
    with Receiver("udp://127.0.0.1:0") as receiver:
        code = (
            "import atexit, logging, sys, atmost\n"
            "logging.getLogger().addHandler(atmost.LogHandler(sys.argv[1]))\n"
            "logging.error('first')\n"
            "atexit.register(lambda: logging.error('at exit'))\n"
        )
        run(code, receiver.url)
        reader, found = LogReader(now=0.0), []

        def done():
            while (event := receiver.next_event(0)) is not None:
                found.extend(reader.feed(event, 1.0))
            return any(source.closed for source in reader.sources())

        until(done)
        assert shown(found) == ["first", "at exit"]
        assert [source.numbered for source in reader.sources()] == [2]


def test_a_handler_that_nobody_holds_says_how_many_there_were():
    """It ends with its last reference, and the marker's thread forgets it."""
    sender = FakeSender()
    writer = LogWriter(sender, LogOptions(mark_interval=60))
    writer.write("INFO", 20, "a", "x", at=0.0)
    del writer
    gc.collect()
    assert [mark["final"] for mark in marks(sender)] == [True]


def test_one_thread_marks_for_all():
    """Real time: every handler's marks come, from one thread."""
    senders = [FakeSender(str(number)) for number in range(5)]
    handlers = [LogHandler(sender, mark_interval=0.05) for sender in senders]
    for handler in handlers:
        handler.handle(logging.LogRecord("a", 20, "", 0, "x", (), None))
    until(lambda: all(sum(subject == "logs.mark" for subject, _ in sender.sent) >= 2 for sender in senders))
    assert [thread.name for thread in threading.enumerate()].count("atmost-logs") == 1
    for handler in handlers:
        handler.close()


def test_without_a_thread_to_be_had_the_next_record_tries_again(monkeypatch):
    """At the interpreter's end, or where threads have run out."""
    marker = Marker()
    monkeypatch.setattr(threading.Thread, "start", lambda _self: (_ for _ in ()).throw(RuntimeError("no")))
    assert not marker.wake_at(time.monotonic() + 60)
    monkeypatch.undo()
    assert marker.wake_at(time.monotonic() + 60)


def test_over_a_real_sender_that_is_paced():
    """What the pace does not allow waits in order, and what is too much goes by level; the account holds."""
    with Receiver("udp://127.0.0.1:0") as receiver:
        reader, found = LogReader(now=time.monotonic(), grace=0.1), []
        with Sender(receiver.url, max_bytes_per_second=200_000, max_datagram=1432) as sender:
            handler = LogHandler(sender, drop="lowest", max_queue=100)
            logger = logging.Logger("app", level=1)  # noqa: LOG001  of this test alone
            logger.addHandler(handler)
            for number in range(1500):
                logger.log(40 if number % 20 == 0 else 20, "record %d %s", number, "x" * 100)
            assert handler.stats().dropped > 500

            def drained():
                handler.flush()
                while (event := receiver.next_event(0)) is not None:
                    found.extend(reader.feed(event, time.monotonic()))
                return not handler.stats().waiting

            until(drained)
            handler.close()
            until(lambda: drained() and any(source.closed for source in reader.sources()))
        found += reader.close(time.monotonic())
        assert reader.stats().lost_by_level.get("INFO") == handler.stats().dropped
        assert "ERROR" not in reader.stats().lost_by_level
        assert len([one for one in found if isinstance(one, LogRecord)]) == 1500 - handler.stats().dropped
