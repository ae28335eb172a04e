"""The must-deliver guard: subjects on which a loss is not acceptable cannot be given to what may lose it."""

import logging
import os
import re
import sys
import threading
from contextlib import closing, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

import atmost
from atmost import LossNotTolerated, OptionError, Sender, SubjectError, must_deliver
from atmost.core.names import matcher
from atmost.endpoint import must_deliver as module_function
from atmost.metrics.instruments import MetricDropReason
from tests.cli.commands import commands, run, start
from tests.real import environment, until
from tests.real import run as run_program

__all__ = ["commands", "run", "start"]

guard = sys.modules["atmost.endpoint.must_deliver"]
TOKENS = st.sampled_from(["a", "b", "a.b", "*", ">"])
SUBJECTS = st.lists(st.sampled_from(["a", "b", "c", "+", "a|b"]), min_size=1, max_size=4).map(".".join)


@pytest.fixture(autouse=True)
def nothing_declared(monkeypatch):
    """Each test begins with nothing declared, and leaves nothing."""
    monkeypatch.delenv(guard.VARIABLE, raising=False)
    monkeypatch.setattr(guard, "_of_environment", "")
    monkeypatch.setattr(guard, "_declared", guard._Declared((), None))
    yield
    guard._declared = guard._Declared((), None)


@pytest.fixture
def sender():
    """A sender to nobody."""
    with Sender("memory://nobody") as sender:
        yield sender


def test_the_module_is_where_it_is_said_to_be():
    """The public name is the function of the module that tests reach by its name."""
    assert module_function is guard
    assert must_deliver is guard.must_deliver


def test_send_refuses_and_names_the_way_out(sender):
    """The error has the subject, the pattern, and what to use instead; nothing is offered to the network."""
    must_deliver("stock.*.decrement", "payments.>")
    with pytest.raises(LossNotTolerated) as refused:
        sender.send("payments.captured", {"amount": 1})
    error = refused.value
    assert (error.subject, error.pattern, error.alternative) == ("payments.captured", "payments.>", "atmost.durable")
    for word in ("'payments.captured'", "'payments.>'", "atmost.durable.AtLeastOnce", "pip install 'atmost[nats]'"):
        assert word in str(error)
    assert sender.stats().offered == 0
    assert sender.send("payments") is True
    assert sender.send("stock.7") is True


def test_a_sender_that_has_sent_on_the_subject_before_refuses_it_too(sender):
    """What a sender remembers of its subjects is forgotten with a declaration."""
    assert sender.send("payments.captured")
    must_deliver("payments.>")
    for _ in range(2):
        with pytest.raises(LossNotTolerated):
            sender.send("payments.captured")
    assert sender.send("orders.viewed")


def test_a_declaration_overtakes_an_answer_in_the_making(sender, monkeypatch):
    """A thread that asked before the declaration, and remembers after it, does not open a hole."""
    refuse = guard.refuse

    def overtaken(subject):
        refuse(subject)
        must_deliver("payments.>")

    with monkeypatch.context() as patch:
        patch.setattr("atmost.endpoint.sender.refuse", overtaken)
        assert sender.send("payments.captured")  # it was asked before
    with pytest.raises(LossNotTolerated):
        sender.send("payments.captured")


def test_threads_that_send_meanwhile_all_come_to_refuse():
    """After a declaration no thread of any sender sends on the subject any more."""
    declared = threading.Event()
    wrong: list[str] = []

    def work(number: int) -> None:
        with Sender(f"memory://threads-{number}") as sender:
            while not declared.is_set():
                with suppress(LossNotTolerated):
                    sender.send("payments.captured")
                sender.send("orders.viewed")
            for _ in range(100):
                try:
                    sender.send("payments.captured")
                    wrong.append("sent")
                except LossNotTolerated:
                    pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for number in range(50):
        must_deliver(f"other.{number}.>")
    must_deliver("payments.>")
    declared.set()
    for thread in threads:
        thread.join(30)
    assert wrong == []


@given(st.lists(st.lists(TOKENS, min_size=1, max_size=3).map(".".join), min_size=1, max_size=4), SUBJECTS)
def test_matching_is_that_of_receivers(patterns, subject):
    """One expression for all patterns answers as `matcher`, the oracle, does."""
    try:
        expected = matcher(patterns)(subject)
    except SubjectError:
        return
    assert bool(guard._expression(patterns).fullmatch(subject)) == expected


@pytest.mark.parametrize("patterns", [(), ("",), ("a..b",), ("pay>",), ("a.>", "b c")])
def test_a_malformed_declaration_declares_nothing(patterns, sender):
    """All patterns or none."""
    with pytest.raises(SubjectError):
        must_deliver(*patterns)
    assert sender.send("a.b")


def test_patterns_are_bounded():
    """A program that declares in a loop hears of it."""
    must_deliver(*(f"a{number}" for number in range(1000)))
    must_deliver("a1")
    with pytest.raises(OptionError, match="at most 1000"):
        must_deliver("one.more")


def test_a_forked_child_keeps_what_was_declared(sender):
    """The child's sender is renewed, what must be delivered is not."""
    must_deliver("payments.>")
    child = os.fork()
    if not child:
        try:
            sender.send("payments.captured")
        except LossNotTolerated:
            os._exit(7)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_the_environment_declares(monkeypatch):
    """Read when a sender is constructed, with spaces and empty parts forgiven; what it declared once stays."""
    monkeypatch.setenv("ATMOST_MUST_DELIVER", "payments.>, stock.*.decrement,")
    with Sender("memory://environment") as sender:
        for subject in ("payments.captured", "stock.7.decrement"):
            with pytest.raises(LossNotTolerated):
                sender.send(subject)
    monkeypatch.delenv("ATMOST_MUST_DELIVER")
    with Sender("memory://environment") as sender, pytest.raises(LossNotTolerated):
        sender.send("payments.captured")


def test_a_malformed_environment_is_told_at_construction(monkeypatch):
    """One line that names the variable and what is wrong in it."""
    monkeypatch.setenv("ATMOST_MUST_DELIVER", "payments.>,pay>")
    with pytest.raises(OptionError, match=re.escape("ATMOST_MUST_DELIVER='payments.>,pay>'")) as refused:
        Sender("memory://environment")
    assert "the wildcard in 'pay>' must be the whole token" in str(refused.value)


@pytest.mark.parametrize(
    ("pattern", "refused"),
    [("metrics.>", True), ("metrics.*", True), ("*.snapshot", True), (">", True), ("metrics", False), ("a.>", False)],
)
def test_metrics_refuse_at_construction(sender, pattern, refused):
    """Where any subject below theirs must be delivered."""
    must_deliver(pattern)
    if refused:
        with pytest.raises(LossNotTolerated) as told:
            atmost.Metrics(sender)
        assert told.value.subject == "metrics.>"
    else:
        atmost.Metrics(sender).close()


def test_metrics_that_live_never_raise_but_count(sender):
    """A background thread has nobody to raise to."""
    with atmost.Metrics(sender, interval=0.01) as metrics:
        metrics.counter("requests_total").inc()
        must_deliver("metrics.>")
        until(lambda: metrics.dropped.get(MetricDropReason.MUST_DELIVER))
        metrics.flush()


def test_a_heartbeat_refuses_at_construction_and_never_later(sender):
    """Only the name that must be delivered; one that beats counts its errors."""
    with atmost.Heartbeat(sender, "worker-7", interval=0.01) as heartbeat:
        must_deliver("heartbeats.worker-7")
        with pytest.raises(LossNotTolerated):
            atmost.Heartbeat(sender, "worker-7")
        atmost.Heartbeat(sender, "worker-8")
        until(lambda: heartbeat.stats().errors)


@pytest.mark.parametrize("use", [atmost.LogHandler, atmost.Invalidator])
def test_logs_and_hints_refuse_at_construction(sender, use):
    """Where any subject below theirs must be delivered; a handler that lives counts, for logging harms nobody."""
    with closing(use(sender)):
        must_deliver("logs.audit.>", "hints.key")
        with pytest.raises(LossNotTolerated):
            use(sender)


def test_a_log_handler_that_lives_counts(sender):
    """`emit` raises nothing, whatever was declared since."""
    handler = atmost.LogHandler(sender)
    must_deliver("logs.>")
    handler.handle(logging.makeLogRecord({"msg": "paid", "levelno": logging.ERROR, "levelname": "ERROR"}))
    assert handler.stats().dropped == handler.stats().errors == 1
    handler.close()


@pytest.mark.parametrize("given_lines", [b"1\n2\n", b""])
def test_the_command_refuses_with_advice(run, given_lines):
    """`atmost send` ends as one used wrongly, before it reads a line."""
    done = run("send", "payments.captured", "--lines", given=given_lines, ATMOST_MUST_DELIVER="payments.>")
    assert done.status == 2
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert "atmost.durable.AtLeastOnce" in line


@pytest.mark.parametrize("pattern", ["logs.app", "metrics.cpu.>", "heartbeats.*"])
def test_the_agent_refuses_before_it_sends_anything(run, pattern, tmp_path):
    """Not at the first line of a log, which may come after hours."""
    options = ("agent", "--log", tmp_path / "app.log", "--seconds", "0", "--url", "memory://nobody")
    done = run(*options, ATMOST_MUST_DELIVER=pattern)
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert f"declared by {pattern!r}" in line
    assert "atmost.durable.AtLeastOnce" in line


def test_declaring_loads_no_engine():
    """The guard costs what a module costs; `atmost.durable` is there without being imported, and waits for its use."""
    code = (
        "import sys, atmost; atmost.must_deliver('a.>'); print({'asyncio', 'nats', 'socket'} & set(sys.modules)); "
        "print(atmost.durable.__name__, 'nats' in sys.modules)"
    )
    assert run_program(code).splitlines() == ["set()", "atmost.durable False"]
    assert guard.VARIABLE not in environment()
