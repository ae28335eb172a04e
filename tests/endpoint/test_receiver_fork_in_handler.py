"""A handler that forks and returns in the child: the child processes nothing more (H2)."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from atmost import Message, Receiver, Sender
from atmost.transport.url import open_inlet

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")

COUNT = 20


def test_h2_the_child_of_a_handler_processes_nothing_more() -> None:
    """H2: the messages of the datagram in hand are processed by the parent alone."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    parent = os.getpid()
    children: list[int] = []
    with Receiver("udp://127.0.0.1:0") as receiver, Sender(receiver.url, name="forking") as sender:
        sender.send("warm.up")
        for number in range(COUNT):
            sender.send("n", number)
        sender.flush()

        def handle(message: Message) -> None:
            theirs.send(f"{os.getpid()}:{message.payload}".encode())
            if message.payload == COUNT // 2:
                children.append(os.fork())
            if message.payload == COUNT - 1:
                receiver.close()

        try:
            receiver.run(handle)
        finally:
            if os.getpid() != parent:
                os._exit(0)
    assert os.waitpid(children[0], 0)[1] == 0
    ours.setblocking(False)
    started = [ours.recv(100).decode() for _ in range(COUNT + 1)]
    assert started == [f"{parent}:None", *(f"{parent}:{number}" for number in range(COUNT))]
    with pytest.raises(BlockingIOError):
        ours.recv(100)
    ours.close()
    theirs.close()


def test_h2_a_fork_in_a_signal_handler_leaves_the_path_to_the_parent(tmp_path: Path) -> None:
    """H2: the child, which comes back into the middle of the wait, neither fails nor removes the parent's socket."""
    path = tmp_path / "a.sock"
    inlet = open_inlet(f"unix://{path}")
    parent = os.getpid()
    children: list[int] = []

    def fork(_number: int, _frame: object) -> None:
        children.append(os.fork())
        if not children[0]:
            inlet.abandon()

    before = signal.signal(signal.SIGALRM, fork)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    status = 1
    try:
        inlet.wait(1.0)
        status = 0
    finally:
        if os.getpid() != parent:
            os._exit(status)
        signal.signal(signal.SIGALRM, before)
    assert os.waitpid(children[0], 0)[1] == 0
    assert path.is_socket()
    inlet.close()
    assert not path.exists()
