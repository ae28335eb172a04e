"""deploy/examples: every option, address and line in them is one that works."""

import re
import shlex
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from atmost.collector.options import CollectorOptions, load_options, parse_place
from atmost.ingest import syslog
from atmost.transport.nats.url import parse_nats
from atmost.transport.url import parse_url
from tests.deploy.conftest import DEPLOY, HOST, Collector
from tests.real import environment, until

FOLDER = DEPLOY / "examples"
ROOT = DEPLOY.parent


def text_of(name: str) -> str:
    """An example's text."""
    return (FOLDER / name).read_text(encoding="utf-8")


def variables(name: str) -> dict[str, str]:
    """Those that a file for EnvironmentFile sets."""
    lines = [line for line in text_of(name).splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_the_collector_takes_its_example(commands):
    """Every key is an option, its addresses can be read, and what is said of memory is what the options say."""
    path = FOLDER / "collector.toml"
    done = commands("collect", "--config", path, "--print-config")
    assert (done.status, done.err) == (0, "")
    again = tomllib.loads(done.out)
    options = load_options(str(path))
    assert again["bind"] == list(options.bind)
    assert all(parse_url(url) for url in options.bind)
    for kind in ("statsd", "syslog", "gelf"):
        assert all(parse_place(place, kind) for place in getattr(options, kind))
    assert options.memory_bound() == CollectorOptions(bind=options.bind).memory_bound()


def test_what_is_commented_out_would_be_taken_too(tmp_path, commands):
    """The options that the example only mentions exist."""
    text = re.sub(r"^# (?=\w+ = )", "", text_of("collector.toml"), flags=re.MULTILINE)
    assert "\nkey_file = " in text
    (tmp_path / "collector.toml").write_text(text, encoding="utf-8")
    done = commands("collect", "--config", tmp_path / "collector.toml", "--print-config")
    assert (done.status, done.err) == (0, "")


def test_the_agent_takes_its_example(start, tmp_path):
    """Its variables and flags run an agent, but for the address and the file."""
    given = variables("agent.env")
    assert set(given) == {"ATMOST_URL", "ATMOST_NAME", "ATMOST_AGENT_FLAGS"}
    assert parse_url(given["ATMOST_URL"]).scheme == "udp"
    flags = shlex.split(given["ATMOST_AGENT_FLAGS"].replace("/var/log/syslog", str(tmp_path / "log")))
    agent = start("agent", *flags, "--seconds", "0", ATMOST_URL="udp://127.0.0.1:9", ATMOST_NAME=given["ATMOST_NAME"])
    done = agent.wait()
    assert done.status == 0
    assert f"as {given['ATMOST_NAME']}" in done.err


@pytest.mark.parametrize("name", ["agent.env", "collector.toml"])
def test_addresses_of_nats(name):
    """The URLs in the comments are ones that the transport takes."""
    (url,) = set(re.findall(r'nats://[^\s"]+', text_of(name)))
    assert parse_nats(url)


CLIENTS = """
import datadog
from statsd.defaults.env import statsd

statsd.incr("one.hits")
datadog.statsd.increment("other.hits")
datadog.statsd.flush()
"""


def test_unchanged_clients_find_the_collector():
    """The real clients of both kinds read these variables themselves; what they count shows."""
    given = variables("clients.env")
    assert given["STATSD_PORT"] == given["DD_DOGSTATSD_PORT"] == "8125"
    assert given["STATSD_HOST"] == given["DD_AGENT_HOST"]
    with Collector("--set", "token_file=") as collector:
        port = str(collector.port("statsd"))
        told = environment(**{name: port if name.endswith("PORT") else HOST for name in given if name != "ATMOST_URL"})
        subprocess.run([sys.executable, "-W", "ignore", "-c", CLIENTS], env=told, check=True, timeout=60)
        until(lambda: {"one_hits_total", "other_hits_total"} <= collector.samples().keys())


def test_rsyslog_forwards_to_the_syslog_listener():
    """The port of the example, over UDP, in a form that the collector reads with time, host and structure."""
    text = text_of("rsyslog-atmost.conf")
    given = dict(re.findall(r'(?<![.\w])(\w+)="([^"]*)"', text))
    port = CollectorOptions().syslog[0].rpartition(":")[2]
    assert (given["type"], given["protocol"], given["port"]) == ("omfwd", "udp", port)
    assert given["template"] == "RSYSLOG_SyslogProtocol23Format"
    line = b'<30>1 2026-01-01T00:00:00.000000+00:00 web-3 systemd 1 - [meta sequenceId="1"] Started a service.'
    record = syslog.parse(line, "127.0.0.1", 1_767_225_600.0)
    assert (record.host, record.application) == ("web-3", "systemd")


def test_telegraf_scrapes_the_collector():
    """The file is TOML, and its address is where the collector answers."""
    document = tomllib.loads(text_of("telegraf.conf"))
    ((scrape,),) = [document["inputs"]["prometheus"]]
    assert scrape["urls"] == [f"http://{CollectorOptions().http}/metrics"]


def test_the_page_names_what_is_there():
    """docs/deploy.md speaks of every file of deploy/, and of none that is not; its ports are those of the options."""
    page = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    named = {each.rstrip("/.") for each in re.findall(r"deploy/[\w./-]+", page)}
    assert all((ROOT / each).exists() for each in named)
    files = [path.relative_to(ROOT) for path in DEPLOY.rglob("*") if path.is_file()]
    missing = [str(each) for each in files if not {str(each), *map(str, each.parents)} & (named - {"deploy"})]
    assert missing == []
    options = CollectorOptions()
    assert f"{options.memory_bound() / (1 << 20):,.0f} MiB" in page
    small = dict(re.findall(r"`(max_\w+) = (\d+)`", page))
    assert CollectorOptions(**{name: int(value) for name, value in small.items()}).memory_bound() < 760 << 20
    for place in ("udp://127.0.0.1:7140", *options.statsd, *options.syslog, *options.gelf, options.http):
        assert f"| {place.rpartition(':')[2]} |" in page


def test_the_commands_on_the_page_are_ours(commands):
    """Every command of ours on the page exists, and so do its options."""
    page = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    found = set(re.findall(r"(?:^|[\s/`'])atmost (collect|agent|keygen|send|listen|top)\b([^`'\n]*)", page))
    assert {command for command, _ in found} >= {"collect", "keygen"}
    for command, rest in found:
        spoken = commands(command, "--help").out
        assert all(option in spoken for option in re.findall(r"--[a-z-]+", rest)), (command, rest)


def test_sockets_of_the_example_are_in_the_services_folder():
    """systemd makes /run/atmost, and the paths fit a Unix address."""
    options = load_options(str(FOLDER / "collector.toml"))
    paths = [each.removeprefix("unix://") for each in (*options.bind, *options.statsd) if "/run/" in each]
    assert len(paths) == 2
    assert {str(Path(path).parent) for path in paths} == {"/run/atmost"}
    assert hasattr(socket, "AF_UNIX")
