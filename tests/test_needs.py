"""A test that needs what the machine lacks is skipped aloud, and fails where nothing may be left out."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MECHANISM = Path(__file__).with_name("conftest.py")


@pytest.fixture
def run(tmp_path):
    """Runs one test that needs Chromium on a machine without any command."""
    shutil.copy(MECHANISM, tmp_path)
    example = 'import pytest\n\n@pytest.mark.needs("{}")\ndef test_it():\n    pass\n'

    def run(need: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_it.py").write_text(example.format(need), encoding="utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ATMOST_", "PYTEST_"))}
        kept["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # to load all that is installed takes longer than the test
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=kept | {"PATH": ""} | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "2")])
def test_a_need_that_is_not_met_is_listed_with_its_remedy(run, options):
    """The end of the run says what was missing, how to get it and which tests it cost; with several processes too."""
    done = run("chromium", *options)
    assert done.returncode == 0
    assert "chromium: on Debian: apt-get install chromium (1 skipped)\n    test_it.py::test_it" in done.stdout
    assert "1 skipped" in done.stdout.splitlines()[-1]


def test_where_all_is_required_a_need_that_is_not_met_fails(run):
    """`ATMOST_REQUIRE_ALL=1` leaves nothing out."""
    done = run("chromium", ATMOST_REQUIRE_ALL="1")
    assert done.returncode == 1
    assert "this machine lacks chromium: on Debian: apt-get install chromium" in done.stdout


def test_a_misspelt_need_is_refused(run):
    """A need that nothing could meet would be a test that never runs."""
    done = run("chromuim")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "needs 'chromuim', which tests/conftest.py does not know" in done.stderr
