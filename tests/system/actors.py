"""The processes of a run as a test sees them: incarnations of the receiver, senders, and the adversary between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from tests.system.checker import Row
from tests.system.processes import Child, wait_until
from tests.system.record import Record


class Incarnation:
    """One life of the receiver."""

    def __init__(self, record: Record, name: str, child: Child) -> None:
        """Args: record: of the run. name: in the log. child: its process, warming up."""
        self._record = record
        self.name = name
        self.child = child

    def go(self) -> Self:
        """Lets it bind its address and start."""
        self.child.line()
        self.child.tell("go")
        return self

    def bound(self) -> str:
        """Waits until the address is bound, which is before its boot floor is known; the URL."""
        return self._noted("bound")

    def ready(self) -> str:
        """Waits until it is ready (R10); the URL."""
        return self._noted("ready")

    def handled(self) -> int:
        """Messages handled so far, as far as the log is read."""
        return len(self._record.noted("handled", self.name))

    def wait_handled(self, count: int) -> None:
        """Waits until so many messages have been handled."""
        wait_until(lambda: self.handled() >= count, f"{self.name} has handled {count} messages")

    def ledger(self) -> dict[str, Any]:
        """The account so far."""
        ledger: dict[str, Any] = self.child.ask("ledger")["ledger"]
        return ledger

    def wait_ledger(self, condition: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Waits until the account is as described; the account."""

        def asked() -> dict[str, Any] | None:
            ledger = self.ledger()
            return ledger if condition(ledger) else None

        found: dict[str, Any] = wait_until(asked, f"{self.name}: {what}")
        return found

    def wait_settled(self, *senders: Mapping[str, Any]) -> dict[str, Any]:
        """Waits until it knows of every message these closed sessions numbered, and what is missing is lost; the account.

        Args:
            senders: their last reports.
        """
        ends = {sender["session"]: sender["accepted"] for sender in senders}

        def settled(ledger: dict[str, Any]) -> bool:
            known = {row["id"]: row["sent"] for row in ledger["sessions"]}
            waits = ledger["pending"] or ledger["queued"]
            return not waits and all(known.get(session) == end for session, end in ends.items())

        return self.wait_ledger(settled, "everything sent is accounted for")

    def close(self) -> dict[str, Any]:
        """Ends it in order; the last account, which the checker will judge."""
        ledger: dict[str, Any] = self.child.ask("close")["ledger"]
        assert self.child.wait() == 0
        self._record.told[self.name] = {row["id"]: Row.told(row) for row in ledger["sessions"]}
        return ledger

    def kill(self) -> None:
        """SIGKILL; the address is free when this returns."""
        self.child.kill()

    def _noted(self, what: str) -> str:
        url: str = wait_until(lambda: self._record.noted(what, self.name), f"{self.name} is {what}")[0]
        return url


class Sending:
    """A sender's process."""

    def __init__(self, record: Record, child: Child, plan: Mapping[str, Any]) -> None:
        """Args: record: of the run. child: its process, which has begun. plan: as `Scene.sender` made it."""
        self._record = record
        self._plan = plan
        self.child = child
        child.line()

    def progress(self) -> dict[str, Any]:
        """How far it is: messages accepted, and its session once it has one."""
        return self.child.ask("progress")

    def wait_accepted(self, count: int) -> dict[str, Any]:
        """Waits until `send()` has accepted so many; its progress."""

        def asked() -> dict[str, Any] | None:
            progress = self.progress()
            return progress if progress["accepted"] >= count else None

        found: dict[str, Any] = wait_until(asked, f"{count} messages were accepted")
        return found

    def stop(self) -> dict[str, Any]:
        """Ends the sending and flushes; beacons go on. Its progress."""
        return self.child.ask("stop")

    def finish(self) -> dict[str, Any]:
        """Waits until it has sent all it was to send; its progress."""
        return self.wait_accepted(self._plan["count"])

    def close(self) -> dict[str, Any]:
        """Says goodbye; the truth about the session: `accepted`, `numbers` spent and `stats`."""
        report = self.child.ask("close")
        assert self.child.wait() == 0
        stats = report["stats"]
        known = stats["handed_over"] + sum(stats["refused"].values()) + stats["open"]
        assert report["accepted"] == known, "R20, the sender's side"
        dropped = set(report["dropped"])
        ids = (self.id(number) for number in range(report["accepted"] + len(dropped)))
        self._record.sent[report["session"]] = [each for each in ids if each not in dropped]
        return report

    def kill(self) -> None:
        """SIGKILL in the middle of whatever it is doing."""
        session = self.wait_accepted(1)["session"]
        self.child.kill()
        self._record.handled()
        self._record.sent[session] = self._record.noted("attempt", self._plan["label"])

    def id(self, number: int) -> str:
        """The payload of its message of that number."""
        return f"{self._plan['label']}{number:07}".ljust(self._plan["width"], ".")


class Tap:
    """The adversary's process: everything goes through it, and it keeps all of it."""

    def __init__(self, child: Child, target: str) -> None:
        """Args: child: its process. target: the receiver's URL."""
        self._child = child
        self._target = target
        self.url: str = child.line()["url"]
        """Where senders send to."""

    def replay(self, url: str | None = None) -> dict[str, Any]:
        """Sends everything it ever saw once more, from another source; how much, and what nobody was there to take.

        Args:
            url: where to; None takes the receiver.
        """
        return self._child.ask(f"replay {url or self._target}")
