"""What hints and marks mean for a cache: gaps, silence, restarts and goodbyes, one case each, in virtual time."""

import pytest

from atmost.core.events import SessionClosed
from atmost.uses.hints.lives import MAX_LIVES
from tests.uses.hints.scene import Scene, Voice, keys_of, marks

A, B, C = keys_of(7, 3)
ELSEWHERE = keys_of(8, 1)[0]


@pytest.fixture
def scene():
    """A cache that knows one invalidator, which has given no hint yet."""
    scene = Scene()
    scene.voice = Voice(scene)
    scene.told(scene.voice.mark())
    scene.now += 0.5
    return scene


def test_a_hint_ends_its_key_only(scene):
    """Others of the shard are served on, and nothing was lost."""
    scene.fill(A)
    scene.fill(B)
    scene.told(scene.voice.key(A))
    assert scene.served(A, B) == [False, True]
    assert scene.count("removed") == 1
    assert scene.count("gaps") == 0


def test_the_first_number_is_a_baseline():
    """An invalidator that has given thousands of hints before it is first heard leaves no gap, and later ones count from there."""
    scene = Scene()
    voice = Voice(scene)
    for _ in range(5000):
        voice.key(A)
    scene.told(voice.mark())
    scene.fill(A, age=0.0)
    scene.told(voice.key(B))
    scene.now += 10
    scene.told(voice.mark())
    assert scene.served(A) == [True]
    assert scene.count("gaps") == scene.count("hints_lost") == 0


def test_a_new_session_makes_stale_what_it_may_have_hinted_at():
    """Entries from before its first mark, of the shards it has given hints of; others stay."""
    scene = Scene()
    scene.fill(A)
    scene.fill(ELSEWHERE)
    voice = Voice(scene)
    voice.key(B)
    scene.told(voice.mark())
    assert scene.served(A, ELSEWHERE) == [False, True]
    assert scene.count("misses_new_session") == 1


def test_a_new_session_is_not_soft():
    """Nobody knows since when entries are stale that a stranger may have hinted at: policy "soft" does not serve them."""
    scene = Scene(policy="soft")
    scene.fill(A)
    voice = Voice(scene)
    voice.key(B)
    scene.told(voice.mark())
    assert scene.served(A) == [False]


def test_a_lost_hint_makes_its_shard_stale_after_the_grace(scene):
    """One is enough, and the shards beside it are served on: no stampede."""
    for key in (A, B, ELSEWHERE):
        scene.fill(key)
    scene.voice.key(C)  # lost
    scene.told(scene.voice.mark())
    assert scene.served(A, B, ELSEWHERE) == [True, True, True]
    scene.now += 0.999
    assert scene.served(A) == [True]
    scene.now += 0.001
    assert scene.served(A, B, ELSEWHERE) == [False, False, True]
    assert scene.count("gaps") == scene.count("hints_lost") == 1
    assert scene.count("misses_gap") == 2


def test_what_was_loaded_after_the_gap_was_noticed_is_fresh(scene):
    """The lost hint was older than what showed its loss."""
    scene.voice.key(A)  # lost
    scene.told(scene.voice.mark())
    scene.fill(B, age=0.0)
    marks(scene, scene.voice, 20)
    assert scene.served(B) == [True]


def test_the_next_hint_of_the_shard_shows_a_loss_too(scene):
    """Not only the mark."""
    scene.fill(A)
    scene.voice.key(B)  # lost
    scene.told(scene.voice.key(C))
    scene.now += 1.0
    assert scene.served(A) == [False]


def test_reordering_within_the_grace_is_no_loss(scene):
    """The late one is applied, and the shard stays."""
    for key in (A, B, C):
        scene.fill(key)
    first, second = scene.voice.key(A), scene.voice.key(B)
    scene.told(second)
    scene.now += 0.9
    scene.told(first)
    marks(scene, scene.voice, 3)
    assert scene.served(A, B, C) == [False, False, True]
    assert scene.count("gaps") == 0


def test_each_hint_of_a_gap_counts_for_itself(scene):
    """Of three that are missing the middle one comes: two are lost, in two gaps."""
    scene.fill(C)
    _, middle, _ = (scene.voice.key(A) for _ in range(3))
    scene.told(scene.voice.mark(), middle)
    marks(scene, scene.voice, 2)
    assert scene.count("hints_lost") == scene.count("gaps") == 2
    assert scene.served(C) == [False]


def test_a_duplicate_changes_nothing(scene):
    """What was loaded since is kept."""
    hint = scene.voice.key(A)
    scene.told(hint)
    scene.fill(A, age=0.0)
    scene.told(hint)
    assert scene.served(A) == [True]
    assert scene.count("repeated") == 1


def test_a_hint_that_was_given_up_may_come(scene):
    """Its gap has made stale what it was about: what was loaded since the loss was noticed is kept."""
    late = scene.voice.key(A)
    scene.told(scene.voice.mark())
    scene.fill(A, age=0.0)
    marks(scene, scene.voice, 3)
    scene.told(late)
    assert scene.served(A) == [True]


def test_a_lost_prefix_hint_is_in_the_next_mark(scene):
    """So its loss costs no more than itself."""
    for key in (A, "user:1"):
        scene.fill(key)
    scene.voice.prefix("user:")  # lost
    scene.told(scene.voice.mark())
    marks(scene, scene.voice, 3)
    assert scene.served(A, "user:1") == [True, False]
    assert scene.count("prefixes_recovered") == 1
    assert scene.count("gaps") == 0


def test_a_lost_prefix_hint_that_no_mark_repeats_makes_everything_stale(scene):
    """It may have been about any key."""
    keys = [*keys_of(1, 1), *keys_of(63, 1), "x"]
    for key in keys:
        scene.fill(key)
    for number in range(9):  # eight are repeated
        scene.voice.prefix(f"nothing:{number}")
    scene.told(scene.voice.mark())
    scene.now += 1.0
    assert scene.served(*keys) == [False, False, False]


def test_a_lost_tag_hint_makes_stale_what_has_a_tag_of_its_shard(scene):
    """Entries without tags, and those with tags of other shards, are served on."""
    tag, same, other = *keys_of(3, 2), keys_of(4, 1)[0]
    scene.fill("plain")
    scene.fill("same", tags=(other, same))
    scene.fill("other", tags=(other,))
    scene.voice.tag(tag)  # lost
    scene.told(scene.voice.mark())
    scene.now += 1.0
    assert scene.served("plain", "same", "other") == [True, False, True]


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
    successor = Voice(scene)
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


def test_other_numbers_of_shards_fit(scene):
    """An invalidator with 32 shards or 100: a lost hint makes stale the cache's shards that share keys with its own."""
    for shards in (32, 100, 1):
        voice = Voice(scene, shards=shards)
        scene.told(voice.mark())
        scene.fill(A)
        voice.key(A)  # lost
        scene.told(voice.mark())
        scene.now += 1.0
        assert scene.served(A) == [False]
        scene.told(scene.voice.mark())


def test_hints_before_the_first_mark_are_applied():
    """They are counted, and the first mark is the baseline."""
    scene = Scene()
    scene.fill(A)
    scene.told(Voice(scene).key(A))
    assert scene.served(A) == [False]
    assert scene.count("unannounced") == 1


def test_too_many_invalidators_are_counted_and_end_the_promise():
    """Their hints are applied, but nobody can say what is missed of them."""
    scene = Scene()
    for number in range(MAX_LIVES):
        scene.told(Voice(scene, f"w{number}").mark())
    assert scene.cache.staleness_bound == 5.0
    scene.told(Voice(scene, "one more").mark())
    assert scene.count("invalidator_limit") == 1
    assert scene.cache.staleness_bound == 300.0


def test_the_bound_is_that_of_the_slowest_invalidator():
    """2 × grace + 3 × interval, and never more than `max_ttl`."""
    scene = Scene(grace=0.25, max_ttl=20)
    assert scene.cache.staleness_bound == 20
    scene.told(Voice(scene, interval=0.5).mark())
    assert scene.cache.staleness_bound == 2.0
    scene.told(Voice(scene, interval=2.0).mark())
    assert scene.cache.staleness_bound == 6.5
    scene.told(Voice(scene, interval=10.0).mark())
    assert scene.cache.staleness_bound == 20


def test_soft_serves_what_may_be_stale_for_a_while():
    """From when it should have been known, not from when it was found out; by its own bound; and never what is hinted at."""
    scene = Scene(policy="soft", soft=5.0)
    voice = Voice(scene)
    scene.told(voice.mark())
    scene.fill(A)
    scene.fill(B)
    voice.key(C)  # lost
    scene.told(voice.mark())
    marks(scene, voice, 3)  # given up at 1 s
    assert scene.served(A, B) == [True, True]
    assert scene.count("soft_hits") == 2
    scene.told(voice.key(A))
    assert scene.served(A, B) == [False, True]
    marks(scene, voice, 3)
    assert scene.served(B) == [False]
    assert scene.cache.staleness_bound == 10.0
