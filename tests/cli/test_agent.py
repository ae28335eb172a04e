"""`atmost agent` as a user runs it: beside a receiver, with log files that come, grow and are rotated."""

import json
import os
import signal
import socket

import pytest

from atmost.agent.readings import token
from tests.real import raw_receiver, url_of

ANY = "udp://127.0.0.1:0"


@pytest.fixture
def listener(start):
    """A receiver that prints everything as JSON."""
    return start("listen", "--json", "--bind", ANY)


def messages(listener, prefix=""):
    """The messages that have arrived on subjects that begin so."""
    events = [json.loads(line) for line in list(listener.out)]
    return [event for event in events if event["type"] == "message" and event["subject"].startswith(prefix)]


def lines(listener):
    """The log lines that have arrived."""
    return [message["payload"]["message"] for message in messages(listener, "logs.")]


def test_readings_and_a_heartbeat_of_this_host(start, listener):
    """CPU, memory, disk and network under their names, each second unless told otherwise; the host's name is the sender's."""
    agent = start("agent", "--interval", "0.2", "--url", listener.url)
    assert agent.says("sending readings every 0.2 s to ") == (
        f"sending readings every 0.2 s to {listener.url} as {socket.gethostname()} (Ctrl-C ends)\n"
    )
    listener.until(lambda: len(messages(listener, "heartbeats.")) >= 3)
    done = agent.end()
    subjects = {message["subject"] for message in messages(listener)}
    assert {"metrics.cpu.utilization", "metrics.memory.utilization"} <= subjects
    assert any(subject.startswith("metrics.cpu.") and subject != "metrics.cpu.utilization" for subject in subjects)
    beats = messages(listener, "heartbeats.")
    assert {beat["subject"] for beat in beats} == {f"heartbeats.{token(socket.gethostname())}"}
    assert [beat["payload"]["number"] for beat in beats] == list(range(len(beats)))
    assert {(beat["sender"], beat["pid"]) for beat in beats} == {(socket.gethostname(), agent.pid)}
    assert done.status == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_became_of_the_messages(start, listener, number):
    """Status 0; a receiver has as many messages as the agent says it handed over."""
    agent = start("agent", "--json", "--interval", "0.1", "--url", listener.url)
    listener.until(lambda: len(messages(listener, "heartbeats.")) >= 2)
    done = agent.end(number)
    assert done.status == 0
    (stats,) = done.objects
    assert stats["offered"] == stats["handed_over"]
    listener.until(lambda: any('"session_closed"' in line for line in listener.out))
    assert len(messages(listener)) == stats["handed_over"]


def test_a_log_file_that_does_not_exist_yet(start, listener, tmp_path):
    """It says that it waits, follows the file from its first line as soon as it exists, and sends its last words."""
    path = tmp_path / "app.log"
    agent = start("agent", "--log", path, "--url", listener.url)
    assert agent.says("waiting") == f"atmost agent: {path}: waiting (it is followed as soon as it exists)\n"
    path.write_text("first\n")
    listener.until(lambda: lines(listener) == ["first"])
    with path.open("a") as log:
        log.write("second\nlast words")
    assert agent.end().status == 0
    listener.until(lambda: lines(listener) == ["first", "second", "last words"])
    assert {message["subject"] for message in messages(listener, "logs.")} == {"logs.app"}


def test_a_log_file_is_followed_through_rotation(start, listener, tmp_path):
    """From its end at the start, then every line once, across a rotation, which is told."""
    path = tmp_path / "app.log"
    path.write_text("before the agent\n")
    agent = start("agent", "--log", path, "--url", listener.url)
    agent.says("sending readings")
    expected = []
    for generation in range(2):
        for number in range(50):
            expected.append(f"line {generation}.{number}")
            with path.open("a") as log:
                log.write(expected[-1] + "\n")
        listener.until(lambda: len(lines(listener)) == len(expected))
        path.rename(tmp_path / f"app.log.{generation}")
    done = agent.end()
    assert lines(listener) == expected
    assert done.err.count(f"atmost agent: {path}: rotated\n") == 1
    assert done.status == 0


def test_two_files_and_a_name_that_would_steer_the_terminal(start, listener, tmp_path):
    """Each file has its subject; a file's name is shown harmlessly."""
    first, second = tmp_path / "one.log", tmp_path / "two\x1b[31m.log"
    first.touch()
    agent = start("agent", "--log", first, "--log", second, "--name", "n\x1b[2J", "--url", listener.url)
    assert r"two\x1b[31m.log: waiting" in agent.says("waiting")
    assert r"as n\x1b[2J (" in agent.says("sending readings")
    first.write_text("1\n")
    second.write_text("2\n")
    listener.until(lambda: sorted(lines(listener)) == ["1", "2"])
    subjects = {message["subject"] for message in messages(listener, "logs.")}
    assert subjects == {"logs.one", "logs.two_31m"}
    assert "\x1b" not in agent.end().err


def test_nobody_receives(start):
    """It goes on, for somebody may come; at the end it says that nobody was there, and how to change that."""
    with raw_receiver() as sock:
        url = url_of(sock)
    done = start("agent", "--interval", "0.05", "--seconds", "0.3", "--url", url).wait()
    assert done.status == 0
    assert "offered " in done.err
    assert f"(ECONNREFUSED); nobody receives on {url}: start a receiver with 'atmost listen --bind {url}'\n" in done.err


def test_the_name_and_the_address_from_the_environment(start, listener):
    """As a service manager gives them."""
    done = start("agent", "--seconds", "0", ATMOST_URL=listener.url, ATMOST_NAME="rack-7").wait()
    assert done.status == 0
    listener.until(lambda: [message["sender"] for message in messages(listener)] == ["rack-7"])


def test_something_that_is_no_log_file(start, tmp_path):
    """It is told and tried again, never waited for: reading a pipe that nobody writes would stop the readings."""
    path = tmp_path / "pipe.log"
    os.mkfifo(path)
    agent = start("agent", "--log", path, "--url", "memory://nobody")
    assert f"atmost agent: {path}: unreadable" in agent.says("unreadable")
    assert agent.end().status == 0
