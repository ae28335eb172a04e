"""What happens in the simulated world of `loss_hints_simulated`, and what was seen of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field

from atmost.hints import CacheStats


@dataclass(frozen=True)
class World:
    """What happens; rates are a second, times are seconds."""

    loss: float = 0.05
    burst: float = 1.0
    """Mean length of a run of losses."""
    duplicate: float = 0.05
    grace: float = 1.0
    quick: float = 0.002
    """The delay of most messages; the others take up to the grace."""
    slow: float = 0.1
    """The share of the others."""
    interval: float = 1.0
    writers: int = 3
    readers: int = 2
    keys: int = 200
    writes: float = 4.0
    """Of each writer."""
    wide: float = 0.02
    """The share of writes that invalidate a prefix, and as many a tag."""
    reads: int = 10
    """In a step, of each reader."""
    load: float = 0.03
    """Most loads take up to this."""
    slow_load: float = 3.0
    """One in fifty takes up to this."""
    restart_writer: float = 0.004
    restart_reader: float = 0.002
    outage: float = 0.01
    """Partitions of one writer from one reader, lasting up to 15 s."""
    stall: float = 0.005
    """Pauses of a reader's feeding, lasting up to 8 s."""
    max_ttl: float = 120.0
    policy: str = "stale"
    soft: float = 5.0
    shards: int = 64
    forget_after: float = 20.0
    one_host: bool = False
    """Whether all run on one host, so that its clock dates every mark."""


def flat(stats: CacheStats) -> dict[str, float]:
    """A cache's counts under one name each: `misses_gap`, `refused_hint`, `hints_key` and so on."""
    counts = asdict(stats)
    for name, head in (("misses_by_reason", "misses"), ("refused_by_reason", "refused"), ("hints_by_kind", "hints")):
        counts |= {f"{head}_{reason}": count for reason, count in counts.pop(name).items()}
    return counts


@dataclass
class Report:
    """What was seen."""

    reads: int = 0
    hits: int = 0
    violations: int = 0
    """Reads staler than the bound, or older than `max_ttl`."""
    worst: float = 0.0
    """Seconds: the stalest read that the bound is about."""
    worst_unknown: float = 0.0
    """The stalest of those whose invalidator the reader did not know."""
    bound: float = 0.0
    ttl_hits: int = 0
    """What a cache would have had that knows only a time to live of `bound`."""
    hints: int = 0
    counts: Counter[str] = field(default_factory=Counter)
