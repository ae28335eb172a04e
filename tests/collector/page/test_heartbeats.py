"""The board in the browser: forgetting what was decommissioned, conflicts, and the strip of the last day."""

import pytest

from tests.collector.page.answers import heartbeat
from tests.real import until

pytestmark = pytest.mark.needs("chromium")


def test_what_was_decommissioned_is_forgotten_at_two_clicks(fake, visit):
    """The first one asks; what is alive has no such button."""
    fake.heartbeats = [heartbeat("worker-7", "down"), heartbeat("alive")]
    page = visit(fake.url)
    card = page.locator(".card", has_text="worker-7")
    until(lambda: card.count() == 1)
    assert not page.locator(".card", has_text="alive").locator(".forget").is_visible()
    card.get_by_role("button", name="Forget").click()
    assert "DELETE /api/v1/heartbeats" not in fake.paths()
    card.get_by_role("button", name="Forget until it beats again?").click()
    until(lambda: page.locator(".card h3").all_inner_texts() == ["alive"])
    [asked] = [query for path, query, _ in fake.asked if path == "DELETE /api/v1/heartbeats"]
    assert asked == {"name": "worker-7", "key_id": "0"}


def test_a_conflict_and_what_failed_are_shown_as_that(fake, visit):
    """Who else beats under the name; failed is a state of its own, here as at /metrics."""
    fake.heartbeats = [
        heartbeat("twin", conflict="web-4 (process 9 on <b>host</b>)"),
        heartbeat("job", "failed", verdict="failed: ValueError ended it"),
        heartbeat("new", "down", expected=True, last_beat=None, uptime=None, history="." * 95 + "d"),
    ]
    fake.overview["alive"] |= {"up": 1, "failed": 1, "down": 1}
    page = visit(fake.url)
    until(lambda: page.locator(".card").count() == 3)
    assert (
        "conflict: web-4 (process 9 on <b>host</b>) beats under this name too"
        in page.locator(".card", has_text="twin").inner_text()
    )
    assert "✕ failed" in page.locator(".card", has_text="job").inner_text()
    assert "expected, no beat yet" in page.locator(".card", has_text="new").inner_text()
    assert "1 failed" in page.inner_text("#tiles")


def test_the_last_day_is_a_strip(fake, visit):
    """Each stretch with its times and state in words, and the uptime; updated only where it changed."""
    fake.heartbeats = [heartbeat("a", uptime=0.9312, history="." * 40 + "u" * 50 + "dd" + "uuuu", flaps=1, missed=70)]
    page = visit(fake.url)
    strip = page.locator(".strip")
    until(lambda: strip.count() == 1)
    assert strip.get_attribute("aria-label") == "The last 24 hours: up 93.1 % of the known time"
    words = strip.locator(".slot").evaluate_all("all => all.map((one) => one.title.split(': ')[1])")
    assert words == ["nothing known", "up", "down", "up"]
    shares = strip.locator(".slot").evaluate_all("all => all.map((one) => Number(one.style.flexGrow))")
    assert shares == [40, 50, 2, 4]
    text = page.locator(".card").inner_text()
    assert "up 93.1 % in 24 h" in text
    assert "went down and came back 1 time" in text
    assert "70 beats missed" in text
