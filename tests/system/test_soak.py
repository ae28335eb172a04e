"""The soak: a short one ends well, and each of its complaints is made when there is reason for it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/soak.py"
ACCOUNT = {
    **dict.fromkeys(("before_join", "lost", "overflow", "pending", "queued", "discarded", "kernel_drops"), 0),
    "sent": 10,
    "delivered": 10,
    "sessions": [{"name": "a", "sent": 10}],
}
REPORT = {"name": "a", "handed_over": 9, "refused": {"ENOBUFS": 1}, "dropped": {}}


@pytest.fixture(scope="module")
def soaking():
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("soak", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({}, ""),
        ({"sent": 11}, "does not balance"),
        ({"delivered": 9, "lost": 1}, "the kernel dropped nothing"),
        ({"delivered": 9, "lost": 1, "kernel_drops": 1}, ""),
        ({"sessions": [{"name": "a", "sent": 9}]}, "it numbered 10, the account says 9"),
        ({"sessions": []}, "it numbered 10, the account says None"),
    ],
)
def test_an_account_that_is_not_right_is_said(soaking, tmp_path, change, complaint):
    """Each figure beside the sender's own."""
    faults = soaking.Soak(1.0, tmp_path).check({**ACCOUNT, **change}, [REPORT])
    assert len(faults) == bool(complaint)
    assert all(complaint in fault for fault in faults)


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        ([(100 << 20, 10, 3)] * 10, ""),
        ([(100 << 20, 10, 3)] * 9 + [(130 << 20, 10, 3)], "memory grew by 31.5 MB"),
        ([(100 << 20, 10, 3)] * 9 + [(100 << 20, 20, 3)], "descriptors: 10 to 20"),
        ([(100 << 20, 10, 3)] * 9 + [(100 << 20, 10, 9)], "threads: 3 to 9"),
    ],
)
def test_what_is_not_flat_is_said(soaking, samples, complaint):
    """Memory beyond what histories need, and any growth of the others."""
    life = soaking.Collector.__new__(soaking.Collector)
    life.samples = samples
    assert life.faults() == ([complaint] if complaint else [])


@pytest.mark.slow
@pytest.mark.needs("linux")
def test_a_short_one_ends_well():
    """Half a minute, with a restart of the collector."""
    done = subprocess.run([sys.executable, SCRIPT, "--seconds", "30"], check=False, capture_output=True, text=True)
    assert (done.returncode, "not right" in done.stdout) == (0, False), done.stdout + done.stderr
    assert "senders ended" in done.stdout
