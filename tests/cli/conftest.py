"""What the tests of the commands share: how they are run, and a collector that says what the test wants."""

from collections.abc import Iterator

import pytest

from tests.cli.commands import commands, run, start
from tests.collector.page.fake import FakeCollector

__all__ = ["commands", "fake", "run", "start"]


@pytest.fixture
def fake() -> Iterator[FakeCollector]:
    """A collector that nobody has sent anything to."""
    collector = FakeCollector()
    collector.start()
    yield collector
    collector.stop()
