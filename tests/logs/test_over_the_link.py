"""Over real sockets and the link that loses, doubles and reorders; and the example."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.loss_logs import run
from tests.real import environment

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("loss", [0.05, 0.6])
def test_gaps_sum_to_what_is_missing(loss):
    """By level, each record once, in order, with other messages on the same socket."""
    result = run(loss, 1.0, 3)
    for name in ("wrong_gaps", "twice", "untold", "out_of_order", "misplaced"):
        assert result[name] == 0, name
    assert result["in_gaps"] == result["missing"] > 0
    assert result["errors_in_gaps"] == result["missing_errors"]


def test_example():
    """It runs, is short, and tells what is missing."""
    path = ROOT / "examples" / "logs.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 30
    done = subprocess.run(
        [sys.executable, path], env=environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "of shop lost here: " in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1000 logged, ")
