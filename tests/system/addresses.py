"""Addresses that stay free while nobody holds them: a killed receiver's must not be taken by chance."""

from __future__ import annotations

import socket
from pathlib import Path
from random import SystemRandom

_LOWEST, _HIGHEST = 15_000, 30_000
"""Below the ports that the system hands out by itself (net.ipv4.ip_local_port_range begins at 32768)."""


def free_url(scheme: str, folder: Path, name: str = "receiver") -> str:
    """A URL on this host that nobody uses.

    Args:
        scheme: udp or unix.
        folder: where a Unix socket may be.
        name: of that socket.
    """
    if scheme == "unix":
        return f"unix://{folder}/{name}"
    for _ in range(1000):
        port = SystemRandom().randint(_LOWEST, _HIGHEST)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return f"udp://127.0.0.1:{port}"
    raise AssertionError("no port is free")


def port_of(url: str) -> int:
    """The port of a udp URL."""
    return int(url.rpartition(":")[2])


def drops_at(pid: int, url: str) -> int:
    """What the kernel dropped at a UDP socket, as /proc tells any process of the same network namespace.

    Args:
        pid: a process in that namespace.
        url: what the socket is bound to.
    """
    rows = [line.split() for line in Path(f"/proc/{pid}/net/udp").read_text(encoding="ascii").splitlines()[1:]]
    (drops,) = [int(row[-1]) for row in rows if row[1].endswith(f":{port_of(url):04X}")]
    return drops
