"""Mapping rules of statsd_exporter: read as they are, followed exactly, and refused by name where they cannot be."""

import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.ingest import statsd
from atmost.ingest.statsd import read_mapping
from atmost.ingest.statsd.patterns import Pattern, PatternSet

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


def test_a_last_rule_may_drop_the_rest(monkeypatch):
    """The usual one, written as a regular expression; it needs no engine, and drops only the types that it is for."""
    monkeypatch.setitem(sys.modules, "re2", None)
    rules = "mappings:\n- {match: 'kept.*', name: kept}\n- {match: '.', match_type: regex, action: drop, name: dropped}"
    assert became(rules, "kept.a:1|c")[0] == "kept"
    assert became(rules, "any.thing:1|c") is None
    rules = "mappings: [{match: '.+', match_type: regex, match_metric_type: timer, action: drop}]"
    assert became(rules, "any.thing:1|ms") is None
    assert became(rules, "any.thing:1|c") == ("any.thing", {}, (1.0,))


REGEXES = r"""
mappings:
- {match: 'test\.(\w+)\.(\w+)\.counter', match_type: regex, name: '${2}_total', labels: {provider: '$1'}}
- {match: '^(?P<app>[^.]+)\.(?:job-)?(\d+)?$', match_type: regex, match_metric_type: gauge, name: 'jobs', labels: {app: $app, job: '$2', dollar: '$$'}}
- {match: '^secret\.', match_type: regex, action: drop}
- {match: '^only(x)?$', match_type: regex, name: '$1'}
- {match: 'globbed.*', name: 'by_glob_$1'}
- {match: '^(.*)\.last$', match_type: regex, name: '${1}_last'}
"""


@pytest.mark.parametrize(
    ("line", "result"),
    [
        ("test.web.login.counter:1|c", ("login_total", {"provider": "web"})),
        ("a.test.web.login.counter.b:1|c", ("login_total", {"provider": "web"})),
        ("shop.job-12:1|g", ("jobs", {"app": "shop", "job": "12", "dollar": "$"})),
        ("shop.job-:1|g", ("jobs", {"app": "shop", "job": "", "dollar": "$"})),
        ("shop.job-12:1|c", ("shop.job-12", {})),
        ("secret.token.last:1|c", None),
        ("onlyx:1|c", ("x", {})),
        ("only:1|c", None),
        ("globbed.last:1|c", ("by_glob_last", {})),
        ("größe.last:1|c", ("größe_last", {})),
        ("other:1|c", ("other", {})),
    ],
)
def test_regular_expressions_are_followed(line, result):
    """Where no glob matches, the first that is found anywhere in a name; groups by number and name, as Go expands them."""
    found = became(REGEXES, line)
    assert (found and found[:2]) == result


def test_a_pattern_that_would_backtrack_does_not():
    """The name is a stranger's: Python's own engine would try 2^100 ways here."""
    rules = "mappings: [{match: '^((a|a)*)*$', match_type: regex, name: 'all'}]"
    assert became(rules, f"{'a' * 100}b:1|c")[0].endswith("ab")
    assert became(rules, f"{'a' * 100}:1|c")[0] == "all"


def test_a_set_without_memory_hides_no_match():
    """Where the automaton of all patterns cannot answer, each is tried."""
    few = PatternSet([Pattern("a"), Pattern("b"), Pattern("ab")])
    assert list(few.matching("b")) == [1]
    assert list(few.matching("xaby")) == [0, 1, 2]
    assert list(few.matching("x")) == []
    few._set = SimpleNamespace(Match=lambda _: [])
    assert list(few.matching("x")) == [0, 1, 2]


def test_regular_expressions_need_their_engine(monkeypatch):
    """Without it the message says what to install, and how to do without."""
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(ValueError, match=r"mappings\[0\].match_type.*pip install 'atmost\[regex\]'; or write globs"):
        read_mapping("mappings: [{match: 'a.(b)', name: b, match_type: regex}]")


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
        ("mappings: [{match: 'a(b', name: b, match_type: regex}]", r"mappings\[0\].match: 'a\(b' is not.*missing \)"),
        (
            "mappings: [{match: '(?<=a)b', name: b, match_type: regex}]",
            r"not a regular expression of RE2.*invalid perl",
        ),
        (
            "mappings: [{match: 'a', name: b, match_type: regex, labels: {c: $1}}]",
            r"\$1 refers to nothing.*'a' has no",
        ),
        ("mappings: [{match: '(a)', name: b_$1x, match_type: regex}]", r"\$1x refers to nothing"),
        ("mappings: [{match: '(a)', name: '${n}', match_type: regex}]", r"\$\{n\} refers to nothing"),
        (f"mappings: [{{match: {'a' * 1001}, name: b, match_type: regex}}]", "1,001 characters: at most 1,000"),
        ("defaults: {match_type: regex}\nmappings: [{match: '*', name: b}]", r"mappings\[0\].match: '\*' is not a reg"),
        (
            f"mappings: [{', '.join(['{match: a, name: b, match_type: regex}'] * 1001)}]",
            "1,001 rules with regular expr",
        ),
        ("mappings: [{match: 'a', name: b}, {match: 'a.b*', name: b}]", r"mappings\[1\].match: 'a.b\*' is not a glob"),
        ("mappings: [{match: 'a.*'}]", r"mappings\[0\].name: missing"),
        ("mappings: [{match: 'a.*', name: 'b_$2'}]", r"\$2 refers to nothing.*1 stars"),
        ("mappings: [{match: 'a.*', name: 'b', labels: {c: '$0'}}]", r"\$0 refers to nothing"),
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
