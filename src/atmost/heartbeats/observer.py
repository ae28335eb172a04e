"""`Observer`: the monitor's doubts in itself, after Lifeguard (Dadgar, Phillips and Currey, *Lifeguard: local health
awareness for more accurate failure detection*, 2018).

Its own lateness each heartbeat finds by its deadline (`watched`); here are the drops of its own socket, and the silence of
many at once.
Pure; not thread-safe.
"""  # noqa: D205

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Final

from atmost.core.ledger import Ledger
from atmost.heartbeats.verdicts import HeartbeatState, Verdict, VerdictKind
from atmost.heartbeats.watched import Watched

_TOGETHER: Final = 2.0
"""Intervals within which senders fell silent together."""
_SILENT: Final = {HeartbeatState.LATE, HeartbeatState.SUSPECT, HeartbeatState.UNKNOWN}


class Observer:
    """What the observer knows of its own trouble."""

    __slots__ = ("_dropped_at", "_kernel_drops", "_overflow", "_signs", "_up")

    def __init__(self) -> None:
        self._dropped_at = -math.inf
        self._kernel_drops: int | None = None
        self._overflow: int | None = None
        self._signs: list[float] | None = None
        self._up = 0

    def dropped(self, now: float) -> None:
        """Datagrams that came were not seen."""
        self._dropped_at = now

    def observe(self, ledger: Ledger, now: float) -> None:
        """Looks for drops since the last time."""
        for before, drops in ((self._kernel_drops, ledger.kernel_drops), (self._overflow, ledger.overflow)):
            if before is not None and drops is not None and drops > before:
                self.dropped(now)
        self._kernel_drops, self._overflow = ledger.kernel_drops, ledger.overflow

    def begin(self) -> None:
        """A new moment: who is silent is counted again when somebody asks."""
        self._signs = None

    def doubt(self, watched: Watched, everybody: Iterable[Watched]) -> Verdict | None:
        """The reason to hold a grave verdict for one interval, each only once in a silence."""
        if self._dropped_at > watched.sign and VerdictKind.OBSERVER_DROPPED not in watched.doubted:
            return Verdict(VerdictKind.OBSERVER_DROPPED)
        if VerdictKind.TOGETHER in watched.doubted:
            return None
        if self._signs is None:
            known = [one for one in everybody if one.session is not None]
            self._signs = sorted(one.sign for one in known if one.state in _SILENT)
            self._up = sum(one.state is HeartbeatState.UP for one in known)
        near = _TOGETHER * watched.beat.interval
        together = bisect_right(self._signs, watched.sign + near) - bisect_left(self._signs, watched.sign - near)
        if together < 2 or 2 * together <= len(self._signs) + self._up:
            return None
        return Verdict(VerdictKind.TOGETHER, count=together)
