"""`LogHandler`: the standard library's logging over a sender; a lost record is a counted hole, in its place.

`emit` never raises, never waits and never resolves a name, from any thread or signal handler. What a record says is
made text in the call, so that objects changed later change nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from atmost.endpoint.sender import Sender
from atmost.errors import OptionError
from atmost.logs.text import exception_of, extra_of, message_of
from atmost.logs.writer import DropPolicy, LogOptions, LogWriter

MAX_DEPTH: Final = 4
"""Records logged while another one is made text, as by the `__str__` of an argument, and again while that one is."""


class LogHandler(logging.Handler):
    """Sends log records.

    Example:
        >>> logging.getLogger().addHandler(LogHandler("udp://127.0.0.1:7140"))
        >>> logging.config.dictConfig({
        ...     "version": 1,
        ...     "handlers": {"atmost": {"class": "atmost.LogHandler", "sender": {"url": "udp://127.0.0.1:7140", "name": "web-1"}}},
        ...     "root": {"level": "INFO", "handlers": ["atmost"]},
        ... })
    """

    def __init__(
        self,
        sender: Sender | str | Mapping[str, Any] | None = None,
        *,
        url: str | None = None,
        subject: str = "logs",
        level: int | str = logging.NOTSET,
        drop: str = DropPolicy.NEWEST,
        max_queue: int = 1000,
        max_record: int = 65_536,
        mark_interval: float = 5.0,
        flush_level: int = logging.ERROR,
    ) -> None:
        """Prepares to send; no thread is started, and nothing sent, before the first record.

        Args:
            sender: carries the records. A `Sender` stays its owner's to close, after this handler; from a URL, or from the
                arguments of a Sender by name, one is made here, and closed with the handler. None takes `url`.
            url: where to, when no sender is given; None takes `ATMOST_URL`, then udp://127.0.0.1:7140.
            level: records below it are not this handler's, and are not counted.
            subject, drop, max_queue, max_record, mark_interval, flush_level: see `LogOptions`.

        Raises:
            OptionError: an option is outside its range, or both a sender and a URL are given.
            SubjectError: the subject cannot be used.
            AddressError: the URL cannot be used.
        """
        if sender is not None and url is not None:
            raise OptionError("url", url, "either a sender or a URL, not both")
        super().__init__(level)
        self._inside = threading.local()
        self._writer = LogWriter(
            url if sender is None else sender,
            LogOptions(
                subject=subject,
                drop=drop,
                max_queue=max_queue,
                max_record=max_record,
                mark_interval=mark_interval,
                flush_level=flush_level,
            ),
        )
        self._reentered = self._failed = 0

    @property
    def sender(self) -> Sender:
        """What carries the records."""
        return self._writer.sender

    @property
    def counts(self) -> dict[str, int]:
        """What became of the records: `records` in all, and of them `dropped`, `waiting`, `truncated`, `parted` (sent in
        several parts), `unformatted`, `reentered` (logged in making another one text, too deeply) and `errors` (our own).
        """  # noqa: D205
        counts = self._writer.counts
        return counts | {"reentered": self._reentered, "errors": counts.get("errors", 0) + self._failed}

    def handle(self, record: logging.LogRecord) -> bool | logging.LogRecord:  # type: ignore[override]
        """Filters a record, and sends it; unlike other handlers without a lock, for nothing here needs one."""
        passed = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Sends a record, or counts what became of it."""
        inside = self._inside
        depth = getattr(inside, "depth", 0)
        inside.depth = depth + 1
        try:
            if depth < MAX_DEPTH:
                self._emit(record)
            else:
                self._reentered += 1  # its text would log again, and again
                self._write(record, f"<logged while {MAX_DEPTH} others were made text>", "", None, "reentered")
        except Exception:  # noqa: BLE001  logging never harms what it tells of
            self._failed += 1
        finally:
            inside.depth = depth

    def flush(self) -> None:
        """Hands over what waits, now."""
        if "_writer" in self.__dict__:
            self._writer.flush()

    def close(self) -> None:
        """Says how many records there were, which takes 0.1 s, and closes the sender when it was made here."""
        self._writer.close()
        super().close()

    def __reduce__(self) -> NoReturn:
        """A copy would number its records like the original."""
        raise TypeError("a LogHandler cannot be pickled or copied: construct one in each process")

    def __repr__(self) -> str:
        """Level and sender."""
        return f"<LogHandler {logging.getLevelName(self.level)} over {self.sender!r}>"

    def _emit(self, record: logging.LogRecord) -> None:
        message, error = message_of(record, self.formatter)
        exception = ""
        # A formatter of the user's has put both into the message already.
        if (record.exc_info or record.exc_text or record.stack_info) and self.formatter is None:
            exception = exception_of(record)
        self._write(record, message, exception, extra_of(record), error)

    def _write(
        self, record: logging.LogRecord, message: str, exception: str, fields: dict[str, Any] | None, error: str
    ) -> None:
        self._writer.write(
            record.levelname,
            record.levelno,
            record.name,
            message,
            at=record.created,
            thread=record.threadName or "",
            process=record.process,
            exception=exception,
            fields=fields,
            error=error,
        )
