"""What tests of the durable path share: real servers with JetStream."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.durable.jetstream import JetStream

Server = Callable[..., JetStream]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JetStream]:
    """A server that nobody kills, for streams of many tests."""
    server = JetStream(tmp_path_factory.mktemp("jetstream"))
    yield server
    server.kill()


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A function that starts a server of the test's own."""
    started: list[JetStream] = []

    def start(*options: str, store: Path | None = None) -> JetStream:
        started.append(JetStream(store or tmp_path_factory.mktemp("jetstream"), *options))
        return started[-1]

    yield start
    for server in started:
        server.kill()
