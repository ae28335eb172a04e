"""The commands over nats://: unchanged but for the URL, and the shards."""

import pytest

from tests.nats_server import NatsServer, running

pytestmark = pytest.mark.needs("nats-server")


@pytest.fixture
def url(tmp_path):
    """A channel of one server of this test."""
    with running([NatsServer(tmp_path)]) as [server]:
        yield server.url("cli", "lease=3&shards=2")


def test_a_message_from_one_command_to_two_others(start, run, url):
    """Each listener has its shards, and a third one has none: it is told who is there."""
    crew = [start("listen", "--json", "--bind", url, "--shards", shards) for shards in ("0/2", "1/2")]
    for listener in crew:
        listener.says("listening on")
    third = run("listen", "--bind", url, "--shards", "1/2")
    assert third.status == 1
    assert "is in use by" in third.err
    assert run("send", "orders.new", '{"id": 1}', "--url", url).status == 0
    crew[0].until(lambda: any("orders.new" in line for listener in crew for line in listener.out))


def test_a_message_that_no_server_takes_is_told(run):
    """Status 1, as for any message that could not be sent."""
    done = run("send", "orders.new", "1", "--url", "nats://127.0.0.1:1/cli")
    assert done.status == 1
    assert "ENOTCONN" in done.err


@pytest.mark.parametrize(
    ("shards", "problem"), [("0-2/2", "shards from 0 to 1"), ("0,0/2", "named twice"), ("0/4", "shards of 2")]
)
def test_shards_that_cannot_be(run, url, shards, problem):
    """One line, and status 2."""
    done = run("listen", "--bind", url, "--shards", shards)
    assert done.status == 2
    assert problem in done.err
