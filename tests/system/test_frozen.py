"""A program that PyInstaller has frozen: nothing that is imported late is missing, and all that it counted arrives."""

import subprocess
import sys

import pytest

from tests.real import BOUND, environment
from tests.services import observing, settles

PROGRAM = """
import logging, sys
import atmost

metrics = atmost.Metrics(sys.argv[1])
metrics.counter("runs_total").inc(7)
logging.getLogger().addHandler(atmost.LogHandler(sys.argv[1]))
logging.warning("frozen")
hints = atmost.Invalidator(sys.argv[1])
cache = atmost.HintedCache(10, own=hints)
hints.invalidate("a")
atmost.Heartbeat(sys.argv[1], "frozen").start()
print(cache.get_or_load("a", lambda: "ran"))
"""


@pytest.mark.slow
def test_a_frozen_program(tmp_path):
    """Metrics, logs, hints and heartbeats of one, and every goodbye."""
    (tmp_path / "app.py").write_text(PROGRAM)
    freeze = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "ERROR", "app.py"]
    given = environment() | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        freeze, cwd=tmp_path, env=given, capture_output=True, text=True, check=False, timeout=8 * BOUND
    )
    assert done.returncode == 0, done.stderr
    with observing() as observer:
        program = [tmp_path / "dist" / "app" / "app", observer.url]
        done = subprocess.run(program, env={}, capture_output=True, text=True, check=False, timeout=BOUND)
        assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr
        settles(lambda: observer.total("runs_total"), 7)
        settles(lambda: [record.message for record in observer.records], ["frozen"])
        settles(lambda: (observer.subjects["hints.key"], observer.subjects["heartbeats.frozen"] > 0), (1, True))
        settles(observer.is_quiet, wanted=True)
