"""axe-core finds nothing in the page: each view, light and dark, on a phone and on a desk."""

import pytest

from tests.collector.page.scene import play
from tests.real import until

pytestmark = pytest.mark.needs("chromium")

SIZES = {390: 844, 1440: 900}


@pytest.fixture(scope="module")
def axe():
    """axe-core, whose rules of WCAG 2.2 A and AA and best practices are all on."""
    from axe_playwright_python.sync_playwright import Axe

    return Axe()


def check(axe, page):
    """Everything that stands on the page now; the rules that no element fits are not counted as checked."""
    found = axe.run(page, options={"resultTypes": ["violations"]}).response
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found["violations"]] == []
    assert len(found["passes"]) > 20


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
def test_nothing_is_found(fake, visit, axe, width, scheme):
    """With everything open: a sender's row, a chart of several lines with its sums, the list of series, another time."""
    play(fake)
    page = visit(fake.url, viewport={"width": width, "height": SIZES[width]}, color_scheme=scheme)
    until(lambda: page.locator("path.line").count() >= 4 and page.locator("#logs-rows > li").count() == 15)
    page.wait_for_selector(".ledger")
    check(axe, page)
    page.locator("#senders .opener").first.click()
    card = page.locator(".chart-card").first
    card.get_by_role("button", name="Add a series to the chart of").click()
    page.locator("#picker-list input:not(:checked):enabled").first.check()
    until(lambda: card.locator(".line-name").count() == 2)
    check(axe, page)
    page.keyboard.press("Escape")
    card.locator(".over summary").first.click()
    page.locator("#charts-other summary").click()
    page.fill("#charts-to", "2020-01-01T00:00:00")
    page.click("#charts-span button")
    page.locator(".forget:visible").first.click()
    card.locator("svg.chart").focus()
    page.keyboard.press("Home")
    page.wait_for_selector(".tip:visible")
    check(axe, page)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_found_where_nothing_is(fake, visit, axe, scheme):
    """An empty page with its commands; one that lost its collector; one that is asked for a token."""
    page = visit(
        fake.url, color_scheme=scheme, tolerated=("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "401")
    )
    page.wait_for_selector("#charts-empty code")
    check(axe, page)
    fake.stop()
    page.wait_for_selector("#stale:visible")
    check(axe, page)
    fake.token = "secret"
    fake.start()
    page.wait_for_selector("#token[open]")
    check(axe, page)


def test_the_check_finds_what_is_wrong(fake, visit, axe):
    """A picture without words, and a text that does not stand out: the tests above are ones that can fail."""
    page = visit(fake.url)
    page.wait_for_selector("#charts-empty code")
    page.evaluate("""() => {
        const pale = document.createElement('p');
        pale.textContent = 'pale';
        Object.assign(pale.style, { color: '#bbb', background: '#fff' });
        const picture = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
        picture.setAttribute('role', 'img');
        document.querySelector('#senders').append(pale, picture);
    }""")
    found = axe.run(page).response["violations"]
    assert {"svg-img-alt", "color-contrast"} <= {each["id"] for each in found}
