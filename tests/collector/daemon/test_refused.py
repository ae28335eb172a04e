"""A sender that is refused appears by name and address, with the reason and the fix, in the API and in the log."""

import logging
import threading

import atmost
from atmost.core.keys import KeyMode, new_key
from tests.collector.daemon.scene import FREE, collecting
from tests.real import until


def refused(collector):
    """The rows of senders that were never accepted."""
    return collector.json("/api/v1/senders")["refused"]


def test_a_sender_without_the_key_is_named(tmp_path, caplog):
    """On the API, and once in the log; the senders that are accepted are none of them."""
    path = tmp_path / "key"
    path.write_text(new_key(bytes(range(32)), 7, KeyMode.SIGNED).text() + "\n")
    path.chmod(0o600)
    options = {"bind": FREE["bind"], "http": FREE["http"], "key_file": str(path)}
    with caplog.at_level(logging.WARNING, "atmost.collector"), collecting(**options) as collector:
        with (
            atmost.Sender(collector.daemon.url, name="no-key") as bad,
            atmost.Sender(collector.daemon.url, name="keyed", key_file=str(path)) as good,
        ):
            bad.send("a", 1)
            good.send("a", 1)
            until(lambda: [row["names"] for row in refused(collector)] == [["no-key"]])
            until(lambda: [one["name"] for one in collector.json("/api/v1/senders")["senders"]] == ["keyed"])
        [row] = refused(collector)
        assert row["address"].startswith("127.0.0.1:")
        assert (row["reason"], row["proven"], row["listener"]) == ("unknown_key", False, collector.daemon.url)
        assert "it sends without a key" in row["advice"]
        assert collector.json("/api/v1/overview")["totals"]["refused_senders"] == 1
        collector.daemon.supervise(0.0, threading.Event())
        collector.daemon.supervise(0.0, threading.Event())
    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if line.startswith("first sender refused: ") and "without a key" in line]) == 1


def test_other_hosts_without_a_key_are_warned_of_once(caplog):
    """With the fix, where the page and the log say it; not on loopback."""
    with caplog.at_level(logging.WARNING, "atmost.collector"), collecting(bind=("udp://0.0.0.0:0",)) as collector:
        [warning] = [text for text in collector.daemon.state.warnings.values() if "without a key" in text]
        assert "atmost keygen" in warning
        for _ in range(2):
            collector.daemon.supervise(0.0, threading.Event())
    assert [record.getMessage() for record in caplog.records].count(warning) == 1
    with collecting(bind=FREE["bind"]) as collector:
        assert not collector.daemon.state.warnings.keys() & {"key"}


def test_the_first_refusal_of_each_kind_is_in_the_log(caplog):
    """Of the other protocols too."""
    with caplog.at_level(logging.WARNING, "atmost.collector"), collecting(statsd=FREE["statsd"]) as collector:
        collector.send("statsd", b"bad", b"worse", b"a:1|q")
        collector.took("statsd", 3)
        collector.daemon.supervise(0.0, threading.Event())
    said = [record.getMessage() for record in caplog.records if "first input refused by statsd" in record.getMessage()]
    assert len(said) == 2
    assert "malformed line, from 127.0.0.1:" in said[0]
    assert said[0].endswith(": bad")
