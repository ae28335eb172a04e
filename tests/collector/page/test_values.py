"""Values with their completeness: what a chart draws, and above all what it does not draw."""

import re
import time

import pytest

from tests.collector.page.answers import points, series
from tests.real import until

pytestmark = pytest.mark.needs("chromium")

LINE = "#charts-body path.line"


def chart_of(fake, visit, *values, lost=None, **facts):
    """A page with one chart of so many points."""
    fake.series = [series("queue.length", **facts)]
    fake.points = {"queue.length": points(*values, lost=lost)}
    page = visit(fake.url)
    page.wait_for_selector(LINE, state="attached")
    return page


def test_a_reading_appears(fake, visit):
    """A series nobody has asked for is charted by itself as soon as it is known, with its last value and unit."""
    page = visit(fake.url)
    page.wait_for_selector("#charts-empty .empty")
    fake.units = {"memory.used": "bytes"}
    fake.points = {"memory.used": points(*[3 << 30] * 5)}
    fake.series = [series("memory.used", unit="bytes")]
    page.wait_for_selector(LINE, state="attached")
    assert page.inner_text("#charts-body h3") == "memory.used"
    assert page.inner_text("#charts-body .last") == "3 GiB"
    assert "100 % complete over this range" in page.inner_text("#charts-body .note")
    assert not page.query_selector("#charts-empty .empty")


def test_a_gap_shows_as_a_gap(fake, visit):
    """Two segments with nothing between them, and the time between is marked."""
    page = chart_of(fake, visit, 1.0, 2.0, 3.0, None, None, None, 4.0, 5.0, 6.0)
    ends = [
        [float(number) for number in re.findall(r"[\d.]+", path.get_attribute("d"))]
        for path in page.query_selector_all(LINE)
    ]
    assert len(ends) == 2
    (gap,) = page.query_selector_all("#charts-body rect.gap")
    left, width = float(gap.get_attribute("x")), float(gap.get_attribute("width"))
    assert ends[0][-2] <= left
    assert left + width <= ends[1][0]
    assert width > 0.25 * (ends[1][-2] - ends[0][0])


def test_one_value_between_two_gaps_is_a_dot(fake, visit):
    """A line needs two points; one value must not vanish for that."""
    page = chart_of(fake, visit, 1.0, 1.0, None, 5.0, None, 1.0, 1.0)
    assert len(page.query_selector_all(LINE)) == 3
    assert page.query_selector(f"{LINE}.dot").get_attribute("d").endswith("h0")


def test_the_step_that_is_not_over_is_no_gap(fake, visit):
    """The newest step may still be filled; two empty ones are silence."""
    page = chart_of(fake, visit, 1.0, 2.0, 3.0, None)
    assert not page.query_selector("rect.gap")
    fake.points = {"queue.length": points(1.0, 2.0, 3.0, None, None)}
    page.get_by_label("1 m").check()
    page.wait_for_selector("rect.gap", state="attached")


def test_the_band_says_how_complete(fake, visit):
    """Complete, nearly, poor; where numbers are missing it is unknown, and never looks complete."""
    lost = {2: (1, 0.95), 4: (6, 0.4), 5: (6, 0.4), 7: (None, None)}
    page = chart_of(fake, visit, *[1.0] * 9, lost=lost)
    shown = [band.get_attribute("class").split()[1] for band in page.query_selector_all("rect.band")]
    assert shown == ["complete", "partial", "complete", "poor", "complete", "unknown", "complete"]


def test_a_step_of_which_everything_was_lost_has_a_band_and_no_line(fake, visit):
    """Known loss without any value: the band says so where the line stops."""
    page = chart_of(fake, visit, 1.0, 1.0, None, 1.0, 1.0, lost={2: (7, 0.0)})
    shown = [band.get_attribute("class").split()[1] for band in page.query_selector_all("rect.band")]
    assert shown == ["complete", "poor", "complete"]
    assert len(page.query_selector_all(LINE)) == 2


def test_a_value_under_the_pointer(fake, visit):
    """The tip tells time, value, and how complete it is; of a gap it tells that nothing arrived."""
    page = chart_of(fake, visit, *[1.0] * 10, None, None, *[3.0] * 9, lost={2: (4, 0.9)})
    box = page.query_selector("svg.chart").bounding_box()

    def tip_at(share):
        page.mouse.move(box["x"] + 62 + share * (box["width"] - 72), box["y"] + 60)
        return page.inner_text(".tip")

    assert re.fullmatch(r"\d\d:\d\d:\d\d\n1\ncomplete", tip_at(0.5 / 21))
    assert tip_at(2.5 / 21).endswith("\n1\n90.0 % complete, 4 lost")
    assert "no value: nothing arrived" in tip_at(11 / 21)
    assert tip_at(20.5 / 21).endswith("\n3\ncomplete")
    page.mouse.move(1, 1)
    page.wait_for_selector(".tip", state="hidden")


def test_values_by_keyboard(fake, visit):
    """Arrows, page keys, Home and End walk the points, and a screen reader hears each."""
    page = chart_of(fake, visit, *[float(number) for number in range(30)])
    chart = page.query_selector("svg.chart")
    chart.focus()

    def after(key):
        page.keyboard.press(key)
        return chart.get_attribute("aria-valuetext").split(", ")[1:]

    assert after("Home") == ["0", "complete"]
    assert after("ArrowRight") == ["1", "complete"]
    assert after("PageUp") == ["11", "complete"]
    assert after("ArrowLeft") == ["10", "complete"]
    assert after("End") == ["29", "complete"]
    assert after("ArrowRight") == ["29", "complete"]
    assert page.is_visible(".tip")
    page.keyboard.press("Escape")
    assert not page.is_visible(".tip")


def test_charts_point_at_the_same_moment(fake, visit):
    """The pointer over one chart marks the moment in the others, so that one sees what happened together."""
    fake.series = [series("a"), series("b")]
    fake.points = {"a": points(*[1.0] * 9), "b": points(*[2.0] * 9)}
    page = visit(fake.url)
    until(lambda: len(page.query_selector_all(LINE)) == 2)
    page.hover("svg.chart >> nth=0")
    assert [cross.get_attribute("visibility") for cross in page.query_selector_all(".cross")] == ["visible", "visible"]
    assert page.locator(".tip:visible").count() == 1


def test_the_range_is_chosen_and_remembered(fake, visit):
    """One minute to six hours; the question says so, and the page knows it the next time."""
    page = chart_of(fake, visit, 1.0, 1.0)
    asked = lambda: {query["range"] for path, query, _ in fake.asked if path.endswith("/query")}  # noqa: E731
    assert asked() == {"600"}
    page.get_by_label("6 h").check()
    until(lambda: asked() == {"600", "21600"})
    fake.asked.clear()
    page.reload()
    page.wait_for_selector(LINE, state="attached")
    assert asked() == {"21600"}
    assert page.get_by_label("6 h").is_checked()


def test_what_is_asked_of_each_kind(fake, visit):
    """Counters as rates, histograms as a quantile that can be changed, gauges as they are; with sender and labels."""
    fake.series = [
        series("hits", kind="counter", labels={"route": "/a=b", "m": "x"}, sender="s1"),
        series("seconds", kind="histogram", unit="seconds"),
        series("level"),
    ]
    fake.points = {name: points(1.0, 2.0) for name in ("hits", "seconds", "level")}
    page = visit(fake.url)
    until(lambda: len(page.query_selector_all(LINE)) == 3)
    asked = {query["name"]: query for path, query, _ in fake.asked if path.endswith("/query")}
    assert (asked["hits"]["as"], asked["hits"]["sender"]) == ("rate", "s1")
    assert page.inner_text("article[aria-label^='hits'] .last") == "2/s"
    assert asked["level"]["as"] == "value"
    assert asked["seconds"]["as"] == "p99"
    page.select_option("select[aria-label=Quantile]", "p50")
    until(lambda: any(query.get("as") == "p50" for _, query, _ in fake.asked))
    labels = page.evaluate("""async () => {
        const seen = performance.getEntriesByType('resource').map((one) => new URL(one.name)).find((url) => url.searchParams.get('name') === 'hits');
        return seen.searchParams.getAll('label');
    }""")
    assert labels == ["route=/a=b", "m=x"]


def test_series_are_found_and_chosen(fake, visit):
    """By name, label or sender, by keyboard; the choice outlives the page; no more than a dozen at once."""
    fake.series = [series(f"load{number}.mean", labels={"disk": f"sd{number}"}) for number in range(70)]
    fake.points = {one["name"]: points(1.0, 2.0) for one in fake.series}
    page = visit(fake.url)
    until(lambda: len(page.query_selector_all(".chart-card")) == 4)
    page.focus("#picker summary")
    page.keyboard.press("Enter")
    until(lambda: len(page.query_selector_all("#picker-list input")) == 50)
    assert page.inner_text("#picker-note") == "50 series, 20 more: type to narrow them down"
    assert page.locator("#picker-list input:checked").count() == 4
    page.keyboard.type("sd66")
    until(lambda: len(page.query_selector_all("#picker-list input")) == 1)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    until(lambda: len(page.query_selector_all(".chart-card")) == 5)
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.click("button[aria-label^='Take the chart of load0.mean']")
    page.reload()
    until(lambda: page.locator(".chart-card h3").all_inner_texts()[-1:] == ['load66.mean{disk="sd66"}'])
    assert page.locator(".chart-card").count() == 4
    page.click("#picker summary")
    until(lambda: page.locator("#picker-list input").count() == 50)
    for number in range(20, 28):
        page.locator("#picker-list input").nth(number).check()
    assert page.locator(".chart-card").count() == 12
    assert page.inner_text("#picker-note") == "12 charts are the most at once: take one away first."
    assert page.locator("#picker-list input").nth(40).is_disabled()


def test_of_a_protocol_without_numbers_the_loss_is_unknown(fake, visit):
    """StatsD: the band is the one of unknown, and the note says why."""
    fake.series = [series("hits", sender="", source="statsd", kind="counter", completeness=None)]
    fake.points = {"hits": [point | {"lost": None, "completeness": None} for point in points(1.0, 2.0, 3.0)]}
    page = visit(fake.url)
    page.wait_for_selector("rect.band.unknown", state="attached")
    assert not page.query_selector("rect.band.complete")
    assert "completeness unknown: this protocol carries no numbers" in page.inner_text(".chart-card .note")


def test_a_copied_address_shows_the_same(fake, visit):
    """The charts, and the time that was zoomed into; what the reader had chosen himself is not changed by looking."""
    fake.series = [series("a.x"), series("b.y"), series("c.z", sender="other")]
    fake.points = {"b.y": points(*range(60))}
    page = visit(fake.url)
    until(lambda: page.locator(".chart-card").count() == 3)
    for name in ("a.x", "c.z"):
        page.get_by_role("button", name=f"Take the chart of {name} away").click()
    until(lambda: page.locator(".chart-card h3").all_inner_texts() == ["b.y"])
    page.wait_for_selector(".chart .line")
    box = page.locator("svg.chart").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 320, box["y"] + 50)
    page.mouse.up()
    page.wait_for_selector("#charts-live:visible")
    asked = [query for path, query, _ in fake.asked if path.endswith("/query") and "end" in query]
    assert 5 <= float(asked[-1]["range"]) < 60
    other = visit(page.url)
    until(lambda: other.locator(".chart-card h3").all_inner_texts() == ["b.y"])
    assert other.inner_text("#charts-window") == page.inner_text("#charts-window") != ""
    page.click("#charts-live")
    page.wait_for_selector("#charts-live", state="hidden")
    assert "end=" not in page.url


def test_defaults_live_and_the_dead_have_no_value(fake, visit):
    """The loss of all senders comes first; what nobody writes any more is not shown by itself, and its last value is old."""
    now = time.time()
    fake.series = [
        series("atmost.lost", sender="a", source="collector", kind="counter"),
        series("atmost.lost", sender="b", source="collector", kind="counter"),
        series("dead.x", last_seen=now - 900),
        series("live.y"),
    ]
    fake.points = {"live.y": points(*[7.0] * 30, *[None] * 30), "atmost.lost": points(*[0.0] * 60)}
    page = visit(fake.url)
    until(lambda: page.locator(".chart-card h3").all_inner_texts() == ["atmost.lost", "live.y"])
    assert "all senders" in page.locator(".chart-card").nth(0).inner_text()
    card = page.locator(".chart-card").nth(1)
    until(lambda: "nothing for" in card.inner_text())
    assert card.locator(".last").inner_text() == "–"
    assert not any("sender" in query for path, query, _ in fake.asked if query.get("name") == "atmost.lost")


def test_points_as_csv(fake, visit, tmp_path):
    """Of one chart; what is unknown is empty, not 0."""
    fake.series = [series("b.y")]
    fake.points = {"b.y": points(1.5, None, 2.0)}
    page = visit(fake.url)
    page.wait_for_selector(".chart .line", state="attached")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the points of b.y as CSV").click()
    download.value.save_as(tmp_path / "b.csv")
    rows = (tmp_path / "b.csv").read_text().splitlines()
    assert download.value.suggested_filename == "b.y.csv"
    assert rows[0] == "time,value,lost,completeness"
    assert [row.split(",")[1] for row in rows[1:]] == ["1.5", "", "2"]


def test_a_histogram_counts_observations(fake, visit):
    """Its count is not a time, whatever its unit."""
    fake.series = [series("req", kind="histogram", unit="seconds", last=13_059)]
    page = visit(fake.url)
    until(lambda: page.locator(".chart-card").count() == 1)
    page.click("#picker summary")
    page.wait_for_selector("#picker-list >> text=13,059 observations")
