"""Following a log file that is absent, deleted, forbidden or failing."""

import errno
import os

from atmost.agent import files
from atmost.agent.follow import FollowEvent
from atmost.agent.lines import Line
from tests.agent.scene import FOUND, LEFT_UNREAD, RELEASED, ROTATED, UNREADABLE, WAITING


def test_waits_for_a_file_that_does_not_exist_yet(scene):
    """Its absence is told once; when it appears it is read from its start."""
    scene.follow()
    assert scene.wait(2.0) == [WAITING]
    scene.write(b"first\n")
    assert scene.poll() == [FOUND, "first"]
    assert scene.wait(2.0) == []


def test_deletion_and_creation_anew(scene):
    """A deleted log is told once; the one created later is read from its start."""
    scene.write(b"old\n")
    scene.follow(settle=0.0)
    scene.write(b"a\n")
    scene.path.unlink()
    assert scene.wait(2.0) == [WAITING, "a"]
    scene.write(b"b\n")
    assert scene.poll() == [FOUND, ROTATED, "b"]


def test_a_deleted_file_is_read_while_it_lives(scene):
    """A process that still writes to a deleted file is heard, and the file is let go when it falls silent."""
    scene.path.touch()
    scene.follow(release_after=10.0)
    with scene.path.open("ab", buffering=0) as log:
        scene.path.unlink()
        assert scene.wait(8.0) == [WAITING]
        log.write(b"alive\npart")
        assert scene.wait(8.0) == ["alive"]
        assert scene.wait(4.0) == [Line("part", 6, 4, complete=False), RELEASED]
        assert scene.wait(20.0) == []
    scene.write(b"new\n")
    assert scene.poll() == [FOUND, "new"]


def test_a_file_silent_for_long_is_not_let_go_as_soon_as_it_is_deleted(scene):
    """The time for letting go begins with the deletion."""
    scene.path.touch()
    scene.follow(release_after=10.0)
    assert scene.wait(100.0) == []
    scene.path.unlink()
    assert scene.wait(9.0) == [WAITING]
    assert scene.wait(3.0) == [RELEASED]


def test_a_deleted_file_with_an_empty_successor_is_let_go(scene):
    """Also when the new file stays empty, the old one does not hold its disk space for ever."""
    scene.path.touch()
    scene.follow(release_after=10.0)
    scene.rotate().unlink()
    assert scene.wait(9.0) == []
    assert scene.wait(3.0) == [ROTATED]
    scene.write(b"new\n")
    assert scene.poll() == ["new"]


def test_a_directory_at_the_path(scene):
    """A directory cannot be followed: told once, with the reason, until a file takes its place."""
    scene.path.mkdir()
    scene.follow()
    assert scene.follower.poll(1.0) == [
        FollowEvent(UNREADABLE, str(scene.path), os.strerror(errno.EISDIR)),
    ]
    assert scene.wait(2.0) == []
    scene.path.rmdir()
    scene.write(b"a\n")
    assert scene.poll() == [FOUND, "a"]


def test_a_fifo_at_the_path_does_not_block(scene):
    """Opening a FIFO would wait for a writer for ever; it is refused unopened."""
    os.mkfifo(scene.path)
    assert scene.follow().poll() == [UNREADABLE]


def test_a_forbidden_file(scene, monkeypatch):
    """A file that may not be read is told once; when it may be, it is read from where it ended at the start."""
    scene.write(b"old\n")

    def refuse(_path):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as forbidden:
        forbidden.setattr(files, "open_shared", refuse)
        scene.follow()
        scene.write(b"new\n")
        assert scene.wait(2.0) == [UNREADABLE]
    assert scene.poll() == [FOUND, "new"]


def test_a_forbidden_file_may_be_replaced(scene, monkeypatch):
    """A file that appears after the first was removed is read from its start, also under the same inode number."""
    scene.write(b"old\n")
    monkeypatch.setattr(files, "identity_of", lambda status: (status.st_dev, 1))

    def refuse(_path):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as forbidden:
        forbidden.setattr(files, "open_shared", refuse)
        scene.follow()
    scene.path.unlink()
    assert scene.poll() == [UNREADABLE, WAITING]
    scene.write(b"new\nlines\n")
    assert scene.poll() == [FOUND, "new", "lines"]


def test_a_forbidden_successor(scene, monkeypatch):
    """While the new file may not be read, the old one is, and the trouble is told once."""
    scene.path.touch()
    scene.follow(settle=0.0)
    old = scene.rotate()
    scene.write(b"b\n")

    def refuse(_path):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as forbidden:
        forbidden.setattr(files, "open_shared", refuse)
        scene.write(b"a\n", old)
        assert scene.wait(2.0) == [UNREADABLE, "a"]
    assert scene.poll() == [FOUND, ROTATED, "b"]


def test_a_path_through_a_file_is_unreadable(scene):
    """A path that cannot exist is told with the system's reason."""
    scene.write(b"")
    scene.path = scene.path / "deeper"
    assert scene.follow().wait(1.0) == [UNREADABLE]


def test_a_file_that_fails_while_it_is_read(scene, monkeypatch):
    """An error while reading is told once; reading goes on at the same place when it works again."""
    scene.path.touch()
    scene.follow()
    scene.write(b"a\n")
    assert scene.poll() == ["a"]
    scene.write(b"b\n")
    with monkeypatch.context() as failing:
        failing.setattr(files.OpenFile, "read", _fails)
        assert scene.wait(2.0) == [UNREADABLE]
    assert scene.poll() == [FOUND, "b"]


def test_a_rotated_file_that_fails_is_given_up(scene, monkeypatch):
    """An old file that cannot be read does not hold up the new one; what it still held is told as lost."""
    scene.path.touch()
    scene.follow(settle=0.0)
    scene.write(b"lost\n")
    scene.rotate()
    scene.write(b"a\n")
    broken = scene.follower._held[0].file
    read = files.OpenFile.read
    monkeypatch.setattr(files.OpenFile, "read", lambda file, size: _fails() if file is broken else read(file, size))
    assert scene.poll() == [(LEFT_UNREAD, 5), ROTATED, "a"]


def test_a_start_that_fails_is_tried_again(scene, monkeypatch):
    """When the end of the file cannot be found at the start, following begins there later, and no file stays open."""
    scene.write(b"old\n")
    with monkeypatch.context() as failing:
        failing.setattr(files.OpenFile, "start_near", _fails)
        scene.follow()
        assert scene.wait(1.0) == [UNREADABLE]
    scene.write(b"new\n")
    assert scene.poll() == [FOUND, "new"]


def _fails(*_arguments):
    raise OSError(errno.EIO, os.strerror(errno.EIO))
