"""Senders that are forked, in every way Python has: what the parent had in its buffer must not be sent by the child (R8).

Run as `python -m tests.system.fork_process WAY URL`. Says for each life its session and the ids it numbered, in their order, then `end`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Self

import msgspec

from atmost.endpoint.sender import Sender
from tests.cfork import c_fork

CHILDREN: Final = 8
MESSAGES: Final = 200
"""What each child sends."""
_THREADS: Final = 3
_MOST: Final = 30_000
"""Messages a thread sends at most."""
_DATAGRAM: Final = 8192
_NEVER: Final = 60.0
"""A linger that does not end by itself, seconds."""


class Life:
    """What one process sends with its sender."""

    def __init__(self, sender: Sender, label: str) -> None:
        """Args: sender: inherited or made here. label: of its ids, unlike any other life's."""
        self.sender = sender
        self.label = label
        self.ids: list[str] = []

    def send(self, count: int) -> None:
        """Sends so many more."""
        for _ in range(count):
            each = f"{self.label}-{len(self.ids)}"
            assert self.sender.send("s", each)
            self.ids.append(each)

    def fill(self) -> None:
        """Sends until the open datagram has no room for another message of this size."""
        core = self.sender._core
        while core.size + len(msgspec.msgpack.encode(("s", f"{self.label}-{len(self.ids)}"))) <= core.room:
            self.send(1)
        assert len(core.open) > MESSAGES

    def facts(self) -> dict[str, Any]:
        """Its session and what it numbered."""
        session = self.sender._core.session
        assert session is not None
        stats = self.sender.stats()
        return {"session": f"{session[1]:016x}", "accepted": len(self.ids), "ids": self.ids, "dropped": stats.dropped}

    def end(self) -> None:
        """Says goodbye and tells."""
        self.sender.close()
        tell(self.facts())


def tell(facts: dict[str, Any]) -> None:
    """Says one line at once, without a buffer that a fork could copy."""
    text = json.dumps(facts).encode() + b"\n"
    while text:
        text = text[os.write(1, text) :]


def buffer(url: str) -> None:
    """Forks while the open datagram is full, and a child forks again while its own is."""
    life = Life(Sender(url, name="p", linger=_NEVER, max_datagram=_DATAGRAM), "p")
    life.fill()
    with Forked() as forked:
        if forked.child:
            young = Life(life.sender, "c")
            young.fill()
            with Forked() as again:
                if again.child:
                    youngest = Life(life.sender, "g")
                    youngest.send(MESSAGES)
                    youngest.end()
            young.send(MESSAGES)
            young.end()
    life.send(MESSAGES)
    life.end()


def threads(url: str) -> None:
    """Forks while other threads are sending: their locks and half-filled datagrams stay behind."""
    sender = Sender(url, name="p", linger=0.002, max_datagram=_DATAGRAM)
    stop = threading.Event()
    lives = [Life(sender, f"p{number}") for number in range(_THREADS)]

    def work(life: Life) -> None:
        while not stop.is_set() and len(life.ids) < _MOST:
            life.send(50)
            time.sleep(0.0005)

    workers = [threading.Thread(target=work, args=(life,)) for life in lives]
    for worker in workers:
        worker.start()
    for number in range(CHILDREN):
        with Forked() as forked:
            if forked.child:
                young = Life(sender, f"c{number}")
                young.send(MESSAGES)
                young.end()
    stop.set()
    for worker in workers:
        worker.join()
    together = Life(sender, "p")
    together.ids = [each for life in lives for each in life.ids]
    together.end()


_inherited: list[Sender] = []


def pool(url: str) -> None:
    """multiprocessing's fork, with its pool: workers send with the sender they inherited, and end without a goodbye."""
    life = Life(Sender(url, name="p", linger=_NEVER, max_datagram=_DATAGRAM), "p")
    life.fill()
    _inherited.append(life.sender)
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as workers:
        told: dict[str, list[str]] = {}
        for session, ids in workers.map(_task, range(CHILDREN), chunksize=1):
            told.setdefault(session, []).extend(ids)
        for session, ids in told.items():
            tell({"session": session, "accepted": len(ids), "ids": ids, "dropped": {}})
    life.send(MESSAGES)
    life.end()


def past_the_hook(url: str) -> None:
    """C code that forks without Python's knowing: what cannot be told from the parent's is dropped and counted."""
    life = Life(Sender(url, name="p", linger=_NEVER, max_datagram=_DATAGRAM), "p")
    life.send(MESSAGES)
    inherited = len(life.sender._core.open)
    assert inherited > MESSAGES // 2
    with Forked(c_fork) as forked:
        if forked.child:
            Life(life.sender, "d").send(MESSAGES)  # into the parent's datagram, which has room for them
            life.sender.flush()
            assert life.sender.stats().dropped == {"forked": inherited + MESSAGES}
            young = Life(life.sender, "c")
            young.send(MESSAGES)
            young.end()
    life.send(MESSAGES)
    life.end()


class Forked:
    """Forks: the body runs in both, the child ends with it, and the parent waits for the child."""

    def __init__(self, fork: Callable[[], int] = os.fork) -> None:
        """Args: fork: what forks."""
        self._pid = fork()
        self.child = self._pid == 0

    def __enter__(self) -> Self:
        """In both."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """The child's end, whatever it raised."""
        if self.child:
            if kind is not None:
                sys.excepthook(kind, error, None)  # type: ignore[arg-type]
            os._exit(0 if kind is None else 1)
        _, status = os.waitpid(self._pid, 0)
        assert status == 0, f"the child ended with {status}"


def _task(number: int) -> tuple[str, list[str]]:
    young = Life(_inherited[0], f"c{number}")
    young.send(25)
    young.sender.flush()
    facts = young.facts()
    return facts["session"], facts["ids"]


WAYS: Final = {"buffer": buffer, "threads": threads, "pool": pool, "past_the_hook": past_the_hook}

if __name__ == "__main__":
    WAYS[sys.argv[1]](sys.argv[2])
    tell({"end": True})
