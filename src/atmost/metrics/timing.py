"""Measures how long something takes: a context manager and a decorator, for functions and coroutine functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

_F = TypeVar("_F", bound=Callable[..., Any])
_IS_COROUTINE: Final = 0x80  # inspect.CO_COROUTINE, without importing inspect


class Timer:
    """Seconds from entering to leaving, whatever is raised in between; may be nested, not shared by threads as one `with`."""

    __slots__ = ("_clock", "_observe", "_started")

    def __init__(self, observe: Callable[[float], None], clock: Callable[[], float]) -> None:
        """Args: observe: told the seconds. clock: seconds that never step back."""
        self._observe = observe
        self._clock = clock
        self._started: list[float] = []

    def __enter__(self) -> Self:
        """Starts."""
        self._started.append(self._clock())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Observes."""
        self._observe(self._clock() - self._started.pop())

    def __call__(self, function: _F) -> _F:
        """The function, timed at each call; safe from any thread."""
        observe, clock = self._observe, self._clock
        code = getattr(function, "__code__", None)

        if code is not None and code.co_flags & _IS_COROUTINE:

            @functools.wraps(function)
            async def timed_coroutine(*args: Any, **kwargs: Any) -> Any:
                started = clock()
                try:
                    return await function(*args, **kwargs)
                finally:
                    observe(clock() - started)

            return cast("_F", timed_coroutine)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = clock()
            try:
                return function(*args, **kwargs)
            finally:
                observe(clock() - started)

        return cast("_F", timed)
