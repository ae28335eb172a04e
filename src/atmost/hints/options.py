"""What a `HintedCache` can be told: each option is a trade-off, and is checked at construction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from atmost.errors import OptionError
from atmost.hints.wire import check_shards


class Policy(StrEnum):
    """What becomes of entries that may be stale."""

    STALE = "stale"
    """They are misses."""
    SOFT = "soft"
    """They are served for a while, and loaded anew by one caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """As `HintedCache` describes them."""

    max_ttl: float
    max_entries: int
    shards: int
    grace: float
    policy: str
    soft: float
    jitter: float
    forget_after: float

    @property
    def soft_seconds(self) -> float:
        """How long what may be stale is served, seconds."""
        return self.soft if self.policy == Policy.SOFT else 0.0

    def __post_init__(self) -> None:
        """Refuses values outside their range."""
        if not _is_number(self.max_ttl) or not 0 < self.max_ttl < 1e9:
            raise OptionError("max_ttl", self.max_ttl, "seconds above 0: it bounds staleness where no hint does")
        for name, most in (("grace", 60.0), ("soft", 1e6), ("jitter", 60.0), ("forget_after", 1e6)):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value <= most:
                raise OptionError(name, value, f"seconds from 0 to {most:g}")
        if not isinstance(self.max_entries, int) or isinstance(self.max_entries, bool) or self.max_entries < 1:
            raise OptionError("max_entries", self.max_entries, "at least 1 entry")
        if self.policy not in tuple(Policy):
            raise OptionError("policy", self.policy, " or ".join(repr(policy.value) for policy in Policy))
        check_shards(self.shards)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
