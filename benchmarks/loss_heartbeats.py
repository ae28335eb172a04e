"""What loss does to heartbeats: false alarms per sender-day and the time to detect a death, beside two other rules.

    python -m benchmarks.loss_heartbeats [--days 10000] [--loss 1 5 20] [--burst 1] [--seed 1] [--processes 2] [--json]

One beat a second; every sender-day begins with a new sender whose loss is not known yet. The simulation draws runs of
received beats and runs of lost ones, because the rules see nothing else. Both lengths are geometric: with `--burst 1`
from independent losses, else from E. N. Gilbert's channel (Capacity of a burst-noise channel, 1960), in which runs of lost
beats have a mean length of `--burst`.

* atmost: the thresholds of `HeartbeatMonitor` from its own loss meter, fed as the monitor feeds it.
* three misses: down when the third beat in a row is missed, half an interval after it was due.
* phi-accrual (Hayashibara et al., 2004) as in Akka: threshold 8, least standard deviation 100 ms, window 1000, logistic
  approximation of the normal distribution, acceptable pause 0 s and 3 s (its default); first estimate 1 s ± 0.25 s.

A death comes at a random moment after a day, possibly after lost beats; only beats count as signs of life here.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter, deque
from collections.abc import Callable
from multiprocessing import Pool
from random import Random

from atmost.heartbeats import LossMeter, patience
from benchmarks.common import arguments

DAY = 86_400
"""Beats."""
CHUNK = 50
"""Sender-days that a process simulates at once."""
PHI, LEAST_DEVIATION, WINDOW = 8.0, 0.1, 1000
PAUSES = {"phi-accrual, pause 0 s": 0.0, "phi-accrual, pause 3 s": 3.0}
RULES = ("atmost", "three misses", *PAUSES)
Job = tuple[float, float, int, int]
"""Loss, mean length of a run of lost beats, seed, sender-days."""


def deviations(phi: float) -> float:
    """Standard deviations above the mean at which a silence reaches this phi, by Akka's approximation."""
    low, high = 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        exponent = middle * (1.5976 + 0.070566 * middle * middle)
        value = exponent / math.log(10) + math.log10(1 + math.exp(-exponent))
        low, high = (middle, high) if value < phi else (low, middle)
    return low


class Phi:
    """Akka's history of the last intervals, kept as the runs of losses among them."""

    def __init__(self) -> None:
        self.arrivals = 0
        self.sum = self.squares = 0
        self.gaps: deque[tuple[int, int]] = deque()

    def add(self, lost: int, received: int) -> None:
        """Adds a run of lost beats and the received ones after it."""
        if lost:
            self.gaps.append((self.arrivals, lost))
            self.sum += lost
            self.squares += lost * lost
        self.arrivals += received
        oldest = self.arrivals - WINDOW
        while self.gaps and self.gaps[0][0] <= oldest:
            _, gone = self.gaps.popleft()
            self.sum -= gone
            self.squares -= gone * gone

    def usual(self) -> tuple[float, float]:
        """Mean (s) and variance (s²) of the intervals."""
        young = self.arrivals < WINDOW - 2
        count = self.arrivals + 2 if young else WINDOW
        mean = self.sum / count
        variance = (self.squares + (0.125 if young else 0.0)) / count
        return 1 + mean, max(LEAST_DEVIATION * LEAST_DEVIATION, variance - mean * mean)

    def silence(self) -> float:
        """The silence at which phi is 8 without a pause (s)."""
        mean, variance = self.usual()
        return mean + DEVIATIONS * math.sqrt(variance)


DEVIATIONS = deviations(PHI)
SQUARE = DEVIATIONS * DEVIATIONS


def mean_burst(loss: float, burst: float) -> float:
    """The mean length of a run of lost beats: never below that of independent losses."""
    return max(burst, 1 / (1 - loss))


def one_day(loss: float, burst: float, chance: Random, alarms: Counter[str]) -> tuple[LossMeter, Phi]:
    """Simulates a sender's first day; counts the false alarms of each rule."""
    meter, phi, uniform, log = LossMeter(), Phi(), chance.random, math.log
    length = mean_burst(loss, burst)
    log_loss, log_rest = log(1 - 1 / length), log(1 - loss / (length * (1 - loss)))
    beats = before = 0
    while beats < DAY:
        received = 1 + int(log(1 - uniform()) / log_rest)
        lost = 1 + int(log(1 - uniform()) / log_loss)
        meter.record(received, before, before)
        phi.add(before, received)
        if beats + received >= DAY:
            break
        beats += received + lost
        silence = lost + 1  # the next beat comes so many seconds after the last
        mean, variance = phi.usual()
        for rule, pause in PAUSES.items():
            excess = silence - mean - pause
            if excess > 0 and excess * excess > SQUARE * variance:
                alarms[rule] += 1
        if lost >= 3:
            bounds = patience(1.0, meter.figure(), meter.burst, continuation=meter.continuation())
            alarms["three misses"] += 1
            alarms["atmost"] += silence > bounds.down
            alarms["withheld"] += bounds.lossy < silence <= bounds.down
        before = lost if lost <= 20 else 0
    return meter, phi


def detections(loss: float, burst: float, chance: Random, meter: LossMeter, phi: Phi) -> dict[str, float]:
    """Time from a sender's death until each rule reports it as down (s); `unknown`: until it is reported as unknown."""
    silent = chance.random()
    if chance.random() < loss:  # it died in a run of lost beats
        silent += 1 + int(math.log(1 - chance.random()) / math.log(1 - 1 / mean_burst(loss, burst)))
    bounds, usual = patience(1.0, meter.figure(), meter.burst, continuation=meter.continuation()), phi.silence()
    found = {"atmost": bounds.down, "unknown": bounds.lossy, "three misses": 3.5}
    found |= {rule: usual + pause for rule, pause in PAUSES.items()}
    return {rule: max(0.0, seconds - silent) for rule, seconds in found.items()}


def some_days(job: Job) -> tuple[float, Counter[str], dict[str, list[float]]]:
    """Simulates some sender-days at one loss rate."""
    loss, burst, seed, days = job
    chance, alarms = Random(seed), Counter[str]()
    times: dict[str, list[float]] = {}
    for _ in range(days):
        meter, phi = one_day(loss, burst, chance, alarms)
        for rule, seconds in detections(loss, burst, chance, meter, phi).items():
            times.setdefault(rule, []).append(seconds)
    return loss, alarms, times


def simulate(
    losses: list[float], burst: float, days: int, seed: int, processes: int, notice: Callable[[int, int], object]
) -> Rows:
    """Simulates all loss rates; returns a row for each rule."""
    jobs: list[Job] = [
        (loss, burst, seed * 1_000_003 + int(loss * 1e6) * 10_007 + chunk, min(CHUNK, days - chunk * CHUNK))
        for loss in losses
        for chunk in range(-(-days // CHUNK))
    ]
    alarms: dict[float, Counter[str]] = {loss: Counter() for loss in losses}
    times: dict[float, dict[str, list[float]]] = {loss: {} for loss in losses}
    with Pool(processes) as pool:
        for done, (loss, counted, measured) in enumerate(pool.imap_unordered(some_days, jobs), start=1):
            alarms[loss].update(counted)
            for rule, seconds in measured.items():
                times[loss].setdefault(rule, []).extend(seconds)
            notice(done, len(jobs))
    return [row(loss, rule, days, alarms[loss], times[loss]) for loss in losses for rule in RULES]


Rows = list[dict[str, float | str]]


def row(
    loss: float, rule: str, days: int, alarms: Counter[str], times: dict[str, list[float]]
) -> dict[str, float | str]:
    """The figures of one rule at one loss rate."""
    seconds = sorted(times[rule])
    result: dict[str, float | str] = {
        "loss_%": loss * 100,
        "rule": rule,
        "sender_days": days,
        "false_alarms": alarms[rule],
        "per_sender_day": alarms[rule] / days,
        "found_mean_s": sum(seconds) / len(seconds),
        "found_p99_s": seconds[int(0.99 * len(seconds))],
    }
    if rule == "atmost":
        result["unknown_per_sender_day"] = alarms["withheld"] / days
        result["doubted_mean_s"] = sum(times["unknown"]) / len(seconds)
    return result


def main() -> None:
    """Simulates, and prints a table or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--days", type=int, default=10_000, help="sender-days at each loss rate (%(default)s)")
    parser.add_argument("--loss", type=float, nargs="+", default=[1, 5, 20], help="percent (%(default)s)")
    parser.add_argument("--burst", type=float, default=1.0, help="mean length of a run of lost beats (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same figures (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="(%(default)s)")
    options = parser.parse_args()

    def notice(done: int, of: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done}/{of}", end="\n" if done == of else "", file=sys.stderr, flush=True)

    losses = [loss / 100 for loss in options.loss]
    rows = simulate(losses, options.burst, options.days, options.seed, options.processes, notice)
    if options.json:
        print(json.dumps(rows))
        return
    print(
        "| loss | rule | false alarms a sender-day | a death found after, mean | 99 % | `unknown` a sender-day | said after |"
    )
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for one in rows:
        more = (
            f"{one['unknown_per_sender_day']:.3g} | {one['doubted_mean_s']:.1f} s" if one["rule"] == "atmost" else "| "
        )
        print(
            f"| {one['loss_%']:g} % | {one['rule']} | {one['per_sender_day']:.3g} | "
            f"{one['found_mean_s']:.1f} s | {one['found_p99_s']:.1f} s | {more} |"
        )


if __name__ == "__main__":
    main()
