"""Distinguishes files on disk, and reads one of them forward, noticing when it was cut or rewritten.

POSIX first. On Windows the file is opened so that its writer may still rename or delete it, and where a file system
has no inode numbers the time of creation stands in for them. No thread, no sleep; every function may raise OSError.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from contextlib import suppress
from itertools import islice

ANCHOR_BYTES = 64
"""How many bytes before the position are compared at every read: enough for log lines with a time in them to differ."""

MAX_SIBLINGS_SCANNED = 10_000
"""Directory entries looked at for a generation that came and went unseen."""

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip")

Identity = tuple[int, int]
"""What makes a file the same one under any name: device and inode number."""


def identity_of(status: os.stat_result) -> Identity:
    """Return the identity that distinguishes this file from every other that exists now."""
    if status.st_ino == 0 and sys.platform == "win32":
        return status.st_dev, status.st_ctime_ns  # On Windows this is the time of creation.
    return status.st_dev, status.st_ino


def check_regular(status: os.stat_result) -> None:
    """Raise OSError for what cannot be followed: a directory, a FIFO (opening one would block), a device, a socket."""
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file")


if sys.platform == "win32":  # pragma: no cover - only where it can run
    import ctypes
    import msvcrt
    from ctypes import wintypes

    def open_shared(path: str) -> int:
        """Open a file for reading without keeping its writer from renaming or deleting it (`FILE_SHARE_DELETE`)."""
        create_file = ctypes.WinDLL("kernel32", use_last_error=True).CreateFileW
        create_file.restype = wintypes.HANDLE
        create_file.argtypes = (
            wintypes.LPCWSTR,
            wintypes.DWORD,
            wintypes.DWORD,
            wintypes.LPVOID,
            wintypes.DWORD,
            wintypes.DWORD,
            wintypes.HANDLE,
        )
        # GENERIC_READ; FILE_SHARE_READ | WRITE | DELETE; OPEN_EXISTING; FILE_ATTRIBUTE_NORMAL.
        handle = create_file(path, 0x80000000, 0x7, None, 3, 0x80, None)
        if handle is None or handle == wintypes.HANDLE(-1).value:
            raise ctypes.WinError(ctypes.get_last_error())
        return msvcrt.open_osfhandle(handle, os.O_RDONLY | os.O_BINARY)

else:

    def open_shared(path: str) -> int:
        """Open a file for reading; never blocks, even when the path just became a FIFO, and follows no link."""
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW)


def locate(path: str, *, anywhere: bool) -> str:
    """Return where the file at a path really is.

    A program that writes a log may replace it by a symbolic link, and the agent may be allowed to read files that the program may not.
    So a link is followed within its own directory, as rotated logs need it, and out of it only on demand. Links among the directories
    above are followed, because the operator named them.

    Args:
        path: Absolute.
        anywhere: Whether a link may lead out of its directory.

    Raises:
        OSError: A link leads out of its directory, or the system refuses to resolve the path.
    """
    if not stat.S_ISLNK(os.lstat(path).st_mode):
        return path
    real = os.path.realpath(path)
    home = os.path.realpath(os.path.dirname(path))
    if not anywhere and os.path.commonpath([home, real]) != home:
        raise OSError(
            errno.EPERM, f"A symbolic link to {real}, outside its directory: name that file, or give --follow-links"
        )
    return real


def _check_same(found: os.stat_result, opened: os.stat_result) -> None:
    """Raise OSError when a symbolic link was pointed at another file between looking and opening."""
    if identity_of(found) != identity_of(opened):
        raise OSError(errno.EAGAIN, "The symbolic link changed while it was followed")


class OpenFile:
    """One open file, read forward from a position that survives whatever happens to its name.

    While it is held its inode number cannot be given to another file, so the `identity` stays true. `offset` is the
    position, and `seen_size` the length when it was last certain that the file had not been cut; both in bytes.

    Args:
        path: Where the file is now.
        anywhere: Whether a symbolic link there may lead out of its directory.

    Raises:
        OSError: The file cannot be opened, is not a regular file, or a link leads out of its directory.
    """

    __slots__ = ("_anchor", "_descriptor", "_hole", "identity", "offset", "seen_size")

    def __init__(self, path: str, *, anywhere: bool = False) -> None:
        real = locate(path, anywhere=anywhere)
        self._descriptor = open_shared(real)
        try:
            status = os.fstat(self._descriptor)
            check_regular(status)
            if real != path:
                _check_same(os.lstat(locate(path, anywhere=anywhere)), status)
        except OSError:
            os.close(self._descriptor)
            raise
        self.identity = identity_of(status)
        self.offset = 0
        self.seen_size = 0
        self._anchor = b""
        self._hole = False

    def start_near(self, size: int, max_line_bytes: int) -> None:
        """Begin at `size` bytes, or at the start of the line half-written there when that is within the bound.

        Args:
            size: Length of the file when following began, in bytes.
            max_line_bytes: How far back the start of a half-written line is searched, in bytes.
        """
        if size > self.size():
            return  # It was cut since, so all that it holds now was written later.
        begin = max(0, size - max_line_bytes - 1)
        os.lseek(self._descriptor, begin, os.SEEK_SET)
        window = os.read(self._descriptor, size - begin)
        end_of_previous = window.rfind(b"\n")
        if end_of_previous >= 0:
            window = window[: end_of_previous + 1]
        elif begin == 0:
            window = b""
        self.offset = begin + len(window)
        self._anchor = window[-ANCHOR_BYTES:]

    def read(self, max_bytes: int) -> bytes | None:
        """Return the next bytes; empty at the end of the file; None when the file was cut or rewritten.

        After None the position is the start of the file. This notices a file shorter than the position, and one that was
        cut and has grown past the position since, because the bytes before the position are no longer those that were read.

        Args:
            max_bytes: The most to return, in bytes.
        """
        if self._hole:
            self._skip_hole()
        kept = len(self._anchor)
        os.lseek(self._descriptor, self.offset - kept, os.SEEK_SET)
        data = os.read(self._descriptor, kept + max_bytes)
        if data[:kept] != self._anchor:
            self.offset = 0
            self._anchor = b""
            self._hole = True
            return None
        self.offset += len(data) - kept
        self._hole = self._hole and not data[kept:].strip(b"\0")
        self._anchor = data[-ANCHOR_BYTES:]
        self.seen_size = self.size()
        return data[kept:]

    def reopen(self, path: str, *, anywhere: bool = False) -> bool:
        """Take a new descriptor for the same file after reading failed; return whether the path still is this file."""
        other = OpenFile(path, anywhere=anywhere)
        if other.identity != self.identity:
            other.close()
            return False
        self._descriptor, other._descriptor = other._descriptor, self._descriptor
        other.close()
        return True

    def size(self) -> int:
        """Return the length of the file in bytes; the position when the length is unknown."""
        try:
            return os.fstat(self._descriptor).st_size
        except OSError:
            return self.offset

    def modified_ns(self) -> int:
        """Return when the file was last written, in nanoseconds since the epoch; the far future when unknown."""
        try:
            return os.fstat(self._descriptor).st_mtime_ns
        except OSError:
            return sys.maxsize

    def deleted(self) -> bool:
        """Return whether the file has no name left, so that only holding it open keeps it on disk."""
        try:
            return os.fstat(self._descriptor).st_nlink == 0
        except OSError:
            return False

    def close(self) -> None:
        """Close the file; an error of the file system at this point does not matter to a reader."""
        with suppress(OSError):
            os.close(self._descriptor)

    def _skip_hole(self) -> None:
        """Step over a hole at once, where the file system reports holes: it may be gigabytes long.

        The anchor stays true: before the first byte that is not NUL it holds only NUL bytes or nothing, and so does the hole.
        """
        seek_data = getattr(os, "SEEK_DATA", None)
        if seek_data is None:
            return
        with suppress(OSError):  # No data yet, or the file system does not report holes.
            self.offset = max(self.offset, os.lseek(self._descriptor, self.offset, seek_data))


def written_since(path: str, modified_ns: int, known: set[Identity]) -> list[str]:
    """Return names of rotated-away files beside `path` that were written later and that nobody read.

    Between the file held and the one now at the path there should be no third, so such a file is a generation that came and went
    unseen. Only these count as evidence: names with a number or date (`app.log.1`, `app.log-20240131`, `app-20240131.log`; not
    `app-1.log`, which may be another process's), not compressed (compression writes old data anew), not empty. Without inode
    numbers there is no evidence.

    Args:
        path: The followed path.
        modified_ns: When the file held so far was last written, in nanoseconds since the epoch.
        known: Identities of the files held, and of the one now at the path.
    """
    directory, base = os.path.split(path)
    stem, suffix = map(re.escape, os.path.splitext(base))
    rotated = re.compile(rf"{stem}{suffix}[-._]?\d.*|{stem}[-._]\d{{4}}[-._]?\d\d[-._]?\d\d.*{suffix}", re.DOTALL)
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in islice(entries, MAX_SIBLINGS_SCANNED) if rotated.fullmatch(entry.name)]
    except OSError:
        return []  # The directory cannot be read, so there is no evidence.
    return [
        name
        for name in sorted(names)
        if not name.endswith(_COMPRESSED) and _is_unread(os.path.join(directory, name), modified_ns, known)
    ]


def _is_unread(path: str, modified_ns: int, known: set[Identity]) -> bool:
    """Return whether this is a file with data, written after `modified_ns`, and not one of those known."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    if status.st_ino == 0 or identity_of(status) in known:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > 0 and status.st_mtime_ns > modified_ns
