"""A link comes back soon, but not ever faster, and says of its outages what can be read."""

import logging

import pytest

from atmost.transport.nats.link import Outages
from atmost.transport.nats.url import Server

SERVER = Server("127.0.0.1", 4222)


@pytest.fixture
def said(caplog):
    """What is in the log, by level."""
    caplog.set_level(logging.INFO, "atmost")
    return lambda level: [record.message for record in caplog.records if record.levelname == level]


def test_an_outage_is_said_once_and_its_end_too(said):
    """However often a connection is tried."""
    outages = Outages("nats://a/c")
    for now in range(100):
        outages.complain("refused", now)
    assert outages.trouble == "refused"
    outages.connected(SERVER, 100)
    assert outages.trouble is None
    assert said("WARNING") == ["nats://a/c: refused; tried again in the background"]
    assert said("INFO") == ["nats://a/c: connected to 127.0.0.1:4222"]


def test_a_server_that_comes_and_goes_fills_no_log(said):
    """One line in ten seconds, whichever outage it is, and none of those that were over before (R23)."""
    outages = Outages("nats://a/c")
    for tenth in range(300):
        outages.complain("gone", tenth / 10)
        outages.connected(SERVER, tenth / 10 + 0.05)
        outages.disconnected(tenth / 10 + 0.09)
    assert len(said("WARNING")) == len(said("INFO")) == 3


def test_a_long_outage_soon_after_a_short_one_is_said_when_it_lasts(said):
    """Not at its first moment, for it might have been as short."""
    outages = Outages("nats://a/c")
    outages.complain("gone", 0)
    outages.connected(SERVER, 1)
    for now in range(3, 20):
        outages.complain("refused", now)
    assert [text.split()[1] for text in said("WARNING")] == ["gone;", "refused;"]


def test_pauses_grow_until_a_connection_holds():
    """One that is dropped at once is no reason to come back sooner."""
    outages = Outages("nats://a/c")

    def pauses(held):
        found = []
        for _ in range(12):
            outages.connected(SERVER, 100)
            outages.disconnected(100 + held)
            found.append(outages.pause())
        return found

    grown = pauses(0.5)
    assert grown[0] <= 0.1
    assert all(5 <= pause <= 10 for pause in grown[-4:])
    assert len(set(grown[-4:])) == 4  # or all senders would come back at once
    assert all(pause <= 0.1 for pause in pauses(2))
