"""A whole collector with real senders of every protocol: what arrives is seen, what does not is told, ports are let go."""

import errno
import gzip
import json
import logging
import logging.handlers
import os
import socket
import stat
import threading
import time

import pytest
from datadog.dogstatsd import DogStatsd

import atmost
from atmost import BindError, ConfigError
from atmost.collector.daemon import CollectorDaemon, Notifier
from atmost.collector.listening import GelfInput
from atmost.collector.options import CollectorOptions, Place
from atmost.collector.state.listeners import ListenerStats
from atmost.collector.state.state import CollectorState
from atmost.collector.state.timeline import Timeline
from tests.collector.daemon.scene import FREE, QUIET, collecting
from tests.real import until


def test_every_protocol_at_once():
    """Unmodified clients, and our own: values, records, heartbeats, and the account."""
    with collecting(**FREE) as collector:
        client = DogStatsd("127.0.0.1", collector.port("statsd"), disable_telemetry=True, disable_buffering=True)
        client.increment("bar.hits", 3, tags=["route:home"])
        client.gauge("bar.temperature", 21.5)
        client.close_socket()
        syslog = logging.handlers.SysLogHandler(("127.0.0.1", collector.port("syslog")))
        syslog.emit(logging.makeLogRecord({"msg": "from syslog", "levelname": "ERROR"}))
        syslog.close()
        gelf = {"version": "1.1", "host": "web-1", "short_message": "from gelf", "level": 6}
        collector.send("gelf", gzip.compress(json.dumps(gelf).encode()))
        with (
            atmost.Sender(collector.places["atmost"], name="shop") as sender,
            atmost.Metrics(sender, interval=0.05) as metrics,
            atmost.Heartbeat(sender, "worker-7", interval=0.1),
        ):
            metrics.counter("orders_total", "Orders").inc(7)
            logger = logging.Logger("shop.cart")  # noqa: LOG001  of this test alone
            handler = atmost.LogHandler(sender)
            logger.addHandler(handler)
            logger.warning("from ours", extra={"user": 7})
            until(lambda: [row for row in collector.json("/api/v1/heartbeats")["heartbeats"] if row["state"] == "up"])
            found = until(lambda: collector.json("/api/v1/series?match=orders")["series"])
            assert [(each["last"], each["sender"], each["completeness"]) for each in found] == [(7.0, "shop", 1.0)]
            records = until(lambda: (got := collector.json("/api/v1/logs")["records"]) and len(got) >= 3 and got)
            logger.removeHandler(handler)
            handler.close()
        assert {(each["source"], each["message"], each["level"]) for each in records} == {
            ("syslog", "from syslog", "ERROR"),
            ("gelf", "from gelf", "INFO"),
            ("atmost", "from ours", "WARNING"),
        }
        text = collector.get("/metrics")[1].decode()
        assert 'bar_hits_total{route="home"} 3.0' in text
        assert "bar_temperature 21.5" in text
        assert 'orders_total{sender="shop"} 7.0' in text
        until(lambda: [row for row in collector.json("/api/v1/senders")["senders"] if row["tail"] == "closed"])
        assert [row["state"] for row in collector.json("/api/v1/heartbeats")["heartbeats"]] == ["stopped"]
        [ledger] = collector.json("/api/v1/ledger")["receivers"]
        assert ledger["balanced"]
    assert collector.daemon.ledger().balanced()


@pytest.mark.parametrize(("mode", "found"), [("0660", 0o660), ("606", 0o606), ("", 0o755)])
def test_unix_sockets_have_the_permissions_that_were_asked_for(tmp_path, mode, found):
    """All of them, ours and foreign ones, whatever the umask; without the option the umask's."""
    names = ("ours", "second", "statsd", "syslog")
    ours, second, theirs, syslog = (f"{tmp_path}/{name}.sock" for name in names)
    before = os.umask(0o022)
    try:
        options = {"bind": (f"unix://{ours}", f"unix://{second}"), "statsd": (theirs,), "syslog": (f"unix://{syslog}",)}
        with collecting(unix_mode=mode, **options):
            assert {stat.S_IMODE((tmp_path / f"{name}.sock").stat().st_mode) for name in names} == {found}
    finally:
        os.umask(before)


def test_a_mode_that_cannot_be_set_lets_go_of_every_address(tmp_path, monkeypatch):
    """It is no collector that everybody, or nobody, can write to."""

    def refuse(_path, _mode):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("pathlib.Path.chmod", refuse)
    options = CollectorOptions(**QUIET | {"bind": (f"unix://{tmp_path}/a.sock",), "unix_mode": "0660"})
    with pytest.raises(BindError, match="unix_mode 0660 cannot be set: Operation not permitted"):
        CollectorDaemon(options, environment={})
    assert list(tmp_path.iterdir()) == []


def test_what_a_signed_gauge_means_can_be_said():
    """For all listeners, which a reload changes, or for one; what is doubtful is counted, and said once."""
    places = ("127.0.0.1:0", "127.0.0.1:0?gauges=dogstatsd")
    with collecting(statsd=places) as collector:
        state = collector.daemon.state
        plain, own = state.listeners
        for told, stats, datagram, value in (
            ("statsd", plain, b"bar:20|g", 20.0),
            ("statsd", plain, b"bar:-5|g|#a:b", -5.0),
            ("statsd", plain, b"bar:+10|g|#a:b", 5.0),
            ("statsd", own, b"bar:-5|g|#a:b", -5.0),
            ("dogstatsd", plain, b"bar:-4|g|#a:b", -4.0),
            ("dogstatsd", own, b"bar:+3|g|#a:b", 3.0),
        ):
            options = CollectorOptions(**QUIET | {"statsd": places, "statsd_gauges": told})
            assert collector.daemon.reload(options) == []
            taken = stats.accepted
            collector.send(stats, datagram)
            until(lambda taken=taken, stats=stats: stats.accepted > taken)
            assert list(state.statsd.series.values())[-1].value == value, (told, datagram)
            warned = [text for about, text in state.warnings.items() if "ambiguous" in about]
            assert len(warned) == (told == "statsd" and b"#" in datagram), (told, datagram)
            assert all(plain.address in text and "statsd_gauges" in text for text in warned)
        assert (plain.notes, own.notes) == ({"ambiguous_gauge": 2}, {})


def test_names_are_mapped_by_the_rules_of_a_file(tmp_path):
    """As statsd_exporter has them; a reload takes new ones, and one that cannot be followed changes nothing."""
    file = tmp_path / "mapping.yml"
    file.write_text(
        "mappings: [{match: 'req.*.time', name: 'request_duration', help: 'Of requests', labels: {route: '$1'}}]"
    )
    given = {"statsd": ("127.0.0.1:0",), "statsd_mapping": str(file), "http": "127.0.0.1:0"}
    with collecting(**given) as collector:
        collector.send("statsd", b"req.home.time:250|ms\nreq.home:1|c")
        collector.took("statsd", 1)
        shown = collector.get("/metrics")[1].decode()
        assert 'request_duration_sum{route="home"} 0.25' in shown
        assert "# HELP request_duration Of requests" in shown
        assert "req_home_total 1.0" in shown
        file.write_text("mappings: [{match: 'a', name: 'b', ttl: 5m}]")
        with pytest.raises(ConfigError, match=r"statsd_mapping.*`ttl`"):
            collector.daemon.reload(collector.daemon.options)
        file.write_text("mappings: [{match: '.', match_type: regex, action: drop}]")
        assert collector.daemon.reload(collector.daemon.options) == []
        collector.send("statsd", b"other:1|c")
        (stats,) = collector.daemon.state.listeners
        until(lambda: stats.notes["dropped_by_rule"])
        assert len(collector.daemon.state.statsd.series) == 2


def test_places_of_one_protocol_share_nothing():
    """What is held and followed at one place is no business of another's: chunks, numbers and samples."""
    with collecting(gelf=("127.0.0.1:0",) * 2, syslog=("127.0.0.1:0",) * 2, http="127.0.0.1:0") as collector:
        state = collector.daemon.state
        first, second = (each for each in state.listeners if each.kind == "gelf")
        half = b"\x1e\x0f12345678"
        collector.send(first, half + b'\x00\x02{"short_message":')
        collector.send(second, half + b'\x01\x02"hi"}', b"nonsense")
        until(lambda: second.rejected)
        collector.send(first, half + b'\x01\x02"ho"}')
        until(lambda: first.accepted)
        assert (second.accepted, [each.message for each in state.logs.entries()]) == (0, ["ho"])
        assert [each["address"] for each in collector.json("/api/v1/rejected")["rejected"]] == [second.address]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for stats, number in zip((each for each in state.listeners if each.kind == "syslog"), (1, 5), strict=True):
                line = f'<13>1 - web app - - [meta sequenceId="{number}"] x'.encode()
                sock.sendto(line, ("127.0.0.1", collector.port(stats)))
                until(lambda stats=stats: stats.accepted)
        assert [type(each).__name__ for each in state.logs.entries()] == ["Record"] * 3


def test_an_incomplete_message_is_counted_where_it_came():
    """At the listener that its chunks came to, when their time is over."""
    state = CollectorState(CollectorOptions(), 0.0, 0.0)
    stats = [ListenerStats("gelf", f"udp://127.0.0.1:{port}") for port in (1, 2)]
    inputs = [GelfInput(state, Place()) for _ in stats]
    inputs[0].decode(b"\x1e\x0f12345678\x00\x02{", ("10.0.0.1", 9), stats[0], 100.0)()
    for each, account in zip(inputs, stats, strict=True):
        if (due := each.tick(account, 106.0)) is not None:
            due()
    assert [account.rejected for account in stats] == [{"incomplete": 1}, {}]


def test_a_listener_of_devices_without_hosts_can_be_said():
    """An ambiguous word is the host at one place, and text at the other."""
    with collecting(syslog=("127.0.0.1:0", "127.0.0.1:0?host=peer")) as collector:
        plain, own = collector.daemon.state.listeners
        for stats in (plain, own):
            collector.send(stats, b"<13>Oct 11 22:14:15 disk is full")
            until(lambda stats=stats: stats.accepted)
        found = [(each.host, each.message) for each in collector.daemon.state.logs.entries()]
        assert found == [("disk", "is full"), ("127.0.0.1", "disk is full")]


def test_bad_input_costs_nothing_good():
    """Every protocol's worst, between good lines: counted by reason, with samples, and everything good is there."""
    bomb = gzip.compress(b'{"short_message":"' + b"a" * (64 << 20) + b'"}')
    chunks = [b"\x1e\x0f" + number.to_bytes(8, "big") + b"\x00\x80x" for number in range(2000)]
    pickled = logging.handlers.DatagramHandler("127.0.0.1", 1).makePickle(logging.makeLogRecord({"msg": "x"}))
    with collecting(**FREE) as collector:
        state = collector.daemon.state
        for bad in (b"\xff\xfe:1|c", b"nonsense", b"a:x|c", b"\x1b[2J:1|c", b"<script>:1|g|@x"):
            collector.send("statsd", b"good:1|c\n" + bad + b"\ngood:1|c")
        collector.send("gelf", bomb, pickled, b"\x1f\x8bgarbage", b"{", *chunks)
        collector.send("syslog", pickled, b"", b"<999>\xff\xff", b"<13>1 nonsense", b"<13>good \x1b[2J<b>")
        collector.took("statsd", 5)
        collector.took("gelf", 2004)
        collector.took("syslog", 5)
        assert state.statsd.series["good", "counter", ()].value == 10.0
        rejected = {each["kind"]: each["rejected"] for each in collector.json("/api/v1/overview")["listeners"]}
        assert rejected["gelf"]["pickle_refused"] == rejected["syslog"]["pickle_refused"] == 1
        assert rejected["gelf"]["too_large"] == 1
        assert rejected["statsd"]["invalid_utf8"] == rejected["statsd"]["malformed_value"] == 1
        samples = collector.json("/api/v1/rejected")["rejected"]
        assert samples
        assert all(sample["sample"].isprintable() and len(sample["sample"]) <= 200 for sample in samples)
        records = collector.json("/api/v1/logs?text=good")["records"]
        assert [each["message"] for each in records if each["type"] == "record"] == ["good \x1b[2J<b>"]
        assert any("LogHandler" in warning for warning in collector.json("/api/v1/overview")["warnings"])
        assert collector.daemon.defects == 0


def test_several_addresses_of_one_kind(tmp_path):
    """UDP and Unix beside each other; the files go with the collector."""
    ours, theirs = f"unix://{tmp_path}/ours.sock", f"{tmp_path}/statsd.sock"
    with collecting(bind=(ours, "udp://127.0.0.1:0"), statsd=("127.0.0.1:0", theirs)) as collector:
        assert [kind for kind, _ in collector.daemon.addresses] == ["atmost", "atmost", "statsd", "statsd"]
        with atmost.Sender(ours, name="a") as a, atmost.Sender(collector.daemon.addresses[1][1], name="b") as b:
            a.send("metrics.x", 1.0)
            b.send("metrics.y", 1.0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"z:1|c", theirs)
        state = collector.daemon.state
        until(lambda: state.metrics.stats().series == 2 and state.statsd.series)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["statsd", "syslog", "gelf", "http"])
def test_a_port_that_is_taken_names_the_option(kind):
    """With the ways out; what was opened before is let go."""
    with collecting(statsd=("127.0.0.1:0",)) as other, socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        taken = tcp.getsockname()[1] if kind == "http" else other.port("statsd")
        place = f"127.0.0.1:{taken}"
        options = QUIET | {"bind": ("udp://127.0.0.1:0",), kind: place if kind == "http" else (place,)}
        with pytest.raises(BindError) as told:
            CollectorDaemon(CollectorOptions(**options), environment={})
        assert f":{taken}" in str(told.value)
        assert "it is in use" in str(told.value)
        assert f"--{kind} HOST:PORT" in str(told.value)
        assert f"--{kind} off" in str(told.value)


def test_other_hosts_need_a_token():
    """A page that anybody can open is a mistake, and it says how to make one."""
    with pytest.raises(ConfigError, match=r"set a token.*--token-file"):
        CollectorDaemon(CollectorOptions(**QUIET | {"http": "0.0.0.0:0"}), environment={})
    with collecting(http="0.0.0.0:0", token="0123456789abcdef") as collector:
        assert collector.get("/api/v1/overview")[0] == 401
        assert collector.get("/api/v1/overview", Authorization="Bearer 0123456789abcdef")[0] == 200


def test_reload_changes_what_may_change_and_names_the_rest():
    """Token, names and limits at once; what needs a restart is said; a mistake changes nothing."""
    with collecting(http="127.0.0.1:0") as collector:
        daemon = collector.daemon
        changed = CollectorOptions(
            **QUIET | {"http": "127.0.0.1:0", "token": "0123456789abcdef", "max_log_records": 5, "max_series": 9}
        )
        assert daemon.reload(changed) == ["max_series"]
        assert collector.get("/api/v1/overview")[0] == 401
        assert daemon.state.logs.max_records == 5
        assert daemon.state.options.max_series == CollectorOptions().max_series
        assert daemon.reload(changed) == ["max_series"]
        with pytest.raises(ConfigError):
            daemon.reload(CollectorOptions(**QUIET | {"http": "127.0.0.1:0", "token": "short"}))
        assert collector.get("/api/v1/overview", Authorization="Bearer 0123456789abcdef")[0] == 200


def test_keys_are_read_again(tmp_path):
    """A sender with the new key is taken after the reload."""
    from atmost.core.keys import KeyMode, new_key

    keys = [new_key(bytes([number]) * 32, number, KeyMode.SIGNED).text() for number in (1, 2)]
    path = tmp_path / "keys"
    path.write_text(keys[0])
    path.chmod(0o600)
    with collecting(bind=("udp://127.0.0.1:0",), key_file=str(path)) as collector:
        daemon = collector.daemon
        path.write_text("\n".join(keys))
        assert daemon.reload(daemon.options) == []
        with atmost.Sender(daemon.url, key=keys[1], linger=0) as sender:
            sender.send("metrics.x", 1.0)
            until(lambda: daemon.state.metrics.stats().series == 1)
        with pytest.raises(ConfigError, match="cannot be removed"):
            daemon.reload(CollectorOptions(**QUIET | {"bind": ("udp://127.0.0.1:0",)}))


def test_what_had_arrived_is_in_the_account():
    """The drain takes it in; late comers are not waited for."""
    with collecting(bind=("udp://127.0.0.1:0",), statsd=("127.0.0.1:0",)) as collector:
        with atmost.Sender(collector.daemon.url) as sender:
            for number in range(1000):
                sender.send("a.b", number)
        collector.send("statsd", *[b"a:1|c"] * 100)
    assert collector.daemon.ledger().delivered == 1000
    [stats] = collector.daemon.state.listeners
    assert (stats.received, stats.accepted) == (100, 100)
    collector.daemon.stop()


def test_systemd_is_told(tmp_path):
    """Ready when it is, fed while it is well, and told of the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        environment = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "200000",
            "WATCHDOG_PID": str(os.getpid()),
        }
        daemon = CollectorDaemon(CollectorOptions(**QUIET | {"statsd": ("127.0.0.1:0",)}), environment)
        with daemon:
            assert manager.recv(1000).startswith(b"READY=1\n")
            daemon.supervise(0.3, threading.Event())
            assert manager.recv(1000) == b"WATCHDOG=1"
        said = b""
        while said != b"STOPPING=1":
            said = manager.recv(1000)


def test_without_systemd_nothing_is_said():
    """Nor with an address where nobody listens, or a watchdog for another process."""
    Notifier({}).say("READY=1")
    Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"}).say("READY=1")
    Notifier({"NOTIFY_SOCKET": "@nobody-there", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}).alive(1.0)


def test_the_watchdog_is_not_fed_while_a_thread_hangs(tmp_path, monkeypatch):
    """Nor is it ready: a service manager and a load balancer must see it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000"}
        daemon = CollectorDaemon(CollectorOptions(**QUIET | {"http": "127.0.0.1:0"}), environment)
        with daemon:
            manager.recv(1000)
            monkeypatch.setattr(type(daemon), "healthy", property(lambda self: False))
            daemon.supervise(0.05, threading.Event())
            with pytest.raises(BlockingIOError):
                manager.recv(1000)
            daemon._receiving.stop()
            daemon._receiving.beat -= 1000
            assert daemon.ready()["receiving"] is False


def test_a_clock_that_was_set_back_is_told():
    """Charts are ahead of it until it has caught up."""
    with collecting(statsd=("127.0.0.1:0",)) as collector:
        daemon = collector.daemon
        daemon._timeline = Timeline(time.monotonic(), time.time() + 100)
        daemon.supervise(0.0, threading.Event())
        assert "charts are 100 s ahead" in daemon.state.warnings["clock"]
        daemon._timeline = Timeline(time.monotonic(), time.time())
        daemon.supervise(0.0, threading.Event())
        assert "clock" not in daemon.state.warnings


def test_too_few_file_descriptors_are_warned_of(monkeypatch):
    """What the system grants is asked for; where that is not enough, the page and the log say what to raise."""
    resource = pytest.importorskip("resource")
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 128))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    with collecting(bind=FREE["bind"]) as collector:
        assert asked == [(128, 128)]
        assert "only 128 file descriptors" in collector.daemon.state.warnings["descriptors"]
