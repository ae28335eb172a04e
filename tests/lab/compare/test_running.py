"""A comparison as a whole: the same options give the same figures, and stopping early compares the same messages."""

import pytest

from atmost.errors import OptionError
from atmost.lab.compare import CompareOptions, Sweep, check_work, compare, expected_work, run_points
from atmost.lab.compare.measures import Spread


def test_the_same_options_give_the_same_comparison():
    """To the last digit; another seed gives another one."""
    options = CompareOptions(messages=800, loss=0.2)
    assert compare(options).as_dict() == compare(options).as_dict()
    other = CompareOptions(messages=800, loss=0.2, seed=2)
    assert compare(options).arms != compare(other).arms


def test_stopped_early_it_compares_what_was_offered_to_all():
    """The same messages in every arm, all their retries done, and theory still holds."""
    seen = []
    comparison = compare(CompareOptions(messages=100_000, loss=0.3), seen.append, lambda: len(seen) == 4)
    assert not comparison.complete
    assert comparison.offered == 1000
    assert [arm.offered for arm in comparison.arms] == [1000] * 3
    assert [arm.never for arm in comparison.arms[1:]] == [0, 0]
    assert sum(seen) == 3000
    assert comparison.agrees


def test_progress_is_told_to_the_last_message():
    """However the messages divide into turns."""
    seen = []
    assert compare(CompareOptions(messages=777), seen.append).complete
    assert sum(seen) == 3 * 777


def test_one_message_is_enough():
    """Nothing divides by what is not there, even when it is lost."""
    for seed in range(30):
        comparison = compare(CompareOptions(messages=1, loss=0.5, seed=seed))
        assert comparison.agrees
        most = comparison.arms[0]
        assert (most.latency.mean is None) == (most.never == 1)


def test_percentiles_are_values_that_were_measured():
    """The smallest that so many do not exceed."""
    spread = Spread.of(range(1, 101))
    assert (spread.mean, spread.p50, spread.p99) == (50.5, 50, 99)
    assert (Spread.of([4.0]).p50, Spread.of([4.0]).p99) == (4.0, 4.0)
    assert Spread.of([]) == Spread(None, None, None, None)


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("loss=0:0.5:6", "loss", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)),
        ("crash-after=0:0.02:3", "crash_after", (0.0, 0.01, 0.02)),
        ("latency=0.01:0.03:2", "latency", (0.01, 0.03)),
    ],
)
def test_a_sweep_is_read(text, field, values):
    """Both ends are points; the values are the round ones."""
    assert Sweep.parse(text) == Sweep(field, values)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("loss", "as in loss=0:0.5:11"),
        ("loss=0:0.5", "as in loss=0:0.5:11"),
        ("loss=a:b:c", "as in loss=0:0.5:11"),
        ("loss=0:0.5:1", "2 to 101 points"),
        ("loss=0:0.5:102", "2 to 101 points"),
        ("loss=0.5:0.1:3", "FROM below TO"),
        ("loss=0:nan:3", "FROM below TO"),
        ("seed=1:9:9", "one of loss, ack_loss"),
        ("=0:1:3", "one of loss, ack_loss"),
    ],
)
def test_another_form_is_refused_with_the_right_one(text, hint):
    """Before anything runs."""
    with pytest.raises(OptionError, match=r"^sweep=") as refused:
        Sweep.parse(text)
    assert hint in str(refused.value)


def test_a_point_out_of_range_is_refused():
    """By the option's own check."""
    with pytest.raises(OptionError, match=r"^loss=1\.0"):
        Sweep.parse("loss=0:1:3").points(CompareOptions())


def test_a_run_of_hours_is_refused():
    """By the transmissions to be expected of all points together."""
    points = Sweep.parse("loss=0:0.9:101").points(CompareOptions(messages=1_000_000))
    with pytest.raises(OptionError, match="fewer messages or points"):
        check_work(points)
    check_work(Sweep.parse("loss=0:0.5:11").points(CompareOptions(messages=1_000_000)))


def test_seconds_that_only_beacons_fill_are_work_too():
    """A message an hour is few messages and much virtual time."""
    slow = CompareOptions(messages=100_000, interval=3600.0)
    with pytest.raises(OptionError, match="or a shorter interval"):
        check_work([slow])
    assert expected_work([CompareOptions(messages=100, interval=3600.0)]) > 360_000


def test_stopping_is_asked_for_however_far_apart_messages_are():
    """Not after 250 of them, which may be days of beacons."""
    seen = []
    comparison = compare(CompareOptions(messages=250, interval=3600.0), seen.append, lambda: len(seen) == 2)
    assert comparison.offered == 2


def test_more_loss_never_lowers_what_a_sweep_shows():
    """The points share their fates, so the curves rise at every step and not only on the whole."""
    options = CompareOptions(messages=300, crash_before=0.0, crash_after=0.0)
    done = run_points(Sweep.parse("loss=0:0.5:6").points(options))
    never = [point.arms[0].never for point in done]
    assert never == sorted(never)
    assert never[0] == 0
    assert len(set(never)) == 6


def test_a_sweep_that_is_stopped_gives_the_points_it_has():
    """The one it was stopped in is partial."""
    seen = []
    points = Sweep.parse("loss=0:0.5:6").points(CompareOptions(messages=500))
    done = run_points(points, seen.append, lambda: len(seen) >= 3)
    assert [(point.offered, point.complete) for point in done] == [(500, True), (250, False)]
