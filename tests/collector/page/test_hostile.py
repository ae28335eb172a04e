"""What strangers write stays text: nothing of it runs, hides, reorders or calls out."""

import re

import pytest

from tests.collector.page.answers import gap, heartbeat, points, record, sender, series
from tests.collector.page.fake import FOLDER
from tests.real import until

ATTACK = "<img src=x onerror=\"window.ran=1\"><script>window.ran=1</script><svg/onload=window.ran=1>\"'><a href='javascript:window.ran=1'>x</a>"
ALLOWED = {"index.html", "style.css"}
FORBIDDEN = (
    *(
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "DOMParser",
        "createContextualFragment",
        "setHTML",
        "srcdoc",
    ),
    *("eval(", "new Function", "javascript:", "http://", "https://", ".cssText"),
)


@pytest.mark.needs("chromium")
def test_html_in_names_labels_and_lines_never_runs(fake, visit):
    """Everywhere a stranger's text can stand: it is there to read, as it was written, and makes no element and no request."""
    fake.overview |= {"host": ATTACK, "version": ATTACK, "warnings": [ATTACK]}
    fake.overview["listeners"][0] |= {"address": ATTACK, "warning": ATTACK, "rejected": {ATTACK: 1}}
    fake.overview["memory"]["limits"] = [{"name": ATTACK, "used": 1, "max": 2, "hit": 1}]
    fake.senders = [sender(ATTACK, id=ATTACK, host=ATTACK, tail=ATTACK, clock_warning=ATTACK, refused={ATTACK: 1})]
    fake.heartbeats = [heartbeat(ATTACK, ATTACK, sender=f"of {ATTACK}", verdict=ATTACK)]
    fake.series = [series(ATTACK, labels={ATTACK: ATTACK}, sender=ATTACK, help=ATTACK, unit=ATTACK)]
    fake.points, fake.units = {ATTACK: points(1.0, 2.0)}, {ATTACK: ATTACK}
    fake.rejected = [{"t": 1.0, "listener": ATTACK, "peer": ATTACK, "reason": ATTACK, "sample": ATTACK}]
    fake.log(
        record(
            ATTACK, sender=ATTACK, level=ATTACK, logger=ATTACK, exception=ATTACK, fields={ATTACK: ATTACK}, host=ATTACK
        ),
        gap(1, {ATTACK: 1}, sender=ATTACK, reason=ATTACK),
    )
    page = visit(fake.url)
    until(lambda: page.locator("path.line").count() and page.locator("#logs-rows > li").count() == 2)
    page.locator("#senders .opener").click()
    page.click("#picker summary")
    page.wait_for_selector("#picker-list li")
    page.focus("svg.chart")
    page.keyboard.press("Home")
    page.wait_for_selector("#rejected-body table")
    for place in (
        "#host",
        "#warnings",
        "#senders",
        "#heartbeats",
        "#charts-body",
        "#picker-list",
        "#logs-rows",
        "#rejected-body",
        "#listeners-body",
        "#limits-body",
    ):
        assert "<script>window.ran=1</script>" in page.inner_text(place).replace("\n", ""), place
    assert page.evaluate("window.ran") is None
    assert page.locator("img, a[href^=javascript], body script").count() == 0
    assert page.locator("svg").count() == 2
    assert page.evaluate("violations") == []


@pytest.mark.needs("chromium")
def test_what_would_hide_or_reorder_text_is_made_visible(fake, visit):
    """Control characters, direction overrides and invisible ones stand there as escapes, in lines and in names."""
    fake.log(record("a\x1b[2Jb\x00c\u202ed\u200be\u0085f\nsecond\tline", sender="se\u202ender\x07", logger="l\x1b"))
    fake.senders = [sender("na\u2066me\x9b")]
    fake.heartbeats = [heartbeat("beat\u200f", verdict="it said \x1b]0;x\x07")]
    page = visit(fake.url)
    page.wait_for_selector("#logs-rows > li")
    page.wait_for_selector(".card")
    assert page.inner_text("#logs-rows .message") == "l\\x1b a\\x1b[2Jb\\x00c\\u202ed\\u200be\\x85f\nsecond\tline"
    assert page.locator("#logs-rows .escape").all_inner_texts() == ["\\x1b", "\\x00", "\\u202e", "\\u200b", "\\x85"]
    assert page.inner_text("#logs-rows .sender") == "se\\u202ender\\x07"
    assert page.inner_text("#senders .opener") == "na\\u2066me\\x9b"
    assert page.inner_text(".card h3") == "beat\\u200f"
    assert page.inner_text(".card .verdict") == "it said \\x1b]0;x\\x07"
    assert not re.search(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]",
        page.evaluate("document.body.textContent"),
    )


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_the_files_of_the_page(path):
    """No way to turn text into elements or code, nobody else's address, no inline script or style."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".js":
        assert [word for word in FORBIDDEN if word in text.replace("http://www.w3.org/2000/svg", "")] == []
        assert not re.search(r"import[^\n]*from\s*[\"'](?!\./)", text)
        assert text.startswith("// "), "a module says what it is for"
    elif path.suffix == ".html":
        assert not re.search(r"\sstyle=|<style|\son\w+=", text)
        assert re.findall(r"<script[^>]*>", text) == ['<script type="module" src="app.js">']
        assert not re.search(r"(?:src|href)=\"(?!#|data:|style\.css|app\.js|metrics|openapi\.json)", text)
    else:
        assert path.name in ALLOWED
        assert "@import" not in text
        assert "url(" not in text
