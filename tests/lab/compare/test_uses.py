"""What a sequence of processings means to each use: by hand, and against plain counting."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.lab.compare import CompareOptions, compare
from atmost.lab.compare.measures import KEYS, GroundTruth, Tally, first_times

OPTIONS = CompareOptions(interval=1.0)


def effects(offered, *processings, readings=None, reads=None):
    """Of messages offered a second apart; each processing is (message, time)."""
    tally = Tally()
    tally.offered.extend(float(number) for number in range(offered))
    for message, time in processings:
        tally.processed(message, time)
    truth = GroundTruth(OPTIONS, offered)
    if readings is not None:
        truth = _with(truth, readings)
    if reads is not None:
        truth.reads = reads
    return truth.effects(tally, first_times(tally))


def _with(truth, readings):
    truth.readings = readings
    truth._total = sum(readings)
    return truth


def test_everything_once_and_in_time_harms_nothing():
    """No skew, no alert, no stale read, no line and no payment missing."""
    found = effects(5, *((number, number + 0.01) for number in range(5)), reads=[0.5] * 5)
    assert (found.average_skew, found.total_skew) == (0.0, 0.0)
    assert (found.false_alerts, found.stale_reads, found.missing_lines, found.repeated_lines) == (0, 0, 0, 0)
    assert (found.misplaced_lines, found.lost_payments, found.double_charges) == (0, 0, 0)


def test_a_lost_reading_and_a_repeated_one_skew():
    """Of 1, 2, 3 and 6 the 6 is lost and the 1 counted twice: 7 / 4 instead of 3, and 7 instead of 12."""
    found = effects(4, (0, 0.1), (1, 1.1), (2, 2.1), (0, 3.1), readings=[1.0, 2.0, 3.0, 6.0])
    assert found.average_skew == pytest.approx(1.75 / 3 - 1)
    assert found.total_skew == pytest.approx(7 / 12 - 1)


def test_of_nothing_there_is_no_average():
    """Unknown, and not 0."""
    found = effects(3)
    assert found.average_skew is None
    assert (found.total_skew, found.missing_lines, found.lost_payments) == (-1.0, 3, 3)


@pytest.mark.parametrize(("missed", "alerts"), [(2, 0), (3, 1), (6, 1)])
def test_three_missed_beats_are_an_alert(missed, alerts):
    """One for a silence, however long; two missed are none."""
    beats = [0, 1, *range(2 + missed, 12)]
    assert effects(12, *((beat, beat + 0.1) for beat in beats)).false_alerts == alerts


def test_silence_at_the_beginning_and_at_the_end_are_alerts_too():
    """A receiver that never hears anything calls the sender down once."""
    assert effects(10).false_alerts == 1
    assert effects(10, (5, 5.1)).false_alerts == 2


def test_a_read_is_stale_until_the_hint_is_processed():
    """In time, too late, and never."""
    assert effects(3, (0, 0.2), (1, 1.9), reads=[0.5, 0.5, 0.5]).stale_reads == 2


def test_lines_after_later_ones_are_misplaced():
    """One that overtook is in its place, those it overtook are not."""
    assert effects(4, (0, 0.1), (2, 2.1), (1, 2.2), (3, 3.1), (2, 3.2)).misplaced_lines == 2


@given(st.lists(st.integers(0, 19), max_size=60))
def test_the_counts_agree_with_plain_counting(messages):
    """Whatever the sequence."""
    found = effects(20, *((message, 20.0 + at) for at, message in enumerate(messages)))
    times = Counter(messages)
    assert found.missing_lines == found.lost_payments == 20 - len(times)
    assert found.double_charges == found.repeated_lines == sum(count - 1 for count in times.values())
    assert found.misplaced_lines == sum(
        any(later > message for later in messages[:at]) for at, message in enumerate(messages)
    )


def test_stale_reads_and_alerts_are_what_loss_makes_of_them():
    """A share p of the reads, and a run of three losses for each alert: (1 − p) p³ n of them, here within 5 σ."""
    loss, count = 0.2, 20_000
    options = CompareOptions(
        loss=loss,
        ack_loss=0.0,
        duplicate=0.0,
        crash_before=0.0,
        crash_after=0.0,
        latency=0.0,
        jitter=0.0,
        messages=count,
        seed=3,
    )
    most = compare(options).arms[0]
    assert most.effects.stale_reads == most.never
    runs = (1 - loss) * loss**3 * count
    assert abs(most.effects.false_alerts - runs) < 5 * runs**0.5


def test_reads_come_between_two_changes_of_a_key():
    """All keys in turn, each read once."""
    truth = GroundTruth(OPTIONS, 1000)
    assert all(0 <= read < KEYS * OPTIONS.interval for read in truth.reads)
    assert min(truth.readings) > 0
