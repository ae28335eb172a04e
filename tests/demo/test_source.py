"""The demo's sending process: it says what became of its messages, and never outlives the demo."""

import json
import signal
import subprocess
import sys

import pytest

import atmost
from tests.real import BOUND, environment


@pytest.fixture
def source(tmp_path):
    """A function that starts the process towards an address."""
    processes = []

    def start(url):
        process = subprocess.Popen(
            [sys.executable, "-m", "atmost.demo.source", url, "demo-host", str(tmp_path / "link.log")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        with process:
            process.kill()


def test_sigterm_ends_it_with_its_account(source, tmp_path):
    """The log is followed from its start, and what arrived is what it says it handed over."""
    (tmp_path / "link.log").write_text("first line\n")
    with atmost.Receiver("udp://127.0.0.1:0") as receiver:
        process = source(receiver.url)
        subjects = []
        while "logs.link" not in subjects:
            message = receiver.receive(BOUND)
            assert message is not None
            assert message.session.name == "demo-host"
            subjects.append(message.subject)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=BOUND)
        ready, stats = [json.loads(line) for line in output.splitlines()]
        while len(subjects) < stats["handed_over"]:
            message = receiver.receive(BOUND)
            assert message is not None
            subjects.append(message.subject)
    assert ready == {"name": "demo-host"}
    assert subjects[0] == "heartbeats.demo-host"
    assert (process.returncode, errors, stats["offered"]) == (0, b"", stats["handed_over"])


@pytest.mark.parametrize("reader_is_gone", [False, True])
def test_the_end_of_its_input_ends_it(source, reader_is_gone):
    """The demo may have been killed: then nobody reads the account, nor a traceback."""
    with atmost.Receiver("udp://127.0.0.1:0") as receiver:
        process = source(receiver.url)
        assert receiver.receive(BOUND) is not None
        if reader_is_gone:
            process.stdout.close()
        process.stdin.close()
        status = process.wait(BOUND)
        assert process.stderr.read() == b""
    assert status == reader_is_gone


def test_it_can_be_told_to_end_as_soon_as_it_says_so(source):
    """A demo that is interrupted at once still gets its account: the first heartbeat."""
    process = source("memory://nobody")
    assert json.loads(process.stdout.readline()) == {"name": "demo-host"}
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=BOUND)
    assert json.loads(output)["offered"] == 1
    assert (process.returncode, errors) == (0, b"")
