"""The list of series: what is known of each, found by any of its texts."""

from atmost.collector.state.listing import listed
from atmost.collector.state.series import snapshot
from tests.collector.scene import T0, feed_statsd, make_state
from tests.collector.state.test_series import Registry


def test_the_list_says_what_is_known_of_each():
    """By name, with the last value, and how complete the last minute was; unknown for StatsD."""
    state = make_state()
    registry = Registry(state)
    requests = registry.metrics.counter("requests_total", "Requests served", ("route",))
    requests.labels("/").inc(3)
    for second in range(4):
        registry.turn(T0 + second, lost=second == 1)
    feed_statsd(state, "bar.temperature:21|g|#room:a")
    state.tick(T0 + 5, 5.0)
    found = listed(snapshot(state), "", 10, T0 + 5, state.knows_loss)
    rows, left = found.series, found.truncated
    assert [(row.name, row.labels, row.sender, row.source, row.kind, row.help, row.last) for row in rows] == [
        ("bar.temperature", {"room": "a"}, "", "statsd", "gauge", "", 21.0),
        ("requests_total", {"route": "/"}, "web-1", "atmost", "counter", "Requests served", 3.0),
    ]
    assert [row.completeness for row in rows] == [None, 0.75]
    assert left == 0
    assert listed(snapshot(state), "", 1, T0 + 5, state.knows_loss).truncated == 1
    for text, count in (("ROOM=A", 1), ("web-1", 1), ("requests", 1), ("a", 2), ("zzz", 0)):
        assert len(listed(snapshot(state), text, 10, T0 + 5, state.knows_loss).series) == count
