"""Metrics through a simulated link, a seed a run: what the benchmark tells is right for every seed, not for one lucky run."""

import pytest

from benchmarks.loss_metrics_simulated import run


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.05, 0.3, 0.6])
def test_every_total_is_right_once_the_link_healed(loss):
    """With duplicates and reordering too; and the completeness is the true one, and duplicates skew no mean."""
    for seed in range(1000, 1004):
        result = run(loss, 30.0, seed)
        assert result["wrong_totals"] == 0
        assert result["observations_missing"] == 0
        assert result["completeness_error"] == 0
        assert result["gauge_skew"] < 1e-9
        assert loss not in {0.0, 0.3, 0.6} or (result["lost"] > 0) == (loss > 0)
