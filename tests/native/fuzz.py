"""The compiled parser against the readable one, with bytes made to trouble it: the same events and the same state, or the first difference.

    python -m tests.native.fuzz --runs 1000000 [--seed N] [--sanitize]

With `--sanitize` the compiled half is built once more with AddressSanitizer and UndefinedBehaviorSanitizer (gcc or clang, and their
libraries), and any error ends the run. Each execution is one datagram into both.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CORE_LIFE = 300
"""Datagrams into one pair of cores."""
LOOK = 25
"""How often everything is compared, datagrams; the events are compared each time."""
FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g", "-O1")
INTERESTING = [0, 1, 2, 3, 15, 16, 17, 63, 64, 66, 67, 68, 127, 128, 255, 256, 16_360, 16_361, 32_767, 65_535]
HEADS = [
    0x80,
    0x8F,
    0x90,
    0x9F,
    0xC0,
    0xC1,
    0xC4,
    0xC6,
    0xC7,
    0xC9,
    0xCA,
    0xCF,
    0xD4,
    0xD8,
    0xD9,
    0xDB,
    0xDC,
    0xDD,
    0xDE,
    0xDF,
]


def build(folder: Path) -> Path:
    """Compile the sanitized module."""
    sys.path.insert(0, str(ROOT))
    from hatch_build import SOURCE, compile_native

    target = folder / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    compile_native(ROOT / SOURCE, target, *FLAGS)
    return target


def library(name: str) -> str:
    """Return where the compiler has a library of its own."""
    return subprocess.run(["cc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()


def again_sanitized(arguments: list[str]) -> int:
    """Run this program once more, in a process that has the sanitizers from its start."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "LD_PRELOAD": f"{library('libasan.so')}:{library('libubsan.so')}",
            "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
            "PYTHONMALLOC": "malloc",
        }
        command = [sys.executable, "-m", "tests.native.fuzz", *arguments, "--module", str(build(Path(folder)))]
        return subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode


def use(module: Path) -> None:
    """Have `atmost` find this module as its compiled half."""
    import atmost  # noqa: F401  the package, before its module

    spec = importlib.util.spec_from_file_location("atmost._native", module)
    assert spec is not None
    assert spec.loader is not None
    sys.modules["atmost._native"] = made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)


def value(random: Random, depth: int = 0) -> Any:
    """Return a payload."""
    kind = random.randrange(9 if depth < 3 else 6)
    if kind == 0:
        return None
    if kind == 1:
        return random.randrange(-(1 << random.randrange(1, 63)), 1 << random.randrange(1, 64))
    if kind == 2:
        return random.random()
    if kind == 3:
        return random.randbytes(random.choice(INTERESTING[:14]))
    if kind == 4:
        return "é" * random.randrange(20)
    if kind == 5:
        return "x" * random.choice(INTERESTING[:16])
    many = random.choice([0, 1, 2, 15, 16, 17])
    if kind == 6:
        return [value(random, depth + 1) for _ in range(many)]
    if kind == 7:
        return {f"k{number}": value(random, depth + 1) for number in range(many)}
    return {(number, "k"): None for number in range(many)}


def body(random: Random) -> bytes:
    """Return bytes that look like MessagePack."""
    made = bytearray()
    for _ in range(random.randrange(1, 40)):
        made.append(random.choice(HEADS) if random.random() < 0.6 else random.randrange(256))
        if random.random() < 0.5:
            made += random.choice(INTERESTING).to_bytes(random.choice([2, 3, 4]))
    return bytes(made)


class Mangler:
    """Makes one datagram into another."""

    def __init__(self, random: Random) -> None:
        from tests.core.by_hand import with_tag
        from tests.native.test_receiving import padded

        self._random, self._with_tag, self._padded = random, with_tag, padded

    def __call__(self, one: bytes) -> bytes:
        """Return it changed in one or several ways, often with the tag that belongs to that."""
        random, made = self._random, bytearray(one)
        for _ in range(random.choice([1, 1, 1, 2, 4])):
            at, way = random.randrange(len(made)) if made else 0, random.randrange(7)
            if way == 0 and made:
                made[at] ^= 1 << random.randrange(8)
            elif way == 1 and made:
                made[at] = random.choice(HEADS)
            elif way == 2:
                del made[at:]
            elif way == 3:
                made += random.randbytes(random.choice([1, 2, 16, 70]))
            elif way == 4 and len(made) > 64:  # a field of the header
                place, width = random.choice([(2, 2), (20, 8), (28, 8), (36, 8), (44, 2), (46, 2), (49, 2)])
                made[place : place + width] = random.choice(INTERESTING).to_bytes(width)
            elif way == 5 and len(made) > 64:
                made[51:-16] = body(random)
            elif way == 6 and len(made) > 64:
                made = bytearray(
                    self._padded(bytes(made), random.randrange(2, 40), random.choice([None, None, *INTERESTING]))
                )
        return self._with_tag(bytes(made)) if len(made) > 64 and random.random() < 0.7 else bytes(made)


def fuzz(runs: int, seed: int) -> None:
    """Feed both; raise AssertionError at the first difference."""
    import atmost
    from atmost.core.events import Message
    from tests.native.test_receiving import COMPILED, READABLE, START_US, Pair, datagrams, shown

    assert atmost.is_compiled()
    random = Random(seed)
    mangle = Mangler(random)
    began, done, usual = time.monotonic(), 0, 0
    while done < runs:
        pair = Pair(window=random.choice([2, 8, 64]))
        tapes = [
            datagrams(
                number + 1, [[value(random) for _ in range(random.randrange(1, 4))] for _ in range(CORE_LIFE // 4)]
            )
            for number in range(2)
        ]
        wall_us = START_US + 100_000
        for number in range(CORE_LIFE):
            tape = random.choice(tapes)
            if not tape:
                break
            one = tape[0]
            if random.random() < 0.5:
                one = mangle(one)
            else:
                del tape[0]
            wall_us += random.choice([0, 30_000, 30_000, -2000])
            first, second = pair.cores
            found, expected = COMPILED(first, one, number * 0.1, wall_us), READABLE(second, one, number * 0.1, wall_us)
            assert shown(found) == shown(expected), (seed, done, one.hex())
            usual += any(event.__class__ is Message for event in found)
            done += 1
            if number % LOOK == 0:
                pair.check()
        pair.check()
    took = time.monotonic() - began
    sys.stdout.write(f"{done} executions, {usual} with messages, no difference; seed {seed}, {took:.0f} s\n")


def main() -> int:
    """Fuzz as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100_000, help="Executions.")
    parser.add_argument("--seed", type=int, default=1, help="Where the drawing begins.")
    parser.add_argument(
        "--sanitize", action="store_true", help="Under AddressSanitizer and UndefinedBehaviorSanitizer."
    )
    parser.add_argument("--module", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sanitize:
        return again_sanitized(["--runs", str(options.runs), "--seed", str(options.seed)])
    if options.module is not None:
        use(options.module)
    fuzz(options.runs, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
