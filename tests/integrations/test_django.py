"""Django's cache interface over hints: one process against Django's own rules, and two real processes against each other."""

import asyncio
import json
import os
import threading
import warnings

import pytest
from django.core.cache.backends.base import CacheKeyWarning
from django.core.exceptions import ImproperlyConfigured

from atmost import HintError, Receiver
from atmost.integrations.django import HintedCacheBackend, close_all
from tests.real import program, until

LOCATION = "memory://django"
PROGRAM = """
import json, sys
import django
from django.conf import settings

settings.configure(CACHES={"default": {
    "BACKEND": "atmost.integrations.django.HintedCacheBackend",
    "LOCATION": sys.argv[1],
    "OPTIONS": {"INTERVAL": 0.1, "GRACE": 0.1},
}})
django.setup()
from django.core.cache import cache

cache.get("nothing")
print("ready", flush=True)
for line in sys.stdin:
    try:
        print(json.dumps(eval(line)), flush=True)
    except Exception as error:
        print(json.dumps(type(error).__name__), flush=True)
"""


@pytest.fixture(scope="module")
def backend():
    """A backend of this process, the only member."""
    yield HintedCacheBackend(LOCATION, {"TIMEOUT": 60, "OPTIONS": {"MAX_TTL": 1000}})
    close_all()


@pytest.fixture
def cache(backend):
    """Empty, at the beginning of a request."""
    backend.clear()
    backend.close()
    return backend


def expiry(cache, key):
    """Seconds a value has left."""
    return cache.hints.ttl_left(cache.make_key(key))


def test_values_come_back_as_copies(cache):
    """Changing what was got changes nothing; None is a value."""
    value = {"a": [1]}
    cache.set("k", value)
    value["a"].append(2)
    got = cache.get("k")
    assert got == {"a": [1]}
    got["a"].append(3)
    assert cache.get("k") == {"a": [1]}
    cache.set("none", None)
    assert cache.get("none", "default") is None
    assert cache.get("missing", "default") == "default"
    assert "none" in cache
    assert not cache.has_key("missing")


def test_add_get_or_set_touch_and_delete(cache):
    """As Django documents them."""
    assert cache.add("k", 1)
    assert not cache.add("k", 2)
    assert cache.get("k") == 1
    assert cache.get_or_set("k", 5) == 1
    assert cache.get_or_set("other", lambda: 6) == cache.get("other") == 6
    assert cache.touch("k", 500)
    assert 490 < expiry(cache, "k") <= 500
    assert not cache.touch("missing")
    assert cache.touch("k", 0)
    assert cache.get("k") is None
    assert cache.delete("other")
    assert not cache.delete("other")


def test_counting(cache):
    """The time that is left stays; what is not there raises as Django does."""
    cache.set("n", 5, 500)
    assert (cache.incr("n"), cache.incr("n", 10), cache.decr("n", 2)) == (6, 16, 14)
    assert 490 < expiry(cache, "n") <= 500
    with pytest.raises(ValueError, match="Key 'missing' not found"):
        cache.incr("missing")


def test_counting_what_another_thread_set_after_a_miss(cache):
    """The value is the one that is kept, whatever this thread had missed before."""
    other = HintedCacheBackend(LOCATION, {"TIMEOUT": 60, "OPTIONS": {"MAX_TTL": 1000}})
    assert cache.get("n") is None
    other.delete("n")
    other.set("n", 1)
    assert cache.incr("n") == 2
    assert cache.get("n") == 2


def test_versions_and_many(cache):
    """Django's own, on top."""
    cache.set_many({"a": 1, "b": 2})
    cache.set("a", "two", version=2)
    assert cache.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
    assert cache.get("a", version=2) == "two"
    assert cache.incr_version("b") == 2
    assert (cache.get("b"), cache.get("b", version=2)) == (None, 2)
    cache.delete_many(["a", "b"])
    assert cache.get_many(["a", "b"]) == {}
    cache.clear()
    assert cache.get("a", version=2) is None


def test_timeouts(cache):
    """The default, none (then MAX_TTL), and those that mean now."""
    cache.set("default", 1)
    cache.set("never", 1, None)
    cache.set("long", 1, 10_000)
    assert 50 < expiry(cache, "default") <= 60
    assert 990 < expiry(cache, "never") <= 1000
    assert 990 < expiry(cache, "long") <= 1000
    for timeout in (0, -1):
        cache.set("default", 2, timeout)
        assert cache.get("default") is None
        assert cache.add("default", 1, timeout)
        assert cache.get("default") is None
        assert cache.get_or_set("default", 7, timeout) == 7
        assert cache.get_or_set("default", lambda: 8, timeout) == 8
        assert cache.get_or_set("long", pytest.fail, timeout) == 1


def test_keys(cache):
    """Django warns of what memcached would refuse; what cannot be sent is refused here."""
    with pytest.warns(CacheKeyWarning):
        cache.set("with space", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheKeyWarning)
        with pytest.raises(HintError):
            cache.set("x" * 2000, 1)


def test_the_race_of_a_miss_and_a_set(cache):
    """What was loaded before a change and set after it is not kept; the next request's set is."""
    assert cache.get("k") is None
    cache.hints.discard(cache.make_key("k"))  # a hint came
    cache.set("k", "old")
    assert cache.get("k") is None
    cache.close()  # the request is over
    cache.set("k", "new")
    assert cache.get("k") == "new"


def test_of_two_misses_the_earlier_counts(cache):
    """Two tasks may share a backend: the one that began to load before the change must not cache."""
    cache.get("k")
    cache.hints.discard(cache.make_key("k"))
    cache.get("k")
    assert cache.add("k", "old")
    assert cache.get("k") is None


def test_misses_that_nothing_follows_are_bounded(cache):
    """And let go at the end of the request, or of the thread."""
    fills = cache.hints._core._fills
    for number in range(100):
        cache.get(f"k{number}")
    assert len(cache._leases) == len(fills) == 64
    cache.close()
    assert len(fills) == 0

    def thread():
        HintedCacheBackend(LOCATION, {"TIMEOUT": 60, "OPTIONS": {"MAX_TTL": 1000}}).get("x")

    other = threading.Thread(target=thread)
    other.start()
    other.join()
    assert len(fills) == 0


def test_async_variants(cache):
    """Django's own, over the same cache."""

    async def use():
        await cache.aset("k", 1)
        assert await cache.aadd("k", 2) is False
        assert await cache.aincr("k") == 2
        assert await cache.aget_or_set("k", 5) == 2
        assert await cache.adelete("k")
        return await cache.aget("k", "gone")

    assert asyncio.run(use()) == "gone"


def test_a_forked_child_has_a_cache_of_its_own():
    """It serves nothing of its parent's, and receives on an address of its own."""
    parent = HintedCacheBackend(_two_addresses(), {"OPTIONS": {"INTERVAL": 0.2}})
    parent.set("k", 1)
    assert parent.get("other") is None
    child = os.fork()
    if not child:
        parent.set("other", 2)
        os._exit(0 if (parent.get("k"), parent.get("other")) == (None, 2) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert parent.get("k") == 1


def _two_addresses():
    with Receiver("udp://127.0.0.1:0") as one, Receiver("udp://127.0.0.1:0") as two:
        return f"{one.url},{two.url}"


def test_addresses():
    """What is no list of addresses is Django's own error."""
    for wrong in ("", [], "udp://a:9-7", "udp://a:1-70000", "udp://a:1-300", [5]):
        with pytest.raises(ImproperlyConfigured, match="LOCATION"):
            HintedCacheBackend(wrong, {})


def test_misconfiguration_is_told():
    """As Django's own errors."""
    with pytest.raises(ImproperlyConfigured, match="unknown option MAXTTL; known options are AUDIENCE"):
        HintedCacheBackend(LOCATION, {"OPTIONS": {"MAXTTL": 5}})
    with Receiver("memory://taken"), pytest.raises(ImproperlyConfigured, match="no address of LOCATION is free"):
        HintedCacheBackend("memory://taken", {}).get("a")


@pytest.fixture(scope="module")
def processes():
    """Two real processes that know each other."""
    location = _two_addresses()
    with program(PROGRAM, location) as first, program(PROGRAM, location) as second:
        assert (first.line(), second.line()) == ("ready", "ready")
        for each in (first, second):
            until(lambda each=each: ask(each, "cache.hints.invalidators") == 1)
        yield first, second
        assert (first.end(), second.end()) == (0, 0)


def ask(process, expression):
    """What an expression is in a process."""
    process.tell(expression)
    return json.loads(process.line())


def test_a_set_ends_what_the_other_process_has(processes):
    """Unless it is the same value: then both keep it."""
    first, second = processes
    ask(first, "cache.set('k', 1)")
    until(lambda: ask(second, "sum(cache.hints.stats().hints_by_kind.values())") == 1)
    ask(second, "cache.set('k', 1)")
    until(lambda: ask(first, "cache.hints.stats().kept") == 1)
    assert (ask(first, "cache.get('k')"), ask(second, "cache.get('k')")) == (1, 1)
    ask(second, "cache.set('k', 2)")
    until(lambda: ask(first, "cache.get('k')") is None)
    assert ask(second, "cache.get('k')") == 2


@pytest.mark.parametrize(
    "change",
    ["cache.delete('k')", "cache.incr('k')", "cache.clear()", "cache.set('k', 9, 0)", "cache.set_many({'k': 7})"],
)
def test_other_changes_reach_the_other_process_too(processes, change):
    """Each way to change a value ends what the other has of it."""
    first, second = processes
    for process in (first, second):
        ask(process, "cache.set('k', 5)")
        ask(process, "cache.close()")
    until(lambda: ask(second, "cache.get_or_set('k', 5)") == 5)
    ask(first, change)
    until(lambda: ask(second, "cache.get('k')") is None)


def test_what_changes_nothing_stays_at_home(processes):
    """A fill tells nobody: otherwise each process would end what the others have just loaded."""
    first, second = processes
    sent = "[cache.invalidator.stats().keys, cache.invalidator.stats().tags, cache.invalidator.stats().prefixes]"
    before = ask(first, sent)
    for call in ("cache.add('a', 1)", "cache.get_or_set('b', 2)", "cache.touch('a')", "cache.get('a')"):
        ask(first, call)
    assert ask(first, sent) == before
    assert ask(second, "cache.hints.staleness_bound") == 0.5
