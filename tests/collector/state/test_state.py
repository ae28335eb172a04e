"""The state as a whole: events find their use, limits are told, and reload changes what may change."""

import pytest

from atmost.collector.options import CollectorOptions
from atmost.collector.state.listeners import ListenerStats
from atmost.collector.state.state import CollectorState
from atmost.core.accounts import Ledger
from atmost.core.events import ClockAlarm, ClockTrouble
from atmost.ingest import statsd
from tests.collector.scene import T0, feed_statsd, make_state, message, session
from tests.collector.state.test_series import Registry


def limits(state):
    """Used and hit, by name."""
    return {limit.name: (limit.used, limit.hit) for limit in state.limits()}


def test_messages_find_their_use_by_subject():
    """Metrics, logs and heartbeats; others are in the account only."""
    state = make_state()
    beat = {"number": 0, "interval": 1.0}
    subjects = {"metrics.cpu": 0.5, "logs.app": {"message": "m"}, "heartbeats.w": beat, "orders.new": 1}
    for subject, payload in subjects.items():
        state.feed(message(subject, payload), T0, 0.0)
    assert (state.metrics.stats().series, len(state.logs), len(state.heartbeats)) == (1, 1, 1)


def test_a_clock_alarm_reaches_the_sender_table():
    """So that the operator sees whose clock it is."""
    state = make_state()
    state.feed(ClockAlarm(ClockTrouble.UNSYNCHRONISED, 1, None, 0.0), T0, 0.0)
    assert list(state.senders.clock_warnings) == [ClockTrouble.UNSYNCHRONISED]


def test_statsd_is_counted_with_its_refusals_and_its_clients_own_drops():
    """Samples of what was refused are kept, and a client's telemetry is no series."""
    state = make_state()
    stats = feed_statsd(state, "a:1|c\nbad\na:x|c\ndatadog.dogstatsd.client.packets_dropped:3|c")
    assert (stats.received, stats.accepted) == (1, 2)
    assert {str(reason): count for reason, count in stats.rejected.items()} == {
        "malformed_line": 1,
        "malformed_value": 1,
    }
    assert [(each.listener, each.peer, each.sample) for each in state.rejected.latest()] == [
        ("statsd", "127.0.0.1:9", "bad"),
        ("statsd", "127.0.0.1:9", "a:x|c"),
    ]
    assert state.client_drops == {("127.0.0.1", "packets_dropped"): 3}
    assert list(state.statsd.series) == [("a", "counter", ())]


@pytest.mark.parametrize(
    ("options", "lines", "reason", "sample"),
    [
        ({}, f"a:1|c|#x:{'y' * 1100}", "tags_limit", "a:1.0|c|#x:yyy"),
        ({"max_statsd_series": 1}, "a:1|c\nb\x1bc:1|g\nb:1|g|#k:v,f", "series_limit", "b:1.0|g|#k:v,f"),
        ({"max_histograms": 1}, "a:1|ms\nb:2:3|ms", "histogram_limit", "b:2.0|ms"),
        ({}, "a:1e308|c\na:1e308|c", "total_limit", "a:1e+308|c"),
    ],
)
def test_a_measurement_beyond_a_limit_is_rejected_with_a_sample(options, lines, reason, sample):
    """It is not among those that were taken, and the log tells the first of each kind."""
    state = make_state(**options)
    stats = feed_statsd(state, lines)
    assert stats.rejected[reason] == 1
    assert stats.accepted == len(lines.splitlines()) - sum(stats.rejected.values())
    found = [each for each in state.rejected.latest() if each.reason == reason]
    assert [each.sample.startswith(sample) and each.peer for each in found] == ["127.0.0.1:9"]
    assert any(reason.replace("_", " ") in line for line in state.news())


@pytest.mark.parametrize(
    ("subject", "payload", "sample"),
    [
        (
            "heartbeats.w-1",
            {"number": 0, "interval": 10.0, "timeout": 5.0},
            "heartbeats.w-1: {'number': 0, 'interval': 10.0",
        ),
        ("heartbeats.w-1", "up", "heartbeats.w-1: 'up'"),
        ("heartbeats.w-1", [1], "heartbeats.w-1: <list>"),
        ("heartbeats.w-1", {"number": {}, "a" * 99: "\x1b" * 99}, "heartbeats.w-1: {'number': <dict>"),
        ("logs.app", {"handler": b"x", "prior": {}, "time": 1.0}, "logs.app: {'handler': <bytes>, 'prior': <dict>"),
    ],
)
def test_a_message_that_its_use_refuses_is_seen(subject, payload, sample):
    """Of whom it was and what it said: as a sample, and the first one in the log."""
    state = make_state()
    for _ in range(2):
        state.feed(message(subject, payload), T0, 0.0)
    found = state.rejected.latest()
    use = subject.partition(".")[0]
    assert [(each.listener, each.address, each.peer, each.reason) for each in found] == [
        ("atmost", use, "web-1", "malformed")
    ] * 2
    assert found[0].sample.startswith(sample)
    assert found[0].sample.isprintable()
    [line] = state.news()
    assert line.startswith(f"first message of {use} refused: malformed, from web-1: {sample[:12]}")
    state.feed(message(subject, payload), T0, 0.0)
    assert state.news() == []


def test_the_first_refusal_of_a_senders_metric_is_in_the_log():
    """Of each reason, with both senders of a conflict."""
    state = make_state()
    first, second = Registry(state, "shop", 1), Registry(state, "job", 2)
    first.metrics.counter("orders_total", "", ("kind",)).labels("new").inc()
    second.metrics.counter("orders_total").inc()
    first.turn(T0)
    second.turn(T0)
    [line] = state.news()
    assert line.startswith("first of senders' metrics: conflict, from job: orders_total: shop says counter")
    second.turn(T0 + 1)
    assert state.news() == []


def test_a_pickle_is_refused_with_advice():
    """The first one is told as a warning, once."""
    import pickle

    state = make_state()
    from atmost.ingest import syslog

    body = pickle.dumps({"msg": "x"}, protocol=1)
    refused = syslog.parse(len(body).to_bytes(4, "big") + body, "p", T0)
    stats = ListenerStats("syslog", "udp://127.0.0.1:5514")
    for _ in range(3):
        state.reject(refused, stats, "p", T0)
    [warning] = state.warnings.values()
    assert "use atmost.LogHandler" in warning


def test_every_limit_is_told_with_its_use_and_hits():
    """In total and for one sender."""
    state = make_state(max_series=3, max_series_per_sender=2, max_statsd_series=2, max_log_records=2, max_record=256)
    for number in range(4):
        state.feed(message(f"metrics.m{number}", 1.0), T0, 0.0)
        state.feed(message(f"metrics.m{number}", 1.0, by=session("b", 2)), T0, 0.0)
        state.feed(message("logs.a", "m" * (number * 100)), T0, 0.0)
        feed_statsd(state, f"m{number}:1|c")
    found = limits(state)
    assert found["series"][0] == 3
    assert found["series"][1] > 0
    assert found["series_per_sender"][0] == 2
    assert found["series_per_sender"][1] > 0
    assert found["statsd_series"] == (2, 2)
    assert found["log_records"] == (2, 2)
    assert found["log_bytes"][1] == found["log_bytes_per_sender"][1] == 0
    assert found["log_record"] == (256, 1)


def test_each_receiver_has_room_for_as_many_senders():
    """Workers and further addresses remember sessions of their own: what is in use never looks like more than there is."""
    for workers, addresses, most in ((1, 0, 4), (1, 1, 4), (1, 2, 8), (3, 1, 12), (3, 2, 16)):
        state = make_state(max_senders=4, workers=workers)
        state.observe({f"udp://h:{number}": Ledger() for number in range(addresses)}, T0, 1.0)
        assert {limit.name: limit.max for limit in state.limits()}["senders"] == most


def test_reload_changes_the_limits_that_may_change():
    """The tail is cut at once."""
    state = make_state()
    for _ in range(5):
        state.feed(message("logs.a", "m"), T0, 0.0)
    state.reload(CollectorOptions(max_log_records=2))
    assert len(state.logs) == 2


def test_accounts_are_signs_of_life():
    """A beacon without a message keeps a heartbeat alive."""
    state = CollectorState(CollectorOptions(), T0, 0.0)
    state.observe({"a": Ledger(), "b": Ledger()}, T0, 0.0)
    state.tick(T0 + 1, 1.0)
    assert state.next_deadline() is None


def test_what_a_client_says_it_dropped_is_bounded():
    """Its sums may be infinite or negative, and cost no other datagram."""
    state = make_state()
    line = "datadog.dogstatsd.client.packets_dropped:{}|c"
    for lines in (["1e308", "1e308"], ["-5"], ["2"]):
        feed_statsd(state, "\n".join(line.format(each) for each in lines))
    assert state.client_drops == {("127.0.0.1", "packets_dropped"): (1 << 53) + 2}


def test_what_clients_say_they_dropped_is_kept_by_client():
    """By the address they send from, up to a bound; beyond it they are one."""
    state = make_state()
    stats = ListenerStats("statsd", "udp://127.0.0.1:8125")
    datagram = statsd.parse(b"datadog.dogstatsd.client.packets_dropped:2|c")
    for number in range(300):
        for _ in range(2):
            state.feed_statsd(datagram, stats, f"10.0.0.{number}", f"10.0.0.{number}:9", T0)
    assert state.client_drops["10.0.0.255", "packets_dropped"] == 4
    assert state.client_drops["other", "packets_dropped"] == (300 - 256) * 4
    assert len(state.client_drops) == 257


def test_an_event_without_a_host_has_the_address_of_its_peer():
    """Without the port: a program that sends from many is one sender, and its host is one."""
    state = make_state()
    for port in (5000, 5001):
        feed_statsd(state, "_e{1,1}:a|b\n_sc|db|0", peer=f"127.0.0.1:{port}")
    assert {(entry.sender, getattr(entry, "host", "")) for entry in state.logs.entries()} == {
        ("127.0.0.1", "127.0.0.1")
    }
