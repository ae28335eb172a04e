"""/metrics in both formats, read back by Prometheus' own parsers: names, labels, kinds, and what is left out."""

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from atmost.collector.prometheus.names import label_names, metric_name
from atmost.collector.state.records import Gap
from atmost.core.accounts import Ledger, SessionLedger
from atmost.core.events import ClockTrouble, RefusalReason, SessionClosed, Tail
from atmost.metrics import instruments
from tests.collector.scene import T0, Asked, feed_statsd, message, session
from tests.collector.state.test_series import Registry
from tests.real import forge

OPEN = "application/openmetrics-text; version=1.0.0"


def scrape(asked, accept=""):
    """Every sample by name and labels."""
    answer = asked.get("/metrics", **({"accept": accept} if accept else {}))
    assert answer.status_code == 200
    parse = openmetrics if "openmetrics" in answer.headers["content-type"] else prometheus
    found = {}
    for family in parse(answer.text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


@pytest.mark.parametrize("accept", ["", OPEN])
def test_statsd_series_have_prometheus_names(accept):
    """A counter `bar.hits` is `bar_hits_total`, a gauge `bar.temperature` is `bar_temperature`."""
    asked = Asked()
    feed_statsd(asked.state, "bar.hits:3|c|#route:home\nbar.temperature:21.5|g\n9-to-5:1|c\nuses:a|s\nuses:b|s")
    found = scrape(asked, accept)
    assert found["bar_hits_total", (("route", "home"),)] == 3.0
    assert found["bar_temperature", ()] == 21.5
    assert found["_9_to_5_total", ()] == 1.0
    assert found["uses", ()] == 2.0


@pytest.mark.parametrize("version", ["1.x.y", "9" * 5000, "1.-", "1.0.0\xff", "\xb2.0.0"])
@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
def test_an_accept_header_without_a_version_is_answered(kind, version):
    """In some format that a scraper reads, whatever stands where the version should."""
    asked = Asked()
    feed_statsd(asked.state, "a:1|c")
    body, found = asked.exporter.render(f"{kind}; version={version}; escaping=allow-utf-8")
    assert b"a_total 1.0" in body
    assert found.startswith(("text/plain", "application/openmetrics-text"))


UTF8 = "escaping=allow-utf-8"


@pytest.mark.parametrize("accept", [f"{OPEN}; {UTF8}", f"text/plain; version=1.0.0; {UTF8}"])
def test_a_scraper_that_takes_utf8_gets_names_as_they_are_sent(accept):
    """Metrics and labels; what other scrapers could not tell apart are two series to it."""
    asked = Asked()
    feed_statsd(
        asked.state, "bar.hits:3|c|#straße:ä,k-1:v\ngröße:1|g\ngr_ß_:2|g\n9-to-5:250|ms\nup:0|g\na:b\natmost.x:1|g"
    )
    found = scrape(asked, accept)
    assert found["bar.hits_total", (("k-1", "v"), ("straße", "ä"))] == 3.0
    assert (found["größe", ()], found["gr_ß_", ()]) == (1.0, 2.0)
    assert found["9-to-5_seconds_sum", ()] == 0.25
    assert found["exported_up", ()] == 0.0
    assert ("atmost.x", ()) not in found
    assert found["atmost_export_left_out_series", (("reason", "collision"),)] == 1.0


def test_names_that_are_escaped_alike_are_told_apart_or_counted():
    """By whoever takes UTF-8; for the others the first is shown."""
    asked = Asked()
    feed_statsd(asked.state, "a.b:1|g|#x.y:1,x_y:2\na_b:2|g|#x_y:2")
    assert scrape(asked)["a_b", (("x_y", "2"),)] == 1.0
    found = scrape(asked, f"{OPEN}; {UTF8}")
    assert found["a.b", (("x.y", "1"), ("x_y", "2"))] == 1.0
    assert found["a_b", (("x_y", "2"),)] == 2.0


@pytest.mark.parametrize("scheme", ["underscores", "dots", "values"])
def test_every_scheme_of_escaping_is_a_valid_answer(scheme):
    """Whatever is sent, the parser of prometheus_client reads it."""
    asked = Asked()
    feed_statsd(asked.state, 'a.b:1|g\na_b:2|g\na-b:3|c|#x.y:1,x_y:2,sender:3\ngröße:1|ms\nx"y:1|c')
    assert scrape(asked, f"{OPEN}; escaping={scheme}")


@pytest.mark.parametrize("accept", ["", OPEN])
def test_our_own_series_have_their_sender_and_completeness(accept):
    """Summed over the lives of one sender; how complete stands beside it."""
    asked = Asked()
    registry = Registry(asked.state, "shop")
    registry.metrics.counter("orders_total", "Orders taken", ("kind",)).labels("new").inc(5)
    latency = registry.metrics.histogram("latency_seconds", unit="seconds")
    for value in (0.1, 0.2, 4.0):
        latency.observe(value)
    for second in range(4):
        registry.turn(T0 + second, lost=second == 1)
    asked.t = T0 + 5
    asked.state.tick(asked.t, 5.0)
    found = scrape(asked, accept)
    assert found["orders_total", (("kind", "new"), ("sender", "shop"))] == 5.0
    assert found["latency_seconds_count", (("sender", "shop"),)] == 3.0
    assert found["latency_seconds_sum", (("sender", "shop"),)] == pytest.approx(4.3)
    assert found["atmost_series_completeness", (("metric", "orders_total"), ("sender", "shop"))] == 0.75
    below = [
        (float(dict(labels)["le"]), value)
        for (name, labels), value in found.items()
        if name == "latency_seconds_bucket"
    ]
    assert [count for bound, count in sorted(below)][-1] == 3.0
    assert dict(below)[next(bound for bound, _ in sorted(below) if bound > 1)] == 2.0


def test_a_total_that_may_be_too_small_says_so_and_rates_go_on():
    """A worker that ended without its last snapshot: never complete again; what arrives of the others is told as ever."""
    asked = Asked()
    lost, there = Registry(asked.state, "shop", 1), Registry(asked.state, "shop", 2)
    for registry in (lost, there):
        registry.metrics.counter("orders_total").inc(5)
        registry.metrics.gauge("depth").set(1)
        registry.turn(T0)
    asked.state.feed(SessionClosed(lost.by), T0 + 1, 1.0)
    for second in range(1, 120):
        there.turn(T0 + second)
    asked.t = T0 + 119
    asked.state.tick(asked.t, 119.0)
    found = scrape(asked, OPEN)
    of_orders, of_depth = ((("metric", name), ("sender", "shop")) for name in ("orders_total", "depth"))
    assert found["atmost_series_arrived_ratio", of_orders] == 1.0
    assert ("atmost_series_completeness", of_orders) not in found
    reason = (("metric", "orders_total"), ("reason", "tail_unknown"), ("sender", "shop"))
    assert found["atmost_series_incomplete", reason] == 1.0
    assert found["atmost_series_completeness", of_depth] == 1.0
    rows = {each["name"]: each for each in asked.json("/api/v1/series")["series"]}
    assert (rows["orders_total"]["completeness"], rows["orders_total"]["incomplete"]) == (None, ["tail_unknown"])
    assert (rows["depth"]["completeness"], rows["depth"]["incomplete"]) == (1.0, [])


@pytest.mark.parametrize(
    ("mode", "expected"), [("sum", {"": 6.0}), ("min", {"": 1.0}), ("max", {"": 3.0}), ("latest", {"": 3.0}),
    ("each", {"host-1:1": 1.0, "host-1:2": 2.0, "host-1:3": 3.0})],
)  # fmt: skip
def test_a_gauge_of_several_processes_is_the_same_everywhere(mode, expected, monkeypatch):
    """At /metrics, in the list and on the chart."""
    asked = Asked()
    for number in (1, 2, 3):
        registry = Registry(asked.state, "shop", number)
        registry.by.pid = number
        monkeypatch.setattr(instruments, "monotonic", lambda set_at=T0 + number / 20: set_at)
        registry.metrics.gauge("depth", mode=mode).set(number)
        registry.turn(T0 + number / 10)
    found = scrape(asked, OPEN)
    shown = {dict(labels).get("process", ""): value for (name, labels), value in found.items() if name == "depth"}
    assert shown == expected
    rows = [each for each in asked.json("/api/v1/series")["series"] if each["name"] == "depth"]
    assert {each["labels"].get("process", ""): each["last"] for each in rows} == expected
    asked.t = T0 + 1
    for process, value in expected.items():
        label = f"&label=process={process}" if process else ""
        points = asked.json(f"/api/v1/query?name=depth&range=2&sender=shop{label}")["points"]
        assert [each["value"] for each in points if each["value"] is not None] == [value]


def test_metrics_that_contradict_are_counted_and_name_both_senders():
    """At /metrics by reason, in the API with a sample."""
    asked = Asked()
    first, second = Registry(asked.state, "shop", 1), Registry(asked.state, "job\x1b", 2)
    first.metrics.counter("orders_total", "", ("kind",)).labels("new").inc()
    second.metrics.counter("orders_total").inc()
    first.turn(T0)
    second.turn(T0)
    assert scrape(asked, OPEN)["atmost_metrics_refused_total", (("reason", "conflict"),)] == 1.0
    [sample] = asked.json("/api/v1/rejected")["rejected"]
    assert (sample["reason"], sample["peer"]) == ("conflict", "job\\x1b")
    assert "shop says counter with labels (kind)" in sample["sample"]


def test_messages_that_are_no_beats_and_no_records_are_counted():
    """At /metrics by use and reason."""
    asked = Asked()
    asked.state.feed(message("heartbeats.w", "up"), T0, 0.0)
    asked.state.feed(message("logs.app", {"handler": 1, "prior": 2}), T0, 0.0)
    found = scrape(asked, OPEN)
    for use in ("heartbeats", "logs"):
        assert found[f"atmost_{use}_refused_total", (("reason", "malformed"),)] == 1.0
    assert found["atmost_heartbeats_refused_total", (("reason", "sender_limit"),)] == 0.0
    assert found["atmost_logs_refused_total", (("reason", "conflict"),)] == 0.0


def test_a_series_that_is_not_shown_has_a_sample():
    """What it is and whose name it has; once, however often it is asked for."""
    asked = Asked()
    registry = Registry(asked.state, "shop")
    registry.metrics.gauge("depth").set(1)
    registry.turn(T0)
    feed_statsd(asked.state, "x:1|c\nx:2|g\nx.y:1|c\nx/y:1|c\natmost.lost:1|g\ndepth:1|c")
    for _ in range(2):
        asked.exporter._rendered.clear()
        found = scrape(asked)
    assert found["atmost_export_left_out_series", (("reason", "collision"),)] == 4.0
    told = asked.json("/api/v1/rejected")["rejected"]
    assert {(each["listener"], each["address"], each["peer"], each["reason"]) for each in told} == {
        ("export", "/metrics", "statsd", "collision")
    }
    assert sorted(each["sample"] for each in told) == [
        "atmost_lost (gauge): its name belongs to another family",
        "depth (counter): its name is that of a gauge",
        "x (gauge): its name is that of a counter",
        "x_y (counter): another series has its name and labels",
    ]


@pytest.mark.parametrize("escaping", ["underscores", "dots", "values", "allow-utf-8"])
def test_no_label_is_one_of_prometheus_own(escaping):
    """However the answer escapes names: those that begin with two underscores are Prometheus' own."""
    asked = Asked()
    feed_statsd(asked.state, "a:1|g|#__name__:up,_x:1,_:2,__:3")
    found = scrape(asked, f"text/plain; version=1.0.0; escaping={escaping}")
    [labels] = [dict(labels) for name, labels in found if name == "a"]
    assert "up" in labels.values()
    assert not any(label.startswith("__") for label in labels)


def test_samples_of_what_is_not_shown_are_bounded():
    """However long a name becomes that shows what nobody sees, and however many there are."""
    asked = Asked(max_rejected=20)
    name = "\u202e" * 190
    for number in range(30):
        feed_statsd(asked.state, f"{name}{number}:1|c\n{name}{number}:1|g")
    scrape(asked)
    told = asked.json("/api/v1/rejected")["rejected"]
    assert 0 < len(told) <= 20
    assert all(len(each["sample"]) <= 201 and each["sample"].isprintable() for each in told)


def test_refused_senders_are_counted_by_reason():
    """Hosts, not datagrams; until an hour after their last refusal."""
    asked = Asked()
    for host, reason in ("10.0.0.1", RefusalReason.UNKNOWN_KEY), ("10.0.0.2", RefusalReason.UNKNOWN_KEY):
        for _ in range(3):
            asked.state.refused.feed(forge(), reason, "udp://127.0.0.1:7140", (host, f"{host}:9"), T0, keyed=True)
    asked.state.refused.feed(b"x", RefusalReason.MALFORMED, "udp://127.0.0.1:7140", ("", ""), T0, keyed=True)
    found = scrape(asked, OPEN)
    assert found["atmost_refused_senders", (("reason", "unknown_key"),)] == 2.0
    assert found["atmost_refused_senders", (("reason", "malformed"),)] == 1.0
    asked.t = T0 + 3700
    assert ("atmost_refused_senders", (("reason", "malformed"),)) not in scrape(
        asked
    )  # in the other format, which is rendered anew


@pytest.mark.parametrize("accept", ["", OPEN])
def test_counters_do_not_fall_when_a_process_is_forgotten(accept):
    """What its forgotten processes had counted stays in a sender's counters and histograms, at /metrics and in the list."""
    asked = Asked(max_senders=3)
    before = {}
    for life in range(8):
        registry = Registry(asked.state, "shop")
        registry.metrics.counter("orders_total", "Orders taken").inc(5)
        registry.metrics.histogram("latency").observe(0.5 + life)
        registry.turn(T0 + life)
        asked.exporter = asked.app._exporter = type(asked.exporter)(asked.views)
        found = scrape(asked, accept)
        assert found["orders_total", (("sender", "shop"),)] == 5.0 * (life + 1)
        assert found["latency_bucket", (("le", "+Inf"), ("sender", "shop"))] == life + 1
        assert found["latency_sum", (("sender", "shop"),)] == pytest.approx(sum(0.5 + each for each in range(life + 1)))
        last = {each["name"]: each["last"] for each in asked.json("/api/v1/series")["series"]}
        assert (last["orders_total"], last["latency"]) == (5 * (life + 1), life + 1)
        buckets = {labels: value for (name, labels), value in found.items() if name == "latency_bucket"}
        assert all(buckets.get(labels, value) >= value for labels, value in before.items())
        before = buckets
    assert asked.state.metrics.stats().lives_folded == 5


def test_what_nobody_repeats_any_more_is_not_shown():
    """A gauge's last value is no value of now; a counter's total stays."""
    asked = Asked()
    registry = Registry(asked.state)
    registry.metrics.gauge("g").set(1)
    registry.metrics.counter("c_total").inc()
    registry.turn(T0)
    feed_statsd(asked.state, "s:1|g")
    asked.t = T0 + 61
    names = {name for name, _ in scrape(asked)}
    assert {"c_total", "s"} <= names
    assert "g" not in names
    asked = Asked()
    feed_statsd(asked.state, "s:1|g")
    asked.t = T0 + 301
    assert "s" not in {name for name, _ in scrape(asked)}


def test_names_that_collide_are_counted_and_never_shown_twice():
    """The first keeps the name; none of ours can be taken."""
    asked = Asked()
    feed_statsd(asked.state, "a.b:1|c\na_b:2|c\na-b:3|g\natmost.limit.used:4|g\natmost.other:1|g")
    found = scrape(asked, OPEN)
    assert found["a_b_total", ()] == 1.0
    assert not any(name == "atmost_other" for name, _ in found)
    assert found["atmost_export_left_out_series", (("reason", "collision"),)] == 4.0


@pytest.mark.parametrize(
    "lines", ["foo:1|c\nfoo.created:1|c", "foo:1|h\nfoo.bucket:1|c", "foo.count:1|c\nfoo:1|ms|#a:b\nfoo:2|h"]
)
def test_names_that_are_parts_of_another_family_are_counted_too(lines):
    """`foo_created` belongs to the counter `foo`, and with both of them the whole scrape would be invalid."""
    asked = Asked()
    feed_statsd(asked.state, lines)
    assert scrape(asked, OPEN)["atmost_export_left_out_series", (("reason", "collision"),)] == 1.0


@pytest.mark.parametrize("accept", ["", OPEN])
def test_a_counter_that_was_counted_down_is_a_gauge(accept):
    """Prometheus would take each step down for a restart; all series of the name are of one kind."""
    before, asked = Asked(), Asked()
    for each in (before, asked):
        feed_statsd(each.state, "jobs:5|c|#a:1\njobs:2|c|#a:2\norders:5|c")
    assert scrape(before, accept)["jobs_total", (("a", "1"),)] == 5.0
    feed_statsd(asked.state, "jobs:-7|c|#a:1")
    found = scrape(asked, accept)
    assert (found["jobs", (("a", "1"),)], found["jobs", (("a", "2"),)]) == (-2.0, 2.0)
    assert found["orders_total", ()] == 5.0
    assert not [name for name, _ in found if name == "jobs_total"]


@pytest.mark.parametrize("accept", ["", OPEN])
def test_histograms_are_valid_whatever_was_observed(accept):
    """Counts are whole though a sampling rate makes parts; there is no sum where values below 0 would let it fall."""
    asked = Asked()
    feed_statsd(asked.state, "p:0.1|h|@0.3\nn:-5|h\nn:3|h\nbig:1e308|d|@0.9\nbig:1e308|d|@0.9")
    found = scrape(asked, accept)
    assert (found["p_count", ()], found["p_bucket", (("le", "+Inf"),)]) == (3.0, 3.0)
    assert found["p_sum", ()] == pytest.approx(0.1 / 0.3)
    assert found["n_bucket", (("le", "+Inf"),)] == 2.0
    assert (found["big_bucket", (("le", "+Inf"),)], found["big_sum", ()]) == (1.0, 1e308 / 0.9)
    assert "n_sum" not in {name for name, _ in found}


def test_labels_of_strangers_are_escaped():
    """Quotes, backslashes, line ends and other signs come back as they were, and what a terminal obeys by its number."""
    asked = Asked()
    value = 'a"b\\c d{}=é\x1b'
    feed_statsd(asked.state, f"m:1|g|#tag:{value},le:x,2nd:y,__name__:z")
    found = scrape(asked)
    [labels] = [dict(labels) for name, labels in found if name == "m"]
    assert labels == {"tag": value.replace("\x1b", "\ufffd<1b>"), "exported_le": "x", "_2nd": "y", "_name__": "z"}


def test_series_beyond_the_bound_are_counted():
    """A scrape has an end."""
    asked = Asked(max_exported=3)
    feed_statsd(asked.state, "\n".join(f"m{number}:1|g" for number in range(10)))
    found = scrape(asked)
    assert sum(name.startswith("m") for name, _ in found) == 3
    assert found["atmost_export_left_out_series", (("reason", "max_exported"),)] == 7.0


def test_losses_have_bounded_labels():
    """Senders beyond the bound, and what forgotten sessions lost, are `other`; the sum is the account's."""
    asked = Asked(max_exported_senders=1)
    rows = [
        SessionLedger(
            id=session(name, number).id, name=name, host="h", pid=1, key_id=0, tail=Tail.ALIVE, sent=0, datagrams=1,
            last_seen=0.0, delivered=10, lost=2, lost_by_place={"sender_socket": 1, "in_flight": 1},
        )
        for number, name in enumerate(("a", "b"))
    ]  # fmt: skip
    places = {"sender_socket": 2, "in_flight": 7}
    asked.state.observe({"udp://x": Ledger(sessions=rows, delivered=30, lost=9, lost_by_place=places)}, T0, 0.0)
    found = scrape(asked)
    assert found["atmost_messages_lost_total", (("reason", "in_flight"), ("sender", "a"))] == 1.0
    assert found["atmost_messages_lost_total", (("reason", "in_flight"), ("sender", "other"))] == 6.0
    assert found["atmost_messages_delivered_total", (("sender", "other"),)] == 20.0
    assert not any(("sender", "b") in labels for _, labels in found)


def test_a_loss_that_was_taken_back_lowers_no_counter():
    """Prometheus would take a fall for a restart, and count everything again."""
    asked = Asked()
    shown = []
    for lost, late in ((5, 0), (2, 3)):
        row = SessionLedger(
            id=session("a").id, name="a", host="h", pid=1, key_id=0, tail=Tail.ALIVE, sent=0, datagrams=1,
            last_seen=0.0, lost=lost, late=late, lost_by_place={"sender_socket": 0, "in_flight": lost},
        )  # fmt: skip
        asked.state.observe(
            {"udp://x": Ledger(sessions=[row], lost=lost, late=late, lost_by_place=row.lost_by_place)}, T0, 0.0
        )
        asked.exporter._rendered.clear()
        found = scrape(asked)
        sender = ("sender", "a")
        shown.append(
            (
                found["atmost_messages_lost_total", (("reason", "in_flight"), sender)],
                found["atmost_messages_late_total", (sender,)],
            )
        )
    assert shown == [(5.0, 0.0), (5.0, 3.0)]


def test_who_is_silent_has_a_name():
    """So that an alert can say it."""
    asked = Asked()
    rows = [
        SessionLedger(
            id=session(name, number).id, name=name, host="h", pid=1, key_id=0, tail=tail, sent=0, datagrams=1,
            last_seen=60.0,
        )
        for number, (name, tail) in enumerate([("gone", Tail.SILENT), ("there", Tail.ALIVE), ("done", Tail.CLOSED)])
    ]  # fmt: skip
    asked.state.observe({"udp://x": Ledger(sessions=rows)}, T0, 0.0)
    found = scrape(asked)
    shown = {dict(labels)["sender"]: value for (name, labels), value in found.items() if name == "atmost_sender_silent"}
    assert shown == {"gone": 1.0, "there": 0.0, "done": 0.0}


def test_trouble_with_clocks_is_counted_by_kind():
    """Over all receivers; every kind is there before it happens."""
    asked = Asked()
    ledgers = {
        f"udp://{number}": Ledger(clock_troubles={"sender_ahead": number, "stepped_back": 1}) for number in (1, 2)
    }
    asked.state.observe(ledgers, T0, 0.0)
    found = scrape(asked, OPEN)
    kinds = {
        dict(labels)["kind"]: value for (name, labels), value in found.items() if name == "atmost_clock_troubles_total"
    }
    assert kinds == dict.fromkeys(ClockTrouble, 0.0) | {"sender_ahead": 3.0, "stepped_back": 2.0}


def test_lost_records_are_a_counter_by_level():
    """Every level is there before anything is lost, so that the first loss is an increase."""
    asked = Asked()
    found = scrape(asked, OPEN)
    assert found["atmost_log_records_lost_total", (("level", "ERROR"),)] == 0.0
    asked.state.logs.append(
        Gap(t=T0, sender="a", lost=3, by_level={"ERROR": 2}, reason="lost", from_=T0, to=T0, verified=True)
    )
    asked.exporter._rendered.clear()
    found = scrape(asked, OPEN)
    assert found["atmost_log_records_lost_total", (("level", "ERROR"),)] == 2.0
    assert found["atmost_log_records_lost_total", (("level", "unknown"),)] == 1.0
    assert found["atmost_log_records_late_total", ()] == 0.0


def test_a_heartbeat_is_1_or_0_or_absent():
    """Never 0 for what is unknown."""
    asked = Asked()
    for name in ("up", "stopped"):
        asked.state.feed(message(f"heartbeats.{name}", {"number": 0, "interval": 1.0}), T0, 0.0)
    asked.state.feed(message("heartbeats.stopped", {"number": 1, "interval": 1.0, "ending": "stopped"}), T0, 0.0)
    found = scrape(asked)
    assert found["atmost_heartbeat_up", (("heartbeat", "up"),)] == 1.0
    assert ("atmost_heartbeat_up", (("heartbeat", "stopped"),)) not in found
    assert found["atmost_heartbeats", (("state", "stopped"),)] == 1.0


def test_a_rendering_serves_all_who_ask_at_once():
    """Many scrapers cost as much as one."""
    asked = Asked()
    first, kind = asked.exporter.render("")
    feed_statsd(asked.state, "a:1|c")
    assert asked.exporter.render("") == (first, kind)


@pytest.mark.parametrize(
    ("name", "kind", "unit", "shown"),
    [
        ("bar.hits", "counter", "", "bar_hits"),
        ("bar_hits_total", "counter", "", "bar_hits"),
        ("req.time", "histogram", "milliseconds", "req_time_milliseconds"),
        ("9lives", "gauge", "", "_9lives"),
        ("x.count", "gauge", "", "x_count_value"),
        ("ünïcode/π", "gauge", "", "_n_code__"),
        ("", "gauge", "", "_"),
        ("up", "gauge", "", "exported_up"),
        ("scrape.duration", "gauge", "", "exported_scrape_duration"),
        ("job:requests:rate5m", "gauge", "", "job_requests_rate5m"),
    ],
)
def test_any_name_becomes_one_of_prometheus(name, kind, unit, shown):
    """Without a meaning of another family."""
    assert metric_name(name, kind, unit) == shown


def test_any_label_becomes_one_of_prometheus():
    """Reserved ones are prefixed."""
    assert label_names(["a.b", "sender", "", "__x", "1"]) == ["a_b", "exported_sender", "_", "_x", "_1"]
