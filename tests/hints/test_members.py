"""Addresses that the processes of a host share: each receives at one of them, and an invalidator reaches all."""

import concurrent.futures
import os
import re
from pathlib import Path

import pytest

from atmost import AddressInUse, HintedCache, Invalidator, OptionError, Sender
from atmost.hints.members import MemberSenders, addresses_of
from atmost.metrics import Metrics
from tests.cfork import c_fork
from tests.real import until
from tests.services import SCRIPTS, fetch, free_port, observing, serving, settles

PAGE = Path(__file__).parents[2] / "docs" / "hints.md"


def port_range(count):
    """A range of UDP ports that is likely to be free."""
    first = free_port() % 20_000 + 20_000
    return f"udp://127.0.0.1:{first}-{first + count - 1}"


def test_addresses():
    """Lists, divided texts and ranges."""
    assert addresses_of("udp://a:1; udp://b:7-9", "x") == ("udp://a:1", "udp://b:7", "udp://b:8", "udp://b:9")
    assert addresses_of(["unix:///run/a", "unix:///run/b/"], "x") == ("unix:///run/a", "unix:///run/b/")
    for wrong in ("", [], "udp://a:9-7", "udp://a:1-70000", "udp://a:1-300", [5]):
        with pytest.raises(OptionError, match=r"^x="):
            addresses_of(wrong, "x")


@pytest.mark.parametrize("kind", ["ports", "sockets"])
def test_several_caches_of_a_host(kind, tmp_path):
    """Each at an address of its own; a hint reaches all, also one that came after the invalidator; no address is left over."""
    shared = port_range(3) if kind == "ports" else f"unix://{tmp_path}/hints/"
    with Invalidator(shared, interval=0.05) as hints:
        caches = [HintedCache(300, receiver=shared, grace=0.1) for _ in range(3)]
        assert len({cache.url for cache in caches}) == 3
        for cache in caches:
            until(lambda cache=cache: cache.invalidators == 1)
            cache.get_or_load("a", lambda: "old")
        assert hints.invalidate("a") or kind == "ports"
        for cache in caches:
            until(lambda cache=cache: cache.get("a") is None)
            assert cache.staleness_bound == pytest.approx(0.35)
        if kind == "ports":
            with pytest.raises(AddressInUse) as raised:
                HintedCache(300, receiver=shared)
            assert "a range of ports" in raised.value.__notes__[0]
        caches.pop().close()
        caches.append(HintedCache(300, receiver=shared, grace=0.1))
        until(lambda: caches[-1].invalidators == 1)
    for cache in caches:
        until(lambda cache=cache: cache.invalidators == 0)
        cache.close()


def test_a_member_that_was_killed_leaves_its_place():
    """Its socket is refused and forgotten; the next process takes it."""
    shared = port_range(2)
    first = HintedCache(300, receiver=shared)
    url = first.url
    first.close()
    again = HintedCache(300, receiver=shared)
    assert again.url == url
    again.close()


@pytest.mark.parametrize("how", ["fork", "unseen"])
def test_a_forked_child_joins_at_an_address_of_its_own(how):
    """Before its first load, also when C code forked; until then its cache is empty."""
    shared = port_range(2)
    cache = HintedCache(300, receiver=shared, grace=0.1)
    hints = Invalidator(shared, interval=0.05)
    until(lambda: cache.invalidators == 1)
    cache.get_or_load("a", lambda: "parent")
    child = os.fork() if how == "fork" else c_fork()
    if not child:
        try:
            right = cache.get_or_load("b", lambda: "child") == "child" and cache.get("a") is None
            until(lambda: cache.invalidators == 1)
            cache.get_or_load("b", lambda: "child")
            until(lambda: cache.get("b") is None)
            os._exit(0 if right and cache.url is not None else 1)
        finally:
            os._exit(2)
    statuses = []

    def ended():
        hints.invalidate("b")
        pid, status = os.waitpid(child, os.WNOHANG)
        statuses.extend([status] * bool(pid))
        return pid

    until(ended)
    assert statuses == [0]
    assert cache.get("a") == "parent"
    hints.close()
    cache.close()


def test_senders_and_addresses_may_be_mixed():
    """Senders that were given stay their owner's."""
    with Sender("memory://mixed") as sender:
        both = MemberSenders(("memory://mixed-2",), [sender])
        assert both.send("a.b", 1)
        both.flush()
        both.close()
        assert sender.send("a.b", 1)


def test_hits_and_misses_go_where_metrics_go():
    """Under the cache's name, beside its bound."""
    with observing() as observer, Sender(observer.url) as sender, Metrics(sender, interval=0.05) as metrics:
        cache = HintedCache(300)
        cache.measure(metrics, "users")
        for _ in range(3):
            cache.get_or_load("a", lambda: 1)
        settles(lambda: (observer.total("users_hits_total"), observer.total("users_misses_total")), (2, 1))
        bound = [("users_staleness_bound_seconds", 300.0), ("users_entries", 1.0)]
        settles(lambda: [(name, observer.metrics.series(name)[0][2]) for name, _ in bound], bound)


def test_the_example_of_the_page_runs_under_gunicorn(tmp_path):
    """With four workers, as printed: each has a cache, and a change that one of them makes is seen by all."""
    example = re.search(r"```python\n(# shop\.py\n.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "shop.py").write_text(example[1].replace("udp://127.0.0.1:7150-7157", port_range(8)))
    port = free_port()
    arguments = ["--workers", "4", "--bind", f"127.0.0.1:{port}", "--no-control-socket", "shop:app"]
    with serving(SCRIPTS / "gunicorn", *arguments, cwd=tmp_path, port=port):

        def values():
            with concurrent.futures.ThreadPoolExecutor(8) as clients:
                return dict(clients.map(lambda _: fetch(port, "/")[2].split(), range(24)))

        before = {}
        until(lambda: len(before.update(values()) or before) == 4)
        assert all(values()[pid] == value for pid, value in before.items() if pid in values())
        assert fetch(port, "/change")[2] == "changed"
        after = {}
        until(lambda: len(after.update(values()) or after) == 4 and not set(after.items()) & set(before.items()))
