"""A message's life as a diagram: what it shows is what the arm did."""

import pytest

from atmost.lab.compare import ARMS, compare
from atmost.lab.compare.at_least_once import AtLeastOnce
from atmost.lab.compare.faults import Purpose
from atmost.lab.explain import Fault, Lane, draw, tell
from atmost.lab.explain.script import ScriptedFates

NAMES = [arm.name for arm in ARMS]
TIMES = {
    Fault.NONE: (1, 1, 1),
    Fault.DATAGRAM_DROPPED: (0, 1, 1),
    Fault.ACK_LOST: (1, 2, 1),
    Fault.CRASH_BEFORE: (0, 1, 1),
    Fault.CRASH_AFTER: (1, 2, 1),
    Fault.DUPLICATED: (1, 2, 1),
}


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_ends_as_the_guarantee_says(fault):
    """How often the message is processed, under each of the three."""
    assert tuple(tell(name, fault).processed for name in NAMES) == TIMES[fault]


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("name", NAMES)
def test_the_diagram_shows_all_that_was_counted(name, fault):
    """As many arrows as datagrams, as many processings, time going down, and lines of one width."""
    story = tell(name, fault)
    arrows = [line for line in story.lines if line.lane in {Lane.THERE, Lane.BACK}]
    assert len(arrows) == story.datagrams
    assert sum(line.text.startswith("processes it") for line in story.lines) == story.processed
    assert [line.seconds for line in story.lines] == sorted(line.seconds for line in story.lines)
    drawn = draw(story)
    body = drawn[2:-2]
    assert len(body) == len(story.lines)
    assert {len(line) for line in body} == {80}
    assert all(line[12] == line[-1] == "|" for line in body)
    assert sum(line.endswith(">|") or "x lost" in line for line in body) + sum(
        "|<" in line or "lost x" in line for line in body
    ) == len(arrows)
    assert max(map(len, drawn)) <= 100


def test_a_dropped_datagram_is_reported_by_at_most_once_and_repeated_by_the_others():
    """The one thing at-most-once has to say, in its own receiver's words."""
    text = "\n".join(draw(tell("at-most-once", Fault.DATAGRAM_DROPPED)))
    assert "x lost" in text
    assert "reports 1 message lost" in text
    assert "never processed, and the receiver says so" in text
    assert "As a payment: the payment is lost." in text
    again = "\n".join(draw(tell("at-least-once", Fault.DATAGRAM_DROPPED)))
    assert "no acknowledgement in time" in again
    assert "the message again" in again


def test_a_copy_is_refused_processed_again_or_known():
    """Three receivers, three answers."""
    texts = ["\n".join(draw(tell(name, Fault.DUPLICATED))) for name in NAMES]
    assert "refuses it: duplicate" in texts[0]
    assert "processes it, time 2" in texts[1]
    assert "the customer is charged 2 times" in texts[1]
    assert "knows it: does not process it" in texts[2]


def test_after_a_crash_the_real_receiver_refuses_for_a_while():
    """R10: the quarantine is in the picture, and the session it joins afterwards."""
    text = "\n".join(draw(tell("at-most-once", Fault.CRASH_AFTER)))
    assert text.count("refuses it: boot quarantine") == 2
    assert "joins the session after 1 message" in text


def test_the_diagram_is_not_canned(monkeypatch):
    """An arm that does something else is shown doing it."""
    monkeypatch.setattr(AtLeastOnce, "_overdue", lambda *_: None)
    story = tell("at-least-once", Fault.DATAGRAM_DROPPED)
    assert story.processed == 0
    assert not any("again" in line.text for line in story.lines)


def test_only_the_first_transmission_meets_the_fault():
    """Everything else gets through at once."""
    fates = ScriptedFates(Fault.DATAGRAM_DROPPED)
    assert [len(fates.of(purpose)) for purpose in Purpose] == [0, 1, 1]


def test_it_is_told_the_same_each_time():
    """And running it changes nothing for a comparison."""
    assert draw(tell("exactly-once", Fault.CRASH_BEFORE)) == draw(tell("exactly-once", Fault.CRASH_BEFORE))
    assert callable(compare)
