"""Decides which disks and interfaces of a host are worth a reading, what they are called, and which make up a total.

Pure functions over names: what is counted once as a disk must not be counted again as its partition or its encrypted
volume, and what leaves through an interface not again as a bridge's, a bond's or a tunnel's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

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
"""Stacked upon other devices, in memory, or a drive without a disk of its own."""


def token(name: str) -> str:
    """Return a name as one token of a subject: lower-case letters, digits, `_` and `-`; never empty."""
    return _NOT_IN_TOKEN.sub("_", name.lower()).strip("_")[:MAX_TOKEN] or "unnamed"


def tokens(names: Iterable[str]) -> list[str]:
    """Return a token for each name, in the same order; of names that would share one, the later get a number."""
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
    """Return the interfaces whose sum is the host's traffic: those not carried by another; all where there is none."""
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
