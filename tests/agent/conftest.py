import pytest

from tests.agent.scene import Scene


@pytest.fixture
def scene(tmp_path):
    """A log that is not there yet, and whoever follows it."""
    scene = Scene(tmp_path / "app.log")
    yield scene
    if scene.follower is not None:
        scene.follower.close()
