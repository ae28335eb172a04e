"""While a rendering holds thousands of samples nobody looks for garbage among them, because every thread would stand still meanwhile."""

import gc

import pytest

from tests.collector.scene import Asked


def test_no_garbage_is_looked_for_while_samples_are_made(monkeypatch):
    """And afterwards it is again, whatever happened, unless the operator has it off."""
    asked, seen = Asked(), []

    def families(*_all):
        seen.append(gc.isenabled())
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(asked.exporter._collector._user, "families", families)
    assert gc.isenabled()
    with pytest.raises(RuntimeError):
        asked.exporter.render("")
    assert gc.isenabled()
    gc.disable()
    try:
        with pytest.raises(RuntimeError):
            asked.exporter.render("")
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert seen == [False, False]
