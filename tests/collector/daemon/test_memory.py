"""What beat before a restart is expected after it, and what was decommissioned is forgotten."""

import logging
import threading
from pathlib import Path

import pytest

import atmost
from atmost.cli.source import Source, SourceError
from atmost.collector.daemon import memory_path
from atmost.collector.options import CollectorOptions
from atmost.errors import ConfigError
from tests.collector.daemon.scene import FREE, collecting
from tests.real import until

OURS = {"bind": FREE["bind"], "http": FREE["http"]}


def states(collector):
    """The states of the board, by name."""
    return {row["name"]: row["state"] for row in collector.json("/api/v1/heartbeats")["heartbeats"]}


def beat_once(collector, name="worker-7"):
    """A heartbeat that is up, and does not say goodbye: its sender is left open."""
    sender = atmost.Sender(collector.daemon.url, name=name, linger=0)
    sender.send(f"heartbeats.{name}", {"number": 0, "interval": 0.05, "life": "a"})
    until(lambda: states(collector).get(name))
    return sender


def test_what_beat_before_a_restart_is_missed_after_it(tmp_path):
    """It goes down though it never beat again; forgotten, it stays away over the next restart."""
    options = OURS | {"state_dir": str(tmp_path)}
    with collecting(**options) as collector:
        sender = beat_once(collector)
    assert (tmp_path / "heartbeats.json").stat().st_mode & 0o777 == 0o600
    with collecting(**options) as collector:
        until(lambda: states(collector) == {"worker-7": "down"})
        assert 'atmost_heartbeat_up{heartbeat="worker-7"} 0.0' in collector.get("/metrics")[1].decode()
        source = Source(f"http://127.0.0.1:{collector.port('http')}")
        assert source.delete("heartbeats", name="worker-7") == {"forgotten": "worker-7"}
        with pytest.raises(SourceError, match="no heartbeat is called 'worker-7'"):
            source.delete("heartbeats", name="worker-7")
        source.close()
        assert states(collector) == {}
    with collecting(**options) as collector:
        assert states(collector) == {}
    sender.close(0)


def test_a_corrupt_file_costs_the_expectations_and_says_so(tmp_path, caplog):
    """It is kept for who wants to look, and the collector starts."""
    (tmp_path / "heartbeats.json").write_bytes(b"\x00half of one")
    with caplog.at_level(logging.WARNING, "atmost.collector"), collecting(**OURS, state_dir=str(tmp_path)) as collector:
        assert states(collector) == {}
    assert "heartbeats expected before the restart are lost" in caplog.text
    assert (tmp_path / "heartbeats.json.corrupt").exists()


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path):
    """The collector works without it."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    with collecting(**OURS, state_dir=str(blocked / "below")) as collector:
        collector.daemon.supervise(0.0, threading.Event())
        [warning] = collector.json("/api/v1/overview")["warnings"]
    assert warning.startswith("heartbeats are not kept over a restart: ")
    assert warning.endswith("set state_dir to a folder, or to off")


def test_what_the_configuration_expects_is_missed():
    """From the start, and from a reload on; a name that none can have is an error."""
    options = OURS | {"expect": ("db", "worker-*")}
    with collecting(**options) as collector:
        until(lambda: states(collector) == {"db": "down", "worker-*": "down"})
        sender = beat_once(collector)
        assert "worker-*" not in states(collector)
        changed = collector.daemon.options
        assert (
            collector.daemon.reload(
                CollectorOptions(
                    **{name: getattr(changed, name) for name in changed.__slots__} | {"expect": ("db", "late")}
                )
            )
            == []
        )
        assert "late" in states(collector)
        sender.close(0)
    with pytest.raises(ConfigError, match="expect"), collecting(**OURS, expect=("a b",)):
        pass


def test_where_it_is_kept():
    """In the folder that is named, in the service manager's, or in the user's with a name of the address's; or nowhere."""
    here = {"HOME": "/users/op"}
    known = CollectorOptions(bind=("udp://127.0.0.1:7140",))
    assert memory_path(known, here) == Path("/users/op/.local/state/atmost/heartbeats-udp-127.0.0.1-7140.json")
    assert memory_path(known, here | {"XDG_STATE_HOME": "/s"}) == Path("/s/atmost/heartbeats-udp-127.0.0.1-7140.json")
    assert memory_path(known, here | {"STATE_DIRECTORY": "/var/lib/atmost"}) == Path("/var/lib/atmost/heartbeats.json")
    assert memory_path(CollectorOptions(state_dir="/x"), here) == Path("/x/heartbeats.json")
    assert memory_path(CollectorOptions(state_dir="off"), here | {"STATE_DIRECTORY": "/var/lib/atmost"}) is None
    assert memory_path(CollectorOptions(bind=("udp://127.0.0.1:0",)), here) is None
    assert memory_path(known, {}) is None
