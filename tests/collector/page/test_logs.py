"""Logs with their holes: in place, filtered, followed, and never more of them than the page can hold."""

import time

import pytest

from tests.collector.page.answers import gap, record
from tests.real import until

pytestmark = pytest.mark.needs("chromium")

ROW = "#logs-rows > li"


def lines(page):
    """What the log shows, a text a line."""
    return page.evaluate(
        "[...document.querySelectorAll('#logs-rows > li')].map((row) => row.querySelector('.message')?.textContent ?? row.textContent)"
    )


def shows(page, *wanted):
    """Wait until the log shows exactly these lines, by how they begin."""
    until(
        lambda: (
            len(found := lines(page)) == len(wanted)
            and all(line.startswith(text) for line, text in zip(found, wanted, strict=True))
        )
    )


def test_a_hole_shows_in_place(fake, visit):
    """Between the lines that came before and after it: how many, of which levels, why and when."""
    fake.log(record("before"))
    page = visit(fake.url)
    shows(page, "before")
    fake.log(gap(3, {"DEBUG": 1, "INFO": 2}), record("after"))
    shows(page, "before", "3 lost here (2 INFO, 1 DEBUG) in flight, between ", "after")
    hole = page.query_selector(f"{ROW}.gap")
    assert hole.query_selector(".sender").inner_text() == "checkout-1"
    assert not hole.query_selector(".badge")


def test_what_is_not_known_of_a_hole_is_said(fake, visit):
    """Numbers that a relay may have filtered are no proof, and levels that nobody told are not invented."""
    fake.log(gap(2, verified=False), gap(5, {"ERROR": 3}))
    page = visit(fake.url)
    shows(page, "2 lost here (levels unknown)", "5 lost here (3 ERROR, 2 of unknown level)")
    assert page.query_selector(f"{ROW}.gap .badge").inner_text() == "unverified"


def test_a_late_line_closes_its_hole(fake, visit):
    """What came after all is marked as late, and the hole that it leaves is as large as the collector says now."""
    fake.log(gap(3, {"INFO": 3}), gap(1, {"INFO": 1}), record("next"))
    page = visit(fake.url)
    shows(page, "3 lost", "1 lost", "next")
    fake.correct(1, lost=2, by_level={"INFO": 2})
    fake.close(2)
    fake.log(record("it came", late=True))
    shows(page, "2 lost here (2 INFO)", "next", "it came late")


EVERYTHING = [
    record("fine"),
    record("careful", level="WARNING"),
    record("broken", level="ERROR"),
    gap(9, {"DEBUG": 9}),
    gap(2, {"ERROR": 1, "DEBUG": 1}),
    gap(4),
    record("who knows", level=None),
    record("another's", sender="other"),
]
FILTERS = [
    ({"level": "WARNING"}, ["careful", "broken", "2 lost here (1 ERROR", "4 lost here (levels", "who knows"]),
    ({"level": "CRITICAL"}, ["4 lost here (levels", "who knows"]),
    ({"sender": "other"}, ["another's"]),
    ({"text": "CARE"}, ["careful", "9 lost here (9 DEBUG)", "2 lost here (1 ERROR", "4 lost here (levels"]),
    ({"level": "ERROR", "text": "nothing at all"}, ["2 lost here (1 ERROR", "4 lost here (levels"]),
]


def set_filter(page, level="", sender="", text=""):
    """Choose all three parts of the filter."""
    page.select_option("#logs-level", label=level or "all")
    page.select_option("#logs-sender", label=sender or "all")
    page.fill("#logs-text", text)


def test_filters_take_what_may_be_meant(fake, visit):
    """The same lines whether they were there before or come over the stream; a hole passes wherever it may hide a line."""
    page = visit(fake.url)
    fake.log(*EVERYTHING)
    shows(page, "fine", "careful", "broken", "9", "2", "4", "who", "another")
    for times, (filters, wanted) in enumerate(FILTERS, start=1):
        set_filter(page, **filters)
        shows(page, *wanted * times)
        fake.log(*(one | {"t": time.time()} for one in EVERYTHING))
        shows(page, *wanted * (times + 1))
    set_filter(page)
    until(lambda: len(lines(page)) == len(EVERYTHING) * (len(FILTERS) + 1))


def test_a_filter_that_nothing_passes_says_so(fake, visit):
    """An empty log and a log without matches are two things."""
    page = visit(fake.url)
    page.wait_for_selector("#logs-empty >> text=No log line yet")
    fake.log(record("hello"))
    shows(page, "hello")
    page.fill("#logs-text", "nowhere")
    page.wait_for_selector("#logs-empty >> text=No line passes this filter.")
    page.fill("#logs-text", "")
    shows(page, "hello")


def test_pause_and_follow(fake, visit):
    """While paused nothing moves and new lines are counted; following again shows them."""
    page = visit(fake.url)
    fake.log(record("one"))
    shows(page, "one")
    page.click("#logs-follow")
    assert page.get_attribute("#logs-follow", "aria-pressed") == "false"
    fake.log(record("two"), record("three"))
    until(lambda: page.inner_text("#logs-note") == "2 new lines since; 1 line")
    assert lines(page) == ["one"]
    page.click("#logs-follow")
    shows(page, "one", "two", "three")


def test_scrolling_up_pauses_and_the_end_follows(fake, visit):
    """Whoever reads is not torn away, and needs no button to go on."""
    fake.log(*[record(f"line {number}") for number in range(150)])
    page = visit(fake.url)
    until(lambda: len(lines(page)) == 150)
    at_end = "(() => { const s = document.querySelector('#logs-scroller'); return s.scrollTop + s.clientHeight >= s.scrollHeight - 4; })()"
    until(lambda: page.evaluate(at_end))
    page.evaluate(
        f"document.querySelector('#logs-scroller').addEventListener('scrollend', () => {{ window.rests = !{at_end}; }})"
    )
    page.focus("#logs-scroller")
    page.keyboard.press("PageUp")
    until(lambda: page.inner_text("#logs-follow").endswith("Paused"))
    until(lambda: page.evaluate("window.rests === true"))  # Chromium takes no End while it still scrolls up
    fake.log(record("new"))
    until(lambda: page.inner_text("#logs-note").startswith("1 new line since"))
    page.keyboard.press("End")
    until(lambda: page.inner_text("#logs-follow").endswith("Following"))
    until(lambda: lines(page)[-1] == "new" and page.evaluate(at_end))


def test_five_thousand_lines_leave_a_bounded_page(fake, visit):
    """The last thousand stay; neither elements nor memory grow with what went by."""
    page = visit(fake.url)
    until(lambda: page.inner_text("#link-status") == "Live")
    fake.log(*[record(f"warm {number}", exception="a\nb") for number in range(1100)])
    until(lambda: page.locator(ROW).count() == 1000 and lines(page)[-1].startswith("warm 1099"))
    session = page.context.new_cdp_session(page)

    def used():
        session.send("HeapProfiler.collectGarbage")
        return session.send("Runtime.getHeapUsage")["usedSize"], session.send("Memory.getDOMCounters")["nodes"]

    heap, nodes = used()
    for start in range(0, 5000, 500):
        fake.log(*[record(f"line {start + number}", exception="a\nb") for number in range(500)])
    until(lambda: lines(page)[-1].startswith("line 4999"))
    assert page.locator(ROW).count() == 1000
    assert page.inner_text("#logs-note") == "the last 1,000 lines"
    heap_after, nodes_after = used()
    assert nodes_after < nodes * 1.2
    assert heap_after < heap * 1.5 + 2_000_000


def test_earlier_lines_on_demand(fake, visit):
    """The page begins with the last lines, and more are a button away, above what is read."""
    fake.log(*[record(f"line {number}") for number in range(450)])
    page = visit(fake.url)
    until(lambda: len(lines(page)) == 200)
    page.click("#logs-older")
    until(lambda: len(lines(page)) == 400)
    assert page.inner_text("#logs-follow").endswith("Paused")
    page.click("#logs-older")
    until(lambda: len(lines(page)) == 450)
    assert lines(page)[0] == "line 0"
    assert not page.is_visible("#logs-older")


def test_what_a_record_carries(fake, visit):
    """Logger, fields, a folded exception, marks of what is late or shortened; a host stands in the title."""
    fake.log(
        record(
            "sold",
            logger="shop.cart",
            fields={"sku": "A1", "n": 3},
            exception="Traceback\nKeyError: 'x'",
            late=True,
            truncated=True,
            level="ERROR",
        )
    )
    page = visit(fake.url)
    shows(page, "shop.cart sold late shortened sku=A1 n=3KeyError: 'x'")
    details = page.locator(f"{ROW} details")
    assert details.get_attribute("open") is None
    details.locator("summary").click()
    assert page.inner_text(f"{ROW} pre") == "Traceback\nKeyError: 'x'"
    assert page.get_attribute(f"{ROW} .sender", "title") == "checkout-1 · web-3 · atmost"


def test_filters_by_logger_field_and_time(fake, visit):
    """Of what is there and of what comes; what matches nothing is said, and one button clears all."""
    now = time.time()
    fake.log(
        record("cart of c-3", logger="shop.cart", fields={"customer": "c-3"}, t=now - 3600),
        record("cart of c-4", logger="shop.cart", fields={"customer": "c-4"}, t=now - 60),
        record("other", logger="shopping", fields={"n": 7}, t=now),
    )
    page = visit(fake.url)
    shows(page, "shop.cart cart of c-3", "shop.cart cart of c-4", "shopping other")
    page.fill("#logs-logger", "shop")
    shows(page, "shop.cart cart of c-3", "shop.cart cart of c-4")
    page.fill("#logs-field", "customer=c-3")
    shows(page, "shop.cart cart of c-3")
    fake.log(
        record("again c-3", logger="shop.cart", fields={"customer": "c-3"}),
        record("no", logger="shop.cart", fields={"customer": "c-33"}),
    )
    shows(page, "shop.cart cart of c-3", "shop.cart again c-3")
    page.fill("#logs-since", time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now - 600)))
    shows(page, "shop.cart again c-3")
    page.fill("#logs-field", "customer=nobody")
    page.wait_for_selector("#logs-empty >> text=No line passes this filter.")
    page.get_by_role("button", name="Clear").click()
    until(lambda: len(lines(page)) == 5)


def test_a_line_that_was_held_back_stands_at_its_time(fake, visit):
    """It comes after the lines that are later; a sender whose clock is an hour off stays where it came."""
    now = time.time()
    fake.log(record("first", t=now - 8), record("third", t=now - 4))
    page = visit(fake.url)
    shows(page, "first", "third")
    fake.log(record("second", t=now - 6), record("slow clock", t=now - 3600), record("fourth", t=now - 3))
    shows(page, "first", "second", "third", "slow clock", "fourth")


def test_colours_of_terminals_and_usual_fields_are_left_out(fake, visit):
    """Other escapes still show, and so does an unusual thread."""
    fake.log(
        record("\x1b[1;31mred\x1b[0m \x1b[2J", fields={"thread": "MainThread", "process": "MainProcess", "n": 1}),
        record("odd", fields={"thread": "worker-1"}),
    )
    page = visit(fake.url)
    shows(page, "red \\x1b[2J n=1", "odd thread=worker-1")
