"""Silence: blindness and its end, goodbyes and restarts, one case each, in virtual time."""

import pytest

from atmost.core.events import SessionClosed
from atmost.hints.knowledge import InvalidatorLife
from tests.hints.scene import Scene, Voice, keys_of, marks

A, B = keys_of(7, 2)
ELSEWHERE = keys_of(8, 1)[0]


@pytest.fixture
def scene():
    """A cache that knows one invalidator, which has given no hint yet."""
    scene = Scene()
    scene.voice = Voice(scene)
    scene.told(scene.voice.mark())
    scene.now += 0.5
    return scene


def test_silence_is_blindness(scene):
    """After two marks that were lost and the third that is late by a grace nothing is served; counted in seconds."""
    scene.fill(A)
    scene.now += 3.499
    assert scene.served(A) == [True]
    assert not scene.cache.blind
    scene.now += 0.002
    assert scene.served(A) == [False]
    assert scene.cache.blind
    scene.now += 5.0
    assert scene.count("blind_seconds") == pytest.approx(5.001)
    assert scene.count("misses_blind") == 1


def test_after_blindness_without_a_loss_everything_is_served_again(scene):
    """The numbers say that nothing was missed."""
    scene.fill(A)
    scene.now += 20
    assert scene.served(A) == [False]
    scene.told(scene.voice.mark())
    assert scene.served(A) == [True]


def test_after_blindness_a_gap_has_no_grace(scene):
    """The missing hint may be as old as the silence."""
    scene.fill(A)
    scene.voice.key(B)  # lost
    scene.now += 20
    scene.told(scene.voice.mark())
    assert scene.served(A) == [False]


def test_in_blindness_what_is_young_is_served(scene):
    """An entry no older than the bound cannot be staler than it: blind is never worse than a short time to live."""
    scene.now += 20
    assert scene.cache.blind
    scene.fill(A, age=4.9)
    assert scene.served(A) == [True]
    scene.now += 0.1
    assert scene.served(A) == [False]


def test_a_mark_that_waited_is_no_news(scene):
    """One that was held up for ten seconds, on the way or by the reader, does not end blindness; a quick one does."""
    scene.fill(A)
    marks(scene, scene.voice, 5)
    scene.now += 1
    waited = scene.voice.mark()
    scene.now += 10
    scene.told(waited)
    assert scene.cache.blind
    scene.told(scene.voice.mark())
    assert not scene.cache.blind


def test_a_slow_clock_is_not_lateness(scene):
    """A clock that loses 300 millionths for two hours drifts by two seconds, and nobody goes blind."""
    for _ in range(7200):
        scene.now += 1.0
        scene.voice.born += 0.0003
        scene.told(scene.voice.mark())
        scene.now += 0.9
        assert not scene.cache.blind
        scene.now -= 0.9


def test_forgotten_after_a_while(scene):
    """Then only `max_ttl` bounds what is cached from then on; what was cached before is gone."""
    scene.fill(A)
    scene.now += 3.5 + 30.1
    assert not scene.cache.blind
    assert scene.served(A) == [False]
    assert scene.cache.invalidators == 0
    assert scene.cache.staleness_bound == 300.0
    scene.fill(B, age=20.0)
    assert scene.served(B) == [True]
    assert scene.count("forgotten") == 1


def test_goodbye_is_no_blindness(scene):
    """Also when a late mark comes after it; what was lost before it still counts."""
    scene.fill(A)
    scene.fill(ELSEWHERE)
    late = scene.voice.mark()
    scene.voice.key(B)  # lost
    bye = scene.voice.mark(closed=True)
    scene.told(bye, late, bye)
    scene.now += 1.0
    assert scene.served(A, ELSEWHERE) == [False, True]
    scene.now += 60
    assert not scene.cache.blind
    assert scene.served(ELSEWHERE) == [True]
    assert scene.cache.invalidators == 0


def test_a_session_that_ends_without_its_invalidators_goodbye(scene):
    """Its silence is no blindness, but what it said last may be lost: once, all is stale."""
    scene.fill(A)
    scene.told(SessionClosed(scene.voice.session))
    assert scene.served(A) == [True]
    scene.now += 4
    assert not scene.cache.blind
    assert scene.served(A) == [False]
    assert scene.count("misses_ended") == 1


def test_a_life_goes_on_in_another_session(scene):
    """As when the sender's key is changed: the old session says goodbye, the marks go on, and nothing is stale."""
    scene.fill(A)
    closed = SessionClosed(scene.voice.session)
    scene.voice.session = Voice(scene).session
    scene.told(closed)
    marks(scene, scene.voice, 10)
    assert scene.served(A) == [True]


def test_a_restart_takes_over_from_a_life_that_was_killed(scene):
    """No blindness until `forget_after`: whoever has the same name on the same host and began later is its successor."""
    scene.fill(A)
    scene.now += 1
    successor = Voice(scene, boot=7)
    scene.told(successor.mark())
    assert scene.served(A) == [True]
    marks(scene, successor, 4)
    assert not scene.cache.blind
    assert scene.served(A) == [False]
    scene.fill(B, age=0.0)
    marks(scene, successor, 20)
    assert scene.served(B) == [True]
    assert scene.cache.invalidators == 1


@pytest.mark.parametrize("name", ["writer", "other"])
def test_nobody_takes_over_who_was_there_before(scene, name):
    """Two workers of one name: when one falls silent the other is not its successor."""
    older = scene.voice
    scene.told(older.mark())
    peer = Voice(scene, name)
    scene.now += 1
    scene.told(peer.mark(), older.mark())
    marks(scene, peer, 4)
    assert scene.cache.blind


def test_the_silence_of_many_does_not_make_the_marks_of_others_dear(monkeypatch):
    """Half a fleet is gone at once: a mark of the others does not look at all of them, or the reader would fall behind too."""
    scene = Scene()
    voices = [Voice(scene, f"writer-{number}") for number in range(200)]
    for second in range(6):
        if second < 5:
            scene.told(*(voice.mark() for voice in voices[second and 100 :]))
        scene.now += 1.0
    assert scene.cache.blind
    looked, judge = [], InvalidatorLife.deadline
    monkeypatch.setattr(InvalidatorLife, "deadline", lambda life, grace: looked.append(life) or judge(life, grace))
    for _ in range(10):
        scene.told(*(voice.mark() for voice in voices[100:]))
        scene.now += 1.0
    assert len(looked) < 10 * 200 * 4
    assert scene.cache.blind
    scene.told(*(voice.mark() for voice in voices))
    assert not scene.cache.blind
