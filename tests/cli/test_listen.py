"""`atmost listen`: messages as they come, losses in their place, and the account at the end."""

import json
import os
import signal
import socket
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count

import pytest

import atmost
from atmost.lab.faults import DROPPED, PASSED
from atmost.lab.link import messages_in
from tests.real import Kind, forge, until

ANY = "udp://127.0.0.1:0"
MALFORMED = [
    b"",
    b"\0",
    b"api.requests:1|c",
    b"<34>1 2026-01-01T00:00:00Z host su - - - hello",
    b"\xa5\x11" + b"x" * 100,
]
PIPED = "import os, sys; os.execvp('sh', ['sh', '-c', '\"$0\" -m atmost \"$@\" | head -n 1', sys.executable, *sys.argv[1:]])"


@contextmanager
def through_a_link(target, verdicts):
    """A link that treats the datagrams of messages as written, or as a function of their bytes says. Yields its address.

    Beacons and goodbyes pass: how many there are between two messages depends on how busy the machine is.
    """
    script = iter(() if callable(verdicts) else verdicts)
    judge = verdicts if callable(verdicts) else lambda _: next(script, PASSED)
    host, port = target.removeprefix("udp://").split(":")
    over = threading.Event()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as incoming,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outgoing,
    ):
        incoming.bind(("127.0.0.1", 0))
        incoming.settimeout(0.02)
        outgoing.connect((host, int(port)))

        def carry():
            while not over.is_set():
                try:
                    datagram = incoming.recv(1 << 16)
                except TimeoutError:
                    continue
                for _ in (judge(datagram) if messages_in(datagram) else PASSED).delays:
                    outgoing.send(datagram)

        thread = threading.Thread(target=carry)
        thread.start()
        try:
            yield f"udp://127.0.0.1:{incoming.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


def messages(lines):
    """The message objects among lines of JSON."""
    return [event for event in map(json.loads, lines) if event["type"] == "message"]


def test_a_message_as_json(start):
    """One object a message: what was sent, by whom, and when by both clocks."""
    listener = start("listen", "--json", "--count", 1, "--bind", ANY)
    began = time.time()
    with atmost.Sender(listener.url, name="checkout-1") as sender:
        sender.send("orders.new", {"id": 1, "items": ["a", "b"]})
        done = listener.wait()
    (message,) = messages(done.out.splitlines())
    fields = {"type", "subject", "payload", "sender", "host", "pid", "session", "sent_at", "received_at"}
    assert set(message) == fields
    assert (message["subject"], message["payload"]) == ("orders.new", {"id": 1, "items": ["a", "b"]})
    assert (message["sender"], message["host"]) == ("checkout-1", socket.gethostname())
    assert message["pid"] == os.getpid()
    assert len(message["session"]) == 16
    assert began - 0.1 <= message["sent_at"] <= message["received_at"] + 0.1 <= time.time() + 0.2


def test_values_that_json_has_no_form_for(start):
    """Bytes are base64, times ISO 8601, keys text, and what is no number null; every line stays one object."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    pairs = [
        (b"\xff\x00", "/wA="),
        (moment, "2026-01-02T03:04:05.678000Z"),
        ({1: "a", None: "b", 1.5: "d", b"\xff": "e"}, {"1": "a", "None": "b", "1.5": "d", "/w==": "e"}),
        ({(1, 2): {moment: b"x"}}, {"(1, 2)": {"2026-01-02T03:04:05.678000Z": "eA=="}}),
        ([float("nan"), float("inf"), -0.5], [None, None, -0.5]),
        ((1, (2, ())), [1, [2, []]]),
        (2**64 - 1, 2**64 - 1),
        ("größe 日本 😀", "größe 日本 😀"),
    ]
    listener = start("listen", "--json", "--count", len(pairs), "--bind", ANY)
    with atmost.Sender(listener.url) as sender:
        for value, _ in pairs:
            sender.send("odd.value", value)
        found = messages(listener.wait().out.splitlines())
    assert [message["payload"] for message in found] == [shown for _, shown in pairs]


def test_a_loss_stands_in_its_place(start):
    """Between what came before and what came after, with its sender, its size and where it happened."""
    listener = start("listen", "--json", "--bind", ANY)
    with through_a_link(listener.url, [PASSED, DROPPED, DROPPED]) as url:
        with atmost.Sender(url, name="lossy", linger=0) as sender:
            for number in range(5):
                sender.send("counted", number)
            listener.until(lambda: any('"loss"' in line for line in listener.out))
        done = listener.end()
    assert [message["payload"] for message in messages(done.out.splitlines())] == [0, 3, 4]
    losses = [event for event in done.objects if event["type"] == "loss"]
    assert sum(loss["count"] for loss in losses) == 2
    for loss in losses:
        assert (loss["sender"], loss["place"]) == ("lossy", "in_flight")
        assert {"host", "pid", "session", "first_sequence", "last_sequence"} <= set(loss)
    assert "  lost                  2  (in flight 2)" in done.err
    assert done.status == 0


def test_a_loss_for_people(start):
    """One line says how many messages of whom."""
    listener = start("listen", "--bind", ANY)
    with (
        through_a_link(listener.url, [PASSED, DROPPED]) as url,
        atmost.Sender(url, name="lossy", linger=0) as sender,
    ):
        for number in range(3):
            sender.send("counted", number)
        listener.until(lambda: "-- 1 message of lossy lost here (in flight)\n" in listener.out)
    assert "-- lossy began\n" in listener.out
    assert any(line.endswith(" lossy counted 2\n") for line in listener.out)


def test_only_what_matches_is_printed_and_counted(start):
    """Patterns are alternatives; `--count` counts matches."""
    listener = start("listen", "orders.>", "*.eu", "--json", "--count", 3, "--bind", ANY)
    with atmost.Sender(listener.url) as sender:
        for subject in ("orders.new", "metrics.cpu", "orders", "stock.eu", "stock.eu.north", "orders.a.b"):
            sender.send(subject, subject)
        done = listener.wait()
    assert [message["payload"] for message in messages(done.out.splitlines())] == [
        "orders.new",
        "stock.eu",
        "orders.a.b",
    ]
    assert f"listening on {listener.url} for orders.>, *.eu (Ctrl-C ends)\n" in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_account(start, number):
    """Status 0: to be told to end is no failure; the account is for people, apart from the data."""
    listener = start("listen", "--json", "--bind", ANY)
    with atmost.Sender(listener.url, name="steady") as sender:
        for value in range(10):
            sender.send("a.b", value)
        listener.until(lambda: len(messages(listener.out)) == 10)
    done = listener.end(number)
    assert done.status == 0
    title, delivered, lost, *rows = done.err.splitlines()[1:]
    assert title.startswith(f"account of {listener.url} after ")
    assert delivered.split()[:3] == ["delivered", "10", "messages"]
    assert lost.split() == ["lost", "0"]
    assert rows[-1].split()[:3] == ["steady", "10", "delivered"]


def test_the_address_from_the_environment_and_an_end_by_time(run):
    """ATMOST_BIND where no flag says otherwise; `--seconds` ends it as Ctrl-C would."""
    done = run("listen", "--seconds", "0.2", ATMOST_BIND=ANY)
    assert (done.status, done.out) == (0, "")
    assert "listening on udp://127.0.0.1:" in done.err
    assert "for everything (Ctrl-C ends)" in done.err
    assert "account of udp://127.0.0.1:" in done.err


def test_nothing_that_arrives_can_steer_the_terminal(start):
    """Names, payloads and keys are shown as escapes; as JSON they keep their value and stay one line."""
    evil = "\x1b]0;owned\x07\x1b[2J\r\n\x9b31m\u202e\u2028"
    people, program = (
        start("listen", "--count", 1, "--bind", ANY),
        start("listen", "--json", "--count", 1, "--bind", ANY),
    )
    for listener in (people, program):
        with atmost.Sender(listener.url, name=f"n{evil}") as sender:
            sender.send("a.b", {evil: [evil]})
            listener.wait()
    for done in (people.wait(), program.wait()):
        shown = done.out + done.err
        assert not {character for character in shown if not character.isprintable()} - {"\n"}
        assert "\\u001b]0;owned" in done.out
    (message,) = messages(program.out)
    assert message["payload"] == {evil: [evil]}
    assert message["sender"] == f"n{evil}"
    assert "n\\x1b]0;owned\\x07" in "".join(people.out)


def test_strangers_on_the_port_cost_nothing_and_are_told_once(start):
    """Garbage and other protocols are counted by reason; a flood of them prints one line, and nothing good is lost."""
    listener = start("listen", "--json", "--bind", ANY)
    host, port = listener.url.removeprefix("udp://").split(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger, atmost.Sender(listener.url, linger=0) as sender:
        for number in range(200):
            stranger.sendto(MALFORMED[number % len(MALFORMED)], (host, int(port)))
            if number % 10 == 0:
                sender.send("good", number)
        old = forge([("old", 1)], sent_us=1_700_000_000_000_000, start_us=1_700_000_000_000_000)
        for _ in range(50):
            stranger.sendto(old, (host, int(port)))
        sender.send("good", 200)
        listener.until(lambda: len(messages(listener.out)) == 21)
        done = listener.end()
    assert [message["payload"] for message in messages(done.out.splitlines())] == [*range(0, 200, 10), 200]
    refused = [event for event in done.objects if event["type"] == "datagram_refused"]
    assert [event["reason"] for event in refused] == ["malformed", "boot_quarantine"]
    assert "  refused             250 datagrams: boot_quarantine 50, malformed 200" in done.err


def test_a_replayed_datagram_is_printed_once(start):
    """Who records and replays a session gains nothing; the ledger says how often it was tried."""
    listener = start("listen", "--json", "--bind", ANY)
    host, port = listener.url.removeprefix("udp://").split(":")
    start_us = time.time_ns() // 1000
    tape = [forge(kind=Kind.BEACON, start_us=start_us), forge([("a", 1)], start_us=start_us, sequence=1)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as replaying:
        for datagram in tape * 3:
            replaying.sendto(datagram, (host, int(port)))
        replaying.sendto(forge([("a", 2)], start_us=start_us, sequence=2, prior=1), (host, int(port)))
        listener.until(lambda: len(messages(listener.out)) == 2)
        done = listener.end()
    assert [message["payload"] for message in messages(done.out.splitlines())] == [1, 2]
    assert "  refused               4 datagrams: duplicate 4" in done.err


def test_a_reader_that_has_enough(start):
    """`| head -n 1` ends it at the next message, without a word."""
    listener = start("listen", "--json", "--seconds", 60, "--bind", ANY, code=PIPED)
    with atmost.Sender(listener.url) as sender:
        numbers = count()
        until(lambda: sender.send("a", next(numbers)) and listener.process.poll() is not None)
    done = listener.wait()
    assert len(done.out.splitlines()) == 1
    assert "Traceback" not in done.err
    assert "Broken" not in done.err


def test_an_encoding_without_the_signs(start):
    """A terminal of yesterday shows escapes, and nothing fails."""
    listener = start("listen", "--count", 1, "--bind", ANY, PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    with atmost.Sender(listener.url, name="n") as sender:
        sender.send("a.b", "日本")
        done = listener.wait()
    assert done.status == 0
    assert done.out.endswith('n a.b "\\u65e5\\u672c"\n')
