"""The table of senders: a row a name with its sessions inside, now before lifetime, filters, links, and who is refused."""

import pytest

from tests.collector.page.answers import heartbeat, record, refused_sender, sender, series, session
from tests.real import until

pytestmark = pytest.mark.needs("chromium")


def names(page):
    """The senders shown, in their order."""
    return page.locator("#senders .opener").all_inner_texts()


def test_cron_jobs_are_one_row_and_ended_ones_are_hidden(fake, visit):
    """With their number, and shown when asked for; the choice is remembered."""
    fake.senders = [
        sender("web"),
        sender("cron", tail="closed", sessions=1500, alive=0, closed=1500, hosts=3, minute=None),
    ]
    page = visit(fake.url)
    until(lambda: names(page) == ["web"])
    assert page.inner_text("#senders-note") == "2 senders · 1,501 sessions · 1 ended, not shown"
    page.get_by_label("Show ended ones").check()
    assert sorted(names(page)) == ["cron", "web"]
    assert "3 hosts · 1,500 sessions, 0 alive" in page.inner_text("#senders tbody")
    page.reload()
    until(lambda: sorted(names(page)) == ["cron", "web"])


def test_who_loses_now_stands_first(fake, visit):
    """Before one that lost more long ago; both figures are there."""
    fake.senders = [
        sender("long-ago", lost=900, loss_ratio=0.5),
        sender("now", lost=3, minute={"delivered": 7, "lost": 3, "late": 0, "refused": 0}),
    ]
    fake.overview["totals"] |= {
        "minute": {"delivered": 97, "lost": 3, "late": 1, "refused": 0},
        "lost": 903,
        "delivered": 5000,
    }
    page = visit(fake.url)
    until(lambda: names(page) == ["now", "long-ago"])
    tile = page.locator(".tile", has_text="Lost now")
    assert tile.locator(".figure").inner_text() == "3"
    assert tile.locator(".note").inner_text() == "in the last minute, 3.00 %; 1 came late"
    assert page.locator(".tile", has_text="Lost since the start").locator(".figure").inner_text() == "903"
    page.get_by_role("button", name="Lost", exact=True).click()
    assert names(page) == ["long-ago", "now"]


def test_a_filter_by_name_or_host(fake, visit):
    """Of those the stream tells, and of those that it leaves out; nothing found is said."""
    fake.senders = [sender(f"web-{number}", host="edge") for number in range(5)] + [sender("zeta", host="batch")]
    page = visit(fake.url)
    until(lambda: len(names(page)) == 6)
    page.get_by_label("Name or host").fill("BATCH")
    until(lambda: names(page) == ["zeta"])
    page.get_by_label("Name or host").fill("nobody")
    page.wait_for_selector("#senders-none:visible")
    fake.told = 3
    fake.changed()
    page.get_by_label("Name or host").fill("zeta")
    until(lambda: names(page) == ["zeta"])
    page.get_by_label("Name or host").fill("")
    until(lambda: len(names(page)) == 3)
    assert "3 more not shown" in page.inner_text("#senders-note")


def test_a_row_opens_to_its_sessions_and_links(fake, visit):
    """Each session with host, process and state; the links lead to its log, series and heartbeats."""
    one = sender("web", sessions=2, hosts=2)
    fake.senders = [one, sender("other")]
    fake.sessions["web"] = [
        session(one, id="a" * 16, pid=11),
        session(one, id="b" * 16, pid=12, tail="silent", host="web-4"),
    ]
    fake.series = [series("web.requests", sender="web"), series("x", sender="other")]
    fake.heartbeats = [heartbeat("worker-7", sender="web"), heartbeat("aaa", sender="other")]
    fake.log(record("from web", sender="web"), record("from other", sender="other"))
    page = visit(fake.url)
    until(lambda: len(names(page)) == 2)
    page.locator(".opener", has_text="web").click()
    table = page.locator(".sessions tbody tr")
    until(lambda: table.count() == 2)
    assert "web-3 · 11" in table.nth(0).inner_text()
    assert "web-4 · 12" in table.nth(1).inner_text()
    assert "silent" in table.nth(1).inner_text()
    page.get_by_role("button", name="Its log").click()
    until(lambda: page.locator("#logs-rows .message").all_inner_texts() == ["from web"])
    page.get_by_role("button", name="Its series").click()
    until(lambda: page.locator("#picker-list .name").all_inner_texts() == ["web.requests"])
    page.get_by_role("button", name="Its heartbeats").click()
    until(lambda: page.locator(".card.marked h3").all_inner_texts() == ["worker-7"])


def test_who_is_refused_is_named(fake, visit):
    """With address, reason and fix; gone when it is mended. What strangers call themselves is text."""
    fake.refused = [
        refused_sender(names=["<b>edge</b>\u202e"]),
        refused_sender(names=[], address="10.0.0.8:1", proven=True),
    ]
    page = visit(fake.url)
    rows = page.locator("#senders-refused tbody tr")
    until(lambda: rows.count() == 2)
    first = rows.nth(0).inner_text()
    assert "<b>edge</b>\\u202e" in first
    assert "as it says" in first
    assert "10.0.0.7:4711" in first
    assert "unknown key: it sends without a key, and this collector has one" in first
    assert "name unknown" in rows.nth(1).inner_text()
    fake.refused = []
    fake.changed()
    page.wait_for_selector("#senders-refused", state="hidden")
