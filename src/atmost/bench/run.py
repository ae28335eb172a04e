"""The order of a run: every system in turn, again and again, so that what disturbs the machine disturbs all of them."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, Final

from atmost.bench.collecting import SETTINGS, TRAFFIC, Collecting
from atmost.bench.limit import build, limit
from atmost.bench.presets import COLLECTING, LATENCY, RECEIVING, SMALL, TABLES, THROUGHPUT, Preset
from atmost.bench.receiving import Receiving
from atmost.bench.results import Results
from atmost.bench.small import STARTS, increments, session_memory, start
from atmost.bench.systems import LOOPBACK, RAW, SYSTEMS, ZMQ, System, TurnFailed
from atmost.bench.turns import latency, steal, stolen, throughput
from atmost.compiled import is_compiled
from atmost.errors import AtMostError

_TIMELY: Final = (LOOPBACK, RAW, ZMQ)
"""The systems whose latency is measured: those that hand over at once, as they are set up here."""
_COPIES: Final = "a sender and a receiver that only copy and count"
_LIMITS: Final = {"C limit 61,440 B": 61_440, "C limit 1432 B": 1432}
_NPM: Final = "npm's statsd"
_PACKAGES: Final = (
    "pyzmq", "statsd", "datadog", "redis", "nats-py", "eclipse-zenoh", "paho-mqtt", "prometheus-client", "msgspec", "xxhash",
)  # fmt: skip


def measure(
    preset: Preset,
    *,
    tables: Sequence[str] = TABLES,
    only: Sequence[str] = (),
    progress: Callable[[str], object] = lambda _what: None,
) -> Results:
    """Measures; Ctrl-C ends it with what there is.

    Args:
        preset: how long and how often.
        tables: which of `TABLES`.
        only: systems whose names contain one of these; empty for all.
        progress: called with what is measured next.
    """
    results = Results(_machine())
    try:
        with tempfile.TemporaryDirectory() as folder:
            _run(results, preset, tables, only, progress, Path(folder))
    except KeyboardInterrupt:
        results.interrupted = True
    return results


def _run(
    results: Results,
    preset: Preset,
    tables: Sequence[str],
    only: Sequence[str],
    progress: Callable[[str], object],
    folder: Path,
) -> None:
    def wanted(name: str) -> bool:
        return not only or any(part in name for part in only)

    systems = [one for one in SYSTEMS if wanted(one.name) and (preset.full or not one.full)]
    present = [one for one in systems if not _note_missing(results, one)]
    limits = {name: size for name, size in _LIMITS.items() if wanted(name)} if THROUGHPUT in tables else {}
    program = Path()
    if limits:
        try:
            program = build(folder)
        except TurnFailed as error:
            results.missing.update(dict.fromkeys(limits, str(error)))

    def turn(table: str, name: str, take: Callable[[], dict[str, float]], settings: str = "") -> None:
        """One measurement; what fails is named, and the others go on."""
        if name in results.missing:
            return
        progress(f"{table}: {name}")
        before = steal()
        try:
            figures = take()
        except TurnFailed as error:
            results.missing[name] = f"it failed: {error}"
            return
        results.steal.append(stolen(before))
        results.row(table, name, settings).add(figures)

    with (
        _receivers(results, preset if RECEIVING in tables else None, folder, wanted) as receivers,
        _collectors(results, preset if COLLECTING in tables else None, folder, wanted) as collecting,
    ):
        small = _small(preset, wanted) if SMALL in tables else {}
        for _ in range(preset.repetitions):
            if THROUGHPUT in tables:
                for system in present:
                    turn(THROUGHPUT, system.name, partial(throughput, system.name, preset.seconds), system.settings)
                for name, size in limits.items():
                    turn(THROUGHPUT, name, partial(limit, program, size, preset.seconds), _COPIES)
            if LATENCY in tables:
                for system in present:
                    if system.name in _TIMELY:
                        seconds = max(0.3, preset.seconds)
                        turn(LATENCY, system.name, partial(latency, system.name, seconds), system.settings)
            for name, receiver in receivers.items():
                turn(RECEIVING, name, receiver.figures)
            for name, take in collecting.items():
                turn(COLLECTING, name, take, SETTINGS)
            for name, take in small.items():
                turn(SMALL, name, take)
        name = f"memory a session, {preset.remembered:,} of them"
        if SMALL in tables and wanted(name):
            turn(SMALL, name, lambda: {"bytes": session_memory(preset.remembered)})


def _small(preset: Preset, wanted: Callable[[str], bool]) -> dict[str, Callable[[], dict[str, float]]]:
    """The figures of one process that are measured again and again."""
    times = 2 if preset.full else 1
    starts = {name: partial(_start, code, times) for name, code in STARTS.items()}
    counters = {f"inc() of {name}": partial(_increment, cost) for name, cost in increments().items()}
    return {name: take for name, take in {**starts, **counters}.items() if wanted(name)}


def _start(code: str, times: int) -> dict[str, float]:
    return {"ms": median(start(code) for _ in range(times))}


def _increment(cost: Callable[[], float]) -> dict[str, float]:
    return {"ns": cost()}


def _note_missing(results: Results, system: System) -> bool:
    reason = system.missing()
    if reason is not None:
        results.missing[system.name] = reason
    return reason is not None


@contextmanager
def _receivers(
    results: Results, preset: Preset | None, folder: Path, wanted: Callable[[str], bool]
) -> Iterator[dict[str, Receiving]]:
    """The receivers that are measured; without a preset none."""
    urls = {"udp": "udp://127.0.0.1:0", "unix": f"unix://{folder}/bench.sock"}
    receivers: dict[str, Receiving] = {}
    try:
        for carrier, url in urls.items():
            for messages in (1, 10):
                name = f"{carrier}, {messages} message{'s' if messages > 1 else ''} a datagram"
                if preset is None or not wanted(name):
                    continue
                own = url.replace("bench.sock", f"bench-{messages}.sock")
                try:
                    receivers[name] = Receiving(own, messages, preset.sessions)
                except (AtMostError, RuntimeError) as error:
                    results.missing[name] = str(error)
        yield receivers
    finally:
        for receiver in receivers.values():
            receiver.close()


@contextmanager
def _collectors(
    results: Results, preset: Preset | None, folder: Path, wanted: Callable[[str], bool]
) -> Iterator[dict[str, Callable[[], dict[str, float]]]]:
    """What is measured of a collector, which runs meanwhile; without a preset nothing."""
    if preset is None or not any(map(wanted, TRAFFIC)):
        yield {}
        return
    try:
        collecting = Collecting(folder, preset.seconds)
    except (TurnFailed, OSError) as error:
        results.missing.update({name: str(error) for name in TRAFFIC if wanted(name)})
        yield {}
        return
    if collecting.without_peer:
        results.missing[_NPM] = collecting.without_peer
    try:
        yield {name: take for name, take in collecting.turns().items() if wanted(name)}
    finally:
        collecting.close()


def _machine() -> dict[str, Any]:
    """What the figures depend on."""
    from atmost import __version__

    return {
        "atmost": f"{__version__} ({'compiled' if is_compiled() else 'pure'})",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "load": round(os.getloadavg()[0], 2),
        "packages": {name: found for name in _PACKAGES if (found := _version(name)) is not None},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
