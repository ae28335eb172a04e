"""Options and results of the simulated world of `loss_hints_simulated`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field

from atmost.hints import CacheStats


@dataclass(frozen=True)
class World:
    """The options of a world; rates are per second, times in seconds."""

    loss: float = 0.05
    burst: float = 1.0
    """Mean length of a run of losses."""
    duplicate: float = 0.05
    grace: float = 1.0
    quick: float = 0.002
    """The delay of most messages; the others take up to the grace."""
    slow: float = 0.1
    """The share of the slower messages."""
    interval: float = 1.0
    writers: int = 3
    readers: int = 2
    keys: int = 200
    writes: float = 4.0
    """Writes of each writer, per second."""
    wide: float = 0.02
    """The share of writes that invalidate a prefix; as many invalidate a tag."""
    reads: int = 10
    """Reads of each reader in a step."""
    load: float = 0.03
    """Longest duration of most loads."""
    slow_load: float = 3.0
    """Longest duration of one load in fifty."""
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
    """The results of a run."""

    reads: int = 0
    hits: int = 0
    violations: int = 0
    """Reads staler than the bound, or older than `max_ttl`."""
    worst: float = 0.0
    """Staleness of the stalest read that the bound covers (s)."""
    worst_unknown: float = 0.0
    """Staleness of the stalest read whose invalidator the reader did not know (s)."""
    bound: float = 0.0
    ttl_hits: int = 0
    """The same of a cache that has only a time to live of `bound`."""
    hints: int = 0
    counts: Counter[str] = field(default_factory=Counter)
