"""What tests of other programs see: their messages, metrics and logs, at once; and the plugin of pytest."""

import logging
import os
import subprocess
import sys

import pytest

import atmost
from atmost.metrics import Metrics
from atmost.testing import Capture, ManualClock, memory_url
from tests.real import environment


@pytest.fixture
def capture():
    """Of one test."""
    with Capture() as capture:
        yield capture


def test_messages_are_there_at_once(capture):
    """With their payloads as they travel; others' are not seen."""
    capture.sender.send("orders.viewed", {"sku": "A1", "at": (1, 2)})
    with atmost.Sender(memory_url()) as other:
        other.send("orders.viewed", 1)
    assert [message.payload for message in capture.sent("orders.*")] == [{"sku": "A1", "at": [1, 2]}]
    assert capture.sent("orders.bought") == []
    capture.clear()
    assert capture.messages == []
    with pytest.raises(atmost.PayloadNotEncodable):
        capture.sender.send("orders.viewed", object())


def test_metrics_are_there_at_once(capture):
    """Whatever their interval; series that fit the labels are added up."""
    metrics = Metrics(capture.sender, interval=3600)
    orders = metrics.counter("orders_total", "Orders.", ("shop",))
    waiting = metrics.gauge("waiting")
    for number in range(1, 4):
        orders.labels("a").inc()
        orders.labels("b").inc(number)
        waiting.set(number)
        assert capture.metric("orders_total", shop="a") == number
        assert capture.metric("waiting") == number
    assert capture.metric("orders_total") == 9
    assert capture.metric("orders_total", shop="c") is capture.metric("other") is None
    metrics.close()


def test_log_records_are_there_at_once(capture):
    """With their level, text and fields."""
    handler, log = atmost.LogHandler(capture.sender), logging.getLogger("tested")
    log.addHandler(handler)
    try:
        log.warning("sold %s", "A1", extra={"price": 3})
        log.error("sold out")
        assert [(one.level, one.message, one.fields) for one in capture.records] == [
            ("WARNING", "sold A1", {"price": 3}),
            ("ERROR", "sold out", {}),
        ]
    finally:
        log.removeHandler(handler)
        handler.close()


def test_the_environment_is_given_back():
    """Senders without an address send to the capture as long as it is open."""
    before = os.environ.get("ATMOST_URL")
    with Capture(environment=True) as capture, atmost.Sender() as sender:
        sender.send("a.b", 1)
        assert [message.payload for message in capture.messages] == [1]
    assert os.environ.get("ATMOST_URL") == before


def test_a_clock_that_the_test_moves():
    """As a cache takes it; it does not step back."""
    clock = ManualClock()
    cache = atmost.HintedCache(10, clock=clock)
    cache.get_or_load("a", lambda: 1)
    clock.advance(9.9)
    assert cache.get("a") == 1
    clock.advance(0.2)
    assert cache.get("a") is None
    with pytest.raises(ValueError, match="step back"):
        clock.advance(-1)


SUITE = """
import atmost

def test_sends(atmost_capture, atmost_clock):
    atmost.Sender().send("a.b", 1)
    assert [message.payload for message in atmost_capture.messages] == [1]
    assert atmost_clock.advance(1) == 1001
"""
OTHERS = """
import sys

def test_nothing_of_atmost_is_loaded():
    loaded = {name for name in sys.modules if name.startswith("atmost")}
    assert loaded <= {"atmost", "atmost.errors", "atmost.lifecycle", "atmost.testing", "atmost.testing.plugin"}, loaded
"""


@pytest.mark.parametrize("suite", [SUITE, OTHERS], ids=["used", "unused"])
def test_the_plugin(suite, tmp_path):
    """Its fixtures work, and it costs other projects' runs no import beyond itself."""
    (tmp_path / "test_it.py").write_text(suite)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:atmost",
        "-p",
        "atmost.testing.plugin",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
