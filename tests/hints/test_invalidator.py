"""The invalidator: what it sends, what it counts, and its lives."""

import copy
import gc
import os
import pickle
import threading
import weakref

import msgspec
import pytest

import atmost
from atmost import (
    AddressError,
    HintedCache,
    HintError,
    Invalidator,
    OptionError,
    PayloadTooLarge,
    Receiver,
    Sender,
    SubjectError,
)
from atmost.core.events import Arrival, Message, Session
from atmost.hints import HintKind, InvalidatorStats
from atmost.hints.wire import shard_of
from tests.real import run, until


class Wire:
    """Takes what a sender would send."""

    name = "wire"

    def __init__(self, limit=1 << 20, taking=True):
        self.sent, self.limit, self.taking = [], limit, taking

    def send(self, subject, payload=None):
        size = len(repr(payload))
        if size > self.limit:
            raise PayloadTooLarge(size, self.limit)
        self.sent.append((subject, payload))
        return self.taking

    def flush(self):
        pass

    def marks(self):
        return [payload for subject, payload in self.sent if subject.endswith(".mark")]

    def hints(self):
        return [(subject, payload) for subject, payload in self.sent if not subject.endswith(".mark")]


@pytest.fixture
def made():
    """Makes invalidators over a wire of their own, and closes them."""
    all_made = []

    def make(**options):
        wire = Wire(**{name: options.pop(name) for name in ("limit", "taking") if name in options})
        all_made.append(Invalidator(wire, **({"interval": 60.0} | options)))
        return all_made[-1], wire

    yield make
    for one in all_made:
        one.close(timeout=0)


def test_hints_are_numbered_by_shard(made):
    """Keys, tags and prefixes in sequences of their own, each from 1; the first mark goes before them."""
    invalidator, wire = made()
    assert invalidator.invalidate("a")
    assert invalidator.invalidate("a", digest=9)
    invalidator.invalidate_tag("a")
    invalidator.invalidate_prefix("a")
    shard, life = shard_of("a", 64), invalidator.life
    assert wire.hints() == [
        ("hints.key", [life, shard, 1, "a"]),
        ("hints.key", [life, shard, 2, "a", 9]),
        ("hints.tag", [life, shard, 1, "a"]),
        ("hints.prefix", [life, 0, 1, "a"]),
    ]
    assert wire.sent[0][0] == "hints.mark"
    assert set(wire.marks()[0].keys) == {0}
    assert invalidator.stats() == InvalidatorStats(keys=2, prefixes=1, tags=1, marks=1, dropped=0, errors=0)


def test_marks_tell_every_number(made):
    """And repeat the last prefixes, for some intervals; the clock of a life runs from its beginning."""
    invalidator, wire = made(interval=0.05, shards=4)
    invalidator.invalidate("a")
    invalidator.invalidate_tag("b")
    for number in range(10):
        invalidator.invalidate_prefix(f"p{number}")
    until(lambda: len(wire.marks()) > 1)
    mark = wire.marks()[1]
    assert (sum(mark.keys), sum(mark.tags), mark.prefixes) == (1, 1, 10)
    assert mark.keys[shard_of("a", 4)] == mark.tags[shard_of("b", 4)] == 1
    assert mark.recent == [(number + 1, f"p{number}") for number in range(2, 10)]
    until(lambda: not wire.marks()[-1].recent)
    assert 0 < mark.uptime < wire.marks()[-1].uptime < 30


def test_what_the_sender_drops_has_spent_its_number(made):
    """So readers find out; the caller is told."""
    invalidator, wire = made(taking=False)
    assert not invalidator.invalidate("a")
    assert invalidator.stats().dropped == 1
    assert invalidator._numbering.mark(1.0).keys[shard_of("a", 64)] == 1
    assert len(wire.hints()) == 1


def test_a_key_that_fits_no_datagram_has_spent_its_number(made):
    """The caller's mistake is raised, and readers refetch the shard nevertheless."""
    invalidator, _ = made(limit=900)
    with pytest.raises(PayloadTooLarge):
        invalidator.invalidate("x" * 1000)
    assert invalidator._numbering.mark(1.0).keys[shard_of("x" * 1000, 64)] == 1


def test_a_mark_that_does_not_fit_leaves_out_the_prefixes(made):
    """They are repeated for comfort only."""
    invalidator, wire = made(interval=0.05, limit=700)
    for number in range(8):
        invalidator.invalidate_prefix(f"{number:030}")
    until(lambda: len(wire.marks()) > 1)
    assert wire.marks()[1].prefixes == 8
    assert wire.marks()[1].recent == []


def test_a_sender_that_marks_do_not_fit_is_refused(made):
    """At once, with what to do."""
    with pytest.raises(OptionError, match=r"shards=64: expected so few that a mark fits 100 bytes"):
        made(limit=100)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"interval": 0}, OptionError),
        ({"interval": 61}, OptionError),
        ({"interval": True}, OptionError),
        ({"shards": 0}, OptionError),
        ({"sender": [5]}, OptionError),
        ({"sender": []}, OptionError),
        ({"sender": "udp://127.0.0.1:9-5"}, OptionError),
        ({"sender": "udp://"}, AddressError),
        ({"subject": "a b"}, SubjectError),
    ],
    ids=str,
)
def test_options_outside_their_range_are_refused(options, error):
    """Before anything is sent."""
    wire = Wire()
    with pytest.raises(error):
        Invalidator(**({"sender": wire} | options))
    assert wire.sent == []


@pytest.mark.parametrize("call", ["invalidate", "invalidate_prefix", "invalidate_tag"])
@pytest.mark.parametrize("text", [5, None, b"a", "x" * 1025])
def test_texts_that_are_none_are_refused(made, call, text):
    """Before a number is spent."""
    invalidator, wire = made()
    with pytest.raises(HintError):
        getattr(invalidator, call)(text)
    assert wire.hints() == []
    assert sum(invalidator._numbering.mark(1.0).keys) == 0


@pytest.mark.parametrize("digest", ["x", 1.5, True, 1 << 64, -(1 << 63) - 1])
def test_digests_that_are_none_are_refused(made, digest):
    """Before a number is spent; readers would have had to take such a hint for lost."""
    invalidator, wire = made()
    with pytest.raises(OptionError, match="digest"):
        invalidator.invalidate("a", digest=digest)
    assert sum(invalidator._numbering.mark(1.0).keys) == 0
    assert invalidator.invalidate("a", digest=(1 << 64) - 1)
    assert len(wire.hints()) == 1


def test_goodbye_has_the_last_numbers(made):
    """Three times; a hint after it begins another life, with a mark before it."""
    invalidator, wire = made()
    life = invalidator.life
    invalidator.invalidate("a")
    with invalidator:
        pass
    invalidator.close()
    byes = [mark for mark in wire.marks() if mark.closed]
    assert len(byes) == 3
    assert {sum(mark.keys) for mark in byes} == {1}
    invalidator.invalidate("a")
    assert invalidator.life != life
    assert [(mark.life, mark.closed) for mark in wire.marks()[-1:]] == [(invalidator.life, False)]
    assert wire.hints()[-1] == ("hints.key", [invalidator.life, shard_of("a", 64), 1, "a"])
    assert wire.sent[-1][0] == "hints.key"


def test_marks_that_fail_are_counted(made):
    """What a sender raises does not end the thread."""
    invalidator, wire = made(interval=0.05)
    wire.limit = 0
    until(lambda: invalidator.stats().errors >= 2)
    wire.limit = 1 << 20
    until(lambda: len(wire.marks()) > 1)


def test_the_thread_ends_with_its_owner():
    """An invalidator that nobody holds says no more."""

    def threads():
        return {thread.ident for thread in threading.enumerate() if thread.name == "atmost-marks"}

    others = threads()
    invalidator = Invalidator(Wire(), interval=0.05)
    assert len(threads() - others) == 1
    gone = weakref.ref(invalidator)
    del invalidator
    gc.collect()
    until(lambda: gone() is None)
    until(lambda: not threads() - others)


def test_threads_never_share_a_number(made):
    """Each number is given once, and marks never tell more than was taken."""
    invalidator, wire = made(shards=1)
    threads = [threading.Thread(target=lambda: [invalidator.invalidate("a") for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(payload[2] for _, payload in wire.hints()) == list(range(1, 2001))
    assert invalidator._numbering.mark(1.0).keys == [2000]


def test_a_forked_childs_hints_are_of_another_life(made):
    """It marks from its first hint on; its parent's life goes on."""
    invalidator, wire = made()
    invalidator.invalidate("a")
    before, life = len(wire.sent), invalidator.life
    child = os.fork()
    if not child:
        invalidator.invalidate("a")
        kinds = [subject for subject, _ in wire.sent[before:]]
        right = kinds == ["hints.mark", "hints.key"] and invalidator.life != life and wire.sent[-1][1][2] == 1
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert invalidator.life == life
    invalidator.invalidate("a")
    assert wire.hints()[-1][1][2] == 2


def test_a_forked_childs_cache_does_not_take_its_parents_hints_for_its_own(made):
    """Before its first hint the child's invalidator is already another one."""
    invalidator, wire = made()
    cache = HintedCache(300, own=invalidator)
    child = os.fork()
    if not child:
        session = Session(bytes(18), 0)
        for subject, payload in [*wire.sent, ("hints.key", invalidator._numbering.hint(HintKind.KEY, "a", 0.0))]:
            cache.feed(
                Message(subject, msgspec.to_builtins(payload, builtin_types=(bytes,)), Arrival(session, 0, 0, 0))
            )
        os._exit(0 if cache.stats().own == 1 and cache.invalidators == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_it_cannot_be_copied(made):
    """A copy would give the same numbers."""
    invalidator, _ = made()
    for way in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="construct one in each process"):
            way(invalidator)


def test_a_process_that_ends_says_goodbye():
    """Without being asked to, so that readers do not go blind."""
    with Receiver("udp://127.0.0.1:0") as receiver, HintedCache(300, receiver=receiver) as cache:
        code = "import sys, atmost; s = atmost.Sender(sys.argv[1]); i = atmost.Invalidator(s); i.invalidate('a')"
        run(code, receiver.url)
        until(lambda: cache.stats().marks >= 2)
        until(lambda: cache.invalidators == 0)
        assert cache.stats().hints_by_kind == {HintKind.KEY: 1}


def test_through_a_sender_and_a_receiver():
    """From one end to the other: a key, a prefix, a tag; and the thread that feeds ends with the cache."""
    with Receiver("memory://hints") as receiver, Sender("memory://hints") as sender:
        cache = HintedCache(300, receiver=receiver)
        with Invalidator(sender) as invalidator:
            until(lambda: cache.invalidators == 1)
            for key in ("a", "b:1", "c", "d"):
                cache.get_or_load(key, lambda: 1, tags=("t",) if key == "c" else ())
            invalidator.invalidate("a")
            invalidator.invalidate_prefix("b:")
            invalidator.invalidate_tag("t")
            until(lambda: sum(cache.stats().hints_by_kind.values()) == 3)
            assert [cache.get(key) for key in ("a", "b:1", "c", "d")] == [None, None, None, 1]
            assert cache.staleness_bound == 5.0
        until(lambda: cache.invalidators == 0)
        cache.close()
        cache.close()
    assert not any(thread.name == "atmost-hints" for thread in threading.enumerate())


def test_a_cache_makes_a_receiver_of_an_address():
    """And closes it; a cache that nobody holds lets go of it too."""
    cache = HintedCache(300, receiver="memory://own")
    with Sender("memory://own") as sender, Invalidator(sender):
        until(lambda: cache.invalidators == 1)
    cache.close()
    HintedCache(300, receiver="memory://own")
    gc.collect()
    until(lambda: not any(thread.name == "atmost-hints" for thread in threading.enumerate()))
    Receiver("memory://own").close()


def test_without_a_thread_for_its_hints_there_is_no_cache(monkeypatch):
    """The program learns of it, and the address is free again."""

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="thread") as refused:
            HintedCache(300, receiver="memory://threadless")
    Receiver("memory://threadless").close()
    assert refused.value


def test_kinds_are_those_of_the_subjects():
    """As the page says."""
    assert [kind.value for kind in HintKind] == ["key", "prefix", "tag", "mark"]
    assert atmost.HintedCache is HintedCache


def test_a_child_without_a_thread_for_its_hints_says_so_once(monkeypatch, caplog):
    """Its reads are served, bounded by `max_ttl`."""

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    cache = HintedCache(300, receiver="memory://childless")
    cache.close()
    cache.renew(seen=True)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert cache.get_or_load("a", lambda: 1) == 1
    assert "receives no hints" in caplog.text
    Receiver("memory://childless").close()


def test_a_closed_cache_is_not_resumed():
    """Not where it was made while no thread could be started."""
    with Receiver("memory://resumed") as receiver:
        cache = HintedCache(300)
        cache._waiting = receiver
        cache.close()
        cache.resume()
        assert not any(thread.name == "atmost-hints" for thread in threading.enumerate())


def test_a_receiver_that_fails_ends_its_hints_and_says_so(caplog):
    """Once; nothing is asked of it any more."""

    class Broken:
        closed = False
        url = "memory://broken"
        asked = 0

        def next_event(self, _timeout):
            self.asked += 1
            raise OSError(5, "Input/output error")

        def close(self):
            pass

    broken = Broken()
    cache = HintedCache(300, receiver=broken)
    until(lambda: "receives no more hints" in caplog.text)
    until(lambda: not any(thread.name == "atmost-hints" for thread in threading.enumerate()))
    assert broken.asked == 1
    cache.close()
