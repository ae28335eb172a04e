"""`atmost forget`: one word for what was decommissioned, and a line that says what became of it."""

from tests.collector.page.answers import heartbeat


def test_a_heartbeat_is_forgotten(fake, commands):
    """By its name; one that is not there is an error."""
    fake.heartbeats = [heartbeat("worker-7", "down"), heartbeat("b")]
    done = commands("forget", "worker-7", "--collector", fake.url)
    assert (done.status, done.out, done.err) == (0, "forgotten: worker-7\n", "")
    assert [one["name"] for one in fake.heartbeats] == ["b"]
    done = commands("forget", "worker-7", "--collector", fake.url)
    assert (done.status, done.out) == (1, "")
    assert "There is no such heartbeat." in done.err


def test_misuse(commands):
    """No collector is a failure, an address that is none the user's error."""
    assert commands("forget", "x", "--collector", "http://127.0.0.1:1").status == 1
    assert commands("forget", "x", "--collector", "udp://127.0.0.1:7140").status == 2
    assert commands("forget").status == 2
