"""The errors of the durable path. Unlike `send()` it promises an outcome, so it raises when there is none."""

from __future__ import annotations

from atmost.errors import AtMostError


class NotConnected(AtMostError, OSError):
    """No server took the connection in time, or it was refused."""

    def __init__(self, url: str, problem: str) -> None:
        """Args: url: the servers, without credentials. problem: the last reason and what to do."""
        super().__init__(f"{url}: {problem}")
        self.url = url
        self.problem = problem


class NotAcknowledged(AtMostError, TimeoutError):
    """No server confirmed in time that a message is stored."""

    def __init__(self, subject: str, id: str, attempts: int, seconds: float, cause: str, *, unknown: bool) -> None:  # noqa: A002  the field's name
        """Keeps what a caller needs to decide.

        Args:
            subject: the message's.
            id: the message's; publishing again under it is safe within the deduplication window of `ExactlyOnce`.
            attempts: how often it was handed to a server.
            seconds: how long it was tried.
            cause: the error that ended the last attempt.
            unknown: whether it may be stored after all; False means that it certainly is not.
        """
        outcome = (
            f"outcome unknown: it may be stored; publish again with id={id!r}, or ask the stream"
            if unknown
            else "it is not stored"
        )
        super().__init__(
            f"{subject!r} was not acknowledged within {seconds:g} s ({attempts} attempts, last: {cause}): {outcome}"
        )
        self.subject = subject
        self.id = id
        self.attempts = attempts
        self.seconds = seconds
        self.cause = cause
        self.unknown = unknown


class StreamMismatch(AtMostError, ValueError):
    """A stream or consumer on the server whose configuration breaks the guarantee; it was not changed."""

    def __init__(self, name: str, problems: list[str]) -> None:
        """Args: name: the stream's or consumer's. problems: each difference, with the value it would need."""
        super().__init__(f"{name}: {'; '.join(problems)}. Change it on the server, or the options here")
        self.name = name
        self.problems = problems


class AlreadyProcessed(AtMostError):
    """The message was recorded first by another transaction; let the error leave the handler, and nothing is lost."""

    def __init__(self, scope: str, id: str) -> None:  # noqa: A002  the field's name
        """Args: scope: stream and consumer. id: the message's."""
        super().__init__(f"message {id!r} was already processed by {scope}")
        self.scope = scope
        self.id = id
