"""Reads timestamps: strictly as RFC 5424 has them, and as older and newer programs write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

_ISO: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_ZONES: Final = "[ECMP][SD]T|AK[SD]T|HST|WES?T|CES?T|EES?T|BST|MSK|IST|JST|KST|A[CEW][SD]T|NZ[SD]T"
"""Names of zones that are found behind a timestamp. They are not unique, so they say where the host stands and not when it is."""
_TRADITIONAL: Final = re.compile(
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) ([ 0-3]?[0-9])(?: ([0-9]{4}))? "
    r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(?: (UTC|GMT|"
    + _ZONES
    + r")(?=[ :]|\Z))?(?: ((?:19[7-9]|20[0-9])[0-9])(?=[ :]|\Z))?"
)
_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"
_DAY: Final = 86_400.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def strict_time(text: str) -> float | None:
    """Unix seconds of a timestamp of RFC 5424, section 6.2.3, or None: a zone, and at most six digits of a second."""
    found = _ISO.fullmatch(text)
    if found is None or found[8] is None or len(found[7] or "") > 6:
        return None
    return _iso(found, UTC)


def iso_time(text: str, zone: tzinfo) -> tuple[float, int, bool] | None:
    """Unix seconds of the timestamp a text begins with, where it ends, and whether it names its zone; or None."""
    found = _ISO.match(text)
    seconds = None if found is None else _iso(found, zone)
    return None if found is None or seconds is None else (seconds, found.end(), found[8] is not None)


def traditional_time(text: str, now: float, zone: tzinfo) -> tuple[float, int, bool, bool] | None:
    """Unix seconds of the timestamp of RFC 3164 a text begins with, where it ends, whether it names its year and UTC; or None.

    Its year and its zone may stand behind it, as in RFC 3164's own examples of what is found (5.4).

    A date without a year is the last such day up to a day ahead of `now`, for a clock that is ahead or in another zone: a
    message was written before it arrived, so it is never taken for one of the weeks to come.
    """
    found = _TRADITIONAL.match(text)
    if found is None:
        return None
    month = _MONTHS.index(found[1]) // 3 + 1
    fields = (month, int(found[2]), int(found[4]), int(found[5]), int(found[6]))
    fraction = _fraction(found[7])
    zoned = found[8] in ("UTC", "GMT")
    if zoned:
        zone = UTC
    if (dated := found[3] or found[9]) is not None:
        seconds = _seconds(int(dated), fields, fraction, zone)
        return None if seconds is None else (seconds, found.end(), True, zoned)
    year = (_EPOCH + timedelta(seconds=min(max(now, 0.0), 250e9))).year
    for reach in (1, 8):  # within nine years there is a 29th of February, even around 2100, which has none
        possible = [
            seconds
            for other in range(year - reach, year + reach + 1)
            if (seconds := _seconds(other, fields, fraction, zone)) is not None
        ]
        past = [seconds for seconds in possible if seconds <= now + _DAY]
        if past:
            return max(past), found.end(), False, zoned
    return None


def _iso(found: re.Match[str], zone: tzinfo) -> float | None:
    year, month, day, hour, minute, second = (int(found[index]) for index in range(1, 7))
    seconds = _seconds(year, (month, day, hour, minute, second), _fraction(found[7]), UTC if found[8] else zone)
    if seconds is None or found[8] in (None, "Z"):
        return seconds
    hours, minutes = int(found[8][1:3]), int(found[8][4:])
    if hours > 23 or minutes > 59:
        return None
    offset = hours * 3600 + minutes * 60
    return seconds + (offset if found[8][0] == "-" else -offset)


def _fraction(digits: str | None) -> float:
    return float(f"0.{digits}") if digits else 0.0


def _seconds(year: int, fields: tuple[int, int, int, int, int], fraction: float, zone: tzinfo) -> float | None:
    month, day, hour, minute, second = fields
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=zone)
        return (moment - _EPOCH).total_seconds() + fraction
    except (ValueError, OverflowError):
        return None
