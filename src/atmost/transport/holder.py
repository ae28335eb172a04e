"""Names the process that holds an address, where /proc tells; for error messages only."""

from __future__ import annotations

import socket
from pathlib import Path


def udp_holder(family: int, port: int) -> str | None:
    """The process bound to a UDP port of this network namespace, as `name (pid 123)`; None when the system does not tell."""
    table = Path("/proc/net/udp6" if family == socket.AF_INET6 else "/proc/net/udp")
    inodes = {row[9] for row in _rows(table) if len(row) > 9 and row[1].endswith(f":{port:04X}")}
    return _owner(inodes)


def unix_holder(path: str) -> str | None:
    """The process bound to a Unix socket's path."""
    inodes = {row[6] for row in _rows(Path("/proc/net/unix")) if len(row) > 7 and row[7] == path}
    return _owner(inodes)


def _rows(table: Path) -> list[list[str]]:
    try:
        return [line.split() for line in table.read_text(encoding="utf-8", errors="replace").splitlines()[1:]]
    except OSError:
        return []


def _owner(inodes: set[str]) -> str | None:
    wanted = {f"socket:[{inode}]" for inode in inodes if inode != "0"}
    if not wanted:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(fd.readlink()) in wanted for fd in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text(encoding='utf-8').strip()} (pid {process.name})"
        except OSError:
            continue
    return None
