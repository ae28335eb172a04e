"""The options of a comparison: faults, traffic and retries; checked at construction.

Durations are seconds and probabilities lie from 0 to below 1.
A retry needs a chance to be acknowledged, or the arms that retry would never end: `MAX_TRANSMISSIONS` bounds their work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Final

from atmost.errors import OptionError
from atmost.transport.base import NETWORK

MAX_MESSAGES: Final = 5_000_000
"""Most messages in one run; each takes some 100 bytes of memory."""
MAX_TRANSMISSIONS: Final = 100.0
"""Most expected transmissions of one message."""
MAX_WORK: Final = 100_000_000
"""Most expected transmissions plus virtual seconds of a whole run, all points of a sweep together: about an hour."""
_SHARES: Final = ("loss", "ack_loss", "duplicate", "crash_before", "crash_after")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """Everything that a run depends on; the same options give the same figures.

    Raises:
        OptionError: a value outside its range, or faults that leave a retry no chance.
    """

    loss: float = 0.05
    """Probability that a datagram from the sender is lost."""
    ack_loss: float = 0.05
    """Probability that an acknowledgement is lost on its way back."""
    duplicate: float = 0.01
    """Probability that a datagram from the sender which is not lost arrives twice."""
    crash_before: float = 0.0002
    """Probability that the receiver crashes with a message in hand, before it is processed."""
    crash_after: float = 0.0002
    """Probability that the receiver crashes just after it processed a message, before it acknowledges it."""
    latency: float = 0.02
    """Shortest travel time of a datagram, either way."""
    jitter: float = 0.01
    """Longest time added to `latency`, drawn uniformly for each copy of each datagram."""
    messages: int = 10_000
    """Messages offered to each arm."""
    interval: float = 0.02
    """Time between two messages."""
    payload: int = 100
    """Bytes of one message's payload, at least the 8 of its number."""
    retry_after: float = 0.2
    """Time without an acknowledgement before the first retry; each further wait is twice as long. Longer than a round trip."""
    max_backoff: float = 10.0
    """The longest wait between two retries."""
    future_bound: float = NETWORK.future_bound
    """F of the at-most-once receiver."""
    clock_guard: float = NETWORK.clock_guard
    """G of the at-most-once receiver; after a crash it refuses what was sent within F + G."""
    seed: int = 1
    """The same seed gives the same fates."""

    def __post_init__(self) -> None:
        """Refuses options that cannot be run."""
        for name in _SHARES:
            self._check(name, 0.0, 0.99, "a probability from 0 to 0.99")
        self._check("latency", 0.0, 3600.0, "seconds from 0 to 3600")
        self._check("jitter", 0.0, 3600.0, "seconds from 0 to 3600")
        self._check("interval", 1e-5, 3600.0, "seconds from 0.00001 to 3600")
        self._check("retry_after", 1e-3, 3600.0, "seconds from 0.001 to 3600")
        self._check("max_backoff", self.retry_after, 86_400.0, "seconds from retry_after to 86400")
        self._check("future_bound", 0.0, 3600.0, "seconds from 0 to 3600")
        self._check("clock_guard", 0.0, 3600.0, "seconds from 0 to 3600")
        self._check("messages", 1, MAX_MESSAGES, f"a whole number from 1 to {MAX_MESSAGES:,}")
        self._check("payload", 8, 1_300, "bytes from 8 to 1300: a message fits one datagram")
        self._check("seed", 0, 2**63, "a whole number from 0 to 2**63")
        if self.retry_after <= self.round_trip:
            raise OptionError(
                "retry_after",
                self.retry_after,
                f"more than the longest round trip, 2 × (latency + jitter) = {self.round_trip:g} s, because otherwise every message would be sent twice",
            )
        if self.transmissions > MAX_TRANSMISSIONS:
            raise OptionError(
                "loss, ack_loss, crash_before, crash_after",
                (self.loss, self.ack_loss, self.crash_before, self.crash_after),
                f"faults that need at most {MAX_TRANSMISSIONS:g} transmissions a message, not {self.transmissions:,.0f}: lower some of them",
            )

    @property
    def round_trip(self) -> float:
        """The longest way there and back."""
        return 2 * (self.latency + self.jitter)

    @property
    def ready_after(self) -> float:
        """When the first message is offered: an at-most-once receiver that started at 0 accepts it."""
        return self.future_bound + self.clock_guard + 0.001

    @property
    def transmissions(self) -> float:
        """Expected transmissions of one message that is retried until acknowledged, without copies."""
        return 1 / ((1 - self.loss) * (1 - self.ack_loss) * (1 - self.crash_before) * (1 - self.crash_after))

    def backoff(self, attempt: int) -> float:
        """How long to wait for an acknowledgement of transmission number `attempt`, from 0."""
        return min(self.max_backoff, self.retry_after * 2.0 ** min(attempt, 64))

    def as_dict(self) -> dict[str, Any]:
        """Its figures, as the commands print them with `--json`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _check(self, name: str, low: float, high: float, expected: str) -> None:
        value = getattr(self, name)
        whole = name in {"messages", "payload", "seed"}
        if not isinstance(value, int if whole else (int, float)) or isinstance(value, bool):
            raise OptionError(name, value, expected)
        if math.isnan(value) or not low <= value <= high:
            raise OptionError(name, value, expected)
