"""`atmost collect --workers`: several processes, one table and one account."""

import json
import os
import signal

import psutil
import pytest

from atmost import MergedLedger, Sender
from atmost.cli.output import account_lines
from atmost.core.keys import KeyMode, new_key
from tests.cli.commands import ask
from tests.cli.test_collect import ALONE
from tests.endpoint.crew import is_gone
from tests.real import BOUND, until


def collecting(start, *options):
    """Start a collector with two workers, and return it when it listens."""
    running = start("collect", "--bind", "udp://127.0.0.1:0", *ALONE, "--workers", 2, *options)
    assert running.url
    return running


def send(url, senders=8):
    """Send ten messages from each of some senders."""
    for number in range(senders):
        with Sender(url, name=f"sender-{number}") as sender:
            for count in range(10):
                sender.send("s", count)


@pytest.mark.needs("linux")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_json_holds_the_account_of_all_workers(start, number):
    """R20: a JSON object a second and the account as the last one, merged: every sender, every message, the identities."""
    running = collecting(start, "--json")
    workers = [child.pid for child in psutil.Process(running.pid).children()]
    assert len(workers) == 2
    send(running.url)
    running.until(lambda: running.out and json.loads(running.out[-1])["delivered"] == 80)
    ended = running.end(number)
    *seconds, account = ended.objects
    assert ended.status == 0
    assert ended.err.count("\n") == 1
    assert seconds[-1]["workers"] == 2
    assert {row["sender"] for row in seconds[-1]["senders"]} == {f"sender-{number}" for number in range(8)}
    assert (account["type"], account["delivered"], account["lost"], account["refused"]) == ("account", 80, 0, {})
    assert account["sent"] - account["before_join"] == account["delivered"]
    assert {(row["name"], row["delivered"], row["tail"]) for row in account["sessions"]} == {
        (f"sender-{number}", 10, "closed") for number in range(8)
    }
    assert not any(psutil.pid_exists(pid) for pid in workers)


@pytest.mark.needs("linux")
def test_the_account_for_people_says_that_a_worker_was_killed(start):
    """R20: a worker that is killed is replaced, said so, and stands in the account."""
    running = collecting(start)
    send(running.url)
    running.until(lambda: sum("said goodbye" in line for line in running.out) == 8)
    os.kill(psutil.Process(running.pid).children()[0].pid, signal.SIGKILL)
    assert "was ended by SIGKILL; another takes over" in running.says("worker")
    ended = running.end()
    assert ended.status == 0
    assert "  delivered            80 messages" in ended.out
    assert "  replaced              1 workers that ended by themselves" in ended.out
    assert "  killed                1 workers: what they did after their last report is not known" in ended.out


def test_the_account_of_workers_in_good_order_is_like_any():
    """Nothing is said of workers where nothing happened to them, and what is unknown is said."""
    plain = account_lines(MergedLedger(delivered=3, workers=2), "udp://127.0.0.1:7140", 1.0)
    assert not any("worker" in line for line in plain)
    said = account_lines(MergedLedger(unknown=12), "udp://127.0.0.1:7140", 1.0)
    assert "  unknown              12 messages that workers which are gone had pending or queued" in said


@pytest.mark.needs("linux")
def test_a_port_in_use(start, commands):
    """A second collector at the same address, with or without workers, fails in one line."""
    running = collecting(start)
    for workers in (1, 2):
        ended = commands("collect", "--bind", running.url, *ALONE, "--workers", workers)
        assert ended.status == 1
        assert f"{running.url} is in use" in ended.err
        assert ended.err.count("\n") == 1


@pytest.mark.parametrize("workers", [0, "many", 5000])
def test_a_number_that_cannot_be(commands, workers):
    """Too few, too many or no number is used wrongly."""
    ended = commands("collect", "--bind", "udp://127.0.0.1:0", *ALONE, "--workers", workers)
    assert ended.status == 2
    assert "workers" in ended.err


def test_workers_need_udp(commands):
    """A Unix socket has one receiver."""
    ended = commands("collect", "--bind", "unix:///tmp/nowhere.sock", *ALONE, "--workers", 2)
    assert ended.status == 2
    assert "only a UDP port can be shared" in ended.err


@pytest.mark.slow
@pytest.mark.needs("linux")
def test_a_worker_that_hangs_makes_it_unready_and_is_replaced(start):
    """After 5 s it is not ready, after 30 the worker is killed and another takes over; then it is ready again."""
    running = start("collect", "--json", "--bind", "udp://127.0.0.1:0", *ALONE[:-1], "127.0.0.1:0", "--workers", 2)
    [line] = running.prints(1)
    [page] = [each["url"] for each in json.loads(line)["addresses"] if each["kind"] == "http"]
    until(lambda: ask(page, "readyz")[0] == 200)
    hung = psutil.Process(running.pid).children()[0].pid
    os.kill(hung, signal.SIGSTOP)
    until(lambda: ask(page, "readyz")[0] == 503)
    assert running.says("does not answer")
    until(lambda: is_gone(hung), 2 * BOUND)
    assert running.says("has not answered for 30 s and is killed")
    until(lambda: ask(page, "readyz")[0] == 200)
    [url] = [each["url"] for each in json.loads(line)["addresses"] if each["kind"] == "atmost"]
    send(url)
    running.until(lambda: json.loads(running.out[-1])["delivered"] == 80)


@pytest.mark.needs("linux")
def test_workers_name_whom_they_refuse_and_every_subject(start, tmp_path):
    """As without workers: a sender without the key, by its beacon; subjects that are neither metric, log nor heartbeat."""
    path = tmp_path / "key"
    path.write_text(new_key(bytes(range(32)), 7, KeyMode.SIGNED).text() + "\n")
    path.chmod(0o600)
    options = ("--key-file", path, "--workers", 2)
    running = start("collect", "--json", "--bind", "udp://127.0.0.1:0", *ALONE[:-1], "127.0.0.1:0", *options)
    [line] = running.prints(1)
    urls = {each["kind"]: each["url"] for each in json.loads(line)["addresses"]}

    def asked(path):
        return json.loads(ask(urls["http"], f"api/v1/{path}")[1])

    with Sender(urls["atmost"], name="no-key") as bad, Sender(urls["atmost"], name="keyed", key_file=path) as good:
        bad.send("a", 1)
        for _ in range(3):
            good.send("orders.placed", {"sku": "A1"})
        until(lambda: [row["names"] for row in asked("senders")["refused"]] == [["no-key"]])
        until(lambda: [each["count"] for each in asked("subjects")["subjects"]] == [3])
    [subject], [row] = asked("subjects")["subjects"], asked("senders")["refused"]
    assert (subject["subject"], subject["payload"], subject["sender"]) == ("orders.placed", '{"sku":"A1"}', "keyed")
    assert row["address"].startswith("127.0.0.1:")
    assert (row["reason"], row["listener"]) == ("unknown_key", urls["atmost"])
    assert "it sends without a key" in row["advice"]
    assert running.says("first sender refused: ")
