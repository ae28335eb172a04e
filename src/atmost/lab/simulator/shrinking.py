"""Shortens a list that shows a failure: delta debugging.

The algorithm is ddmin (Zeller and Hildebrandt, *Simplifying and isolating failure-inducing input*, IEEE Transactions on
Software Engineering 28, 2002), without its test of single parts, which hardly ever show a failure alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def shrink(items: Sequence[Item], fails: Callable[[Sequence[Item]], bool], max_tests: int = 2000) -> Sequence[Item]:
    """The fewest items found that still fail: none of them can be left out, unless the tests ran out.

    Args:
        items: fail together.
        fails: the test, of which the same list always gets the same answer.
        max_tests: how often to ask it.
    """
    parts, tests = 2, 0
    while len(items) > 1 and tests < max_tests:
        size = -(-len(items) // parts)
        for start in range(0, len(items), size):
            rest = [*items[:start], *items[start + size :]]
            tests += 1
            if fails(rest):
                items, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(items))
    return items
