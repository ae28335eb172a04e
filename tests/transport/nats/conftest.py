"""What the tests with real servers share."""

import pytest

from tests.nats_server import NatsServer, running


@pytest.fixture
def server(tmp_path):
    """One server without any rules."""
    with running([NatsServer(tmp_path)]) as [server]:
        yield server
