"""Where keys come from: an argument, a file that only its owner can read, or `ATMOST_KEY`."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from atmost.core.keys import Key, KeyMode, parse_key, require_encryption
from atmost.errors import InvalidKey, OptionError

KeyText = str | Iterable[str]
"""One key's text, or several."""


def find_keys(key: KeyText | None, key_file: str | os.PathLike[str] | None) -> list[Key]:
    """The keys to use; empty without any.

    Args:
        key: one key's text or several; takes precedence.
        key_file: a file with a key's text on each line; empty lines and lines that begin with # are skipped.

    Raises:
        InvalidKey: a text is no key, there is none in `key`, both arguments were given, or the file is missing, empty or readable by others.
        MissingExtra: a key is for encryption, and the package `cryptography` is not installed.
    """
    if key is not None and key_file is not None:
        raise InvalidKey("give key or key_file, not both")
    if key is not None:
        texts = list(key) if isinstance(key, Iterable) and not isinstance(key, (str, bytes)) else [key]
        if not texts:  # whoever meant to have keys must not go without
            raise InvalidKey("no key was given: None, and not an empty list, is for no key")
    elif key_file is not None:
        texts = _read(Path(key_file))
    else:
        texts = os.environ.get("ATMOST_KEY", "").split()
    keys = [parse_key(text) for text in texts]
    if any(found.mode is KeyMode.ENCRYPTED for found in keys):
        require_encryption()
    return keys


def check_audience(audience: object) -> None:
    """Sees to it that tags can depend on it.

    Raises:
        OptionError: it is no text, or none that has bytes.
    """
    try:
        if not isinstance(audience, str):
            raise OptionError("audience", audience, "text")
        audience.encode()
    except UnicodeEncodeError:
        raise OptionError("audience", audience, "text without lone surrogates") from None


def _read(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = [line.strip() for line in file]
    except (OSError, ValueError) as error:  # a path with a NUL among them
        reason = error.strerror if isinstance(error, OSError) else f"not text ({error})"
        raise InvalidKey(f"the key file {path} cannot be read: {reason}") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidKey(f"the key file {path} can be read by others: chmod 600 {path}")
    texts = [line for line in lines if line and not line.startswith("#")]
    if not texts:
        raise InvalidKey(f"the key file {path} holds no key: write one with 'atmost keygen > {path}'")
    return texts
