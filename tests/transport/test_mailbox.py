"""Datagrams wait bounded between the link's thread and the receiver's, and nobody waits in vain."""

import contextlib
import itertools
import select
import threading

from atmost.transport.mailbox import Mailbox
from tests.interrupting import At, Interruption


def test_first_in_first_out_and_what_finds_no_room_is_counted():
    """In number and in bytes."""
    box = Mailbox(max_datagrams=3, max_bytes=10)
    for datagram in (b"a", b"bb", b"ccc", b"d"):
        box.put(datagram)
    assert box.dropped == 1
    assert [box.take() for _ in range(4)] == [b"a", b"bb", b"ccc", None]
    box.put(b"x" * 12)
    box.put(b"y")
    assert box.dropped == 2
    assert box.take() == b"x" * 12
    box.put(b"z")
    assert box.take() == b"z"
    box.close()


def test_an_interruption_takes_no_room_for_ever():
    """Wherever it comes in putting and taking: once everything was taken, as much fits as at first."""

    def interrupt():
        raise Interruption

    for number in itertools.count(1):
        box = Mailbox(max_datagrams=5, max_bytes=10)
        at = At(number, interrupt, places="lines", within="take")
        with contextlib.suppress(Interruption), at:
            box.put(b"x" * 9)
            box.take()
        while box.take() is not None:
            pass
        for _ in range(3):
            box.put(b"x" * 4)
        assert (box.dropped, at.where) == (0, at.where)
        assert [box.take() for _ in range(4)] == [b"x" * 4] * 3 + [None]
        box.close()
        if not at.reached:
            break
    assert number > 1


def test_a_wait_ends_when_something_comes_or_somebody_wakes():
    """From another thread, and also when it came before the wait."""
    box = Mailbox()
    box.put(b"a")
    box.wait(None)
    assert box.take() == b"a"
    assert box.take() is None
    for end in (lambda: box.put(b"b"), box.wake, box.close):
        thread = threading.Thread(target=box.wait, args=(None,))
        thread.start()
        end()
        thread.join(10)
        assert not thread.is_alive()
        while box.take():
            pass


def test_an_event_loop_sees_what_waits():
    """What came before it watched, what comes later, and nothing any more once all is taken."""
    box = Mailbox()
    box.put(b"a")
    fd = box.fileno()
    assert select.select([fd], [], [], 0)[0]
    while box.take():
        pass
    assert not select.select([fd], [], [], 0)[0]
    box.put(b"b")
    assert select.select([fd], [], [], 0)[0]
    box.close()
    assert box.fileno() == -1
