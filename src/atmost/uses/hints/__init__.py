"""Cache-invalidation hints: a lost hint costs a refetch, never an unbounded stale read (docs/hints.md)."""

from atmost.uses.hints.cache import HintedCache
from atmost.uses.hints.fills import Fill
from atmost.uses.hints.hinted import CacheInfo, Hinted, hinted
from atmost.uses.hints.invalidator import Invalidator
from atmost.uses.hints.options import Policy
from atmost.uses.hints.shelf import Entry
from atmost.uses.hints.suspicion import Reason
from atmost.uses.hints.wire import Hint, Kind, Mark

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
