"""Fills: what was loaded before a change is not cached after it."""

import threading

import pytest

from atmost import HintError
from atmost.hints import core as core_module
from atmost.hints.knowledge import MissReason
from tests.hints.scene import Scene, Voice, keys_of


def test_a_load_that_took_longer_than_its_value_lives_is_not_cached():
    """Its value is returned."""
    scene = Scene(max_ttl=10)
    with scene.cache.filling("a") as fill:
        scene.now += 11
        assert fill.set(5) == 5
    assert fill.refused is MissReason.EXPIRED
    assert scene.count("refused_expired") == 1


@pytest.mark.parametrize(
    ("concern", "reason"),
    [
        (lambda voice: [voice.key("a")], MissReason.HINT),
        (lambda voice: [voice.prefix("")], MissReason.HINT),
        (lambda voice: [voice.tag("t")], MissReason.HINT),
        (lambda voice: [Voice(voice.scene, boot=7).mark()], None),
        (lambda voice: [Voice(voice.scene).mark()], MissReason.NEW_SESSION),
        (lambda voice: [voice.key("b")], None),
        (lambda voice: [voice.prefix("b"), voice.tag("other")], None),
    ],
)
def test_a_fill_is_refused_for_what_concerned_it_since_it_began(concern, reason):
    """And for nothing else; its value is returned."""
    scene = Scene()
    voice = Voice(scene)
    scene.told(voice.mark())
    with scene.cache.filling("a") as fill:
        scene.told(*concern(voice))
        assert fill.set(7, tags=("t",)) == 7
    assert fill.refused is reason
    assert scene.served("a") == [reason is None]


def test_a_fill_is_refused_for_a_gap_and_a_new_session():
    """Of its shard; a gap that was noticed before it began does not concern it."""
    scene = Scene()
    voice = Voice(scene)
    scene.told(voice.mark())
    key, lost = keys_of(9, 2)
    with scene.cache.filling(key) as before:
        voice.key(lost)  # lost
        scene.told(voice.mark())
        with scene.cache.filling(key) as after:
            scene.now += 1
            before.set(1)
            after.set(2)
    assert (before.refused, after.refused) == (MissReason.GAP, None)
    with scene.cache.filling(key) as fill:
        stranger = Voice(scene)
        stranger.key(lost)
        scene.told(stranger.mark())
        fill.set(3)
    assert fill.refused is MissReason.NEW_SESSION


def test_a_fill_must_be_entered():
    """Or the race is open."""
    fill = Scene().cache.filling("a")
    with pytest.raises(HintError, match="the fill has not begun"):
        fill.set(1)
    with fill:
        fill.set(1)
    with pytest.raises(HintError):
        fill.set(1)


def test_fills_at_once_are_bounded(monkeypatch):
    """Those beyond return their values, uncached; ended ones make room."""
    monkeypatch.setattr(core_module, "MAX_FILLS", 2)
    scene = Scene()
    with scene.cache.filling("a"), scene.cache.filling("a"), scene.cache.filling("b") as third:
        assert third.set(1) == 1
    assert third.refused is MissReason.FILL_LIMIT
    scene.fill("b")
    assert scene.served("b") == [True]


def test_a_value_that_is_just_the_new_one_is_kept():
    """By its digest; another, or one without, is dropped. So with a fill that goes on."""
    scene = Scene()
    voice = Voice(scene)
    scene.told(voice.mark())
    for key, digest in (("same", 5), ("other", 6), ("none", None)):
        scene.fill(key, digest=digest)
        scene.told(voice.key(key, 5))
    assert scene.served("same", "other", "none") == [True, False, False]
    for digest in (5, 6, None):
        with scene.cache.filling("a") as fill:
            scene.told(voice.key("a", 5))
            fill.set(1, digest=digest)
        assert (fill.refused is None) is (digest == 5)
    with scene.cache.filling("a") as fill:
        scene.told(voice.key("a"), voice.key("a", 5))
        fill.set(1, digest=5)
    assert fill.refused is MissReason.HINT


def test_tags_are_made_outside_the_lock():
    """Whatever makes them may take its time, or wait for somebody who uses the cache."""
    scene = Scene()

    def tags():
        other = threading.Thread(target=scene.cache.discard, args=("other",), daemon=True)
        other.start()
        other.join(5)
        assert not other.is_alive()
        yield "t"

    with scene.cache.filling("a") as fill:
        fill.set(1, tags=tags())
    scene.cache.discard_tag("t")
    assert scene.served("a") == [False]
