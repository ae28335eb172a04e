import errno
import os
import tracemalloc

import pytest

from atmost.agent import files
from atmost.agent.events import FollowEvent, FollowEventKind
from atmost.agent.follow import CHUNK_BYTES, Follower, FollowOptions
from atmost.agent.lines import Line


class Scene:
    """A log file with a follower, and the time it is polled at."""

    def __init__(self, path):
        self.path = path
        self.now = 100.0
        self.follower = None

    def follow(self, **options):
        self.follower = Follower(self.path, FollowOptions(**options))
        return self

    def write(self, content, path=None):
        with (path or self.path).open("ab") as log:
            log.write(content)

    def rotate(self, name="app.log.1"):
        """Rename the log away and create an empty one."""
        rotated = self.path.rename(self.path.with_name(name))
        self.path.touch()
        return rotated

    def poll(self, **bounds):
        """Poll once, a fifth of a second after the last time; short answers for short tests."""
        self.now += 0.2
        return [short(found) for found in self.follower.poll(self.now, **bounds)]

    def wait(self, seconds):
        """Poll until that much time has passed, and return everything."""
        found, end = [], self.now + seconds
        while self.now < end:
            found += self.poll()
        return found

    def close(self, **bounds):
        return [short(found) for found in self.follower.close(**bounds)]


def short(found):
    """Return a whole line as its text, and an event as its kind, with what is known to be lost."""
    match found:
        case Line(truncated=False, complete=True):
            return found.text
        case FollowEvent(lost_bytes=0):
            return found.kind
        case FollowEvent():
            return found.kind, found.lost_bytes
    return found


@pytest.fixture
def scene(tmp_path):
    scene = Scene(tmp_path / "app.log")
    yield scene
    if scene.follower is not None:
        scene.follower.close()


WAITING, FOUND, ROTATED, TRUNCATED, UNREADABLE, MISSED, LEFT_UNREAD, RELEASED = (
    FollowEventKind[name]
    for name in ("WAITING", "FOUND", "ROTATED", "TRUNCATED", "UNREADABLE", "MISSED", "LEFT_UNREAD", "RELEASED")
)


def test_begins_at_the_end(scene):
    """What the file held before is not told; what is added is, in order."""
    scene.write(b"old\n")
    scene.follow()
    assert scene.poll() == []
    scene.write(b"new\nnewer\n")
    assert scene.poll() == ["new", "newer"]
    assert scene.poll() == []


def test_the_end_is_that_of_the_construction(scene):
    """What is written between construction and the first poll is told."""
    scene.write(b"old\n")
    scene.follow()
    scene.write(b"new\n")
    assert scene.poll() == ["new"]


def test_begins_at_the_start_on_request(scene):
    """With `from_start` everything the file holds is told."""
    scene.write(b"old\n")
    assert scene.follow(from_start=True).poll() == ["old"]


def test_a_line_half_written_at_the_start_is_told_whole(scene):
    """Lines are whole: one that was begun before following began is told from its beginning."""
    scene.write(b"old\nhalf ")
    scene.follow()
    scene.write(b"done\n")
    assert scene.poll() == ["half done"]


def test_a_line_is_told_when_its_newline_arrives(scene):
    """A partial line waits, however long."""
    scene.follow()
    scene.write(b"par")
    assert scene.poll() == [WAITING, FOUND]
    scene.write(b"tial")
    assert scene.wait(1000) == []
    scene.write(b"\n")
    assert scene.poll() == ["partial"]


def test_a_partial_line_is_told_after_a_bound_when_asked_to(scene):
    """With `partial_after`, a line that does not grow any more is told as it is, and what follows is another."""
    scene.follow(partial_after=5.0)
    scene.write(b"last ")
    scene.wait(4.0)
    scene.write(b"words")
    assert scene.wait(4.5) == []
    assert scene.wait(1.0) == [Line("last words", 0, 10, complete=False)]
    scene.write(b"\nnext\n")
    assert scene.poll() == ["next"]


def test_flush_returns_the_partial_line(scene):
    """`flush()` tells at once what was read: the lines left over by a bound, and the line begun."""
    scene.path.touch()
    scene.follow()
    scene.write(b"a\nb\npart")
    assert scene.poll(max_lines=1) == ["a"]
    assert [short(found) for found in scene.follower.flush()] == ["b", Line("part", 4, 4, complete=False)]
    assert scene.follower.flush() == []


def test_crlf_and_binary_junk(scene):
    """CRLF is an ending; bytes that are no text survive as replacements, NUL as itself."""
    scene.path.touch()
    scene.follow()
    scene.write(b"one\r\n\x00\xff\xfe\x1b\n")
    assert scene.poll() == ["one", "\x00\ufffd\ufffd\x1b"]


def test_long_lines_keep_their_head(scene):
    """A line beyond the bound is told with its head and its whole length, and counted."""
    scene.path.touch()
    scene.follow(max_line_bytes=4)
    scene.write(b"123456\r\nok\n")
    assert scene.poll() == [Line("1234", 0, 6, truncated=True), "ok"]
    assert scene.follower.statistics().truncated_lines_total == 1


def test_an_endless_line_holds_bounded_memory(scene):
    """A file without any newline costs no more memory than the bound and the chunks being read."""
    with scene.path.open("wb") as log:
        log.truncate(64 << 20)
    scene.follow(from_start=True, max_line_bytes=1000)
    tracemalloc.start()
    try:
        for _ in range(64):
            assert scene.poll() == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * CHUNK_BYTES
    assert scene.close() == [Line("\0" * 1000, 0, 64 << 20, truncated=True, complete=False)]


def test_a_poll_is_bounded(scene):
    """One poll tells so many lines and reads so many bytes; the rest comes later, and nothing is lost."""
    lines = [f"line {number}" for number in range(100)]
    scene.write("".join(line + "\n" for line in lines).encode())
    scene.follow(from_start=True)
    assert scene.poll(max_lines=3) == lines[:3]
    assert scene.poll(max_lines=2) == lines[3:5]
    assert scene.poll() == lines[5:]
    scene.write(b"0123\n" * 10)
    assert scene.poll(max_bytes=12) == ["0123"] * 2
    assert scene.follower.statistics().bytes_total == sum(map(len, lines)) + len(lines) + 12


def test_waits_for_a_file_that_does_not_exist_yet(scene):
    """Its absence is told once; when it appears it is read from its start."""
    scene.follow()
    assert scene.wait(2.0) == [WAITING]
    scene.write(b"first\n")
    assert scene.poll() == [FOUND, "first"]
    assert scene.wait(2.0) == []


def test_rotation_by_rename_and_create(scene):
    """The old file is read to its end, then the new one from its start."""
    scene.path.touch()
    scene.follow()
    scene.write(b"a\n")
    assert scene.poll() == ["a"]
    scene.write(b"b\n")
    scene.rotate()
    scene.write(b"c\n")
    assert scene.wait(2.0) == ["b", ROTATED, "c"]


def test_a_writer_may_reopen_late(scene):
    """While the new file is empty the old one is read on, for its writer has not reopened its log."""
    scene.path.touch()
    scene.follow()
    old = scene.rotate()
    assert scene.wait(100) == []
    scene.write(b"still here\n", old)
    assert scene.poll() == ["still here"]
    scene.write(b"moved\n")
    assert scene.wait(2.0) == [ROTATED, "moved"]


def test_one_of_several_writers_may_reopen_late(scene):
    """For a while after the new file has data, the old one is still read, before any line of the new one."""
    scene.path.touch()
    scene.follow(settle=1.0)
    old = scene.rotate()
    scene.write(b"quick\n")
    assert scene.poll() == []
    scene.write(b"slow\n", old)
    assert scene.wait(2.0) == ["slow", ROTATED, "quick"]


def test_without_settling_the_switch_is_immediate(scene):
    """With `settle=0` the old file is left as soon as it is read and the new one has data."""
    scene.path.touch()
    scene.follow(settle=0.0)
    scene.write(b"a\n")
    scene.rotate()
    scene.write(b"b\n")
    assert scene.poll() == ["a", ROTATED, "b"]


def test_a_partial_line_is_told_when_its_file_was_rotated_away(scene):
    """Last words without a newline belong to the old file, and are not joined with the new one."""
    scene.path.touch()
    scene.follow(settle=0.0)
    scene.write(b"last words")
    scene.rotate()
    scene.write(b"new\n")
    assert scene.poll() == [Line("last words", 0, 10, complete=False), ROTATED, "new"]


def test_a_backlog_in_the_old_file_comes_first(scene):
    """Several rotations while a backlog is read lose nothing: every generation is held as soon as it is seen."""
    scene.path.touch()
    scene.follow(settle=0.0)
    expected, found = [], []
    for generation in range(4):
        lines = [f"{generation}-{number}" for number in range(5)]
        scene.write("".join(line + "\n" for line in lines).encode())
        expected += [*lines, ROTATED]
        found += scene.poll(max_lines=1)
        scene.rotate(f"app.log.{generation}")
    scene.write(b"end\n")
    assert found + scene.wait(2.0) == [*expected, "end"]


def test_an_empty_generation_in_between(scene):
    """A file that was rotated away before anything was written to it only means another rotation."""
    scene.write(b"")
    scene.follow(settle=0.0)
    scene.write(b"a\n")
    assert scene.poll() == ["a"]
    scene.rotate("app.log.1")
    assert scene.poll() == []
    scene.rotate("app.log.2")
    scene.write(b"b\n")
    assert scene.poll() == [ROTATED, ROTATED, "b"]


def test_a_replaced_file_is_another_file(scene):
    """A file put in place of the log by renaming is read from its start."""
    scene.write(b"old\n")
    scene.follow(settle=0.0)
    other = scene.path.with_name("other")
    scene.write(b"replaced\n", other)
    other.replace(scene.path)
    assert scene.poll() == [ROTATED, "replaced"]


def test_a_link_may_point_elsewhere(scene):
    """A symbolic link is followed to the file it names now."""
    first, second = scene.path.with_name("first"), scene.path.with_name("second")
    scene.write(b"old\n", first)
    scene.path.symlink_to(first)
    scene.follow(settle=0.0)
    scene.write(b"a\n", first)
    assert scene.poll() == ["a"]
    scene.write(b"b\n", second)
    scene.path.unlink()
    scene.path.symlink_to(second)
    assert scene.poll() == [ROTATED, "b"]


def test_copy_and_truncate(scene):
    """A file that was cut is read from its start; a line begun before the cut is told as it is."""
    scene.path.touch()
    scene.follow()
    scene.write(b"one\ntw")
    assert scene.poll() == ["one"]
    os.truncate(scene.path, 0)
    assert scene.poll() == [Line("tw", 4, 2, complete=False), TRUNCATED]
    scene.write(b"three\n")
    assert scene.poll() == ["three"]


def test_a_cut_file_may_have_grown_again(scene):
    """A cut is noticed also when the file is already longer than before."""
    scene.path.touch()
    scene.follow()
    scene.write(b"one\n")
    assert scene.poll() == ["one"]
    scene.path.write_bytes(b"other\nlines\n")
    assert scene.poll() == [TRUNCATED, "other", "lines"]


def test_what_a_cut_took_is_counted(scene):
    """What was seen in the file and not read before it was cut is told as lost, in bytes."""
    scene.path.touch()
    scene.follow()
    scene.write(b"1234\n" * 4)
    assert scene.poll(max_bytes=5) == ["1234"]
    os.truncate(scene.path, 0)
    assert scene.poll() == [(TRUNCATED, 15)]
    assert scene.follower.statistics().lost_bytes_total == 15
    os.truncate(scene.path, 0)
    assert scene.poll() == []


def test_a_writer_that_goes_on_at_its_old_place_leaves_a_hole(scene):
    """After a cut, a writer without O_APPEND writes behind a hole: its lines are told, not millions of NUL."""
    with scene.path.open("wb", buffering=0) as log:
        scene.follow()
        log.write(b"x" * 100_000 + b"\n")
        scene.poll()
        os.truncate(scene.path, 0)
        log.write(b"after\n")
        assert scene.poll() == [TRUNCATED, "after"]
        os.truncate(scene.path, 0)
        assert scene.poll() == [TRUNCATED]
        log.write(b"again\n\0\n")
        assert scene.poll() == ["again", "\0"]


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


def test_a_file_moved_away_and_back_is_the_same(scene):
    """A file that only lost its name for a while goes on where it was."""
    scene.path.touch()
    scene.follow()
    scene.write(b"a\n")
    assert scene.poll() == ["a"]
    away = scene.path.rename(scene.path.with_name("away"))
    assert scene.wait(100.0) == [WAITING]
    scene.write(b"b\n", away)
    away.rename(scene.path)
    scene.write(b"c\n")
    assert scene.poll() == [FOUND, "b", "c"]


def test_a_file_put_back_over_an_empty_successor_is_the_same(scene):
    """What was read of a file still held is not told again when the file returns to its name."""
    scene.path.touch()
    scene.follow()
    scene.write(b"a\n")
    away = scene.rotate()
    assert scene.poll() == ["a"]
    away.replace(scene.path)
    scene.write(b"b\n")
    assert scene.wait(5.0) == ["b"]


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


def test_two_rotations_between_polls_are_told(scene):
    """A generation that was never seen at the path is told by name, between the files it came between."""
    scene.path.touch()
    scene.follow(settle=0.0)
    scene.write(b"a\n")
    os.utime(scene.rotate("app.log.2"), ns=(1, 1))
    scene.write(b"never seen\n")
    os.utime(scene.rotate("app.log.1"), ns=(2, 2))
    scene.write(b"c\n")
    scene.now += 1
    found = scene.follower.poll(scene.now)
    assert [short(each) for each in found] == ["a", MISSED, ROTATED, "c"]
    assert found[1].detail == "app.log.1"


def test_one_rotation_is_no_missed_generation(scene):
    """Older generations beside the log, and the one just rotated away, prove nothing."""
    older = scene.path.with_name("app.log.2")
    scene.write(b"older\n", older)
    os.utime(older, ns=(1, 1))
    scene.path.touch()
    scene.follow(settle=0.0)
    scene.write(b"a\n")
    scene.rotate()
    scene.write(b"b\n")
    assert scene.poll() == ["a", ROTATED, "b"]


def test_too_many_generations_give_the_oldest_up(scene):
    """The number of files held is bounded: the oldest is left unread, and its bytes are told as lost."""
    scene.path.touch()
    scene.follow(settle=0.0, max_held_files=2)
    scene.write(b"a\nb\nc\n")
    assert scene.poll(max_lines=1) == ["a"]
    for number in range(2):
        scene.rotate(f"app.log.{number}")
        scene.write(b"%d\n" % number)
        found = scene.poll(max_lines=0)
    assert found == [(LEFT_UNREAD, 4), ROTATED]
    assert scene.poll() == ["0", ROTATED, "1"]


def test_close_tells_the_rest(scene):
    """At the end everything that is there is read, of the old file and of the new one, with the line begun."""
    scene.path.touch()
    scene.follow()
    scene.write(b"a\n")
    scene.rotate()
    scene.write(b"b\nlast")
    assert scene.close() == ["a", ROTATED, "b", Line("last", 2, 4, complete=False)]
    assert scene.close() == []
    assert scene.poll() == []


def test_close_is_bounded(scene):
    """What is not read in bounded time is told as left, in bytes."""
    scene.path.touch()
    scene.follow()
    scene.write(b"a\nbc\nd")
    assert scene.close(max_bytes=4) == ["a", Line("bc", 2, 2, complete=False), (LEFT_UNREAD, 2)]


def test_closing_lets_files_go(scene):
    """No descriptor stays open, whatever happened in between."""
    before = _descriptors()
    scene.path.touch()
    scene.follow(settle=0.0)
    for number in range(5):
        scene.write(b"a\n")
        scene.rotate(f"app.log.{number}")
        scene.poll()
    scene.path.unlink()
    scene.poll()
    scene.close()
    assert _descriptors() == before


def _descriptors():
    return len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))


def test_without_inode_numbers_a_shorter_file_is_another(scene, monkeypatch):
    """Where files have no numbers, a path that names a shorter file than the one held has been replaced."""
    monkeypatch.setattr(files, "identity_of", lambda status: (status.st_dev, 0))
    scene.path.touch()
    scene.follow(settle=0.0)
    scene.write(b"a long line\n")
    assert scene.poll() == ["a long line"]
    scene.rotate()
    scene.write(b"b\n")
    assert scene.poll() == [ROTATED, "b"]
    os.truncate(scene.path, 0)
    assert scene.poll() == [TRUNCATED]
    scene.write(b"c\n")
    assert scene.poll() == ["c"]


def test_the_path_is_absolute(tmp_path, monkeypatch):
    """A daemon may change its directory: the file followed stays the one that was meant."""
    monkeypatch.chdir(tmp_path)
    scene = Scene(tmp_path / "app.log")
    scene.follower = Follower("app.log")
    monkeypatch.chdir("/")
    scene.write(b"a\n")
    assert scene.follower.path == str(tmp_path / "app.log")
    assert scene.poll() == [WAITING, FOUND, "a"]
    scene.close()


@pytest.mark.parametrize(
    "options",
    [{"max_line_bytes": 0}, {"max_held_files": 1}, {"settle": -1.0}, {"release_after": -1.0}, {"partial_after": -0.1}],
)
def test_options_that_cannot_work_are_refused(options):
    """Bounds are at least one, times are not negative."""
    with pytest.raises(ValueError, match="must be at least|cannot be negative"):
        FollowOptions(**options)


def test_statistics_count_what_was_told(scene):
    """Lines, bytes and events are counted as they are told."""
    scene.follow()
    scene.write(b"a\nb")
    scene.poll()
    scene.close()
    statistics = scene.follower.statistics()
    assert (statistics.lines_total, statistics.incomplete_lines_total, statistics.bytes_total) == (2, 1, 3)
    assert statistics.events_total == {"waiting": 1, "found": 1}
