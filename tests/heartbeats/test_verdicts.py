"""A verdict is a sentence."""

import pytest

from atmost.heartbeats import HeartbeatVerdict, HeartbeatVerdictKind


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        (HeartbeatVerdict(HeartbeatVerdictKind.FIRST), "first: its first sign of life here"),
        (HeartbeatVerdict(HeartbeatVerdictKind.EXPECTED), "expected: nothing was heard of it yet"),
        (HeartbeatVerdict(HeartbeatVerdictKind.HEARD), "heard: a sign of life"),
        (HeartbeatVerdict(HeartbeatVerdictKind.LOST, 1), "lost(1): 1 beat lost on the way, it never was down"),
        (
            HeartbeatVerdict(HeartbeatVerdictKind.PAUSED, 0, 4.25),
            "paused(4.25 s): it did not beat for this time, and no beat was lost",
        ),
        (
            HeartbeatVerdict(HeartbeatVerdictKind.PAUSED, 2, 4.25),
            "paused(4.25 s): it did not beat for this time, and 2 beats lost on the way",
        ),
        (HeartbeatVerdict(HeartbeatVerdictKind.RESTARTED, 0, 20.0), "restarted: a new life after 20 s"),
        (HeartbeatVerdict(HeartbeatVerdictKind.SILENT, 3, 3.5), "silent for 3.5 s: 3 beats missed"),
        (
            HeartbeatVerdict(HeartbeatVerdictKind.SILENT, 3, 3.5, 0.012),
            "silent for 3.5 s: 3 beats missed, at 0.012 measured loss",
        ),
        (
            HeartbeatVerdict(HeartbeatVerdictKind.STALLED, 0, 9.0),
            "stalled: its session lives, but no beat came for 9 s",
        ),
        (
            HeartbeatVerdict(HeartbeatVerdictKind.LOSSY, 10, 10.5, 0.4),
            "unknown (lossy): silent for 10.5 s, which proves nothing, at 0.4 measured loss",
        ),
        (
            HeartbeatVerdict(HeartbeatVerdictKind.OBSERVER_LATE, seconds=60.0),
            "unknown (observer_late): the observer was late by 60 s",
        ),
        (
            HeartbeatVerdict(HeartbeatVerdictKind.OBSERVER_DROPPED),
            "unknown (observer_dropped): the observer's own socket dropped datagrams",
        ),
        (HeartbeatVerdict(HeartbeatVerdictKind.TOGETHER, 6), "unknown (together): 6 senders fell silent together"),
        (HeartbeatVerdict(HeartbeatVerdictKind.STOPPED), "stopped: it said goodbye"),
        (HeartbeatVerdict(HeartbeatVerdictKind.FAILED, reason="ValueError"), "failed: ValueError ended it"),
        (HeartbeatVerdict(HeartbeatVerdictKind.FAILED, reason="\x1b[2J"), r"failed: \x1b[2J ended it"),
        (HeartbeatVerdict(HeartbeatVerdictKind.FAILED), "failed: an error ended it"),
    ],
)
def test_each_explains_itself(verdict, sentence):
    """Every kind has its own words."""
    assert str(verdict) == sentence


def test_every_kind_has_words():
    """No kind is left without."""
    for kind in HeartbeatVerdictKind:
        assert str(HeartbeatVerdict(kind))
