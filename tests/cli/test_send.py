"""`atmost send`: one message or one a line, and an honest status."""

import os
import signal
import subprocess
import sys

import pytest

from tests.cli.commands import Ended
from tests.real import BOUND, environment, raw_receiver, url_of

ANY = "udp://127.0.0.1:0"


def payloads(done: Ended) -> list[object]:
    """What the messages of a `listen --json` carried, in order."""
    return [event["payload"] for event in done.objects if event["type"] == "message"]


@pytest.mark.parametrize("scheme", ["udp", "udp6", "unix"])
def test_the_first_message_arrives(start, run, tmp_path, scheme):
    """Two terminals: as soon as the listener says that it listens, what is sent is not missed."""
    bind = {"udp": ANY, "udp6": "udp://[::1]:0", "unix": f"unix://{tmp_path}/it.sock"}[scheme]
    listener = start("listen", "orders.>", "--json", "--count", 1, "--bind", bind)
    sent = run("send", "orders.new", '{"id": 1}', "--url", listener.url)
    assert sent == Ended(0, "", "")
    (message,) = [event for event in listener.wait().objects if event["type"] == "message"]
    assert (message["subject"], message["payload"], message["sender"]) == ("orders.new", {"id": 1}, "atmost")


def test_a_message_a_line(start, run):
    """A line that is JSON is that value, any other line is text; an empty line and a last line without an end count."""
    listener = start("listen", "--json", "--count", 8, "--bind", ANY)
    lines = b'{"id": 1}\n[1, 2.5]\nnull\nplain text\r\n"quoted"\n\n{broken\n\xff end'
    sent = run("send", "a.b", "--url", listener.url, "--json", given=lines)
    assert sent.status == 0
    assert sent.objects[0]["offered"] == sent.objects[0]["handed_over"] == 8
    assert payloads(listener.wait()) == [
        {"id": 1},
        [1, 2.5],
        None,
        "plain text",
        "quoted",
        "",
        "{broken",
        "� end",
    ]


def test_what_only_looks_like_a_number_is_text(start, run):
    """NaN and Infinity are no JSON: as a line they are text, as an argument a mistake."""
    listener = start("listen", "--json", "--count", 2, "--bind", ANY)
    assert run("send", "a.b", "--url", listener.url, given=b'NaN\n{"a": -Infinity}\n').status == 0
    assert payloads(listener.wait()) == ["NaN", '{"a": -Infinity}']
    done = run("send", "a.b", "[NaN]", "--url", listener.url)
    assert done.status == 2
    assert "'[NaN]' is not JSON (NaN is not a JSON number)" in done.err


def test_lines_as_text_even_where_they_are_json(start, run):
    """Log lines keep one type, whatever stands in them."""
    listener = start("listen", "--json", "--count", 3, "--bind", ANY)
    assert run("send", "logs.app", "--lines", "--url", listener.url, given=b'{"id": 1}\n17\ntrue').status == 0
    assert payloads(listener.wait()) == ['{"id": 1}', "17", "true"]


def test_a_line_is_sent_when_it_is_there_and_not_at_the_end(start):
    """`tail -F app.log | atmost send` is a stream without an end."""
    listener = start("listen", "--json", "--bind", ANY)
    sender = start("send", "logs.app", "--url", listener.url, stdin=subprocess.PIPE)
    for number in range(3):
        sender.write(b"line %d\n" % number)
        listener.until(lambda number=number: any(f'"line {number}"' in line for line in listener.out))
    sender.close_input()
    assert sender.wait() == Ended(0, "", "")
    listener.end()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_it_waits_for_a_line(start, ending):
    """Ctrl-C at an empty prompt ends it the first time, and what was sent before is reported."""
    listener = start("listen", "--json", "--bind", ANY)
    sender = start("send", "a.b", "--json", "--url", listener.url, stdin=subprocess.PIPE)
    sender.write(b"one\n")
    listener.until(lambda: any('"one"' in line for line in listener.out))
    done = sender.end(ending)
    assert (done.status, done.err) == (0, "")
    assert done.objects[0]["handed_over"] == 1
    assert listener.end().status == 0


def test_lines_that_cannot_be_messages_are_counted_and_the_rest_is_sent(start, run):
    """The first one is named with its line number, its size and the limit; status 1 says that not everything was sent."""
    listener = start("listen", "--json", "--count", 2, "--bind", ANY)
    lines = b"first\n" + b"x" * 300_000 + b"\n" + b"1" * 30 + b"\n" + b"[" * 5000 + b"\nlast\n"
    sent = run("send", "a.b", "--json", "--url", listener.url, given=lines)
    assert sent.status == 1
    assert sent.err == (
        "atmost: 2 of 5 lines were not sent; line 2: a message of 300,000 bytes, at most 61,373 fit one datagram here: "
        "send less, split it, or allow more with --max-datagram\n"
    )
    stats = sent.objects[0]
    assert (stats["offered"], stats["too_large"], stats["not_encodable"]) == (3, 1, 1)
    listener.wait()


def test_a_line_that_no_message_can_carry_says_why(run):
    """An integer beyond 64 bits is JSON, and cannot travel."""
    sent = run("send", "a.b", "--url", "memory://nobody", given=b'{"a": [123456789012345678901]}\n')
    assert sent.status == 1
    assert "1 of 1 lines were not sent; line 1: payload['a'][0]: an integer beyond 64 bits: send it as text" in sent.err


def test_nobody_receives(run):
    """Status 1, and the command that would receive: this host refused it, which is all a sender can ever know."""
    with raw_receiver() as sock:
        url = url_of(sock)
    sent = run("send", "a.b", "1", "--url", url)
    assert sent.status == 1
    assert sent.err == (
        f"atmost: refused by this host's socket: 1 (ECONNREFUSED); nobody receives on {url}: "
        f"start a receiver with 'atmost listen --bind {url}'\n"
    )


def test_nobody_made_the_unix_socket(commands, tmp_path):
    """The same for a path."""
    sent = commands("send", "a.b", "1", "--json", "--url", f"unix://{tmp_path}/it.sock")
    assert sent.status == 1
    assert "1 (ENOENT); nobody receives on unix://" in sent.err
    assert sent.objects[0]["refused"] == {"ENOENT": 1}


def test_a_message_that_the_network_takes_is_reported_as_handed_over(commands):
    """The account of one side, as JSON."""
    with raw_receiver() as sock:
        sent = commands("send", "a.b", "1", "--json", "--url", url_of(sock))
    assert (sent.status, sent.err) == (0, "")
    assert sent.objects == [
        {
            "offered": 1,
            "dropped": {},
            "open": 0,
            "handed_over": 1,
            "refused": {},
            "too_large": 0,
            "not_encodable": 0,
        }
    ]


def test_the_name_is_what_receivers_show(start, run):
    """By flag, by ATMOST_NAME, and else `atmost`; never the name of a file of this package."""
    listener = start("listen", "--json", "--count", 3, "--bind", ANY)
    for number, (arguments, changes) in enumerate(
        [
            (("--url", listener.url, "--name", "checkout-1"), {"ATMOST_NAME": "other"}),
            (("--url", listener.url), {"ATMOST_NAME": "checkout-2"}),
            ((), {"ATMOST_URL": listener.url}),
        ]
    ):
        assert run("send", "a", number, *arguments, **changes) == Ended(0, "", "")
    names = [event["sender"] for event in listener.wait().objects if event["type"] == "message"]
    assert names == ["checkout-1", "checkout-2", "atmost"]


def test_a_value_that_begins_with_a_minus_comes_after_two(start, run):
    """As every command line has it, and as the help shows."""
    listener = start("listen", "--json", "--count", 1, "--bind", ANY)
    assert run("send", "temperature", "--url", listener.url, "--", "-5").status == 0
    assert payloads(listener.wait()) == [-5]


def test_no_input_at_all(run):
    """An empty input is no message, and no mistake."""
    assert run("send", "a.b", "--url", "memory://nobody") == Ended(0, "", "")


def test_a_closed_input(run):
    """Whoever closed it is told what to give instead."""
    code = (
        "import os, subprocess, sys\n"
        "sys.exit(subprocess.run(['/bin/sh', '-c', 'exec \"$0\" -m atmost send a.b <&-', sys.executable]).returncode)"
    )
    done = run(code=code)
    assert done.status == 2
    assert done.err == ("atmost: standard input is closed: give the JSON, or lines to read (see atmost send --help)\n")


def test_an_input_that_cannot_be_read(tmp_path):
    """Standard input that is open for writing only."""
    with (tmp_path / "it").open("wb") as given:
        done = subprocess.run(
            [sys.executable, "-m", "atmost", "send", "a.b", "--url", "memory://nobody"],
            env=environment(),
            stdin=given,
            capture_output=True,
            check=False,
            timeout=BOUND,
        )
    assert done.returncode == 1
    assert done.stderr.decode() == "atmost: cannot read standard input: Bad file descriptor\n"


def test_a_receiver_that_is_stopped(start, run, tmp_path):
    """It ends in bounded time with status 1, and says what was not taken and why that may be."""
    listener = start("listen", "--bind", f"unix://{tmp_path}/it.sock")
    url = listener.url
    os.kill(listener.pid, signal.SIGSTOP)
    try:
        lines = (b"x" * 400 + b"\n") * 5000
        sent = run("send", "a.b", "--json", "--max-datagram", 508, "--url", url, given=lines)
    finally:
        os.kill(listener.pid, signal.SIGCONT)
    stats = sent.objects[0]
    assert sent.status == 1
    assert stats["offered"] == 5000
    assert stats["offered"] == sum(stats["dropped"].values()) + stats["handed_over"] + sum(stats["refused"].values())
    assert "buffer_full" in stats["dropped"]
    assert "atmost: dropped before sending: " in sent.err
    assert f"(EAGAIN); the receiver on {url} does not keep up: is it stopped?\n" in sent.err
