"""Following one log file: where it begins, what a line is, what bounds hold, how it ends.

Rotation and trouble have files of their own beside this one.
"""

import tracemalloc
from pathlib import Path

import pytest

from atmost.agent.follow import CHUNK_BYTES, Follower, FollowOptions
from atmost.agent.lines import Line
from tests.agent.scene import FOUND, LEFT_UNREAD, ROTATED, WAITING, Scene, short


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
    assert scene.follower.stats().truncated_lines_total == 1


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
    assert scene.follower.stats().bytes_total == sum(map(len, lines)) + len(lines) + 12


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
    folders = (Path("/proc/self/fd"), Path("/dev/fd"))
    return len(list(next(folder for folder in folders if folder.is_dir()).iterdir()))


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
    with pytest.raises(ValueError, match=r"must be at least|cannot be negative"):
        FollowOptions(**options)


def test_statistics_count_what_was_told(scene):
    """Lines, bytes and events are counted as they are told."""
    scene.follow()
    scene.write(b"a\nb")
    scene.poll()
    scene.close()
    statistics = scene.follower.stats()
    assert (statistics.lines_total, statistics.incomplete_lines_total, statistics.bytes_total) == (2, 1, 3)
    assert statistics.events_total == {"waiting": 1, "found": 1}
