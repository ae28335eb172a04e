"""Loads that wait for each other: found before they wait for ever, by threads and by tasks, over several caches."""

import asyncio
import threading

import pytest

from atmost import HintedCache
from atmost.errors import HintLoadCycle
from tests.real import until


def in_threads(*asks):
    """What comes of each, asked in a thread of its own: a value, or the exception."""
    results = [None] * len(asks)

    def ask(number):
        try:
            results[number] = asks[number]()
        except Exception as error:  # noqa: BLE001  whatever it is
            results[number] = error

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(len(asks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "it waits for ever"
    return results


@pytest.mark.parametrize("length", [2, 3, 5])
@pytest.mark.parametrize("caches", [1, 2])
def test_threads_that_ask_for_each_others_keys(length, caches):
    """One of them gets an error that names all keys, the others one of their own; afterwards each key can be loaded."""
    those = [HintedCache(300) for _ in range(caches)]
    everybody = threading.Barrier(length)

    def load(number):
        everybody.wait(30)
        after = (number + 1) % length
        return those[after % caches].get_or_load(f"k{after}", lambda: "not reached")

    def ask(number):
        return lambda: those[number % caches].get_or_load(f"k{number}", lambda: load(number))

    results = in_threads(*(ask(number) for number in range(length)))
    assert all(type(result) is HintLoadCycle for result in results), results
    assert len({id(result) for result in results}) == length
    for result in results:
        assert set(result.keys) == {f"k{number}" for number in range(length)}
        assert all(repr(key) in str(result) for key in result.keys)
    for number in range(length):
        assert those[number % caches].get_or_load(f"k{number}", lambda: "loaded") == "loaded"


def test_one_thread_that_comes_back_to_its_own_key():
    """Through the load of another key."""
    cache = HintedCache(300)

    def first():
        return cache.get_or_load("b", lambda: cache.get_or_load("a", first))

    with pytest.raises(HintLoadCycle, match="'b' → 'a'"):
        cache.get_or_load("a", first)


@pytest.mark.parametrize("how", ["await", "gather", "wait_for", "task"])
def test_tasks_that_ask_for_each_others_keys(how):
    """Also where the load waits for a task of its own that asks."""
    cache = HintedCache(300)

    async def ask(key, other, ready, others):
        async def nothing():
            return "not reached"

        async def load():
            ready.set()
            await others.wait()
            asked = cache.get_or_load_async(other, nothing)
            if how == "gather":
                return (await asyncio.gather(asked, asyncio.sleep(0)))[0]
            if how == "wait_for":
                return await asyncio.wait_for(asked, 30)
            return await (asked if how == "await" else asyncio.create_task(asked))

        return await cache.get_or_load_async(key, load)

    async def main():
        a, b = asyncio.Event(), asyncio.Event()
        both = asyncio.gather(ask("a", "b", a, b), ask("b", "a", b, a), return_exceptions=True)
        return await asyncio.wait_for(both, 30)

    one, two = asyncio.run(main())
    assert type(one) is type(two) is HintLoadCycle
    assert one is not two
    assert {*one.keys} == {*two.keys} == {"a", "b"}


def test_tasks_and_threads_in_one_circle():
    """A task's load hands its work to a thread that asks for another key, whose load asks for the task's."""
    cache = HintedCache(300)

    async def main():
        async def load_a():
            return await asyncio.to_thread(cache.get_or_load, "b", load_b)

        def load_b():
            return asyncio.run_coroutine_threadsafe(cache.get_or_load_async("a", load_a), loop).result(30)

        loop = asyncio.get_running_loop()
        return await cache.get_or_load_async("a", load_a)

    with pytest.raises(HintLoadCycle):
        asyncio.run(main())


def test_loads_that_share_a_third_are_no_circle():
    """Two that wait for one key, in whatever order, get it."""
    cache = HintedCache(300)
    begun, go = threading.Event(), threading.Event()

    def shared():
        begun.set()
        assert go.wait(30)
        return "c"

    def ask(key, own):
        def load():
            if own:
                return key + cache.get_or_load("c", shared)
            assert begun.wait(30)
            threading.Timer(0.05, go.set).start()
            return key + cache.get_or_load("c", lambda: "not reached")

        return lambda: cache.get_or_load(key, load)

    assert in_threads(ask("a", own=True), ask("b", own=False)) == ["ac", "bc"]


def test_a_task_that_outlives_the_load_that_started_it_waits_for_it_no_more():
    """What it asks for later is no circle, also when it is the key of that load."""
    cache = HintedCache(300)

    async def main():
        later = asyncio.Event()

        async def afterwards():
            await later.wait()
            return await cache.get_or_load_async("a", load)

        async def load():
            tasks.append(asyncio.create_task(afterwards()))
            return len(tasks)

        tasks = []
        await cache.get_or_load_async("a", load)
        cache.discard("a")
        again = asyncio.create_task(cache.get_or_load_async("a", load))
        later.set()
        return await again, await tasks[0]

    assert asyncio.run(main()) == (2, 2)


class Odd(Exception):
    """Made of something that is not its argument."""

    def __init__(self, code, *, where):
        super().__init__(f"{code} at {where}")
        self.code, self.where = code, where


@pytest.mark.parametrize("error", [ValueError("no"), Odd(7, where="db"), OSError(2, "no such file"), KeyError("k")])
def test_each_who_waits_for_a_load_that_fails_gets_an_exception_of_its_own(error):
    """Of the same kind and content, so that handlers work; its cause is what the load raised."""
    cache = HintedCache(300)
    begun, go = threading.Event(), threading.Event()

    def load():
        begun.set()
        assert go.wait(30)
        raise error

    def late():
        assert begun.wait(30)
        return cache.get_or_load("a", load)

    def count():
        until(lambda: cache.stats().joined == 2)
        go.set()

    raised = in_threads(lambda: cache.get_or_load("a", load), late, late, count)[:3]
    assert raised[0] is error
    assert len({id(one) for one in raised}) == 3
    for one in raised[1:]:
        assert type(one) is type(error)
        assert (one.args, str(one), vars(one)) == (error.args, str(error), vars(error))
        assert one.__cause__ is error
