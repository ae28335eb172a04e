"""Real programs that are not Python's, unmodified, over real sockets: relays, servers, and clients of Node, Perl, Ruby and PHP.

Each says what it sent in numbers of its own, and what is read is what it was told.
"""

import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from atmost.ingest import statsd, syslog
from atmost.ingest.gelf import GelfReader
from atmost.ingest.statsd import StatsdAlert, StatsdDatagram, StatsdGauges, StatsdKind, StatsdPriority, StatsdStatus
from tests.real import BOUND, until, waiting

CLIENTS = Path(__file__).parent / "clients"
COUNTER, GAUGE, TIMER, HISTOGRAM, DISTRIBUTION, SET = StatsdKind
TEXTS = ["plain", "größe: full", '{"user": "ann", "ip": "1"}', "key=value other: x"]


def run(*command):
    """Runs a client to its end; it must succeed."""
    subprocess.run(command, cwd=CLIENTS, check=True, timeout=BOUND, stdout=subprocess.DEVNULL)


@contextmanager
def running(*command):
    """A program beside the test, which does not outlive it."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def where(sock):
    """Host and port of a socket, as texts."""
    host, port = sock.getsockname()
    return host, str(port)


def free_port(kind=socket.SOCK_DGRAM):
    """A port that nobody has at this moment."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def lines(sock, enough, gauges=StatsdGauges.STATSD):
    """All that StatsD's clients said until `enough` says so; nothing of it refused."""
    together = StatsdDatagram()

    def look():
        for datagram in waiting(sock):
            read = statsd.parse(datagram, gauges=gauges)
            assert (read.rejected, read.notes) == ([], {})
            together.metrics += read.metrics
            together.events += read.events
            together.checks += read.checks
        return enough(together)

    until(look)
    return together


def records(sock, count):
    """So many syslog records."""
    found = []

    def look():
        for datagram in waiting(sock):
            found.extend(syslog.parse_all(datagram, "10.0.0.7", time.time()))
        return len(found) >= count

    until(look)
    return found


def told(read):
    """Every metric but the many of one name, and how many those are worth."""
    return (
        [(one.name, one.kind, one.values, one.tags, one.relative) for one in read.metrics if "many" not in one.name],
        sum(one.total for one in read.metrics if "many" in one.name),
    )


@pytest.mark.needs("node-clients")
def test_hot_shots(udp):
    """Node's DogStatsD client: tags of its own, packing, an event and a check."""
    run("node", "statsd.js", "hot-shots", *where(udp))
    read = lines(udp, lambda read: told(read)[1] >= 100, StatsdGauges.DOGSTATSD)
    env = (("env", "prod"),)
    assert told(read) == (
        [
            ("views", COUNTER, (3,), (*env, ("route", "home")), False),
            ("stock", COUNTER, (-1,), env, False),
            ("depth", GAUGE, (-7,), (*env, ("queue", "a")), False),
            ("load", TIMER, (320,), env, False),
            ("size", HISTOGRAM, (12.5,), (*env, ("k", "v")), False),
            ("latency", DISTRIBUTION, (0.25,), env, False),
            ("users", SET, ("fe80::1",), env, False),
        ],
        100,
    )
    [event], [check] = read.events, read.checks
    assert (event.title, event.text, event.key) == ("deploy", "first\nsecond|third", "web")
    assert (event.alert, event.priority) == (StatsdAlert.ERROR, StatsdPriority.LOW)
    assert (check.name, check.status, check.message) == ("db", StatsdStatus.CRITICAL, "gone")


@pytest.mark.needs("node-clients")
def test_statsd_client(udp):
    """Node's plain client: changes of gauges, and a set's member with colons."""
    run("node", "statsd.js", "statsd-client", *where(udp))
    assert told(lines(udp, lambda read: told(read)[1] >= 100)) == (
        [
            ("shop.views", COUNTER, (3,), (), False),
            ("shop.views", COUNTER, (1,), (), False),
            ("shop.stock", COUNTER, (-1,), (), False),
            ("shop.depth", GAUGE, (70,), (), False),
            ("shop.depth", GAUGE, (-6,), (), True),
            ("shop.depth", GAUGE, (4,), (), True),
            ("shop.load", TIMER, (320,), (), False),
            ("shop.size", HISTOGRAM, (12.5,), (("k", "v"),), False),
            ("shop.users", SET, ("http://x:80/",), (), False),
        ],
        100,
    )


@pytest.mark.needs("node-clients")
@pytest.mark.parametrize(
    ("client", "form", "host", "application", "has_process"),
    [
        ("ain2", "rfc3164", "ainhost", "ainapp", True),
        ("syslog-client", "rfc3164", "schost", None, False),
        ("syslog-client-5424", "rfc5424", "schost", "scapp", True),
        ("winston-syslog", "rfc3164", "winhost", "winapp", True),
        ("winston-syslog-5424", "rfc5424", "winhost", "winapp", True),
    ],
)
def test_node_syslog(client, form, host, application, has_process, udp):
    """Node's clients of syslog: host, application and text, whatever they leave out."""
    run("node", "syslog.js", client, *where(udp))
    read = records(udp, len(TEXTS))
    assert [each.message for each in read] == TEXTS
    assert {(str(each.form), each.host, each.application) for each in read} == {(form, host, application)}
    assert {(each.facility, each.level) for each in read} == {(16, "warning")}
    assert all((each.process is not None) == has_process for each in read)


@pytest.mark.needs("perl-clients")
def test_perl_statsd(udp):
    """Perl's Net::Statsd."""
    run("perl", "clients.pl", "Net::Statsd", *where(udp))
    assert told(lines(udp, lambda read: told(read)[1] >= 100)) == (
        [
            ("views", COUNTER, (1,), (), False),
            ("views", COUNTER, (3,), (), False),
            ("stock", COUNTER, (-1,), (), False),
            ("load", TIMER, (320,), (), False),
            ("depth", GAUGE, (70,), (), False),
        ],
        100,
    )


@pytest.mark.needs("perl-clients")
def test_perl_syslog(udp):
    """Perl's Sys::Syslog over UDP: no host, a line end and a NUL; it begins with an empty datagram, which says nothing."""
    run("perl", "clients.pl", "Sys::Syslog", *where(udp))
    empty, *read = records(udp, 4)
    assert str(empty.reason) == "empty"
    assert [each.message for each in read] == ["plain", "größe: full", '{"user": "ann"}']
    assert {(each.host, each.application, each.process is not None) for each in read} == {("10.0.0.7", "perlapp", True)}


@pytest.mark.needs("ruby-clients")
def test_ruby_statsd(udp):
    """Ruby's statsd."""
    run("ruby", "clients.rb", "statsd", *where(udp))
    assert told(lines(udp, lambda read: told(read)[1] >= 100)) == (
        [
            ("views", COUNTER, (1,), (), False),
            ("views", COUNTER, (3,), (), False),
            ("stock", COUNTER, (-1,), (), False),
            ("depth", GAUGE, (-7,), (), True),
            ("load", TIMER, (320,), (), False),
            ("users", SET, ("fe80::1",), (), False),
        ],
        100,
    )


@pytest.mark.needs("ruby-clients")
def test_ruby_gelf(udp):
    """Ruby's gelf: zlib, fields of its own, and an exception."""
    run("ruby", "clients.rb", "gelf", *where(udp))
    reader, found = GelfReader(), []
    until(lambda: found.extend(out for each in waiting(udp) for out in reader.feed(each, "p", 0.0)) or len(found) >= 3)
    assert [each.message for each in found][:2] == ["plain", "größe: full"]
    assert "failed" in found[2].message
    assert (found[1].fields["user"], len(found[1].full_message)) == ("ann", 5012)
    assert {each.host for each in found} == {socket.gethostname()}


@pytest.mark.needs("php-clients")
@pytest.mark.parametrize(("client", "form"), [("monolog", "rfc3164"), ("monolog-5424", "rfc5424")])
def test_php_monolog(client, form, udp):
    """PHP's Monolog in both forms; it makes one line of several itself."""
    run("php", "clients.php", client, *where(udp))
    read = records(udp, 4)
    assert [each.message for each in read] == ["plain", "größe: full", '{"user": "ann"}', "two lines"]
    assert {(str(each.form), each.application, each.process is not None) for each in read} == {(form, "phpapp", True)}


GIVEN = [
    b'<34>1 2026-10-11T22:14:15.003Z h5.example.org app 77 ID47 [ex@1 iut="3"] text',
    b"<34>Oct 11 22:14:15 h5.example.org app[77]: text",
    b'<134>Oct 11 22:14:15 opsaudit2 app: {"username": "x"}',
]


def relayed(sock, inputs, expected):
    """What a relay passes on; it is given the messages again until it listens."""
    found = []

    def look():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for port, datagram in inputs:
                out.sendto(datagram, ("127.0.0.1", port))
        for datagram in waiting(sock):
            found.extend(syslog.parse_all(datagram, "10.0.0.7", time.time()))
        got = {(each.host, each.application, each.process, each.message.strip()) for each in found}
        time.sleep(0.05)
        return got if got >= expected else None

    assert until(look) == expected
    return found


RELAYED = {
    ("h5.example.org", "app", "77", "text"),
    ("opsaudit2", "app", None, '{"username": "x"}'),
}


@pytest.mark.needs("rsyslogd")
@pytest.mark.parametrize(
    "template", ["RSYSLOG_TraditionalForwardFormat", "RSYSLOG_ForwardFormat", "RSYSLOG_SyslogProtocol23Format"]
)
def test_rsyslog(template, udp, tmp_path):
    """Its forwarding formats, of messages it got in both forms: hosts, tags and texts come through."""
    port, (_, to) = free_port(), where(udp)
    config = tmp_path / "rsyslog.conf"
    config.write_text(
        f'module(load="imudp")\ninput(type="imudp" address="127.0.0.1" port="{port}")\n'
        f'action(type="omfwd" target="127.0.0.1" port="{to}" protocol="udp" template="{template}")\n'
    )
    with running("rsyslogd", "-n", "-f", str(config), "-i", str(tmp_path / "pid")):
        found = relayed(udp, [(port, datagram) for datagram in GIVEN], RELAYED)
    assert {str(each.form) for each in found} == {"rfc5424" if "23" in template else "rfc3164"}


@pytest.mark.needs("syslog-ng")
@pytest.mark.parametrize("form", ["network", "syslog"])
def test_syslog_ng(form, udp, tmp_path):
    """Both of its destinations, the old form and RFC 5424."""
    old, new, (_, to) = free_port(), free_port(), where(udp)
    config = tmp_path / "syslog-ng.conf"
    config.write_text(
        "@version: 3.38\noptions { keep-hostname(yes); stats-freq(0); use-dns(no); dns-cache(no); };\n"
        f'source old {{ network(transport("udp") ip("127.0.0.1") port({old})); }};\n'
        f'source new {{ syslog(transport("udp") ip("127.0.0.1") port({new})); }};\n'
        f'destination to {{ {form}("127.0.0.1" transport("udp") port({to})); }};\n'
        "log { source(old); source(new); destination(to); };\n"
    )
    paths = [
        "-f",
        str(config),
        "-p",
        str(tmp_path / "pid"),
        "-R",
        str(tmp_path / "persist"),
        "-c",
        str(tmp_path / "ctl"),
    ]
    with running("syslog-ng", "-F", "--no-caps", *paths):
        found = relayed(udp, [(new if b">1 " in datagram else old, datagram) for datagram in GIVEN], RELAYED)
    assert {str(each.form) for each in found} == {"rfc5424" if form == "syslog" else "rfc3164"}


@pytest.mark.needs("uwsgi-rsyslog")
@pytest.mark.parametrize(("name", "host", "application"), [("", None, "uwsgi"), (",shop", "10.0.0.7", "shop")])
def test_uwsgi(name, host, application, udp, tmp_path):
    """uWSGI's own logger, with and without a name: what the application prints, and the line of its request, whole."""
    port, (_, to) = free_port(socket.SOCK_STREAM), where(udp)
    app = tmp_path / "app.py"
    app.write_text(
        "def application(environ, start):\n    print('hello from: the app', flush=True)\n    start('200 OK', [])\n    return [b'x']\n"
    )
    command = ["uwsgi", "--plugins", "python3,rsyslog", "--http-socket", f"127.0.0.1:{port}", "--wsgi-file", str(app)]
    found = []

    def answered():
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=BOUND).read()
        except OSError:
            return None

    with running(*command, "--need-app", "--die-on-term", "--logger", f"rsyslog:127.0.0.1:{to}{name}"):
        until(answered)
        until(lambda: found.extend(records(udp, 0)) or any("GET / =>" in each.message for each in found))
    assert "hello from: the app" in [each.message for each in found]
    assert {each.application for each in found} == {application}
    assert {each.host for each in found} == {host or socket.gethostname()}
