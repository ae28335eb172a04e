"""Decides which sender a use gets: the caller's own, or one made from a URL, from options, or from `ATMOST_URL`.

Metrics, log handlers, heartbeats and invalidators are all given their sender in these ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atmost.endpoint.checking import check_sender
from atmost.endpoint.sender import Sender

GivenSender = Sender | str | Mapping[str, Any] | None
"""A sender; a URL; the arguments of a Sender by name, as a configuration has them; or None, which takes `ATMOST_URL`."""


def open_sender(given: GivenSender, *does: str) -> tuple[Sender, bool]:
    """Returns the sender to use, and whether it was made here and must be closed with its user.

    Args:
        given: see `GivenSender`.
        does: the methods called on it besides `send` and `flush`.

    Raises:
        OptionError: `given` is none of these.
        AddressError: the URL cannot be used.
    """
    if given is None or isinstance(given, str):
        return Sender(given), True
    if isinstance(given, Mapping):
        return Sender(
            **{name: given[name] for name in given}
        ), True  # one by one: a configuration converts what is read
    return check_sender(given, *does), False
