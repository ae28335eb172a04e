"""What a process measures, and what of it each snapshot says: all that changed lately, and everything every 10 seconds.

Pure but for the lock: the caller brings time, the life's random name, and a way to send.

Theory of operation.

*Snapshots* are numbered without holes and cut into numbered parts, so that a reader knows which of them it has not seen.
A snapshot holds every series that changed in it or in the two before, and a tenth-of-a-minute share of the others.
*The last one* holds every series and says so. It is sent `FINALS` times as it is, in messages of their own, because nothing after it could
heal its loss. Whoever counts afterwards continues the life: the next snapshot says that the one before was not the last.
*A forked child* begins another life at zero, and is silent until it has measured something.
*Locks*: `guard` is held for moments, where series and buckets come into being; `_taking` while a snapshot is read and sent, which a callback
may make long. A snapshot asked for by a callback or a signal handler in the middle of another is none.
"""

from __future__ import annotations

import re
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from atmost.errors import MetricError
from atmost.metrics import wire
from atmost.metrics.buckets import MAX_BOUNDS
from atmost.metrics.instruments import Instrument, Labelled, MetricDropReason, Reading

I = TypeVar("I", bound=Instrument)  # noqa: E741  the instrument

REPEAT: Final = 10.0
"""Every series is sent at least this often, changed or not, seconds."""
_PATIENCE: Final = 1.0
"""What `flush` and `close` wait at most for a snapshot that is being taken, whose callback may hang; seconds."""
_HELPED: Final = 3
"""Snapshots that carry a new metric's help, besides those that repeat it."""
_TAGS: Final = {"counter": "c", "gauge": "g", "histogram": "h"}
_ARRAY: Final = struct.Struct(">BH")


@dataclass(slots=True)
class Declared:
    """A metric as the program declared it, with its series."""

    name: str
    kind: str
    names: tuple[str, ...]
    unit: str
    help: str
    extra: Any
    """A gauge's mode, a histogram's bounds."""
    turn: int
    born: int
    metric: Any = None
    """The instrument, or `Labelled` instruments: what declaring it again returns."""
    series: list[Instrument] = field(default_factory=list)

    @property
    def meaning(self) -> tuple[Any, ...]:
        """What must be the same when it is declared again."""
        return self.kind, self.names, self.unit, self.extra


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
    def is_empty(self) -> bool:
        """Whether nothing was declared."""
        return not self._declared

    @property
    def has_news(self) -> bool:
        """Whether anything was counted since the last snapshot of this life was said to be the last; callbacks are not asked."""
        if not self._final:
            return bool(self._declared)
        every = [one for declared in tuple(self._declared.values()) for one in tuple(declared.series)]
        return any(one.callback is None and one.read(0.0) != one.last for one in every)

    def drop(self, reason: MetricDropReason) -> None:
        """Counts something refused."""
        with self.guard:
            self._dropped[reason.value] = self._dropped.get(reason.value, 0) + 1

    def declare(
        self,
        kind: type[I],
        tag: str,
        name: str,
        help: str,  # noqa: A002  Prometheus' word
        labels: Any,
        unit: str,
        extra: Any = None,
    ) -> I | Labelled[I]:
        """Makes a metric, or returns the one declared before in the same way.

        Raises:
            MetricError: a name or label is malformed, or the name was declared in another way.
        """
        check_name(name, tag, unit)
        names = check_labels(name, labels)
        if not isinstance(help, str):
            raise MetricError(name, f"help must be a string, not {help!r}")
        text = _cut(help, wire.MAX_HELP)
        with self.guard:
            declared = Declared(name, tag, names, unit, text, extra, len(self._declared), self.number)
            known = self._declared.get(name)
            if known is not None:
                if known.meaning != declared.meaning:
                    raise MetricError(name, f"declared before as {_described(known)}, now as {_described(declared)}")
                found: I | Labelled[I] = known.metric
                return found
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
            final: no other snapshot is expected to follow.

        Returns:
            Parts sent; 0 when there is nothing to say.
        """
        return self._alone(lambda: self._snapshot(now, send, full=full or final, final=final))

    def repeat_final(self, send: Callable[[bytes], int]) -> int:
        """Sends the last snapshot once more, as it was; returns its parts, or 0 when other snapshots came after it."""
        return self._alone(lambda: sum(not send(part) for part in self._final))

    def renew(self, life: bytes, now: float) -> None:
        """Begins another life, in a forked child: what the parent measured is the parent's to say."""
        self._begin(life, now)
        self._quiet = True
        for declared in self._declared.values():
            declared.born = 0
            for one in declared.series:
                one.reset()
                one.born = one.changed = 0
                one.last = one.read(now) if one.callback is None else None

    def _begin(self, life: bytes, now: float) -> None:
        # A forked child may have inherited locks that nobody will release.
        self.guard = threading.RLock()
        """Held for moments only, where series and buckets come into being."""
        self._taking = threading.RLock()
        self._inside = False
        self._life = life
        self._began = now
        self._dropped: dict[str, int] = {}
        self._final: list[bytes] = []
        """The parts of the last snapshot, while no other has followed."""
        self.number = 0

    def _alone(self, step: Callable[[], int]) -> int:
        """Takes a step unless another thread is at one for too long, or this thread is in the middle of one."""
        if not self._taking.acquire(timeout=_PATIENCE):
            return 0
        try:
            if self._inside:
                return 0
            self._inside = True
            try:
                return step()
            finally:
                self._inside = False
        finally:
            self._taking.release()

    def _snapshot(self, now: float, send: Callable[[bytes], int], *, full: bool, final: bool) -> int:
        # Without the guard: a callback may be slow, and nobody who counts may wait for it.
        pieces = self._read(now, full=full)
        if not self._declared or self._quiet:
            return 0
        # The first part is the largest. A sender that cannot take it says what it can, before anything of the snapshot was sent.
        while True:
            parts = self._parts(pieces, now, final=final)
            limit = send(parts[0])
            if not limit or limit >= self.room:
                break
            self.room = limit
        self.number += 1
        self._final = parts if final else []
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

    def _read(self, now: float, *, full: bool) -> list[Piece]:
        """Reads every series, and picks those to send."""
        number, pieces = self.number, []
        for declared in tuple(self._declared.values()):
            picked = []
            for one in tuple(declared.series):
                reading = one.read(now)
                if reading is None:
                    continue
                if reading != one.last:
                    one.last, one.changed = reading, number
                    if self._quiet and one.callback is None:
                        self._quiet = False
                if full or number - one.changed < wire.HOLD or (number + one.turn) % self._repeat == 0:
                    picked.append((one, reading))
            helped = full or number - declared.born < _HELPED or (number + declared.turn) % self._repeat == 0
            if picked:
                pieces.append(Piece(declared, picked, declared.help if helped else ""))
        return pieces

    def _parts(self, pieces: list[Piece], now: float, *, final: bool) -> list[bytes]:
        """The payloads, largest first."""

        def head(part: int, parts: int) -> tuple[Any, ...]:
            elapsed = max(0.0, now - self._began)
            who = (wire.VERSION, self._life, self._sender, self.number, part, parts)
            return (*who, final, elapsed, self._interval, self._dropped)

        # The message around the payload: an array of two, and the subject, whose length the caller took off already.
        room = self.room - len(wire.encode((*head(wire.MAX_PARTS, wire.MAX_PARTS), []))) - 8
        groups, too_large = _grouped(pieces, room, now)
        for _ in range(too_large):
            self.drop(MetricDropReason.TOO_LARGE)
        parts = [wire.encode((*head(part, len(groups)), group)) for part, group in enumerate(groups)]
        return sorted(parts, key=len, reverse=True)


def _described(declared: Declared) -> str:
    extra = {"gauge": f", mode {declared.extra}", "histogram": f", buckets {declared.extra}"}.get(declared.kind, "")
    return f"a {declared.kind} with labels {declared.names!r}, unit {declared.unit!r}{extra}"


# From readings to parts that each fit a message.


class Piece(NamedTuple):
    """The readings of one metric in one snapshot."""

    declared: Declared
    picked: list[tuple[Instrument, Reading]]
    help: str


def _grouped(pieces: list[Piece], room: int, now: float) -> tuple[list[list[msgspec.Raw]], int]:
    """Groups encoded families so that no group is larger than `room` bytes; at least one group, and how many series fit none."""
    groups: list[list[msgspec.Raw]] = [[]]
    left, too_large = room, 0
    for piece in pieces:
        head, tail = _around(piece.declared, piece.help)
        if len(head) > room // 2:
            head, tail = _around(piece.declared, "")  # help is the first to go
        overhead = len(head) + _ARRAY.size + len(tail)
        entries: list[bytes] = []
        spare = left - overhead
        for one, reading in piece.picked:
            encoded = one.encode(reading, room - overhead, now)
            if max(map(len, encoded)) > room - overhead:
                too_large += 1
                continue
            for entry in encoded:
                if len(entry) > spare:
                    _close(groups, head, entries, tail)
                    if groups[-1]:
                        groups.append([])
                    spare = room - overhead
                entries.append(entry)
                spare -= len(entry)
        if entries:
            _close(groups, head, entries, tail)
            left = spare
    return groups, too_large


def _around(declared: Declared, text: str) -> tuple[bytes, bytes]:
    """What stands before and after the entries of a family."""
    fields = (_TAGS[declared.kind], declared.name, declared.names, declared.unit, text)
    head = b"".join(map(wire.encode, fields))
    return (b"\x96" + head, b"") if declared.extra is None else (b"\x97" + head, wire.encode(declared.extra))


def _close(groups: list[list[msgspec.Raw]], head: bytes, entries: list[bytes], tail: bytes) -> None:
    """Puts the open family into the last group."""
    if entries:
        groups[-1].append(msgspec.Raw(head + _ARRAY.pack(0xDC, len(entries)) + b"".join(entries) + tail))
        entries.clear()


# Which names metrics and labels may have: the data model of Prometheus, and the suffixes of OpenMetrics 1.0.

_METRIC: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_UNIT: Final = re.compile(r"[a-zA-Z0-9_]*")
_RESERVED_LABELS: Final = {"le": "histograms", "quantile": "summaries"}
_SUFFIXES: Final = ("_total", "_created", "_bucket", "_count", "_sum", "_info")
"""Names that exporters make out of others: a gauge of that name would be taken for part of something else."""
RESERVED: Final = frozenset({"up", "ALERTS", "ALERTS_FOR_STATE"})
"""Series that Prometheus writes itself, besides those that begin with `scrape_`."""


def is_reserved(name: str) -> bool:
    """Whether Prometheus writes series of this name itself."""
    return name in RESERVED or name.startswith("scrape_")


def check_name(name: object, kind: str, unit: object) -> str:
    """Returns the name when a metric of this kind and unit may have it.

    Raises:
        MetricError: it breaks a rule; the text says which, and what would be right.
    """
    if isinstance(name, str) and ":" in name:
        raise MetricError(name, "colons are for recording rules of Prometheus: use '_'")
    if not isinstance(name, str) or not _METRIC.fullmatch(name):
        raise MetricError(name, "a name may have only letters, digits and '_', and must not begin with a digit")
    if len(name) > wire.MAX_NAME:
        raise MetricError(name, f"a name has at most {wire.MAX_NAME} characters")
    if is_reserved(name):
        raise MetricError(name, "Prometheus writes a series of this name itself: choose another name")
    if kind == "counter":
        if not name.endswith("_total") or name == "_total":
            raise MetricError(name, f"a counter's name must end in _total: {name.removesuffix('_count')}_total")
    elif taken := next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), None):
        raise MetricError(name, f"a {kind}'s name must not end in {taken}, which means another kind of metric")
    if not isinstance(unit, str) or not _UNIT.fullmatch(unit) or len(unit) > wire.MAX_UNIT:
        raise MetricError(name, f"a unit must be a word such as seconds or bytes, not {unit!r}")
    if unit and not name.removesuffix("_total").endswith(f"_{unit}"):
        raise MetricError(name, f"the name must end in its unit: …_{unit}{'_total' if kind == 'counter' else ''}")
    return name


def check_labels(name: str, labels: Iterable[str]) -> tuple[str, ...]:
    """Returns the label names when the metric may have them.

    Raises:
        MetricError: they are not several names, break a rule, or are too many.
    """
    if isinstance(labels, str):
        raise MetricError(name, f"labels must be several names: write ({labels!r},) for one")
    try:
        names = tuple(labels)
    except TypeError:
        raise MetricError(name, f"labels must be several names, not {labels!r}") from None
    for label in names:
        if not isinstance(label, str) or not _LABEL.fullmatch(label) or label.startswith("__"):
            raise MetricError(
                name,
                f"label {label!r}: may have only letters, digits and '_', and must not begin with a digit or with '__'",
            )
        if label in _RESERVED_LABELS:
            raise MetricError(name, f"label {label!r} is taken by {_RESERVED_LABELS[label]}: choose another name")
    if len(set(names)) != len(names):
        raise MetricError(name, f"labels {names!r}: each name once")
    if len(names) > wire.MAX_LABELS:
        raise MetricError(name, f"at most {wire.MAX_LABELS} labels, not {len(names)}")
    if (size := len(name) + sum(map(len, names))) > wire.MAX_DECLARATION:
        raise MetricError(name, f"name and label names have {size} characters, at most {wire.MAX_DECLARATION}")
    return names


def check_bounds(name: str, buckets: Iterable[float] | None) -> tuple[float, ...]:
    """Returns the bounds that a histogram is shown with at `/metrics`; empty for those that go with its name.

    Raises:
        MetricError: they are not ascending finite numbers, or too many.
    """
    if buckets is None:
        return ()
    try:
        bounds = tuple(float(bound) for bound in buckets)
    except (TypeError, ValueError, OverflowError):
        raise MetricError(name, f"buckets must be upper bounds, as ascending numbers, not {buckets!r}") from None
    if bounds and bounds[-1] == float("inf"):
        bounds = bounds[:-1]  # Prometheus' clients allow it, and it is always there
    if not bounds or not wire.are_bounds(bounds):
        raise MetricError(name, f"buckets must be upper bounds, as ascending finite numbers, not {buckets!r}")
    if len(bounds) > MAX_BOUNDS:
        raise MetricError(name, f"at most {MAX_BOUNDS} buckets, not {len(bounds)}")
    return bounds


def check_mode(name: str, mode: object) -> wire.GaugeMode:
    """Returns how values of several processes are combined.

    Raises:
        MetricError: there is no such way.
    """
    try:
        return wire.GaugeMode(mode)  # type: ignore[arg-type]
    except ValueError:
        raise MetricError(name, f"mode is one of {', '.join(wire.GaugeMode)}, not {mode!r}") from None


def _cut(text: str, size: int) -> str:
    """The text, with a question mark for what has no bytes, cut to this many bytes."""
    return text.encode(errors="replace")[:size].decode(errors="ignore")
