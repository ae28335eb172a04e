"""Closed forms for the figures of each arm, and how far chance may move a run of so many messages away from them.

With p the loss, q the loss of acknowledgements, D the share of datagrams that arrive twice, R and S the crashes before and
after processing. Each transmission's fate is independent of all others, so attempts are Bernoulli trials and sums over
attempts follow from Wald's identity, E[ΣX] = E[N] E[X] (A. Wald, 1944); what a restart costs at-most-once follows from
the renewal-reward theorem (S. M. Ross, *Introduction to Probability Models*, §7.4).

The interval is Bernstein's, with probability `DOUBT` outside: the normal one with a correction for rare events, so that
it holds for three occurrences in a million too. Figures that cannot vary have an interval of 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from atmost.core.limits import WINDOW
from atmost.lab.compare.measures import ArmReport
from atmost.lab.compare.options import CompareOptions

DOUBT: Final = 1e-6
"""Probability that a figure of a correct arm lies outside its interval."""
_EXPONENT: Final = math.log(2 / DOUBT)
_SHARES: Final = {"processed", "processed twice or more"}


@dataclass(frozen=True, slots=True)
class Check:
    """One figure of one arm, beside theory."""

    arm: str
    figure: str
    simulated: float
    theory: float
    margin: float
    """How far from theory the figure may lie."""

    @property
    def inside(self) -> bool:
        """Whether theory and simulation agree."""
        rounding = 1e-9 * max(1.0, abs(self.theory))  # in sums of a million floats
        return abs(self.simulated - self.theory) <= self.margin + rounding

    def as_dict(self) -> dict[str, Any]:
        """Its figures, as the commands print them with `--json`."""
        return asdict(self) | {"inside": self.inside}


@dataclass(frozen=True, slots=True)
class Theory:
    """A mean over messages."""

    mean: float
    variance: float
    """Variance of one message's contribution."""
    scale: float = 1.0
    """The largest contribution of one message, or, if it is unbounded, the scale of its tail."""

    def margin(self, messages: int) -> float:
        """Half the width of the interval around the mean of so many messages, by Bernstein's inequality."""
        if not self.variance:
            return 0.0
        rare = _EXPONENT * self.scale / 3
        return (rare + math.sqrt(rare * rare + 2 * _EXPONENT * messages * self.variance)) / messages


def checks(options: CompareOptions, reports: Sequence[ArmReport]) -> tuple[Check, ...]:
    """Checks every figure of every arm that has a closed form.

    Args:
        options: the faults.
        reports: of the three arms, in any order.
    """
    theories = {
        "at-most-once": at_most_once(options),
        "at-least-once": at_least_once(options),
        "exactly-once": exactly_once(options),
    }
    return tuple(check for report in reports for check in _beside(report, theories[report.arm]))


def at_most_once(options: CompareOptions) -> dict[str, Theory]:
    """Processed (1 − p)(1 − R) / (1 + c E[k]), never twice, in one datagram.

    c = (1 − p)(R + (1 − R) S) is the probability that a message causes a crash. k is the number of messages sent before
    the restarted receiver accepts new ones: those within F + G of the crash. Without crashes it is 1 − p.
    There is no closed form for it, or for the latency, if jitter lets messages overtake the one that causes the crash,
    or lets so many overtake a late one that the window has moved past it.
    """
    processed = (1 - options.loss) * (1 - options.crash_before)
    crash = (1 - options.loss) * (options.crash_before + (1 - options.crash_before) * options.crash_after)
    theories = {
        "processed twice or more": Theory(0.0, 0.0),
        "transmissions per message": Theory(1.0, 0.0),
        "caller's wait, mean (s)": Theory(0.0, 0.0),
    }
    # Numbers assigned while a datagram may be late: messages, up to two beacons after each, and one beacon a second.
    overtaking = options.jitter * (3 / options.interval + 1)
    if overtaking >= WINDOW or (crash and options.jitter > options.interval):
        return theories
    theories["latency, mean (s)"] = _first_arrival(options, options.duplicate)
    if not crash:
        return {"processed": Theory(processed, processed * (1 - processed))} | theories
    refused, refused_variance = _refused_after_crash(options)
    mean = processed / (1 + crash * refused)
    # A cycle is the messages up to the one that causes a crash, and the k refused after it.
    cycle = 1 / crash + refused
    before = (processed - (1 - options.loss) * (1 - options.crash_before) * options.crash_after) / (1 - crash)
    at_crash = (1 - options.crash_before) * options.crash_after / (crash / (1 - options.loss))
    free = (1 - crash) / crash  # messages of a cycle that cause no crash: geometric
    variance = (
        free * before * (1 - before)
        + (before - mean) ** 2 * free / crash
        + at_crash * (1 - at_crash)
        + mean * mean * refused_variance
    )
    return {"processed": Theory(mean, variance / cycle, 1 + refused)} | theories


def at_least_once(options: CompareOptions) -> dict[str, Theory]:
    """Everything is processed; transmissions 1 / g, processings (1 − p)(1 + D)(1 − R) / g.

    g is the probability that a transmission is acknowledged: (1 − p)(1 − q)(1 − R)(1 − S) without copies.
    """
    attempts = list(_attempts(options))
    acknowledged = sum(chance for chance, _, heard in attempts if heard)
    processed = sum(chance for chance, times, _ in attempts if times)
    # The first attempt that processes anything must do so once and be acknowledged, or there will be another.
    repeated = 1 - sum(chance for chance, times, heard in attempts if times == 1 and heard) / processed
    mean = sum(chance * times for chance, times, _ in attempts) / acknowledged
    theories = {
        "processed": Theory(1.0, 0.0),
        "processed twice or more": Theory(repeated, repeated * (1 - repeated)),
        "transmissions per message": Theory(1 / acknowledged, (1 - acknowledged) / acknowledged**2, 1 / acknowledged),
        "processings per message": Theory(mean, _variance_of_processings(attempts, acknowledged), 2 / acknowledged),
        "latency, mean (s)": _retried(options, processed, _first_processing(options)),
    }
    if not options.duplicate:
        theories["caller's wait, mean (s)"] = _retried(options, acknowledged, 2 * options.latency + options.jitter)
    return theories


def exactly_once(options: CompareOptions) -> dict[str, Theory]:
    """Everything is processed once; transmissions 1 / a + b / g, which without crashes is 1 / ((1 − p)(1 − q)).

    a is the probability that a transmission is processed, b that a processed one stays unacknowledged, and g that each
    further one is acknowledged: (1 − p)(1 − q) without copies, because a message found in the log causes no crash.
    """
    answered, heard, before = _answered(options), 1 - options.ack_loss, options.crash_before
    first = 1 - _unprocessed(options)
    at_once = (1 - options.loss) * (
        (1 - options.duplicate) * (1 - before) * answered
        + options.duplicate * ((1 - before) * (1 - (1 - answered) * (1 - heard)) + before * (1 - before) * answered)
    )
    again = _either(options, heard)
    late = 1 - at_once / first
    mean = 1 / first + late / again
    variance = (1 - first) / first**2 + late * (2 - again) / again**2 - (late / again) ** 2
    return {
        "processed": Theory(1.0, 0.0),
        "processed twice or more": Theory(0.0, 0.0),
        "transmissions per message": Theory(mean, variance, 1 / min(first, again)),
        "latency, mean (s)": _retried(options, first, _first_processing(options)),
        "persistent bytes per message": Theory(16.0, 0.0),
    }


def _attempts(options: CompareOptions) -> Iterator[tuple[float, int, bool]]:
    """Every outcome of one transmission without a log: its probability, times processed, whether it is acknowledged."""
    processed = 1 - options.crash_before
    copy = (
        (options.crash_before, 0, False),
        (processed * (1 - _answered(options)), 1, False),
        (processed * _answered(options), 1, True),
    )
    yield options.loss, 0, False
    for chance, times, heard in copy:
        yield (1 - options.loss) * (1 - options.duplicate) * chance, times, heard
        for other, more, also in copy:
            yield (1 - options.loss) * options.duplicate * chance * other, times + more, heard or also


def _variance_of_processings(attempts: Sequence[tuple[float, int, bool]], success: float) -> float:
    """Processings in a geometric number of failed attempts and the one that succeeds."""
    moments = []
    for outcome, share in ((False, 1 - success), (True, success)):
        chosen = [(chance / share, times) for chance, times, heard in attempts if heard is outcome and share]
        mean = sum(chance * times for chance, times in chosen)
        moments.append((mean, sum(chance * times * times for chance, times in chosen) - mean * mean))
    (failed, spread), (_, spread_of_last) = moments
    failures = (1 - success) / success
    return failures * spread + failed * failed * failures / success + spread_of_last


def _beside(report: ArmReport, theories: dict[str, Theory]) -> Iterator[Check]:
    processed = report.once + report.repeated
    figures: dict[str, tuple[float | None, int]] = {
        "processed": (processed / report.offered, report.offered),
        "processed twice or more": (report.repeated / report.offered, report.offered),
        "transmissions per message": (report.transmissions_per_message, report.offered),
        "processings per message": (report.processings / report.offered, report.offered),
        "latency, mean (s)": (report.latency.mean, processed),
        "caller's wait, mean (s)": (report.wait.mean, report.offered),
        "persistent bytes per message": (report.persistent_bytes / report.offered, report.offered),
    }
    for figure, theory in theories.items():
        simulated, count = figures[figure]
        if simulated is not None:
            margin = theory.margin(count)
            if figure in _SHARES:  # with few messages the bound may exceed the range of a share
                margin = min(margin, max(theory.mean, 1 - theory.mean))
            yield Check(report.arm, figure, simulated, theory.mean, margin)


def _answered(options: CompareOptions) -> float:
    """Probability that the sender receives the acknowledgement of a copy that was just processed."""
    return (1 - options.crash_after) * (1 - options.ack_loss)


def _either(options: CompareOptions, single: float) -> float:
    """Probability that some copy of a transmission succeeds, if each one does with probability `single`."""
    return (1 - options.loss) * ((1 - options.duplicate) * single + options.duplicate * (1 - (1 - single) ** 2))


def _unprocessed(options: CompareOptions) -> float:
    """Probability that no copy of a transmission is processed."""
    return 1 - _either(options, 1 - options.crash_before)


def _first_arrival(options: CompareOptions, doubled: float) -> Theory:
    """Travel time of the first copy (s): latency and half the jitter, or a third of it if the faster of two counts."""
    mean = options.latency + options.jitter * ((1 - doubled) / 2 + doubled / 3)
    return Theory(mean, options.jitter**2 / 12, options.jitter)


def _first_processing(options: CompareOptions) -> float:
    """Mean travel time of the first copy that is processed (s): the slower of two if the faster one caused a crash."""
    before, doubled = options.crash_before, options.duplicate
    weights = ((1 - doubled) * (1 - before), doubled * (1 - before), doubled * before * (1 - before))
    share = sum(weight * part for weight, part in zip(weights, (1 / 2, 1 / 3, 2 / 3), strict=True)) / sum(weights)
    return options.latency + options.jitter * share


def _retried(options: CompareOptions, success: float, travel: float) -> Theory:
    """Time until the first attempt that succeeds, plus `travel` (s); a wait counts if all attempts before it failed."""
    mean = square = waited = 0.0
    failed, attempt = 1.0, 0
    while failed * (waited + 1) ** 2 > 1e-18 and attempt < 100_000:
        mean += failed * success * waited
        square += failed * success * waited * waited
        waited += options.backoff(attempt)
        failed *= 1 - success
        attempt += 1
    # Each way adds the variance of its jitter.
    variance = square - mean * mean + options.jitter**2 / 6
    return Theory(travel + mean, variance, options.max_backoff / success if success < 1 else options.jitter)


def _refused_after_crash(options: CompareOptions) -> tuple[float, float]:
    """Mean and variance of the number of messages sent until F + G after the arrival that caused a crash."""
    guarded = options.future_bound + options.clock_guard

    def at_least(number: int) -> float:
        """Probability that the message sent so many intervals later is still refused."""
        # Rounded, because a message exactly at the bound is refused and the last bit of a float must not decide that.
        needed = round(number * options.interval - guarded - options.latency, 9)
        if needed <= 0:
            return 1.0
        if needed >= options.jitter:
            return 0.0
        left = 1 - needed / options.jitter
        return (1 - options.duplicate) * left + options.duplicate * left * left

    number = int(round((guarded + options.latency) / options.interval, 9))
    mean, square = float(number), float(number * number)
    while (chance := at_least(number + 1)) > 0:
        number += 1
        mean += chance
        square += (2 * number - 1) * chance
    return mean, square - mean * mean
