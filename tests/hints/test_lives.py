"""What hints and marks mean for a cache: gaps, silence, restarts and goodbyes, one case each, in virtual time."""

import pytest

from atmost.hints.knowledge import MAX_LIVES
from tests.hints.scene import Scene, Voice, keys_of, marks

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
    """On one host entries from before its first mark, of the shards it has given hints of; others stay."""
    scene = Scene()
    scene.fill(A)
    scene.fill(ELSEWHERE)
    voice = Voice(scene, boot=7)
    voice.key(B)
    scene.told(voice.mark())
    assert scene.served(A, ELSEWHERE) == [False, True]
    assert scene.count("misses_new_session") == 1


@pytest.mark.parametrize("boot", [0, 8])
def test_at_first_acquaintance_whatever_is_older_than_the_bound_is_suspect(boot):
    """Nobody can say how old the mark of another host is: it may have given hints since, in any shard."""
    scene = Scene()
    scene.fill(A, age=5.1)
    scene.fill(B, age=4.9)
    scene.told(Voice(scene, boot=boot).mark())
    assert scene.served(A, B) == [False, True]
    scene.now += 0.2
    assert scene.served(A, B) == [False, False]
    scene.fill(A, age=0.0)
    assert scene.served(A) == [True]


@pytest.mark.parametrize("boot", [0, 7])
@pytest.mark.parametrize("age", [0.0, 3.0, 60.0])
def test_a_first_mark_that_waited_does_not_hide_what_was_lost_since(boot, age):
    """It was under way for ten seconds, and the hint that followed it is lost: no read is staler than the bound."""
    scene = Scene()
    voice = Voice(scene, boot=boot)
    waited = voice.mark()
    scene.now += 9.0
    scene.fill(A, age=age)
    changed = scene.now
    voice.key(A)  # lost
    scene.now += 1.0
    scene.told(waited)
    while scene.served(A) == [True]:
        assert scene.now - changed <= scene.cache.staleness_bound == 5.0
        scene.now += 0.1


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
