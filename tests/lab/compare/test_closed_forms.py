"""Simulation against theory: inside over seeds and faults, outside when an arm is wrong.

The intervals fail a right arm once in a million figures; the seeds are fixed, so that never changes between runs.
"""

import pytest

from atmost.lab.compare import CompareOptions, compare
from atmost.lab.compare.at_least_once import AtLeastOnce
from atmost.lab.compare.at_most_once import AtMostOnce
from atmost.lab.compare.closed_forms import Theory, at_least_once, at_most_once, exactly_once
from atmost.lab.compare.exactly_once import ExactlyOnce

QUIET = {"loss": 0.0, "ack_loss": 0.0, "duplicate": 0.0, "crash_before": 0.0, "crash_after": 0.0}
POINTS = {
    "nothing": QUIET,
    "loss": QUIET | {"loss": 0.3},
    "ack loss": QUIET | {"ack_loss": 0.4},
    "both": QUIET | {"loss": 0.2, "ack_loss": 0.1},
    "copies": QUIET | {"duplicate": 0.5},
    "crashes, far apart": QUIET | {"crash_before": 0.1, "crash_after": 0.2, "interval": 2.0},
    "crashes, close": QUIET | {"crash_before": 0.002, "crash_after": 0.003, "interval": 0.05},
    "crashes, by jitter one more or less": QUIET
    | {"crash_after": 0.01, "duplicate": 0.3, "interval": 0.041, "latency": 0.02, "jitter": 0.01},
    "everything": {
        "loss": 0.3,
        "ack_loss": 0.4,
        "duplicate": 0.3,
        "crash_before": 0.2,
        "crash_after": 0.3,
        "interval": 0.1,
    },
    "no jitter": QUIET | {"loss": 0.1, "crash_after": 0.05, "jitter": 0.0, "interval": 0.02},
}
QUICK = QUIET | {"loss": 0.2, "ack_loss": 0.2, "duplicate": 0.1, "crash_before": 0.05, "crash_after": 0.05}


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
@pytest.mark.parametrize("point", POINTS)
def test_the_simulation_lies_where_theory_says(point, seed):
    """Every figure with a closed form, of all three arms."""
    comparison = compare(CompareOptions(**POINTS[point], messages=2500, seed=seed))
    assert [check for check in comparison.checks if not check.inside] == []
    assert {check.arm for check in comparison.checks} == {"at-most-once", "at-least-once", "exactly-once"}
    assert len(comparison.checks) >= 15


@pytest.mark.slow
def test_at_fifty_thousand_messages_too():
    """Where the intervals are narrow: about one percent."""
    comparison = compare(CompareOptions(**POINTS["both"], messages=50_000, seed=7))
    assert comparison.agrees
    margins = {(check.arm, check.figure): check.margin for check in comparison.checks}
    assert margins["at-most-once", "processed"] < 0.011
    assert margins["at-least-once", "transmissions per message"] < 0.018


def test_the_known_formulas():
    """What every textbook has: 1 − p, 1 / ((1 − p)(1 − q)), 1 / (1 − q) processings."""
    options = CompareOptions(**QUIET | {"loss": 0.2, "ack_loss": 0.1})
    assert at_most_once(options)["processed"].mean == pytest.approx(0.8)
    for theory in (at_least_once(options), exactly_once(options)):
        assert theory["transmissions per message"].mean == pytest.approx(1 / (0.8 * 0.9))
    assert at_least_once(options)["processings per message"].mean == pytest.approx(1 / 0.9)
    assert at_least_once(options)["processed twice or more"].mean == pytest.approx(0.1)


def test_the_formulas_with_crashes():
    """(1 − p)(1 − R) where nothing is sent during a restart; each crash costs a retry elsewhere."""
    options = CompareOptions(**QUIET | {"loss": 0.2, "crash_before": 0.1, "crash_after": 0.3, "interval": 2.0})
    assert at_most_once(options)["processed"].mean == pytest.approx(0.8 * 0.9)
    assert at_least_once(options)["transmissions per message"].mean == pytest.approx(1 / (0.8 * 0.9 * 0.7))
    assert at_least_once(options)["processings per message"].mean == pytest.approx(1 / 0.7)
    # Exactly-once: once processed, what is sent again meets the log and brings no crash.
    assert exactly_once(options)["transmissions per message"].mean == pytest.approx(1 / (0.8 * 0.9) + 0.3 / 0.8)


def test_a_restart_costs_what_is_sent_within_f_and_g():
    """At a message every 0.1 s, 11 messages: ten in F + G = 1 s, and one while the one that crashed was on its way."""
    options = CompareOptions(
        **QUIET | {"crash_after": 0.01, "interval": 0.1, "latency": 0.15, "jitter": 0.0, "retry_after": 1.0}
    )
    assert at_most_once(options)["processed"].mean == pytest.approx(1 / (1 + 0.01 * 11))


def test_where_messages_overtake_a_crash_there_is_no_closed_form():
    """An unknown figure is left out, not guessed."""
    options = CompareOptions(**QUIET | {"crash_before": 0.01, "interval": 0.005, "jitter": 0.01})
    assert "processed" not in at_most_once(options)
    assert "latency, mean (s)" not in at_most_once(options)
    assert "processed" in at_most_once(CompareOptions(**QUIET | {"interval": 0.005, "jitter": 0.01}))


@pytest.mark.parametrize(
    "odd",
    [
        {"jitter": 1.0, "interval": 1e-5},  # more numbers overtake than the window remembers
        {"jitter": 5.0, "interval": 0.001},
        {"jitter": 1.0, "interval": 0.01, "crash_after": 0.05},  # what is late when a restart comes is refused
        {"jitter": 0.01, "interval": 1e-5},
        {"jitter": 1.0, "interval": 0.02},
    ],
)
def test_a_right_arm_is_not_called_wrong_where_messages_overtake_each_other(odd):
    """However many do: what theory cannot say there it does not say."""
    comparison = compare(
        CompareOptions(**{"messages": 6000, "latency": 0.0, "retry_after": 12.0, "max_backoff": 20.0} | QUIET | odd)
    )
    assert [check for check in comparison.checks if not check.inside] == []


def test_an_interval_is_never_narrower_than_the_normal_one():
    """Nor without a margin where something can vary, however rare it is."""
    rare = Theory(1e-6, 1e-6)
    assert rare.margin(1_000_000) > 5 * 1e-6
    assert Theory(0.5, 0.25).margin(10_000) > 4.89 * (0.25 / 10_000) ** 0.5
    assert Theory(1.0, 0.0).margin(10) == 0.0


def broken(monkeypatch, kind, name, replacement):
    """The figures that are outside when an arm has a defect."""
    monkeypatch.setattr(kind, name, replacement)
    comparison = compare(CompareOptions(**QUICK, messages=4000, interval=2.0, seed=11))
    return {(check.arm, check.figure) for check in comparison.checks if not check.inside}


def test_a_log_that_forgets_is_found_out(monkeypatch):
    """Exactly-once without its log is at-least-once."""
    monkeypatch.setattr(ExactlyOnce, "_receive", AtLeastOnce._receive)
    comparison = compare(CompareOptions(**QUICK, messages=1000, seed=11))
    outside = {(check.arm, check.figure) for check in comparison.checks if not check.inside}
    assert ("exactly-once", "processed twice or more") in outside


def test_a_sender_that_forgets_is_found_out(monkeypatch):
    """At-least-once that sends once loses."""
    outside = broken(
        monkeypatch, AtLeastOnce, "_overdue", lambda self, message, _attempt: self._unacknowledged.discard(message)
    )
    assert ("at-least-once", "processed") in outside
    assert ("at-least-once", "transmissions per message") in outside


def test_a_receiver_that_acknowledges_what_it_has_not_processed_is_found_out(monkeypatch):
    """The crash before processing then loses the message."""

    def first_acknowledge(self, datagram, copy):
        self._acknowledge(int.from_bytes(datagram[:8], "big"), copy)
        original(self, datagram, copy)

    original = AtLeastOnce._receive
    outside = broken(monkeypatch, AtLeastOnce, "_receive", first_acknowledge)
    assert ("at-least-once", "processed") in outside


def test_a_receiver_that_crashes_unnoticed_is_found_out(monkeypatch):
    """At-most-once that processes what it crashes over processes too much."""

    def never_crashing(self, datagram, copy):
        original(self, datagram, type(copy)(copy.delay, "never", copy.ack_delay))

    original = AtMostOnce._receive
    assert ("at-most-once", "processed") in broken(monkeypatch, AtMostOnce, "_receive", never_crashing)
