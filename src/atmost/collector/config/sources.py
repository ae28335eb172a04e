"""Reads options from a TOML file, the environment and the command line, each overriding the one before.

In the environment an option is ATMOST_COLLECT_ and its name in capitals; lists are separated by commas.
ATMOST_BIND, ATMOST_KEY are read by the receivers themselves, where nothing else says.
"""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, Final

from atmost.collector.config.options import CollectorOptions
from atmost.errors import ConfigError

PREFIX: Final = "ATMOST_COLLECT_"
_FIELDS: Final[dict[str, Field[Any]]] = {each.name: each for each in fields(CollectorOptions)}
_LEAST_TOKEN: Final = 16


def load_options(
    file: str | None = None,
    environment: Mapping[str, str] | None = None,
    settings: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> CollectorOptions:
    """The options as all sources together say.

    Args:
        file: a TOML file; None reads none.
        environment: of the process.
        settings: `NAME=VALUE`, as `--set` has them.
        flags: by name; None and empty tuples say nothing.

    Raises:
        ConfigError: an unknown name, with the nearest one; a value of the wrong kind; a file that cannot be read.
    """
    values: dict[str, Any] = {}
    if file is not None:
        values |= _from_file(Path(file))
    values |= _from_environment(environment or {})
    values |= _from_settings(settings)
    values |= {name: value for name, value in (flags or {}).items() if value is not None and value != ()}
    return CollectorOptions(**values)


def read_token(options: CollectorOptions) -> str:
    """The token, from the option or its file; empty without any.

    Raises:
        ConfigError: the file cannot be read or can be read by others, or the token is too short.
    """
    token = options.token
    if options.token_file:
        path = Path(options.token_file)
        try:
            with path.open(encoding="utf-8") as opened:
                mode = os.fstat(opened.fileno()).st_mode
                token = opened.read(4096).strip()
        except (OSError, ValueError) as error:  # a path with a NUL among them
            reason = error.strerror if isinstance(error, OSError) else f"not text ({error})"
            raise ConfigError("token_file", f"{path} cannot be read: {reason}") from None
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError("token_file", f"{path} can be read by others: chmod 600 {path}")
        if not token:
            raise ConfigError("token_file", f"{path} holds no token: openssl rand -hex 16 > {path}")
    if token and (len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
        raise ConfigError(
            "token", f"expected {_LEAST_TOKEN} or more printable ASCII characters, as of: openssl rand -hex 16"
        )
    return token


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the name that was meant, or nothing."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f": did you mean {close[0]}?" if close else "; 'atmost collect --print-config' shows every option"


def _from_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as opened:
            document = tomllib.load(opened)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or nested as deeply, among them
        raise ConfigError(str(path), f"is not TOML: {error}") from None
    found = {}
    for name, value in document.items():
        if name not in _FIELDS:
            raise ConfigError(f"{path}: {name}", f"no such option{nearest(name, _FIELDS)}")
        found[name] = _as_option(_FIELDS[name], value)
    return found


def _as_option(each: Field[Any], value: Any) -> Any:
    """A value of TOML as the option has it: one text for a list of one, and false for off."""
    if isinstance(each.default, tuple):
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
    return "off" if isinstance(each.default, str) and value is False else value


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for key, text in environment.items():
        if key.startswith(PREFIX):
            name = key.removeprefix(PREFIX).lower()
            if name not in _FIELDS:
                raise ConfigError(key, f"no such option{nearest(key, [PREFIX + each.upper() for each in _FIELDS])}")
            found[name] = _parse(_FIELDS[name], text, key)
    return found


def _from_settings(settings: Iterable[str]) -> dict[str, Any]:
    found = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError("--set", f"{setting!r}: expected NAME=VALUE")
        if name not in _FIELDS:
            raise ConfigError(f"--set {name}", f"no such option{nearest(name, _FIELDS)}")
        found[name] = _parse(_FIELDS[name], text, f"--set {name}")
    return found


def _parse(each: Field[Any], text: str, source: str) -> Any:
    default = each.default
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(default, str):
        return text
    try:
        return int(text) if isinstance(default, int) else float(text)
    except ValueError:
        wanted = "a whole number" if isinstance(default, int) else "a number"
        raise ConfigError(source, f"{text!r}: expected {wanted}") from None
