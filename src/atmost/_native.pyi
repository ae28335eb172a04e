# The compiled hot path, where it was built; `atmost.compiled` loads it.

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])

INTERFACE: int

def twin(name: str, function: _Function, /) -> _Function: ...
def bind_sending(objects: Mapping[str, Any], /) -> None: ...
def bind_receiving(objects: Mapping[str, Any], /) -> None: ...
def many_array_keys(body: bytes, count: int, /) -> bool | None: ...
def drain(
    core: Any,
    descriptor: int,
    queue: Any,
    ahead: Any,
    now: float,
    wall_us: int,
    total: int,
    goal: int,
    light: int,
    left: int,
    until: float,
    /,
) -> tuple[int, int, bool]: ...
def tag(data: bytes, seed: int, /) -> bytes: ...
def encode(subject: str, payload: Any, /) -> bytes | None: ...
