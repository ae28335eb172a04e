"""How the page looks and is reached: light, dark, narrow, by keyboard, and empty. With ATMOST_SCREENSHOTS=1 the pictures of the manual are taken."""

import os
from itertools import pairwise
from pathlib import Path

import pytest

from tests.collector.page.scene import play
from tests.real import until

pytestmark = pytest.mark.needs("chromium")

IMAGES = Path(__file__).parents[3] / "docs" / "images"
WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 360, "height": 780}
LOOKS = {
    "light": {"viewport": WIDE, "color_scheme": "light"},
    "dark": {"viewport": WIDE, "color_scheme": "dark"},
    "narrow": {"viewport": NARROW, "color_scheme": "light"},
}
CONTRAST = """() => {
    const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
    const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map((one) => (one / 255 <= 0.04045 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const behind = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const colour = rgba(getComputedStyle(one).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        return rgba(getComputedStyle(document.documentElement).backgroundColor);
    };
    const poor = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let seen = 0;
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || element.closest('.hidden')) continue;
        const style = getComputedStyle(element);
        const front = rgba(element.closest('svg') ? style.fill : style.color);
        const [high, low] = [light(front), light(behind(element))].sort((a, b) => b - a);
        const ratio = (high + 0.05) / (low + 0.05);
        seen++;
        if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${walker.currentNode.textContent.trim().slice(0, 40)}`);
    }
    return [seen, poor];
}"""


def drawn(page):
    """Wait until everything of the scene stands there."""
    until(lambda: page.locator("path.line").count() >= 4 and page.locator("#logs-rows > li").count() == 15)
    page.wait_for_selector(".ledger")
    page.wait_for_selector("#rejected-body table")


@pytest.mark.parametrize("look", LOOKS)
def test_every_look(fake, visit, tmp_path, look):
    """Nothing is wider than the screen, and every text stands out from what is behind it (WCAG AA: 4.5)."""
    play(fake)
    page = visit(fake.url, **LOOKS[look])
    drawn(page)
    page.locator("#senders .opener").first.click()
    seen, poor = page.evaluate(CONTRAST)
    assert seen > 200
    assert poor == []
    assert page.evaluate("document.documentElement.scrollWidth") <= LOOKS[look]["viewport"]["width"]
    for panel in page.query_selector_all(".panel, .tile, .card, .chart-card, .log"):
        box = panel.bounding_box()
        assert box is None or box["x"] + box["width"] <= LOOKS[look]["viewport"]["width"]
    page.locator("#senders .opener").first.click()
    folder = IMAGES if os.environ.get("ATMOST_SCREENSHOTS") == "1" else tmp_path
    folder.mkdir(exist_ok=True)
    picture = page.screenshot(path=folder / f"collector-{look}.png", full_page=True)
    assert len(picture) > 50_000


def background(page):
    """The colour of the page."""
    return page.evaluate("getComputedStyle(document.documentElement).backgroundColor")


def test_the_theme_is_chosen_and_remembered(fake, visit):
    """As the system says, unless one chooses; the choice outlives the page."""
    page = visit(fake.url, color_scheme="light")
    light = background(page)
    page.emulate_media(color_scheme="dark")
    dark = background(page)
    assert light != dark
    page.select_option("#theme", "light")
    assert background(page) == light
    page.reload()
    assert page.input_value("#theme") == "light"
    assert background(page) == light
    page.select_option("#theme", "auto")
    assert background(page) == dark


def test_everything_can_be_reached_by_keyboard(fake, visit):
    """The first stop skips to the content; every stop is seen; nothing traps; every control of the page is a stop."""
    play(fake)
    page = visit(fake.url)
    drawn(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["y"] >= 0
    stops, outlines = [], []
    for _ in range(150):
        page.keyboard.press("Tab")
        name, outline = page.evaluate("""() => {
            const one = document.activeElement, label = one.closest('label') ?? one;
            const style = getComputedStyle(one.matches('.choices input') ? label : one);
            return [one.id || one.className.baseVal || one.className || one.name || one.tagName, style.outlineStyle];
        }""")
        if name == "BODY":
            break
        stops.append(name)
        outlines.append(outline)
    assert stops[-1] == "A", "the last stop is the last link: nothing traps"
    assert {
        "theme",
        "opener",
        "chart",
        "range",
        "SUMMARY",
        "logs-level",
        "logs-sender",
        "logs-text",
        "logs-follow",
        "logs-scroller",
    } <= set(stops)
    assert set(outlines) <= {"solid", "auto"}
    page.keyboard.press("Shift+Tab")
    page.focus(".skip")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_structure_for_those_who_do_not_see_it(fake, visit):
    """Landmarks with names, headings in order, tables with captions and headers, controls with labels, one live region for the connection."""
    play(fake)
    page = visit(fake.url)
    drawn(page)
    for role in ("banner", "navigation", "main", "contentinfo", "search", "log"):
        assert page.get_by_role(role).count() == 1, role
    names = ["Senders", "Heartbeats", "Charts", "Logs", "The account", "Listeners"]
    assert all(page.get_by_role("region", name=name, exact=True).count() == 1 for name in names)
    levels = page.evaluate(
        "[...document.querySelectorAll('main :is(h1,h2,h3,h4), header h1')].map((one) => Number(one.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.evaluate(
        "[...document.querySelectorAll('table')].every((one) => one.caption && one.querySelector('th[scope=col]'))"
    )
    unnamed = "[...document.querySelectorAll('button, input, select, a')].filter((one) => !(one.ariaLabel || one.labels?.length || one.textContent.trim()))"
    assert page.evaluate(f"{unnamed}.length") == 0
    live = page.evaluate(
        "[...document.querySelectorAll('[role=status], [aria-live]:not([aria-live=off])')].map((one) => one.id)"
    )
    assert sorted(live) == ["charts-span-note", "link-status", "picker-note"]
    chart = page.locator(".chart-card", has_text="memory.used").locator("svg.chart")
    assert chart.get_attribute("role") == "slider"
    assert "complete" in chart.get_attribute("aria-valuetext")


def test_an_empty_page_says_what_to_do(fake, visit):
    """Each panel with the command that fills it, with this collector's own addresses; it can be copied."""
    fake.overview["listeners"][0]["address"] = "udp://0.0.0.0:9140"
    fake.overview["listeners"][1]["address"] = "udp://[::]:9125"
    page = visit(fake.url, permissions=["clipboard-read", "clipboard-write"])
    page.wait_for_selector("#charts-empty code")
    assert page.inner_text("#senders code") == "atmost agent --url udp://127.0.0.1:9140"
    assert page.inner_text("#heartbeats code >> nth=0") == "atmost agent --url udp://127.0.0.1:9140"
    assert page.inner_text("#charts code >> nth=1") == "echo 'hits:1|c' > /dev/udp/::1/9125"
    assert page.inner_text("#logs code >> nth=2") == "logger --udp --server 127.0.0.1 --port 5514 'hello'"
    page.click("#senders .command button")
    until(lambda: page.inner_text("#senders .command button") == "Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "atmost agent --url udp://127.0.0.1:9140"
    fake.overview["listeners"] = fake.overview["listeners"][2:]
    page.reload()
    page.wait_for_selector("#senders code >> text=atmost collect --bind udp://127.0.0.1:7140")
