"""Real clients of StatsD and DogStatsD, unmodified, over real sockets: what is read is what they were told."""

import asyncio
import gc
import socket

import aiodogstatsd
import markus
import pytest
from datadog.dogstatsd.base import DogStatsd
from statsd import StatsClient

from atmost.ingest import statsd
from atmost.ingest.statsd import StatsdAlert, StatsdDatagram, StatsdGauges, StatsdKind, StatsdPriority, StatsdStatus
from tests.real import until, waiting

COUNTER, GAUGE, TIMER, HISTOGRAM, DISTRIBUTION, SET = StatsdKind


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Nothing set for DogStatsD's client."""
    for name in ("DD_AGENT_HOST", "DD_DOGSTATSD_URL", "DD_ENV", "DD_SERVICE", "DD_VERSION", "DD_ENTITY_ID"):
        monkeypatch.delenv(name, raising=False)


def dogstatsd(sock, **options):
    """The client of `datadog` for this socket."""
    where = sock.getsockname()
    address = {"socket_path": where} if isinstance(where, str) else {"host": where[0], "port": where[1]}
    return DogStatsd(**address, **{"disable_telemetry": True} | options)


def collect(sock, enough, gauges=StatsdGauges.DOGSTATSD):
    """All that was read until `enough` says so; nothing of it refused."""
    together = StatsdDatagram()

    def look():
        for datagram in waiting(sock):
            read = statsd.parse(datagram, gauges=gauges)
            assert read.rejected == []
            assert read.notes == {}
            together.metrics += read.metrics
            together.telemetry += read.telemetry
            together.events += read.events
            together.checks += read.checks
        return enough(together)

    until(look)
    return together


def told(client):
    """Tells a DogStatsD client one of each, and returns what must be read."""
    tags = ["env:prod", "url:http://x:80/", "canary"]
    read = (("env", "prod"), ("url", "http://x:80/"), ("canary", ""))
    client.increment("views")
    client.increment("views", 5, tags=tags)
    client.decrement("stock", 2, tags=tags)
    client.gauge("temperature", -3.5, tags=tags)
    client.histogram("size", 12.25, tags=tags)
    client.distribution("latency", 1e-05, tags=tags)
    client.timing("load", 320, tags=tags)
    client.set("users", "ann@example.org", tags=tags)
    client.count_with_timestamp("late", 4, 1_700_000_000, tags=tags)
    client.gauge("größe", 1, tags=["straße:ä"])
    return [
        ("views", COUNTER, (1,), (), None),
        ("views", COUNTER, (5,), read, None),
        ("stock", COUNTER, (-2,), read, None),
        ("temperature", GAUGE, (-3.5,), read, None),
        ("size", HISTOGRAM, (12.25,), read, None),
        ("latency", DISTRIBUTION, (1e-05,), read, None),
        ("load", TIMER, (320,), read, None),
        ("users", SET, ("ann@example.org",), read, None),
        ("late", COUNTER, (4,), read, 1_700_000_000),
        ("größe", GAUGE, (1,), (("straße", "ä"),), None),
    ]


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("buffered", [False, True])
@pytest.mark.parametrize("where", ["udp", "unix"])
def test_datadog(where, buffered, background, request):
    """Every type, tags and timestamps, one by one and packed, over UDP and a Unix socket, from a thread of the client or not."""
    sock = request.getfixturevalue(where)
    client = dogstatsd(sock, disable_buffering=not buffered, disable_background_sender=not background)
    expected = told(client)
    client.flush()
    read = collect(sock, lambda read: len(read.metrics) >= len(expected))
    found = [(one.name, one.kind, one.values, one.tags, one.timestamp) for one in read.metrics]
    # Buffered, the client packs lines with a time apart from those without: the order says nothing.
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert not any(one.relative for one in read.metrics)
    client.stop()
    client.close_socket()


def test_datadog_adds_up_beforehand(udp):
    """With its aggregation on, the client sends totals of counters and last values of gauges."""
    client = dogstatsd(udp, disable_aggregation=False, flush_interval=0, constant_tags=["app:shop"])
    for value in range(10):
        client.increment("views", value)
        client.gauge("depth", value, tags=["queue:a"])
        client.set("users", f"u{value % 3}")
    client.flush_aggregated_metrics()
    client.flush()
    read = collect(udp, lambda read: len(read.metrics) >= 5)
    found = {one.name: one for one in read.metrics}
    assert found["views"].total == 45
    assert (found["depth"].values, found["depth"].tags) == ((9,), (("queue", "a"), ("app", "shop")))
    assert {one.values for one in read.metrics if one.kind is SET} == {("u0",), ("u1",), ("u2",)}
    client.stop()
    client.close_socket()


def test_datadog_samples(udp):
    """A sampled counter comes with its rate, and estimates what the client was told."""
    client = dogstatsd(udp, container_id="in-83c0a99c", cardinality="low")
    for _ in range(400):
        client.increment("views", sample_rate=0.5)
    client.gauge("last", 1)
    read = collect(udp, lambda read: any(one.name == "last" for one in read.metrics))
    views = [one for one in read.metrics if one.name == "views"]
    assert {(one.rate, one.total, one.weight) for one in views} == {(0.5, 2, 2)}
    assert 200 < sum(one.total for one in views) < 600  # ten standard deviations
    assert {(one.origin.container, one.origin.cardinality) for one in read.metrics} == {("in-83c0a99c", "low")}
    client.close_socket()


def test_datadog_events_and_checks(udp):
    """Events and service checks with all that they can carry, line breaks included."""
    client = dogstatsd(udp)
    client.event(
        "Größe | title", "first\nsecond|third", alert_type="error", aggregation_key="key", source_type_name="nagios",
        date_happened=1_700_000_000, priority="low", tags=["k:v", "flag"], hostname="web-3",
    )  # fmt: skip
    client.event("plain", "")
    client.service_check(
        "db.up", DogStatsd.CRITICAL, tags=["k:v"], timestamp=1_700_000_000, hostname="web-3", message="gone\nm: away"
    )
    read = collect(udp, lambda read: read.checks)
    full, plain = read.events
    assert (full.title, full.text, full.timestamp, full.host) == (
        "Größe | title", "first\nsecond|third", 1_700_000_000, "web-3",
    )  # fmt: skip
    assert (full.key, full.source, full.priority, full.alert) == (
        "key",
        "nagios",
        StatsdPriority.LOW,
        StatsdAlert.ERROR,
    )
    assert full.tags == (("k", "v"), ("flag", ""))
    assert (plain.title, plain.text, plain.alert) == ("plain", "", StatsdAlert.INFO)
    [check] = read.checks
    assert (check.name, check.status, check.timestamp, check.host) == (
        "db.up", StatsdStatus.CRITICAL, 1_700_000_000, "web-3",
    )  # fmt: skip
    assert (check.message, check.tags) == ("gone\nm: away", (("k", "v"),))
    client.close_socket()


def test_datadog_tells_what_it_dropped(tmp_path):
    """What a client could not send while nobody was there stands in its telemetry, and is read apart from the metrics."""
    path = tmp_path / "dsd.sock"
    client = DogStatsd(socket_path=str(path), telemetry_min_flush_interval=0)
    for _ in range(3):
        client.increment("views")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        client.increment("views")
        read = collect(sock, lambda read: read.telemetry)
        dropped = read.dropped_by_client
        assert dropped["packets_dropped"] >= 3
        assert dropped["packets_dropped_writer"] == dropped["packets_dropped"]
        assert dropped["bytes_dropped"] >= 3 * len("views:1|c")
        assert [one.name for one in read.metrics] == ["views"]
        client.close_socket()


def test_statsd(udp):
    """The plain client: every type, a pipeline, and gauges set and changed."""
    host, port = udp.getsockname()
    client = StatsClient(host, port, prefix="shop")
    client.incr("views", 3)
    client.decr("stock")
    client.timing("load", 320)
    client.gauge("depth", 70)
    client.gauge("depth", 4, delta=True)
    client.gauge("depth", -6, delta=True)
    client.gauge("balance", -5)
    client.set("users", "ann")
    with client.pipeline() as pipe:
        for number in range(100):
            pipe.incr("packed", number)
    read = collect(udp, lambda read: len(read.metrics) >= 109, StatsdGauges.STATSD)
    packed = [one for one in read.metrics if one.name == "shop.packed"]
    assert sum(one.total for one in packed) == 4950
    assert [(one.name, one.kind, one.values, one.relative) for one in read.metrics[:-100]] == [
        ("shop.views", COUNTER, (3,), False),
        ("shop.stock", COUNTER, (-1,), False),
        ("shop.load", TIMER, (320,), False),
        ("shop.depth", GAUGE, (70,), False),
        ("shop.depth", GAUGE, (4,), True),
        ("shop.depth", GAUGE, (-6,), True),
        # How this client sets a negative value: to 0, and then a change.
        ("shop.balance", GAUGE, (0,), False),
        ("shop.balance", GAUGE, (-5,), True),
        ("shop.users", SET, ("ann",), False),
    ]
    client.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it has no way to close its sockets
def test_markus(udp):
    """Markus over both of its clients: names, tags, and a rate of every type."""
    host, port = udp.getsockname()
    options = {"statsd_host": host, "statsd_port": port}
    for backend, gauges, tags in (
        ("markus.backends.datadog.DatadogMetrics", StatsdGauges.DOGSTATSD, (("route", "home"),)),
        ("markus.backends.statsd.StatsdMetrics", StatsdGauges.STATSD, ()),
    ):
        markus.configure([{"class": backend, "options": options}])
        try:
            metrics = markus.get_metrics("shop")
            metrics.incr("views", 3, tags=["route:home"])
            metrics.gauge("depth", 70, tags=["route:home"])
            metrics.timing("load", 320, tags=["route:home"])
            metrics.histogram("size", 12.5, tags=["route:home"])
        finally:
            markus.configure([])
        read = collect(udp, lambda read: len(read.metrics) >= 4, gauges)
        timer = HISTOGRAM if tags else TIMER  # its plain client has no histograms
        assert [(one.name, one.kind, one.values, one.tags) for one in read.metrics] == [
            ("shop.views", COUNTER, (3,), tags),
            ("shop.depth", GAUGE, (70,), tags),
            ("shop.load", TIMER, (320,), tags),
            ("shop.size", timer, (12.5,), tags),
        ]
        gc.collect()  # its clients close their sockets so


def test_aiodogstatsd(udp):
    """The client of asyncio: every type, tags of its own and of the call, and a hundred in a row."""
    host, port = udp.getsockname()

    async def tell():
        async with aiodogstatsd.Client(host=host, port=port, namespace="shop", constant_tags={"env": "prod"}) as client:
            client.increment("views", value=3, tags={"route": "home"})
            client.decrement("stock")
            client.gauge("depth", value=-7)
            client.histogram("size", value=12.5)
            client.distribution("latency", value=0.25)
            client.timing("load", value=320)
            for _ in range(100):
                client.increment("many")

    asyncio.run(tell())
    read = collect(udp, lambda read: len(read.metrics) >= 106)
    env = (("env", "prod"),)
    assert [(one.name, one.kind, one.values, one.tags) for one in read.metrics[:6]] == [
        ("shop.views", COUNTER, (3,), (*env, ("route", "home"))),
        ("shop.stock", COUNTER, (-1,), env),
        ("shop.depth", GAUGE, (-7,), env),
        ("shop.size", HISTOGRAM, (12.5,), env),
        ("shop.latency", DISTRIBUTION, (0.25,), env),
        ("shop.load", TIMER, (320,), env),
    ]
    assert sum(one.total for one in read.metrics if one.name == "shop.many") == 100
