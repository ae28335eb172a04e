"""`Metrics` with real senders: its thread, its end, forks, plain readings, and the process's own metrics."""

import asyncio
import gc
import pickle
import threading
import time
import weakref

import pytest

from atmost import Metrics, MetricsReader, OptionError, Receiver, Sender, SubjectError
from tests.metrics.scene import FakeSender, make, snapshot
from tests.real import run, until


@pytest.fixture
def receiver():
    """On the network inside the process."""
    with Receiver("memory://metrics") as receiver:
        yield receiver


@pytest.fixture
def sender(receiver):
    """To that receiver."""
    with Sender("memory://metrics", name="web-1") as sender:
        yield sender


def threads() -> list[str]:
    """Our threads."""
    return [thread.name for thread in threading.enumerate() if thread.name == "atmost-metrics"]


def feed(reader, receiver) -> None:
    """Everything that has arrived."""
    while (event := receiver.next_event(0)) is not None:
        reader.feed(event, time.monotonic())


def test_no_thread_before_the_first_declaration_and_one_afterwards(sender):
    """And none after the end."""
    before = len(threads())
    metrics = Metrics(sender, 0.02)
    assert len(threads()) == before
    metrics.counter("a_total")
    metrics.counter("b_total")
    metrics.gauge("g")
    assert len(threads()) == before + 1
    metrics.close()
    until(lambda: len(threads()) == before)


def test_snapshots_arrive_by_themselves(sender, receiver):
    """Once an interval, numbered without holes."""
    reader = MetricsReader()
    with Metrics(sender, 0.02) as metrics:
        counter = metrics.counter("a_total")
        counter.inc(3)

        def enough():
            counter.inc(0)
            feed(reader, receiver)
            sources = reader.sources(time.monotonic())
            return sources and sources[0].snapshots >= 5

        until(enough)
    feed(reader, receiver)
    [source] = reader.sources(time.monotonic())
    assert (source.sender, source.closed, source.lost) == ("web-1", True, 0)
    assert reader.total("a_total") == 3


def test_last_snapshot_has_what_was_counted_last(sender, receiver):
    """`close` sends it; what is counted afterwards harms nobody; closing again does nothing."""
    metrics = Metrics(sender, 3600)
    counter = metrics.counter("a_total")
    counter.inc(7)
    metrics.close()
    counter.inc(100)
    metrics.close()
    assert metrics.flush() == 0
    assert metrics.counter("b_total").value == 0
    reader = MetricsReader()
    until(lambda: feed(reader, receiver) or reader.total("a_total") == 7)


def test_forgotten_metrics_end_and_tell_a_last_time(sender, receiver):
    """The thread holds them weakly; an instrument in use keeps them alive."""
    metrics = Metrics(sender, 3600)
    counter = metrics.counter("a_total")
    counter.inc(2)
    gone = weakref.ref(metrics)
    del metrics
    gc.collect()
    assert gone() is not None
    del counter
    gc.collect()
    assert gone() is None
    reader = MetricsReader()
    until(lambda: feed(reader, receiver) or reader.total("a_total") == 2)


@pytest.mark.parametrize("given", ["url", "nothing", "arguments"])
def test_metrics_open_a_sender_of_their_own(given, monkeypatch):
    """From a URL, the arguments of a Sender, or `ATMOST_URL`; it is closed with them."""
    with Receiver("udp://127.0.0.1:0") as receiver:
        monkeypatch.setenv("ATMOST_URL", receiver.url)
        monkeypatch.setenv("ATMOST_NAME", "own")
        made = {"url": receiver.url, "nothing": None, "arguments": {"url": receiver.url, "name": "own"}}
        with Metrics(made[given], 3600) as metrics:
            metrics.counter("a_total").inc(4)
        reader = MetricsReader(now=time.monotonic())

        def ended():
            feed(reader, receiver)
            return [ledger.tail for ledger in receiver.ledger().sessions] == ["closed"]

        until(ended)
        [source] = reader.sources(time.monotonic())
        assert (source.sender, str(source.tail), reader.total("a_total")) == ("own", "complete", 4)


def test_closing_does_not_block_an_event_loop():
    """`aclose` and `async with` let others run while the repeats are spaced."""
    turns = []

    async def work():
        async def tick():
            while True:
                turns.append(time.monotonic())
                await asyncio.sleep(0.001)

        ticking = asyncio.create_task(tick())
        async with Metrics("udp://127.0.0.1:9", 3600) as metrics:
            metrics.counter("a_total").inc()
            await asyncio.sleep(0)
            turns.clear()
        ticking.cancel()

    asyncio.run(work())
    assert len(turns) > 10


@pytest.mark.parametrize("timeout", [-1, float("nan"), 1e9, "1", None])
def test_a_timeout_that_cannot_be(timeout):
    """Refused, and the metrics stay open."""
    metrics, sender = make()
    metrics.counter("a_total").inc()
    with pytest.raises(OptionError, match="timeout"):
        metrics.close(timeout)
    metrics.close(0)
    assert [payload[6] for _, payload in sender.take()] == [True] * 5


def test_counting_does_no_socket_work():
    """Nothing is sent before a snapshot is due."""
    metrics, sender = make()
    for _ in range(1000):
        metrics.counter("a_total").inc()
        metrics.histogram("h").observe(1)
        metrics.gauge("g").set(1)
    assert sender.sent == []


def test_closed_sender_harms_nobody(receiver):
    """Nor does one that drops."""
    sender = Sender("memory://metrics")
    metrics = Metrics(sender)
    metrics.counter("a_total").inc()
    sender.close()
    assert metrics.flush() == 1
    metrics.close()


def test_plain_reading_is_sent_at_once():
    """As the agent's: the name is the rest of the subject."""
    metrics, sender = make(subject="team.metrics")
    assert metrics.reading("cpu.utilization", 0.42)
    assert metrics.reading("n", 3)
    assert sender.take() == [("team.metrics.cpu.utilization", 0.42), ("team.metrics.n", 3.0)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", None, [], 10**400])
def test_bad_reading_is_counted(value):
    """And not sent."""
    metrics, sender = make()
    assert not metrics.reading("x", value)
    assert (sender.sent, metrics.dropped) == ([], {"bad_value": 1})


@pytest.mark.parametrize("name", ["", "a..b", "a b", "*", ".a"])
def test_reading_with_a_name_that_cannot_be(name):
    """The caller's mistake."""
    with pytest.raises(SubjectError):
        make()[0].reading(name, 1)


def test_process_metrics():
    """Processor time, memory, threads and files, under Prometheus' names."""
    metrics, sender = make(process=True)
    [(_, payload)] = snapshot(metrics, sender, 0.0)
    values = {family[1]: family[5][0][2] for family in payload[10]}
    assert values["process_resident_memory_bytes"] > 1e6
    assert values["process_threads"] >= 1
    assert values["process_cpu_seconds_total"] > 0
    assert values["process_start_time_seconds"] > 1e9


def test_cannot_be_copied():
    """A copy would number its snapshots like the original."""
    metrics = make()[0]
    with pytest.raises(TypeError, match="construct them in each process"):
        pickle.dumps(metrics)
    assert "web-1" in repr(metrics)


def test_program_that_just_ends_tells_a_last_time(receiver):
    """At the interpreter's exit, without a close."""
    with Receiver("udp://127.0.0.1:0") as udp:
        run(
            "import sys, atmost\n"
            "metrics = atmost.Metrics(atmost.Sender(sys.argv[1], name='short'), 3600)\n"
            "metrics.counter('a_total').inc(5)\n",
            udp.url,
        )
        reader = MetricsReader()
        until(lambda: feed(reader, udp) or reader.total("a_total") == 5)


def test_forked_child_counts_from_zero_in_a_life_of_its_own():
    """What the parent counted is the parent's to tell, whatever the child does; an idle child sends nothing."""
    with Receiver("udp://127.0.0.1:0") as udp:
        run(
            "import os, sys, warnings, atmost\n"
            "warnings.simplefilter('ignore')\n"
            "sender = atmost.Sender(sys.argv[1], name='forking')\n"
            "metrics = atmost.Metrics(sender, 0.05)\n"
            "counter = metrics.counter('a_total', '', ('who',))\n"
            "counter.labels('parent').inc(10)\n"
            "metrics.histogram('h').observe(1.0)\n"
            "metrics.flush()\n"
            "for who in ('one', 'two', None):\n"
            "    child = os.fork()\n"
            "    if not child:\n"
            "        if who: counter.labels(who).inc(1); counter.labels('parent').inc(1)\n"
            "        metrics.close(); sender.close(); os._exit(0)\n"
            "    os.waitpid(child, 0)\n"
            "counter.labels('parent').inc(10)\n"
            "metrics.close(); sender.close()\n",
            udp.url,
        )
        reader = MetricsReader()
        until(lambda: feed(reader, udp) or reader.total("a_total") == 24)
        feed(reader, udp)
        assert reader.total("a_total", {"who": "parent"}) == 22
        assert reader.total("h") == 1
        lives = [source for source in reader.sources(time.monotonic()) if source.complete]
        assert len(lives) == 3


FORKED_BY_C = """
import fractions, os, sys, time
import atmost
from tests.cfork import c_fork

url, when, first = sys.argv[1:]
sender = atmost.Sender(url, name="web-1")
metrics = atmost.Metrics(sender, 3600)
counter = metrics.counter("a_total", "", ("who",))
gauge, histogram = metrics.gauge("g", mode="each"), metrics.histogram("h")
counter.labels("parent").inc(5)
histogram.observe(1.0)
parent, child = counter.labels("parent"), counter.labels("child")
if when == "told":
    metrics.flush()
pid = c_fork()
if pid == 0:
    steps = {
        "inc": child.inc,
        "part": lambda: child.inc(1),
        "nothing": lambda: child.inc(0),
        "float": lambda: child.inc(1.0),
        "decimal": lambda: child.inc(fractions.Fraction(1)),
        "set": lambda: gauge.set(7.0),
        "set_int": lambda: gauge.set(7),
        "up": lambda: gauge.inc(7),
        "observe": lambda: histogram.observe(2.0),
        "observe_zero": lambda: histogram.observe(0),
        "declare": lambda: metrics.counter("a_total", "", ("who",)),
        "flush": metrics.flush,
    }
    steps[first]()
    child.inc(300 - (first in {"inc", "part", "float", "decimal"}))
    child.inc(0.5)
    if first not in {"set", "set_int", "up"}:
        gauge.set(7.0)
    if not first.startswith("observe"):
        histogram.observe(2.0)
    metrics.close()
    sender.close()
    os._exit(0)
parent.inc(2)
os.waitpid(pid, 0)
metrics.close()
sender.close()
"""


@pytest.mark.parametrize(
    ("when", "first"),
    [
        ("told", "inc"),
        *(
            ("untold", first)
            for first in (
                "inc",
                "part",
                "nothing",
                "float",
                "decimal",
                "set",
                "set_int",
                "up",
                "observe",
                "observe_zero",
                "declare",
                "flush",
            )
        ),
    ],
)
def test_a_fork_by_c_code_is_noticed_where_something_is_counted(when, first):
    """uWSGI forks so: what the child counts is its own, from the first step on, and nothing of the parent is counted twice."""
    with Receiver("udp://127.0.0.1:0") as receiver:
        reader = MetricsReader(now=time.monotonic())
        run(FORKED_BY_C, receiver.url, when, first)
        until(lambda: feed(reader, receiver) or all(source.closed for source in reader.sources(time.monotonic())[:2]))
        assert len(reader.sources(time.monotonic())) == 2
        assert reader.total("a_total", {"who": "child"}) == 300.5
        assert reader.total("a_total", {"who": "parent"}) == 7
        assert reader.total("h") == 2
        assert [value for _, _, value in reader.series("g")] == [7.0]
        assert reader.total_of("a_total", time.monotonic()).completeness == 1.0


def test_rhythm_survives_a_pause():
    """One snapshot for all of it, and not one for each that was missed."""
    sender = FakeSender()
    with Metrics(sender, 0.01) as metrics:
        metrics.counter("a_total")
        began = time.monotonic()
        with metrics._registry._taking:
            time.sleep(0.2)
        until(lambda: len(sender.sent) >= 3)
        assert len(sender.sent) <= (time.monotonic() - began - 0.2) / 0.01 + 3


@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError, KeyboardInterrupt])
def test_callback_that_wants_to_end_the_thread_is_counted(sender, receiver, error):
    """An exit or a cancellation is the callback's own failure in our thread: the snapshots go on, with all the rest."""

    def leave():
        raise error

    metrics, reader = Metrics(sender, interval=0.01), MetricsReader()
    metrics.gauge("bad", callback=leave)
    metrics.counter("good_total").inc()
    until(lambda: feed(reader, receiver) or reader.total("good_total") == 1)
    assert metrics.dropped["callback"] > 0
    assert threads() == ["atmost-metrics"]
    metrics._registry._declared.pop("bad")  # the last snapshot is taken here, where an exit is one
    metrics.close()


def test_an_interrupt_while_a_callback_runs_is_the_main_threads(sender):
    """Ctrl-C in a snapshot that the program asked for ends the program, not the callback."""

    def interrupted():
        raise KeyboardInterrupt

    metrics = Metrics(sender, interval=3600)
    metrics.gauge("g", callback=interrupted)
    with pytest.raises(KeyboardInterrupt):
        metrics.flush()
    metrics._registry._declared.pop("g")
    metrics.close()


def test_slow_callback_keeps_nobody_waiting():
    """New series and new buckets come into being while a callback hangs, and closing gives up on it."""
    metrics, sender = make()
    entered, leave = threading.Event(), threading.Event()

    def hang():
        entered.set()
        assert leave.wait(30)
        return 1

    metrics.gauge("g", callback=hang)
    counter, histogram = metrics.counter("a_total", "", ("x",)), metrics.histogram("h")
    taker = threading.Thread(target=metrics.flush)
    taker.start()
    try:
        assert entered.wait(30)
        began = time.monotonic()
        counter.labels("y").inc()
        histogram.observe(7.0)
        counter.labels("y").inc(-1)
        assert time.monotonic() - began < 10
        assert taker.is_alive()
        metrics.close()
        assert sender.sent == []
    finally:
        leave.set()
        taker.join()


def test_snapshot_inside_a_snapshot_is_none():
    """A callback that asks for one does not number it twice."""
    metrics, sender = make()
    metrics.gauge("g", callback=lambda: metrics.flush() + 5)
    assert metrics.flush() == 1
    assert [payload[3] for _, payload in sender.take()] == [0]


def test_threads_that_have_run_out_are_tried_again(sender, monkeypatch):
    """Declaring does not raise; the next declaration starts the thread."""
    before = len(threads())

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        metrics = Metrics(sender, 0.05)
        metrics.counter("a_total")
    assert len(threads()) == before
    metrics.counter("b_total")
    assert len(threads()) == before + 1
    metrics.close()
