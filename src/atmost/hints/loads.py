"""`Load`: one load of one key that many callers want (single flight), and who waits for whom.

A load waits for the loads that its own code begins or waits for. These edges are kept, over all caches of the process.
Before a caller waits, it follows them from the load it wants: when they lead back to a load in the middle of which the caller
is, waiting would never end, and the caller gets an error instead. Its own load fails with that error, so that whoever waits
for it goes on too.
A context variable says which loads a caller is in the middle of, so a task that a load starts counts as a part of it.

Safe from any thread; one lock guards all edges, and is taken only by callers that wait inside a load.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from atmost.errors import HintLoadCycle
from atmost.lifecycle import Floor, register

if TYPE_CHECKING:
    from atmost.hints.core import PendingFill

_mine: ContextVar[tuple[Load, ...]] = ContextVar("atmost_hint_loads", default=())
"""The loads in the middle of which this thread or task is, the innermost last."""


class Load:
    """A load that goes on: one caller leads it, the others wait for it."""

    __slots__ = ("_error", "_value", "done", "fill", "key", "landed", "waits_for")

    def __init__(self, key: str, done: Any) -> None:
        """Args: key: what is loaded. done: the event the others wait for."""
        self.key = key
        self.done = done
        self.fill: PendingFill | None = None
        """Its fill; None before the load itself has begun."""
        self.landed = False
        """Whether there is a value or an error; a load that was only interrupted has neither, and the others try again."""
        self.waits_for: list[Load] = []
        self._value: Any = None
        self._error: Exception | None = None

    def land(self, value: Any) -> None:
        """Takes the value."""
        self._value = value
        self.landed = True

    def result(self) -> Any:
        """Returns the value to a caller who waited; raises an exception of the caller's own when the load failed."""
        if self._error is not None:
            raise _twin_of(self._error) from self._error
        return self._value

    def is_own(self) -> bool:
        """Whether the caller is in the middle of this very load."""
        mine = _mine.get()
        return bool(mine) and mine[-1] is self

    @contextmanager
    def led(self, flights: dict[object, Load], place: object, lock: threading.RLock) -> Iterator[None]:
        """The caller leads this load; at the end it is removed from its place in `flights`, under their lock."""
        mine = _mine.get()
        token = _mine.set((*mine, self))
        if mine:
            mine[-1].waits_for.append(self)
        try:
            yield
        except Exception as error:
            self._error = error
            self.landed = True
            raise
        finally:
            _mine.reset(token)
            if mine:
                mine[-1].waits_for.remove(self)
            with lock:
                if flights.get(place) is self:  # a newer load may have the place already
                    del flights[place]
            self.done.set()

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """The caller waits for this load.

        Raises:
            HintLoadCycle: this load waits for one in the middle of which the caller is.
        """
        mine = tuple(
            load for load in _mine.get() if not load.done.is_set()
        )  # a task may outlive the load that started it
        if not mine:
            yield
            return
        with _edges.lock:
            path = self.path_to(mine, set())
            if path is not None:
                raise HintLoadCycle((mine[-1].key, *path))
            mine[-1].waits_for.append(self)
        try:
            yield
        finally:
            mine[-1].waits_for.remove(self)

    def path_to(self, mine: tuple[Load, ...], seen: set[Load]) -> tuple[str, ...] | None:
        """Returns the keys on the way from this load to one of those, or None when there is no way."""
        if self in mine:
            return (self.key,)
        seen.add(self)
        for other in tuple(self.waits_for):
            if other not in seen and (path := other.path_to(mine, seen)) is not None:
                return (self.key, *path)
        return None


def _twin_of(error: Exception) -> Exception:
    """Returns an exception like this one, so that threads do not write their tracebacks into each other's."""
    try:
        twin = copy.copy(error)
    except Exception:  # noqa: BLE001  its class has a constructor of its own
        twin = error
    if twin is error or type(twin) is not type(error) or twin.args != error.args:
        twin = type(error).__new__(type(error), *error.args)
        twin.args = error.args
        twin.__dict__.update(error.__dict__)
    return twin.with_traceback(None)


class _Edges:
    """Guards `waits_for` of all loads."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        register(self, Floor.USE)

    def renew(self, *, seen: bool) -> None:  # noqa: ARG002
        """A forked child's first step: a lock that nobody holds."""
        self.lock = threading.RLock()


_edges = _Edges()
