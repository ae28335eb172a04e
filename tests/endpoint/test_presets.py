"""F and G follow from where the other end is (GUARANTEE §5)."""

import pytest

from atmost.endpoint.presets import MEMORY, NETWORK, SAME_HOST, Preset, preset


@pytest.mark.parametrize(
    ("same_host", "memory", "expected"),
    [(True, False, SAME_HOST), (False, False, NETWORK), (True, True, MEMORY)],
)
def test_each_place_has_its_bounds(same_host: bool, memory: bool, expected: Preset) -> None:
    """One host, a network, one process."""
    assert preset(same_host=same_host, memory=memory) is expected


def test_the_bounds_are_those_of_the_specification() -> None:
    """Smaller ones would repeat messages; larger ones make every start longer."""
    assert (SAME_HOST.future_bound, SAME_HOST.clock_guard) == (0.010, 0.500)
    assert (NETWORK.future_bound, NETWORK.clock_guard) == (0.500, 0.500)
    assert (MEMORY.future_bound, MEMORY.clock_guard) == (0, 0)
