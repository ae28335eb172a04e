"""Single flight: one loads, the others wait, and nobody gets what was loaded before a change that was known when they asked."""

import asyncio
import threading

import pytest

from atmost import HintedCache, OptionError
from tests.hints.scene import Scene, Voice, keys_of, marks
from tests.real import until


class Load:
    """A load that waits until it is let go."""

    def __init__(self, *values):
        self.values = iter(values)
        self.started, self.go = threading.Event(), threading.Event()
        self.calls = 0

    def __call__(self):
        self.calls += 1
        self.started.set()
        assert self.go.wait(30)
        value = next(self.values)
        if isinstance(value, BaseException):
            raise value
        return value


def asking(cache, load, results, **how):
    """Asks in a thread; what comes of it is in `results`."""

    def ask():
        try:
            results.append(cache.get_or_load("a", load, **how))
        except BaseException as error:  # noqa: BLE001  also what is no Exception
            results.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_many_ask_and_one_loads():
    """All get what it loads."""
    cache, load, results = HintedCache(300), Load("value"), []
    threads = [asking(cache, load, results) for _ in range(8)]
    until(lambda: cache.stats().joined == 7)
    load.go.set()
    for thread in threads:
        thread.join()
    assert results == ["value"] * 8
    assert load.calls == 1
    assert cache.get_or_load("a", load) == "value"


def test_what_a_load_raises_all_raise():
    """And the next who asks tries anew."""
    cache, load, results = HintedCache(300), Load(ValueError("no"), "value"), []
    threads = [asking(cache, load, results) for _ in range(3)]
    until(lambda: cache.stats().joined == 2)
    load.go.set()
    for thread in threads:
        thread.join()
    assert [str(result) for result in results] == ["no"] * 3
    assert cache.get_or_load("a", load) == "value"
    assert load.calls == 2


def test_an_interruption_is_its_own_only():
    """Ctrl-C in the thread that loads is no answer for the others: one of them loads."""
    cache, load, results = HintedCache(300), Load(KeyboardInterrupt(), "value"), []
    threads = [asking(cache, load, results) for _ in range(3)]
    until(lambda: cache.stats().joined == 2)
    load.go.set()
    for thread in threads:
        thread.join()
    assert sorted(map(repr, results)) == ["'value'", "'value'", "KeyboardInterrupt()"]
    assert load.calls == 2


def test_what_another_load_brought_meanwhile_is_not_loaded_again(monkeypatch):
    """It landed between this caller's look and its own load; for threads and for tasks."""
    cache = HintedCache(300)
    read = cache._read

    def late(key):
        found = read(key)
        with cache.filling(key) as fill:
            fill.set("theirs")
        return found

    async def never():
        raise AssertionError

    monkeypatch.setattr(cache, "_read", late)
    assert cache.get_or_load("a", Load) == "theirs"
    assert asyncio.run(cache.get_or_load_async("b", never)) == "theirs"
    assert cache.stats().misses == 2
    assert cache.stats().hits == 0


@pytest.mark.parametrize("what", ["key", "prefix", "tag"])
def test_who_asks_after_a_hint_gets_a_load_after_it(what):
    """The load that goes on is not joined, and its value not cached; those who asked before get it."""
    scene = Scene()
    voice = Voice(scene)
    scene.told(voice.mark())
    old, new, results = Load("old"), Load("new"), []
    first = asking(scene.cache, old, results, tags=("t",))
    assert old.started.wait(30)
    second = asking(scene.cache, old, results, tags=("t",))
    until(lambda: scene.cache.stats().joined == 1)
    scene.told({"key": voice.key, "prefix": voice.prefix, "tag": voice.tag}[what]("t" if what == "tag" else "a"))
    third = asking(scene.cache, new, results, tags=("t",))
    assert new.started.wait(30)
    new.go.set()
    third.join()
    assert results == ["new"]
    old.go.set()
    first.join()
    second.join()
    assert results == ["new", "old", "old"]
    assert (old.calls, new.calls) == (1, 1)
    assert scene.cache.get("a") == "new"


def test_a_load_older_than_the_bound_is_not_joined():
    """It may have read before a change whose hint was lost."""
    scene = Scene(max_ttl=300)
    scene.told(Voice(scene).mark())
    old, results = Load("old"), []
    first = asking(scene.cache, old, results)
    assert old.started.wait(30)
    scene.now += 5.1
    assert scene.cache.get_or_load("a", lambda: "new") == "new"
    old.go.set()
    first.join()
    assert results == ["old"]


def test_a_load_may_ask_for_what_it_is_to_bring():
    """In its own thread it is not waited for."""
    cache = HintedCache(300)
    assert cache.get_or_load("a", lambda: cache.get_or_load("a", lambda: 1) + 1) == 2
    assert cache.get("a") == 2


def test_tags_may_depend_on_the_value():
    """A function tells them."""
    scene = Scene()
    scene.cache.get_or_load("a", lambda: {"owner": 7}, tags=lambda value: (f"owner:{value['owner']}",))
    scene.cache.discard_tag("owner:8")
    assert scene.served("a") == [True]
    scene.cache.discard_tag("owner:7")
    assert scene.served("a") == [False]


def test_none_is_a_value():
    """It is cached like any other."""
    cache, calls = HintedCache(300), []
    for _ in range(2):
        assert cache.get_or_load("a", lambda: calls.append(1)) is None
    assert calls == [1]


def test_a_ttl_out_of_range_raises_at_the_call():
    """And leaves no flight behind."""
    cache = HintedCache(300)
    with pytest.raises(OptionError):
        cache.get_or_load("a", lambda: 1, ttl=-1)
    assert cache.get_or_load("a", lambda: 2) == 2


def test_soft_one_loads_and_the_others_are_served_the_old_one():
    """By policy "soft", after a lost hint."""
    scene = Scene(policy="soft", jitter=0)
    voice = Voice(scene)
    scene.told(voice.mark())
    scene.cache.get_or_load("a", lambda: "old")
    marks(scene, voice, 10)
    voice.key(keys_of(shard("a"), 1)[0])  # lost
    marks(scene, voice, 2)
    load, results = Load("new"), []
    first = asking(scene.cache, load, results)
    assert load.started.wait(30)
    assert scene.cache.get_or_load("a", load) == "old"
    load.go.set()
    first.join()
    assert results == ["new"]
    assert scene.cache.get_or_load("a", load) == "new"
    assert load.calls == 1


def test_soft_loads_are_spread_over_the_jitter():
    """Each key's at another moment, so that an origin is not asked for a whole shard at once."""
    scene = Scene(policy="soft", soft=20, jitter=10)
    voice = Voice(scene)
    scene.told(voice.mark())
    keys = keys_of(3, 60)
    for key in keys:
        scene.fill(key, "old")
    voice.key(keys[0])  # lost
    scene.told(voice.mark())
    marks(scene, voice, 1)
    loaded = []
    for _ in range(10):
        marks(scene, voice, 1)
        loaded.append(sum(scene.cache.get_or_load(key, lambda: "new") == "new" for key in keys))
    assert 0 < loaded[0] < loaded[4] < loaded[9] == 60


def test_a_load_that_a_lost_hint_caused_waits_a_little(monkeypatch):
    """A random part of the jitter; other misses do not wait."""
    waits = []
    monkeypatch.setattr("atmost.hints.cache.time.sleep", waits.append)
    scene = Scene(jitter=0.5)
    voice = Voice(scene)
    scene.told(voice.mark())
    scene.fill("a")
    scene.cache.get_or_load("b", int)
    voice.key(keys_of(shard("a"), 1)[0])  # lost
    marks(scene, voice, 2)
    scene.cache.get_or_load("a", int)
    assert waits[0] == 0
    assert 0 < waits[1] <= 0.5


def test_tasks_of_a_loop_share_a_load():
    """A task that is cancelled while it loads leaves it to another."""
    cache = HintedCache(300)
    calls, begun = [], asyncio.Event()

    async def slow():
        calls.append(1)
        begun.set()
        await asyncio.sleep(0.01 if len(calls) > 1 else 30)
        return "value"

    async def main():
        first, *others = (asyncio.create_task(cache.get_or_load_async("a", slow)) for _ in range(5))
        await begun.wait()
        first.cancel()
        return await asyncio.gather(first, *others, return_exceptions=True)

    cancelled, *others = asyncio.run(main())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert others == ["value"] * 4
    assert len(calls) == 2


def shard(key):
    """Of a key."""
    from atmost.hints.wire import shard_of

    return shard_of(key, 64)
