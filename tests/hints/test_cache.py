"""The cache itself: what it keeps, what it refuses, and what its fills see."""

import copy
import os
import pickle
import threading

import cachetools
import pytest

from atmost import HintedCache, HintError, OptionError
from atmost.atomic import locked
from atmost.core.events import Arrival, Message, Session
from atmost.hints.knowledge import MAX_PREFIXES, MAX_TAGS
from tests.hints.scene import Scene, Voice


def test_what_is_filled_is_served_until_its_time():
    """Counted from the beginning of the load, for the value is as old as that."""
    scene = Scene(max_ttl=10)
    with scene.cache.filling("a") as fill:
        scene.now += 4
        assert fill.set("value") == "value"
    scene.now += 5.99
    assert scene.cache.get("a") == "value"
    scene.now += 0.02
    assert scene.cache.get("a", "none") == "none"
    assert scene.count("misses_expired") == 1
    assert len(scene.cache) == 0


def test_a_ttl_of_its_own_is_capped():
    """At `max_ttl`, the bound that holds without any hint."""
    scene = Scene(max_ttl=10)
    scene.fill("short", age=0, ttl=2)
    scene.fill("long", age=0, ttl=1000)
    scene.now += 3
    assert scene.served("short", "long") == [False, True]
    scene.now += 7
    assert scene.served("long") == [False]


def test_touch_gives_more_time_within_max_ttl():
    """What is not here cannot be touched."""
    scene = Scene(max_ttl=10)
    scene.fill("a", age=0, ttl=1)
    assert scene.cache.touch("a", 4)
    scene.now += 3
    assert scene.cache.touch("a")
    scene.now += 6.9
    assert scene.served("a") == [True]
    scene.now += 0.1
    assert not scene.cache.touch("a")
    with pytest.raises(OptionError):
        Scene().fill("a", ttl=0)


def test_discarding_does_what_hints_do():
    """Here, at once."""
    scene = Scene()
    for key in ("a", "b:1", "c", "d"):
        scene.fill(key, tags=("t",) if key == "c" else ())
    scene.cache.discard("a")
    scene.cache.discard_prefix("b:")
    scene.cache.discard_tag("t")
    assert scene.served("a", "b:1", "c", "d") == [False, False, False, True]
    with scene.cache.filling("e") as fill:
        scene.cache.clear()
        fill.set(1)
    assert scene.served("d", "e") == [False, False]
    assert len(scene.cache) == 0


def test_own_hints_are_skipped():
    """What was discarded here, and cached anew since, is kept when its hint comes back."""

    class Own:
        life = b""

    own = Own()
    scene = Scene(own=own)
    voice = Voice(scene)
    own.life = voice.numbers.life
    hint = voice.key("a")
    scene.fill("a")
    scene.told(hint, voice.mark())
    assert scene.served("a") == [True]
    assert scene.count("own") == 2
    assert scene.cache.invalidators == 0


def test_other_subjects_and_malformed_messages_change_nothing():
    """The first are left alone, the second counted."""
    scene = Scene(subject="hints.users")
    scene.fill("a")
    session = Session(bytes(18), 0)
    for subject in ("hints.key", "hints.users", "logs.key", "hints.users.other"):
        scene.told(Message(subject, [bytes(8), 0, 1, "a"], Arrival(session, 0, 0, 0)))
    for kind in ("key", "tag", "prefix", "mark"):
        scene.told(Message(f"hints.users.{kind}", {"what": "ever"}, Arrival(session, 0, 0, 0)))
    assert scene.served("a") == [True]
    assert scene.count("malformed") == 4
    assert sum(scene.cache.stats().hints_by_kind.values()) == scene.cache.stats().marks == 0


def test_a_shard_that_an_invalidator_does_not_have_is_malformed():
    """As is a mark that changes their number."""
    scene = Scene()
    voice = Voice(scene, shards=2)
    scene.told(voice.mark())
    life = voice.numbers.life
    scene.told(Message("hints.key", [life, 2, 1, "a"], Arrival(voice.session, 0, 0, 0)))
    scene.told(Message("hints.mark", [life, "", "", 1.0, 0.0, False, [0], [0], 0, []], Arrival(voice.session, 0, 0, 0)))
    assert scene.count("malformed") == 2


def test_what_was_used_longest_ago_goes_first():
    """At most `max_entries` are kept."""
    scene = Scene(max_entries=3)
    for key in "abc":
        scene.fill(key)
    assert scene.served("a") == [True]
    scene.fill("d")
    assert scene.served(*"abcd") == [True, False, True, True]
    assert (len(scene.cache), scene.count("evicted"), scene.cache.limit) == (3, 1, 3)


@pytest.mark.parametrize(
    ("store", "limit"),
    [(cachetools.LRUCache(3), 3), (cachetools.TTLCache(3, 1000), 3), (cachetools.LFUCache(3), 3), ({}, 3)],
    ids=lambda store: type(store).__name__,
)
def test_any_mapping_keeps_the_entries(store, limit):
    """cachetools by its own rule and bound; a dictionary, which has none, the last `max_entries`."""
    scene = Scene(max_entries=3, store=store)
    voice = Voice(scene)
    scene.told(voice.mark())
    for key in "abcd":
        scene.fill(key)
    assert len(store) == len(scene.cache) == 3
    assert scene.count("evicted") == 1
    assert sum(scene.served(*"abcd")) == 3
    scene.told(*(voice.key(key) for key in "abcd"))
    assert scene.served(*"abcd") == [False] * 4
    assert len(store) == 0
    assert scene.cache.limit == limit
    scene.fill("x")
    scene.cache.clear()
    assert len(store) == 0


def test_a_value_that_no_store_has_room_for():
    """Is returned, and counted."""
    scene = Scene(store=cachetools.LRUCache(10, getsizeof=lambda entry: len(entry.value)))
    with scene.cache.filling("a") as fill:
        assert fill.set("x" * 11) == "x" * 11
    assert scene.served("a") == [False]
    assert scene.count("too_large") == 1


def test_many_tags_and_prefixes_are_bounded_and_stay_right():
    """The oldest count for more than they said, never for less; what concerns no entry any more is forgotten."""
    scene = Scene(max_ttl=100)
    scene.fill("tagged", tags=("t0",), age=10)
    scene.fill("old", age=10)
    for number in range(MAX_TAGS + 1):
        scene.cache.discard_tag(f"t{number}")
    assert scene.count("tag_limit") == 1
    assert scene.served("tagged", "old") == [False, True]
    for number in range(MAX_PREFIXES + 1):
        scene.cache.discard_prefix(f"p{number}")
    assert scene.count("prefix_limit") == 1
    assert scene.served("old") == [False]
    scene.fill("new", age=0)
    assert scene.served("new") == [True]
    scene.now += 101
    scene.cache.discard_prefix("q")
    assert len(scene.cache._core.changes._prefixes) == 1


@pytest.mark.parametrize("key", [5, None, ("a",), [], b"a", {}])
def test_keys_that_are_not_text_are_refused(key):
    """Everywhere, with what to do."""
    cache = Scene().cache
    for call in (cache.get, cache.filling, cache.discard, cache.touch, lambda key: cache.get_or_load(key, int)):
        with pytest.raises(HintError, match="must be a string"):
            call(key)


@pytest.mark.parametrize("tags", ["tag", (5,), [None]])
def test_tags_that_are_not_text_are_refused(tags):
    """A text for several tags is a mistake too."""
    with pytest.raises(HintError, match=r"^tag"):
        Scene().fill("a", tags=tags)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_ttl": 0}, {"max_ttl": -1}, {"max_ttl": float("nan")}, {"max_ttl": None}, {"max_ttl": True}, {"max_entries": 0},
        {"max_entries": 1.5}, {"shards": 0}, {"grace": -1}, {"policy": "hard"}, {"soft": "1"}, {"jitter": 61},
        {"forget_after": -1}, {"policy": []}, {"store": 5}, {"store": []}, {"clock": 5}, {"own": "shop"}, {"receiver": 5},
    ],
    ids=str,
)  # fmt: skip
def test_options_outside_their_range_are_refused(wrong):
    """With the name, the value and the range."""
    with pytest.raises(OptionError, match=next(iter(wrong))):
        HintedCache(**({"max_ttl": 10} | wrong))


def test_it_cannot_be_copied():
    """A copy would hear no hints."""
    cache = Scene().cache
    for way in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="construct one in each process"):
            way(cache)


def test_a_forked_child_has_an_empty_cache():
    """Nobody feeds it, so nothing of its parent's is served; and no lock of another thread's is held."""
    scene = Scene()
    scene.fill("a")
    held, done = threading.Event(), threading.Event()

    def hold():
        with scene.cache.atomic():
            held.set()
            assert done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(30)
    child = os.fork()
    if not child:
        scene.fill("b")
        os._exit(0 if scene.served("a", "b") == [False, True] else 1)
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert scene.served("a") == [True]


def test_threads_at_once():
    """Reads, loads, hints and discards from several threads: values are right, and every read is counted once."""
    cache = HintedCache(300, max_entries=50)
    keys = [f"k{number}" for number in range(100)]
    reads = 3000

    def read(turn):
        for number in range(reads):
            key = keys[(number * turn) % 100]
            assert cache.get_or_load(key, lambda key=key: key) == key
            if number % 50 == 0:
                cache.discard(key)
            if number % 500 == 0:
                cache.discard_prefix("k1")

    threads = [threading.Thread(target=read, args=(turn,)) for turn in (1, 3, 7, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.stats().hits + cache.stats().misses == 4 * reads
    assert len(cache) <= 50
    assert cache._core.open_fills == 0


def test_locked_twins_do_the_same(monkeypatch):
    """Where the interpreter has no lock of its own, `get` takes the cache's."""
    monkeypatch.setattr(HintedCache, "get", locked(HintedCache.get, "_lock"))
    monkeypatch.setattr(HintedCache, "_fresh", locked(HintedCache._fresh, "_lock"))
    scene = Scene()
    scene.fill("a", 5)
    assert scene.cache.get("a") == scene.cache.get_or_load("a", lambda: 6) == 5
    assert scene.cache.get("b", 7) == 7


class Failing(dict):
    """A store that loses its disk."""

    def pop(self, *_):
        raise OSError("no disk")


def test_a_store_that_fails_keeps_nothing_stale_and_no_hint_away():
    """The thread that feeds the cache goes on; whoever discards by hand is told."""
    scene = Scene(store=Failing())
    voice = Voice(scene)
    scene.told(voice.mark())
    for key in ("a", "b", "c"):
        scene.fill(key)
    for key in ("a", "b", "c"):
        assert scene.cache.get(key) == 1
    with pytest.raises(OSError, match="no disk"):
        scene.cache.discard("b")
    with pytest.raises(OSError, match="no disk"):
        scene.cache.get("b")
    scene.told(voice.key("a"))
    with pytest.raises(OSError, match="no disk"):
        scene.cache.get("a")
    assert scene.cache.get("c") == 1
    assert scene.count("store_errors") == 1
