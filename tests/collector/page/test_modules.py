"""The page's arithmetic and words, module by module, in the browser that runs them."""

import json
import math
from itertools import pairwise
from random import Random

import pytest

from tests.collector.page.fake import FakeCollector

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture(scope="module")
def page(browser):
    """The page, for whose modules one is enough."""
    collector = FakeCollector()
    collector.start()
    context = browser.new_context()
    page = context.new_page()
    page.goto(collector.url)
    yield page
    context.close()
    collector.stop()


@pytest.fixture
def call(page):
    """A function that calls an exported function of a module for each list of arguments."""

    def many(module, name, *calls):
        code = "async ([module, name, calls]) => { const f = (await import('/' + module))[name]; return calls.map((each) => f(...each)); }"
        return page.evaluate(code, [module, name, [list(each) for each in calls]])

    return many


def test_numbers_for_people(call):
    """Three digits, units, and never a figure for what is not known."""
    assert call("format.js", "count", [0], [1234567], [None]) == ["0", "1,234,567", "–"]
    assert call("format.js", "short", [0], [7.25], [9999], [12345], [None]) == ["0", "7.25", "9,999", "12.3 k", "–"]
    shares = [0, 1, 0.5, 0.0123, 0.00001, 0.999999, None]
    assert call("format.js", "percent", *[[share] for share in shares]) == [
        "0 %",
        "100 %",
        "50.0 %",
        "1.23 %",
        "< 0.01 %",
        "> 99.99 %",
        "–",
    ]
    assert call("format.js", "bytes", [0], [512], [3 << 30], [None]) == ["0 B", "512 B", "3 GiB", "–"]
    times = [0, 9.94, 59.9, 200, 7500, 300000, None]
    assert call("format.js", "duration", *[[time] for time in times]) == [
        "0.0 s",
        "9.9 s",
        "59 s",
        "3 min 20 s",
        "2 h 05 min",
        "3 d 11 h",
        "–",
    ]


def test_values_with_their_units(call):
    """Bytes in powers of two, seconds from µs up, ratios as per cent, the rest in powers of ten; rates say so."""
    given = [
        (0.0123, "seconds"),
        (2.5e-6, "seconds"),
        (0.42, "ratio"),
        (1536, "bytes"),
        (1536, "bytes", True),
        (12e6, ""),
        (12, "", True),
        (0.5, ""),
        (None, "bytes"),
        (3, "requests"),
    ]
    assert call("format.js", "value", *given) == [
        "12.3 ms",
        "2.50 µs",
        "42 %",
        "1.50 KiB",
        "1.50 KiB/s",
        "12 M",
        "12/s",
        "0.50",
        "–",
        "3 requests",
    ]
    names = [
        ("memory.used_bytes", ""),
        ("cpu.utilization", ""),
        ("disk.read_bytes_per_second", ""),
        ("x_seconds_total", ""),
        ("bytes_of_milk", ""),
        ("x_bytes", "litres"),
    ]
    assert call("format.js", "unitOf", *names) == ["bytes", "ratio", "bytes/s", "seconds", "", "litres"]


def test_ticks_are_round_and_cover_the_range(call):
    """Over many ranges: evenly spaced, from at most the least to at least the largest, 3 to 9 of them, each label different."""
    dice = Random(1)
    ranges = [(0.0, 10 ** dice.uniform(-6, 12)) for _ in range(150)]
    ranges += [(low, low + 10 ** dice.uniform(-3, 6)) for low in (dice.uniform(-1e4, 1e4) for _ in range(150))]
    found = call("scale.js", "ticks", *[(low, high, 4) for low, high in ranges])
    for (low, high), marks in zip(ranges, found, strict=True):
        step = marks[1] - marks[0]
        assert marks[0] <= low + step * 1e-6
        assert marks[-1] >= high - step * 1e-6
        assert 3 <= len(marks) <= 9
        assert all(math.isclose(b - a, step, rel_tol=1e-6, abs_tol=1e-9) for a, b in pairwise(marks))
    readable = [marks for marks in found if marks[1] - marks[0] >= 1e-6]
    for marks in readable:
        labels = call("scale.js", "tickLabel", *[(mark, marks) for mark in marks])
        assert len(set(labels)) == len(marks)


def runs_of(values):
    """The oracle: neighbouring indexes that hold a value."""
    found = []
    for index, value in enumerate(values):
        if value is not None:
            if found and found[-1][1] == index - 1:
                found[-1][1] = index
            else:
                found.append([index, index])
    return found


def test_lines_and_gaps_divide_the_points(call):
    """Whatever is missing: no run holds a null, no gap a value, and between two runs lies exactly one gap."""
    dice = Random(2)
    curves = [[dice.choice([None, 1.0, 2.0]) for _ in range(dice.randint(0, 40))] for _ in range(200)]
    as_points = [
        [{"t": at, "value": value, "lost": 0, "completeness": None} for at, value in enumerate(curve)]
        for curve in curves
    ]
    runs = call("scale.js", "runs", *[[points] for points in as_points])
    gaps = call("scale.js", "gaps", *[[points] for points in as_points])
    for curve, found, missing in zip(curves, runs, gaps, strict=True):
        assert found == runs_of(curve)
        between = [[one[1] + 1, other[0] - 1] for one, other in pairwise(found)]
        assert missing[: len(between)] == between
        silence = missing[len(between) :]
        last = found[-1][1] if found else len(curve)
        assert silence == ([[last + 1, len(curve) - 1]] if last < len(curve) - 2 else [])


def common_gaps(answers):
    """Moments in steps of a half that lie in some line's gap, and in which no line has a value."""
    moments = [at / 2 + 0.25 for at in range(160)]
    missing = []
    for moment in moments:
        held = any(
            point["t"] <= moment < point["t"] + answer["step"] and point["value"] is not None
            for answer in answers
            for point in answer["points"]
        )
        inside = False
        for answer in answers:
            points, step = answer["points"], answer["step"]
            runs = runs_of([point["value"] for point in points])
            stretches = [(one[1] + 1, other[0] - 1) for one, other in pairwise(runs)]
            if runs and runs[-1][1] < len(points) - 2:
                stretches.append((runs[-1][1] + 1, len(points) - 1))
            inside |= any(points[first]["t"] <= moment < points[last]["t"] + step for first, last in stretches)
        missing.append(inside and not held)
    return missing


def test_gaps_that_lines_have_in_common(call):
    """Of lines with steps and beginnings of their own, against each moment by itself."""
    dice = Random(4)
    given = []
    for _ in range(100):
        answers = []
        for _ in range(dice.randint(1, 3)):
            step, start = dice.choice([1, 2]), dice.randint(0, 10)
            values = [dice.choice([None, None, 1.0]) for _ in range(dice.randint(0, 20))]
            answers.append(
                {"step": step, "points": [{"t": start + at * step, "value": value} for at, value in enumerate(values)]}
            )
        given.append(answers)
    for answers, found in zip(given, call("scale.js", "commonGaps", *[[answers] for answers in given]), strict=True):
        covered = [any(first <= at / 2 + 0.25 < last for first, last in found) for at in range(160)]
        assert covered == common_gaps(answers)
        assert all(one[1] < other[0] for one, other in pairwise(found))


def test_the_work_for_common_gaps_grows_with_the_points(page):
    """Twice as many points with a gap after each are read about twice as often, not four times."""
    code = """async () => {
      const { commonGaps } = await import('/scale.js');
      let reads = 0;
      const point = (at) => ({ get t() { reads += 1; return at; }, value: at % 2 ? null : 1 });
      return [1000, 2000].map((count) => {
        reads = 0;
        commonGaps([0, 1, 2].map(() => ({ step: 1, points: Array.from({ length: count }, (_, at) => point(at)) })));
        return reads;
      });
    }"""
    few, many = page.evaluate(code)
    assert few > 1000
    assert many < 2.5 * few


def test_a_range_of_values_has_room(call):
    """From 0 where the values come near it; a constant is no line on the edge; nothing is a range too."""
    given = [[[]], [[0, 0]], [[5, 5]], [[-5]], [[10, 100]], [[98, 100]], [[-10, 10]]]
    assert call("scale.js", "valueRange", *given) == [
        [0, 1],
        [0, 1],
        [0, 6.25],
        [-6.25, 0],
        [0, 100],
        [97.8, 100.2],
        [-12, 12],
    ]


def test_events_come_out_whole_however_they_are_cut(page):
    """Any division into parts, any of the three line ends, comments, several data lines, and a cursor."""
    text = ': hello\r\nevent: overview\r\ndata: {"a": 1}\r\n\r\nid: 7\nevent: logs\ndata: one\ndata:  two\n\n: c\n\ndata:x\rid:8\r\rdata: é😀\n\nevent: lost\n\n'
    wanted = [
        ["overview", '{"a": 1}', None],
        ["logs", "one\n two", "7"],
        ["message", "x", "8"],
        ["message", "é😀", "8"],
    ]
    dice = Random(3)
    divisions = [[text], list(text)]
    for _ in range(100):
        cuts = sorted(dice.sample(range(1, len(text)), dice.randint(1, 20)))
        divisions.append([text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)])
    code = """async (divisions) => {
        const { EventParser } = await import('/stream.js');
        return divisions.map((parts) => {
            const parser = new EventParser();
            return parts.flatMap((part) => [...parser.push(part)]).map(({ event, data, id }) => [event, data, id]);
        });
    }"""
    for parts, found in zip(divisions, page.evaluate(code, divisions), strict=True):
        assert found == wanted, json.dumps(parts)


def test_an_event_without_end_is_given_up(page):
    """A stream that never ends its line takes no memory without bound."""
    code = """async () => {
        const { EventParser } = await import('/stream.js');
        const parser = new EventParser();
        const part = 'data: ' + 'x'.repeat(1 << 20);
        for (let count = 0; count < 20; count++) {
            try { [...parser.push(part)]; } catch { return count; }
        }
    }"""
    assert page.evaluate(code) == 7


def test_what_passes_a_filter(call):
    """By level and what may be hidden: unknown levels pass, as do holes of which not every level is told."""

    def gap(lost, levels):
        return {"type": "gap", "sender": "s", "lost": lost, "by_level": levels}

    def line(level):
        return {"type": "record", "sender": "s", "level": level, "message": "m", "exception": None}

    wanted = {"level": "WARNING", "sender": "", "text": ""}
    given = [
        line("INFO"),
        line("WARNING"),
        line("ALERT"),
        line(None),
        line("LEVEL 35"),
        line("LEVEL 15"),
        line("odd"),
        gap(2, {"INFO": 2}),
        gap(2, {"INFO": 1}),
        gap(2, {"INFO": 1, "ERROR": 1}),
        gap(2, None),
    ]
    assert call("logrow.js", "passes", *[(each, wanted) for each in given]) == [
        False,
        True,
        True,
        True,
        True,
        False,
        True,
        False,
        True,
        True,
        True,
    ]
