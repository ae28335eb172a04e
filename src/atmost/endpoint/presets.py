"""Decides F and G from where the other end is (GUARANTEE §5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Preset:
    """Bounds on clocks, seconds."""

    future_bound: float
    clock_guard: float


SAME_HOST: Final = Preset(future_bound=0.010, clock_guard=0.500)
"""One clock for both ends: readings differ by scheduling only."""
NETWORK: Final = Preset(future_bound=0.500, clock_guard=0.500)
"""Clocks kept by NTP; also wildcard binds, which a network can reach."""
MEMORY: Final = Preset(future_bound=0.0, clock_guard=0.0)
"""memory:// has one strictly increasing clock for both ends."""


def preset(*, same_host: bool, memory: bool = False) -> Preset:
    """The bounds for an address."""
    if memory:
        return MEMORY
    return SAME_HOST if same_host else NETWORK
