"""`HeartbeatMemory`: what a monitor believed, in a small file, so that a restart of the observer ends no alarm.

The file is written anew and put in the old one's place, so a crash leaves the old or the new one, never half of one. A file
that is lost or unreadable costs the expectations in it, and `restore` says so. Its form is one JSON object with a checksum.
`restore` and `snapshot` belong to the monitor's thread; `write` waits for the disk, and may run in any one thread.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec
import xxhash

from atmost.heartbeats.monitor import HeartbeatMonitor
from atmost.heartbeats.verdicts import RememberedHeartbeat

FORMAT: Final = "atmost heartbeats 1"
MAX_SIZE: Final = 64 << 20
"""Bytes of a file that are read, at most."""


class _File(msgspec.Struct):
    format: str
    checksum: str
    heartbeats: msgspec.Raw


class HeartbeatMemory:
    """A monitor's memory over restarts.

    Example:
        >>> memory = HeartbeatMemory("/var/lib/atmost/heartbeats.json")
        >>> if problem := memory.restore(monitor, time.monotonic()):
        ...     logger.warning(problem)
        >>> while True:  # every few seconds
        ...     if (snapshot := memory.snapshot(monitor)) is not None:
        ...         memory.write(snapshot)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Args: path: the file; its folder exists, and only this observer writes there."""
        self._path = Path(path)
        self._written = b""

    def restore(self, monitor: HeartbeatMonitor, now: float) -> str:
        """Makes a monitor expect the heartbeats that the monitor before it knew; to be called first.

        Args:
            monitor: knows nobody yet.
            now: seconds, on the monitor's clock.

        Returns:
            What could not be restored, as a sentence for the log; empty when all of it was, or there is no file yet.
        """
        try:
            content = _read(self._path)
        except FileNotFoundError:
            return ""
        except OSError as error:
            return f"heartbeats expected before the restart are lost: {self._path}: {error.strerror or error}"
        rows = _rows(content)
        if rows is None:
            kept = self._path.with_name(self._path.name + ".corrupt")
            with contextlib.suppress(OSError):
                self._path.replace(kept)
            return f"heartbeats expected before the restart are lost: {self._path} is corrupt, kept as {kept.name}"
        known, bad = [], 0
        for row in rows:
            try:
                known.append(msgspec.convert(row, RememberedHeartbeat))
            except ValueError:
                bad += 1
        bad += monitor.restore(known, now)
        return f"{bad} of {len(rows)} heartbeats in {self._path} could not be restored" if bad else ""

    def snapshot(self, monitor: HeartbeatMonitor) -> bytes | None:
        """Returns what `write` should write; None when nothing changed since it was last written."""
        content = msgspec.json.encode(monitor.remembered())
        return None if content == self._written else content

    def write(self, snapshot: bytes) -> None:
        """Writes a snapshot, atomically and durably.

        Raises:
            OSError: the file cannot be written; the one before it is untouched.
        """
        file = _File(FORMAT, _checksum(snapshot), msgspec.Raw(snapshot))
        descriptor, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(msgspec.json.encode(file))
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
        self._written = snapshot
        with contextlib.suppress(OSError):  # not every file system can do this
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _read(path: Path) -> bytes:
    """Reads a regular file: opening a FIFO must not wait for a writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError("not a regular file")
        return stream.read(MAX_SIZE + 1)


def _rows(content: bytes) -> list[Any] | None:
    """Returns what the file lists; None when it is not one of ours, or not whole."""
    try:
        file = msgspec.json.decode(content, type=_File)
        whole = file.format == FORMAT and file.checksum == _checksum(bytes(file.heartbeats))
        return msgspec.json.decode(file.heartbeats, type=list[Any]) if whole else None
    except (ValueError, RecursionError):  # msgspec's errors and UnicodeDecodeError are ValueErrors
        return None


def _checksum(content: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(content)
