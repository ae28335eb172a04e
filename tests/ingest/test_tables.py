"""Every row of the tables in docs/ingest.md is true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from atmost.ingest import statsd, syslog
from atmost.ingest.gelf import GelfReader
from atmost.ingest.statsd import StatsdGauges
from atmost.ingest.syslog import SyslogHost
from tests.ingest.page import NOW, PEER, of_gelf, of_statsd, of_syslog, rows, to_bytes, to_datagram
from tests.real import BOUND, environment

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("lines", "becomes"), rows("StatsD and DogStatsD", "Accepted", "Rejected"))
def test_statsd(lines, becomes):
    """A line becomes what its row says, refused parts and left-out fields included."""
    [line] = lines
    assert sorted(of_statsd(statsd.parse(to_bytes(line)))) == sorted(becomes.split("; "))


@pytest.mark.parametrize(("lines", "becomes"), rows("StatsD and DogStatsD", 'With `statsd_gauges = "dogstatsd"`'))
def test_statsd_gauges_as_dogstatsd_means_them(lines, becomes):
    """With the option a sign is part of a value."""
    [line] = lines
    assert sorted(of_statsd(statsd.parse(to_bytes(line), gauges=StatsdGauges.DOGSTATSD))) == sorted(becomes.split("; "))


@pytest.mark.parametrize(("datagrams", "becomes"), rows("Syslog", "Accepted", "Rejected"))
def test_syslog(datagrams, becomes):
    """A datagram becomes what its row says, with a note for everything that it does not tell."""
    [datagram] = datagrams
    assert "; ".join(map(of_syslog, syslog.parse_all(to_bytes(datagram), PEER, NOW))) == becomes


@pytest.mark.parametrize(("datagrams", "becomes"), rows("Syslog", 'With `syslog_host = "peer"`'))
def test_syslog_from_a_place_without_host_fields(datagrams, becomes):
    """With the option a word that may be the host stays in the text."""
    [datagram] = datagrams
    assert "; ".join(map(of_syslog, syslog.parse_all(to_bytes(datagram), PEER, NOW, host=SyslogHost.PEER))) == becomes


@pytest.mark.parametrize(("datagrams", "becomes"), rows("GELF", "Accepted", "Rejected"))
def test_gelf(datagrams, becomes):
    """A datagram becomes what its row says."""
    [datagram] = datagrams
    assert [of_gelf(outcome) for outcome in GelfReader().feed(to_datagram(datagram), PEER, NOW)] == [becomes]


@pytest.mark.parametrize(("steps", "becomes"), rows("GELF", "Chunks"))
def test_gelf_chunks(steps, becomes):
    """The steps of a row, one after the other, become what it says."""
    reader, now, outcomes = GelfReader(), NOW, []
    for step in steps:
        word, rest = step.split(" ", 1)
        if word == "wait":
            now += float(rest)
            outcomes += reader.tick(now)
            continue
        numbers, data = rest.split(" ", 1)
        number, count = map(int, re.findall(r"\d+", numbers))
        chunk = b"\x1e\x0f" + word.encode() * 8 + bytes((number, count)) + to_bytes(data)
        outcomes += reader.feed(chunk, PEER, now)
    assert [of_gelf(outcome) for outcome in outcomes] == becomes.split("; ")
    assert (reader.stats().held, reader.stats().waiting) == (0, 0)


def test_the_example():
    """The example runs to its end, and prints what it read."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "ingest.py"],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
        timeout=BOUND,
    )
    assert done.stdout.splitlines() == [
        "warning 127.0.0.1 stock of tea is low no_time no_host",
        "orders 6.0 (('shop', 'berlin'),)",
        "malformed_value orders:many|c",
    ]
    assert done.stderr == ""
