"""Holes in syslog's sequence numbers: suspicions, never certainties, over wraps, restarts and disorder."""

import random

import pytest

from atmost import OptionError
from atmost.ingest import syslog
from atmost.ingest.syslog import SyslogGap, SyslogGaps, SyslogLate
from atmost.ingest.syslog.gaps import MAX_GAP, WINDOW
from tests.ingest.page import NOW

LAST = 2_147_483_647


def record(number, host="web", peer="10.0.0.7"):
    """A message with this number."""
    read = syslog.parse(f'<13>1 - {host} app - - [meta sequenceId="{number}"] x'.encode(), peer, NOW)
    assert read.sequence == (number if 1 <= number <= LAST else None)
    return read


def feed(gaps, *numbers, **names):
    """What each of the numbers gives, without those that give nothing."""
    return [found for number in numbers if (found := gaps.feed(record(number, **names))) is not None]


def test_a_hole_is_reported_and_unverified():
    """The numbers between two that came are a gap, which proves nothing; before the first, nothing is known."""
    gaps = SyslogGaps()
    assert feed(gaps, 5, 6, 7) == []
    [gap] = feed(gaps, 11)
    assert gap == SyslogGap("10.0.0.7", "web", 8, 10, 3)
    assert not gap.verified
    assert (gaps.stats().gaps, gaps.stats().lost) == (1, 3)


def test_numbers_wrap_to_1():
    """1 follows 2147483647; a hole over the wrap is counted right."""
    assert feed(SyslogGaps(), LAST - 1, LAST, 1, 2) == []
    assert feed(SyslogGaps(), LAST - 1, 3) == [SyslogGap("10.0.0.7", "web", LAST, 2, 3)]
    assert feed(SyslogGaps(), LAST - 2, LAST) == [SyslogGap("10.0.0.7", "web", LAST - 1, LAST - 1, 1)]
    assert feed(SyslogGaps(), LAST - 1, 2, 1) == [
        SyslogGap("10.0.0.7", "web", LAST, 1, 2),
    ], "1 is where every counter begins"


def test_1_is_a_new_beginning():
    """A writer that restarts begins at 1, and what it had not sent is no hole."""
    gaps = SyslogGaps()
    assert feed(gaps, 500, 501, 1, 2, 3) == []
    assert gaps.stats().restarted == 1
    [gap] = feed(gaps, 5)
    assert (gap.first, gap.lost) == (4, 1)


def test_late_and_repeated():
    """A number out of a gap lowers it; one that comes twice counts once."""
    gaps = SyslogGaps()
    assert len(feed(gaps, 10, 13)) == 1
    assert feed(gaps, 11, 11, 13, 12, 14) == [SyslogLate("10.0.0.7", "web", 11), SyslogLate("10.0.0.7", "web", 12)]
    assert (gaps.stats().lost, gaps.stats().late, gaps.stats().repeated) == (2, 2, 2)


def test_leaps_are_new_beginnings():
    """Far back or far ahead is another counter's beginning, and no hole of a million."""
    gaps = SyslogGaps()
    assert feed(gaps, 5000, 5000 - WINDOW, 5000 - WINDOW + 1) == []
    assert feed(gaps, 10_000_000, 10_000_001) == []
    assert gaps.stats().restarted == 2
    assert feed(gaps, 10_000_002 + MAX_GAP)[0].lost == MAX_GAP
    assert feed(gaps, 10_000_004 + 2 * MAX_GAP) == []


def test_any_order_adds_up():
    """Whatever is lost, repeated or out of order within the window: lost − late is what never came."""
    chance = random.Random(1)
    for _ in range(100):
        start = chance.choice([2, 1000, LAST - 60])
        numbers = [(start + step - 1) % LAST + 1 for step in range(120)]
        sent = [number for number in numbers if number in numbers[:1] or (chance.random() < 0.8 and number != 1)]
        order = sorted(range(1, len(sent)), key=lambda place: place + chance.uniform(0, 20))
        gaps = SyslogGaps()
        feed(gaps, sent[0], *(sent[place] for place in order), *sent[-3:])
        newest = numbers.index(sent[-1])
        assert gaps.stats().lost - gaps.stats().late == newest + 1 - len(sent)


def test_counters_are_told_apart():
    """By host behind a relay, by source where programs of a host each have their own."""
    gaps = SyslogGaps()
    assert feed(gaps, 1, 2) + feed(gaps, 77, 78, host="db") + feed(gaps, 900, peer="10.0.0.8") == []
    assert gaps.feed(record(500), "10.0.0.7:5000") is None
    assert gaps.feed(record(502), "10.0.0.7:5000") == SyslogGap("10.0.0.7:5000", "web", 501, 501, 1)


def test_numbers_that_are_none():
    """0, larger ones and words are no numbers."""
    gaps = SyslogGaps()
    assert feed(gaps, 0, LAST + 1) == []
    assert gaps.stats().numbers == 0


def test_counters_are_bounded():
    """The one unheard of for longest makes room, and is counted."""
    gaps = SyslogGaps(max_counters=2)
    feed(gaps, 1, host="a")
    feed(gaps, 1, host="b")
    feed(gaps, 2, host="a")
    feed(gaps, 1, host="c")
    assert gaps.stats().forgotten == 1
    assert feed(gaps, 9, host="b") == []
    assert len(gaps._counters) == 2
    with pytest.raises(OptionError):
        SyslogGaps(max_counters=0)
