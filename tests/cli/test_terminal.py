"""On a terminal: colours unless they are unwanted, and a live table that steers nothing."""

import io
import os
import pty
import re
import subprocess
import sys
import threading

import pytest

import atmost
from atmost.cli.table import open_display
from atmost.collector.watch import Watch
from atmost.core.events import Tail
from atmost.core.ledger import Ledger, SessionLedger
from tests.real import BOUND, environment, until

ANY = "udp://127.0.0.1:0"
COLOUR = re.compile(r"\x1b\[\d+m")


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *arguments, **changes):
        self.shown = ""
        ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "atmost", *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(TERM="xterm-256color", COLUMNS="150", **changes),
            start_new_session=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, args=(ours,), daemon=True)
        self._reader.start()

    def url(self):
        """Where it listens, once it does."""
        return until(lambda: (found := re.search(r"listening on (\S+) ", self.shown)) and found[1])

    def wait(self):
        """Return its status and everything it showed, once it has ended."""
        try:
            status = self._process.wait(BOUND)
        finally:
            self._process.kill()
            self._process.wait(BOUND)
            self._reader.join(BOUND)
        return status, self.shown

    def _read(self, ours):
        content = b""
        try:
            while chunk := os.read(ours, 65_536):
                content += chunk
                self.shown = content.decode(errors="replace")
        except OSError:  # how Linux tells that nobody is at the other end any more
            pass
        finally:
            os.close(ours)


@pytest.mark.parametrize(("changes", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)])
def test_colours_unless_they_are_unwanted(monkeypatch, changes, coloured):
    """NO_COLOR switches them off (no-color.org), as being piped does."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal("listen", "--count", 1, "--bind", ANY, **changes)
    with atmost.Sender(terminal.url(), name="n") as sender:
        sender.send("orders.new", 1)
        status, shown = terminal.wait()
    assert status == 0
    assert bool(COLOUR.search(shown)) is coloured
    assert "n orders.new 1" in COLOUR.sub("", shown)


def test_the_live_table(monkeypatch):
    """A row a sender; at the end the table goes and the account stays."""
    pytest.importorskip("rich")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal("collect", "--seconds", 1.5, "--bind", ANY)
    with atmost.Sender(terminal.url(), name="worker\x1b[2J-7") as sender:
        sender.send("a.b", 1)
        status, shown = terminal.wait()
    assert status == 0
    assert r"worker\x1b[2J-7" in shown
    assert "\x1b[2J" not in shown
    for heading in ("sender", "rate/s", "delivered", "lost", "late", "duplicates refused", "last seen", "state"):
        assert heading in shown
    assert "account of " in shown.rpartition("duplicates refused")[2]


def rows(count):
    """So many senders, the last the busiest."""
    return [
        SessionLedger(
            id=str(number),
            key_id=0,
            name=f"[red]sender {number}\x1b[0m",
            host="h",
            pid=1,
            tail=Tail.ALIVE,
            sent=0,
            datagrams=1,
            last_seen=0.0,
            delivered=number,
            lost=1,
        )
        for number in range(count)
    ]


class Screen(io.StringIO):
    """A terminal that only says that it is one."""

    def isatty(self):
        return True


@pytest.fixture
def screen(monkeypatch):
    """A function that puts a screen of 30 lines in the place of standard output, for the test's own time."""
    for name, value in (("TERM", "xterm-256color"), ("COLUMNS", "150"), ("LINES", "30")):
        monkeypatch.setenv(name, value)

    def instead():
        screen = Screen()
        monkeypatch.setattr(sys, "stdout", screen)
        return screen

    return instead


def test_a_table_of_many_senders_fits_the_screen(screen):
    """The busiest are shown, the others are counted; a name is text, not markup."""
    pytest.importorskip("rich")
    shown = screen()
    ledger = Ledger(sessions=rows(100))
    with open_display(ANY) as display:
        display.show(ledger, Watch(0.0).look(ledger, 1.0))
    text = shown.getvalue()
    assert r"[red]sender 99\x1b[0m" in text
    assert "sender 78" in text
    assert "sender 77" not in text
    assert "... and 78 more senders; Ctrl-C ends with the account" in text


def test_an_address_is_no_markup(screen):
    """The brackets of an IPv6 address are part of it."""
    pytest.importorskip("rich")
    shown = screen()
    with open_display("udp://[fe80::1]:7140") as display:
        display.show(Ledger(), [])
    assert "udp://[fe80::1]:7140   delivered 0" in shown.getvalue()


def test_a_table_of_nobody_says_what_to_do(screen):
    """A newcomer who started the collector first."""
    pytest.importorskip("rich")
    shown = screen()
    with open_display(ANY) as display:
        display.show(Ledger(), [])
    assert "waiting for a sender: try 'atmost agent'" in shown.getvalue()


def test_without_rich_there_are_lines(screen, monkeypatch, capsys):
    """The live table is an extra; its absence is told with the command that installs it."""
    shown = screen()
    monkeypatch.setitem(sys.modules, "rich.live", None)
    ledger = Ledger(sessions=rows(2), delivered=1, lost=2)
    with open_display(ANY) as display:
        display.show(ledger, Watch(0.0).look(ledger, 1.0))
    assert "2 senders  1/s  delivered 1  lost 2" in shown.getvalue()
    assert capsys.readouterr().err == "a live table needs: pip install 'atmost[tui]'\n"
