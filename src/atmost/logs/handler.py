"""`LogHandler`: the standard library's logging over a sender; a lost record leaves a gap in its place.

`emit` never raises, never waits and never resolves a name, from any thread or signal handler. What a record says is
made text in the call, so that objects changed later change nothing.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final, NoReturn

from atmost.endpoint.opening import GivenSender
from atmost.endpoint.sender import Sender
from atmost.errors import OptionError
from atmost.logs.parts import LogDropPolicy
from atmost.logs.text import describe_error, said
from atmost.logs.writer import LogOptions, LogStats, LogWriter

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_USUAL: Final = len(logging.makeLogRecord({}).__dict__)
_formatter: Final = logging.Formatter()
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
        sender: GivenSender = None,
        *,
        url: str | None = None,
        subject: str = "logs",
        level: int | str = logging.NOTSET,
        drop: str = LogDropPolicy.NEWEST,
        max_queue: int = 1000,
        max_record: int = 65_536,
        mark_interval: float = 5.0,
        flush_level: int = logging.ERROR,
    ) -> None:
        """Prepares to send; no thread is started, and nothing sent, before the first record.

        Args:
            sender: carries the records. A `Sender` is not closed here: close it after this handler. From a URL, or from the
                arguments of a Sender by name, one is made here; its session ends with the handler. None takes `url`.
            url: where to send, when no sender is given; None takes `ATMOST_URL`, then udp://127.0.0.1:7140.
            level: records below it are ignored, and not counted.
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
        self.writer = LogWriter(
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

    @property
    def sender(self) -> Sender:
        """What carries the records."""
        return self.writer.sender

    def stats(self) -> LogStats:
        """Returns what became of the records since the handler was last closed."""
        return self.writer.stats()

    def handle(self, record: logging.LogRecord) -> bool | logging.LogRecord:  # type: ignore[override]
        """Filters a record, and sends it; without the lock that other handlers take, because nothing here needs one."""
        passed = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Sends a record, or drops and counts it."""
        inside = self._inside
        depth = getattr(inside, "depth", 0)
        inside.depth = depth + 1
        writer = self.writer
        try:
            exception, fields = "", None
            if depth < MAX_DEPTH:
                message, error = message_of(record, self.formatter)
                # A formatter of the user's has put the traceback into the message already.
                if (record.exc_info or record.exc_text or record.stack_info) and self.formatter is None:
                    exception = exception_of(record)
                if len(record.__dict__) != _USUAL:
                    fields = extra_of(record)
            else:  # its text would log again, and again
                message, error = f"<logged while {MAX_DEPTH} others were made text>", "reentered"
            writer.write(
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
            if depth >= MAX_DEPTH:
                writer.count("reentered")
        except Exception:  # noqa: BLE001  logging never harms what it reports on
            writer.count("errors")
        finally:
            inside.depth = depth

    def flush(self) -> None:
        """Hands over what waits, now."""
        if "writer" in self.__dict__:
            self.writer.flush()

    def close(self) -> None:
        """Sends the number of records, which takes 0.1 s, and ends the session of a sender that was made here.

        A later record opens the handler again, as with the standard library's network handlers: `dictConfig`,
        `fileConfig` and servers that configure logging close every handler there is.
        """
        self.writer.close()
        super().close()

    def __reduce__(self) -> NoReturn:
        """A copy would number its records like the original."""
        raise TypeError("a LogHandler cannot be pickled or copied: construct one in each process")

    def __repr__(self) -> str:
        """Level and sender."""
        return f"<LogHandler {logging.getLevelName(self.level)} over {self.sender!r}>"


def message_of(record: logging.LogRecord, formatter: logging.Formatter | None) -> tuple[str, str]:
    """Returns the message of a record, and what went wrong in formatting it, else empty."""
    try:
        return (record.getMessage() if formatter is None else formatter.format(record)), ""
    except Exception as error:  # noqa: BLE001  the caller's format, arguments or formatter: the record is kept
        return f"{said(record.msg)} {said(record.args, repr)}", describe_error(error)


def exception_of(record: logging.LogRecord) -> str:
    """Returns the traceback, and the stack where one was asked for."""
    texts = []
    try:
        if record.exc_text:
            texts.append(record.exc_text)
        elif record.exc_info and record.exc_info[0] is not None:
            texts.append(_formatter.formatException(record.exc_info))
        if record.stack_info:
            texts.append(str(record.stack_info))
    except Exception as error:  # noqa: BLE001  see above
        texts.append(f"<no traceback: {describe_error(error)}>")
    return "\n".join(texts)


def extra_of(record: logging.LogRecord) -> dict[str, Any] | None:
    """Returns what the caller added to the record, by name."""
    facts = record.__dict__
    return {name: facts[name] for name in facts if name not in _STANDARD} or None
