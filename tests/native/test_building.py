"""The build hook: compiled where a compiler is there, and never required."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what a build reads."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("src", "native"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    return copy


def build(tree: Path, kind: str, out: Path, **variables: str) -> tuple[Path | None, str]:
    """Build a distribution; return its file, None when that failed, and what was said."""
    kept = {name: value for name, value in os.environ.items() if name not in {"ATMOST_BUILD", "CC"}}
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(out)],
        cwd=tree,
        env=kept | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return (next(iter(sorted(out.iterdir()))) if done.returncode == 0 else None), done.stdout


def compiled_in(wheel: Path) -> list[str]:
    """Return the compiled files of a wheel."""
    return [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith((".so", ".pyd"))]


@pytest.mark.parametrize("variables", [{"ATMOST_BUILD": "no"}, {"CC": "/bin/false"}, {"CC": "/nowhere/cc"}])
def test_a_wheel_without_compiled_code_is_for_everywhere(tree: Path, tmp_path: Path, variables: dict[str, str]) -> None:
    """Asked for, or because there is no compiler that works; then the build says so."""
    wheel, said = build(tree, "wheel", tmp_path, **variables)
    assert wheel is not None, said
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not compiled_in(wheel)
    assert ("without its compiled hot path" in said) == ("CC" in variables)


@pytest.mark.needs("compiler")
def test_a_wheel_with_compiled_code_is_for_its_platform(tree: Path, tmp_path: Path) -> None:
    """And what is in it works."""
    wheel, said = build(tree, "wheel", tmp_path / "out", ATMOST_BUILD="yes")
    assert wheel is not None, said
    assert "none-any" not in wheel.name
    assert len(compiled_in(wheel)) == 1
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "installed")  # noqa: S202  made a moment ago
    code = "import atmost; print(atmost.is_compiled(), atmost.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "ATMOST_PURE": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"True {tmp_path / 'installed' / 'atmost' / '__init__.py'}\n"


def test_what_must_be_compiled_and_cannot_be_is_an_error(tree: Path, tmp_path: Path) -> None:
    """`ATMOST_BUILD=yes` is never silently something else."""
    wheel, said = build(tree, "wheel", tmp_path, ATMOST_BUILD="yes", CC="/bin/false")
    assert wheel is None
    assert "the hot path cannot be compiled" in said
    wheel, said = build(tree, "wheel", tmp_path, ATMOST_BUILD="perhaps")
    assert wheel is None
    assert "expected auto, yes or no" in said


def test_a_source_distribution_has_the_source_and_nothing_compiled(tree: Path, tmp_path: Path) -> None:
    """Whatever the machine has."""
    archive, said = build(tree, "sdist", tmp_path, CC="/bin/false")
    assert archive is not None, said
    with tarfile.open(archive) as packed:
        names = [name.partition("/")[2] for name in packed.getnames()]
    assert {"native/hot.c", "native/xxh3.h", "hatch_build.py", "src/atmost/compiled.py"} <= set(names)
    assert not [name for name in names if name.endswith(".so")]


@pytest.mark.needs("compiler")
@pytest.mark.parametrize("flags", [[], ["-DATMOST_NO_SIMD"], ["-O0", "-UNDEBUG"]])
def test_it_compiles_without_a_warning(flags: list[str], tmp_path: Path) -> None:
    """With all of them on, and errors."""
    sys.path.insert(0, str(ROOT))
    try:
        from hatch_build import compile_native
    finally:
        sys.path.remove(str(ROOT))
    compile_native(ROOT / "native" / "hot.c", tmp_path / "_native.so", "-Werror", *flags)
    assert (tmp_path / "_native.so").stat().st_size
