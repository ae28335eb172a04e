"""Reads the parameters of a request; one out of bounds is an error that says what is allowed.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final, NoReturn
from urllib.parse import parse_qsl

from atmost.collector.state.logtail import LogFilter
from atmost.collector.state.records import LEVELS, rank
from atmost.collector.state.series import COMBINED, FIGURES, LONGEST, Question, QuestionError
from atmost.core.limits import MAX_TIME

MAX_TEXT: Final = 256
MAX_PARAMETERS: Final = 32
MAX_LIMIT: Final = 5000
MAX_LABELS: Final = 16
MAX_CURSOR: Final = 2**53


class Parameters:
    """The query of a URL."""

    def __init__(self, query: str) -> None:
        """Takes it apart.

        Raises:
            QuestionError: it has too many parameters.
        """
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
        except ValueError:
            _refuse("too_many_parameters", f"at most {MAX_PARAMETERS} parameters")
        self.values: dict[str, list[str]] = {}
        for name, value in pairs:
            self.values.setdefault(name, []).append(value)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str) -> str:
        """The last value of a name, empty without one."""
        return self.values.get(name, [""])[-1]


def only(parameters: Parameters, known: Iterable[str]) -> None:
    """Refuses unknown parameters.

    Raises:
        QuestionError: a parameter is unknown.
    """
    allowed = set(known)
    for name in parameters.values:
        if name not in allowed:
            _refuse(
                "unknown_parameter",
                f"{name[:60]!r} is not a parameter here; known are: {', '.join(sorted(known)) or 'none'}",
            )


def text(parameters: Parameters, name: str) -> str:
    """A text, empty without one."""
    value = parameters.get(name)
    if len(value) > MAX_TEXT:
        _refuse("too_long", f"{name} has {len(value)} characters, at most {MAX_TEXT}")
    return value


def required(parameters: Parameters, name: str) -> str:
    """A text that must be given."""
    value = text(parameters, name)
    if not value:
        _refuse(f"bad_{name}", f"{name}= is missing")
    return value


def whole(parameters: Parameters, name: str, default: int | None, least: int, most: int) -> int | None:
    """A whole number."""
    value = parameters.get(name)
    if not value:
        return default
    if not value.isascii() or not value.isdecimal() or len(value) > 20 or not least <= int(value) <= most:
        _refuse(f"bad_{name}", f"{name}={value[:60]}: expected a whole number from {least} to {most}")
    return int(value)


def limit(parameters: Parameters, default: int) -> int:
    """The most entries to return."""
    return whole(parameters, "limit", default, 1, MAX_LIMIT) or default


def seconds(parameters: Parameters, name: str, default: float | None, least: float, most: float) -> float | None:
    """A number of seconds."""
    value = parameters.get(name)
    if not value:
        return default
    try:
        number = float(value) if len(value) <= 40 and value.isascii() else math.nan
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        _refuse(f"bad_{name}", f"{name}={value[:60]}: expected seconds from {least:g} to {most:g}")
    return number


def question(parameters: Parameters, now: float) -> Question:
    """The query over a series."""
    only(parameters, ("name", "sender", "label", "range", "end", "step", "as", "combine"))
    name = text(parameters, "name")
    if not name:
        _refuse("bad_name", "name= is missing: the name of a series, as /api/v1/series lists them")
    figure = parameters.get("as") or "value"
    if figure not in FIGURES:
        _refuse("bad_as", f"as={figure[:60]}: expected one of {', '.join(FIGURES)}")
    combine = parameters.get("combine")
    if combine and combine not in COMBINED:
        _refuse("bad_combine", f"combine={combine[:60]}: expected one of {', '.join(COMBINED)}")
    return Question(
        name,
        seconds(parameters, "range", 300.0, 1.0, LONGEST) or 300.0,
        seconds(parameters, "end", None, max(1.0, now - LONGEST), now + 60),
        seconds(parameters, "step", None, 1.0, LONGEST),
        figure,
        text(parameters, "sender") if "sender" in parameters else None,
        _pairs(parameters, "label"),
        combine,
    )


def log_filter(parameters: Parameters) -> LogFilter:
    """The filter for entries of the log tail."""
    level = text(parameters, "level")
    least = rank(level) if level else None
    if level and least is None:
        _refuse("bad_level", f"level={level[:60]}: expected one of {', '.join(LEVELS)}")
    return LogFilter(
        least=least,
        sender=text(parameters, "sender") or None,
        text=text(parameters, "text").casefold() or None,
        logger=text(parameters, "logger") or None,
        fields=_pairs(parameters, "field"),
        since=seconds(parameters, "since", None, 0.0, MAX_TIME),
        until=seconds(parameters, "until", None, 0.0, MAX_TIME),
    )


def cursors(parameters: Parameters) -> tuple[int | None, int | None]:
    """The cursors `after` and `before`."""
    after = whole(parameters, "after", None, 0, MAX_CURSOR)
    before = whole(parameters, "before", None, 0, MAX_CURSOR)
    return after, before


def _pairs(parameters: Parameters, parameter: str) -> Mapping[str, str]:
    """Names with values from a repeated parameter, such as `label=NAME=VALUE`."""
    given = parameters.values.get(parameter, [])
    if len(given) > MAX_LABELS:
        _refuse(f"bad_{parameter}", f"{len(given)} of {parameter}=, at most {MAX_LABELS}")
    pairs = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name or len(each) > MAX_TEXT:
            _refuse(f"bad_{parameter}", f"{parameter}={each[:60]}: expected {parameter}=NAME=VALUE")
        pairs[name] = value
    return pairs


def _refuse(code: str, message: str) -> NoReturn:
    raise QuestionError(code, message)
