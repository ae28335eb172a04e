"""Reads this host: processors, memory, load, disks and network, as plain readings with dotted names.

Promise: a reading is present when it was measured and absent otherwise; never 0 for "unknown", never negative, never an
exception. Units are bytes, seconds and ratios from 0 to 1. Time is an argument; one object serves one thread at a
time.

Rates and utilisations are computed between two reads of the kernel's counters, not from psutil's own memory of earlier
calls, which is shared by the whole process. In a container psutil mostly reports the host's values.

Names: `cpu.utilization`, `cpu.N.utilization`; `memory.total_bytes`, `.used_bytes`, `.available_bytes`, `.utilization`;
`load.1m`, `.5m`, `.15m`; `disk.MOUNT.total_bytes`, `.used_bytes`, `.utilization`; `disk.read_bytes_per_second`,
`disk.written_bytes_per_second`, and for each device `disk.DEVICE.…`; `network.sent_bytes_per_second`,
`network.received_bytes_per_second`, and for each interface `network.INTERFACE.…`.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import psutil

_T = TypeVar("_T")

Pair = tuple[float, float]
"""Two counters, or two rates, of one device: read and written, or sent and received; bytes (per second)."""

_ALWAYS_FULL: Final = frozenset({"squashfs", "iso9660", "udf", "erofs", "cramfs"})
"""File systems made exactly as large as their content, so that 100 % used means nothing."""


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How many of each kind get readings of their own; totals always cover all."""

    max_cores: int = 64
    """Processors."""
    max_mounts: int = 16
    """Mounted file systems, `/` first, then by length of their path."""
    max_disks: int = 16
    """Block devices, by name."""
    max_interfaces: int = 16
    """Network interfaces; those that carry others' traffic first, then by name."""


class HostReadings:
    """Readings of the host this process runs on; the first sample is taken at once, so that the first read has rates.

    Args:
        now: Monotonic time in seconds.
        options: Bounds.
    """

    def __init__(self, now: float, options: ReadingOptions | None = None) -> None:
        self._options = options or ReadingOptions()
        self._failures: Counter[str] = Counter()
        self._last = self._sample(now)

    @property
    def failures(self) -> dict[str, int]:
        """How often each source could not be read, since the start; one that this platform lacks, at every read."""
        return dict(self._failures)

    def read(self, now: float) -> dict[str, float]:
        """Return the host's readings; rates are averages since the last read.

        Args:
            now: Monotonic time in seconds.

        Returns:
            Values by name; unknown ones are absent.
        """
        before, self._last = self._last, self._sample(now)
        elapsed = now - before.now
        values = {
            **self._processors(before),
            **self._memory(),
            **self._load(),
            **self._mounts(),
        }
        if elapsed > 0:
            disks = _rates(before.disks, self._last.disks, elapsed)
            shown = whole_disks(disks)
            values |= _named("disk", ("read", "written"), disks, shown, self._options.max_disks)
            values |= _total("disk", ("read", "written"), disks, shown)
            interfaces = _rates(before.interfaces, self._last.interfaces, elapsed)
            shown = worth_showing(interfaces)
            values |= _named("network", ("sent", "received"), interfaces, shown, self._options.max_interfaces)
            values |= _total("network", ("sent", "received"), interfaces, carrying(interfaces))
        return {name: float(value) for name, value in values.items() if math.isfinite(value)}

    def _sample(self, now: float) -> _Sample:
        """Read every counter that rates are made of."""
        total = self._attempt("cpu", lambda: psutil.cpu_times()._asdict())
        cores = self._attempt("cpu", lambda: [times._asdict() for times in psutil.cpu_times(percpu=True)])
        disks = self._attempt("disk_io", lambda: psutil.disk_io_counters(perdisk=True, nowrap=False))
        interfaces = self._attempt("network", lambda: psutil.net_io_counters(pernic=True, nowrap=False))
        return _Sample(
            now,
            total or {},
            cores or [],
            {name: (float(io.read_bytes), float(io.write_bytes)) for name, io in (disks or {}).items()},
            {name: (float(io.bytes_sent), float(io.bytes_recv)) for name, io in (interfaces or {}).items()},
        )

    def _processors(self, before: _Sample) -> dict[str, float]:
        """Return the share of time the processors were busy, together and each."""
        busy = {"cpu.utilization": _busy(before.total, self._last.total)}
        if len(before.cores) == len(self._last.cores):  # Otherwise one came or went, and the numbers have shifted.
            pairs = list(zip(before.cores, self._last.cores, strict=True))[: self._options.max_cores]
            busy |= {f"cpu.{core}.utilization": _busy(*pair) for core, pair in enumerate(pairs)}
        return {name: value for name, value in busy.items() if value is not None}

    def _memory(self) -> dict[str, float]:
        """Return how much memory there is, and how much of it is not available to a new process."""
        memory = self._attempt("memory", psutil.virtual_memory)
        if memory is None or memory.total <= 0:
            return {}
        return {
            "memory.total_bytes": memory.total,
            "memory.used_bytes": memory.used,
            "memory.available_bytes": memory.available,
            "memory.utilization": _ratio(memory.total - memory.available, memory.total),
        }

    def _load(self) -> dict[str, float]:
        """Return the load averages; absent where the system keeps none (psutil would make them up with a thread)."""
        averages = getattr(os, "getloadavg", None)
        load = None if averages is None else self._attempt("load", averages)
        return {} if load is None else dict(zip(("load.1m", "load.5m", "load.15m"), load, strict=True))

    def _mounts(self) -> dict[str, float]:
        """Return how full the mounted file systems are; each device once, under its shortest path."""
        partitions = self._attempt("disk_usage", lambda: psutil.disk_partitions(all=False)) or []
        found = [
            (partition.mountpoint, partition.device)
            for partition in partitions
            # A file as mount point is a container's; without a type the drive is empty.
            if partition.fstype not in {"", *_ALWAYS_FULL} and os.path.isdir(partition.mountpoint)
        ]
        if os.name == "posix" and all(mountpoint != "/" for mountpoint, _ in found):
            found.append(("/", ""))  # A container's root is not a partition, and is what its processes fill.
        by_device: dict[str, str] = {}
        for mountpoint, device in sorted(found, key=lambda each: (len(each[0]), each[0])):
            by_device.setdefault(device or mountpoint, mountpoint)
        mounts = list(by_device.values())[: self._options.max_mounts]
        values: dict[str, float] = {}
        for mountpoint, name in zip(mounts, tokens(map(mount_name, mounts)), strict=True):
            usage = self._attempt("disk_usage", partial(psutil.disk_usage, mountpoint))
            if usage is not None and usage.total > 0:
                values[f"disk.{name}.total_bytes"] = usage.total
                values[f"disk.{name}.used_bytes"] = usage.used
                # Like df: the share of what users can have, without the blocks kept for root.
                values[f"disk.{name}.utilization"] = _ratio(usage.used, usage.used + usage.free)
        return values

    def _attempt(self, source: str, call: Callable[[], _T]) -> _T | None:
        """Return a call's result; a failure is counted, and gives None."""
        try:
            return call()
        except Exception:  # noqa: BLE001 - psutil passes on whatever a platform does: absent, and counted
            self._failures[source] += 1
            return None


@dataclass(frozen=True, slots=True)
class _Sample:
    """The counters of one moment."""

    now: float
    total: Mapping[str, float]
    cores: Sequence[Mapping[str, float]]
    disks: Mapping[str, Pair]
    interfaces: Mapping[str, Pair]


def _busy(before: Mapping[str, float], after: Mapping[str, float]) -> float | None:
    """Return the share of time a processor was busy between two samples of its times in seconds; None when unknown.

    Single times may step back a little (iowait does on Linux, see proc(5)); the sum does so only at a reset.
    """
    if sum(after.values()) <= sum(before.values()):
        return None
    spent = {name: max(0.0, value - before.get(name, value)) for name, value in after.items()}
    # The time of guests is part of `user` and `nice` already.
    total = sum(spent.values()) - spent.get("guest", 0.0) - spent.get("guest_nice", 0.0)
    idle = spent.get("idle", 0.0) + spent.get("iowait", 0.0)
    return _ratio(total - idle, total)


def _ratio(part: float, whole: float) -> float:
    """Return a share from 0 to 1, not a number when there is nothing to share."""
    return min(1.0, max(0.0, part / whole)) if whole > 0 else math.nan


def _rates(before: Mapping[str, Pair], after: Mapping[str, Pair], elapsed: float) -> dict[str, Pair | None]:
    """Return bytes per second of each device seen twice; None for one whose counters stepped back: reset or wrapped."""
    rates: dict[str, Pair | None] = {}
    for name in before.keys() & after.keys():
        first, second = (new - old for new, old in zip(after[name], before[name], strict=True))
        rates[name] = (first / elapsed, second / elapsed) if first >= 0 and second >= 0 else None
    return rates


def _named(
    kind: str, verbs: tuple[str, str], rates: Mapping[str, Pair | None], shown: list[str], most: int
) -> dict[str, float]:
    """Return the readings of single devices, up to a bound."""
    return {
        f"{kind}.{name}.{verb}_bytes_per_second": rate
        for device, name in zip(shown[:most], tokens(shown[:most]), strict=True)
        for verb, rate in zip(verbs, rates[device] or (), strict=False)
    }


def _total(kind: str, verbs: tuple[str, str], rates: Mapping[str, Pair | None], counted: list[str]) -> dict[str, float]:
    """Return the sum over devices; absent when one of them is unknown, because the rest would be too little."""
    known = [rate for device in counted if (rate := rates[device]) is not None]
    if not known or len(known) < len(counted):
        return {}
    return {
        f"{kind}.{verb}_bytes_per_second": sum(each) for verb, each in zip(verbs, zip(*known, strict=True), strict=True)
    }


# Which disks and interfaces get a reading, what they are called, and which make up a total. Bytes counted for a disk must not be
# counted again for its partition or its encrypted volume, and bytes that leave through an interface must not be counted again for
# a bridge, a bond or a tunnel.

MAX_TOKEN: Final = 48
"""Longest name of a device in a subject, in characters."""

_NOT_IN_TOKEN: Final = re.compile(r"[^a-z0-9_-]+")
_LOOPBACK: Final = re.compile(r"lo\d*|loopback.*", re.IGNORECASE)
_PASSING: Final = re.compile(r"(veth|cali|lxc|vnet|azv)[0-9a-f].*")
"""One per container, with a random name: as series they would grow without end."""
_CARRIED: Final = re.compile(
    r"(bond|team|br-|br\d|bridge|docker|podman|virbr|cni|flannel|cilium|kube|ifb|dummy|u?tun|tap|wg|vlan|vxlan|gif|stf"
    r"|awdl|llw|ap\d).*|.*\.\d+"
)
_NOT_A_DISK: Final = re.compile(r"(loop|z?ram|dm-|md|bcache|drbd|zd|sr|fd)\d.*")
"""Devices stacked upon others, in memory, or drives without a disk of their own."""


def token(name: str) -> str:
    """Return a name as one token of a subject: lower-case letters, digits, `_` and `-`; never empty."""
    return _NOT_IN_TOKEN.sub("_", name.lower()).strip("_")[:MAX_TOKEN] or "unnamed"


def tokens(names: Iterable[str]) -> list[str]:
    """Return a token for each name, in the same order; where several would share one, the later ones get a number."""
    chosen: list[str] = []
    for name in names:
        plain = candidate = token(name)
        number = 1
        while candidate in chosen:
            number += 1
            candidate = f"{plain}-{number}"
        chosen.append(candidate)
    return chosen


def mount_name(mountpoint: str) -> str:
    """Return what a mount is called: `root` for `/`, otherwise its path or drive letter."""
    return mountpoint.strip("/\\:") or "root"


def worth_showing(interfaces: Iterable[str]) -> list[str]:
    """Return the interfaces that get readings of their own, the carrying ones first; without loopback."""
    shown = [name for name in interfaces if not _LOOPBACK.fullmatch(name) and not _PASSING.fullmatch(name)]
    return sorted(shown, key=lambda name: (_CARRIED.fullmatch(name) is not None, name))


def carrying(interfaces: Iterable[str]) -> list[str]:
    """Return the interfaces whose sum is the host's traffic: those not carried by another, or all if there is none."""
    shown = worth_showing(interfaces)
    return [name for name in shown if not _CARRIED.fullmatch(name)] or shown


def whole_disks(devices: Iterable[str]) -> list[str]:
    """Return the disks among block devices, without partitions and without what is stacked upon other devices."""
    names = sorted(name for name in devices if not _NOT_A_DISK.fullmatch(name))
    return [name for name in names if not any(_is_partition(name, disk) for disk in names)]


def _is_partition(name: str, disk: str) -> bool:
    """Return whether Linux would call a partition of `disk` so: `sda1` of `sda`, `nvme0n1p1` of `nvme0n1`."""
    separator = "p" if disk[-1:].isdigit() else ""
    return re.fullmatch(re.escape(disk) + separator + r"\d+", name) is not None
