"""Checks senders, receivers and handlers where they are given to what will use them later, often where nobody looks.

By what they can do, for tests and adapters give their own. Pure functions, safe from any thread.
"""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import Any, TypeVar

from atmost.errors import OptionError

T = TypeVar("T")


def check_sender(sender: T, *does: str) -> T:
    """Returns what messages are to be sent over.

    Args:
        sender: what was given.
        does: what is called of it besides `send` and `flush`.

    Raises:
        OptionError: it is no sender, as an address is none.
    """
    if isinstance(sender, type) or not all(callable(getattr(sender, name, None)) for name in ("send", "flush", *does)):
        raise OptionError("sender", sender, "a Sender, as atmost.Sender('udp://127.0.0.1:7140', name='checkout-1')")
    return sender


def check_receiver(receiver: T, *, awaited: bool = False) -> T:
    """Returns what events are to be taken from.

    Args:
        receiver: what was given.
        awaited: whether in an event loop.

    Raises:
        OptionError: it is no receiver, or one of the other kind.
    """
    take: Any = getattr(receiver, "next_event", None)
    if isinstance(receiver, type) or not callable(take) or iscoroutinefunction(take) is not awaited:
        kind = "an AsyncReceiver, in an event loop" if awaited else "a Receiver, not an AsyncReceiver"
        raise OptionError("receiver", receiver, kind)
    return receiver


def check_handler(handler: T, *, awaited: bool = False) -> T:
    """Returns what is to be called with messages.

    Args:
        handler: what was given.
        awaited: whether what it returns is awaited.

    Raises:
        OptionError: it cannot be called; or its coroutines would never run.
    """
    if not callable(handler):
        raise OptionError("handler", handler, f"a function of a message{', plain or async' if awaited else ''}")
    if not awaited and (iscoroutinefunction(handler) or iscoroutinefunction(type(handler).__call__)):
        raise OptionError("handler", handler, "a plain function; AsyncReceiver awaits one that is async")
    return handler
