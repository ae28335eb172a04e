"""The record in SQLite: one of two wins, effect and record are one, and it forgets when it may."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost import OptionError
from atmost.durable import AlreadyProcessed, DurableMessage, IdempotencyStore, SQLiteStore
from tests.real import run

MESSAGE = DurableMessage("payments.a", 12.5, id="order-17", stream="PAYMENTS", consumer="ledger")


@pytest.fixture
def path(tmp_path):
    """A file with a table of the user's own."""
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("CREATE TABLE payments (id TEXT)")
    connection.close()
    return tmp_path / "store.db"


def payments(path):
    """What the user's table holds, as another process sees it."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT id FROM payments").fetchall()
    connection.close()
    return [row[0] for row in rows]


def test_a_record_survives_and_is_its_scope_s(path):
    """Closed and opened again; the same id in another scope is another message."""
    with SQLiteStore(path) as store:
        assert isinstance(store, IdempotencyStore)
        assert not store.seen("PAYMENTS/ledger", "order-17")
        assert store.record("PAYMENTS/ledger", "order-17")
        assert not store.record("PAYMENTS/ledger", "order-17")
    with SQLiteStore(path) as store:
        assert store.seen("PAYMENTS/ledger", "order-17")
        assert not store.seen("PAYMENTS/mail", "order-17")
        assert store.record("PAYMENTS/mail", "order-17")
        assert len(store) == 2
    store.close()


def test_effect_and_record_are_one(path):
    """Both are there, or neither is."""
    with SQLiteStore(path) as store:
        with pytest.raises(RuntimeError), store.transaction(MESSAGE) as connection:  # noqa: PT012  the block is the matter
            connection.execute("INSERT INTO payments VALUES ('order-17')")
            raise RuntimeError("no paper")
        assert not store.seen(MESSAGE.scope, MESSAGE.id)
        assert payments(path) == []
        with store.transaction(MESSAGE) as connection:
            connection.execute("INSERT INTO payments VALUES ('order-17')")
            assert payments(path) == []
        assert store.seen(MESSAGE.scope, MESSAGE.id)
        with pytest.raises(AlreadyProcessed) as refused, store.transaction(MESSAGE):
            pytest.fail("processed twice")
        assert (refused.value.scope, refused.value.id) == ("PAYMENTS/ledger", "order-17")
    assert payments(path) == ["order-17"]


def test_of_many_at_once_one_wins(path):
    """Threads over two stores on one file, as of two processes: one effect."""
    stores = [SQLiteStore(path), SQLiteStore(path)]
    ready = threading.Barrier(8)

    def take(number):
        ready.wait()
        try:
            with stores[number % 2].transaction(MESSAGE) as connection:
                connection.execute("INSERT INTO payments VALUES ('order-17')")
        except AlreadyProcessed:
            return 0
        return 1

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(take, range(8))) == 1
    for store in stores:
        store.close()
    assert payments(path) == ["order-17"]


def test_a_process_that_dies_in_a_transaction_leaves_nothing(path):
    """Neither effect nor record."""
    code = """
import os, sys
from atmost.durable import DurableMessage, SQLiteStore
message = DurableMessage("payments.a", 12.5, id="order-17", stream="PAYMENTS", consumer="ledger")
store = SQLiteStore(sys.argv[1])
with store.transaction(message) as connection:
    connection.execute("INSERT INTO payments VALUES ('order-17')")
    os._exit(0)
"""
    assert run(code, path) == ""
    with SQLiteStore(path) as store:
        assert len(store) == 0
    assert payments(path) == []


def test_a_thread_cannot_join_its_own_transaction(path):
    """As two coroutines would that await in the middle."""
    with SQLiteStore(path) as store:
        with store.transaction(MESSAGE), pytest.raises(RuntimeError, match="no await inside"):
            store.seen("PAYMENTS/ledger", "order-18")
        assert store.seen(MESSAGE.scope, MESSAGE.id)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 1.0, 30.0, 59.0, 100.0])), max_size=30))
def test_forgets_what_is_older_than_its_retention_and_nothing_younger(tmp_path_factory, steps):
    """Against a dictionary of when each was recorded last."""
    now = 1_000.0
    recorded: dict[str, float] = {}
    store = SQLiteStore(tmp_path_factory.mktemp("store") / "a.db", retention=60.0, clock=lambda: now)
    with store:
        store._connection.execute("PRAGMA synchronous=OFF")
        for id_, later in steps:
            now += later
            store.prune()
            recorded = {key: at for key, at in recorded.items() if at >= now - 60.0}
            assert store.seen("s", id_) == (id_ in recorded)
            assert store.record("s", id_) == (id_ not in recorded)
            recorded.setdefault(id_, now)
        assert len(store) == len(recorded)


def test_forgetting_keeps_up_by_itself(path):
    """What is due is forgotten as messages are recorded, a thousand at a time, so that no pause grows with the backlog."""
    now = 0.0
    with SQLiteStore(path, retention=10.0, clock=lambda: now) as store:
        store._connection.execute("PRAGMA synchronous=OFF")
        store.record("s", "first")
        store._connection.execute("BEGIN")
        store._connection.executemany(
            "INSERT INTO atmost_processed VALUES ('s', ?, 0.0)", ((f"old-{number}",) for number in range(2500))
        )
        store._connection.execute("COMMIT")
        now = 100.0
        left = []
        for number in range(4):
            store.record("s", f"new-{number}")
            left.append(len(store))
        assert left == [1502, 503, 3, 4]
        now = 200.0
        with store.transaction(MESSAGE):
            pass
        assert len(store) == 1


def test_for_ever_forgets_nothing(path):
    """An infinite retention."""
    now = 0.0
    with SQLiteStore(path, retention=float("inf"), clock=lambda: now) as store:
        store.record("s", "a")
        now = 1e12
        assert store.prune() == 0
        assert store.seen("s", "a")


@pytest.mark.parametrize("wrong", ["", ":memory:", "file:a?mode=memory"])
def test_what_is_no_file_is_refused(wrong):
    """A record in memory would be no record."""
    with pytest.raises(OptionError, match="records have to survive the process"):
        SQLiteStore(wrong)


@pytest.mark.parametrize("retention", [0, -1, float("nan"), "1"])
def test_what_is_no_retention_is_refused(path, retention):
    """At construction."""
    with pytest.raises(OptionError, match="retention"):
        SQLiteStore(path, retention=retention)


def test_a_file_that_is_no_database_leaves_nothing_open(tmp_path):
    """SQLite's own error."""
    (tmp_path / "text").write_text("hello " * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        SQLiteStore(tmp_path / "text")


def test_a_record_stands_though_forgetting_fails(path, caplog):
    """Another process holds the file just then: a record that looked refused would lose a message recorded before its handler."""
    other, asked = sqlite3.connect(path, isolation_level=None), []

    def clock():
        asked.append(None)
        if len(asked) % 2 == 0:  # not for the record, but for what is older
            other.execute("BEGIN IMMEDIATE")
        return 1e9 * len(asked)

    with closing(other), SQLiteStore(path, clock=clock) as store:
        store._connection.execute("PRAGMA busy_timeout=1")
        assert store.record("PAYMENTS/ledger", "order-16")
        other.execute("ROLLBACK")
        with store.transaction(MESSAGE) as connection:
            connection.execute("INSERT INTO payments VALUES ('order-17')")
        other.execute("ROLLBACK")
        assert store.seen(MESSAGE.scope, MESSAGE.id)
    assert (
        caplog.messages
        == ["atmost.durable: old records could not be deleted now, tried again later: database is locked"] * 2
    )


def test_many_open_a_new_file_at_once(tmp_path):
    """As the workers of a service do at its first start; none of them is refused."""
    with ThreadPoolExecutor(4) as pool:
        for number in range(20):
            gate = threading.Barrier(4)

            def start(path=tmp_path / f"{number}.db", gate=gate):
                gate.wait()
                SQLiteStore(path).close()

            for opening in [pool.submit(start) for _ in range(4)]:
                opening.result()
