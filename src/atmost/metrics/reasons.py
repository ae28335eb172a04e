"""Why a registry refused something: reasons become metric labels."""

from __future__ import annotations

from enum import StrEnum


class DropReason(StrEnum):
    """What a registry did not take; cumulative in one life."""

    BAD_VALUE = "bad_value"
    """No finite number, or a counter's step below 0."""
    BAD_LABEL = "bad_label"
    """Label values that have no text, or too much of it."""
    SERIES_LIMIT = "series_limit"
    """One series more than `max_series`: the call got an instrument that is not sent."""
    CALLBACK = "callback"
    """A callback raised, or answered no finite number."""
    TOO_LARGE = "too_large"
    """A series that fits no datagram of this sender."""
    MUST_DELIVER = "must_deliver"
    """A snapshot whose subject was declared must-deliver after its `Metrics` were constructed."""
