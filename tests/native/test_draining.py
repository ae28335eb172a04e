"""Many datagrams by one system call: taken in their order within the bounds of a turn, and what is left over comes next (R9, R14)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from atmost import Message
from atmost.core.accounts import Ledger
from atmost.core.datagram import Kind
from atmost.endpoint import intake as module
from atmost.endpoint.intake import Intake, IntakeOptions
from atmost.transport.base import wall_clock
from tests.core.by_hand import with_tag
from tests.harness import Interrupted
from tests.real import forge, run, until

READ_AHEAD = 16
"""What one system call reads at most, datagrams: AHEAD of native/take.h."""
A_TURN = module._DATAGRAMS_A_TURN


class Session:
    """A sender's session, whose datagrams are made at once and sent later."""

    def __init__(self, random64: int = 1) -> None:
        self._random64, self._start_us = random64, wall_clock()
        self._sequence = self._prior = 0

    def next(self, messages: int = 1, size: int = 0) -> bytes:
        """Return the next datagram, whose messages carry their numbers; without any it is a beacon."""
        made = forge(
            [("a.b", [self._random64, self._prior + number, "x" * size]) for number in range(messages)],
            kind=Kind.DATA if messages else Kind.BEACON,
            sequence=self._sequence,
            prior=self._prior,
            start_us=self._start_us,
            random64=self._random64,
        )
        self._sequence += 1
        self._prior += messages
        return made


@contextmanager
def opened(url: str, **options: Any) -> Iterator[tuple[Intake, socket.socket]]:
    """Open an intake that is ready, and a plain socket that sends to it."""
    intake = Intake(IntakeOptions(clock_guard=0, grace=3600, **options), url)
    try:
        until(lambda: not intake.boot_wait())
        address = intake.inlet.url.partition("://")[2]
        host, _, port = address.rpartition(":")
        with socket.socket(socket.AF_INET if host else socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect((host, int(port)) if host else address)
            yield intake, sock
    finally:
        intake.close()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[tuple[Intake, socket.socket]]:
    """An intake at a Unix socket, where what was sent waits at once, with a session that it knows."""
    with opened(f"unix://{tmp_path}/s") as (intake, sock):
        yield intake, sock


def take(intake: Intake) -> list[Any]:
    """Take what is queued; return the messages."""
    taken = []
    while intake.next_batch():
        taken += [
            (event.subject, event.payload, event.arrival.sequence)
            for event in intake.current
            if isinstance(event, Message)
        ]
    return taken


def read_until(intake: Intake, came: int) -> None:
    """Take turns until so many datagrams have been decided on."""
    until(lambda: [intake.pump()] and intake.ledger().datagrams_in == came)


def numbers(messages: list[Any]) -> list[int]:
    """Return the numbers of a session's messages."""
    return [payload[1] for _, payload, _ in messages]


def send(sock: socket.socket, *datagrams: bytes) -> None:
    """Send them, one by one."""
    for datagram in datagrams:
        sock.send(datagram)


def storm(random: Random, many: int) -> list[bytes]:
    """Return datagrams of some sessions as a bad network brings them: beacons, lost, repeated, late, damaged, foreign, large ones."""
    sessions = [Session(number) for number in range(1, 4)]
    came: list[bytes] = []
    late: list[bytes] = []
    while len(came) < many:
        session = random.choice(sessions)
        one = session.next(random.choice([0, 1, 1, 1, 2, 5, 40]), random.choice([0, 0, 10, 200]))
        fate = random.choice(["arrives"] * 10 + ["lost", "twice", "late", "flipped", "mended", "cut", "foreign"])
        at = random.randrange(len(one))
        if fate == "late":
            late.append(one)
        elif fate in {"flipped", "mended"}:
            one = one[:at] + bytes([one[at] ^ random.randrange(1, 256)]) + one[at + 1 :]
            came.append(with_tag(one[:-16]) if fate == "mended" and len(one) > 16 else one)
        elif fate == "cut":
            came.append(one[:at])
        elif fate == "foreign":
            came.append(random.randbytes(random.randrange(0, 300)))
        elif fate != "lost":
            came += [one] * (2 if fate == "twice" else 1)
        if late and random.random() < 0.2:
            came.append(late.pop())
    return came


def account(ledger: Ledger) -> Any:
    """Return what two receivers of the same datagrams must agree on."""
    sessions = [(each.delivered, each.late, each.pending, each.overflow, each.queued) for each in ledger.sessions]
    return ledger.datagrams_in, dict(ledger.refused), ledger.delivered, ledger.late, ledger.overflow, sessions


@pytest.mark.parametrize("max_queue", [1, 10, 300, 20_000, 131_072])
@pytest.mark.parametrize("seed", range(4))
def test_the_readable_loop_finds_the_same(seed: int, max_queue: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same messages in the same order, and the same account, whatever comes; also where the queue overflows (R14)."""
    random = Random(seed)
    with (
        opened("udp://127.0.0.1:0", max_queue=max_queue) as (compiled, one),
        opened("udp://127.0.0.1:0", max_queue=max_queue) as (readable, two),
    ):
        readable._descriptor = None
        came = 0
        for _ in range(6):
            datagrams = storm(random, random.choice([3, 20, 120]))
            came += len(datagrams)
            send(one, *datagrams)
            send(two, *datagrams)
            for intake in (compiled, readable):
                read_until(intake, came)
            assert account(compiled.ledger()) == account(readable.ledger())
            assert take(compiled) == take(readable)
        ledger = compiled.ledger()
        assert account(ledger) == account(readable.ledger())
        assert ledger.balanced()
        assert ledger.refused.keys() >= {"duplicate", "malformed"}


def test_a_turn_takes_a_bounded_number() -> None:
    """What is left waits, and none of it is forgotten or turned round."""
    with opened("udp://127.0.0.1:0") as (intake, sock):
        session = Session()
        send(sock, *[session.next(number % 7) for number in range(5 * A_TURN)])
        came: list[int] = []

        def turn() -> bool:
            intake.pump()
            came.append(intake.ledger().datagrams_in)
            return came[-1] == 5 * A_TURN

        until(turn)
        assert max(later - before for before, later in zip([0, *came], came, strict=False)) <= A_TURN
        got = numbers(take(intake))
        assert got == list(range(len(got)))
        assert len(got) == intake.ledger().delivered == session._prior


def test_a_turn_that_takes_long_leaves_what_was_read_to_the_next(
    here: tuple[Intake, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for the socket meanwhile."""
    intake, sock = here
    session = Session()
    send(sock, session.next())
    intake.pump()
    monkeypatch.setattr(module, "_TURN", -1.0)  # over as soon as one was taken
    send(sock, *[session.next() for _ in range(4)])
    assert intake.pump()
    assert intake.ledger().datagrams_in == 2
    assert intake.next_wait(None) == intake.next_wait(5) == 0
    send(sock, session.next())
    until(lambda: not intake.pump())
    assert intake.next_wait(5) != 0
    assert numbers(take(intake)) == list(range(6))


def test_a_turn_that_has_enough_leaves_what_was_read_to_the_next(here: tuple[Intake, socket.socket]) -> None:
    """As many messages as were asked for, and then the rest in order."""
    intake, sock = here
    session = Session()
    send(sock, session.next())
    intake.pump()
    send(sock, *[session.next(3) for _ in range(4)])
    assert intake.pump(messages=1)
    assert intake.ledger().datagrams_in == 2
    assert intake.pump(messages=1)
    assert intake.ledger().datagrams_in == 3
    until(lambda: not intake.pump())
    assert numbers(take(intake)) == list(range(13))


def test_r9_an_exception_leaves_what_was_read_to_the_next_turn(here: tuple[Intake, socket.socket]) -> None:
    """A signal handler may raise between two datagrams that one system call has read."""
    intake, sock = here
    session = Session()
    send(sock, session.next())
    intake.pump()

    def interrupt(*_: object) -> None:
        intake._core.on_refused = None
        raise Interrupted

    intake.watch_refusals(interrupt)
    send(sock, session.next(), b"nobody's", session.next(), session.next())
    with pytest.raises(Interrupted):
        intake.pump()
    assert intake.next_wait(5) == 0
    send(sock, session.next())
    until(lambda: not intake.pump())
    assert numbers(take(intake)) == list(range(5))
    assert intake.ledger().balanced()


def test_what_was_read_and_not_taken_ends_with_the_receiver(here: tuple[Intake, socket.socket]) -> None:
    """As what waits in the kernel's buffer: it was never accepted."""
    intake, sock = here
    session = Session()
    send(sock, session.next())
    intake.pump()
    send(sock, *[session.next() for _ in range(4)])
    intake.pump(messages=1)
    intake.close()
    assert not intake.pump()
    ledger = intake.ledger()
    assert (ledger.datagrams_in, ledger.delivered, ledger.discarded) == (2, 0, 2)
    assert ledger.balanced()


FORKED = """
import gc, os, sys
from atmost import Receiver
from tests.cfork import c_fork
from tests.native.test_draining import READ_AHEAD, Session
import socket

receiver = Receiver("udp://127.0.0.1:0", clock_guard=0)
host, port = receiver.url.removeprefix("udp://").split(":")
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((host, int(port)))
session, child, got = Session(), None, []

class Litter:
    def __init__(self):
        self.myself = self
    def __del__(self):
        global child
        if child is None and armed and sys._getframe(1).f_code.co_name == "_read":
            child = os.fork() if sys.argv[1] == "python" else c_fork()
            if child:
                assert os.waitpid(child, 0)[1] == 0

armed, number = False, 0
gc.set_threshold(30, 2, 2)
while child is None and number < 10_000:
    for _ in range(4 * READ_AHEAD):
        sock.send(session.next(20))
        number += 1
    armed = number > 4 * READ_AHEAD
    litter = [Litter() for _ in range(20)]
    del litter
    while (message := receiver.receive(0)) is not None:
        if child == 0:
            os._exit(1)
        got.append(message.payload[1])
    if child == 0:
        os._exit(0)
while len(got) < session._prior and (message := receiver.receive(30)) is not None:
    got.append(message.payload[1])
assert child is not None, "no garbage was collected while a datagram was decoded"
assert got == list(range(session._prior))
sock.close()
receiver.close()
"""


@pytest.mark.parametrize("how", ["python", "c"])
def test_r8_a_child_that_a_finalizer_forks_takes_nothing(how: str) -> None:
    """It returns into the middle of a turn, at a socket that it shares with its parent (H2)."""
    run(FORKED, how)
