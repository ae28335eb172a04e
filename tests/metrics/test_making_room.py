"""Series of those that are gone make room for those that are there: a limit that was reached once does not blind a reader."""

import pytest

from atmost import MetricsReader
from tests.metrics.scene import deliver, make, session, snapshot


class Process:
    """With so many counters, of names of their own where there are no labels; the first is 1, the next 2."""

    def __init__(self, reader, number, series=4, histograms=0, names=""):
        self.reader, self.by = reader, session(f"p{number}", number)
        self.metrics, self.sender = make(f"p{number}")
        for place in range(series):
            if names:
                self.metrics.counter(f"{names}{place}_total").inc(place + 1)
            else:
                self.metrics.counter("a_total", "", ("x",)).labels(place).inc(place + 1)
        self.histograms = [self.metrics.histogram(f"h{place}") for place in range(histograms)]
        for each in self.histograms:
            each.observe(1.0)

    def speak(self, now, final=False):
        """One snapshot; the last one says goodbye."""
        if final:
            self.metrics._registry.snapshot(now, self.metrics._send_part, final=True)
            deliver(self.reader, self.sender.take(), now, self.by)
        else:
            deliver(self.reader, snapshot(self.metrics, self.sender, now), now, self.by)

    def shown(self):
        """How many series the reader has of it."""
        return len([sender for sender, _, _ in self.reader.series("a_total") if sender == self.by.name])


@pytest.mark.parametrize(("final", "after"), [(True, 61.0), (False, 601.0)])
def test_what_is_gone_makes_room(final, after):
    """A process that said goodbye, and one that was killed; totals stay, and nothing is refused."""
    reader = MetricsReader(max_series=8, now=0.0)
    for number in range(20):
        process = Process(reader, number)
        process.speak(number * after)
        process.speak(number * after + 1, final=final)
        assert process.shown() == 4
    assert reader.total("a_total") == 20 * (1 + 2 + 3 + 4)
    assert reader.stats().lives_folded == 18
    assert "series_limit" not in reader.stats().refused


def test_who_is_there_makes_no_room():
    """What is new is refused then, and counted; also a slow sender is there between two snapshots."""
    reader = MetricsReader(max_series=8, now=0.0)
    for number in range(2):
        Process(reader, number).speak(0.0)
    third = Process(reader, 3)
    third.speak(599.0)
    assert (third.shown(), reader.stats().refused["series_limit"]) == (0, 4)
    reader, (slow, sender) = MetricsReader(max_series=1, now=0.0), make(interval=3600.0)
    slow.gauge("g").set(1)
    deliver(reader, snapshot(slow, sender, 0.0), 0.0)
    third = Process(reader, 3, 1)
    third.speak(3600.0)
    assert third.shown() == 0


def test_only_as_many_go_as_must():
    """The longest silent first, until an eighth is free."""
    reader = MetricsReader(max_series=16, now=0.0)
    for number in range(4):
        Process(reader, number).speak(float(number))
    newcomer = Process(reader, 9, 2)
    newcomer.speak(700.0)
    assert {sender for sender, _, _ in reader.series("a_total")} == {"p1", "p2", "p3", "p9"}


def test_histograms_make_room_too():
    """They have a limit of their own."""
    reader = MetricsReader(max_histograms=2, now=0.0)
    for number in range(5):
        Process(reader, number, 0, 2).speak(number * 700.0)
        assert reader.window("h1", 5, number * 700.0).increase == 1
    assert reader.total("h0") == 5
    assert "histogram_limit" not in reader.stats().refused


def test_names_that_nobody_uses_make_room():
    """As of jobs whose metrics are called by what they are."""
    reader = MetricsReader(max_series=8, now=0.0)
    for number in range(10):
        Process(reader, number, names=f"job{number}_").speak(number * 700.0)
        assert reader.total(f"job{number}_3_total") == 4
    assert len(reader.metrics) <= 8
    assert "series_limit" not in reader.stats().refused


def test_plain_readings_make_room():
    """Of sessions that sent no more."""
    reader = MetricsReader(max_series=2, now=0.0)
    for number in range(5):
        by = session(f"p{number}", number)
        deliver(reader, [("metrics.a", 1.0), ("metrics.b", 2.0)], number * 700.0, by)
        assert reader.window("b", 5, number * 700.0, sender=by.name).mean == 2.0


def test_a_life_that_returns_is_shown_again_and_counted_once():
    """It had been cut off, and made room; what it had counted before is no increase of the moment."""
    reader = MetricsReader(max_series=8, now=0.0)
    away = Process(reader, 0)
    away.speak(0.0)
    for number in (1, 2):
        Process(reader, number).speak(700.0)
    assert away.shown() == 0
    away.metrics.counter("a_total", "", ("x",)).labels(0).inc(100)
    away.speak(1400.0)
    assert away.shown() == 4
    assert reader.total("a_total") == 3 * 10 + 100
    assert reader.total("a_total", sender="p0") == 110
    assert reader.window("a_total", 5, 1400.0, sender="p0").increase == 0
    assert reader.stats().retired == 0


def test_what_returns_piece_by_piece_lowers_no_total():
    """Series that have not changed come later than others: each is taken out of the totals when it is there again."""
    reader = MetricsReader(max_series=8, now=0.0)
    away = Process(reader, 0, 2, 1)
    away.speak(0.0)
    for number in (1, 2):
        Process(reader, number).speak(700.0)
    assert away.shown() == 0
    assert reader.retired()["p0", "h0", ()].count == 1
    away.metrics.counter("a_total", "", ("x",)).labels(0).inc(100)
    away.speak(1400.0)
    assert away.shown() < 3
    assert reader.total("a_total", sender="p0") == 103
    for turn in range(12):
        if turn == 5:
            away.histograms[0].observe(2.0)
        away.speak(1401.0 + turn)
        assert reader.total("a_total", sender="p0") == 103
        assert reader.total("h0", sender="p0") == 1 + (turn >= 5)
    assert away.shown() == 2
    assert [key for key in reader.retired() if key[0] == "p0"] == []


def test_histograms_that_are_gone_keep_their_buckets():
    """They are pooled over all lives; one that returns is taken out again, and the others stay."""
    reader = MetricsReader(max_histograms=1, now=0.0)
    lives = [Process(reader, 0, 0, 1) for _ in range(3)]
    for number, life in enumerate(lives):
        life.histograms[0].observe(-3.0 * number)
        life.speak(number * 700.0)
    pooled = reader.retired()["p0", "h0", ()]
    assert (pooled.count, pooled.sum, len(pooled.positive), len(pooled.negative), pooled.zero) == (4, -1.0, 1, 1, 1)
    lives[0].histograms[0].observe(5.0)
    lives[0].speak(2800.0)
    pooled = reader.retired()["p0", "h0", ()]
    assert (pooled.count, pooled.sum, len(pooled.positive), len(pooled.negative), pooled.zero) == (4, -7.0, 1, 2, 0)
    assert reader.total("h0") == 7


def test_an_old_snapshot_of_a_life_that_made_room_brings_nothing_back():
    """It came late; what is known is newer."""
    reader = MetricsReader(max_series=8, now=0.0)
    gone = Process(reader, 0)
    old = snapshot(gone.metrics, gone.sender, 0.0)
    gone.metrics.counter("a_total", "", ("x",)).labels(0).inc(100)
    gone.speak(1.0)
    for number in (1, 2):
        Process(reader, number).speak(700.0)
    deliver(reader, old, 701.0, gone.by)
    assert reader.stats().retired == len(old)
    assert reader.total("a_total", sender="p0") == 110


def test_lives_that_would_not_help_are_kept():
    """Where only sessions with plain readings are too many, the histories of ended lives stay."""
    reader = MetricsReader(max_series=200, now=0.0)
    lives = [Process(reader, number) for number in range(5)]
    for life in lives:
        life.speak(0.0)
        life.speak(1.0, final=True)
    for number in range(50):
        deliver(reader, [("metrics.a", 1.0)], 100.0, session(f"plain{number}", 100 + number))
    deliver(reader, [("metrics.a", 1.0)], 101.0, session("one more", 999))
    assert reader.stats().refused["series_limit"] == 1
    assert [life.shown() for life in lives] == [4] * 5
