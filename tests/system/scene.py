"""One run of real processes: starts them, and ends whatever it started."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Self

from tests.system.actors import Incarnation, Sending, Tap
from tests.system.checker import Verdict
from tests.system.processes import Child
from tests.system.record import Record

LOOPBACK: Final = "udp://127.0.0.1:0"


class Scene:
    """Who sends, who receives, and the record of what happened."""

    def __init__(self) -> None:
        """An empty stage."""
        self.record = Record()
        self._children: list[Child] = []
        self._incarnations = 0

    def __enter__(self) -> Self:
        """The scene itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kills what still runs."""
        for child in self._children:
            child.kill()
        self.record.close()

    def receiver(
        self,
        url: str = LOOPBACK,
        *,
        prefix: Sequence[str] = (),
        die_at: tuple[str, int] | None = None,
        receive_buffer: int = 0,
        handler_seconds: float = 0.0,
        **options: Any,
    ) -> Incarnation:
        """An incarnation that waits for `go`, so that the next one is warm before the last one dies.

        Args:
            url: where it receives.
            prefix: the way into a network namespace.
            die_at: the point (marked, before, inside or after the handler) and the message at which it kills itself.
            receive_buffer: bytes, instead of what the package asks for.
            handler_seconds: how long a message's handler takes.
            **options: of the `Receiver`.
        """
        self._incarnations += 1
        name = f"i{self._incarnations}"
        plan = {
            "url": url,
            "options": options,
            "die_at": die_at,
            "receive_buffer": receive_buffer,
            "handler_seconds": handler_seconds,
        }
        child = self.child("receiver_process", str(self.record.writing), name, json.dumps(plan), prefix=prefix)
        return Incarnation(self.record, name, child)

    def sender(
        self,
        url: str,
        label: str,
        *,
        prefix: Sequence[str] = (),
        count: int = 1_000_000,
        width: int = 8,
        burst: int = 16,
        pause: float = 0.001,
        goodbye: float = 0.1,
        log_attempts: bool = False,
        **options: Any,
    ) -> Sending:
        """A sender that begins at once.

        Args:
            url: where it sends to.
            label: one letter, the first of its ids.
            prefix: the way into a network namespace.
            count: messages at most.
            width: characters of an id, at least 8.
            burst: messages between two pauses.
            pause: seconds.
            goodbye: seconds over which it says goodbye.
            log_attempts: whether each id is logged before it is sent, so that a killed sender's ids are known.
            **options: of the `Sender`.
        """
        plan = {
            "url": url,
            "label": label,
            "count": count,
            "width": width,
            "burst": burst,
            "pause": pause,
            "goodbye": goodbye,
            "log_attempts": log_attempts,
            "options": options,
        }
        child = self.child("sender_process", str(self.record.writing), json.dumps(plan), prefix=prefix)
        child.tell("go")
        return Sending(self.record, child, plan)

    def tap(self, url: str, target: str) -> Tap:
        """The adversary, in front of a receiver.

        Args:
            url: where senders send to.
            target: where the receiver is, or will be.
        """
        return Tap(self.child("adversary_process", json.dumps([url, target])), target)

    def child(self, program: str, *arguments: str, prefix: Sequence[str] = ()) -> Child:
        """Starts a program of this folder, or a module by its full name."""
        module = program if "." in program else f"tests.system.{program}"
        child = Child(module, *arguments, prefix=prefix, descriptors=[self.record.writing])
        self._children.append(child)
        return child

    def verdict(self) -> Verdict:
        """What the checker says; a run that is not valid fails here."""
        verdict = self.record.verdict()
        assert verdict.valid, verdict
        return verdict
