"""The order of a run: every system in turn, again and again, so that what disturbs the machine disturbs all of them."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from atmost.bench.limit import build, compiler, limit
from atmost.bench.presets import LATENCY, RECEIVING, SMALL, TABLES, THROUGHPUT, Preset
from atmost.bench.receiving import Receiving
from atmost.bench.results import Results
from atmost.bench.small import STARTS, increments, session_memory, start
from atmost.bench.systems import LOOPBACK, RAW, SYSTEMS, ZMQ, System
from atmost.bench.turns import TurnFailed, latency, steal, stolen, throughput
from atmost.compiled import is_compiled

_TIMELY: Final = (LOOPBACK, RAW, ZMQ)
"""The systems whose latency is measured: those that hand over at once, as they are set up here."""
_LIMITS: Final = {"C limit 61,440 B": 61_440, "C limit 1432 B": 1432}
_PACKAGES: Final = ("pyzmq", "statsd", "datadog", "redis", "nats-py", "prometheus-client", "msgspec", "xxhash")


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
    program: Path | None = None
    if limits and compiler() is None:
        results.missing.update(dict.fromkeys(limits, "no C compiler is installed"))
    elif limits:
        program = build(folder)
    with _receivers(preset if RECEIVING in tables else None, folder, wanted) as receivers:
        counters = increments() if SMALL in tables and wanted("inc()") else {}
        for _ in range(preset.repetitions):
            if THROUGHPUT in tables:
                for system in present:
                    progress(system.name)
                    _try(results, THROUGHPUT, system, lambda own: throughput(own.name, preset.seconds))
                for name, size in limits.items():
                    if program is not None:
                        progress(name)
                        results.row(THROUGHPUT, name, "a sender and a receiver that only copy and count").add(
                            limit(program, size, preset.seconds)
                        )
            if LATENCY in tables:
                for system in present:
                    if system.name in _TIMELY:
                        progress(f"latency of {system.name}")
                        _try(results, LATENCY, system, lambda own: latency(own.name, max(0.3, preset.seconds)))
            for name, receiver in receivers.items():
                progress(f"receiver, {name}")
                ours, bare = receiver.round()
                results.row(RECEIVING, name).add({"bare_us": bare, "receiver_us": ours, "share_of_bare": bare / ours})
            if SMALL in tables:
                _small(results, preset, wanted, counters, progress)
        if SMALL in tables and wanted("memory"):
            progress("memory")
            results.row(SMALL, f"memory a session, {preset.remembered:,} of them").add(
                {"bytes": session_memory(preset.remembered)}
            )


def _small(
    results: Results,
    preset: Preset,
    wanted: Callable[[str], bool],
    counters: dict[str, Callable[[], float]],
    progress: Callable[[str], object],
) -> None:
    if wanted("import"):
        for _ in range(2 if preset.full else 1):
            for name, code in STARTS.items():
                progress(name)
                results.row(SMALL, name).add({"ms": start(code)})
    for name, cost in counters.items():
        progress(f"inc() of {name}")
        results.row(SMALL, f"inc() of {name}").add({"ns": cost()})


def _note_missing(results: Results, system: System) -> bool:
    reason = system.missing()
    if reason is not None:
        results.missing[system.name] = reason
    return reason is not None


def _try(results: Results, table: str, system: System, turn: Callable[[System], dict[str, float]]) -> None:
    """One measurement; a system that fails is named, and the others go on."""
    if system.name in results.missing:
        return
    before = steal()
    try:
        figures = turn(system)
    except TurnFailed as error:
        results.missing[system.name] = f"it failed: {error}"
        return
    results.steal.append(stolen(before))
    results.row(table, system.name, system.settings).add(figures)


@contextmanager
def _receivers(preset: Preset | None, folder: Path, wanted: Callable[[str], bool]) -> Iterator[dict[str, Receiving]]:
    """The receivers that are measured; without a preset none."""
    urls = {"udp": "udp://127.0.0.1:0", "unix": f"unix://{folder}/bench.sock"}
    receivers: dict[str, Receiving] = {}
    try:
        for carrier, url in urls.items():
            for messages in (1, 10):
                if preset is None or not wanted("receiver"):
                    continue
                name = f"{carrier}, {messages} message{'s' if messages > 1 else ''} a datagram"
                own = url.replace("bench.sock", f"bench-{messages}.sock")
                receivers[name] = Receiving(own, messages, preset.sessions)
        yield receivers
    finally:
        for receiver in receivers.values():
            receiver.close()


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
