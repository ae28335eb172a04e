"""The rules of the house hold: imports go downwards, importing costs little, and the tree fits any machine."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")

# Loaded only by those who use them: an event loop, the command line, and every extra.
LATE = {
    "asyncio",
    "click",
    "cryptography",
    "matplotlib",
    "nats",
    "prometheus_client",
    "psutil",
    "rich",
    "starlette",
    "textual",
    "uvicorn",
}

# Home folders, and the folders that build machines check out into.
OF_ONE_MACHINE = re.compile(r"(?<![\w.~])/(?:home|Users|work|workspace|builds|farm)/\w")
BUILT = {"node_modules", "__pycache__", "build", "dist", "htmlcov"}


def test_imports_go_only_downwards():
    """The contracts of import-linter in pyproject.toml hold: the floors, and a core without input or output."""
    done = _python("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_imports_itself_in_a_circle():
    """Also not inside a package, in a function, or for annotations alone; `scripts/walks.py --tree` names them."""
    done = _python("scripts/walks.py", "--tree")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_walks_through_the_code_can_be_printed():
    """`scripts/walks.py` still finds its way: a message, a record, a line and a cache miss."""
    done = _python("scripts/walks.py", "--json")
    assert done.returncode in {0, 1}, done.stderr
    assert all(row["files"] for row in json.loads(done.stdout)["walks"])


def test_importing_atmost_loads_nothing_that_can_wait():
    """A program that only sends loads no event loop, no command line and no extra."""
    done = _python("-c", "import sys; before = set(sys.modules); import atmost; print(*set(sys.modules) - before)")
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "atmost" in loaded
    assert not loaded & LATE


@pytest.mark.parametrize("module", sorted(path.stem for path in (ROOT / "src" / "atmost").glob("*.py")))
def test_every_public_name_can_be_had(module):
    """Names that are loaded lazily exist: nothing in `__all__` fails when it is asked for."""
    name = "atmost" if module == "__init__" else f"atmost.{module}"
    done = _python("-c", f"import {name} as m; [getattr(m, name) for name in getattr(m, '__all__', ())]")
    assert done.returncode == 0, done.stderr


def test_the_lock_covers_what_the_project_declares():
    """Every dependency, extra and tool of pyproject.toml is locked with hashes; otherwise run `make lock`."""
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)(?=.* \\$)", LOCK, flags=re.MULTILINE))
    declared = [
        *PROJECT["build-system"]["requires"],
        *PROJECT["project"]["dependencies"],
        *(line for extra in PROJECT["project"]["optional-dependencies"].values() for line in extra),
        *PROJECT["dependency-groups"]["dev"],
    ]
    names = {re.split(r"[^A-Za-z0-9-]", line)[0] for line in declared} - {"atmost"}
    assert names - locked.keys() == set()


def test_the_lock_names_no_registry():
    """The lock installs from whatever registry the machine is set up for."""
    assert "://" not in LOCK
    assert not re.search(r"^\s*--(?!hash=sha256:)", LOCK, flags=re.MULTILINE)


def test_the_tree_names_no_machine():
    """No file mentions a folder that exists only on the machine it was written on."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in _texts()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        if str(ROOT) in line or OF_ONE_MACHINE.search(line)
    ]
    assert found == []


def _texts() -> Iterator[Path]:
    """Every file of the checkout but those of git, of the environment, of caches and of builds."""
    folders = [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            hidden = path.name.startswith(".") and path.name not in {".ci", ".gitignore"}
            if hidden or path.is_symlink() or path.name in BUILT or path.suffix == ".so":
                continue
            if path.is_dir():
                folders.append(path)
            else:
                yield path


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
