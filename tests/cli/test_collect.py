"""`atmost collect` with our own senders: what is worth a line, an object a second, and the account."""

import json
import signal
import socket
import time
from random import Random

import pytest

import atmost
from atmost.lab.faults import DROPPED, FaultRules, LinkFaults
from tests.cli.test_listen import MALFORMED, PIPED, through_a_link

ALONE = ("--statsd", "off", "--syslog", "off", "--gelf", "off", "--http", "off")
ANY = ("--bind", "udp://127.0.0.1:0", *ALONE)
COUNTS = {
    *("delivered", "lost", "lost_by_place", "late", "pending", "queued", "overflow", "discarded", "before_join"),
    *("tail_unknown", "refused", "datagrams_in", "accepted", "kernel_drops"),
}
ROW = {
    *("sender", "host", "pid", "session", "tail", "rate", "delivered", "lost", "late", "pending"),
    *("duplicates_refused", "last_seen"),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_object_a_second_and_the_account_last(start, number):
    """Every line stands alone; the last one, after the signal, has taken in what had arrived."""
    began = time.monotonic()
    collector = start("collect", "--json", *ANY)
    with atmost.Sender(collector.url, name="busy") as sender:
        for value in range(500):
            sender.send("a.b", value)
        collector.until(lambda: collector.out and json.loads(collector.out[-1])["delivered"] == 500)
        collector.prints(len(collector.out) + 1)
        for value in range(100):
            sender.send("a.b", value)
        sender.flush()
        done = collector.end(number)
    assert done.status == 0
    *seconds, account = done.objects
    assert {second["type"] for second in seconds} == {"second"}
    assert all(set(second) >= COUNTS | {"time", "senders"} for second in seconds)
    assert 2 <= len(seconds) <= time.monotonic() - began + 1
    assert account["type"] == "account"
    assert (account["delivered"], account["lost"], account["pending"]) == (600, 0, 0)
    (row,) = account["sessions"]
    assert (row["name"], row["delivered"]) == ("busy", 600)
    (row,) = seconds[-1]["senders"]
    assert set(row) >= ROW
    assert (row["sender"], row["host"], row["delivered"]) == ("busy", socket.gethostname(), 500)


def test_what_a_link_lost_and_doubled_is_told_by_sender(start):
    """The loss belongs to whom it happened to; a duplicate is refused, counted, and delivered once."""
    collector = start("collect", "--json", *ANY)
    twice = FaultRules(LinkFaults(duplicate=1.0), Random(1)).judge()
    with (
        through_a_link(collector.url, [DROPPED, twice, DROPPED]) as url,
        atmost.Sender(url, name="lossy", linger=0) as lossy,
        atmost.Sender(collector.url, name="clean", linger=0) as clean,
    ):
        for value in range(4):
            lossy.send("a", value)
            clean.send("a", value)
        collector.until(lambda: collector.out and json.loads(collector.out[-1])["lost"] == 2)
    account = collector.end().objects[-1]
    rows = {row["name"]: row for row in account["sessions"]}
    assert (rows["clean"]["delivered"], rows["clean"]["lost"]) == (4, 0)
    assert (rows["lossy"]["delivered"], rows["lossy"]["lost"]) == (2, 2)
    assert rows["lossy"]["refused"] == {"duplicate": 1}
    assert account["lost_by_place"] == {"sender_socket": 0, "in_flight": 2}


def test_strangers_on_the_port(start):
    """Counted by reason, one line for the first of a kind, nothing good lost."""
    collector = start("collect", "--json", *ANY)
    host, port = collector.url.removeprefix("udp://").split(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger, atmost.Sender(collector.url, linger=0) as sender:
        for number in range(300):
            stranger.sendto(MALFORMED[number % len(MALFORMED)], (host, int(port)))
            sender.send("good", number)
        collector.until(lambda: collector.out and json.loads(collector.out[-1])["delivered"] == 300)
    done = collector.end()
    account = done.objects[-1]
    assert account["refused"] == {"malformed": 300}
    assert (account["delivered"], account["lost"]) == (300, 0)
    assert account["datagrams_in"] == account["accepted"] + 300
    first, second = done.err.splitlines()
    assert first == f"listening on {collector.url} for everything (Ctrl-C ends)"
    assert "first sender refused: 127.0.0.1:" in second


def test_lines_for_people(start):
    """Where it listens, then only what changes, escaped, and the account at the end."""
    collector = start("collect", *ANY)
    with atmost.Sender(collector.url, name="steady\x1b[2J") as sender:
        for value in range(10):
            sender.send("a.b", value)
        collector.until(lambda: any("began" in line for line in collector.out))
    collector.until(lambda: any("said goodbye" in line for line in collector.out))
    done = collector.end()
    assert done.status == 0
    assert done.out.startswith(f"  atmost   {collector.url}\n")
    assert f"account of {collector.url} after " in done.out
    assert "  delivered            10 messages" in done.out
    assert r"steady\x1b[2J" in done.out
    assert "\x1b" not in done.out


def test_a_loss_is_worth_a_line(start):
    """Whose it was, how much, and where."""
    collector = start("collect", *ANY)
    with (
        through_a_link(collector.url, [DROPPED, DROPPED]) as url,
        atmost.Sender(url, name="lossy", linger=0) as sender,
    ):
        for value in range(4):
            sender.send("a", value)
        collector.until(lambda: any("lost 2 (in flight 2)" in line for line in collector.out))
    assert collector.end().status == 0


def test_an_end_by_time(run):
    """Also with nobody sending; the account is there."""
    done = run("collect", "--json", "--seconds", "0.2", *ANY)
    assert done.status == 0
    assert done.objects[-1]["type"] == "account"
    assert done.objects[-1]["delivered"] == 0


def test_a_reader_that_has_enough(start):
    """`| head -n 1` ends the output and not the collector, which goes on without a word."""
    done = start("collect", "--json", "--seconds", 3, *ANY, code=PIPED).wait()
    assert len(done.out.splitlines()) == 1
    assert done.err.splitlines()[1:] == []
