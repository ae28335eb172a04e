"""`@hinted`: keys of calls, functions of both kinds, methods, and what is told of them."""

import asyncio
import inspect
from functools import partial

import pytest

from atmost import HintedCache, HintError, OptionError, hinted


@pytest.fixture
def cache():
    """Empty."""
    return HintedCache(300)


def test_a_function_is_called_once_for_each_key(cache):
    """Until its key is invalidated."""
    calls = []

    @hinted(cache, key="user:{user_id}")
    def load(user_id: int, *, deep: bool = False) -> str:
        """Loads a user."""
        calls.append(user_id)
        return f"user {user_id}"

    assert [load(1), load(user_id=1), load(2), load(1, deep=True)] == ["user 1", "user 1", "user 2", "user 1"]
    assert calls == [1, 2]
    assert load.key(1) == "user:1"
    cache.discard(load.key(1))
    load(1)
    load.discard(2)
    load(2)
    assert calls == [1, 2, 1, 2]
    assert load.cache_info() == (2, 4, 10_000, 2)
    assert (load.__name__, load.__doc__) == ("load", "Loads a user.")
    assert load.__wrapped__(3) == "user 3"


def test_without_a_key_the_arguments_are_written_out(cache):
    """With the function's name; defaults and names of arguments do not matter."""

    @hinted(cache)
    def add(a, b=2, *rest, **more):
        return (a, b, rest, more)

    assert add(1) == add(1, 2) == add(a=1, b=2) == (1, 2, (), {})
    assert add.cache_info().misses == 1
    assert add(1, "2") != add(1, 2)
    assert add(1, 2, 3, x=None) == (1, 2, (3,), {"x": None})
    assert add.key(1).endswith(".add(1, 2, (), {})")
    assert add.key(1, x=3, y=4) == add.key(1, y=4, x=3)
    for wrong in (1.5, [1], object()):
        with pytest.raises(HintError, match="'a' cannot be written out"):
            add(wrong)


def test_what_has_no_name_needs_a_key(cache):
    """A partial would be written out like any other; with a key of its own it is cached as a function is."""
    double = partial(lambda factor, number: factor * number, 2)
    with pytest.raises(OptionError, match="has no name to write out"):
        hinted(cache)(double)
    assert hinted(cache, key="double:{number}")(double)(4) == 8
    assert cache.get("double:4") == 8


def test_a_function_may_make_the_key(cache):
    """Of the arguments; it must be text."""

    @hinted(cache, key=lambda order: order["id"], ttl=5, tags=lambda value: (value["tag"],))
    def load(order):
        return {"tag": order["id"]}

    assert load({"id": "a"}) is load({"id": "a"})
    cache.discard_tag("a")
    assert load.cache_info().hits == 1
    load({"id": "a"})
    assert load.cache_info().misses == 2
    with pytest.raises(HintError, match="must be a string"):
        load({"id": 5})


def test_an_async_function_is_awaited_once(cache):
    """By tasks at the same time too; and is still an async function."""
    calls = []

    @hinted(cache, key="a:{n}")
    async def load(n):
        calls.append(n)
        await asyncio.sleep(0)
        return n

    async def main():
        assert await asyncio.gather(*(load(1) for _ in range(5))) == [1] * 5
        return await load(1)

    assert asyncio.run(main()) == 1
    assert calls == [1]
    assert load.cache_info()[:2] == (5, 1)
    assert not hasattr(inspect, "markcoroutinefunction") or inspect.iscoroutinefunction(load)


def test_methods(cache):
    """The instance is the first argument."""

    class Shop:
        def __init__(self, name):
            self.name = name

        @hinted(cache, key="{self.name}:{item}")
        def price(self, item):
            return f"{self.name} {item}"

    assert Shop("a").price("x") == Shop("a").price("x") == "a x"
    assert Shop("b").price("x") == "b x"
    assert Shop.price.cache_info().hits == 1


@pytest.mark.parametrize("key", [5, "user:{id}", "user:{}", "user:{"])
def test_keys_that_cannot_be_made_are_refused(cache, key):
    """When the function is decorated."""
    with pytest.raises(OptionError, match="key"):

        @hinted(cache, key=key)
        def load(user_id):
            return user_id
