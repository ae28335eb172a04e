"""A plugin of pytest: the fixtures `atmost_capture` and `atmost_clock` (docs/frameworks.md, "Tests").

Nothing of atmost is imported, and nothing made, before a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from atmost.testing import Capture, ManualClock


@pytest.fixture
def atmost_capture() -> Iterator[Capture]:
    """Captures what this test sends through `atmost_capture.sender`, or through senders that were given no address."""
    with Capture(environment=True) as capture:
        yield capture


@pytest.fixture
def atmost_clock() -> ManualClock:
    """A clock that stands still until the test moves it."""
    return ManualClock()
