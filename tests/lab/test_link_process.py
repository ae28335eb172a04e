"""The link as a process of its own: what it tells, what ends it, what it says to bad input."""

import json
import select
import signal
import subprocess
import sys
from random import Random

import pytest

from atmost.lab.faults import FaultRules, LinkFaults
from atmost.lab.process import main
from tests.lab.scripted import BOUND, data, number_of


@pytest.fixture
def start():
    """A function that starts a link as a process and returns it with its first line; none survives the test."""
    processes = []

    def run(*arguments: str, code: str | None = None) -> tuple[subprocess.Popen[str], dict[str, object]]:
        program = ["-c", code] if code else ["-m", "atmost.lab.process"]
        process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert select.select([process.stdout], [], [], BOUND)[0], "the link said nothing"
        return process, json.loads(process.stdout.readline())

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def at(url: object) -> tuple[str, int]:
    """The address of a link's URL."""
    host, port = str(url).removeprefix("udp://").rsplit(":", 1)
    return host, int(port)


def test_a_process_tells_its_address_and_at_the_end_its_account(start, sink, source):
    """SIGTERM drains the link: what is held leaves, and the account is whole."""
    process, ready = start("--target", sink.url, "--delay", "3600", "--duplicate", "1", "--seed", "11")
    assert ready["target"] == sink.url
    assert ready["seed"] == 11
    for number in range(20):
        source.sendto(data(3, number), at(ready["url"]))
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=BOUND)
    account = json.loads(output)
    assert [number_of(datagram) for datagram in sink.arrived()] == [number for number in range(20) for _ in "12"]
    assert (account["received_messages"], account["forwarded_messages"], account["held_messages"]) == (60, 60, 0)
    assert account["duplicated_datagrams"] == 20
    assert process.returncode == 0
    assert errors == ""


def test_a_process_forwards_while_it_runs_and_its_journal_tells(start, sink, source, tmp_path):
    """What is not lost arrives without anybody ending anything; what is lost is a warning in the log."""
    path = tmp_path / "link.log"
    process, ready = start("--target", sink.url, "--loss", "0.5", "--seed", "3", "--journal", str(path))
    rules = FaultRules(LinkFaults(loss=0.5), Random(3))
    kept = [number for number in range(40) if not rules.judge().dropped]
    for number in range(40):
        source.sendto(data(2, number), at(ready["url"]))
    assert [number_of(sink.socket.recv(2000)) for _ in kept] == kept
    process.send_signal(signal.SIGTERM)
    account = json.loads(process.communicate(timeout=BOUND)[0])
    assert account["dropped_messages"] == 2 * (40 - len(kept))
    first, *_, last = path.read_text().splitlines()
    assert f"link from {ready['url']} to {sink.url} with seed 3: loss 0.5" in first
    assert (
        f"WARNING atmost.lab.link: ended; in all it saw 40 datagrams with 80 messages, dropped {40 - len(kept)} "
        in last
    )


@pytest.mark.parametrize("end", ["interrupt", "input"])
def test_a_process_ends_by_ctrl_c_and_when_its_standard_input_does(start, sink, source, end):
    """The latter so that no link outlives the process that started it."""
    code = (
        "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from atmost.lab.process import main\nsys.exit(main())"
    )
    process, ready = start("--target", sink.url, code=code)
    source.sendto(data(4), at(ready["url"]))
    if end == "interrupt":
        process.send_signal(signal.SIGINT)
    else:
        process.stdin.close()
        process.stdin = None
    output, errors = process.communicate(timeout=BOUND)
    assert json.loads(output)["forwarded_messages"] == 4
    assert (process.returncode, errors) == (0, "")


def test_a_process_whose_reader_is_gone_ends_quietly(start, sink):
    """Nobody is there to read the account, nor a traceback."""
    process, _ = start("--target", sink.url)
    process.stdout.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(BOUND) == 1
    assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--loss", "1.5"], 2, "loss must be between 0 and 1, got 1.5"),
        (["--bind", "udp://127.0.0.1"], 2, "bind must be udp://host:port with a port from 0 to 65535"),
        (["--journal", "{missing}/link.log"], 1, "No such file or directory"),
    ],
)
def test_bad_input_gets_one_line_and_a_status(arguments, status, text, capsys, tmp_path):
    """2 for wrong usage and 1 for failure, no traceback."""
    given = [argument.format(missing=tmp_path / "missing") for argument in arguments]
    try:
        result = main(["--target", "udp://127.0.0.1:9", *given])
    except SystemExit as ended:
        result = ended.code
    assert result == status
    output, errors = capsys.readouterr()
    assert output == ""
    assert text in errors.splitlines()[-1]
    assert "Traceback" not in errors
