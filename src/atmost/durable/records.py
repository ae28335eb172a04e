"""Decides whether a message was processed before: the consumer's own record of ids, behind the server's window.

Where records are kept is pluggable: anything that remembers (scope, id) for `retention` seconds, shared by all consumers of one name.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from atmost.errors import OptionError


@runtime_checkable
class IdempotencyStore(Protocol):
    """What `ExactlyOnce.run` asks; the methods may wait, they are called from threads and must be safe from any."""

    @property
    def retention(self) -> float:
        """Seconds a record is kept at least; `math.inf` for ever."""
        ...

    def seen(self, scope: str, id: str) -> bool:  # noqa: A002  the idea's name
        """Whether it was recorded.

        Args:
            scope: stream and consumer: two consumers process the same message each once.
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
            f"at least {horizon:g} s, for so long a copy can come (max_age {max_age:g} s of the stream, "
            f"deadline {deadline:g} s of its publishers, ack_wait {ack_wait:g} s; 0 keeps for ever)",
        )


def horizon_of(max_age: float, deadline: float, ack_wait: float) -> float:
    """Seconds after which no copy of a message can come any more; infinite in a stream that keeps for ever."""
    return max_age + deadline + ack_wait if max_age else float("inf")
