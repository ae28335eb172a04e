"""The format of snapshots is the documented one: what a registry sends, and what a reader takes from it, byte for byte."""

import re
from pathlib import Path

import pytest

from atmost import MetricsReader
from atmost.metrics import instruments, wire
from atmost.metrics.buckets import Buckets, default_bounds
from atmost.metrics.instruments import Counter, Gauge, Histogram
from atmost.metrics.registry import Registry
from atmost.metrics.wire import GaugeMode, read_part
from tests.metrics.scene import deliver

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


def vector() -> bytes:
    """The documented bytes."""
    [block] = re.findall(r"### Vector: snapshot\n.*?```hex\n(.*?)```", PAGE, re.DOTALL)
    return bytes.fromhex(block)


def decoded():
    """The payload as a receiver gives it."""
    import msgspec

    return msgspec.msgpack.decode(vector())


def test_a_registry_sends_the_documented_bytes(monkeypatch):
    """And the documented number of them."""
    monkeypatch.setattr(instruments, "monotonic", lambda: 11.5)
    registry = Registry("checkout-1", bytes.fromhex("0123456789abcdef"), 10.0, interval=1.0, max_series=10)
    requests = registry.declare(Counter, "counter", "http_requests_total", "Requests served", ("route",), "")
    requests.labels("/cart").inc(3)
    registry.declare(Gauge, "gauge", "queue_depth", "", (), "", GaugeMode.SUM).set(17)
    seconds = registry.declare(Histogram, "histogram", "request_seconds", "", (), "seconds", (0.1, 1.0))
    for value in (0, 0.05, 1.0, 1.0, 2.0, -1.5):
        seconds.observe(value)
    sent = []
    registry.snapshot(12.0, lambda part: sent.append(part) or 0, final=True)
    assert [part.hex() for part in sent] == [vector().hex()]
    assert len(vector()) == int(re.search(r"(\d+) bytes\.\n\n```hex\n9b", PAGE)[1])


def test_a_reader_takes_the_documented_values_from_them():
    """Total, value, and the buckets in the forms of both systems."""
    reader = MetricsReader(now=0.0)
    deliver(reader, [("metrics.snapshot", decoded())], 5.0)
    assert reader.total("http_requests_total", {"route": "/cart"}) == 3
    assert reader.series("queue_depth") == [("checkout-1", {}, 17)]
    assert str(reader.metrics["queue_depth"].mode) == "sum"
    assert reader.window("queue_depth", 5, 5.0).last is None  # nobody is there any more to be added up
    assert reader.metrics["request_seconds"].bounds == (0.1, 1.0)
    buckets: Buckets = reader.window("request_seconds", 5, 5.0).buckets
    theirs, native = buckets.to_opentelemetry(), buckets.to_prometheus()
    assert (theirs.scale, theirs.positive.offset, theirs.negative) == (5, -139, (18, [1]))
    assert theirs.positive.counts == [1, *[0] * 137, 2, *[0] * 31, 1]
    assert native.positive == ([(-138, 1), (137, 1), (31, 1)], [1, 1, -1])
    assert native.negative == ([(19, 1)], [1])
    assert (native.zero_count, native.count, native.sum) == (1, 6, pytest.approx(2.55))
    assert buckets.up_to((0.1, 1.0)) == [3, 5]
    assert str(reader.sources(5.0)[0].tail) == "complete"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ((10, 1, 6), "mean"),
        ((10, 1, 6), 1),
        ((10, 2, 6), [1.0, 0.1]),
        ((10, 2, 6), [float("inf")]),
        ((10, 2, 6), [float(number) for number in range(33)]),
        ((10, 2, 5, 0, 4), 21),
        ((10, 2, 5, 0, 4), -10),
        ((0,), 2),
        ((5,), 0),
        ((4,), 1),
        ((6,), 1),
    ],
)
def test_what_the_page_does_not_allow_is_malformed(place, value):
    """A mode that does not exist, bounds that do not ascend, scales beyond the range."""
    payload = inner = decoded()
    assert read_part(payload) is not None
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    assert read_part(payload) is None


def test_the_page_states_the_bounds():
    """As the code has them."""
    for number in (wire.MAX_NAME, wire.MAX_DECLARATION, wire.MAX_LABEL_VALUES, wire.MAX_HELP, wire.MAX_UNIT):
        assert re.search(rf"\b{number}\b", PAGE.partition("### On the wire")[2])
    bounds = default_bounds("x_seconds")
    assert {0.075, 0.75, 7.5} < set(bounds)
    assert (bounds[0], bounds[-1]) == (0.0001, 100.0)
    assert default_bounds("x_bytes") == tuple(64.0 * 4**power for power in range(15))
    assert default_bounds("x_milliseconds") == tuple(round(bound * 1000, 9) for bound in bounds)
    assert (default_bounds("x")[0], default_bounds("x")[-1], len(default_bounds("x"))) == (0.001, 1e6, 28)
