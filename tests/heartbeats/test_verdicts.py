"""A verdict is a sentence."""

import pytest

from atmost.heartbeats import Verdict, VerdictKind


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        (Verdict(VerdictKind.FIRST), "first: its first sign of life here"),
        (Verdict(VerdictKind.EXPECTED), "expected: nothing was heard of it yet"),
        (Verdict(VerdictKind.HEARD), "heard: a sign of life"),
        (Verdict(VerdictKind.LOST, 1), "lost(1): 1 beat lost on the way, it never was down"),
        (Verdict(VerdictKind.PAUSED, 0, 4.25), "paused(4.25 s): it did not beat for so long, and no beat was lost"),
        (
            Verdict(VerdictKind.PAUSED, 2, 4.25),
            "paused(4.25 s): it did not beat for so long, and 2 beats lost on the way",
        ),
        (Verdict(VerdictKind.RESTARTED, 0, 20.0), "restarted: a new life after 20 s"),
        (Verdict(VerdictKind.SILENT, 3, 3.5), "silent for 3.5 s: 3 beats missed"),
        (Verdict(VerdictKind.SILENT, 3, 3.5, 0.012), "silent for 3.5 s: 3 beats missed, at 0.012 measured loss"),
        (Verdict(VerdictKind.STALLED, 0, 9.0), "stalled: its session lives, but no beat for 9 s"),
        (
            Verdict(VerdictKind.LOSSY, 10, 10.5, 0.4),
            "unknown (lossy): silent for 10.5 s, which proves nothing, at 0.4 measured loss",
        ),
        (Verdict(VerdictKind.OBSERVER_LATE, seconds=60.0), "unknown (observer_late): the observer was late by 60 s"),
        (
            Verdict(VerdictKind.OBSERVER_DROPPED),
            "unknown (observer_dropped): the observer's own socket dropped datagrams",
        ),
        (Verdict(VerdictKind.TOGETHER, 6), "unknown (together): 6 senders fell silent together"),
        (Verdict(VerdictKind.STOPPED), "stopped: it said goodbye"),
        (Verdict(VerdictKind.FAILED, reason="ValueError"), "failed: ValueError ended it"),
        (Verdict(VerdictKind.FAILED, reason="\x1b[2J"), r"failed: \x1b[2J ended it"),
        (Verdict(VerdictKind.FAILED), "failed: an exception ended it"),
    ],
)
def test_each_explains_itself(verdict, sentence):
    """Every kind has its own words."""
    assert str(verdict) == sentence


def test_every_kind_has_words():
    """No kind is left without."""
    for kind in VerdictKind:
        assert str(Verdict(kind))
