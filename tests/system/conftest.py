"""What every test of real processes needs."""

import pytest

from tests.system.network import Network
from tests.system.scene import Scene


@pytest.fixture
def scene():
    """An empty scene; whatever it started is gone after the test."""
    with Scene() as scene:
        yield scene


@pytest.fixture
def network():
    """Two hosts and a cable; for tests that need root, netns and nft. Closed after the scene's processes are dead."""
    with Network() as network:
        yield network
