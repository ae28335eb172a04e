"""`atmost collect` as an operator runs it: configuration, taken ports, reload, what is missing, and where it is."""

import http.client
import json
import os
import signal
import socket
import tomllib

import psutil
import pytest

import atmost
from tests.cli.test_collect import ALONE
from tests.real import BOUND, until

FREE = ("--bind", "udp://127.0.0.1:0", "--statsd", "127.0.0.1:0", "--syslog", "127.0.0.1:0", "--gelf", "127.0.0.1:0")
HTTP = (*ALONE[:-1], "127.0.0.1:0")
NO_SERVER = """
import sys
for name in ("starlette", "uvicorn", "prometheus_client"):
    sys.modules[name] = None
from atmost.cli import main
main()
"""


def addresses(collector):
    """Where it is, as its first object says."""
    [first, *_] = collector.prints(1)
    return {each["kind"]: each["url"] for each in json.loads(first)["addresses"]}


def ask(url, path, **headers):
    """Status and body of an answer."""
    connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=BOUND)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_every_protocol_on_free_ports(start):
    """The first object says where each is; a line of StatsD is taken, and scraped."""
    collector = start("collect", "--json", *FREE, "--http", "127.0.0.1:0")
    where = addresses(collector)
    assert list(where) == ["atmost", "statsd", "syslog", "gelf", "http"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        host, port = where["statsd"].removeprefix("udp://").split(":")
        sock.sendto(b"bar.hits:3|c", (host, int(port)))
    until(lambda: b"bar_hits_total 3.0" in ask(where["http"], "/metrics")[1])
    account = collector.end(signal.SIGTERM).objects[-1]
    [statsd] = [each for each in account["listeners"] if each["kind"] == "statsd"]
    assert (statsd["received"], statsd["accepted"], statsd["rejected"]) == (1, 1, {})


def test_the_banner_names_every_address(start):
    """With the page that a browser opens."""
    collector = start("collect", *FREE, "--http", "127.0.0.1:0")
    lines = collector.prints(6)
    assert [line.split()[0] for line in lines] == ["atmost", "statsd", "syslog", "gelf", "page", "scrape"]
    page = lines[4].split()[1]
    assert ask(page, "/")[0] == 200
    assert "account of" in collector.end().out


def test_print_config_is_a_file_of_every_option(commands, tmp_path):
    """With what the file, the environment and the flags say by then; nothing is opened."""
    path = tmp_path / "collector.toml"
    path.write_text("max_series = 5\n")
    done = commands("collect", "--config", path, "--set", "max_senders=7", "--syslog", "off", "--print-config")
    assert (done.status, done.err) == (0, "")
    assert tomllib.loads(done.out) == {"max_series": 5, "max_senders": 7, "syslog": ["off"]}
    assert "#gelf = " in done.out


def test_the_environment_configures(commands, monkeypatch):
    """Between the file and the flags."""
    monkeypatch.setenv("ATMOST_COLLECT_GELF", "off")
    assert 'gelf = ["off"]' in commands("collect", "--print-config").out.splitlines()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--set", "max_serie=3"), "did you mean max_series?"),
        (("--statsd", "8125"), "statsd: '8125': expected HOST:PORT"),
        (("--http", "0.0.0.0:0"), "set a token"),
        (("--config", "/nowhere/at/all.toml"), "cannot be read: No such file"),
        (("--bind", "off", "--bind", "udp://127.0.0.1:0"), "'off' cannot be combined with addresses"),
    ],
)
def test_a_mistake_is_one_line(commands, arguments, problem):
    """Used wrongly: status 2, and what would be right."""
    done = commands("collect", *ALONE, *arguments)
    assert done.status == 2
    assert problem in done.err
    assert done.err.count("\n") == 1


def test_a_taken_port_names_the_option(start, commands):
    """Failed: status 1, the port, and the ways out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        done = commands("collect", "--bind", "off", *ALONE[2:], "--statsd", f"127.0.0.1:{port}")
    assert done.status == 1
    assert f"udp://127.0.0.1:{port}" in done.err
    assert "--statsd off" in done.err
    assert done.err.count("\n") == 1


def test_without_the_extra_it_says_how_to_install_it(run):
    """Or how to do without: then everything else works."""
    done = run("collect", *FREE, code=NO_SERVER)
    assert done.status == 1
    assert "pip install 'atmost[server]'" in done.err
    assert "--http off" in done.err
    assert done.err.count("\n") == 1
    done = run("collect", *FREE, "--http", "off", "--seconds", 0, "--json", code=NO_SERVER)
    assert (done.status, done.objects[-1]["type"]) == (0, "account")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_sighup_reads_the_configuration_again(start, tmp_path):
    """What can change changes, what cannot is named in the log, and a mistake is told and changes nothing."""
    path = tmp_path / "collector.toml"
    path.write_text("max_log_records = 7\n")
    collector = start("collect", "--json", "--bind", "off", *HTTP, "--config", path)
    page = addresses(collector)["http"]
    path.write_text('max_log_records = 9\nmax_series = 3\ntoken = "0123456789abcdef"\n')
    os.kill(collector.pid, signal.SIGHUP)
    line = collector.says("message=reloaded")
    assert "needs_restart=max_series" in line
    assert ask(page, "/api/v1/overview")[0] == 401
    path.write_text("max_log_record = 9\n")
    os.kill(collector.pid, signal.SIGHUP)
    assert "did you mean max_log_records" in collector.says("not reloaded")
    assert ask(page, "/api/v1/overview", Authorization="Bearer 0123456789abcdef")[0] == 200
    assert collector.end(signal.SIGTERM).status == 0


def test_its_own_log_is_structured(start, tmp_path):
    """JSON where that is asked for."""
    path = tmp_path / "collector.toml"
    path.write_text('log_format = "json"\n')
    collector = start("collect", "--json", "--bind", "off", *ALONE, "--config", path)
    collector.prints(1)
    os.kill(collector.pid, signal.SIGHUP)
    assert json.loads(collector.says('"reloaded"'))["level"] == "info"
    assert collector.end().status == 0


@pytest.mark.needs("linux")
def test_workers_hand_on_what_the_page_shows(start):
    """Metrics, logs and heartbeats of every worker are in one state, goodbyes too; the account is of all messages."""
    collector = start("collect", "--json", "--bind", "udp://127.0.0.1:0", "--workers", 2, *HTTP)
    where = addresses(collector)
    for number in range(6):
        with (
            atmost.Sender(where["atmost"], name=f"s{number}") as sender,
            atmost.Metrics(sender, interval=0.05) as metrics,
            atmost.Heartbeat(sender, f"w{number}", interval=0.2),
        ):
            metrics.counter("jobs_total").inc(number + 1)
            sender.send("logs.app", {"message": f"line {number}"})
            sender.send("metrics.plain", float(number))
            sender.send("orders.new", number)

    def get(path):
        return json.loads(ask(where["http"], path)[1])

    until(lambda: sum(each["last"] for each in get("/api/v1/series?match=jobs_total")["series"]) == 21)
    until(lambda: {each["state"] for each in get("/api/v1/heartbeats")["heartbeats"]} == {"stopped"})
    assert len(get("/api/v1/logs")["records"]) == 6
    plain = get("/api/v1/series?match=plain")["series"]
    assert {each["completeness"] for each in plain} == {None}
    assert {each["completeness"] for each in get("/api/v1/series?match=jobs")["series"]} == {1.0}
    account = collector.end().objects[-1]
    assert account["lost"] == 0
    assert len(account["sessions"]) == 6


@pytest.mark.needs("linux")
def test_a_worker_that_is_replaced_keeps_no_connection_of_the_page(start):
    """It is forked beside the HTTP thread: an answer's end must still be its end."""
    collector = start("collect", "--json", "--bind", "udp://127.0.0.1:0", "--workers", 2, *HTTP)
    where = addresses(collector)
    address = where["http"].removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((address[0], int(address[1])), BOUND) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200")
        for child in psutil.Process(collector.pid).children():
            os.kill(child.pid, signal.SIGKILL)
        until(lambda: json.loads(collector.out[-1])["replaced"] == 2 and json.loads(collector.out[-1])["workers"] == 2)
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while sock.recv(65_536):
            pass
    with atmost.Sender(where["atmost"], name="s") as sender:
        sender.send("metrics.x", 1.0)
        until(lambda: json.loads(ask(where["http"], "/api/v1/series?match=x")[1])["series"])
    assert collector.end().status == 0
