"""The subjects in the browser, and what was rejected, by reason."""

import time

import pytest

from tests.real import until

pytestmark = pytest.mark.needs("chromium")


def subject(name, **changes):
    """One row of the interface."""
    return {
        "subject": name, "count": 3, "rate": 0.5, "size": 8, "payload": '{"id":1}', "cut": False, "sender": "shop",
        "last": time.time(), **changes,
    }  # fmt: skip


def test_every_subject_with_its_last_payload(fake, visit):
    """The busiest first; what strangers send is text. With none it says how to send one."""
    page = visit(fake.url)
    page.wait_for_selector("#subjects .empty code >> text=atmost send --url udp://127.0.0.1:7140 orders.new")
    fake.subjects = [subject("orders.new"), subject("<b>x</b>\u202e", rate=9.0, payload='"<img src=x>"', cut=True)]
    rows = page.locator("#subjects tbody tr")
    until(lambda: rows.count() == 2)
    assert "<b>x</b>\\u202e" in rows.nth(0).inner_text()
    assert '"<img src=x>" …' in rows.nth(0).inner_text()
    assert '{"id":1}' in rows.nth(1).inner_text()


def test_what_was_rejected_is_grouped_by_reason(fake, visit):
    """With the listener's own count, who sent it, and the last sample."""
    now = time.time()
    sample = {"listener": "statsd", "address": "udp://127.0.0.1:8125", "reason": "malformed_value"}
    fake.rejected = [
        {"t": now - age, "peer": f"10.0.0.{age}:99", "sample": f"line {age}", **sample} for age in range(50)
    ] + [{"t": now - 99, "peer": "h:1", "sample": "q", **sample, "reason": "other"}]
    fake.overview["listeners"][1]["rejected"] = {"malformed_value": 1234, "other": 1}
    page = visit(fake.url)
    rows = page.locator("#rejected-body tbody tr")
    until(lambda: rows.count() == 2)
    first = rows.nth(0).inner_text()
    assert "malformed value" in first
    assert "1,234" in first
    assert "line 0" in first
    assert "and 47 more" in first
