"""`atmost demo` as a user runs it: it balances whatever the link does, and leaves nothing behind."""

import json
import re
import signal
import urllib.request

import psutil
import pytest

from tests.cli.test_listen import PIPED
from tests.demo.test_account import PROMISED
from tests.real import BOUND, until

RUNS = [(0, 1), (0.3, 4), (1, 6)]
"""Loss and seed."""
FURTHER = [(0, 2), (0.05, 3), (0.3, 5)]


def processes_of(first_line):
    """The link and the agent of a demo that still run: they were given the addresses that its first line tells."""
    addresses = set(re.findall(r"udp://[\d.]+:\d+", first_line))
    assert len(addresses) == 2
    running = psutil.process_iter(["cmdline", "status"])
    living = [process for process in running if process.info["status"] != psutil.STATUS_ZOMBIE]
    return [process for process in living if addresses & set(process.info["cmdline"] or ())]


@pytest.fixture
def demo(start):
    """A function that starts a demo, and returns it with its first line once all of it runs."""

    def begin(*arguments, **options):
        it = start("demo", "--seed", 1, *arguments, **options)
        (first,) = it.prints(1)
        return it, first

    return begin


@pytest.mark.parametrize("runs", [RUNS, pytest.param(FURTHER, marks=pytest.mark.slow)], ids=["some", "others"])
def test_the_account_balances_at_any_loss(start, runs):
    """Offered is delivered, dropped, lost or unknown; what is missing is what the link dropped; nothing came twice."""
    running = [
        start("demo", "--seconds", 2, "--duplicate", 0.3, "--reorder", 0.3, "--json", "--loss", loss, "--seed", seed)
        for loss, seed in runs
    ]
    for (loss, _), it in zip(runs, running, strict=True):
        done = it.wait()
        assert (done.status, done.err) == (0, "")
        (account,) = done.objects
        assert set(account) >= PROMISED
        assert set(account["link"]) >= {"dropped_messages", "duplicated_datagrams", "reordered_datagrams"}
        assert account["balanced"] is True
        assert account["duplicates_processed"] == 0
        places = ("dropped", "delivered", "lost", "pending", "overflow", "unknown")
        assert account["offered"] == sum(account[place] for place in places) > 0
        assert account["lost"] + account["unknown"] == account["link"]["dropped_messages"] + account["refused"]
        if loss == 0:
            assert account["link"]["dropped_messages"] == account["lost"] == account["unknown"] == 0
        if loss == 1:
            assert (account["delivered"], account["lost"], account["unknown"]) == (0, 0, account["offered"])


def test_what_arrives_and_what_is_lost_is_shown_live(start):
    """A line a second, log lines, each loss in its place, and the account in words."""
    it = start("demo", "--seconds", 2, "--loss", "0.5", "--seed", 4)
    done = it.wait()
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("collector on udp://127.0.0.1:")
    assert " readings, " in done.out
    assert " INFO atmost.lab.link: link from udp://" in done.out
    assert " lost here (in flight)\n" in done.out
    assert "the account, in messages\n" in done.out
    assert " = dropped by the link " in done.out
    assert "  the account is balanced\n" in done.out
    assert done.out.splitlines()[-1].startswith("the page was on http://127.0.0.1:")
    assert "\x1b" not in done.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_account(demo, number):
    """Ctrl-C reaches only the demo, which ends its children in order: sender, link, collector."""
    it, first = demo("--loss", "0.3")
    assert len(processes_of(first)) == 2
    done = it.end(number)
    assert (done.status, done.err) == (0, "")
    assert "  the account is balanced\n" in done.out
    assert not processes_of(first)


def test_no_time_at_all_is_enough_for_an_account(run):
    """Interrupted as soon as everything runs: the agent's first heartbeat has its place."""
    done = run("demo", "--seconds", 0, "--loss", 0, "--json")
    assert done.status == 0
    assert done.objects[0]["offered"] >= 1


def test_killed_it_leaves_no_process_behind(demo, tmp_path):
    """Nothing can be done when one is killed, so the children see to it themselves; and they say nothing."""
    it, first = demo(TMPDIR=str(tmp_path))
    it.kill()
    until(lambda: not processes_of(first))
    assert it.err == []


def test_a_reader_that_has_enough(demo):
    """`| head -n 1` ends it and its children, without a word."""
    it, first = demo("--seconds", 60, code=PIPED)
    done = it.wait()
    assert len(done.out.splitlines()) == 1
    assert done.err == ""
    until(lambda: not processes_of(first))


def test_a_child_that_is_killed_ends_the_demo_with_a_line(demo):
    """Status 1, for there is no account to balance; the other child goes too."""
    it, first = demo()
    (agent,) = [process for process in processes_of(first) if "atmost.demo.source" in process.info["cmdline"]]
    agent.kill()
    done = it.wait()
    assert done.status == 1
    assert done.err.splitlines() == ["atmost: demo: a process of the demo ended early; its error message is above"]
    until(lambda: not processes_of(first))


def test_the_page_is_there_while_it_runs(demo):
    """Its address stands in the second line; it shows this host's readings, and who sends them."""
    it, _ = demo()
    page = it.until(lambda: re.search(r"the page is on (http://[\d.:]+/)", "".join(it.out)))[1]

    def asked(path):
        with urllib.request.urlopen(page + path, timeout=BOUND) as answer:  # noqa: S310  its own page
            return answer.read()

    assert b"<html" in asked("")
    until(lambda: json.loads(asked("api/v1/query?name=cpu.utilization&range=60"))["points"][-2]["value"] is not None)
    [sender] = json.loads(asked("api/v1/senders"))["senders"]
    assert sender["delivered"] > 0
    it.end(signal.SIGINT)


@pytest.mark.needs("nats-server")
def test_over_a_cluster_the_account_balances_though_a_server_is_killed(start):
    """The agent goes on at another server; what it could not send is known, and nothing comes twice."""
    it = start("demo", "--nats", "--seconds", 6, "--json")
    done = it.wait()
    assert done.status == 0, done.err
    (account,) = done.objects
    assert account["balanced"] is True
    assert account["link"] == {"servers": 3, "killed": "node0"}
    assert account["duplicates_processed"] == 0
    assert account["delivered"] > account["lost"] >= 0
    assert account["offered"] == sum(
        account[place] for place in ("dropped", "delivered", "lost", "pending", "overflow", "unknown")
    )


@pytest.mark.needs("nats-server")
def test_killed_it_leaves_no_server_behind(start, tmp_path):
    """However the demo goes: its servers are told by their input's end."""
    it = start("demo", "--nats", TMPDIR=str(tmp_path))
    it.prints(1)
    children = psutil.Process(it.pid).children(recursive=True)
    servers = [child for child in children if "nats-server" in child.name()]
    assert len(servers) == 3
    it.kill()
    _, alive = psutil.wait_procs(servers, BOUND)
    assert not alive
