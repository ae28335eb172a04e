"""The compiled hot path, compared with the readable Python; under `ATMOST_PURE=1` there is nothing to compare."""

from __future__ import annotations

import os

import pytest

collect_ignore_glob = ["test_*.py"] if os.environ.get("ATMOST_PURE", "0") not in {"", "0"} else []


def pytest_itemcollected(item: pytest.Item) -> None:
    """Every test here needs what a C compiler makes."""
    item.add_marker(pytest.mark.needs("compiled"))
