"""A sweep: the same comparison at several values of one option, every point with the same seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from atmost.errors import OptionError
from atmost.lab.compare.options import MAX_WORK, CompareOptions
from atmost.lab.compare.running import Comparison, Stop, Watch, compare

FIELDS: Final = ("loss", "ack_loss", "duplicate", "crash_before", "crash_after", "latency", "interval")
MAX_POINTS: Final = 101
_FORM: Final = "FIELD=FROM:TO:POINTS with 2 to 101 points, as in loss=0:0.5:11"


@dataclass(frozen=True, slots=True)
class Sweep:
    """Which option takes which values."""

    field: str
    values: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> Sweep:
        """Reads `loss=0:0.5:11`.

        Raises:
            OptionError: another form, an option that cannot be swept, or too many points.
        """
        name, equals, span = text.partition("=")
        field = name.strip().replace("-", "_")
        if not equals:
            raise OptionError("sweep", text, _FORM)
        if field not in FIELDS:
            raise OptionError("sweep", text, f"one of {', '.join(FIELDS)} before the '='")
        try:
            first, last, count = span.split(":")
            low, high, points = float(first), float(last), int(count)
        except ValueError:
            raise OptionError("sweep", text, _FORM) from None
        if not 2 <= points <= MAX_POINTS or not low < high:
            raise OptionError("sweep", text, f"{_FORM}, FROM below TO")
        # Rounded, so that a tenth of the way is 0.05 and not 0.05 and a bit.
        return cls(field, tuple(round(low + (high - low) * step / (points - 1), 12) for step in range(points)))

    def points(self, options: CompareOptions) -> list[CompareOptions]:
        """The options of each point.

        Raises:
            OptionError: a value the option cannot take.
        """
        changes: list[dict[str, Any]] = [{self.field: value} for value in self.values]
        return [replace(options, **change) for change in changes]


def expected_work(points: Sequence[CompareOptions]) -> float:
    """Expected transmissions of all arms, and one for each second of virtual time: beacons and graces go on in it."""
    return sum(point.messages * (point.transmissions * 3 + point.interval) for point in points)


def check_work(points: Sequence[CompareOptions]) -> None:
    """Refuses what would run for hours.

    Raises:
        OptionError: too many expected transmissions and seconds in all.
    """
    work = expected_work(points)
    if work > MAX_WORK:
        raise OptionError(
            "messages",
            points[0].messages,
            f"at most {MAX_WORK:,} transmissions and simulated seconds in all, not {work:,.0f}: "
            "fewer messages or points, or a shorter interval",
        )


def run_points(
    points: list[CompareOptions],
    watch: Watch = lambda _count: None,
    stop: Stop = lambda: False,
    run: Callable[[CompareOptions, Watch, Stop], Comparison] = compare,
) -> list[Comparison]:
    """Compares at every point in turn; when stopped, what was done until then.

    Args:
        points: at least one.
        watch: told of the progress over all points.
        stop: asked now and then.
        run: one comparison, simulated unless told otherwise.
    """
    done: list[Comparison] = []
    for point in points:
        if done and stop():
            break
        done.append(run(point, watch, stop))
    return done
