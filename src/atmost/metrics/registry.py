"""What a process measures, and what of it each snapshot says: all that changed lately, and everything every 10 seconds.

Pure but for the lock: the caller brings time, the life's random name, and a way to send. Snapshots are numbered without
holes and cut into numbered parts, so that a reader knows which snapshots and parts it has not seen.
"""

from __future__ import annotations

import re
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec

from atmost.errors import MetricError
from atmost.metrics import wire
from atmost.metrics.instruments import DropReason, Instrument, Labelled, Shot
from atmost.metrics.wire import MAX_DECLARATION, MAX_LABELS, MAX_NAME, MAX_UNIT

# Which names metrics and labels may have: the data model of Prometheus, and the suffixes of OpenMetrics.
#
# https://prometheus.io/docs/concepts/data_model/, OpenMetrics 1.0 sections "MetricFamily" and "Suffixes".

_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_UNIT: Final = re.compile(r"[a-zA-Z0-9_]*")
_RESERVED: Final = {"le", "quantile"}
_SUFFIXES: Final = ("_total", "_created", "_bucket", "_count", "_sum", "_info")
"""Names that exporters make out of others: a gauge of that name would be taken for part of something else."""


def check_name(name: object, kind: str, unit: object) -> str:
    """Returns the name when a metric of this kind and unit may have it.

    Raises:
        MetricError: it breaks a rule; the text says which, and what would be right.
    """
    if not isinstance(name, str) or not _METRIC.fullmatch(name):
        raise MetricError(name, "a name has letters, digits, '_' and ':', and begins with no digit")
    if len(name) > MAX_NAME:
        raise MetricError(name, f"a name has at most {MAX_NAME} characters")
    if kind == "counter":
        if not name.endswith("_total") or name == "_total":
            raise MetricError(name, f"a counter's name ends in _total: {name.removesuffix('_count')}_total")
    elif taken := next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), None):
        raise MetricError(name, f"a {kind}'s name must not end in {taken}, which means another kind of metric")
    if not isinstance(unit, str) or not _UNIT.fullmatch(unit) or len(unit) > MAX_UNIT:
        raise MetricError(name, f"a unit is a word like seconds or bytes, not {unit!r}")
    if unit and not name.removesuffix("_total").endswith(f"_{unit}"):
        raise MetricError(name, f"the name must end in its unit: …_{unit}{'_total' if kind == 'counter' else ''}")
    return name


def check_labels(name: str, labels: Iterable[str]) -> tuple[str, ...]:
    """Returns the label names when the metric may have them.

    Raises:
        MetricError: they are not several names, break a rule, or are too many.
    """
    if isinstance(labels, str):
        raise MetricError(name, f"labels are several names: ({labels!r},) for one")
    try:
        names = tuple(labels)
    except TypeError:
        raise MetricError(name, f"labels are several names, not {labels!r}") from None
    for label in names:
        if not isinstance(label, str) or not _LABEL.fullmatch(label) or label.startswith("__"):
            raise MetricError(
                name, f"label {label!r}: has letters, digits and '_', begins with no digit and not with '__'"
            )
        if label in _RESERVED:
            raise MetricError(name, f"label {label!r} is taken by histograms and summaries: choose another name")
    if len(set(names)) != len(names):
        raise MetricError(name, f"labels {names!r}: each name once")
    if len(names) > MAX_LABELS:
        raise MetricError(name, f"at most {MAX_LABELS} labels, not {len(names)}")
    if (size := len(name) + sum(map(len, names))) > MAX_DECLARATION:
        raise MetricError(name, f"name and label names have {size} characters, at most {MAX_DECLARATION}")
    return names


# Cuts the readings of one snapshot into groups that each fit a part.

_TAGS: Final = {"counter": "c", "gauge": "g", "histogram": "h"}
_ARRAY: Final = struct.Struct(">BH")


class Declaration(Protocol):
    """What a part says of a metric besides its readings."""

    name: str
    kind: str
    names: tuple[str, ...]
    unit: str


class Piece(NamedTuple):
    """The readings of one metric in one snapshot."""

    declared: Declaration
    picked: list[tuple[Instrument, Shot]]
    help: str


def cut(pieces: list[Piece], room: int, now: float) -> tuple[list[list[msgspec.Raw]], int]:
    """Groups encoded families so that no group is larger than `room`.

    Args:
        pieces: the readings.
        room: bytes.
        now: monotonic, seconds; a gauge's reading has an age.

    Returns:
        The groups, at least one, and how many series fit none.
    """
    groups: list[list[msgspec.Raw]] = [[]]
    left, too_large = room, 0
    for piece in pieces:
        head = _head(piece, piece.help)
        if len(head) > room // 2:
            head = _head(piece, "")  # help is the first to go
        open_entries: list[bytes] = []
        spare = left - len(head) - _ARRAY.size
        for one, shot in piece.picked:
            whole = room - len(head) - _ARRAY.size
            entries = one.entries(shot, whole, now)
            if max(map(len, entries)) > whole:
                too_large += 1
                continue
            for entry in entries:
                if len(entry) > spare:
                    _close(groups, head, open_entries)
                    if groups[-1]:
                        groups.append([])
                    spare = whole
                open_entries.append(entry)
                spare -= len(entry)
        if open_entries:
            _close(groups, head, open_entries)
            left = spare
    return groups, too_large


def _head(piece: Piece, text: str) -> bytes:
    declared = piece.declared
    fields = (_TAGS[declared.kind], declared.name, declared.names, declared.unit, text)
    return b"\x96" + b"".join(map(wire.encode, fields))


def _close(groups: list[list[msgspec.Raw]], head: bytes, entries: list[bytes]) -> None:
    """Puts the open family into the last group."""
    if entries:
        groups[-1].append(msgspec.Raw(head + _ARRAY.pack(0xDC, len(entries)) + b"".join(entries)))
        entries.clear()


I = TypeVar("I", bound=Instrument)  # noqa: E741  the instrument

REPEAT: Final = 10.0
"""Every series is sent at least this often, changed or not, seconds."""
_PATIENCE: Final = 1.0
"""What `flush` and `close` wait at most for a snapshot that is being taken, whose callback may hang; seconds."""
_FIRST: Final = 3
"""Snapshots that carry a new metric's help, besides those that repeat it."""


@dataclass(slots=True)
class Declared:
    """One metric."""

    name: str
    kind: str
    names: tuple[str, ...]
    unit: str
    help: str
    turn: int
    born: int
    metric: Any = None
    """The instrument, or `Labelled` instruments: what declaring it again returns."""
    series: list[Instrument] = field(default_factory=list)


class Registry:
    """The metrics of one process in one life."""

    _inside: bool

    def __init__(self, sender: str, life: bytes, now: float, *, interval: float, max_series: int) -> None:
        """Begins the first life.

        Args:
            sender: name that readers show.
            life: 8 random bytes.
            now: monotonic, seconds.
            interval: between two snapshots, seconds.
            max_series: over all metrics together.
        """
        self._sender = sender
        self._interval = interval
        self._max_series = max_series
        self._repeat = max(1, round(REPEAT / interval))
        self._declared: dict[str, Declared] = {}
        self.room = wire.MAX_MESSAGE
        """Bytes of one message; less once the sender has said so."""
        self.keeper: Any = None
        """Whoever sends for this registry: it lives as long as an instrument in use."""
        self._begin(life, now)
        self._quiet = False

    @property
    def dropped(self) -> dict[str, int]:
        """What was refused in this life, by reason."""
        return dict(self._dropped)

    @property
    def declared_any(self) -> bool:
        """Whether there is anything to tell of."""
        return bool(self._declared)

    def drop(self, reason: DropReason) -> None:
        """Counts something refused."""
        with self.guard:
            self._dropped[reason.value] = self._dropped.get(reason.value, 0) + 1

    def declare(self, kind: type[I], tag: str, name: str, help: str, labels: Any, unit: str) -> I | Labelled[I]:  # noqa: A002
        """Makes a metric, or returns the one declared before in the same way.

        Raises:
            MetricError: a name or label is malformed, or the name was declared in another way.
        """
        check_name(name, tag, unit)
        names = check_labels(name, labels)
        if not isinstance(help, str):
            raise MetricError(name, f"help is text, not {help!r}")
        with self.guard:
            known = self._declared.get(name)
            if known is not None:
                _check_same(known, tag, names, unit)
                found: I | Labelled[I] = known.metric
                return found
            text = help.encode(errors="replace").decode()[: wire.MAX_HELP]
            declared = Declared(name, tag, names, unit, text, len(self._declared), self.number)
            if names:
                unsent = kind(self, name, b"", 0, 0)
                made: I | Labelled[I] = Labelled(name, names, partial(self._admit, kind, declared), self.drop, unsent)
            else:
                one = self._admit(kind, declared, wire.encode(()))
                if one is None:
                    raise MetricError(name, f"there are max_series={self._max_series} series already")
                made = one
            declared.metric = made
            self._declared[name] = declared
            return made

    def snapshot(self, now: float, send: Callable[[bytes], int], *, full: bool = False, final: bool = False) -> int:
        """Sends what there is to say, the largest part first.

        Args:
            now: monotonic, seconds.
            send: takes the payload of one message; returns 0, or the bytes that fit when it was too large.
            full: say everything.
            final: no other snapshot follows.

        Returns:
            Parts sent; 0 when there is nothing to tell of.
        """
        if not self._taking.acquire(timeout=_PATIENCE):
            return 0
        try:
            if self._inside:  # a callback, or a signal handler, that asks for a snapshot
                return 0
            self._inside = True
            try:
                return self._take(now, send, full=full or final, final=final)
            finally:
                self._inside = False
        finally:
            self._taking.release()

    def renew(self, life: bytes, now: float) -> None:
        """Begins another life, in a forked child: what the parent measured is the parent's to tell."""
        self._begin(life, now)
        self._quiet = True
        for declared in self._declared.values():
            declared.born = 0
            for one in declared.series:
                one.clear()
                one.born = one.changed = 0
                one.shot = one.look(now) if getattr(one, "callback", None) is None else None

    def _begin(self, life: bytes, now: float) -> None:
        # A forked child may have inherited locks that nobody will let go of.
        self.guard = threading.RLock()
        """Held for moments only, where series and buckets come into being."""
        self._taking = threading.RLock()
        self._inside = False
        self._life = life
        self._began = now
        self._dropped: dict[str, int] = {}
        self.number = 0

    def _take(self, now: float, send: Callable[[bytes], int], *, full: bool, final: bool) -> int:
        # Without the guard: a callback may be slow, and nobody who counts may wait for it.
        pieces = self._look(now, full=full)
        if not self._declared or self._quiet:
            return 0
        while True:
            parts = self._parts(pieces, now, final=final)
            limit = send(parts[0])
            if not limit or limit >= self.room:
                break
            self.room = limit
        self.number += 1
        for part in parts[1:]:
            send(part)
        return len(parts)

    def _admit(self, kind: type[I], declared: Declared, values: bytes) -> I | None:
        with self.guard:
            for one in declared.series:
                if one.values == values:  # another thread was first
                    return one  # type: ignore[return-value]
            count = sum(len(each.series) for each in self._declared.values())
            if count >= self._max_series:
                return None
            made = kind(self, declared.name, values, count, self.number)
            declared.series.append(made)
            return made

    def _look(self, now: float, *, full: bool) -> list[Piece]:
        """Takes a shot of every series, and picks those to send."""
        number, pieces = self.number, []
        for declared in tuple(self._declared.values()):
            picked = []
            for one in tuple(declared.series):
                shot = one.look(now)
                if shot is None:
                    continue
                if shot != one.shot:
                    one.shot, one.changed = shot, number
                    if self._quiet and getattr(one, "callback", None) is None:
                        self._quiet = False
                if full or number - one.changed < wire.HOLD or (number + one.turn) % self._repeat == 0:
                    picked.append((one, shot))
            tell = full or number - declared.born < _FIRST or (number + declared.turn) % self._repeat == 0
            if picked:
                pieces.append(Piece(declared, picked, declared.help if tell else ""))
        return pieces

    def _parts(self, pieces: list[Piece], now: float, *, final: bool) -> list[bytes]:
        """The payloads, largest first."""

        def head(part: int, parts: int) -> tuple[Any, ...]:
            elapsed = max(0.0, now - self._began)
            who = (wire.VERSION, self._life, self._sender, self.number, part, parts)
            return (*who, final, elapsed, self._interval, self._dropped)

        # The message around the payload: an array of two, and the subject, whose length the caller took off already.
        room = self.room - len(wire.encode((*head(wire.MAX_PARTS, wire.MAX_PARTS), []))) - 8
        groups, too_large = cut(pieces, room, now)
        for _ in range(too_large):
            self.drop(DropReason.TOO_LARGE)
        parts = [wire.encode((*head(part, len(groups)), group)) for part, group in enumerate(groups)]
        return sorted(parts, key=len, reverse=True)


def _check_same(known: Declared, kind: str, names: tuple[str, ...], unit: str) -> None:
    if (known.kind, known.names, known.unit) != (kind, names, unit):
        raise MetricError(
            known.name,
            f"declared before as a {known.kind} with labels {known.names!r} and unit {known.unit!r}, "
            f"now as a {kind} with labels {names!r} and unit {unit!r}",
        )
