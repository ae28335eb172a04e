"""The options of the durable path: each is a trade-off, and is checked at construction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from atmost.core.names import check_pattern, check_subject, matcher
from atmost.errors import OptionError, SubjectError

DAY: Final = 86_400.0
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ID: Final = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Stream:
    """The JetStream stream that keeps the messages: created when there is none, verified when there is."""

    name: str
    """Letters, digits, - and _, at most 64."""
    subjects: Sequence[str]
    """The subjects or patterns it keeps; no other stream of the account may keep them too."""
    max_age: float = 7 * DAY
    """Seconds a message is kept, processed or not; 0 for ever. A consumer's outage up to this long loses nothing."""
    max_bytes: int | None = None
    """Bytes of the stream, beyond which publishing is refused and nothing stored is deleted; None leaves it to the server's limit."""
    duplicate_window: float = 120.0
    """Seconds in which the server refuses a second message with the same id. Larger catches later repetitions, and takes more of its memory."""
    replicas: int = 1
    """Servers that keep it: 1, 3 or 5. Three survive the loss of one machine; each acknowledgement then waits for two."""

    def __post_init__(self) -> None:
        """Refuses values outside their range."""
        check_name("stream", self.name)
        object.__setattr__(self, "subjects", _patterns(self.subjects))
        if not self.subjects:
            raise SubjectError("", f"stream {self.name} needs at least one subject, as in ['payments.>']")
        check_seconds("duplicate_window", self.duplicate_window, 0.1, DAY)
        if self.max_age:
            check_seconds("max_age", self.max_age, self.duplicate_window, 1e9)
        if self.max_bytes is not None:
            check_count("max_bytes", self.max_bytes, 1024, 1 << 62)
        if self.replicas not in {1, 3, 5}:
            raise OptionError("replicas", self.replicas, "1, 3 or 5")

    def check(self, subject: str) -> str:
        """Returns `subject` when this stream keeps it: a message on any other would never be acknowledged.

        Raises:
            SubjectError: it is malformed, or not one of the stream's.
        """
        if not matcher(self.subjects)(check_subject(subject)):
            raise SubjectError(subject, f"stream {self.name} keeps {', '.join(self.subjects)}: add it to subjects=")
        return subject


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishOptions:
    """How long and how hard a publisher tries."""

    deadline: float = 30.0
    """Seconds until `publish` gives up. Larger survives longer outages of the servers, but may hold the caller as long."""
    ack_timeout: float = 2.0
    """Seconds an attempt waits for its acknowledgement. Smaller retries sooner, but repeats more when the server is only slow."""
    retry_delay: float = 0.05
    """Seconds before the second attempt; doubled for each further one, and each spread over half to the whole of it."""
    max_retry_delay: float = 2.0
    """Seconds between attempts, at most."""
    max_in_flight: int = 1024
    """Messages that may wait for their acknowledgement at once; further calls of `publish` wait for room, within their deadline."""

    def __post_init__(self) -> None:
        """Refuses values outside their range."""
        check_seconds("deadline", self.deadline, 0.01, DAY)
        check_seconds("ack_timeout", self.ack_timeout, 0.01, 3600)
        check_seconds("retry_delay", self.retry_delay, 0.001, 3600)
        check_seconds("max_retry_delay", self.max_retry_delay, self.retry_delay, 3600)
        check_count("max_in_flight", self.max_in_flight, 1, 65_536)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumeOptions:
    """How messages are handed to a handler, and what becomes of those it cannot process."""

    durable: str
    """The consumer's name: those that run under one name share the messages; each name gets all of them."""
    subjects: Sequence[str] = ()
    """The subjects or patterns consumed, out of the stream's; none for all."""
    ack_wait: float = 30.0
    """Seconds without a sign from here after which the server delivers the message again; a handler may take longer, because signs are sent."""
    max_deliver: int = 5
    """Deliveries after which a message counts as poison. Larger forgives longer outages of what the handler needs."""
    retry_delay: float = 1.0
    """Seconds before a message whose handler raised comes again; doubled each time."""
    max_retry_delay: float = 60.0
    """Seconds between deliveries, at most."""
    dead_letter: str | None = None
    """The subject poison messages go to, kept by a stream; None parks them in their own, where their number is logged."""
    concurrency: int = 1
    """Handlers at work at once. One keeps the order; more are faster, and the order between them is lost."""

    def __post_init__(self) -> None:
        """Refuses values outside their range."""
        check_name("durable", self.durable)
        object.__setattr__(self, "subjects", _patterns(self.subjects))
        check_seconds("ack_wait", self.ack_wait, 0.1, DAY)
        check_count("max_deliver", self.max_deliver, 1, 1_000_000)
        check_seconds("retry_delay", self.retry_delay, 0.001, DAY)
        check_seconds("max_retry_delay", self.max_retry_delay, self.retry_delay, DAY)
        check_count("concurrency", self.concurrency, 1, 1024)
        if self.dead_letter is not None:
            check_subject(self.dead_letter)


def _patterns(subjects: object) -> tuple[str, ...]:
    """Each pattern once; a single one may be given as a string.

    Raises:
        SubjectError: one is malformed, or they are not patterns at all.
    """
    if not isinstance(subjects, Iterable):
        raise SubjectError(subjects, "expected patterns, as in ['payments.>']")
    return tuple(dict.fromkeys(check_pattern(one) for one in ([subjects] if isinstance(subjects, str) else subjects)))


def check_name(option: str, value: object) -> None:
    """Raises OptionError for a name that JetStream does not take."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise OptionError(option, value, "a name of 1 to 64 letters, digits, - and _")


def check_id(value: object) -> str:
    """Returns a message's id.

    Raises:
        OptionError: a header cannot carry it.
    """
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise OptionError("id", value, "1 to 255 printable ASCII characters without spaces, such as an order's number")
    return value


def check_seconds(option: str, value: object, low: float, high: float) -> None:
    """Raises OptionError for a value that is not a duration within the range."""
    if not isinstance(value, int | float) or not low <= value <= high:
        raise OptionError(option, value, f"seconds from {low:g} to {high:g}")


def check_count(option: str, value: object, low: int, high: int) -> None:
    """Raises OptionError for a value that is not a whole number within the range."""
    if not isinstance(value, int) or not low <= value <= high:
        raise OptionError(option, value, f"a whole number from {low} to {high}")
