"""Removes the rules from the code one by one and reports which test fails; a rule that no test defends is not held.

`mutants.py` reads `mutants.toml`, the rules of the guarantee, and `mutants_hints.toml`, those of the hints. For each mutant it copies the source to a temporary folder, changes one place in it and
runs the tests named beside it. It prints rule → mutation → killed by, and exits with 1 if a mutant survives, if its text does
not occur exactly once, or if its tests fail without it.
`mutants.py R12 R13 hints` runs the mutants of these rules only.
`mutants.py --tests tests/core/test_machine.py` runs other tests than those named, to see what they would notice.
`mutants.py --simulator` runs the simulator of the guarantee instead, over the mutants that name the violation it shows.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = ROOT / "src"
TABLES: Final = [Path(__file__).with_name(name) for name in ("mutants.toml", "mutants_hints.toml")]
TIMEOUT: Final = 150
"""Longest time for the tests of one mutant (s); a mutant that runs for ever counts as noticed."""
MAX_MEMORY: Final = 8 << 30
"""Limit of the address space (bytes): a mutant may allocate as much as a number on the wire says (R13)."""

SEEDS: Final = 300
"""Seeds of the simulator within which every mutant that names a violation must show it."""
_SEARCH: Final = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[3]), int(sys.argv[3]) + 1))
from atmost.lab.guarantee import simulate
for seed in range(int(sys.argv[1])):
    if any(found.kind.value == sys.argv[2] for found in simulate(seed).violations):
        print(seed)
        break
"""
_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (\S+::\w+(?:\[.*?\])?)(?: - |$)", re.MULTILINE)
_PASSED, _TESTS_FAILED = 0, 1


class Mutant(NamedTuple):
    """A change that takes one rule out of the code."""

    rule: str
    says: str
    """What the change makes wrong."""
    file: str
    """Below src/atmost."""
    old: str
    """The text to replace; it occurs exactly once."""
    new: str
    tests: Sequence[str] = ()
    """Tests below tests/core, as `test_window.py::test_r13…`, or of another folder of tests, as `hints/test_simulated.py::…`; at least one fails.
    Empty if only the simulator notices."""
    simulator: str = ""
    """The kind of violation that the simulator finds; empty if it finds none."""


class Outcome(NamedTuple):
    """The fate of a mutant."""

    mutant: Mutant
    killed: bool
    by: str
    """The first test that failed, or the reason why none did."""


def main(arguments: Sequence[str]) -> int:
    """Runs the mutants; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rules", nargs="*", help="run only these rules, for example R12")
    parser.add_argument("--tests", nargs="+", help="run these tests instead of those named")
    parser.add_argument("--simulator", action="store_true", help="run the simulator instead of tests")
    options = parser.parse_args(arguments)
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = MAX_MEMORY if most == resource.RLIM_INFINITY else min(MAX_MEMORY, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))
    rows = [row for table in TABLES for row in tomllib.loads(table.read_text(encoding="utf-8"))["mutant"]]
    table = [Mutant(**row) for row in rows]
    chosen = [mutant for mutant in table if not options.rules or mutant.rule in options.rules]
    chosen = [mutant for mutant in chosen if (mutant.simulator if options.simulator else mutant.tests)]
    if options.simulator:
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
            folders = [Path(folder) / str(number) for number in range(len(chosen))]
            outcomes = list(pool.map(_simulate, folders, chosen))
        return _end(outcomes)
    named = [options.tests or [path_of(test) for test in mutant.tests] for mutant in chosen]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        unchanged = _copy(Path(folder) / "unchanged")
        _check_path(unchanged)
        code, said = _run(unchanged, sorted({test for tests in named for test in tests}))
        if code != _PASSED:
            print(f"The tests must pass before anything is changed:\n{said}")
            return 1
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            folders = [Path(folder) / str(number) for number in range(len(chosen))]
            outcomes = list(pool.map(_try, folders, chosen, named))
    return _end(outcomes)


def path_of(test: str) -> str:
    """Where a test of a table stands: of the core, where no folder is named."""
    return f"tests/{test}" if "/" in test.partition("::")[0] else f"tests/core/{test}"


def _end(outcomes: Sequence[Outcome]) -> int:
    _show(outcomes)
    return 0 if outcomes and all(outcome.killed for outcome in outcomes) else 1


def _try(folder: Path, mutant: Mutant, tests: Sequence[str]) -> Outcome:
    """Runs one mutant's tests against it."""

    def judge(source: Path) -> Outcome:
        code, said = _run(source, ["--exitfirst", *tests])
        if code == _TESTS_FAILED and (found := _FAILED.search(said)):
            return Outcome(mutant, killed=True, by=found[1].removeprefix("tests/").removeprefix("core/"))
        return Outcome(mutant, killed=False, by="survived" if code == _PASSED else f"pytest ended with {code}:\n{said}")

    return _mutated(folder, mutant, judge)


def _simulate(folder: Path, mutant: Mutant) -> Outcome:
    """Runs the simulator against one mutant."""

    def judge(source: Path) -> Outcome:
        # By the processor's time: on a busy machine one that passes all seeds must not be taken for one that runs for ever.
        search = ["-c", _SEARCH, str(SEEDS), mutant.simulator, str(TIMEOUT)]
        code, said = _python(source, search, timeout=20 * TIMEOUT)
        if code in {-signal.SIGXCPU, -signal.SIGKILL}:
            return Outcome(mutant, killed=True, by=f"still running after {TIMEOUT} s of the processor")
        seed = said.strip()
        return Outcome(mutant, killed=seed.isdigit(), by=f"{mutant.simulator}, seed {seed}" if seed else "survived")

    return _mutated(folder, mutant, judge)


def _mutated(folder: Path, mutant: Mutant, judge: Callable[[Path], Outcome]) -> Outcome:
    """Changes one place in a copy of the source and returns the judge's verdict on it."""
    source = _copy(folder)
    path = source / "atmost" / mutant.file
    text = path.read_text(encoding="utf-8")
    if (times := text.count(mutant.old)) != 1:
        return Outcome(mutant, killed=False, by=f"its text stands {times} times in {mutant.file}")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        return judge(source)
    except subprocess.TimeoutExpired:
        return Outcome(mutant, killed=True, by=f"still running after {TIMEOUT} s")
    finally:
        shutil.rmtree(folder)


def _copy(folder: Path) -> Path:
    """Copies the source into a temporary folder."""
    return Path(shutil.copytree(SOURCE, folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.so")))


def _check_path(source: Path) -> None:
    """Checks that the tests import this source, not an installed one."""
    _, where = _python(source, ["-c", "import atmost; print(atmost.__file__)"])
    assert Path(where.strip()).is_relative_to(source), where


def _run(source: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """Runs pytest on this source; returns its exit code and output."""
    return _python(source, ["-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider", *arguments])


def _python(source: Path, arguments: Sequence[str], timeout: float = TIMEOUT) -> tuple[int, str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(source),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ATMOST_PURE": "1",  # the readable Python is what is mutated
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "CI": "1",  # Hypothesis draws the same examples every time
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    return done.returncode, done.stdout + done.stderr


def _show(outcomes: Sequence[Outcome]) -> None:
    """Prints a line for each mutant: rule → mutation → killed by."""
    width = max((len(outcome.mutant.says) for outcome in outcomes), default=0)
    for mutant, killed, by in outcomes:
        print(f"{mutant.rule:6} {mutant.says:{width}}  {'killed by' if killed else 'NOT KILLED:'} {by}")
    alive = sum(not outcome.killed for outcome in outcomes)
    print(f"{len(outcomes)} mutants, {alive} not killed")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
