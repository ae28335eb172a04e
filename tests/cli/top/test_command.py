"""`atmost top` as a user runs it: once, as JSON, and without a collector."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
from fcntl import ioctl
from struct import pack

import pytest

from tests.collector.page.answers import gap, heartbeat, record, sender
from tests.collector.page.scene import play
from tests.real import BOUND, environment, until

HARMFUL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_without_a_terminal_it_tells_the_state_once(fake, run):
    """Senders with their loss by place, heartbeats, the end of the log with its holes, totals and warnings."""
    play(fake)
    done = run("top", "--collector", fake.url)
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].startswith(f"web-3  {fake.url}  atmost 0.1.0, up for 2 h 14 min")
    assert "lost now 203  lost 5,198 (0.28 %: sender socket 61, in flight 5,137)" in lines[1]
    assert "duplicates refused 1,204  refused 327  tail unknown 1" in lines[1]
    assert lines[2] == "heartbeats: 5 up  1 suspect  1 down  1 stopped"
    assert lines[3].startswith("warning: refused: batch-9 at 10.1.7.31:50112: its clock is 41 s ahead of this host's")
    worst = next(line for line in lines if line.startswith("checkout-1 "))
    assert worst.split() == [
        "checkout-1",
        "web-3",
        "8112",
        "alive",
        "612",
        "203",
        "4,901",
        "0.54",
        "%",
        "in",
        "flight",
        "4,901",
        "899,309",
        "203",
        "14",
        "0.2",
        "s",
    ]
    assert any(line.startswith("batch-2 (clock)  batch-2 4242") for line in lines)
    assert any("batch-2 ×1,501" in line for line in lines)
    assert any(
        line.startswith("batch-2         down") and line.endswith("388 beats missed, at 0 measured loss")
        for line in lines
    )
    assert any("-- 3 lost here (2 INFO, 1 DEBUG) of checkout-1 (in flight)" in line for line in lines)
    assert r"user said: \x1b[2J\x1b[31mhello\u202e and <b>bold</b>" in done.out
    assert not HARMFUL.search(done.out)


def test_nothing_of_a_stranger_reaches_the_terminal_as_it_came(fake, commands):
    """Whatever field it stands in."""
    evil = "\x1b]0;x\x07\u202e\r\n\x9b2J"
    fake.overview |= {"host": evil, "version": evil, "warnings": [evil]}
    fake.overview["totals"] |= {"lost": 1, "lost_by_place": {evil: 1}}
    fake.overview["alive"] = {evil: 1}
    fake.senders = [sender(evil, id=evil, tail=evil, lost_by_place={evil: 1})]
    fake.heartbeats = [heartbeat(evil, evil, verdict=evil)]
    fake.log(
        record(evil, sender=evil, level=evil, logger=evil, fields={evil: evil}, exception=evil),
        gap(1, {evil: 1}, sender=evil, reason=evil),
    )
    done = commands("top", "--once", "--collector", fake.url)
    assert (done.status, done.err) == (0, "")
    assert not HARMFUL.search(done.out)
    assert done.out.count(r"\x1b]0;x") >= 14


def test_one_object(fake, run):
    """With --once and --json: what the interface said, to be parsed."""
    play(fake)
    done = run("top", "--once", "--json", "--collector", fake.url)
    (said,) = done.objects
    assert said["overview"]["totals"]["lost"] == 5_198
    assert [one["name"] for one in said["heartbeats"]["heartbeats"]][:1] == ["batch-2"]
    assert {one["type"] for one in said["logs"]["records"]} == {"record", "gap"}
    assert len(said["senders"]["senders"]) == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_object_a_second_until_it_is_stopped(fake, start, number):
    """Each with the log lines that are new in it."""
    fake.log(record("one"))
    command = start("top", "--json", "--collector", fake.url)
    command.prints(1)
    fake.log(record("two"))
    command.prints(2)
    done = command.end(number)
    assert (done.status, done.err) == (0, "")
    assert [[one["message"] for one in said["logs"]["records"]] for said in done.objects[:2]] == [["one"], ["two"]]


def test_without_a_collector(commands):
    """One line that says what to do, and status 1."""
    done = commands("top", "--collector", "http://127.0.0.1:1")
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        "atmost: no collector answers at http://127.0.0.1:1 (Connection refused): "
        "start one with 'atmost collect', or say where it listens with --collector\n"
    )


def test_misuse(commands):
    """An address that is none is the user's error: status 2."""
    done = commands("top", "--collector", "udp://127.0.0.1:7140")
    assert done.status == 2
    assert "is not the address of a collector: write one like http://127.0.0.1:7141" in done.err


def test_the_token_from_the_environment(fake, run):
    """Not on the command line, where every user of the host could read it."""
    fake.token = "s3cret"
    assert run("top", "--once", "--collector", fake.url).status == 1
    assert run("top", "--once", "--collector", fake.url, ATMOST_TOKEN="s3cret").status == 0
    assert run("top", "--once", "--collector", fake.url, "--token", "s3cret").status == 0


def test_a_collector_of_another_version(fake, commands):
    """What it does not say is a line of its own, no traceback."""
    fake.overview = {"started": 1.0}
    done = commands("top", "--once", "--collector", fake.url)
    assert done.status == 1
    assert "speaks another version than this command (KeyError: 'host')" in done.err


class Screen:
    """`atmost top` on a terminal of 120 × 40."""

    def __init__(self, *arguments, **changes):
        self.shown = ""
        self.reading = True
        self.ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, pack("HHHH", 40, 120, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "atmost", "top", *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(**{"TERM": "xterm-256color", "COLORTERM": "truecolor"} | changes),
            start_new_session=True,
        )
        os.close(theirs)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """End it whatever happened."""
        self.process.kill()
        self.process.wait(BOUND)
        self.reader.join(BOUND)
        self.hang_up()

    def press(self, keys):
        """Press keys, and return the status it ends with."""
        os.write(self.ours, keys)
        return self.process.wait(BOUND)

    def hang_up(self):
        """Close the terminal."""
        ours, self.ours = self.ours, -1
        if ours >= 0:
            os.close(ours)

    def stop_reading(self):
        """Let go of the terminal: a read under way would keep it open."""
        self.reading = False
        self.reader.join(BOUND)

    def _read(self):
        content = b""
        try:
            while self.reading:
                if not select.select([self.ours], [], [], 0.05)[0]:
                    continue
                content += os.read(self.ours, 65_536)
                self.shown = content.decode(errors="replace")
        except OSError:  # how Linux tells that nobody is at the other end any more
            pass


@pytest.mark.parametrize("keys", [b"q", b"\x03"], ids=["q", "Ctrl-C"])
def test_live_on_a_terminal(fake, keys):
    """It draws, follows, and leaves the terminal as it was; what strangers wrote stays harmless."""
    pytest.importorskip("textual")
    fake.senders = [sender("worker\x1b]0;owned\x07-7", lost=3)]
    with Screen("--collector", fake.url) as screen:
        until(lambda: r"worker\x1b]0;owned\x07-7" in screen.shown)
        fake.log(record("a new line"))
        until(lambda: "a new line" in screen.shown)
        assert screen.press(keys) == 0
    assert "\x1b]0;owned" not in screen.shown
    assert "\x1b[?1049l" in screen.shown, "the alternate screen is left"
    assert "\x1b[?25h" in screen.shown, "the cursor is shown again"
    assert "Traceback" not in screen.shown


def test_it_ends_with_its_terminal(fake):
    """Also where the terminal sends no signal, because it is not the controlling one."""
    pytest.importorskip("textual")
    with Screen("--collector", fake.url) as screen:
        until(lambda: "no sender was heard yet" in screen.shown)
        screen.stop_reading()
        screen.hang_up()
        screen.process.wait(BOUND)


def test_a_dumb_terminal_is_given_lines(fake):
    """TERM=dumb: the state once, as text, and not a single escape."""
    with Screen("--collector", fake.url, TERM="dumb") as screen:
        assert screen.process.wait(BOUND) == 0
        until(lambda: "heartbeats:" in screen.shown)
    assert "\x1b" not in screen.shown


def colours(shown):
    """Whether something is drawn in a colour: red, green and blue that differ."""
    return any(len({*found}) > 1 for found in re.findall(r"[34]8;2;(\d+);(\d+);(\d+)", shown))


@pytest.mark.parametrize(("changes", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)], ids=["plain", "NO_COLOR"])
def test_no_colours_where_they_are_unwanted(fake, monkeypatch, changes, coloured):
    """NO_COLOR leaves shades of grey (no-color.org)."""
    pytest.importorskip("textual")
    monkeypatch.delenv("NO_COLOR", raising=False)
    fake.senders = [sender("worker-7", lost=3)]
    with Screen("--collector", fake.url, **changes) as screen:
        until(lambda: "worker-7" in screen.shown)
        assert screen.press(b"q") == 0
    assert colours(screen.shown) is coloured
