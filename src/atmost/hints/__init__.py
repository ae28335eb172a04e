"""Cache-invalidation hints: a lost hint costs a refetch, never an unbounded stale read (docs/hints.md)."""

from atmost.hints.cache import HintedCache
from atmost.hints.fills import Fill
from atmost.hints.hinted import CacheInfo, Hinted, hinted
from atmost.hints.invalidator import Invalidator
from atmost.hints.options import Policy
from atmost.hints.shelf import Entry
from atmost.hints.suspicion import Reason
from atmost.hints.wire import Hint, Kind, Mark

__all__ = [
    "CacheInfo",
    "Entry",
    "Fill",
    "Hint",
    "Hinted",
    "HintedCache",
    "Invalidator",
    "Kind",
    "Mark",
    "Policy",
    "Reason",
    "hinted",
]
