"""Makes the development environment: `.venv`, with the packages of `requirements.lock` and this project, editable.

`env.py` makes or mends `.venv`, and does nothing when it is up to date; every verb of the Makefile runs it first.
`env.py lock` writes `requirements.lock` anew from `pyproject.toml`; `env.py lock --upgrade` also moves to the newest versions.

Needs Python 3.11 with `venv`, on Linux or macOS, and the network only for packages it has not installed yet.
Several runs at once in one checkout wait for each other. A failure is one line saying what to do, and exit code 1.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "set-up.stamp"
LOG = VENV / "set-up.log"
PROJECT = ROOT / "pyproject.toml"
LOCK = ROOT / "requirements.lock"
HOOK = ROOT / "hatch_build.py"
NATIVE = ROOT / "native"
LOCKER = "uv==0.13.9"
OLDEST = (3, 11)


class SetUpError(Exception):
    """The environment could not be made; the message says how to fix it."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    try:
        _check_python()
        if arguments and arguments[0] != "lock":
            print(__doc__)
            return 0 if arguments[0] in {"-h", "--help"} else 2
        if arguments:
            write_lock(arguments[1:])
        else:
            set_up()
    except (SetUpError, OSError) as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up interrupted: run the same command again", file=sys.stderr)
        return 130
    return 0


def set_up() -> None:
    """Make or mend `.venv`, doing only what has changed since the stamp was written."""
    if _stamp() == _wanted():
        return
    with _alone():
        found, wanted = _stamp(), _wanted()
        if found == wanted:
            return
        started = time.monotonic()
        if found[:1] != wanted[:1]:
            # Built from empty, because a package dropped from the lock could otherwise stay and hide that it is still imported.
            _say(f"creating .venv with Python {sys.version.split()[0]}")
            STAMP.unlink(missing_ok=True)
            _run("python -m venv", [sys.executable, "-m", "venv", "--clear", str(VENV)])
            _say("installing the locked packages (about a minute the first time)")
            _run("pip", [*_pip("install"), "--require-hashes", "--requirement", LOCK.name])
        _say("installing atmost itself, editable")
        _run("pip", [*_pip("install"), "--no-build-isolation", "--no-deps", "--editable", "."])
        STAMP.write_text("\n".join(wanted), encoding="utf-8")
        compiled = (ROOT / "src" / "atmost" / f"_native{sysconfig.get_config_var('EXT_SUFFIX') or '.so'}").exists()
        hot_path = "compiled" if compiled else "pure Python (docs/compiled.md)"
        _say(f"ready in {time.monotonic() - started:.0f} s; the hot path is {hot_path}")


def write_lock(options: Sequence[str]) -> None:
    """Resolve `pyproject.toml` for every platform and Python it allows, and write the hash of every file that may serve."""
    options = ["--quiet", "--no-config", "--universal", "--python-version", ".".join(map(str, OLDEST)), *options]
    options += ["--all-extras", "--group=dev", "--generate-hashes", "--custom-compile-command=make lock"]
    with tempfile.TemporaryDirectory() as folder:
        _say(f"fetching {LOCKER}")
        _run("python -m venv", [sys.executable, "-m", "venv", folder])
        _run("pip", [f"{folder}/bin/python", "-m", "pip", "install", LOCKER])
        _say("resolving the dependencies of pyproject.toml")
        _run("uv", [f"{folder}/bin/uv", "pip", "compile", *options, "--output-file", LOCK.name, PROJECT.name])
    _say(f"wrote {LOCK.name}")


def _check_python() -> None:
    """Say what is missing before anything is made; this file is read by whatever python3 is, however old."""
    if sys.version_info < OLDEST:
        message = "atmost needs Python 3.11 or newer, and this is {}.{}: name a newer one, as in make PYTHON=python3.11"
        raise SetUpError(message.format(*sys.version_info[:2]))
    # Debian packages venv separately from Python: the module is there, but the ensurepip that it needs is not.
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        raise SetUpError("this Python has no venv: install it (on Debian: apt-get install python3-venv), and run again")


def _wanted() -> list[str]:
    """Two hashes: of what `.venv` is built from (a moved checkout counts, since scripts in it name its path), and of the project."""
    build = [LOCK.read_bytes(), str(VENV).encode(), repr(sys.version_info[:2]).encode()]
    # What the editable install reads: the project, and the compiled hot path, which it builds where a compiler is there.
    project = [PROJECT.read_bytes(), HOOK.read_bytes(), *(path.read_bytes() for path in sorted(NATIVE.glob("*.[ch]")))]
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    found = shutil.which(shlex.split(compiler)[0]) or "none"
    project += [each.encode() for each in (os.environ.get("ATMOST_BUILD", "auto"), compiler, found)]
    return [hashlib.sha256(b"\0".join(each)).hexdigest() for each in (build, project)]


def _stamp() -> list[str]:
    """Return what `.venv` was last built from; nothing if it is missing, unfinished or its Python is gone."""
    if not (PYTHON.exists() and STAMP.exists()):
        return []
    return STAMP.read_text(encoding="utf-8").split("\n")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold this file's lock, so that two set-ups of one checkout do not build the same `.venv`."""
    with Path(__file__).open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for another set-up of this checkout")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _pip(verb: str) -> list[str]:
    return [str(PYTHON), "-m", "pip", verb, "--disable-pip-version-check", "--retries", "2"]


def _run(name: str, command: Sequence[str]) -> None:
    """Run quietly in the checkout; on failure keep the output in the log, and raise what it says and what to do."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode == 0:
        return
    VENV.mkdir(exist_ok=True)
    LOG.write_text(done.stdout, encoding="utf-8")
    if "Retrying (" in done.stdout:
        raise SetUpError(f"the package index cannot be reached: check the network, and run again (see {LOG})")
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()] or ["nothing"]
    reason = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1])
    raise SetUpError(f"{name} said '{reason}': mend that, and run again (see {LOG})")


def _say(text: str) -> None:
    print(f"set-up: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
