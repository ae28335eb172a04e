"""deploy/prometheus: rules that parse, speak of what is really exposed, and page nobody over incomplete values."""

import re
import subprocess
from typing import Any

import promql_parser
import pytest
import yaml
from promql_parser import BinaryExpr

from tests.deploy.conftest import DEPLOY
from tests.deploy.promql import Doubt, Scrape, infer, selectors

FOLDER = DEPLOY / "prometheus"
RULES = yaml.safe_load((FOLDER / "atmost.rules.yml").read_text(encoding="utf-8"))
EACH = [rule for group in RULES["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in EACH if "alert" in rule}
RECORDS = {rule["record"]: rule for rule in EACH if "record" in rule}
CONFIGS = [FOLDER / "prometheus.yml", DEPLOY / "container/prometheus.yml"]


def recorded(scrape: Scrape) -> Scrape:
    """The scrape with what the recording rules add, in their order."""
    for name, rule in RECORDS.items():
        scrape.record(name, infer(promql_parser.parse(rule["expr"]), scrape))
    return scrape


def test_rules_speak_of_what_is_exposed(scrape):
    """Every name, label and value of a label, in expressions and in what is told of them, is in a real scrape."""
    known = recorded(scrape)
    for name, rule in ALERTS.items():
        labels = infer(promql_parser.parse(rule["expr"]), known)
        told = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        assert told <= labels, name


@pytest.mark.parametrize(
    "expression",
    [
        "atmost_message_lost_total > 0",
        'atmost_sessions{tail="unknown"} > 0',
        'atmost_datagrams_refused_total{reason=~"future|clock"} > 0',
        "sum by (sender) (atmost_listener_datagrams_total)",
        "cpu_utilization and on (metric) atmost_series_completeness",
        "orders_total / atmost_messages_lost_total",
    ],
)
def test_the_check_finds_what_is_wrong(scrape, expression):
    """Names, values and labels that nobody exposes: the test above is one that can fail."""
    with pytest.raises(Doubt):
        infer(promql_parser.parse(expression), scrape)


def test_each_alert_says_what_to_do_with_it():
    """Unique names, one of two severities, a summary, durations that Prometheus reads."""
    names = [rule.get("alert") or rule.get("record") for rule in EACH]
    assert len(names) == len(set(names))
    for name, rule in ALERTS.items():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, name
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
        assert promql_parser.parse_duration(rule.get("for", "1s")).total_seconds() <= 900


def test_values_page_only_where_they_are_complete():
    """A page over anything a sender measures is gated by the completeness of that very series, of the same sender."""
    gated = 0
    for name, rule in ALERTS.items():
        expression = promql_parser.parse(rule["expr"])
        measured = {
            each.name for each in selectors(expression) if not each.name.startswith(("atmost_", "sender", "up"))
        }
        if measured:
            (value,) = measured
            assert _gate(expression) == value, name
            gated += 1
    assert gated == 3


@pytest.mark.parametrize("file", ["prometheus/atmost.rules.yml", "grafana/atmost.json"])
def test_counters_are_read_as_counters_and_gauges_are_not(file):
    """delta() takes a restart of the collector for a fall, increase() and rate() take a gauge's fall for a restart."""
    text = (DEPLOY / file).read_text(encoding="utf-8")
    read = re.findall(r"\b(delta|increase|rate)\((\w+)", text)
    assert read
    assert [name for how, name in read if name.endswith("_total") != (how != "delta")] == []


def test_the_rules_on_the_page_are_some(scrape):
    """What docs/deploy.md gives as models for rules of one's own parses, speaks of what is there, and is gated."""
    page = (DEPLOY.parent / "docs/deploy.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    expressions = [promql_parser.parse(rule["expr"]) for block in blocks for rule in yaml.safe_load(block)]
    assert all("sender" in infer(expression, recorded(scrape)) for expression in expressions)
    assert [_gate(expression) for expression in expressions] == ["orders_total", "order_seconds"]
    named = set(re.findall(r"`((?:Atmost|Host)[A-Z]\w+)`", page))
    assert named <= ALERTS.keys()
    assert named >= {name for name, each in ALERTS.items() if each["labels"]["severity"] == "page"}


@pytest.mark.parametrize("file", CONFIGS, ids=["prometheus", "container"])
def test_scrape_configuration(file):
    """The job that the rules name, its token from a file, and the rules beside it."""
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    assert set(job) == {"job_name", "authorization", "static_configs"}
    assert job["job_name"] == "atmost"
    assert job["authorization"]["type"] == "Bearer"
    assert job["authorization"]["credentials_file"].startswith("/")
    assert [target.rpartition(":")[2] for target in job["static_configs"][0]["targets"]] == ["7141"]
    assert config["rule_files"] == ["atmost.rules.yml"]
    assert promql_parser.parse_duration(config["global"]["scrape_interval"]).total_seconds() == 10


def test_made_up_scrapes_cover_every_page():
    """Each alert that wakes somebody has a case in which it fires; gated ones have one in which it does not."""
    cases = yaml.safe_load((FOLDER / "atmost.rules.test.yml").read_text(encoding="utf-8"))["tests"]
    fired = {each["alertname"] for case in cases for each in case.get("alert_rule_test", []) if each["exp_alerts"]}
    assert fired <= ALERTS.keys()
    pages = {name for name, rule in ALERTS.items() if rule["labels"]["severity"] == "page"}
    assert pages <= fired


@pytest.mark.needs("promtool")
def test_promtool_agrees():
    """Prometheus' own tool loads the rules, and finds what atmost.rules.test.yml expects of them."""
    for arguments in (["check", "rules", "atmost.rules.yml"], ["test", "rules", "atmost.rules.test.yml"]):
        done = subprocess.run(
            ["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _gate(expression: Any) -> str:
    """The metric whose completeness must be 0.9 or more for the expression to yield anything."""
    assert isinstance(expression, BinaryExpr)
    assert str(expression.op) == "and"
    assert set(expression.modifier.matching.labels) == {"instance", "job", "sender"}
    bound = expression.rhs
    assert isinstance(bound, BinaryExpr)
    assert str(bound.op) == ">="
    assert bound.rhs.val >= 0.9
    assert bound.lhs.name == "sender_metric:atmost_series_completeness:min5m"
    ((_, wanted),) = [(matcher.name, matcher.value) for matcher in bound.lhs.matchers.matchers]
    return str(wanted)
