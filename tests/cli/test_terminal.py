"""On a terminal: colours unless they are unwanted."""

import os
import pty
import re
import subprocess
import sys
import threading

import pytest

import atmost
from tests.real import BOUND, environment, until

ANY = "udp://127.0.0.1:0"
COLOUR = re.compile(r"\x1b\[\d+m")
_WANTED = [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)]


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
            env=environment(**{"TERM": "xterm-256color", "COLUMNS": "150"} | changes),
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


@pytest.mark.parametrize(("changes", "coloured"), _WANTED)
def test_colours_unless_they_are_unwanted(monkeypatch, changes, coloured):
    """NO_COLOR switches them off (no-color.org), as being piped does, and a terminal that takes nothing but text."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal("listen", "--count", 1, "--bind", ANY, **changes)
    with atmost.Sender(terminal.url(), name="n") as sender:
        sender.send("orders.new", 1)
        status, shown = terminal.wait()
    assert status == 0
    assert bool(COLOUR.search(shown)) is coloured
    assert "n orders.new 1" in COLOUR.sub("", shown)
