"""Cache-invalidation hints: a lost hint costs a refetch, never an unbounded stale read (docs/hints.md)."""

from atmost.hints.cache import Fill, HintedCache
from atmost.hints.core import CacheEntry, CacheStats, StalePolicy
from atmost.hints.decorator import CacheInfo, Hinted, hinted
from atmost.hints.invalidator import Invalidator, InvalidatorStats
from atmost.hints.knowledge import MissReason
from atmost.hints.members import MemberSenders
from atmost.hints.wire import Hint, HintKind, HintMark

__all__ = [
    "CacheEntry",
    "CacheInfo",
    "CacheStats",
    "Fill",
    "Hint",
    "HintKind",
    "HintMark",
    "Hinted",
    "HintedCache",
    "Invalidator",
    "InvalidatorStats",
    "MemberSenders",
    "MissReason",
    "StalePolicy",
    "hinted",
]
