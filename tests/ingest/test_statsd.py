"""StatsD and DogStatsD: any bytes are read without harm, and valid lines to what they were written from."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.ingest import statsd
from atmost.ingest.rejected import rejected
from atmost.ingest.statsd import StatsdGauges, StatsdKind, StatsdMetric, StatsdReason
from atmost.ingest.statsd.metric import read_metric
from atmost.ingest.statsd.values import (
    MAX_LINE,
    MAX_LINES,
    MAX_MEMBER,
    MAX_NAME,
    MAX_NUMBER,
    MAX_TAGS,
    MAX_VALUES,
    StatsdDatagram,
    StatsdRefusal,
)

PIECES = st.sampled_from(
    [
        b"a",
        b"1",
        b":",
        b"|",
        b"c",
        b"g",
        b"ms",
        b"s",
        b"#",
        b"@",
        b"0.5",
        b",",
        b"=",
        b"[",
        b"]",
        b"\n",
        b"_e{",
        b"_sc|",
        b"1,1}:",
        b"-",
        b"+",
        b"T",
        b"c:",
        b"card:",
        b"m:",
        b"d:",
        b"\xff",
        b"\xc3\xb6",
        b"\r",
        b"\x00",
        b"nan",
        b"1e308",
        b"|",
    ]
)
JUNK = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=40).map(b"".join))

WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters=":|,;#[]@="), min_size=1, max_size=20
).filter(lambda word: not word.startswith("_e{"))  # which begins an event
NUMBERS = st.one_of(
    st.integers(-(10**12), 10**12).map(float),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e200, max_value=1e200),
)
RATES = st.one_of(st.just(1.0), st.floats(1e-6, 1))
NUMERIC = st.sampled_from([kind for kind in StatsdKind if kind is not StatsdKind.SET])


def text_of(value):
    """A number as clients write it."""
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 and math.copysign(1, value) > 0 else repr(value)


@given(JUNK)
def test_any_bytes_are_read(datagram):
    """Nothing raises, and each line that is not empty says something or is refused, once or more."""
    read = statsd.parse(datagram)
    lines = [line for line in datagram.split(b"\n") if line not in (b"", b"\r")]
    said = len(read.metrics) + len(read.events) + len(read.checks) + len(read.telemetry) + len(read.rejected)
    assert said >= len(lines)
    assert all(len(one.sample) <= 201 and one.sample.isprintable() for one in read.rejected)
    for metric in read.metrics:
        assert metric.name
        assert metric.values
        assert 0 < metric.rate <= 1
        assert math.isfinite(metric.weight)
        assert all(isinstance(value, str) or math.isfinite(value) for value in metric.values)
        assert metric.kind is not StatsdKind.COUNTER or math.isfinite(metric.total)


@given(st.lists(JUNK.map(lambda line: line.replace(b"\n", b"")), max_size=5))
def test_lines_do_not_touch_each_other(lines):
    """What a datagram says is what its lines say one by one."""
    together, apart = statsd.parse(b"\n".join(lines)), [statsd.parse(line) for line in lines]
    assert together.metrics == [metric for read in apart for metric in read.metrics]
    assert together.events == [event for read in apart for event in read.events]
    assert sorted(map(repr, together.rejected)) == sorted(repr(one) for read in apart for one in read.rejected)
    assert sum(together.notes.values()) == sum(sum(read.notes.values()) for read in apart)


@given(
    st.one_of(
        JUNK,
        st.lists(
            st.sampled_from(
                ["a", ":", "1", "-1.5", "|", "c", "g", "h", "|@0.5", "|@0.0", "|@1", "|#", "k:v", ",", ":w", "s", "ms"]
            ),
            max_size=12,
        ).map(lambda pieces: ("a:" + "".join(pieces)).encode()),
    )
)
def test_both_ways_of_reading_agree(line):
    """Plain lines are read by one expression, to the same values as by the rules."""
    line = line.replace(b"\n", b"").replace(b"\r", b"")
    read = statsd.parse(line)
    if not line or line.decode(errors="ignore").encode() != line:
        return
    inner = line.decode().removeprefix("\ufeff").rstrip("\0") or line.decode()  # what some clients write around it
    if inner.startswith(("_e{", "_sc|")):
        return
    again = StatsdDatagram()
    try:
        read_metric(inner, again, StatsdGauges.STATSD)
    except StatsdRefusal as refusal:
        again = StatsdDatagram(rejected=[rejected(refusal.reason, inner.encode())])
    assert (read.metrics, read.rejected, read.notes) == (again.metrics, again.rejected, again.notes)


@given(
    WORDS,
    st.lists(NUMBERS, min_size=1, max_size=5),
    NUMERIC,
    RATES,
    st.lists(
        st.tuples(WORDS, st.one_of(st.just(""), WORDS.map(lambda word: f"{word}:{word}"))),
        max_size=4,
        unique_by=lambda tag: tag[0],
    ),
    st.permutations(range(5)),
)
def test_dogstatsd_as_written(name, values, kind, rate, tags, order):
    """A line of DogStatsD's grammar, its fields in any order, is read to what it was written from."""
    section = ",".join(f"{key}:{value}" if value else key for key, value in tags)
    fields = [f"@{rate!r}", f"#{section}", "c:in-1", "T1656581400", "future:1"]
    line = f"{name}:{':'.join(map(text_of, values))}|{kind}|{'|'.join(fields[index] for index in order)}"
    read = statsd.parse(line.encode(), gauges=StatsdGauges.DOGSTATSD)
    if name in ("_e{", "_sc"):
        return
    assert read.rejected == []
    [metric] = read.metrics
    expected_rate = 1.0 if kind is StatsdKind.GAUGE else rate
    assert metric == StatsdMetric(
        name, kind, tuple(values), expected_rate, False, tuple(tags), 1656581400.0, metric.origin
    )
    assert metric.origin.container == "in-1"
    assert read.notes["unknown_field"] == 1


@given(WORDS, st.lists(st.tuples(NUMBERS, NUMERIC, RATES), min_size=2, max_size=5))
def test_classic_packing_as_written(name, samples):
    """Samples packed behind a name are each read with their type and rate; a signed gauge is a change."""
    line = name + "".join(f":{text_of(value)}|{kind}|@{rate!r}" for value, kind, rate in samples)
    read = statsd.parse(line.encode())
    assert read.rejected == []
    assert [(one.name, one.values, one.kind) for one in read.metrics] == [
        (name, (value,), kind) for value, kind, _ in samples
    ]
    assert [one.relative for one in read.metrics] == [
        kind is StatsdKind.GAUGE and text_of(value)[0] == "-" for value, kind, _ in samples
    ]


@given(
    WORDS,
    st.sampled_from([",{}", "#{}", "[{}]", ";{}"]),
    st.dictionaries(WORDS, WORDS, min_size=1, max_size=4),
    NUMBERS,
)
def test_tags_beside_the_name_as_written(name, style, tags, value):
    """The four styles with tags beside the name are read alike."""
    between = ";" if style[0] == ";" else ","
    section = style.format(between.join(f"{key}={word}" for key, word in tags.items()))
    read = statsd.parse(f"{name}{section}:{text_of(value)}|c".encode())
    assert read.rejected == []
    [metric] = read.metrics
    assert (metric.name, metric.tags, metric.values) == (name, tuple(tags.items()), (value,))


@given(st.text(min_size=1, max_size=30), st.text(max_size=30))
def test_events_as_written(title, text):
    """Title and text, counted in bytes, hold any character but a line feed, which clients write as two."""
    sent_title, sent_text = (part.replace("\n", "\\n").replace("\r", "") for part in (title, text))
    if not sent_title:
        return
    sizes = f"{len(sent_title.encode())},{len(sent_text.encode())}"
    read = statsd.parse(f"_e{{{sizes}}}:{sent_title}|{sent_text}|#k:v".encode())
    [event] = read.events
    assert (event.title, event.text) == (sent_title.replace("\\n", "\n"), sent_text.replace("\\n", "\n"))
    assert event.tags == (("k", "v"),)


@pytest.mark.parametrize(
    ("datagram", "reason", "count"),
    [
        (b"a:" + b"1" * MAX_LINE + b"|c\nb:1|c", StatsdReason.LINE_TOO_LONG, 1),
        (b"b:1|c\n" * (MAX_LINES + 7), StatsdReason.TOO_MANY_LINES, 7),
        (b"a" + b":" * MAX_VALUES + b":1|c", StatsdReason.TOO_MANY_VALUES, 1),
        (b"a:1|c" + b":" * MAX_VALUES, StatsdReason.TOO_MANY_VALUES, 1),
        (b"a:1|c|#" + b"t," * MAX_TAGS + b"t", StatsdReason.TOO_MANY_TAGS, 1),
        (b"a:-1|c|#" + b"t," * MAX_TAGS + b"t", StatsdReason.TOO_MANY_TAGS, 1),
        (b"n" * (MAX_NAME + 1) + b":1|c", StatsdReason.NAME_TOO_LONG, 1),
        (b"_sc|" + b"n" * (MAX_NAME + 1) + b"|0", StatsdReason.NAME_TOO_LONG, 1),
        (b"a:" + b"1" * (MAX_NUMBER + 1) + b"|c", StatsdReason.MALFORMED_VALUE, 1),
        (b"a:1|c|@0." + b"1" * MAX_NUMBER, StatsdReason.INVALID_SAMPLE_RATE, 1),
        (b"a:" + "ö".encode() * (MAX_MEMBER // 2 + 1) + b"|s", StatsdReason.MEMBER_TOO_LONG, 1),
        (b"\0\0\0\4}q\0.", StatsdReason.PICKLE_REFUSED, 1),
    ],
)
def test_bounds_are_counted(datagram, reason, count):
    """What is beyond a bound is refused by its reason, with the number of lines."""
    [refused] = statsd.parse(datagram).rejected
    assert (refused.reason, refused.count) == (reason, count)


@pytest.mark.parametrize(
    "datagram",
    [
        b"a" + b":" * MAX_VALUES + b"1|c",
        b"a:" + b"1" * MAX_NUMBER + b"|c",
        b"a:" + b"1" * MAX_MEMBER + b"|s",
        b"a:1|c|zz:" + b"z" * (MAX_LINE - 9),
        b"n" * MAX_NAME + b":1|c",
        b"a:1|c|#" + b",".join([b"t"] * MAX_TAGS),
        b"\n".join([b"a:1|c"] * MAX_LINES),
    ],
)
def test_what_is_within_a_bound_is_taken(datagram):
    """The bounds themselves are allowed."""
    assert statsd.parse(datagram).rejected == []


def test_a_datagram_is_bounded_in_values():
    """However they are packed: lines behind the bound are refused with their number, those before are taken."""
    for line in (b"a:" + b":".join([b"1"] * 4000) + b"|h", b"a" + b":1|c" * 2000, b"a" + b":x|c" * 2000):
        read = statsd.parse(b"\n".join([line] * 8))
        refused = sum(one.count for one in read.rejected[:-1])
        looked_at = sum(len(metric.values) for metric in read.metrics) + refused
        assert MAX_VALUES <= looked_at < 2 * MAX_VALUES
        last = read.rejected[-1]
        assert (last.reason, last.count) == (
            StatsdReason.TOO_MANY_VALUES,
            8 - looked_at // (4000 if b"|h" in line else 2000),
        )


def test_a_line_that_is_refused_leaves_nothing_out():
    """Fields are counted as left out only of lines that are taken."""
    read = statsd.parse(b"a:1|c|zz:1|@-1\na:1::2|h|#,|@x\na:1|g|@0.5:x|c")
    assert len(read.rejected) == 3
    assert read.notes == {"sample_rate": 1}


def test_what_a_sign_means_can_be_told():
    """A sign is read as the protocol of the clients has it, whatever else stands in the line; what is doubtful is counted."""
    lines = b"a:-5|g\na:+5|g\na:-5|g|#k:v"
    for gauges, relative, notes in (
        (StatsdGauges.STATSD, True, {"ambiguous_gauge": 1}),
        (StatsdGauges.DOGSTATSD, False, {}),
    ):
        read = statsd.parse(lines, gauges=gauges)
        assert [metric.relative for metric in read.metrics] == [relative] * 3
        assert read.notes == notes


def test_rates_weigh():
    """A counter is increased by value/rate, a timer's value stands for 1/rate measurements, as a float."""
    counter, timer = statsd.parse(b"a:1:2|c|@0.3\nb:5|ms|@0.3").metrics
    assert counter.total == pytest.approx(10)
    assert timer.weight == pytest.approx(1 / 0.3)


def test_telemetry_stands_apart():
    """A client's own lines are no metrics of the user, and what it dropped is added up by its own names."""
    read = statsd.parse(
        b"a:1|c\ndatadog.dogstatsd.client.packets_dropped:2|c\ndatadog.dogstatsd.client.packets_dropped:3|c|#x:y\n"
        b"datadog.dogstatsd.client.bytes_dropped_queue:80|c\ndatadog.dogstatsd.client.metrics:9|c"
    )
    assert [metric.name for metric in read.metrics] == ["a"]
    assert len(read.telemetry) == 4
    assert read.dropped_by_client == {"packets_dropped": 5, "bytes_dropped_queue": 80}
