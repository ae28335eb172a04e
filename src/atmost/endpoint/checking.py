"""Checks what callers give to senders and receivers: objects, handlers, keys, audiences, names; and a receiver's options as a type."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar

from atmost.core.names import legible
from atmost.core.seal import NO_KEY, SealFactory, no_keys
from atmost.errors import InvalidKey, OptionError
from atmost.transport.holder import this_program

if TYPE_CHECKING:  # loaded by those who use keys or files: a Sender without them begins sooner
    from pathlib import Path

    from atmost.core.keys import Key

# Senders, receivers and handlers are checked when they are given, because they are used later, often where an error goes unseen.
#
# They are judged by their methods, because tests and adapters give their own. Pure functions, safe from any thread.

T = TypeVar("T")


def check_sender(sender: T, *does: str) -> T:
    """Returns the sender that was given, once it is checked.

    Args:
        sender: what was given.
        does: the methods called on it besides `send` and `flush`.

    Raises:
        OptionError: it is not a sender, but an address, for example.
    """
    if isinstance(sender, type) or not all(callable(getattr(sender, name, None)) for name in ("send", "flush", *does)):
        raise OptionError(
            "sender", sender, "a Sender, such as atmost.Sender('udp://127.0.0.1:7140', name='checkout-1')"
        )
    return sender


def check_receiver(receiver: T, *, awaited: bool = False) -> T:
    """Returns the receiver that was given, once it is checked.

    Args:
        receiver: what was given.
        awaited: whether it is used in an event loop.

    Raises:
        OptionError: it is not a receiver, or is one of the other kind.
    """
    take: Any = getattr(receiver, "next_event", None)
    if isinstance(receiver, type) or not callable(take) or iscoroutinefunction(take) is not awaited:
        kind = "an AsyncReceiver, in an event loop" if awaited else "a Receiver, not an AsyncReceiver"
        raise OptionError("receiver", receiver, kind)
    return receiver


def check_handler(handler: T, *, awaited: bool = False) -> T:
    """Returns the handler that was given, once it is checked.

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


# Where keys come from: an argument, a file that only its owner can read, or `ATMOST_KEY`.

_MAX_SECRET: Final = 65_536
"""Characters of a file of keys or a token."""
KeyText = str | Iterable[str]
"""One key's text, or several."""


def find_keys(key: KeyText | None, key_file: str | os.PathLike[str] | None) -> list[Key]:
    """The keys to use; empty without any.

    Args:
        key: one key's text or several; takes precedence.
        key_file: a file with a key's text on each line; empty lines and lines that begin with # are skipped.

    Raises:
        InvalidKey: a text is not a key, `key` is empty, both arguments were given, or the file is missing, empty or readable by others.
        MissingExtra: a key is for encryption, and the package `cryptography` is not installed.
    """
    if key is not None and key_file is not None:
        raise InvalidKey("give key or key_file, not both")
    if key is not None:
        texts = list(key) if isinstance(key, Iterable) and not isinstance(key, (str, bytes)) else [key]
        if not texts:  # an empty list is a mistake: never run silently without keys
            raise InvalidKey("no key was given: to use no key give None, not an empty list")
    elif key_file is not None:
        from pathlib import Path

        texts = _read_keys(Path(key_file))
    else:
        texts = os.environ.get("ATMOST_KEY", "").split()
    if not texts:
        return []
    from atmost.core.keys import KeyMode, parse_key, require_encryption

    keys = [parse_key(text) for text in texts]
    if any(found.mode is KeyMode.ENCRYPTED for found in keys):
        require_encryption()
    return keys


def find_sealing(
    key: KeyText | None, key_file: str | os.PathLike[str] | None, audience: str
) -> tuple[int, SealFactory]:
    """What a sender seals with: the first key's number and seals, or number 0 and checksums without a key; see `find_keys`."""
    keys = find_keys(key, key_file)
    if not keys:
        return NO_KEY, no_keys(audience)[NO_KEY]
    from atmost.core.keys import sealing

    return sealing(keys, audience)


def check_audience(audience: object) -> None:
    """Checks that an audience can be part of a tag.

    Raises:
        OptionError: it is not a string, or cannot be encoded as UTF-8.
    """
    try:
        if not isinstance(audience, str):
            raise OptionError("audience", audience, "a string")
        audience.encode()
    except UnicodeEncodeError:
        raise OptionError("audience", audience, "a string without lone surrogates") from None


def read_file(path: Path, most: int) -> tuple[bytes, int]:
    """The content of a regular file and its mode; never waits, and never reads more than it may.

    Raises:
        ValueError: it cannot be read, is not a regular file, or is larger than `most` bytes.
    """
    try:
        # A FIFO would block until somebody writes to it, and a device may never end.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
        with open(descriptor, "rb") as file:  # noqa: PTH123  a descriptor has no path
            mode = os.fstat(descriptor).st_mode
            content = file.read(most + 1) if stat.S_ISREG(mode) else b""
    except (OSError, ValueError) as error:  # a path with a NUL
        reason = (error.strerror or error) if isinstance(error, OSError) else error
        raise ValueError(f"cannot be read: {reason}") from None
    if not stat.S_ISREG(mode):
        raise ValueError("cannot be read: it is not a regular file")
    if len(content) > most:
        raise ValueError(f"is larger than {most:,} bytes")
    return content, mode


def read_secret(path: Path) -> str:
    """The text of a file that only its owner can read; never waits, whatever kind of file the path names.

    Raises:
        ValueError: it cannot be read, is not a regular file, is too large for a secret, or others can read it.
    """
    content, mode = read_file(path, _MAX_SECRET)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError("cannot be read: not text (it is not UTF-8)") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(f"can be read by others: chmod 600 {path}")
    return text


def _read_keys(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in read_secret(path).splitlines()]
    except ValueError as error:  # a path with a NUL among them
        raise InvalidKey(f"the key file {path} {error}") from None
    texts = [line for line in lines if line and not line.startswith("#")]
    if not texts:
        raise InvalidKey(f"the key file {path} holds no key: write one with 'atmost keygen > {path}'")
    return texts


class ReceiverArguments(TypedDict, total=False):
    """The options of a receiver, as keyword arguments; `Receiver` documents each."""

    audience: str
    grace: float
    window: int
    max_sessions: int
    future_bound: float | None
    clock_guard: float | None
    max_age: float | None
    max_queue: int
    key: KeyText | None
    key_file: str | os.PathLike[str] | None
    shards: str | None


# Where a sender's name comes from: an argument, `ATMOST_NAME`, or the program.


def find_name(name: str | None) -> str:
    """The name that receivers show, every undecodable byte replaced by a question mark: a beacon carries only text.

    Args:
        name: takes precedence, even when it is empty.

    Raises:
        OptionError: it is not a string.
    """
    if not isinstance(name, str | None):
        raise OptionError("name", name, "a string")
    return legible(name if name is not None else os.environ.get("ATMOST_NAME") or this_program())
