"""Records which messages were processed: the consumer's own record of ids, behind the server's window.

A store is any object that remembers (scope, id) for `retention` seconds and is shared by all consumers of one name.
"""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Protocol, Self, runtime_checkable

from atmost.durable.errors import AlreadyProcessed
from atmost.durable.message import DurableMessage
from atmost.durable.options import DAY
from atmost.errors import OptionError


@runtime_checkable
class IdempotencyStore(Protocol):
    """The interface of a store for `ExactlyOnce.run`. Its methods may wait, and are called from several threads."""

    @property
    def retention(self) -> float:
        """Seconds a record is kept at least; `math.inf` for ever."""
        ...

    def seen(self, scope: str, id: str) -> bool:  # noqa: A002  the idea's name
        """Whether it was recorded.

        Args:
            scope: stream and consumer, because two consumers each process a message once.
            id: the message's.
        """
        ...

    def record(self, scope: str, id: str) -> bool:  # noqa: A002  the idea's name
        """Records it durably before it returns; False when it was recorded already. Of two that come at once, one gets True."""
        ...


def check_retention(store: IdempotencyStore, max_age: float, deadline: float, ack_wait: float) -> None:
    """Refuses a store that forgets a message while a copy of it can still come.

    A copy that a publisher's retry stored is at most `deadline` younger than the first, lives `max_age` in the stream, and is
    in somebody's hand for `ack_wait` after that.

    Args:
        store: the records.
        max_age: seconds the stream keeps a message; 0 for ever.
        deadline: seconds a publisher tries.
        ack_wait: seconds without a sign until redelivery.

    Raises:
        OptionError: its retention is shorter.
    """
    horizon = horizon_of(max_age, deadline, ack_wait)
    if not store.retention >= horizon:
        raise OptionError(
            "retention",
            store.retention,
            f"at least {horizon:g} s, because copies can come until then (max_age {max_age:g} s of the stream, "
            f"deadline {deadline:g} s of its publishers, ack_wait {ack_wait:g} s; 0 keeps for ever)",
        )


def horizon_of(max_age: float, deadline: float, ack_wait: float) -> float:
    """Seconds after which no copy of a message can come any more; infinite in a stream that keeps for ever."""
    return max_age + deadline + ack_wait if max_age else float("inf")


_PRUNED_AT_ONCE: Final = 1000
_BUSY: Final = 30.0
"""Seconds to wait for another process's transaction."""
_AGAIN: Final = 0.01
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS atmost_processed (
    scope TEXT NOT NULL, id TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (scope, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS atmost_processed_at ON atmost_processed (at);
"""

logger = logging.getLogger("atmost")


class SQLiteStore:
    """Remembers (scope, id) in the table `atmost_processed` of an SQLite file, where the user's own tables may stand too.

    The user's own effect can be committed with the record, in one `transaction`.
    A record is on the disk before the message is acknowledged (WAL, synchronous=FULL).
    Safe from any thread and between processes of one host; consumers on several hosts need a store that they share.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, retention: float = 8 * DAY, clock: Callable[[], float] = time.time
    ) -> None:
        """Opens or creates the file.

        Args:
            path: the file; not `:memory:`, because records have to survive the process.
            retention: seconds a record is kept, `math.inf` for ever. Longer catches later repetitions; rate × retention records are kept.
            clock: seconds since 1970; a step forward makes records forgotten earlier by as much.

        Raises:
            OptionError: the path is not a file, or the retention not a duration.
            sqlite3.Error: it cannot be opened.
        """
        name = os.fspath(path)
        if name in {"", ":memory:"} or name.startswith("file:"):
            raise OptionError("path", name, "a file: records have to survive the process")
        if not isinstance(retention, int | float) or not retention > 0:
            raise OptionError("retention", retention, "seconds above 0, or math.inf")
        self._retention = float(retention)
        self._clock = clock
        self._lock = threading.Lock()
        self._holder: int | None = None
        self._prune_at = -math.inf
        self._connection = sqlite3.connect(name, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        try:
            _use_wal(self._connection)
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_TABLE)
        except BaseException:
            self._connection.close()
            raise

    @property
    def retention(self) -> float:
        """Seconds a record is kept at least."""
        return self._retention

    def seen(self, scope: str, id: str) -> bool:  # noqa: A002  as in the protocol
        """Whether it was recorded."""
        with self._held() as connection:
            query = "SELECT 1 FROM atmost_processed WHERE scope = ? AND id = ?"
            return connection.execute(query, (scope, id)).fetchone() is not None

    def record(self, scope: str, id: str) -> bool:  # noqa: A002  as in the protocol
        """Records it; False when it was recorded already."""
        with self._held() as connection:
            new = self._insert(connection, scope, id)
        self._prune_sometimes()
        return new

    @contextmanager
    def transaction(self, message: DurableMessage) -> Iterator[sqlite3.Connection]:
        """A transaction in which the message is recorded: changes made on its connection are made exactly once.

        Effect and record are committed together at the end of the block; if it raises, neither is.
        Do not commit it or roll it back by hand, and do not keep it open across an `await`.

        Args:
            message: the one in hand.

        Raises:
            AlreadyProcessed: the message was recorded before; let the error leave the handler.
        """
        with self._held() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                if new := self._insert(connection, message.scope, message.id):
                    yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        if not new:
            raise AlreadyProcessed(message.scope, message.id)
        self._prune_sometimes()

    def prune(self, *, at_once: bool = True) -> int:
        """Forgets records older than `retention`; happens by itself as messages are recorded, 1000 at a time.

        Args:
            at_once: whether to do it now, all of it.

        Returns:
            How many were forgotten.
        """
        now, forgotten = self._clock(), 0
        if not math.isfinite(self._retention) or not (at_once or now >= self._prune_at):
            return 0
        self._prune_at = now + min(60.0, self._retention / 10)
        while True:
            with self._held() as connection:
                gone = connection.execute(
                    "DELETE FROM atmost_processed WHERE (scope, id) IN"
                    " (SELECT scope, id FROM atmost_processed WHERE at < ? LIMIT ?)",
                    (now - self._retention, _PRUNED_AT_ONCE),
                ).rowcount
            forgotten += gone
            if gone < _PRUNED_AT_ONCE:
                return forgotten
            if not at_once:
                self._prune_at = now  # the next record goes on forgetting, which so keeps up with any rate
                return forgotten

    def __len__(self) -> int:
        """Records at this moment."""
        with self._held() as connection:
            return int(connection.execute("SELECT count(*) FROM atmost_processed").fetchone()[0])

    def close(self) -> None:
        """Closes the file; may be called twice."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        """Returns the store."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _prune_sometimes(self) -> None:
        """Forgets some old records; a failure is only logged, because it must not look as if the message was not recorded."""
        try:
            self.prune(at_once=False)
        except sqlite3.Error as error:
            logger.warning("atmost.durable: old records could not be deleted now, tried again later: %s", error)

    def _insert(self, connection: sqlite3.Connection, scope: str, id: str) -> bool:  # noqa: A002  as in the protocol
        statement = "INSERT OR IGNORE INTO atmost_processed VALUES (?, ?, ?)"
        return connection.execute(statement, (scope, id, self._clock())).rowcount == 1

    @contextmanager
    def _held(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time; a thread that already holds it would join its own transaction."""
        me = threading.get_ident()
        if self._holder == me:
            raise RuntimeError(
                "this thread is in a transaction of this store: with several handlers at once, "
                "use a plain function as the handler, and no await inside store.transaction()"
            )
        with self._lock:
            self._holder = me
            try:
                yield self._connection
            finally:
                self._holder = None


def _use_wal(connection: sqlite3.Connection) -> None:
    """Waits for others who open a new file at the same time: SQLite refuses all but one here, whatever its timeout."""
    until = time.monotonic() + _BUSY
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
        else:
            return
        time.sleep(_AGAIN)
