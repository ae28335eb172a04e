"""`atmost collect` over NATS: a real server, senders of ours, shards divided between two collectors, and one that is taken over."""

import json
import signal

import pytest

import atmost
from tests.cli.commands import ask
from tests.cli.test_collect import ALONE
from tests.nats_server import NatsServer, running
from tests.real import until

pytestmark = pytest.mark.needs("nats-server")


@pytest.fixture
def server(tmp_path):
    """One server."""
    with running([NatsServer(tmp_path)]) as [one]:
        yield one


def delivered(collector):
    """Messages, as its latest object says."""
    return json.loads(collector.out[-1])["delivered"] if collector.out else 0


def test_two_collectors_divide_the_senders(start, server):
    """Every message reaches exactly one of them, and each accounts for its own."""
    url = server.url(options="shards=4&lease=2")
    collectors = [start("collect", "--json", "--bind", url, "--shards", text, *ALONE) for text in ("0-1/4", "2-3/4")]
    for each in collectors:
        each.prints(1)
    for number in range(12):
        with atmost.Sender(url, name=f"s{number}") as sender:
            assert sender.send("orders.viewed", number)
    until(lambda: sum(delivered(each) for each in collectors) == 12)
    accounts = [each.end(signal.SIGTERM).objects[-1] for each in collectors]
    names = [{one["name"] for one in account["sessions"]} for account in accounts]
    assert not names[0] & names[1]
    assert names[0] | names[1] == {f"s{number}" for number in range(12)}
    assert all(account["lost"] == 0 for account in accounts)


def test_shards_that_somebody_owns_are_refused(start, server):
    """One line with the owner, and a status of failure; the owner goes on."""
    url = server.url(options="shards=4&lease=2")
    owner = start("collect", "--json", "--bind", url, *ALONE)
    owner.prints(1)
    second = start("collect", "--json", "--bind", url, "--shards", "3/4", *ALONE).wait()
    assert second.status == 1
    [line] = [line for line in second.err.splitlines() if line.startswith("atmost: ")]
    assert "3" in line
    assert owner.end(signal.SIGTERM).status == 0


def test_shards_need_a_channel(start):
    """UDP has none: said at the start."""
    done = start("collect", "--bind", "udp://127.0.0.1:0", "--shards", "0/4", *ALONE).wait()
    assert done.status == 2
    assert "shards" in done.err
    assert "nats://" in done.err


def test_one_that_stood_still_learns_that_its_shards_are_gone(start, server):
    """It takes nothing more, says whose they are now, is not ready any more, and the page goes on."""
    url = server.url(options="shards=1&lease=1")
    where = (*ALONE[:-1], "127.0.0.1:0")
    first = start("collect", "--json", "--bind", url, *where)
    [line] = first.prints(1)
    [page] = [each["url"] for each in json.loads(line)["addresses"] if each["kind"] == "http"]
    first.process.send_signal(signal.SIGSTOP)
    second = start("collect", "--json", "--bind", url, *ALONE)
    second.prints(1)
    first.process.send_signal(signal.SIGCONT)
    until(lambda: "closed" in "".join(first.err))
    until(lambda: ask(page, "readyz")[0] == 503)
    status, overview = ask(page, "api/v1/overview")
    assert status == 200
    until(
        lambda: any(
            "nothing is received there" in text for text in json.loads(ask(page, "api/v1/overview")[1])["warnings"]
        )
    )
    assert json.loads(overview)["listeners"]
    with atmost.Sender(url) as sender:
        sender.send("orders.viewed", 1)
    until(lambda: delivered(second) == 1)
    assert delivered(first) == 0
