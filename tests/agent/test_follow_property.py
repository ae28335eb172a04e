"""Whatever happens to a log file in whatever order, its lines are told in order, each once.

The model keeps every file's content and knows what a line is; the follower sees real files. What the docstring of
`atmost.agent.follow` names as a limit is kept out of the first property, and is what the second one is about.
"""

import os
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from atmost.agent.follow import Follower, FollowEvent, FollowEventKind, FollowOptions
from atmost.agent.lines import Line

MAX_LINE_BYTES = 12


class Log:
    """A log as its writer knows it, and what a follower of it should tell."""

    def __init__(self, folder, **options):
        self.path = Path(folder) / "app.log"
        self.written = self.path
        self.contents = [b""]
        self.rotated = 0
        self.pieces = 0
        self.unseen = False
        self.now = 0.0
        self.told = []
        self.events = []
        self.follower = Follower(
            self.path, FollowOptions(from_start=True, max_line_bytes=MAX_LINE_BYTES, max_held_files=100, **options)
        )

    def append(self, text):
        """Write something that no other piece looks like, so that no cut goes unnoticed."""
        self.pieces += 1
        self.unseen = self.unseen or not self.written.exists()
        piece = b"<%d>" % self.pieces + text
        with self.written.open("ab") as log:
            log.write(piece)
        self.contents[-1] += piece

    def rotate(self):
        """Rename the log away and create another; the writer goes on with the old one until it reopens."""
        self._reveal()
        if self.path.exists():
            self.rotated += 1
            renamed = self.path.rename(self.path.with_name(f"app.log.{self.rotated}"))
            self.written = renamed if self.written == self.path else self.written
        self.path.touch()
        self.unseen = True

    def delete(self):
        """Remove the log; what is written next is a new file."""
        self._reveal()
        self.path.unlink(missing_ok=True)
        self.reopen()

    def reopen(self):
        """Let the writer open its log anew."""
        if self.written != self.path or not self.path.exists():
            self.written = self.path
            self.contents.append(b"")
            self.unseen = True

    def cut(self):
        """Copy and truncate, once everything was read: what a cut takes with it unread is lost, and that is known."""
        self.drain()
        if self.written.exists() and self.written == self.path and self.contents[-1]:
            self.written.write_bytes(b"")
            self.contents.append(b"")

    def poll(self, step=0.2, **bounds):
        """Let the follower look, some time after it last did."""
        self.now += step
        self._take(self.follower.poll(self.now, **bounds))
        self.unseen = False

    def drain(self):
        """Poll until nothing more comes, for longer than any delay of the follower."""
        for _ in range(3):
            before = None
            while before != len(self.told) + len(self.events):
                before = len(self.told) + len(self.events)
                self.poll(step=2.0)

    def close(self):
        self._take(self.follower.close())

    def expected(self):
        """Return what should have been told: text kept, length, truncated, complete."""
        lines = []
        for content in self.contents:
            *ended, last = content.split(b"\n")
            lines += [self._line(part, complete=True) for part in ended]
            lines += [self._line(last, complete=False)] if last else []
        return lines

    @staticmethod
    def _line(part, *, complete):
        text = part.removesuffix(b"\r")
        return text[:MAX_LINE_BYTES].decode(errors="replace"), len(text), len(text) > MAX_LINE_BYTES, complete

    def _take(self, found):
        for each in found:
            match each:
                case Line():
                    self.told.append((each.text, each.original_bytes, each.truncated, each.complete))
                case FollowEvent():
                    self.events.append(each.kind)

    def _reveal(self):
        """Let the follower see a file before the next takes its place."""
        if self.unseen:
            self.poll(max_lines=1)


bounds = st.fixed_dictionaries({"max_lines": st.integers(0, 5), "max_bytes": st.integers(0, 40)})
appends = st.tuples(st.just("append"), st.text("ab\n\r\0\xff", max_size=14).map(lambda text: text.encode("latin-1")))
polls = st.tuples(st.just("poll"), bounds)
steps = st.lists(
    st.one_of(appends, polls, *(st.just((verb, None)) for verb in ("rotate", "reopen", "delete", "cut", "drain"))),
    max_size=40,
)


def perform(log, verb, argument):
    """Take one step of a generated story."""
    match verb:
        case "append":
            log.append(argument)
        case "poll":
            log.poll(**argument)
        case _:
            getattr(log, verb)()


@given(steps, st.sampled_from([0.0, 1.0]))
def test_every_line_is_told_once_in_order(story, settle):
    """Any interleaving of appends, rotations, deletions, cuts and bounded polls tells exactly the lines written."""
    with tempfile.TemporaryDirectory() as folder:
        log = Log(folder, settle=settle, release_after=1e9)
        for verb, argument in story:
            perform(log, verb, argument)
        log.drain()
        log.close()
        assert log.told == log.expected()
        assert log.follower.stats().lost_bytes_total == 0
        assert not {FollowEventKind.MISSED, FollowEventKind.LEFT_UNREAD} & set(log.events)


@given(st.lists(st.one_of(appends, polls, st.just(("roll", None))), max_size=40))
def test_what_is_not_told_was_missed_whole(story):
    """However often the log is rotated between two polls: no line twice, none out of order, and none lost in silence."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "app.log").touch()
        log = Log(folder, settle=0.0)
        for moment, (verb, argument) in enumerate(story):
            if verb == "roll":
                roll(log, moment)
            else:
                perform(log, verb, argument)
        log.drain()
        log.close()
        expected = log.expected()
        remaining = iter(expected)
        assert all(line in remaining for line in log.told)
        assert (len(log.told) < len(expected)) == (FollowEventKind.MISSED in log.events)


def roll(log, moment):
    """Rotate without letting the follower see it, each file clearly younger than the one before."""
    log.rotated += 1
    rotated = log.path.rename(log.path.with_name(f"app.log.{log.rotated}"))
    os.utime(rotated, ns=(moment, moment))
    log.path.touch()
    log.contents.append(b"")
