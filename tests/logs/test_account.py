"""No record stays unaccounted: what is missing at the beginning and at the end is seen, whoever was there first."""

import dataclasses
import gc
import logging
import logging.config
import subprocess
import sys
import threading
import time

import msgspec
import pytest

from atmost import LogHandler, LogReader, Receiver, Sender
from atmost.core.events import Loss, Place, SessionClosed, SessionOpened
from atmost.lab.faults import LinkFaults
from atmost.logs import LogGap, LogGapReason, LogRecord, read, read_async
from atmost.logs.writer import LogWriter
from tests.logs.scene import ONE, START_US, ByHand, FakeSender, deliver, make, message, session, shown
from tests.logs.simulation import World
from tests.real import BOUND, environment, run, until


def test_the_first_record_of_a_session_that_began_here_is_missed():
    """Also without a time from which events come: the session's own account begins with its first message."""
    logger, _, sender = make()
    for text in "012":
        logger.info(text)
    sent = sender.take()
    began = int.from_bytes(sent[0][1]["handler"][:8], "big")
    one = session()
    one.start_us = began + 20_000  # its first datagram leaves a little later
    reader = LogReader(grace=0.0)
    assert reader.feed(SessionOpened(one, 0), 100.0) == []
    found = reader.feed(message(sent[1], by=one, sent_us=began + 30_000), 100.0)
    assert shown(found) == [1, "1"]
    joined = LogReader(grace=0.0)
    joined.feed(SessionOpened(one, 1), 100.0)
    assert shown(joined.feed(message(sent[1], by=one, sent_us=began + 30_000), 100.0)) == ["1"]
    assert joined.stats().before_join == 1


def test_an_old_handler_that_has_logged_nothing_is_heard_from_its_first_record():
    """A service configures its logging long before it logs, and the reader comes in between: the life begins with a record."""
    logger, handler, sender = make()
    wall = [1000.0]
    handler.writer = LogWriter(sender, wall_clock=lambda: wall[0], marker=ByHand())
    wall[0] = 2000.0  # the reader begins at 1500
    logger.info("lost")
    logger.info("came")
    _, second = sender.take()
    reader = LogReader(now=0.0, grace=0.0)
    assert shown(reader.feed(message(second, sent_us=2_000_500_000), 500.6)) == [1, "came"]


def tail(*, marks=0):
    """A life of which the session's end is missing: the reader, and what the session says."""
    logger, handler, sender = make()
    for text in "0123":
        logger.info(text)
    records = sender.take()
    handler.writer.mark(final=True)
    final = sender.take()
    reader = LogReader(now=0.0, grace=0.0)
    for number, one in enumerate(records[:2]):
        reader.feed(message(one, sequence=number), 1.0)
    return reader, records, final


def test_a_tail_of_which_every_mark_is_lost_is_a_gap_without_levels():
    """The session knows that messages are missing, whichever comes first, its goodbye or the loss; nothing is silent."""
    for closed_first in (True, False):
        reader, *_ = tail()
        events = [SessionClosed(ONE), Loss(ONE, 7, Place.IN_FLIGHT, 2, 8)]
        found = [one for event in (events if closed_first else events[::-1]) for one in reader.feed(event, 3.0)]
        [gap] = found
        assert isinstance(gap, LogGap)
        assert (gap.first, gap.lost, gap.by_level, gap.reason) == (2, 7, None, LogGapReason.UNATTRIBUTED)
        assert reader.stats().unattributed == 7
        assert [(source.tail_lost, source.closed) for source in reader.sources()] == [(7, False)]
        assert reader.close(4.0) == []


def test_the_account_takes_the_place_of_the_guess():
    """A final mark that comes late says exactly what was missing: the gap of the same place, and the guess is taken back."""
    reader, _, final = tail()
    reader.feed(Loss(ONE, 7, Place.IN_FLIGHT, 2, 8), 3.0)
    reader.feed(SessionClosed(ONE), 3.0)
    found = reader.feed(message(final[0], sequence=9), 5.0)
    assert [(one.first, one.lost, one.reason) for one in found] == [
        (2, 0, LogGapReason.UNATTRIBUTED),
        (2, 2, LogGapReason.LOST),
    ]
    assert (reader.stats().unattributed, reader.stats().lost) == (0, 2)


def test_what_is_missing_after_the_last_mark_is_not_a_record():
    """Copies of the mark, readings, the goodbye's beacons: with the mark the account is exact."""
    reader, _, final = tail()
    reader.feed(message(final[0], sequence=4), 2.0)
    assert reader.feed(Loss(ONE, 4, Place.IN_FLIGHT, 5, 8), 3.0) == []
    assert reader.feed(SessionClosed(ONE), 3.0) == []
    assert reader.close(9.0) == []
    assert reader.stats().unattributed == 0


def test_a_session_of_other_uses_loses_no_records():
    """A loss that a later record of the same session has passed is in its counts already."""
    reader, records, _ = tail()
    reader.feed(Loss(ONE, 3, Place.IN_FLIGHT, 2, 3), 3.0)
    reader.feed(message(records[2], sequence=5), 3.1)
    assert reader.feed(SessionClosed(ONE), 4.0) == []
    other = session("other", 7)
    assert reader.feed(Loss(other, 3, Place.IN_FLIGHT, 0, 3), 4.0) == []
    assert reader.feed(SessionClosed(other), 4.0) == []


@pytest.mark.parametrize("loss", [0.4, 0.6])
def test_every_record_is_received_or_lost_at_any_loss(loss):
    """361 of them, for many seeds, with a reader that was not told since when: nobody is unaccounted."""
    for seed in range(20):
        world = World(LinkFaults(loss=loss), seed)
        world.reader = LogReader(gap_interval=0.0)
        for number in range(361):
            world.logger.info("%d", number)
            world.sender.hand_over()
            world.step(0.003)
        world.heal()
        world.mark()
        for _ in range(50):
            world.step(0.1)
        [source] = world.reader.sources()
        assert source.received + source.lost == source.numbered == 361, seed
        assert source.before_join == 0, seed


@pytest.mark.parametrize("time_of_it", [1.8e18, 1_796_051_369_750, -1.0, float("nan"), float("inf"), 253_402_300_800])
def test_a_time_that_is_none_is_the_time_of_sending_with_a_note(time_of_it):
    """Nanoseconds, milliseconds, nothing at all: the record is kept, and whoever shows it can."""
    logger, handler, sender = make()
    record = logger.makeRecord("app.db", 20, "", 0, "x", (), None)
    record.created = time_of_it
    handler.handle(record)
    [record] = deliver(LogReader(now=0.0), sender.take(), 1.0)
    assert 0 <= record.t < 4e9
    assert "its time is not in seconds since 1970" in record.error


@pytest.mark.parametrize("time_of_it", [1.8e18, 1 << 63, True, "now", b"", [1], {}])
def test_plain_messages_have_times_in_the_same_range(time_of_it):
    """Of anybody, of any kind."""
    reader = LogReader(now=0.0)
    [record] = reader.feed(message(("logs.a", {"message": "x", "time": time_of_it})), 1.0)
    assert record.t == START_US / 1e6
    assert "not in seconds" in record.error
    [record] = reader.feed(message(("logs.a", {"message": "x", "time": 17.5})), 1.0)
    assert (record.t, record.error) == (17.5, "")
    [record] = reader.feed(message(("logs.a", "text")), 1.0)
    assert record.error == ""


@dataclasses.dataclass
class Config:
    """Shows what it wants of itself."""

    user: str
    password: str = dataclasses.field(repr=False)


class Masked(str):
    """Text that does not show itself."""

    __slots__ = ()

    def __str__(self):
        return "***"


class Struct(msgspec.Struct):
    """Taken apart by encoders."""

    token: str

    def __repr__(self):
        return "<token>"


class Items(dict):
    """A mapping that does not show itself."""

    def __repr__(self):
        return "<items>"


@pytest.mark.parametrize("policy", ["newest", "oldest"])
def test_objects_show_of_themselves_what_str_shows(policy):
    """On every way a field may take: alone, within containers, in a record that is cut; nobody is taken apart."""
    secret = "hunter2"
    logger, _, sender = make(drop=policy)
    values = {
        "config": Config("me", secret),
        "deep": [{"config": (Config("me", secret), {Config("me", secret).user})}],
        "key": {Masked(secret): 1},
        "text": Masked(secret),
        "struct": Struct(secret),
        "items": Items(password=secret),
        "number": 5,
    }
    logger.info("x", extra=values)
    logger.info("y" * 5000, extra=values)
    for sent in (sender.sent[:1], sender.sent[1:]):
        assert secret not in repr(sent)
        [record] = deliver(LogReader(now=0.0, grace=0.0), sent, 1.0)[-1:]
        assert record.fields["config"] == "Config(user='me')"
        assert record.fields["struct"] == "<token>"
        assert record.fields["items"] == "<items>"
        assert record.fields["number"] in {5, "5"}


def test_containers_without_end_are_bounded():
    """One that contains itself many times costs a bounded amount of work."""
    logger, _, sender = make(max_message=60_000)
    circle: list = []
    circle += [circle] * 200
    logger.info("x", extra={"circle": circle})
    assert sum(len(repr(payload)) for _, payload in sender.take()) < 1_000_000


def by_dict_config(_path):
    """One who closes every handler there is."""
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})


def by_file_config(path):
    """One who closes every handler there is."""
    path.write_text("[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=\n[logger_root]\nhandlers=\n")
    logging.config.fileConfig(path, disable_existing_loggers=False)


def by_shutdown(_path):
    """One who closes every handler there is."""
    logging.shutdown()


@pytest.mark.parametrize("reconfigure", [by_dict_config, by_file_config, by_shutdown])
def test_whoever_closes_every_handler_the_next_record_opens_it_again(reconfigure, tmp_path):
    """As servers and programs do that configure logging: the records after it arrive, in a life of their own."""
    with Receiver("udp://127.0.0.1:0") as receiver:
        handler = LogHandler(receiver.url, mark_interval=60)
        logger = logging.Logger("app", level=1)  # noqa: LOG001  of this test alone
        logger.addHandler(handler)
        logger.info("before")
        handlers = logging.root.handlers[:]
        try:
            reconfigure(tmp_path / "logging.ini")
        finally:
            logging.root.handlers[:] = handlers
        for number in range(20):
            logger.info("after %d", number)
        assert handler.stats().dropped == 0
        handler.close()
        reader, found = LogReader(now=time.monotonic()), []

        def done():
            while (event := receiver.next_event(0)) is not None:
                found.extend(reader.feed(event, time.monotonic()))
            return sum(source.closed for source in reader.sources()) == 2

        until(done)
        assert shown(found) == ["before", *(f"after {number}" for number in range(20))]
        assert sorted(source.numbered for source in reader.sources()) == [1, 20]


def test_threads_that_open_it_at_once_are_one_life():
    """Closed and written to from many sides: every record has one number in one life, and none is dropped."""
    sender = FakeSender()
    handler = LogHandler(sender, mark_interval=60)
    barrier = threading.Barrier(5)

    def log():
        barrier.wait()
        for _ in range(200):
            handler.handle(logging.LogRecord("a", 20, "", 0, "x", (), None))

    def close():
        barrier.wait()
        for _ in range(20):
            handler.close()

    threads = [threading.Thread(target=log) for _ in range(4)] + [threading.Thread(target=close)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = [payload for _, payload in sender.sent if "level" in payload]
    numbers = {(payload["handler"], sum(payload["prior"].values())) for payload in records}
    assert len(numbers) == len(records) == 800
    for life in {payload["handler"] for payload in records}:
        mine = sorted(number for of, number in numbers if of == life)
        assert mine == list(range(len(mine)))


def test_lives_that_ended_leave_nothing_behind():
    """A program that closes its handlers all day holds one life, not all of them."""
    handler = LogHandler(FakeSender(), mark_interval=60)
    for _ in range(50):
        handler.handle(logging.LogRecord("a", 20, "", 0, "x", (), None))
        handler.writer.close(timeout=0)
    gc.collect()
    mine = {id(handler.writer._life), id(handler.writer._first[""])}
    others = sum(type(one) is type(handler.writer._life) and id(one) not in mine for one in gc.get_objects())
    for _ in range(50):
        handler.handle(logging.LogRecord("a", 20, "", 0, "x", (), None))
        handler.writer.close(timeout=0)
    gc.collect()
    mine = {id(handler.writer._life), id(handler.writer._first[""])}
    assert sum(type(one) is type(handler.writer._life) and id(one) not in mine for one in gc.get_objects()) <= others


EXIT_ORDER = """
import atexit, logging, sys
atexit.register(lambda: logging.error("last of all"))
import atmost
logging.getLogger().addHandler(atmost.LogHandler(sys.argv[1]))
logging.error("first")
"""


def test_an_exit_function_registered_before_the_first_use_is_delivered():
    """It runs after ours: what it logs is a life of its own, with its own end."""
    with Receiver("udp://127.0.0.1:0") as receiver:
        run(EXIT_ORDER, receiver.url)
        reader, found = LogReader(now=time.monotonic()), []

        def done():
            while (event := receiver.next_event(0)) is not None:
                found.extend(reader.feed(event, time.monotonic()))
            return len(reader.sources()) == 2 and all(source.closed for source in reader.sources())

        until(done)
    assert shown(found) == ["first", "last of all"]
    assert reader.stats().lost == 0


def test_a_child_forked_past_the_hook_counts_for_itself():
    """C code forks: the child's records are a life of their own, marks and end included, and nothing of the parent's waits there."""
    with Receiver("udp://127.0.0.1:0") as receiver:
        run(
            "import logging, os, sys, atmost\n"
            "from tests.cfork import c_fork\n"
            "log = logging.getLogger()\n"
            "log.addHandler(atmost.LogHandler(sys.argv[1], drop='oldest'))\n"
            "log.error('parent')\n"
            "child = c_fork()\n"
            "for number in range(300):\n"
            "    log.error('child' if not child else 'parent')\n"
            "if child:\n"
            "    os.waitpid(child, 0)\n",
            receiver.url,
        )
        reader, found = LogReader(now=time.monotonic() - 60), []

        def done():
            while (event := receiver.next_event(0)) is not None:
                found.extend(reader.feed(event, time.monotonic()))
            return len(reader.sources()) == 2 and all(source.closed for source in reader.sources())

        until(done)
    assert sorted(source.numbered for source in reader.sources()) == [300, 301]
    assert reader.stats().lost == 0
    assert sum(one.message == "child" for one in found) == 300


POOL = """
import logging, multiprocessing, sys
import atmost

handler = atmost.LogHandler(sys.argv[1])
logging.getLogger().addHandler(handler)

def work(number):
    logging.getLogger().warning("%d", number)

if __name__ == "__main__":
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(3, multiprocessing.get_context("fork")) as pool:
        list(pool.map(work, range(60)))
"""


def test_children_of_a_pool_say_how_many_records_there_were():
    """They run no exit functions of their own: each of their lives ends with a final mark."""
    with Receiver("udp://127.0.0.1:0") as receiver:
        done = subprocess.run(
            [sys.executable, "-c", POOL, receiver.url],
            env=environment(),
            check=False,
            timeout=2 * BOUND,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        reader, found = LogReader(now=time.monotonic() - 60), []

        def ended():
            while (event := receiver.next_event(0)) is not None:
                found.extend(reader.feed(event, time.monotonic()))
            return sum(source.numbered for source in reader.sources()) == 60 and all(
                source.closed for source in reader.sources()
            )

        until(ended)
    assert sorted(int(one.message) for one in found) == list(range(60))


NO_THREAD = """
import logging, sys, threading
import atmost

def alive():
    return [thread.name for thread in threading.enumerate()].count("atmost-logs")

sender = atmost.Sender(sys.argv[1])
handlers = [atmost.LogHandler(sender, mark_interval=60) for _ in range(2)]
for _ in range(2):
    for handler in handlers:
        handler.handle(logging.LogRecord("a", 20, "", 0, "x", (), None))
    assert alive() == 1
    handlers[0].close()
    assert alive() == 1
    handlers[1].close()
    assert alive() == 0
"""


def test_no_thread_survives_the_last_close():
    """What would keep a subinterpreter from ending; the next record starts another."""
    run(NO_THREAD, "udp://127.0.0.1:9")


def test_reading_from_a_receiver_that_serves_nothing_else():
    """`read` and `read_async` yield records and gaps, and at the end what was held back."""
    with Receiver("memory://reading") as receiver, Sender("memory://reading", name="shop") as sender:
        handler = LogHandler(sender, mark_interval=60)
        for text in "012":
            handler.handle(logging.LogRecord("a", 20, "", 0, text, (), None))
        sender.flush()
        found = []
        for one in read(receiver):
            found.append(one)
            if len(found) == 3:
                break
        assert shown(found) == ["0", "1", "2"]
        assert all(isinstance(one, LogRecord) for one in found)
        assert list(read(receiver, seconds=0.05)) == []
        handler.close()


def test_reading_in_an_event_loop():
    """The same."""
    import asyncio

    from atmost import AsyncReceiver

    async def main():
        async with AsyncReceiver("memory://reading-async") as receiver:
            await receiver.next_event(0)
            with Sender("memory://reading-async", name="shop") as sender:
                handler = LogHandler(sender, mark_interval=60)
                handler.handle(logging.LogRecord("a", 20, "", 0, "x", (), None))
                handler.close()
                return [one async for one in read_async(receiver, seconds=0.3)]

    assert shown(asyncio.run(main())) == ["x"]


def test_what_is_no_receiver_is_refused():
    """At the first step, with what it should be."""
    with pytest.raises(ValueError, match="receiver"):
        next(read("udp://127.0.0.1:7140"))
