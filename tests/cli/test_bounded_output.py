"""Output that never holds anything up: nobody reads it, it breaks, or the process forks."""

import fcntl
import logging
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import atmost
from atmost.cli.bounded_output import BoundedOutput
from atmost.cli.own_log import set_up_logging, take_down_logging
from atmost.cli.source import Source
from tests.real import BOUND, environment, until


@pytest.fixture
def pipe():
    """A pipe of one page, and a stream that writes into it."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        yield reading, stream
    os.close(reading)


def test_what_nobody_reads_is_dropped_and_counted(pipe):
    """The caller never waits; when somebody reads again the next line says how many are missing."""
    reading, stream = pipe
    output = BoundedOutput(stream, max_waiting=8192, linger=0.0)
    for number in range(100):
        output.line(f"{number:03} " + "x" * 996)
    assert output.dropped > 80
    content = b""

    def told():
        nonlocal content
        output.line("more")
        content += os.read(reading, 65_536)
        return b"lines before this one were not written\nmore\n" in content

    until(told)
    assert content.startswith(b"000 ")
    output.close()


def test_what_breaks_is_counted():
    """A pipe whose reader is gone."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="ascii") as stream:
        output = BoundedOutput(stream)
        output.line("lost \u20ac")
        until(lambda: output.dropped == 1)
        output.close()


def test_a_forked_process_writes_its_own_lines(pipe):
    """With a thread of its own; what waited is written by the parent, once."""
    reading, stream = pipe
    output = BoundedOutput(stream)
    output.line("parent")
    child = os.fork()
    if not child:
        output.line("child")
        output.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    output.close()
    assert sorted(os.read(reading, 4096).split()) == [b"child", b"parent"]


def is_full(writing):
    """Whether a pipe takes nothing more."""
    return not select.select([], [writing], [], 0)[1]


def test_a_collector_whose_output_nobody_reads_goes_on():
    """It receives, answers, and ends at SIGTERM, with standard output and error both blocked."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    ours, page = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
    off = [f"--{name}=off" for name in ("statsd", "syslog", "gelf")]
    places = [f"--bind=udp://127.0.0.1:{ours}", f"--http=127.0.0.1:{page}"]
    command = [sys.executable, "-m", "atmost", "collect", "--json", *places, *off]
    process = subprocess.Popen(command, env=environment(), stdout=writing, stderr=writing)
    source = Source(f"http://127.0.0.1:{page}")
    try:
        until(lambda: is_full(writing))
        with atmost.Sender(f"udp://127.0.0.1:{ours}", name="late", linger=0) as sender:
            sender.send("a", 1)
            until(lambda: [one["name"] for one in source.get("senders")["senders"]] == ["late"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(BOUND) == 0
    finally:
        process.kill()
        process.wait(BOUND)
        source.close()
        os.close(reading)
        os.close(writing)


def free_port(kind):
    """A port that nobody has now."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_the_same_line_is_said_once_in_a_while(capfd):
    """At the descriptor limit asyncio says one a thousand times a second."""
    handler = set_up_logging("keyvalue")
    for _ in range(1000):
        logging.getLogger("asyncio").error("socket.accept() out of system resource")
    logging.getLogger("asyncio").error("another line")
    take_down_logging(handler)
    assert len(capfd.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("errors", ["read", "unread"])
@pytest.mark.parametrize("arguments", [("listen",), ("listen", "--json")])
def test_a_command_whose_output_nobody_reads_ends_when_asked(arguments, errors):
    """Though it waits to write, on standard output or on both: what nobody reads is let go of."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    place = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    command = [sys.executable, "-m", "atmost", *arguments, "--bind", place]
    process = subprocess.Popen(
        command, env=environment(), stdout=writing, stderr=subprocess.DEVNULL if errors == "read" else writing
    )
    try:
        with atmost.Sender(place, name="much", linger=0) as sender:

            def filled():
                sender.send("a.b", "x" * 500)
                return is_full(writing)

            until(filled)
            process.send_signal(signal.SIGTERM)
            assert process.wait(BOUND) == 0
    finally:
        process.kill()
        process.wait(BOUND)
        os.close(reading)
        os.close(writing)


@pytest.mark.needs("linux")
@pytest.mark.parametrize("command", ["collect", "listen", "agent"])
def test_standard_error_on_a_full_disk_ends_no_command(command):
    """It does its work, and says that it could not write only by what is missing."""
    place = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    where = ["--url" if command == "agent" else "--bind", place]
    if command == "collect":
        where += [option for name in ("statsd", "syslog", "gelf", "http") for option in (f"--{name}", "off")]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "atmost", command, *where, "--seconds", "0.3", "--json"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=full,
            timeout=2 * BOUND,
            check=False,
        )
    assert done.returncode == 0
    assert done.stdout.count(b"\n") >= (command != "listen")
