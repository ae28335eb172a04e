"""The log tail: the last records of all senders, with gaps in place; bounded in records and bytes, in total and per sender.

Cursors grow from entry to entry, and from one start of the collector to the next, so that a reader can resume after both.
Pure; not thread-safe; answers are copies.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from atmost.collector.state.records import LEVELS, UNKNOWN, Entry, Gap, Record, may_hold, plain_level, rank, value_text

_CURSORS_A_SECOND: Final = 1_000_000
"""More than can arrive in a second, so that a later start begins with higher cursors."""


class Page(NamedTuple):
    """Entries found, and where to continue."""

    cursor: int
    """Where to continue."""
    entries: list[Entry]
    truncated: bool
    """Whether more entries match."""
    skipped: int = 0
    """Entries after the cursor that are not in this page."""


class LogFilter(NamedTuple):
    """Which entries to return; None matches all."""

    least: int | None = None
    sender: str | None = None
    text: str | None = None
    logger: str | None = None
    """The logger or a parent of it: `shop` matches `shop.cart` too."""
    fields: Mapping[str, str] = {}
    """Fields that a record must have, with their values as text."""
    since: float | None = None
    until: float | None = None
    """Earliest and latest time, seconds since 1970."""

    def takes(self, entry: Entry) -> bool:
        """Whether an entry matches; a gap matches when a lost record might."""
        if self.sender is not None and entry.sender != self.sender:
            return False
        if (self.since is not None and entry.t < self.since) or (self.until is not None and entry.t > self.until):
            return False
        if isinstance(entry, Gap):
            return self.least is None or may_hold(entry, self.least)
        if self.least is not None and (level := rank(entry.level)) is not None and level < self.least:
            return False
        if self.logger is not None and not f"{entry.logger}.".startswith(f"{self.logger}."):
            return False
        if any(
            name not in entry.fields or value_text(entry.fields[name]) != value for name, value in self.fields.items()
        ):
            return False
        return (
            self.text is None
            or self.text in entry.message.casefold()
            or self.text in (entry.exception or "").casefold()
        )


class LogTail:
    """The last entries of all senders."""

    def __init__(self, *, max_records: int, max_bytes: int, max_records_per_sender: int, now: float) -> None:
        """Args: max_records, max_bytes, max_records_per_sender: beyond them the oldest go. now: seconds since 1970."""
        self.max_records, self.max_bytes, self.max_records_per_sender = max_records, max_bytes, max_records_per_sender
        self.cursor = self._first = int(now * _CURSORS_A_SECOND)
        """The last cursor given."""
        self.bytes = 0
        self.longest = 0
        """Length of the longest text taken (characters)."""
        self.counts: Counter[str] = Counter()
        """`records` and `gaps` taken, records `lost` in the gaps, and those that came `late` after all.

        Entries removed are counted under the bound that was hit: `log_records`, `log_bytes`, `log_records_per_sender`,
        `log_bytes_per_sender`. Records that were cut count under `log_record`.
        """
        self.lost_by_level = Counter(dict.fromkeys((*LEVELS, UNKNOWN), 0))
        """`lost`, by the names of `LEVELS` and `unknown`."""
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._sizes: dict[int, int] = {}
        self._of_sender: dict[str, _Share] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def most_of_sender(self) -> int:
        """The largest number of entries of one sender."""
        return max((len(own.cursors) for own in self._of_sender.values()), default=0)

    @property
    def max_bytes_per_sender(self) -> int:
        """Half of `max_bytes`, so that one sender's long records leave room for the others."""
        return self.max_bytes // 2

    @property
    def most_bytes_of_sender(self) -> int:
        """The largest number of bytes of one sender."""
        return max((own.bytes for own in self._of_sender.values()), default=0)

    def limit(self, max_records: int, max_bytes: int, max_records_per_sender: int) -> None:
        """Sets new bounds, and removes the oldest entries beyond them."""
        self.max_records, self.max_bytes, self.max_records_per_sender = max_records, max_bytes, max_records_per_sender
        for own in list(self._of_sender.values()):
            self._trim_sender(own)
        self._trim()

    def append(self, entry: Entry, size: int = 0) -> Entry:
        """Adds a record or gap, and gives it a cursor.

        Args:
            entry: it is the tail's from now on.
            size: what its `size()` is, where the caller knows.
        """
        size = size or entry.size()
        self.cursor = cursor = self.cursor + 1
        entry.cursor = cursor
        self._entries[cursor] = entry
        self._sizes[cursor] = size
        self.bytes += size
        own = self._of_sender.get(entry.sender)
        if own is None:
            own = self._of_sender[entry.sender] = _Share()
        own.cursors.append(cursor)
        own.bytes += size
        if isinstance(entry, Record):
            self.counts["records"] += 1
            self.longest = max(self.longest, len(entry.message), len(entry.exception or ""))
        else:
            self.counts["gaps"] += 1
            self._lose(entry.lost, entry.by_level or {})
        if len(own.cursors) > self.max_records_per_sender or own.bytes > self.max_bytes_per_sender:
            self._trim_sender(own)
        if len(self._entries) > self.max_records or self.bytes > self.max_bytes:
            self._trim()
        return entry

    def change(self, gap: Gap, lost: int, by_level: dict[str, int] | None) -> None:
        """Updates a gap, mostly because some of its records came late; a gap without lost records is removed."""
        if lost < gap.lost:
            self.counts["late"] += gap.lost - lost
        else:
            before = gap.by_level or {}
            self._lose(
                lost - gap.lost, {level: count - before.get(level, 0) for level, count in (by_level or {}).items()}
            )
        gap.lost, gap.by_level = lost, by_level
        if not lost and gap.cursor in self._entries:
            self._remove(gap.cursor, "closed")

    def since(self, cursor: int, limit: int) -> Page:
        """The newest entries after a cursor, at most `limit`, and how many more there are."""
        came = self.cursor - max(cursor, self._first)
        found: list[Entry] = []
        for number, entry in reversed(self._entries.items()):
            if number <= cursor or len(found) == limit:
                break
            found.append(entry)
        found.reverse()
        return Page(self.cursor, found, truncated=False, skipped=max(0, came - len(found)))

    def entries(self) -> list[Entry]:
        """All entries, oldest first; a copy, to search without holding the lock."""
        return list(self._entries.values())

    def _lose(self, lost: int, by_level: Mapping[str, int]) -> None:
        self.counts["lost"] += lost
        for level, count in by_level.items():
            known = max(0, min(count, lost))
            self.lost_by_level[plain_level(level)] += known
            lost -= known
        self.lost_by_level[UNKNOWN] += lost

    def _trim_sender(self, own: _Share) -> None:
        while len(own.cursors) > self.max_records_per_sender:
            self._remove(own.cursors[0], "log_records_per_sender")
        while len(own.cursors) > 1 and own.bytes > self.max_bytes_per_sender:
            self._remove(own.cursors[0], "log_bytes_per_sender")

    def _trim(self) -> None:
        while len(self._entries) > self.max_records:
            self._remove(next(iter(self._entries)), "log_records")
        while len(self._entries) > 1 and self.bytes > self.max_bytes:
            self._remove(next(iter(self._entries)), "log_bytes")

    def _remove(self, cursor: int, why: str) -> None:
        entry, size = self._entries.pop(cursor), self._sizes.pop(cursor)
        own = self._of_sender[entry.sender]
        self.bytes -= size
        own.bytes -= size
        if own.cursors[0] == cursor:
            own.cursors.popleft()
        else:
            own.cursors.remove(cursor)
        if not own.cursors:
            del self._of_sender[entry.sender]
        self.counts[why] += 1


class _Share:
    """What one sender has of a tail."""

    __slots__ = ("bytes", "cursors")

    def __init__(self) -> None:
        self.cursors: deque[int] = deque()
        self.bytes = 0


def look_up(
    entries: list[Entry], wanted: LogFilter, limit: int, after: int | None = None, before: int | None = None
) -> Page:
    """The entries that match: the first after a cursor, or the last ones, or the last before a cursor; oldest first.

    Args:
        entries: oldest first.
        wanted: what must match.
        limit: the most entries to return.
        after: only entries after this cursor, starting with the earliest.
        before: only entries before this cursor, starting with the latest.
    """
    forwards = after is not None
    found: list[Entry] = []
    truncated = False
    for entry in entries if forwards else reversed(entries):
        if after is not None and entry.cursor <= after:
            continue
        if before is not None and entry.cursor >= before:
            if forwards:
                break
            continue
        if wanted.takes(entry):
            if len(found) == limit:
                truncated = True
                break
            found.append(entry)
    if not forwards:
        found.reverse()
    last = found[-1].cursor if found and truncated and forwards else (entries[-1].cursor if entries else after or 0)
    return Page(max(last, after or 0), found, truncated)
