"""Every row of the tables in docs/ingest.md is true."""

import re

import pytest

from atmost.ingest import statsd, syslog
from atmost.ingest.gelf import GelfReader
from tests.ingest.page import NOW, PEER, of_gelf, of_statsd, of_syslog, rows, to_bytes, to_datagram


@pytest.mark.parametrize(("lines", "becomes"), rows("StatsD and DogStatsD", "Accepted", "Rejected"))
def test_statsd(lines, becomes):
    """A line becomes what its row says, refused parts and left-out fields included."""
    [line] = lines
    assert sorted(of_statsd(statsd.parse(to_bytes(line)))) == sorted(becomes.split("; "))


@pytest.mark.parametrize(("datagrams", "becomes"), rows("Syslog", "Accepted", "Rejected"))
def test_syslog(datagrams, becomes):
    """A datagram becomes what its row says, with a note for everything that it does not tell."""
    [datagram] = datagrams
    assert of_syslog(syslog.parse(to_bytes(datagram), PEER, NOW)) == becomes


@pytest.mark.parametrize(("datagrams", "becomes"), rows("GELF", "Accepted", "Rejected"))
def test_gelf(datagrams, becomes):
    """A datagram becomes what its row says."""
    [datagram] = datagrams
    assert [of_gelf(outcome) for outcome in GelfReader().receive(to_datagram(datagram), PEER, NOW)] == [becomes]


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
        outcomes += reader.receive(chunk, PEER, now)
    assert [of_gelf(outcome) for outcome in outcomes] == becomes.split("; ")
    assert (reader.held, reader.waiting) == (0, 0)
