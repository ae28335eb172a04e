"""Values with their completeness: what a chart draws, and above all what it does not draw."""

import csv
import re
import time

import pytest
from PIL import Image

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
    page.click("button[aria-label^='Remove the chart of load0.mean']")
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


def test_what_the_collector_counts_has_no_band(fake, visit):
    """Its completeness is no question, and least of all one of the protocol."""
    fake.series = [series("atmost.lost", source="collector", kind="counter", completeness=None)]
    fake.points = {"atmost.lost": [point | {"lost": None, "completeness": None} for point in points(1.0, 2.0, 3.0)]}
    page = visit(fake.url)
    page.wait_for_selector(LINE, state="attached")
    assert not page.query_selector("rect.band")
    assert page.inner_text(".chart-card .note") == "one point every 1 s · counted by the collector itself"
    page.click("#picker summary")
    page.wait_for_selector("#picker-list >> text=counted by the collector itself")


def test_a_copied_address_shows_the_same(fake, visit):
    """The charts, and the time that was zoomed into; what the reader had chosen himself is not changed by looking."""
    fake.series = [series("a.x"), series("b.y"), series("c.z", sender="other")]
    fake.points = {"b.y": points(*range(60))}
    page = visit(fake.url)
    until(lambda: page.locator(".chart-card").count() == 3)
    for name in ("a.x", "c.z"):
        page.get_by_role("button", name=f"Remove the chart of {name}").click()
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


def overlay(fake, visit, **options):
    """Two senders' queues and a memory, the queues in one chart and the memory in another."""
    fake.series = [
        series("queue.length", labels={"queue": queue, "disk": "a"}, sender=sender)
        for queue, sender in (("mail", "web-1"), ("bill", "web-2"))
    ] + [series("memory.used", unit="bytes"), series("cpu.load"), series("net.rate", unit="bytes/s")]
    fake.points = {
        "queue.length|queue=mail|disk=a|web-1": points(1.0, 2.0, None, None, 3.0, lost={2: (4, 0.0), 3: (4, 0.0)}),
        "queue.length|queue=bill|disk=a|web-2": points(10.0, 20.0, 30.0, None, 50.0),
        "queue.length|queue=mail|disk=a": points(11.0, 22.0, 33.0, 44.0, 55.0),
        "memory.used": points(*[3 << 30] * 5),
        "cpu.load": points(*[1.0] * 5),
        "net.rate": points(*[9.0] * 5),
    }
    fake.units = {"memory.used": "bytes", "net.rate": "bytes/s"}
    page = visit(fake.url, **options)
    until(lambda: page.locator(".chart-card").count() == 4)
    card = page.locator(".chart-card", has=page.locator("h3", has_text="queue.length"))
    card.get_by_role("button", name="Add a series to the chart of").click()
    page.wait_for_selector("#picker-list input")
    return page, card


def choose(page, *names):
    """Tick these series, and close the list."""
    for name in names:
        page.locator("#picker-list label", has_text=name).locator("input").check()
    page.keyboard.press("Escape")


def test_several_series_in_one_chart(fake, visit):
    """Each with its line, its band and its last value; hatched is only where none has a value; a second unit has its own axis."""
    page, card = overlay(fake, visit)
    choose(page, "web-2", "memory.used")
    until(lambda: card.locator(".lines li").count() == 3)
    until(lambda: card.locator("path.line-2").count() == 3)  # the line, its mark beside its band, the sample
    assert page.locator(".chart-card").count() == 4
    assert (
        card.locator("h3").inner_text()
        == 'queue.length{queue="mail", disk="a"}, queue.length{queue="bill", disk="a"}, memory.used'
    )
    assert card.locator(".line-last").all_inner_texts() == ["3", "50", "3 GiB"]
    assert card.locator(".chart path.line-0").count() == 3
    assert not card.locator("rect.gap").count()  # memory fills it
    ticks = card.locator("text.tick").all_text_contents()
    assert any(text.endswith("GiB") for text in ticks)
    assert "60" in ticks
    assert "web-1" in card.locator("svg.chart").get_attribute("aria-valuetext")
    card.get_by_role("button", name="Remove memory.used of web-3 from the chart").click()
    until(lambda: card.locator("rect.gap").count() == 1)
    assert card.locator(".lines li").count() == 2
    card.locator("svg.chart").hover(position={"x": 340, "y": 60})
    tip = card.locator(".tip").inner_text()
    assert "web-1: no value: nothing arrived, 0 % complete, 4 lost" in tip
    assert "web-2: 30, complete" in tip


def test_a_chart_has_two_units_at_most(fake, visit):
    """A third is refused in the list with the reason, and so is a ninth line."""
    page, card = overlay(fake, visit)
    page.locator("#picker-list label", has_text="memory.used").locator("input").check()
    until(lambda: page.locator("#picker-list label", has_text="net.rate").locator("input").is_disabled())
    assert page.inner_text("#picker-note") == "a chart has two axes, and both are taken by other units"
    assert page.locator("#picker-list label", has_text="cpu.load").locator("input").is_enabled()
    fake.series += [series(f"q{number}") for number in range(10)]
    page.fill("#picker-text", "q")
    until(lambda: page.locator("#picker-list input").count() == 12)
    for number in range(6):
        page.locator("#picker-list label", has_text=f"q{number}").locator("input").check()
    until(lambda: page.inner_text("#picker-note") == "8 lines are the most in one chart")
    assert card.locator(".lines li").count() == 8


def test_a_line_is_added_up_over_senders_and_labels(fake, visit):
    """By choice, with how; what is left out of the question is over all of them, and the reader stays at the control."""
    page, card = overlay(fake, visit)
    page.keyboard.press("Escape")
    card.get_by_text("Add up").click()
    card.get_by_label("all senders").check()
    until(lambda: card.locator(".last").inner_text() == "55")
    asked = [query for path, query, _ in fake.asked if path.endswith("/query") and query["name"] == "queue.length"]
    assert "sender" not in asked[-1]
    assert asked[-1]["combine"] == "sum"
    assert card.locator("h3").inner_text() == 'sum of queue.length{queue="mail", disk="a"}'
    assert card.locator(".from").inner_text() == "all senders"
    assert page.evaluate("document.activeElement.parentElement.textContent") == "all senders"
    card.get_by_label("all of disk").check()
    card.locator(".over select").select_option("max")
    until(lambda: card.locator("h3").inner_text() == 'max of queue.length{queue="mail"}')
    assert card.locator(".from").inner_text() == "all senders, over all of disk"
    until(lambda: [query for _, query, _ in fake.asked if query.get("name") == "queue.length"][-1]["combine"] == "max")
    card.get_by_label("all senders").uncheck()
    card.get_by_label("all of disk").uncheck()
    until(lambda: card.locator("h3").inner_text() == 'queue.length{queue="mail", disk="a"}')


def test_a_copied_address_holds_lines_and_sums(fake, visit):
    """Several lines, what each is added up over, and how."""
    page, card = overlay(fake, visit)
    choose(page, "web-2")
    until(lambda: card.locator(".lines li").count() == 2)
    card.locator(".over summary").first.click()
    card.get_by_label("all of queue").first.check()
    until(lambda: "sum of" in card.locator("h3").inner_text())
    other = visit(page.url)
    until(lambda: other.locator(".chart-card h3").all_inner_texts() == page.locator(".chart-card h3").all_inner_texts())
    assert other.locator(".line-name").all_inner_texts() == page.locator(".line-name").all_inner_texts()
    other.reload()
    until(lambda: other.locator(".line-name").count() == 2)


def test_an_address_of_many_lines_is_not_too_long(fake, visit):
    """The collector takes 8,192 bytes of one: what is more is not sent, and shows the same all the same."""
    fake.series = [series(f"load{number}.mean", labels={"disk": "d" * 200, "n": str(number)}) for number in range(20)]
    fake.points = {one["name"]: points(1.0, 2.0) for one in fake.series}
    page = visit(fake.url)
    until(lambda: page.locator(".chart-card").count() == 4)
    page.click("#picker summary")
    until(lambda: page.locator("#picker-list input").count() == 20)
    for number in range(10, 18):
        page.locator("#picker-list input").nth(number).check()
    until(lambda: page.locator(".chart-card").count() == 12)
    card = page.locator(".chart-card").first
    card.get_by_role("button", name="Add a series to the chart of").click()
    page.locator("#picker-list input:not(:checked)").first.wait_for()
    for _ in range(7):
        page.locator("#picker-list input:not(:checked):enabled").first.check()
    until(lambda: card.locator(".line-name").count() == 8)
    sent, _, fragment = page.url.partition("#")
    assert len(page.url) > 8192
    assert len(sent) < 7200
    assert fragment.startswith("charts=")
    other = visit(page.url)
    until(lambda: other.locator(".chart-card h3").all_inner_texts() == page.locator(".chart-card h3").all_inner_texts())
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Senders", exact=True).first.click()
    until(lambda: page.url.partition("#")[2] == fragment)  # the link has led there, and took nothing from the address
    for _ in range(11):
        page.get_by_role("button", name="Remove the chart of").last.click()
    until(lambda: "#" not in page.url)


def test_lines_of_one_chart_have_steps_of_one_length(fake, visit):
    """What can be answered finely is asked for again as coarsely as the others."""
    page, _ = overlay(fake, visit)
    fake.points["queue.length|queue=bill|disk=a|web-2"] = points(1.0, 2.0, step=10.0)
    choose(page, "web-2")
    until(lambda: any(query.get("step") == "10" and query["sender"] == "web-1" for _, query, _ in fake.asked))


def test_any_range(fake, visit):
    """From and to, or from alone, which follows the present; twice as much; what the collector cannot remember is said."""
    page = chart_of(fake, visit, *[1.0] * 9)
    page.get_by_text("Other time").click()
    until(lambda: page.input_value("#charts-from"))  # opening it fills it in, a moment later
    page.fill("#charts-from", "2026-01-01T10:00:00")
    page.fill("#charts-to", "2026-01-01T09:00:00")
    page.click("#charts-span button")
    assert page.inner_text("#charts-span-note") == "The beginning must be before the end."
    page.fill("#charts-to", "2026-01-01T20:00:00")
    page.click("#charts-span button")
    assert page.inner_text("#charts-span-note") == "The collector remembers 6 h 00 min: the stretch is longer."
    page.fill("#charts-to", "2026-01-01T10:30:00")
    page.click("#charts-span button")
    until(lambda: [query for _, query, _ in fake.asked if query.get("range") == "1800"])
    asked = [query for _, query, _ in fake.asked if query.get("range") == "1800"][-1]
    assert asked["end"] == "1767263400"
    assert page.inner_text("#charts-window") == "1/1 10:00:00 to 1/1 10:30:00"
    page.click("#charts-out")
    until(lambda: any(query.get("range") == "3600" and query["end"] == "1767264300" for _, query, _ in fake.asked))
    page.click("#charts-live")
    page.get_by_text("Other time").click()
    until(lambda: page.input_value("#charts-to") == "")
    page.evaluate(
        "document.getElementById('charts-from').value = new Date(Date.now() - 300000 - new Date().getTimezoneOffset() * 60000).toISOString().slice(0, 19)"
    )
    page.fill("#charts-to", "")
    page.click("#charts-span button")
    until(lambda: page.inner_text("#charts-window").startswith("the last 5 min"))
    assert "end=" not in page.url


def test_the_points_of_several_lines_as_csv(fake, visit, tmp_path):
    """A row a time, of each line its values; names are quoted, and none is a formula."""
    page, card = overlay(fake, visit)
    choose(page, "web-2")
    until(lambda: card.locator(".line-last").all_inner_texts() == ["3", "50"])
    with page.expect_download() as download:
        card.get_by_role("button", name="as CSV").click()
    download.value.save_as(tmp_path / "b.csv")
    head, *rows = list(csv.reader((tmp_path / "b.csv").read_text().splitlines()))
    name = 'queue.length{queue="mail", disk="a"}, web-1: '
    assert head[:4] == ["time", f"{name}value", f"{name}lost", f"{name}completeness"]
    assert [row[1] for row in rows] == ["1", "2", "", "", "3"]
    assert [row[4] for row in rows] == ["10", "20", "30", "", "50"]
    assert rows[2][2:4] == ["4", "0"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_chart_as_a_picture(fake, visit, tmp_path, scheme):
    """The lines in their colours on the panel's, with the title above; sharp."""
    page, card = overlay(fake, visit, color_scheme=scheme)
    choose(page, "web-2")
    until(lambda: card.locator(".line-last").all_inner_texts() == ["3", "50"])
    with page.expect_download() as download:
        card.get_by_role("button", name="as PNG").click()
    download.value.save_as(tmp_path / "b.png")
    picture = Image.open(tmp_path / "b.png").convert("RGB")
    assert picture.width >= 2 * card.locator("svg.chart").bounding_box()["width"]
    colours = {colour for count, colour in picture.getcolors(1 << 24) if count > 20}
    for element, what in (
        (".chart path.line-0", "stroke"),
        (".chart path.line-1", "stroke"),
        ("#charts", "background-color"),
    ):
        style = page.locator(element).first.evaluate("(one, what) => getComputedStyle(one)[what]", what)
        assert tuple(map(int, re.findall(r"\d+", style))) in colours
    title = picture.crop((24, 24, 400, 60))
    assert len(title.getcolors(1 << 24)) > 5


def test_the_list_says_how_complete_a_series_is(fake, visit):
    """With the reason where nobody can know, or where a total may be too small."""
    fake.series = [
        series("a.whole"),
        series("b.part", completeness=0.93),
        series("c.total", kind="counter", completeness=None, incomplete=["tail_unknown", "limit"]),
        series("d.statsd", source="statsd", kind="counter", completeness=None),
        series("e.silent", completeness=None),
    ]
    page = visit(fake.url)
    until(lambda: page.locator(".chart-card").count() == 4)
    page.click("#picker summary")
    until(lambda: page.locator("#picker-list li").count() == 5)
    said = [text.splitlines()[-1] for text in page.locator("#picker-list label").all_inner_texts()]
    assert said == [
        "complete",
        "93.0 % complete",
        "a process ended, or is silent, and its last snapshot did not come: the total may be too small; a limit refused series",
        "completeness unknown: StatsD carries no numbers",
        "nothing due in the last minute",
    ]
    assert page.locator("#picker-list .doubt").count() == 2
