"""The page in a real browser, against a collector under the test's control.

Whatever a test looks at, the page must not complain, break its content policy, or ask anybody but its collector.
"""

from collections.abc import Callable, Iterator
from shutil import which
from typing import Any

import pytest

from tests.collector.page.fake import FakeCollector
from tests.real import BOUND

SWITCHES = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--force-color-profile=srgb", "--hide-scrollbars"),
)
WATCH = """
window.violations = [];
addEventListener('securitypolicyviolation', (event) => violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


@pytest.fixture
def fake() -> Iterator[FakeCollector]:
    """A collector that nobody has sent anything to."""
    collector = FakeCollector()
    collector.start()
    yield collector
    collector.stop()


# A module's own: while it runs, this thread has an event loop, and tests elsewhere start theirs.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=which("chromium") or which("chromium-browser"), args=list(SWITCHES)
        )
        yield chromium
        chromium.close()


class Visits:
    """Opens pages and watches them."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser
        self._visits: list[tuple[Any, str, tuple[str, ...]]] = []
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def __call__(self, url: str, *, tolerated: tuple[str, ...] = (), **options: Any) -> Any:
        """Open a page; `tolerated` are parts of complaints that the test provokes, options are the context's."""
        defaults = {"viewport": {"width": 1440, "height": 900}, "locale": "en-US", "timezone_id": "UTC"}
        context = self._browser.new_context(**(defaults | options))
        context.set_default_timeout(BOUND * 1000)
        page = context.new_page()
        page.add_init_script(WATCH)
        page.on(
            "console", lambda said: self._complain(said.text, tolerated) if said.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: self._complain(str(error), tolerated))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(url)
        self._visits.append((page, url, tolerated))
        return page

    def close(self) -> None:
        """Close every page; none may have complained or asked a stranger."""
        strangers: list[str] = []
        for page, _, _ in self._visits:
            self.complaints += page.evaluate("window.violations")
        for page, url, _ in self._visits:
            origin = "/".join(url.split("/")[:3])
            strangers += [one for one in self.requests if not one.startswith((origin, "data:"))]
            page.context.close()
        assert self.complaints == []
        assert strangers == []

    def _complain(self, text: str, tolerated: tuple[str, ...]) -> None:
        if not any(part in text for part in tolerated):
            self.complaints.append(text)


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """A function that opens the page in a context of its own."""
    visits = Visits(browser)
    yield visits
    visits.close()
