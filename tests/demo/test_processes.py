"""The demo's child processes: what they say, and that none is left."""

import os
import signal
import sys

import pytest

from atmost.demo.processes import Child, ChildError
from tests.real import until

ECHO = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'{"told": "to end"}\\n'), sys.exit(0)))  # print may be under way
print('{"argument": "%s"}' % sys.argv[1], flush=True)
sys.stdin.read()
"""
SILENT = "import sys; sys.stdin.read()"
DEAF = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('{}', flush=True); sys.stdin.read()"
BROKEN = "import sys; sys.exit(7)"


@pytest.fixture
def child(tmp_path, monkeypatch):
    """A function that starts a child from source; none is left at the end."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    children = []

    def start(source, *arguments):
        (tmp_path / "childs_module.py").write_text(source)
        children.append(Child("test", "childs_module", arguments))
        return children[-1]

    yield start
    for one in children:
        one.kill()


def test_a_child_says_lines_and_ends_when_it_is_asked_to(child):
    """SIGTERM asks; what it says then is its last line."""
    one = child(ECHO, "it")
    assert one.line() == {"argument": "it"}
    assert one.running()
    assert not one.has_line()
    one.ask_to_end()
    assert one.line() == {"told": "to end"}
    until(one.has_line)
    with pytest.raises(ChildError, match="the test process ended with status 0"):
        one.line()
    assert not one.running()
    one.ask_to_end()


def test_a_child_that_ended_early_tells_its_status(child):
    """The demo then ends with one line instead of waiting."""
    with pytest.raises(ChildError, match="the test process ended with status 7"):
        child(BROKEN).line()


def test_a_child_that_says_nothing_is_not_waited_for_for_ever(child):
    """The wait is bounded."""
    with pytest.raises(ChildError, match=r"the test process did not answer within 0\.01 s"):
        child(SILENT).line(timeout=0.01)


def test_a_child_that_ignores_being_asked_is_ended(child):
    """For certain, and collected, so that no zombie stays either; a second time does nothing."""
    one = child(DEAF)
    assert one.line() == {}
    one.ask_to_end()
    one.kill()
    assert not one.running()
    one.kill()


def test_a_child_hears_no_ctrl_c(child):
    """Ctrl-C goes to the demo alone, which ends its children in order: they have a session of their own."""
    one = child(ECHO, "it")
    one.line()
    pid = one._process.pid
    assert os.getsid(pid) == pid != os.getsid(0)
    os.kill(pid, signal.SIGTERM)
    assert one.line() == {"told": "to end"}
