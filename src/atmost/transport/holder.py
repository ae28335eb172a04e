"""Names processes for people: this one, and the one that holds an address, where /proc shows it."""

from __future__ import annotations

import os
import socket
import struct
import sys


def this_program() -> str:
    """The name of this process's program; it may hold bytes that are not valid UTF-8."""
    return os.path.basename(sys.argv[0].rstrip(os.sep)) or "python" if sys.argv else "python"  # noqa: PTH119  pathlib is not loaded for that


def udp_holder(family: int, host: str, port: int) -> str | None:
    """The process bound to a UDP address of this network namespace, as `name (pid 123)`; None when the system does not say.

    Args:
        family: AF_INET or AF_INET6.
        host: the numeric address that was refused. A wildcard collides with every address, and every address with a wildcard.
        port: the port.
    """
    inodes = _bound("/proc/net/udp6", port, _hex6(host) if family == socket.AF_INET6 else None)
    if family == socket.AF_INET:
        inodes |= _bound("/proc/net/udp", port, _hex4(host))
    return _owner(inodes)


def unix_holder(path: str) -> str | None:
    """The process bound to a Unix socket's path."""
    inodes = {row[6] for row in _rows("/proc/net/unix", splits=7) if row[7:] == [path]}  # a path may hold spaces
    return _owner(inodes)


def process_name(pid: int) -> str | None:
    """A process as `name (pid 123)`; None when the system does not say."""
    from pathlib import Path  # here, because a Sender begins sooner without it

    try:
        # The kernel cuts the name at 15 bytes, even in the middle of a character.
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    return f"{name} (pid {pid})"


def _bound(table: str, port: int, wanted: str | None) -> set[str]:
    """The inodes of the sockets that collide with an address as these tables write it; None collides with wildcards only."""
    found = set()
    for row in _rows(table):
        address, _, shown_port = row[1].partition(":")
        anywhere = not address.strip("0") or (wanted is not None and not wanted.strip("0"))
        if shown_port == f"{port:04X}" and (anywhere or address == wanted):
            found.add(row[9])
    return found


def _hex4(host: str) -> str:
    return f"{struct.unpack('=I', socket.inet_aton(host))[0]:08X}"


def _hex6(host: str) -> str:
    words = struct.unpack("=4I", socket.inet_pton(socket.AF_INET6, host.split("%", maxsplit=1)[0]))
    return "".join(f"{word:08X}" for word in words)


def _rows(table: str, splits: int = -1) -> list[list[str]]:
    from pathlib import Path  # here, because a Sender begins sooner without it

    try:
        lines = Path(table).read_text(encoding="utf-8", errors="surrogateescape").split("\n")[1:]
    except OSError:
        return []
    return [line.split(maxsplit=splits) for line in lines if line]


def _owner(inodes: set[str]) -> str | None:
    from pathlib import Path  # here, because a Sender begins sooner without it

    wanted = {f"socket:[{inode}]" for inode in inodes if inode != "0"}
    if not wanted:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(fd.readlink()) in wanted for fd in (process / "fd").iterdir()):
                return process_name(int(process.name))
        except OSError:
            continue
    return None
