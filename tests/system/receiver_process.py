"""A receiver as a process of its own: it writes each message's id to a pipe before user code runs, and dies where it is told to.

It is started warm and does nothing until `go`, so that incarnations can follow each other faster than Python starts.
The pipe holds one line for each of `bound`, `ready` and `handled`, with the incarnation's name;
lines are shorter than PIPE_BUF, so that each write is whole or not at all, whatever kills the process.
On standard input: `ledger` says the account so far, `close` ends in order and says the last one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from atmost.core.events import Event, Message
from atmost.core.receiving import ReceiverCore
from atmost.endpoint import intake
from atmost.endpoint.receiver import Receiver
from atmost.errors import AddressInUse
from atmost.transport import sockets
from tests.system.processes import commands, say


def main() -> int:
    """Runs one incarnation."""
    log, incarnation, plan = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])

    def note(what: str, about: str) -> None:
        os.write(log, f"{what} {incarnation} {about}\n".encode())

    say(warm=os.getpid())
    command = commands()
    if command() != "go":
        return 0
    _prepare(plan, note)
    die = _Death(plan["die_at"])
    try:
        receiver = Receiver(plan["url"], **plan["options"])
    except AddressInUse as error:
        say(in_use=str(error), holder=error.holder)
        return 3
    note("ready", receiver.url)
    threading.Thread(target=_obey, args=(command, receiver), daemon=True).start()
    for message in receiver:
        die.at("before")
        note("handled", message.payload)
        die.at("inside")
        if plan["handler_seconds"]:
            time.sleep(plan["handler_seconds"])
        die.at("after")
    say(ledger=asdict(receiver.ledger()), url=receiver.url)
    return 0


class _Death:
    """Kills this process at a named point of its n-th message, as a crash would: nothing runs afterwards."""

    def __init__(self, when: tuple[str, int] | None) -> None:
        self._point, self._count = when or ("", 0)
        if self._point == "marked":
            receive = ReceiverCore.receive
            vars(intake)["native"] = (
                None  # the readable loop asks for each datagram, the compiled one calls nothing in between
            )

            def receive_and_die(core: ReceiverCore, datagram: bytes, now: float, wall_us: int) -> Sequence[Event]:
                # The core has marked the datagram, and nobody has its messages yet (R11.8, R11.9).
                events = receive(core, datagram, now, wall_us)
                for event in events:
                    if isinstance(event, Message):
                        self.at("marked")
                return events

            ReceiverCore.receive = receive_and_die  # type: ignore[assignment,method-assign]

    def at(self, point: str) -> None:
        """One of the points of the life of a message."""
        if point == self._point:
            self._count -= 1
            if self._count <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()  # the signal comes before anything else can


def _prepare(plan: dict[str, Any], note: Callable[[str, str], None]) -> None:
    """Puts in the buffer size that is asked for, and a note at the moment the address is bound."""
    if plan["receive_buffer"]:
        vars(sockets)["RECEIVE_BUFFER"] = plan["receive_buffer"]
    open_inlet = vars(intake)["open_inlet"]

    def noted(url: str, shards: Any) -> Any:
        inlet = open_inlet(url, shards)
        note("bound", inlet.url)
        return inlet

    vars(intake)["open_inlet"] = noted


def _obey(command: Callable[[], str], receiver: Receiver) -> None:
    while (asked := command()) == "ledger":
        say(ledger=asdict(receiver.ledger()), url=receiver.url)
    assert asked in {"close", "end"}, asked
    receiver.close()


if __name__ == "__main__":
    sys.exit(main())
