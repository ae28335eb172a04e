"""Following a log file through rotation, truncation and replacement."""

import os

import pytest

from atmost.agent import files
from atmost.agent.lines import Line
from tests.agent.scene import FOUND, LEFT_UNREAD, MISSED, ROTATED, TRUNCATED, UNREADABLE, WAITING, short


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


def test_a_link_does_not_lead_out_of_its_directory(scene, tmp_path_factory):
    """A program that writes the log must not choose what the agent reads with its own rights, before or while it follows."""
    secret = tmp_path_factory.mktemp("elsewhere") / "shadow"
    scene.write(b"secret\n", secret)
    scene.path.symlink_to(secret)
    scene.follow(from_start=True, settle=0.0)
    assert scene.wait(1.0) == [UNREADABLE]
    scene.path.unlink()
    scene.write(b"a\n")
    assert scene.poll() == [FOUND, "a"]
    scene.path.unlink()
    scene.path.symlink_to(os.path.relpath(secret, scene.path.parent))
    assert scene.wait(1.0) == [UNREADABLE]
    within = scene.path.with_name("within")
    within.symlink_to(secret)
    scene.path.unlink()
    scene.path.symlink_to(within)
    assert scene.wait(1.0) == []  # the same trouble, which was told


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/tty", "/proc/self/environ"])
def test_a_link_does_not_lead_into_a_device(scene, target):
    """Nor into what is no file on a disk."""
    scene.path.symlink_to(target)
    scene.follow(from_start=True)
    assert scene.wait(1.0) == [UNREADABLE]


def test_a_link_may_lead_anywhere_on_demand(scene, tmp_path_factory):
    """As container logs under Kubernetes do; into a device it leads never."""
    elsewhere = tmp_path_factory.mktemp("pods") / "0.log"
    scene.write(b"a\n", elsewhere)
    scene.path.symlink_to(elsewhere)
    scene.follow(from_start=True, follow_links=True)
    assert scene.poll() == ["a"]
    scene.path.unlink()
    scene.path.symlink_to("/dev/zero")
    assert scene.wait(1.0) == [UNREADABLE]


def test_a_directory_above_may_be_a_link(scene, tmp_path):
    """It is what the operator named, as a release's log directory behind `current`."""
    real = tmp_path / "release-7"
    real.mkdir()
    (tmp_path / "current").symlink_to(real)
    scene.path = tmp_path / "current" / "app.log"
    scene.follow()
    scene.write(b"a\n")
    assert scene.wait(1.0) == [WAITING, FOUND, "a"]


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
    assert scene.follower.stats().lost_bytes_total == 15
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
