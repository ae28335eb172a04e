"""C code can fork past Python's hook: the process id, checked at each hand-over, still tells a child from its parent (R8)."""

import socket

import pytest

from atmost import Sender, SenderStats
from atmost.core.datagram import Kind
from atmost.lifecycle import HERE, notice_fork
from tests.endpoint.conftest import Busy, Make
from tests.endpoint.tape import Tape, kinds
from tests.real import header, until


def past_the_hook(sender: Sender) -> None:
    """Make the sender find itself in another process, as after C code has forked."""
    sender._core.pid -= 1
    HERE[0] = 0


def test_a_child_forked_past_the_hook_begins_anew(tape: Tape, make: Make) -> None:
    """At its first hand-over it finds another process id: a new session, with its message in it."""
    sender = make(linger=0)
    sender.send("a", "parent")
    taken = len(tape.taken)
    past_the_hook(sender)
    assert sender.send("a", "child")
    assert tape.payloads() == ["parent", "child"]
    before, after = tape.taken[:taken], tape.taken[taken : taken + 2]  # a beacon follows when the test is slow
    assert header(before[0]).random64 != header(after[0]).random64
    assert [header(datagram).sequence for datagram in after] == [0, 1]
    assert kinds(after) == [Kind.BEACON, Kind.DATA]
    assert sender.stats() == SenderStats(1, {}, 0, 1, {})


@pytest.mark.parametrize("how", ["send", "flush", "linger"])
def test_what_may_be_the_parents_is_not_sent_past_the_hook(how: str, tape: Tape, make: Make, busy: Busy) -> None:
    """It is dropped and counted: the parent sends it (R8)."""
    sender = make(linger=0.01 if how == "linger" else 60)
    busy(sender)
    for number in range(10):
        sender.send("a", number)
    past_the_hook(sender)
    if how == "send":
        sender.send("a", b"x" * 1340)
        sender.flush()
        assert tape.payloads() == [None]
        assert sender.send("a", "certainly the child's")
        sender.flush()
        assert tape.payloads() == [None, "certainly the child's"]
        assert sender.stats() == SenderStats(12, {"forked": 11}, 0, 1, {})
    else:
        if how == "flush":
            sender.flush()
        until(lambda: sender.stats().dropped)
        assert tape.payloads() == [None]
        assert sender.stats() == SenderStats(10, {"forked": 10}, 0, 0, {})


def test_whoever_interrupts_the_begin_of_a_life_begins_it(
    tape: Tape, make: Make, busy: Busy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler that sends then finds that this is a child: nothing of the parent's leaves, nothing goes uncounted (R8)."""
    sender = make(linger=60)
    busy(sender)
    sender.send("a", "parent")
    sender._core.background.rest()
    past_the_hook(sender)
    hostname = socket.gethostname()

    def interrupted() -> str:
        monkeypatch.setattr(socket, "gethostname", lambda: hostname)
        sender.send("a", "cannot be told from the parent's")
        sender.flush()
        sender.send("a", "handler")
        return hostname

    monkeypatch.setattr(socket, "gethostname", interrupted)
    notice_fork()
    sender.send("a", "child")
    sender.flush()
    assert tape.payloads() == [None, "handler", "child"]
    assert sender.stats() == SenderStats(4, {"forked": 2}, 0, 2, {})


def test_closing_past_the_hook_leaves_the_parents_session_alone(tape: Tape, make: Make, busy: Busy) -> None:
    """No goodbye under its numbers, and nothing of its buffer."""
    sender = make(linger=60)
    busy(sender)
    sender.send("a", 1)
    taken = list(tape.taken)
    past_the_hook(sender)
    sender.close()
    assert tape.taken == taken
    assert sender.send("a", 2) is False
