import errno
import os
from pathlib import Path

import pytest

from atmost.agent import files
from atmost.agent.files import ANCHOR_BYTES, OpenFile, identity_of, written_since


@pytest.fixture
def path(tmp_path):
    """The log, not there yet."""
    return tmp_path / "app.log"


@pytest.fixture
def opened():
    """Open files, and close them in the end."""
    held = []

    def open_one(path):
        held.append(OpenFile(str(path)))
        return held[-1]

    yield open_one
    for file in held:
        file.close()


def test_reads_forward_to_the_end_and_on(path, opened):
    """Bytes come in order, in bounded pieces; the end is empty, and what is added later comes next."""
    path.write_bytes(b"abcdef")
    file = opened(path)
    assert [file.read(4), file.read(4), file.read(4)] == [b"abcd", b"ef", b""]
    with path.open("ab") as log:
        log.write(b"g")
    assert file.read(4) == b"g"
    assert (file.offset, file.size()) == (7, 7)


def test_a_shorter_file_was_cut(path, opened):
    """A file shorter than what was read begins anew."""
    path.write_bytes(b"abcdef")
    file = opened(path)
    assert file.read(100) == b"abcdef"
    path.write_bytes(b"gh")
    assert file.read(100) is None
    assert file.read(100) == b"gh"


def test_a_file_that_grew_over_its_own_cut_is_noticed(path, opened):
    """A file cut and longer again than before is told by the bytes before the position."""
    path.write_bytes(b"".join(b"old %d\n" % n for n in range(100)))
    file = opened(path)
    file.read(10_000)
    path.write_bytes(b"".join(b"new %d\n" % n for n in range(200)))
    assert file.read(10_000) is None
    assert file.read(5) == b"new 0"


def test_a_hole_is_stepped_over(path, opened):
    """After a cut, a hole of any size is not read through where the file system knows holes."""
    path.write_bytes(b"x" * 10)
    file = opened(path)
    file.read(100)
    with path.open("r+b") as log:
        log.truncate(0)
        log.seek(1 << 32)
        log.write(b"later\n")
    assert file.read(100) is None
    seen = b""
    while chunk := file.read(1 << 16):
        seen += chunk
        assert len(seen) < 1 << 20
    assert seen.lstrip(b"\0") == b"later\n"


def test_a_hole_is_read_through_where_nobody_knows_it(path, opened, monkeypatch):
    """Without SEEK_DATA, or where the file system refuses it, the NUL bytes are read like others."""
    monkeypatch.delattr(os, "SEEK_DATA", raising=False)
    path.write_bytes(b"x" * 10)
    file = opened(path)
    file.read(100)
    path.write_bytes(b"\0" * 8 + b"a\n")
    assert [file.read(100), file.read(100)] == [None, b"\0" * 8 + b"a\n"]


@pytest.mark.parametrize(
    ("content", "size", "offset"),
    [
        (b"", 0, 0),
        (b"one\ntwo\n", 8, 8),
        (b"one\ntw", 6, 4),
        (b"on", 2, 0),
        (b"x" * 100, 100, 100),
        (b"one\n" + b"x" * 10, 14, 4),
        (b"one\n" + b"x" * 11, 15, 15),
        (b"one\ntwo\nthree", 8, 8),
        (b"new", 100, 0),
    ],
)
def test_begins_at_the_line_half_written(path, opened, content, size, offset):
    """Beginning at the end means at the last line's start when its ending is still to come and its start is near."""
    path.write_bytes(content)
    file = opened(path)
    file.start_near(size, max_line_bytes=10)
    assert file.offset == offset
    assert file.read(1000) == content[offset:]


def test_the_end_it_began_at_is_anchored(path, opened):
    """A cut is noticed also when it comes before the first byte was read."""
    path.write_bytes(b"one\n" * 100)
    file = opened(path)
    file.start_near(400, max_line_bytes=1000)
    path.write_bytes(b"two\n" * 200)
    assert file.read(10) is None


def test_the_anchor_is_short(path, opened):
    """Only the last bytes are remembered, however much was read."""
    path.write_bytes(b"x" * 10_000)
    file = opened(path)
    file.read(10_000)
    assert len(file._anchor) == ANCHOR_BYTES


def test_what_is_no_regular_file_is_refused(tmp_path, monkeypatch):
    """A directory and a FIFO are errors of the system's kind, also when they appear between looking and opening."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(IsADirectoryError):
        OpenFile(str(tmp_path))
    with pytest.raises(OSError, match="Not a regular file"):
        OpenFile(str(fifo))
    with pytest.raises(FileNotFoundError):
        OpenFile(str(tmp_path / "absent"))
    descriptors = _descriptors()
    with pytest.raises(IsADirectoryError):
        OpenFile(str(tmp_path))
    assert _descriptors() == descriptors


def _descriptors():
    folders = (Path("/proc/self/fd"), Path("/dev/fd"))
    return len(list(next(folder for folder in folders if folder.is_dir()).iterdir()))


def test_reopening_takes_the_same_file_only(path, opened):
    """A new descriptor replaces a failed one when the path still is the file, with the position kept."""
    path.write_bytes(b"abcdef")
    file = opened(path)
    file.read(3)
    assert file.reopen(str(path))
    assert file.read(10) == b"def"
    descriptors = _descriptors()
    assert file.reopen(str(path))
    assert _descriptors() == descriptors
    path.rename(path.with_suffix(".1"))
    path.write_bytes(b"other")
    assert not file.reopen(str(path))
    assert file.offset == 6


def test_a_deleted_file_is_known_as_such(path, opened):
    """A file without a name is still there as long as it is held."""
    path.write_bytes(b"a")
    file = opened(path)
    assert not file.deleted()
    path.unlink()
    assert file.deleted()
    assert file.read(10) == b"a"


def test_a_failing_file_system_answers_with_what_is_known(path, opened, monkeypatch):
    """Where the state of an open file cannot be told, the answers err on the side of holding it, and nothing raises."""
    path.write_bytes(b"abc")
    file = opened(path)
    file.read(2)
    with monkeypatch.context() as failing:
        failing.setattr(os, "fstat", _fails)
        failing.setattr(os, "lseek", _fails)
        assert (file.size(), file.deleted()) == (2, False)
        assert file.modified_ns() > 10**18
        file._skip_hole()
    assert file.read(10) == b"c"


def _fails(*_arguments):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def rotated(path, name, *, at, content=b"x"):
    """Make a file beside `path` that was last written `at` nanoseconds."""
    other = path.with_name(name)
    other.write_bytes(content)
    os.utime(other, ns=(at, at))
    return identity_of(other.stat())


@pytest.mark.parametrize(
    "name", ["app.log.1", "app.log.12", "app.log-20240131", "app.log.2024-01-31", "app-20240131.log"]
)
def test_a_younger_unread_sibling_is_evidence(path, name):
    """A file that only rotation can have named so, written after the one held, was never read."""
    rotated(path, name, at=20)
    assert written_since(str(path), 10, set()) == [name]


@pytest.mark.parametrize(
    "name", ["app.log.1.gz", "app.log.swp", "app-1.log", "app2.log", "other.log.1", "app.log", "app-20240131.txt"]
)
def test_other_names_are_no_evidence(path, name):
    """Compressed files, editors' files and other logs prove nothing."""
    rotated(path, name, at=20)
    assert written_since(str(path), 10, set()) == []


def test_old_known_and_empty_siblings_are_no_evidence(path):
    """Files that were read, that were rotated before, that hold nothing or are none at all are no missed generation."""
    rotated(path, "app.log.1", at=10)
    rotated(path, "app.log.2", at=20, content=b"")
    known = rotated(path, "app.log.3", at=20)
    path.with_name("app.log.4").mkdir()
    path.with_name("app.log.5").symlink_to("nowhere")
    assert written_since(str(path), 10, {known}) == []


def test_without_inode_numbers_there_is_no_evidence(path, monkeypatch):
    """Where files cannot be told apart nothing is claimed; nor where the directory cannot be listed."""
    rotated(path, "app.log.1", at=20)
    monkeypatch.setattr(os, "stat", lambda _path: os.stat_result([0o100644, 0, 1, 1, 0, 0, 1, 0, 0, 0]))
    assert written_since(str(path), -1, set()) == []
    monkeypatch.undo()
    assert written_since(str(path.parent / "absent" / "app.log"), 10, set()) == []


def test_identity_is_device_and_inode(path):
    """The same file under another name stays the same; another one under the same name is another."""
    path.write_bytes(b"a")
    before = identity_of(path.stat())
    renamed = path.rename(path.with_suffix(".1"))
    path.write_bytes(b"a")
    assert identity_of(renamed.stat()) == before != identity_of(path.stat())


def test_creation_stands_in_for_inodes_on_windows(monkeypatch):
    """Where there are no inode numbers, Windows still knows when a file was created."""
    status = os.stat_result([0o100644, 0, 7, 1, 0, 0, 1, 0, 0, 5])
    assert identity_of(status) == (7, 0)
    monkeypatch.setattr(files.sys, "platform", "win32")
    assert identity_of(status) == (7, status.st_ctime_ns)
