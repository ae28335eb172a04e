"""Lines whose series is known by their bytes become what the parser makes of them, to the last bit; and nobody can spoil it for others."""

import json
import tracemalloc
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.collector.listening import StatsdReader
from atmost.collector.options import COARSE_SLOTS, FINE_SLOTS, CollectorOptions, Place
from atmost.collector.state import statsd_lines
from atmost.collector.state.listeners import ListenerStats
from atmost.collector.state.state import CollectorState
from atmost.collector.state.statsd import StatsdState
from atmost.ingest import statsd
from atmost.ingest.statsd import StatsdMetric
from atmost.metrics.history import Packed
from tests.collector.scene import STATSD, T0

CORPUS = Path(__file__).parents[2] / "ingest/corpus/statsd"
PEER = ("10.0.0.7", 9)
RULES = """
mappings:
- {match: 'mapped.*', name: 'm', labels: {of: '$1'}}
- {match: 'scaled.*', name: 's', scale: 0.5}
- {match: 'gone.*', action: drop, name: ''}
"""


class Known:
    """A collector's state as its listener feeds it."""

    def __init__(self, **options):
        self.state = CollectorState(CollectorOptions(**options), T0, 0.0)
        self.stats = ListenerStats("statsd", STATSD)
        self.reader = StatsdReader(self.state, Place(host="127.0.0.1"))

    def feed(self, datagrams, now=T0):
        """Datagrams that wait together."""
        waiting = deque((datagram, PEER) for datagram in datagrams)
        while waiting:
            self.reader.feed(waiting, self.stats, now, None)

    @property
    def lines(self):
        """What is known of lines."""
        return self.state.statsd_lines


class Parsed(Known):
    """One in which the parser reads every line."""

    def feed(self, datagrams, now=T0):
        for datagram in datagrams:
            found = statsd.parse(datagram)
            if self.state.mapping is not None:
                mapped = [self.state.mapping.apply(each) for each in found.metrics]
                found.metrics = [each for each in mapped if each is not None]
                if dropped := len(mapped) - len(found.metrics):
                    found.notes[statsd.StatsdNote.DROPPED_BY_RULE] = dropped
            self.state.feed_statsd(found, self.stats, PEER[0], f"{PEER[0]}:{PEER[1]}", now)


def buckets(each):
    """The observations of a histogram, or of a part of it."""
    if each is None:
        return None
    each = each.unpack() if isinstance(each, Packed) else each
    return each.scale, each.positive, each.negative, each.zero


def seen(known):
    """All that can be asked of a state, in the order in which it came to be; but not when a series was written last."""
    state, stats = known.state, known.stats
    series = [
        (
            key,
            (each.name, each.kind, each.labels, each.unit, each.mapped, each.help, each.falls),
            (each.value, each.sum, sorted(each.members)),
            buckets(each.buckets),
            each.ring.rows(T0 - 10, T0 + 1000),
            each.ring.for_width(10.0).rows(T0 - 10, T0 + 1000),
            None if each.recent is None else [(at, buckets(one)) for at, one in each.recent.pieces(T0 - 10, T0 + 1000)],
        )
        for key, each in state.statsd.series.items()
    ]
    counts = (stats.accepted, dict(stats.rejected), dict(stats.notes), dict(state.statsd.counts))
    told = (dict(state.client_drops), state.warnings, len(state.logs), state.news())
    return series, counts, told, [(each.reason, each.sample) for each in state.rejected.latest()]


def agree(turns, **options):
    """Both ways, with the same turns of datagrams and times."""
    known, parsed = Known(**options), Parsed(**options)
    rules = statsd.read_mapping(RULES)
    known.state.mapping, parsed.state.mapping = rules, rules
    now = T0
    for after, datagrams in turns:
        now += after
        known.feed(datagrams, now)
        parsed.feed(datagrams, now)
        known.state.statsd.tick(now)
        parsed.state.statsd.tick(now)
        assert seen(known) == seen(parsed)
    written = parsed.state.statsd.series
    for key, each in known.state.statsd.series.items():
        assert 0 <= each.updated - written[key].updated <= 0.25
    return known


NAMES = ["a", "b.c", "größe", "mapped.x", "scaled.x", "gone.x", "a,k=v", "a[k=v]b", "[k=v:1]a", "a;k=v", "a#k=v", "a:1"]
TEXTS = [
    "1",
    "2",
    "0",
    "0.1",
    "0.30",
    "7.",
    ".5",
    "320.25",
    "-1",
    "+3",
    "1e3",
    "1_0",
    "",
    ".",
    "1.2.3",
    "x",
    " 1",
    "٣",
    "²",
]
TEXTS += ["1:2", "9" * 31, "9" * 33, "9" * 64, "9" * 65, "0" * 40 + "1"]
BEHIND = [
    "c",
    "g",
    "ms",
    "h",
    "d",
    "s",
    "c|@0.3",
    "ms|@0.1",
    "h|@1e-7",
    "h|@0",
    "g|@0.5",
    "c|#k:v",
    "c|#k:v,l:w",
    "c|#l:w,k:v",
]
BEHIND += ["c\r", "c|T12", "c|zz:1", "c|c:box", "q", "c|", "c:1|c", "ms|@0.5:2|ms", "c|#,k:v", "c|#k:1,k:2", "c|@2"]
WORDS = st.one_of(st.sampled_from(TEXTS), st.integers(0, 400).map(str), st.floats(0, 1e6).map(repr))
LINES = st.one_of(
    st.builds("{}:{}|{}".format, st.sampled_from(NAMES), WORDS, st.sampled_from(BEHIND)),
    st.builds("{}:{}|{}".format, st.sampled_from(["a", "b.c"]), WORDS, st.sampled_from("cgh")),
    st.sampled_from(
        ["", "\r", "_e{1,1}:t|x", "_sc|db|0", "a", "datadog.dogstatsd.client.packets_dropped:3|c", "a:1|c:2|ms"]
    ),
).map(str.encode)
DATAGRAMS = st.one_of(
    st.lists(st.one_of(LINES, LINES, st.just(b"a\xff:1|c")), max_size=12).map(b"\n".join),
    st.binary(max_size=20),
)
TURNS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.999, 1.0, 10.0]), st.lists(DATAGRAMS, max_size=6)), max_size=8
)


@given(TURNS)
def test_known_lines_become_what_the_parser_makes_of_them(turns):
    """Every value, slot, bucket, refusal and note."""
    agree(turns)


@pytest.mark.slow
@given(TURNS, st.integers(1, 6), st.integers(1, 3))
def test_so_they_do_at_every_bound(turns, most, histograms):
    """Also where series, histograms and members are refused."""
    agree(turns, max_statsd_series=most, max_histograms=histograms, max_set_values=2)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*")), ids=lambda path: path.name)
def test_so_does_every_input_that_was_reported(path):
    """Alone, again, and in the midst of lines that are known."""
    datagram = path.read_bytes()
    around = b"a:1|c\n" + datagram + b"\na:2|c"
    agree([(0.0, [datagram, datagram]), (0.1, [b"a:1|c", around]), (1.0, [around, datagram])])


def test_what_the_page_lists_is_taken_alike():
    """The names of its accepted and rejected lines, with another value, too."""
    page = (Path(__file__).parents[3] / "docs/ingest.md").read_text(encoding="utf-8")
    rows = [line.split("`")[1].replace("\\|", "|") for line in page.splitlines() if line.startswith("| `")]
    lines = [row.encode().decode("unicode_escape").encode("latin-1", "replace") for row in rows]
    changed = [line.replace(b":1|", b":7.5|") for line in lines]
    known = agree([(0.0, lines), (0.1, changed), (0.1, [b"\n".join(lines), *changed]), (1.0, changed)])
    assert known.stats.accepted > 200


def test_a_known_line_is_not_parsed(monkeypatch):
    """The parser sees the first line of a spelling, and no second; a value that is not plain, and a pack, it sees each time."""
    known, read = Known(), []
    parse = statsd.parse
    known.feed([b"a:1|c|#k:v\nt:0.25|ms"])
    monkeypatch.setattr(statsd, "parse", lambda datagram, **how: read.append(datagram) or parse(datagram, **how))
    known.feed([b"t:1|ms\na:1|c|#k:v\na:20|c|#k:v", b"a:3|c|#k:v"])
    assert read == []
    known.feed([b"a:1|c|#k:v\na:-1|c|#k:v\na:1:2|c|#k:v\na:1|c|#k:v"])
    assert read == [b"\na:-1|c|#k:v\na:1:2|c|#k:v"]
    assert known.state.statsd.series["a", "counter", (("k", "v"),)].value == 29.0
    assert known.stats.accepted == 10


def test_values_wait_no_longer_than_a_quarter_of_a_second(monkeypatch):
    """Nor over the end of their slot; and who asks sees them all."""
    known, booked = Known(), []
    book = StatsdState._book
    monkeypatch.setattr(StatsdState, "_book", lambda state, each: booked.append(list(each)) or book(state, each))
    known.feed([b"a:1|c"])
    for after, value in ((0.1, 1), (0.2, 2), (0.4, 3), (0.45, 4), (1.0, 5)):
        known.feed([b"a:%d|c" % value], T0 + after)
    assert booked == [[1.0, 2.0], [3.0, 4.0]]
    (series,) = known.state.statsd.series.values()
    assert booked == [[1.0, 2.0], [3.0, 4.0], [5.0]]
    assert [row[3] for row in series.ring.rows(T0, T0 + 5)] == [11.0, 5.0]


def test_rules_that_change_hold_at_once():
    """A name that is mapped from now on counts where the rule says, however well it was known."""
    known = Known()
    known.feed([b"mapped.x:1|c"])
    known.feed([b"mapped.x:1|c"])
    known.state.mapping = statsd.read_mapping(RULES)
    known.feed([b"mapped.x:1|c", b"mapped.x:1|c"], T0 + 0.1)
    totals = {key: each.value for key, each in known.state.statsd.series.items()}
    assert totals == {("mapped.x", "counter", ()): 2.0, ("m", "counter", (("of", "x"),)): 2.0}


def test_a_series_that_made_room_is_not_written_any_more():
    """Its spelling leads to a new series, or to a refusal; nothing is counted in what nobody can see."""
    known = Known(max_statsd_series=1)
    known.feed([b"a:1|c"])
    known.feed([b"a:1|c"])
    later = T0 + 8 * 3600
    known.feed([b"b:1|c", b"b:1|c"], later)
    known.feed([b"a:1|c"], later)
    assert [(each.name, each.value) for each in known.state.statsd.series.values()] == [("b", 2.0)]
    assert known.state.statsd.counts["series_limit"] == 1


class TestBounds:
    """What a stranger's lines can take, and what they cannot take away."""

    def test_a_series_has_few_spellings(self):
        """More are parsed each time, and the values are the same."""
        known, spellings = Known(), [f"c|#k:v|zz{number}:1".encode() for number in range(20)]
        spellings += [b"c|#k:v|c:%d" % number for number in range(20)]
        for turn in range(3):
            known.feed([b"a:1|" + each for each in spellings], T0 + turn)
        (series,) = known.state.statsd.series.values()
        assert series.value == 120.0
        assert len(known.lines._spellings) == 2

    def test_long_spellings_and_numbers_are_parsed(self):
        """They are counted as ever."""
        known, tag = Known(), b"x" * 300
        for turn in range(3):
            known.feed([b"a:1|c|#k:" + tag, b"b:" + b"0" * 40 + b"1|c"], T0 + turn)
        assert [each.value for each in known.state.statsd.series.values()] == [3.0, 3.0]
        assert len(known.lines._spellings) == 0

    def test_whole_lines_and_numbers_are_bounded(self, monkeypatch):
        """They are forgotten together when there is no room, whole lines only now and then; spellings stay."""
        monkeypatch.setattr(statsd_lines, "_REMEMBERED", 100)
        known = Known()
        known.feed([b"a:0|c"])
        for turn in range(20):
            known.feed([b"a:%d|c" % (turn * 50 + number) for number in range(50)], T0 + turn * 0.3)
            assert len(known.lines._lines) <= 100
            assert len(known.lines._numbers) <= 100
        held = set(known.lines._lines)
        known.feed([b"a:%d|c" % number for number in range(5000, 5050)], T0 + 6.1)
        assert set(known.lines._lines) == held
        known.feed([b"a:%d|c" % number for number in range(6000, 6050)], T0 + 20.0)
        assert set(known.lines._lines).isdisjoint(held)
        (series,) = known.state.statsd.series.values()
        assert series.value == sum(range(1000)) + sum(range(5000, 5050)) + sum(range(6000, 6050))

    def test_what_waits_is_bounded(self, monkeypatch):
        """Values are booked early when they are many."""
        monkeypatch.setattr(statsd_lines, "_GATHERED", 100)
        known = Known()
        known.feed([b"a:1|c"])
        for _ in range(50):
            known.feed([b"\n".join([b"a:1|c"] * 10)])
            assert sum(map(len, known.lines._spellings.values())) <= 110

    def test_learning_has_a_budget(self, monkeypatch):
        """A flood of new names costs no more than to be parsed once more for some of them; known lines stay known."""
        monkeypatch.setattr(statsd_lines, "_LEARNED", 10)
        known, looked = Known(max_statsd_series=50), []
        look = statsd_lines._plain_metric
        monkeypatch.setattr(statsd_lines, "_plain_metric", lambda line: looked.append(line) or look(line))
        known.feed([b"good:1|c"])
        known.feed([b"junk%d:1|c" % number for number in range(3000)], T0 + 0.1)
        assert len(looked) == 10
        assert ("good", "c") in known.lines._spellings
        known.feed([b"good:1|c", b"good:2|c"], T0 + 0.2)
        assert len(looked) == 10
        assert known.state.statsd.series["good", "counter", ()].value == 4.0

    def test_a_pickle_and_a_long_datagram_are_the_parsers_as_a_whole(self):
        """Their bounds are those of the datagram."""
        long = b"\n".join([b"a:1|c"] * 2000)
        pickle = b"\0\0\0\x03}q.\n"[:7]
        agree([(0.0, [b"a:1|c", long, pickle]), (0.1, [pickle, long, b"a:1|c"])])

    def test_its_memory_is_in_the_bound_of_the_collector(self):
        """The longest spellings of many series, and a constant for lines, numbers and what waits."""
        count, known = 500, Known()
        lines = [f"{number:0>190}:1|c|#{tag}:{'x' * 60}" for number in range(count) for tag in "kl"]
        known.feed([line.encode() for line in lines])
        known.lines._budget = 0
        known.state.mapping = statsd.read_mapping("mappings: []")
        known.feed([b""])
        known.lines._budget = len(lines)
        tracemalloc.start()
        try:
            known.lines.learn(lines)
            spellings = tracemalloc.get_traced_memory()[0]
            assert len(known.lines._spellings) == 2 * count
            for turn in range(40):
                known.feed([f"{number:0>190}:{turn}.25|c|#k:{'x' * 60}".encode() for number in range(count)])
            rest = tracemalloc.get_traced_memory()[0] - spellings
        finally:
            tracemalloc.stop()
        assert len(known.lines._lines) == 4096
        few, many = CollectorOptions(max_statsd_series=1000), CollectorOptions(max_statsd_series=2000)
        series = (COARSE_SLOTS + FINE_SLOTS) * 16
        assert spellings / count < (many.memory_bound() - few.memory_bound()) / 1000 - series
        assert rest < 4 << 20


def test_the_parsers_metric_is_what_a_spelling_stands_for():
    """One value of a kind that has spellings: neither changes, packs, sets nor times."""
    plain = statsd_lines._plain_metric
    assert plain("a:1|c|#k:v") == StatsdMetric("a", statsd.StatsdKind.COUNTER, (1.0,), tags=(("k", "v"),))
    for line in ("a:1|s", "a:1:2|h", "a:+1|g", "a:1|c|T12", "a:1|c|zz:1", "a:1|c:1|c", "_sc|a|0", "a:1", "a:1|h|@1e-7"):
        assert plain(line) is None, line
    assert json.dumps(sorted(statsd.StatsdKind)) == '["c", "d", "g", "h", "ms", "s"]'
