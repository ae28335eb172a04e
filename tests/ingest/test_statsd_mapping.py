"""Mapping rules of statsd_exporter: read as they are, followed exactly, and refused by name where they cannot be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.ingest import statsd
from atmost.ingest.statsd import read_mapping

RULES = """
mappings:
- match: "test.dispatcher.*.*.*"
  name: "dispatcher_events_total"
  help: "Events by processor"
  labels:
    processor: "$1"
    action: "${2}_done"
    outcome: "$3"
    job: "test_dispatcher"
    shard: 7
- match: "*.signup.*.*"
  name: "signup_$3"
  match_metric_type: counter
  labels: {provider: "$2"}
- match: "*.signup.*.*"
  name: "signup_$3_seconds"
  match_metric_type: timer
  observer_type: histogram
- match: "bytes.*"
  name: "size_bytes"
  scale: 1024
  labels: {kind: "$1", env: "rule"}
- match: "honored.*"
  name: "honored"
  honor_labels: true
  labels: {env: "rule"}
- match: "noisy.*.debug"
  action: drop
"""


def became(rules, line):
    """What the rules make of a line: name and labels of its metric, or None."""
    [metric] = statsd.parse(line.encode()).metrics
    mapped = read_mapping(rules).apply(metric)
    return None if mapped is None else (mapped.name, dict(mapped.tags), mapped.values)


@pytest.mark.parametrize(
    ("line", "result"),
    [
        (
            "test.dispatcher.FooProcessor.send.success:1|c",
            (
                "dispatcher_events_total",
                {
                    "processor": "FooProcessor",
                    "action": "send_done",
                    "outcome": "success",
                    "job": "test_dispatcher",
                    "shard": "7",
                },
                (1.0,),
            ),
        ),
        ("foo_product.signup.facebook.failure:2|c", ("signup_failure", {"provider": "facebook"}, (2.0,))),
        ("foo_product.signup.facebook.failure:2|ms", ("signup_failure_seconds", {}, (2.0,))),
        ("foo_product.signup.facebook.failure:2|h", ("signup_failure_seconds", {}, (2.0,))),
        ("foo_product.signup.facebook.failure:2|g", ("foo_product.signup.facebook.failure", {}, (2.0,))),
        ("foo_product.signup.facebook:2|c", ("foo_product.signup.facebook", {}, (2.0,))),
        ("bytes.in:2|g|#env:tag,a:b", ("size_bytes", {"env": "rule", "a": "b", "kind": "in"}, (2048.0,))),
        ("honored.x:2|g|#env:tag", ("honored", {"env": "tag"}, (2.0,))),
        ("noisy.a.debug:1|c", None),
        ("noisy.a.b.debug:1|c", ("noisy.a.b.debug", {}, (1.0,))),
        ("bytes.*:1|g", ("size_bytes", {"kind": "*", "env": "rule"}, (1024.0,))),
        ("other:1|c", ("other", {}, (1.0,))),
    ],
)
def test_rules_are_followed(line, result):
    """Names with labels from the parts of a name, by the type of the metric; what no rule matches stays as it is."""
    assert became(RULES, line) == result


def test_the_help_of_a_rule_is_kept():
    """As the family's text; a metric that no rule touched has none."""
    mapping = read_mapping(RULES)
    first, second = statsd.parse(b"test.dispatcher.a.b.c:1|c\nother:1|c").metrics
    assert (mapping.apply(first).mapped, mapping.apply(first).help) == (True, "Events by processor")
    assert (mapping.apply(second).mapped, mapping.apply(second).help) == (False, "")


def test_a_scale_makes_no_infinity():
    """A value that it would is dropped."""
    rules = "mappings: [{match: 'a', name: b, scale: 1e10}]"
    assert became(rules, "a:1e300|g") is None
    assert became(rules, "a:1e297|c|@0.001") is None
    assert became(rules, "a:x|s") == ("b", {}, ("x",))


ORDER = """
defaults: {{glob_disable_ordering: {disabled}}}
mappings:
- {{match: "a.*.*", name: "first"}}
- {{match: "a.b.*", name: "second"}}
- {{match: "*.b.c", name: "third"}}
"""


@pytest.mark.parametrize(("disabled", "name"), [("false", "first"), ("true", "second")])
def test_the_order_of_rules_holds(disabled, name):
    """The first that matches; with ordering disabled the one that is most literal from the left."""
    assert became(ORDER.format(disabled=disabled), "a.b.c:1|c")[0] == name


def test_a_last_rule_may_drop_the_rest():
    """The usual one, written as a regular expression, of which no other is supported."""
    rules = "mappings:\n- {match: 'kept.*', name: kept}\n- {match: '.', match_type: regex, action: drop, name: dropped}"
    assert became(rules, "kept.a:1|c")[0] == "kept"
    assert became(rules, "any.thing:1|c") is None


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ("mappings: [{match: a, name: b, ttl: 5m}]", "unknown field `ttl`.*mappings"),
        ("mappings: [{match: a, name: b, buckets: [1, 2]}]", "unknown field `buckets`"),
        ("mappings: [{match: a, name: b, observer_type: summary}]", "'summary'.*observer_type"),
        ("mappings: [{match: a, name: b, timer_type: summary}]", "'summary'.*timer_type"),
        ("mappings: [{match: a, name: b, histogram_options: {buckets: [1]}}]", "unknown field `histogram_options`"),
        ("defaults: {ttl: 5m}", "unknown field `ttl`.*defaults"),
        ("defaults: {summary_options: {}}", "unknown field `summary_options`"),
        ("other: 1", "unknown field `other`"),
        (
            "mappings: [{match: 'a.(b)', name: b, match_type: regex}]",
            r"mappings\[0\].match_type: 'a.\(b\)' is a regular",
        ),
        ("defaults: {match_type: regex}\nmappings: [{match: 'a.*', name: b}]", r"mappings\[0\].match_type"),
        ("mappings: [{match: 'a', name: b}, {match: 'a.b*', name: b}]", r"mappings\[1\].match: 'a.b\*' is not a glob"),
        ("mappings: [{match: 'a.*'}]", r"mappings\[0\].name: it is missing"),
        ("mappings: [{match: 'a.*', name: 'b_$2'}]", r"\$2 stands for nothing.*1 stars"),
        ("mappings: [{match: 'a.*', name: 'b', labels: {c: '$0'}}]", r"\$0 stands for nothing"),
        ("mappings: [{match: 'a.*', name: 'b', labels: {c-d: x}}]", "'c-d' is not a label's name"),
        ("mappings: [{name: 'b'}]", "missing required field `match`"),
        ("mappings: [", "flow"),
        ("", "got `null`"),
        ("- a", "got `array`"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(rules, problem):
    """With its place: a file that is half followed would show wrong numbers."""
    with pytest.raises(ValueError, match=problem):
        read_mapping(rules)


PARTS = st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=4)


@given(st.lists(PARTS, max_size=8), st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4))
def test_the_tree_finds_what_a_look_at_every_rule_finds(globs, name):
    """In order, the first rule whose parts are those of the name or stars."""
    rules = "mappings:\n" + "".join(
        f'- {{match: "{".".join(glob)}", name: "rule{index}"}}\n' for index, glob in enumerate(globs)
    )
    fitting = [
        index
        for index, glob in enumerate(globs)
        if len(glob) == len(name) and all(part in ("*", given) for part, given in zip(glob, name, strict=True))
    ]
    if not globs:
        return
    found = became(rules, f"{'.'.join(name)}:1|c")[0]
    assert found == (f"rule{fitting[0]}" if fitting else ".".join(name))


def test_names_of_strangers_are_forgotten():
    """Only so many results are remembered, and the rules hold for all."""
    mapping = read_mapping(RULES)
    for number in range(10_000):
        [metric] = statsd.parse(f"bytes.n{number}:1|g".encode()).metrics
        assert mapping.apply(metric).tags[0] == ("kind", f"n{number}")
