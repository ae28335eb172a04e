"""`hinted`: caches what a function returns in a `HintedCache`, like `functools.lru_cache`, for plain and async functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Final, Generic, NamedTuple, ParamSpec, TypeVar

from atmost.errors import HintError, OptionError
from atmost.hints.cache import HintedCache, Tags

P = ParamSpec("P")
R = TypeVar("R")
KeyMaker = Callable[..., str]
_PLAIN: Final = (str, int, bool, type(None))


class CacheInfo(NamedTuple):
    """As `functools.lru_cache` gives it; the entries are those of the whole cache."""

    hits: int
    misses: int
    maxsize: int | None
    currsize: int


class Hinted(Generic[P, R]):
    """A function whose results are cached."""

    def __init__(
        self, function: Callable[P, R], cache: HintedCache, key: KeyMaker, ttl: float | None, tags: Tags
    ) -> None:
        self._function, self._cache, self._key = function, cache, key
        self._ttl, self._tags = ttl, tags
        self._calls = 0
        self._runs = 0
        self._async = inspect.iscoroutinefunction(function)
        update_wrapper(self, function)
        if self._async:  # so that `inspect.iscoroutinefunction` says yes
            inspect.markcoroutinefunction(self) if hasattr(inspect, "markcoroutinefunction") else None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The cached result, or the function's own; of an async function something to await."""
        key = self._key(*args, **kwargs)
        if self._async:
            return self._await(key, args, kwargs)  # type: ignore[return-value]

        def run() -> R:
            self._count(0, 1)
            return self._function(*args, **kwargs)

        value: R = self._cache.get_or_load(key, run, ttl=self._ttl, tags=self._tags)
        self._count(1, 0)
        return value

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Binds a method to its instance, which is the key's first argument."""
        if instance is None:
            return self
        from types import MethodType

        return MethodType(self, instance)

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key of a call, for `Invalidator.invalidate`."""
        return self._key(*args, **kwargs)

    def discard(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forgets the result of a call here; nothing is sent."""
        self._cache.discard(self._key(*args, **kwargs))

    def cache_info(self) -> CacheInfo:
        """Returns how many calls were served without running the function, and how often it ran."""
        with self._cache.atomic():
            hits, misses = max(0, self._calls - self._runs), self._runs
        return CacheInfo(hits, misses, self._cache.limit, len(self._cache))

    async def _await(self, key: str, args: Any, kwargs: Any) -> Any:
        function: Any = self._function

        async def run() -> Any:
            self._count(0, 1)
            return await function(*args, **kwargs)

        value = await self._cache.get_or_load_async(key, run, ttl=self._ttl, tags=self._tags)
        self._count(1, 0)
        return value

    def _count(self, calls: int, runs: int) -> None:
        with self._cache.atomic():
            self._calls += calls
            self._runs += runs


def hinted(
    cache: HintedCache, key: str | KeyMaker | None = None, *, ttl: float | None = None, tags: Tags = ()
) -> Callable[[Callable[P, R]], Hinted[P, R]]:
    """Caches what a function returns.

    Args:
        cache: keeps the results.
        key: the key of a call: a string with the arguments' names in braces, such as "user:{user_id}", or a function of the arguments.
            None writes out module, name and arguments, which must be strings, whole numbers, bools or None.
        ttl: seconds, see `Fill.set`.
        tags: tags that invalidate the results too, or a function of a result that returns them.

    Raises:
        OptionError: the key is not one of these; or, at a call, an argument cannot be written out.
        HintError: at a call, a key is not text.

    Example:
        >>> @hinted(cache, key="user:{user_id}")
        ... def load_user(user_id: int) -> User: ...
        >>> hints.invalidate(load_user.key(42))
    """
    if not (key is None or isinstance(key, str) or callable(key)):
        raise OptionError("key", key, "a string such as 'user:{user_id}', a function of the arguments, or None")

    def decorate(function: Callable[P, R]) -> Hinted[P, R]:
        maker = key if callable(key) else _by_name(function, key) if key is not None else _written_out(function)
        return Hinted(function, cache, maker, ttl, tags)

    return decorate


def _by_name(function: Callable[..., Any], form: str) -> KeyMaker:
    signature = inspect.signature(function)
    try:
        form.format(**dict.fromkeys(signature.parameters, 0))
    except (KeyError, IndexError, ValueError) as error:
        names = ", ".join(signature.parameters)
        raise OptionError("key", form, f"braces around names of the arguments only ({names}): {error!r}") from None
    except (AttributeError, TypeError):  # "{user.id}": fine for a user
        pass
    arguments = _arguments(signature)

    def make(*args: Any, **kwargs: Any) -> str:
        return form.format(**arguments(args, kwargs))

    return make


def _written_out(function: Callable[..., Any]) -> KeyMaker:
    signature = inspect.signature(function)
    arguments = _arguments(signature)
    others = next((one.name for one in signature.parameters.values() if one.kind is one.VAR_KEYWORD), None)
    try:
        name = f"{function.__module__}.{function.__qualname__}"
    except AttributeError:
        raise OptionError(
            "key", None, f"a key, because {function!r} has no name to write out; a partial has none"
        ) from None

    def make(*args: Any, **kwargs: Any) -> str:
        given = arguments(args, kwargs)
        for argument, value in given.items():
            parts = value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else (value,)
            if not all(isinstance(part, _PLAIN) for part in parts):
                raise HintError("key", value, f"the argument {argument!r} cannot be written out: give @hinted a key")
        if others is not None:  # in whichever order they are given, it is the same call
            given[others] = dict(sorted(given[others].items()))
        return f"{name}{tuple(given.values())!r}"

    return make


def _arguments(signature: inspect.Signature) -> Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]:
    """Returns a function that gives the arguments of a call by name, defaults included; quick where all are given by position."""
    names = tuple(signature.parameters)
    simple = all(one.kind is one.POSITIONAL_OR_KEYWORD for one in signature.parameters.values())

    def arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if simple and not kwargs and len(args) == len(names):
            return dict(zip(names, args, strict=True))
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    return arguments
