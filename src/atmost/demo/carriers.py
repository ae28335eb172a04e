"""What carries the demo's datagrams: a link that loses, or a NATS cluster that loses a node.

Each gives the addresses to receive at and to send to, writes a real log to follow, and may report its own count at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from atmost.demo.cluster import SIZE, log_of
from atmost.demo.processes import Child, ChildError

_ENDING: Final = 15.0
"""The longest wait for a child to end, seconds."""
_STARTING: Final = 30.0
_AGENTS, _COLLECTORS = 0, (1, 2)
"""Servers."""


class Carrier(Protocol):
    """The carrier between the agent and the collector."""

    bind: str
    """The URL at which the collector receives."""
    log: Path
    """A log file that the carrier writes while it works."""

    def begin(self, collector: str) -> str:
        """Starts the parts that need the collector's address; returns the URL to send to.

        Raises:
            ChildError: it did not start.
        """
        ...

    def failed(self) -> bool:
        """Whether it ended too early."""
        ...

    def trouble(self) -> str | None:
        """Causes its fault halfway through the run and describes it; None when it has none."""
        ...

    def end(self, wait: Callable[[float, Callable[[], bool]], None]) -> dict[str, Any]:
        """Ends the carrier and returns its count, if it keeps one.

        Args:
            wait: receives until the monotonic time, or until the condition holds.
        """
        ...

    def kill(self) -> None:
        """Ends every process that is left."""
        ...


class LinkCarrier:
    """A process that forwards datagrams over UDP, and loses, doubles and delays some."""

    bind = "udp://127.0.0.1:0"

    def __init__(self, folder: Path, faults: dict[str, float], seed: int | None) -> None:
        """Args: folder: for its journal. faults: shares by name. seed: of the faults; None for any."""
        self.log = folder / "link.log"
        self._arguments = [text for name, share in faults.items() for text in (f"--{name}", str(share))]
        self._arguments += ["--journal", str(self.log)] + ([] if seed is None else ["--seed", str(seed)])
        self._child: Child | None = None

    def begin(self, collector: str) -> str:
        """Starts the link in front of the collector."""
        self._child = Child("link", "atmost.lab.process", ["--target", collector, *self._arguments])
        url: str = self._child.line()["url"]
        return url

    def failed(self) -> bool:
        """Whether the link has ended."""
        return self._child is not None and self._child.has_line()

    def trouble(self) -> str | None:
        """None: a link causes its faults all the time."""
        return None

    def end(self, wait: Callable[[float, Callable[[], bool]], None]) -> dict[str, Any]:
        """Returns the link's account, once it has sent what it held."""
        assert self._child is not None
        self._child.ask_to_end()
        wait(time.monotonic() + _ENDING, self._child.has_line)
        return self._child.line()

    def kill(self) -> None:
        """Ends the process."""
        if self._child is not None:
            self._child.kill()


class ClusterCarrier:
    """Three NATS servers on this machine; halfway, the one that the agent is connected to is killed."""

    def __init__(self, folder: Path) -> None:
        """Starts them.

        Raises:
            ChildError: no NATS server is installed, or the servers did not come up.
        """
        self.log = log_of(folder, _COLLECTORS[0])
        self._killed: str | None = None
        self._child = Child("cluster", "atmost.demo.cluster", [str(folder)])
        try:
            began = self._child.line(_STARTING)
        except BaseException:
            self._child.kill()
            raise
        if problem := began.get("problem"):
            self._child.kill()
            raise ChildError(problem)
        self._ports: list[int] = began["ports"]
        self.bind = self._url(*_COLLECTORS)

    def begin(self, collector: str) -> str:  # noqa: ARG002  both ends meet at the cluster
        """Returns the same channel, with another server first."""
        return self._url(_AGENTS)

    def failed(self) -> bool:
        """Whether the servers have ended."""
        return self._child.has_line()

    def trouble(self) -> str | None:
        """Kills the agent's server, once."""
        if self._killed is not None:
            return None
        self._child.tell(str(_AGENTS))
        self._killed = self._child.line()["killed"]
        return f"killed {self._killed}, the NATS server that the agent was connected to; it has two more to go to"

    def end(self, wait: Callable[[float, Callable[[], bool]], None]) -> dict[str, Any]:  # noqa: ARG002
        """Returns the servers' state; they do not count our messages."""
        return {"servers": SIZE, "killed": self._killed}

    def kill(self) -> None:
        """Ends the servers."""
        self._child.end_input()
        self._child.kill()

    def _url(self, *numbers: int) -> str:
        """The channel's URL with some of the servers, which announce the others."""
        servers = [f"127.0.0.1:{self._ports[number]}" for number in numbers]
        return f"nats://{','.join(servers)}/demo?shards=4"
