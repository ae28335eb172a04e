"""The live connection: what changes shows by itself, and what breaks is mended without a line lost or shown twice."""

import json

import pytest

from tests.collector.page.answers import gap, heartbeat, record, sender
from tests.collector.page.test_logs import lines, shows
from tests.real import until

pytestmark = pytest.mark.needs("chromium")

GONE = ("net::ERR_",)


def is_live(page):
    """Wait until the page says that it is connected."""
    until(lambda: page.inner_text("#link-status") == "Live")


def test_a_heartbeat_goes_down_and_comes_back(fake, visit):
    """With the sentence that explains it, on the board and in the first row."""
    fake.heartbeats = [heartbeat("worker-7"), heartbeat("aaa")]
    page = visit(fake.url)
    card = page.locator(".card", has_text="worker-7")
    until(lambda: card.count() == 1 and card.get_attribute("data-state") == "up")
    assert page.locator(".card h3").all_inner_texts() == ["aaa", "worker-7"]
    fake.heartbeats = [
        heartbeat("worker-7", "down", verdict="silent for 4 s: 4 beats missed, at 0.01 measured loss"),
        heartbeat("aaa"),
    ]
    fake.overview["alive"] |= {"up": 1, "down": 1}
    fake.changed()
    until(lambda: card.get_attribute("data-state") == "down")
    assert "✕ down" in card.inner_text()
    assert "silent for 4 s: 4 beats missed, at 0.01 measured loss" in card.inner_text()
    assert page.locator(".card h3").all_inner_texts() == ["worker-7", "aaa"]
    until(lambda: "1 down" in page.inner_text("#tiles"))
    fake.heartbeats = [
        heartbeat("worker-7", verdict="lost(4): 4 beats lost on the way, it never was down"),
        heartbeat("aaa"),
    ]
    fake.overview["alive"] |= {"up": 2, "down": 0}
    fake.changed()
    until(lambda: card.get_attribute("data-state") == "up")
    assert "it never was down" in card.inner_text()
    until(lambda: "2 up" in page.inner_text("#tiles"))


def test_senders_with_loss_by_place(fake, visit):
    """Numbers, where it was lost, and at a click everything that is known; sorted as one likes, open rows stay open."""
    places = {"sender_socket": 3, "in_flight": 7, "receiver_queue": 2}
    fake.senders = [
        sender("clean", rate=50.0),
        sender(
            "lossy",
            lost=12,
            loss_ratio=0.12,
            lost_by_place=places,
            sender_dropped={"buffer_full": 4},
            clock_warning="its clock is 3 s ahead",
        ),
    ]
    page = visit(fake.url)
    rows = page.locator("#senders tbody tr")
    until(lambda: rows.count() == 2)
    names = lambda: page.locator("#senders .opener").all_inner_texts()  # noqa: E731
    assert names() == ["lossy", "clean"]
    assert "3 socket, 7 in flight, 2 queue" in rows.nth(0).inner_text()
    assert "12.0 %" in rows.nth(0).inner_text()
    assert "clock" in rows.nth(0).inner_text()
    page.get_by_role("button", name="Rate /s").click()
    assert names() == ["clean", "lossy"]
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Rate")
    page.get_by_role("button", name="lossy").click()
    details = page.locator("#senders tr.details")
    assert "buffer full 4" in details.inner_text()
    assert "its clock is 3 s ahead" in details.inner_text()
    fake.senders[1] |= {"sender_dropped": {"buffer_full": 5}}
    fake.changed()
    until(lambda: "buffer full 5" in details.inner_text())
    fake.senders = []
    fake.changed()
    page.wait_for_selector("#senders .empty code >> text=atmost agent --url udp://127.0.0.1:7140")


def test_it_resumes_where_it_broke_off(fake, visit):
    """The lines that came meanwhile appear once, in order, and nothing that was there is repeated."""
    fake.log(record("one"), record("two"))
    page = visit(fake.url, tolerated=GONE)
    is_live(page)
    fake.log(record("three"))
    shows(page, "one", "two", "three")
    fake.stop()
    until(lambda: page.inner_text("#link-status") == "Not connected")
    assert "The collector does not answer." in page.inner_text("#stale")
    until(lambda: "next try in" in page.inner_text("#link-wait"))
    assert page.evaluate("document.documentElement.dataset.stale") == "true"
    fake.log(record("four"), gap(2, {"INFO": 2}), record("five"))
    fake.asked.clear()
    fake.start()
    page.evaluate("document.querySelector('#link-retry').click()")  # it may have tried by itself
    is_live(page)
    shows(page, "one", "two", "three", "four", "2 lost here (2 INFO)", "five")
    assert not page.is_visible("#stale")
    resumed = [headers.get("Last-Event-ID") for path, _, headers in fake.asked if path.endswith("/stream")]
    assert resumed == ["3"]
    assert not any(path.endswith("/logs") for path in fake.paths())


def test_another_life_of_the_collector(fake, visit):
    """Its cursors begin anew: what it says is shown in full, below what the one before had said."""
    fake.log(record("old one"), record("old two"))
    fake.senders = [sender("a")]
    page = visit(fake.url, tolerated=GONE)
    shows(page, "old one", "old two")
    fake.stop()
    until(lambda: page.inner_text("#link-status") == "Not connected")
    fake.forget()
    fake.log(record("new one"))
    fake.start()
    is_live(page)
    shows(page, "old one", "old two", "The collector restarted at ", "new one")
    fake.log(record("new two"), record("new three"))
    until(lambda: lines(page)[-3:] == ["new one", "new two", "new three"])
    page.wait_for_selector("#senders .empty")


def test_the_tries_become_fewer(fake, visit):
    """Half a second, one, two, four: an absent collector is not hammered when it comes back."""
    page = visit(fake.url)
    waits = page.evaluate("""async () => {
        const { backoff } = await import('/stream.js');
        return [0, 1, 2, 3, 4, 5, 6, 60].map((failures) => [backoff(failures, 0), backoff(failures, 1)]);
    }""")
    assert waits == [[0.25, 0.5], [0.5, 1], [1, 2], [2, 4], [4, 8], [7.5, 15], [7.5, 15], [7.5, 15]]


def test_a_collector_that_refuses_the_stream(fake, visit):
    """The reason is shown as it was given, and the figures are those of each try."""
    fake.refuses_streams = True
    fake.senders = [sender("a")]
    page = visit(fake.url, tolerated=("503",))
    until(lambda: "Too many pages are open: close one." in page.inner_text("#stale"))
    assert page.locator("#senders tbody tr").count() == 1
    fake.refuses_streams = False
    page.evaluate("document.querySelector('#link-retry').click()")  # it may have tried by itself
    is_live(page)


def test_the_token_is_asked_for(fake, visit):
    """And asked for again when it is wrong; it is kept for the tab, and stands in no address."""
    fake.token = "s3cret"
    page = visit(fake.url, tolerated=("401",))
    page.wait_for_selector("#token[open]")
    assert "The token is missing or wrong." in page.inner_text("#token-note")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    until(lambda: len([path for path in fake.paths() if path == "/api/v1/overview"]) == 2)
    page.wait_for_selector("#token[open]")
    page.fill("#token-text", "s3cret")
    page.keyboard.press("Enter")
    is_live(page)
    page.reload()
    is_live(page)
    assert not page.is_visible("#token")
    assert not any("s3cret" in json.dumps([path, query]) for path, query, _ in fake.asked)


def test_a_token_in_the_address_leaves_it(fake, visit):
    """A link with the token works once, and what one copies from the address bar does not hold it."""
    fake.token = "s3cret"
    page = visit(f"{fake.url}/?token=s3cret#logs")
    is_live(page)
    assert page.url == f"{fake.url}/#logs"


def test_the_account_is_shown_balanced(fake, visit):
    """Both sides are added up by the page itself; a ledger that does not balance is seen at once."""
    ledger = {
        "address": "udp://127.0.0.1:7140", "balanced": True, "sent": 110, "before_join": 10, "delivered": 90, "queued": 1, "overflow": 2,
        "discarded": 0, "pending": 3, "lost": 4, "lost_by_place": {"sender_socket": 1, "in_flight": 3}, "late": 0, "tail_unknown": 0,
        "datagrams_in": 50, "accepted": 45, "refused": {"duplicate": 5}, "evicted": 0, "handler_errors": 0, "kernel_drops": None,
        "clock_troubles": {},
    }  # fmt: skip
    fake.receivers = [ledger]
    page = visit(fake.url)
    page.wait_for_selector(".ledger")
    texts = [text.replace("\n", " ") for text in page.locator(".identity p").all_inner_texts()]
    assert texts == [
        "110 sent − 10 before this collector joined = 90 delivered + 1 queued + 2 overflow + 0 discarded + 3 pending + 4 lost",
        "50 arrived = 45 accepted + 5 refused",
        "4 lost = 1 sender socket + 3 in flight",
    ]
    assert "✓ balanced" in page.inner_text(".ledger h3")
    assert "unknown: this system does not report it" in page.inner_text(".ledger")
    fake.receivers = [ledger | {"delivered": 91, "balanced": False}]
    page.wait_for_selector(".ledger[data-balanced=false]")
    assert page.locator(".identity[data-holds=false]").all_inner_texts()[0].startswith("Messages")
    assert "≠ 91" in page.inner_text(".identity[data-holds=false]").replace("\n", " ")


def test_listeners_and_what_they_rejected(fake, visit):
    """Counts by reason, samples as they came (escaped), a listener's warning, and limits that were hit."""
    fake.overview["listeners"][1] |= {
        "received": 9,
        "accepted": 7,
        "rejected": {"malformed_value": 2},
        "kernel_drops": None,
        "warning": "its socket dropped lines: raise net.core.rmem_max",
    }
    fake.overview["memory"]["limits"] = [{"name": "series", "used": 10, "max": 10, "hit": 5}]
    fake.overview["warnings"] = ["the limit of series was hit: raise max_series"]
    fake.rejected = [
        {
            "t": fake.overview["now"],
            "listener": "statsd",
            "peer": "127.0.0.1:5000",
            "reason": "malformed_value",
            "sample": "a:\\x1b|c",
        }
    ]
    page = visit(fake.url)
    page.wait_for_selector("#rejected-body table")
    row = page.inner_text("tr[data-kind=statsd]").replace("\t", " ")
    assert "malformed value 2" in row
    assert "unknown" in row
    assert "raise net.core.rmem_max" in row
    assert "a:\\x1b|c" in page.inner_text("#rejected-body")
    assert "series" in page.inner_text("#limits-body")
    assert page.inner_text("#warnings") == "the limit of series was hit: raise max_series"
