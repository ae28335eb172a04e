"""What `import atmost` loads, and what a Sender does: each module is named, because each one costs every program that sends."""

import subprocess
import sys

import pytest

OURS = """
import sys
before = set(sys.modules)
{base}
base = set(sys.modules)
{code}
print(*sorted(set(sys.modules) - base))
print(*sorted(set(sys.modules) - before))
"""
PACKAGE = "__future__, atexit, collections.abc, contextlib, enum, heapq, importlib, mmap, os, signal, sys, threading, time, typing, weakref"
SENDER = f"""{PACKAGE}, array, bisect, copy, dataclasses, errno, inspect, ipaddress, itertools, msgspec, operator, re, select,
socket, stat, struct, urllib.parse, xxhash""".replace("\n", " ")
"""The modules of others that the code of a Sender imports; what they load in turn is theirs."""
HEAVY = {
    "asyncio",
    "base64",
    "ctypes",
    "hashlib",
    "hmac",
    "logging",
    "multiprocessing",
    "pathlib",
    "random",
    "secrets",
    "subprocess",
}


def _loaded(base, code):
    """What `code` loads beyond `base`, and what both load."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", OURS.format(base=f"import {base}", code=code)],
        capture_output=True,
        text=True,
        check=True,
    )
    beyond, both = done.stdout.split("\n")[:2]
    return set(beyond.split()), set(both.split())


@pytest.mark.parametrize(
    ("base", "code"),
    [(PACKAGE, "import atmost"), (SENDER, "import atmost; atmost.Sender")],
    ids=["import atmost", "atmost.Sender"],
)
def test_only_the_modules_named_here_are_loaded(base, code):
    """Whatever else is imported somewhere on the way to a Sender shows here."""
    beyond, _ = _loaded(base, code)
    assert {name for name in beyond if not name.startswith("atmost")} == set()


def test_import_atmost_loads_two_modules_of_ours():
    """The public names are loaded when they are used."""
    beyond, _ = _loaded(PACKAGE, "import atmost")
    assert beyond == {"atmost", "atmost.errors", "atmost.lifecycle"}


def test_a_sender_without_keys_loads_nothing_for_keys_files_or_logs():
    """Also when it is constructed, sends, and is closed."""
    code = "import atmost; s = atmost.Sender('udp://127.0.0.1:9', name='n'); s.send('a.b', 1); s.close(0)"
    _, both = _loaded(SENDER, code)
    _, theirs = _loaded(SENDER, "pass")
    assert not (both - theirs) & HEAVY


def test_a_sender_loads_neither_receiver_nor_use():
    """Metrics, logs and the receiving half come with their own names."""
    beyond, _ = _loaded(SENDER, "import atmost; atmost.Sender")
    assert not {
        name
        for name in beyond
        if name.split(".")[1:2] in (["metrics"], ["logs"], ["hints"], ["heartbeats"], ["collector"])
    }
    assert "atmost.endpoint.intake" not in beyond
