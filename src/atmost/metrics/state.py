"""What a reader knows, and how messages and losses change it; whatever a sender did, nothing here raises.

Theory of operation.

*Lives* come with their first part. One that is gone makes room for others: what its counters and histograms had counted is *folded* into
totals by sender, name and labels. Should it return, its share is taken out again, series by series, when each is there again.

*Declarations*: a name means one thing. Who says something else is refused, counted and named, as long as anybody living uses the name as it was
declared; when nobody does, the newcomer's declaration takes its place. Bounds, mode and unit are views and refuse nobody: the first one's hold.

*Doubts* are why a total may be too small although the series looks well: kept by sender and name for as long as the reader lives,
because a total never forgets either.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from sys import getsizeof
from typing import Any, Final, NamedTuple

from atmost.core.events import Event, LateArrival, Loss, Message, Session, SessionClosed
from atmost.metrics import wire
from atmost.metrics.buckets import MIN_SCALE, Buckets, default_bounds, joined
from atmost.metrics.history import Ring
from atmost.metrics.life import Counted, Life, MetricTail, PlainSession, RetiredKey, SeriesKey

_ENDED, _SILENT, _INTERVALS = 60.0, 600.0, 3.0
"""Seconds after which what has ended, or is silent, may make room for others; and intervals, where those are longer."""
_ABSENT: Final = 60.0
"""Seconds of silence after which a sender's declaration may be replaced."""
_LOOK_EVERY: Final = 1.0
"""Seconds between two looks for such."""
_FEW_PLAIN: Final = 16
"""Sessions with plain readings are at most a quarter of the series, but never less than this: each keeps a history of what it lost."""
_MAX_SAMPLES: Final = 64
_MAX_DOUBTS: Final = 4096
_MAX_SILENT_SESSIONS: Final = 4096
_KINDS: Final = {wire.Counters: "counter", wire.Gauges: "gauge", wire.Histograms: "histogram"}


def most_plain(max_series: int) -> int:
    """How many sessions with plain readings there is room for, beside so many series."""
    return max(_FEW_PLAIN, max_series // 4)


class IncompleteReason(StrEnum):
    """Why a total may be too small."""

    TAIL_UNKNOWN = "tail_unknown"
    """A process ended, or fell silent, and its last snapshot did not come."""
    PENDING = "pending"
    """The latest snapshot is not known yet; the next ones complete it."""
    REFUSED_BY_SENDER = "refused_by_sender"
    """A process reports that it did not count or send something: see its `dropped`."""
    CONFLICT = "conflict"
    """Another sender declared the name differently, and was refused."""
    LIMIT = "limit"
    """A limit of the reader refused series, or forgot totals."""
    EVICTED = "evicted"
    """A process returned after it was forgotten, and its share of the total is not known."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What senders declared of a name."""

    name: str
    kind: str
    """counter, gauge, histogram; reading for a plain one."""
    label_names: tuple[str, ...] = ()
    unit: str = ""
    help: str = ""
    mode: wire.GaugeMode = wire.GaugeMode.LATEST
    """How values of several processes are combined, of a gauge."""
    buckets: tuple[float, ...] = ()
    """Bounds for `le`, of a histogram; empty for those that go with its name."""
    sender: str = ""
    """Whose declaration this is."""

    @property
    def bounds(self) -> tuple[float, ...]:
        """The bounds for `le`: the chosen ones, or those that go with the name."""
        return self.buckets or default_bounds(self.name)

    @property
    def meaning(self) -> tuple[str, tuple[str, ...]]:
        """What everybody who uses the name must agree on."""
        return self.kind, self.label_names

    @property
    def view(self) -> tuple[Any, ...]:
        """What they should agree on."""
        return self.unit, self.mode, self.buckets


_AS_READING: Final = (Metric("", "reading").meaning, Metric("", "reading").view)
_NUMBERS: Final = frozenset({int, float})
LARGEST: Final = 1.7e308
"""The magnitude of a reading is below this."""


class MetricRefusal(StrEnum):
    """Why a reader did not take something as it was sent."""

    MALFORMED = "malformed"
    """Not something that a registry sends."""
    CONFLICT = "conflict"
    """Another sender declared the name with another kind or other labels: the series are refused."""
    VIEW = "view"
    """Another sender declared the name with another unit, mode or buckets: those are used, and the series taken."""
    RETIRED = "retired"
    """The process was forgotten, and its share of the totals is not known any more."""
    LIMIT = "limit"
    """A bound on series was reached."""


@dataclass(frozen=True, slots=True)
class RefusedMetric:
    """A sample of what was refused."""

    at: float
    """The last time, seconds on the reader's clock."""
    reason: MetricRefusal
    sender: str
    """Whose it was."""
    name: str
    """The metric's; empty where it is not known."""
    kept_sender: str
    """Of a conflict: whose declaration is used."""
    text: str
    """What is wrong, for people."""
    count: int
    """How often it came."""


class Doubts(NamedTuple):
    """Why totals may be too small, besides what the lives in memory tell."""

    of_senders: dict[tuple[str, str], frozenset[IncompleteReason]]
    """By sender and name; an empty text stands for all."""
    uncertain: frozenset[RetiredKey]
    """Totals that a forgotten life may have counted more of."""

    def reasons(self, sender: str, name: str) -> set[IncompleteReason]:
        """Those about a sender and a name."""
        keys = ((sender, name), (sender, ""), ("", name), ("", ""))
        return {reason for key in keys for reason in self.of_senders.get(key, ())}


class ReaderState:
    """Lives, sessions with plain readings, declarations, doubts, and what became of the input."""

    def __init__(
        self,
        *,
        prefix: str,
        slot: float,
        slots: int,
        grace: float,
        max_lives: int,
        max_series: int,
        max_series_of_life: int,
        max_histograms: int,
        coarse: tuple[float, int] | None,
        began: float | None,
    ) -> None:
        """Starts empty; arguments as `MetricsReader` has them, the prefix with its dot."""
        self._prefix = prefix
        self._slot, self._slots, self._grace = slot, slots, grace
        self._max_lives, self._max_series, self._max_series_of_life = max_lives, max_series, max_series_of_life
        self._max_histograms, self.histograms_kept = max_histograms, 0
        self._coarse = coarse
        self.lives: dict[bytes, Life] = {}
        self._of_session: dict[bytes, set[bytes]] = {}
        """Lives by the session that carried their latest snapshot."""
        self._lost_unseen: dict[bytes, int] = {}
        """Messages lost of sessions that no snapshot came in: nobody knows what they were."""
        self._closed_unseen: dict[bytes, str] = {}
        """The sender's name of such sessions that said goodbye: their losses may be called so later."""
        self.plain: dict[bytes, PlainSession] = {}
        self.metrics: dict[str, Metric] = {}
        self.retired = Retired()
        self.counts: Tally[str] = Tally()
        self.refused: dict[tuple[MetricRefusal, str, str], RefusedMetric] = {}
        """Samples, by reason, sender and name."""
        self._doubts: dict[tuple[str, str], Tally[IncompleteReason]] = {}
        """By sender and name; an empty text stands for all."""
        self.series_kept = 0
        self._began = began
        self._looked = float("-inf")
        self._looked_for_users: dict[str, float] = {}

    def feed(self, event: Event, now: float) -> None:
        """Takes one event of a receiver."""
        if self._began is None:
            self._began = now
        if isinstance(event, Message):
            self._take_message(event, now)
        elif isinstance(event, Loss):
            self._take_loss(event, now)
        elif isinstance(event, LateArrival):
            self._take_late(event)
        elif isinstance(event, SessionClosed):
            self._take_goodbye(event.session)

    def repeats(self, session: bytes, subject: str) -> bool:
        """Whether a plain reading of this subject is one of a series that its session has, under a name that means what it meant."""
        name = subject[len(self._prefix) :]
        plain, metric = self.plain.get(session), self.metrics.get(name)
        return (
            plain is not None
            and metric is not None
            and name in plain.series
            and (metric.meaning, metric.view) == _AS_READING
        )

    def feed_together(self, messages: Sequence[Message], now: float) -> None:
        """Takes messages of one session and one subject that came together."""
        subject, key = messages[0].subject, messages[0].session.key
        if not subject.startswith(self._prefix):
            if key in self.plain:
                self.plain[key].hear_all(messages, now)
            return
        values = [message.payload for message in messages]
        are_readings = _NUMBERS.issuperset([value.__class__ for value in values]) and self.repeats(key, subject)
        if are_readings and sum(map(abs, values)) < LARGEST:  # so is each of them; NaN fails
            self.counts["readings"] += len(values)
            self.plain[key].hear_all(messages, now)
            self.plain[key].receive_all(subject[len(self._prefix) :], values, now)
            return
        for message in messages:
            self._take_message(message, now)

    def doubts(self) -> Doubts:
        """Why totals may be too small, besides what lives tell, as of now."""
        of_senders = {key: frozenset(reasons) for key, reasons in self._doubts.items()}
        return Doubts(of_senders, self.retired.uncertain())

    # What comes.

    def _take_message(self, message: Message, now: float) -> None:
        subject, payload, session = message.subject, message.payload, message.session
        plain = self.plain.get(session.key)
        if plain is not None:
            plain.hear(message, now)
        if not subject.startswith(self._prefix):
            return
        if payload.__class__ is float or payload.__class__ is int:
            self._take_reading(message, plain, now)
        elif isinstance(payload, list):
            self._take_part(payload, session, now)
        else:
            self._malformed(session, subject[len(self._prefix) :], now)

    def _take_loss(self, loss: Loss, now: float) -> None:
        key = loss.session.key
        if key in self.plain:
            self.plain[key].lose(loss, now)
        if key in self._closed_unseen:
            self._doubt(self._closed_unseen.pop(key), "", IncompleteReason.TAIL_UNKNOWN)
        elif key not in self._of_session:
            self._lost_unseen[key] = self._lost_unseen.get(key, 0) + loss.count
            _shorten(self._lost_unseen)

    def _take_late(self, late: LateArrival) -> None:
        self.counts["late_messages"] += late.count
        left = self._lost_unseen.get(late.session.key, 0) - late.count
        if left > 0:
            self._lost_unseen[late.session.key] = left
        else:
            self._lost_unseen.pop(late.session.key, None)

    def _take_goodbye(self, session: Session) -> None:
        if session.key in self.plain:
            self.plain[session.key].closed = True
        lives = self._of_session.get(session.key, ())
        for life in lives:
            self.lives[life].said_goodbye = True
        # Where no snapshot came of a session that lost messages, it may have had metrics that nobody ever saw.
        if lives or not session.name:
            return
        if self._lost_unseen.pop(session.key, 0):
            self._doubt(session.name, "", IncompleteReason.TAIL_UNKNOWN)
        else:
            self._closed_unseen[session.key] = session.name
            _shorten(self._closed_unseen)

    def _take_reading(self, message: Message, plain: PlainSession | None, now: float) -> None:
        value, name = message.payload, message.subject[len(self._prefix) :]
        if not -LARGEST < value < LARGEST or len(name.encode()) > wire.MAX_NAME:  # NaN fails too
            self._malformed(message.session, name, now)
            return
        if not self._declare(Metric(name, "reading", sender=message.session.name), now):
            return
        if plain is None:
            most = most_plain(self._max_series)
            if len(self.plain) >= most:
                self._forget_gone(now, plain=most)
            if len(self.plain) >= most:
                self._refuse("series_limit", message.session.name, name, now)
                return
            plain = PlainSession(message.session, self._ring(), now)
            self._make_room(now)
            self.plain[message.session.key] = plain
            plain.hear(message, now)
        if name in plain.series or self._admit(plain.sender, name, len(plain.series), now):
            self.counts["readings"] += 1
            plain.receive(name, value, now, self._ring)

    def _take_part(self, payload: Any, session: Session, now: float) -> None:
        part = wire.read_part(payload)
        if part is None:
            self._malformed(session, "", now)
            return
        life = self._life_of(part, session, now)
        if life is None:
            return
        before = life.session.key
        if not life.receive(part, session, now):
            self.counts["repeated"] += 1
            return
        if life.session.key != before:
            self._leave(before, life.id)
        self._of_session.setdefault(life.session.key, set()).add(life.id)
        self._lost_unseen.pop(session.key, None)
        self._closed_unseen.pop(session.key, None)
        self.counts["parts"] += 1
        for family in part.families:
            if self._declare(_declared(family, part.sender), now):
                for entry in family.entries:
                    self._take_entry(life, part.number, family.name, entry, now)
        life.conclude(part.number, now)
        life.settle(now)

    def _life_of(self, part: wire.Part, session: Session, now: float) -> Life | None:
        """The life that a part belongs to, made where it is new; None for one that was folded and cannot return."""
        life = self.lives.get(part.life)
        if life is not None:
            return life
        returned: dict[SeriesKey, Counted] | None = {}
        # One that returns begins here: what it had counted before is not an increase of now.
        watched = now - (self._began if self._began is not None else now)
        if self.retired.knows(part.life):
            watched = -1.0
            returned = self.retired.take_back(part.life, part.number)
            if returned is None:
                self.counts["retired"] += 1
                self._sample(MetricRefusal.RETIRED, part.sender, "", "a process that was forgotten", now)
                if self.retired.may_miss(part.life, part.number):
                    self._doubt(part.sender, "", IncompleteReason.EVICTED)
                return None
        self._make_room(now)
        life = self.lives[part.life] = Life(part, session, now, watched=watched, grace=self._grace)
        life.returning = returned or {}
        return life

    def _take_entry(self, life: Life, number: int, name: str, entry: wire.Entry, now: float) -> None:
        key, histogram = (name, entry.labels), isinstance(entry, wire.HistogramEntry)
        if key not in life.series and not self._admit(life.sender, name, len(life.series), now, histogram=histogram):
            return
        series = life.find(key, entry.born, self._ring, histogram=histogram)
        if life.returning and (counted := life.returning.pop(key, None)) is not None:
            self.retired.subtract(counted)
        counts = entry.born >= life.first
        amount: float | None
        if isinstance(entry, wire.HistogramEntry):
            amount = series.receive_buckets(entry, number, now, counts=counts)
        elif isinstance(entry, wire.CounterEntry):
            amount = series.receive_total(entry.value, counts=counts)
        else:
            amount = entry.value
            series.receive_value(entry.value, number, now - entry.age)
        if amount is None:
            self._malformed(life.session, name, now)
            return
        series.touched = max(series.touched, number)
        if isinstance(entry, wire.HistogramEntry) and entry.chunks > 1:
            series.ring.increase(now, amount)  # known as a whole when the snapshot is complete
        else:
            life.know(series, number, amount, now)

    # What names mean.

    def _declare(self, metric: Metric, now: float) -> bool:
        """Whether readings of a name may be taken as this."""
        known = self.metrics.get(metric.name)
        if known is None:
            if len(self.metrics) >= self._max_series and self._forget_gone(now):
                self._forget_names()
            if len(self.metrics) >= self._max_series:
                self._refuse("series_limit", metric.sender, metric.name, now)
                return False
            self.metrics[metric.name] = metric
            return True
        if known.meaning != metric.meaning:
            if self._is_used(known, now):
                self.counts["conflict"] += 1
                self._contradict(MetricRefusal.CONFLICT, known, metric, now)
                self._doubt(metric.sender, metric.name, IncompleteReason.CONFLICT)
                return False
            self._forget_name(known.name)
            self.metrics[metric.name] = metric
        elif known.view != metric.view:
            if known.sender == metric.sender or self._is_used(known, now, by=known.sender):
                self._contradict(MetricRefusal.VIEW, known, metric, now)
            else:
                self.metrics[metric.name] = replace(metric, help=metric.help or known.help)
        elif metric.help and not known.help:
            self.metrics[metric.name] = replace(known, help=metric.help)
        return True

    def _is_used(self, metric: Metric, now: float, by: str | None = None) -> bool:
        """Whether a living sender uses the name as declared; asked at most once a second for each name, and true meanwhile."""
        if now < self._looked_for_users.get(metric.name, float("-inf")) + _LOOK_EVERY:
            return True
        if len(self._looked_for_users) > _MAX_SAMPLES:
            self._looked_for_users.clear()
        self._looked_for_users[metric.name] = now
        for each in self._everyone():
            lives = not each.closed and now - each.latest_at <= max(_ABSENT, _INTERVALS * each.interval)
            if lives and by in (None, each.sender) and any(name == metric.name for name in _names(each)):
                return True
        return False

    def _forget_name(self, name: str) -> None:
        """Forgets the series and totals of a name that gets another meaning."""
        self.counts["redeclared"] += 1
        self.retired.forget(name)
        for life in self.lives.values():
            for key in [key for key in life.series if key[0] == name]:
                self.histograms_kept -= life.series.pop(key).buckets is not None
                self.series_kept -= 1
        for plain in self.plain.values():
            self.series_kept -= plain.series.pop(name, None) is not None

    def _sample(self, reason: MetricRefusal, sender: str, name: str, text: str, now: float, kept: str = "") -> None:
        """Keeps what was refused, of whom and why; the oldest samples go first."""
        key = (reason, sender, name)
        before = self.refused.pop(key, None)
        self.refused[key] = RefusedMetric(now, reason, sender, name, kept, text, before.count + 1 if before else 1)
        if len(self.refused) > _MAX_SAMPLES:
            del self.refused[next(iter(self.refused))]

    def _contradict(self, reason: MetricRefusal, known: Metric, metric: Metric, now: float) -> None:
        """Keeps who contradicts whom."""
        told = [_said(each, reason) for each in (known, metric)]
        text = f"{known.name}: {known.sender or '?'} says {told[0]}, {metric.sender or '?'} says {told[1]}"
        self._sample(reason, metric.sender, metric.name, text, now, known.sender)

    def _doubt(self, sender: str, name: str, reason: IncompleteReason) -> None:
        key = (sender, name)
        if key not in self._doubts and len(self._doubts) >= _MAX_DOUBTS:
            key = ("", "")  # too many to tell apart: nothing is certain any more
        self._doubts.setdefault(key, Tally())[reason] += 1

    def _refuse(self, limit: str, sender: str, name: str, now: float) -> None:
        self.counts[limit] += 1
        self._doubt(sender, name, IncompleteReason.LIMIT)
        self._sample(MetricRefusal.LIMIT, sender, name, f"a series beyond {limit}", now)

    def _malformed(self, session: Session, name: str, now: float) -> None:
        self.counts["malformed"] += 1
        who = session.name or session.id
        self._sample(MetricRefusal.MALFORMED, who, name[: wire.MAX_NAME], "not what a registry sends", now)

    # What there is room for.

    def _admit(self, sender: str, name: str, of_life: int, now: float, *, histogram: bool = False) -> bool:
        """Whether there is room for one more series, of a life or session that has so many."""
        if of_life >= self._max_series_of_life < self._max_series:
            self._refuse("series_of_life_limit", sender, name, now)
            return False
        if (full := self._full(histogram=histogram)) and self._forget_gone(now):
            full = self._full(histogram=histogram)
        if full:
            self._refuse(full, sender, name, now)
            return False
        self.histograms_kept += histogram
        self.series_kept += 1
        return True

    def _full(self, *, histogram: bool) -> str:
        """Which limit a further series would exceed; empty for none."""
        if self.series_kept >= self._max_series:
            return "series_limit"
        return "histogram_limit" if histogram and self.histograms_kept >= self._max_histograms else ""

    def _forget_gone(self, now: float, plain: int | None = None) -> bool:
        """Folds what has ended or is long silent, until an eighth of the room for series is free; returns whether it looked.

        Args:
            now: seconds.
            plain: the room for sessions with plain readings, where that is what is missing.
        """
        if now < self._looked + _LOOK_EVERY:
            return False
        self._looked = now
        gone = [
            each
            for each in self._everyone()
            if now - each.latest_at > (_ENDED if each.closed else max(_SILENT, _INTERVALS * each.interval))
        ]
        for each in sorted(gone, key=lambda each: each.latest_at):
            roomy = (
                self.series_kept * 8 <= self._max_series * 7 and self.histograms_kept * 8 <= self._max_histograms * 7
            )
            if roomy and (plain is None or len(self.plain) * 8 <= plain * 7):
                break
            if roomy and isinstance(each, Life):  # it is not what there is no room for
                continue
            self._fold(each, now)
        return True

    def _forget_names(self) -> None:
        """Forgets what was declared of names that have no series any more."""
        used = {name for each in self._everyone() for name in _names(each)}
        self.metrics = {name: metric for name, metric in self.metrics.items() if name in used}

    def _make_room(self, now: float) -> None:
        """Folds the longest silent life into the totals when there are too many."""
        if len(self.lives) + len(self.plain) >= self._max_lives:
            self._fold(min(self._everyone(), key=lambda each: (not each.closed, each.latest_at)), now)

    def _everyone(self) -> list[Life | PlainSession]:
        return [*self.lives.values(), *self.plain.values()]

    def _fold(self, victim: Life | PlainSession, now: float) -> None:
        self.counts["lives_folded"] += 1
        self.series_kept -= len(victim.series)
        self.histograms_kept -= sum(series.buckets is not None for series in victim.series.values())
        if isinstance(victim, Life):
            if not self.retired.fold(victim, now):
                self._doubt(victim.sender, "", IncompleteReason.LIMIT)
            if victim.refuses:
                self._doubt(victim.sender, "", IncompleteReason.REFUSED_BY_SENDER)
            del self.lives[victim.id]
            self._leave(victim.session.key, victim.id)
        else:
            del self.plain[victim.session.key]

    def _leave(self, session: bytes, life: bytes) -> None:
        """The life is not that session's any more."""
        lives = self._of_session.get(session, set())
        lives.discard(life)
        if not lives:
            self._of_session.pop(session, None)

    def _ring(self) -> Ring:
        return Ring(self._slot, self._slots, Ring(*self._coarse) if self._coarse else None)


def _declared(family: wire.Family, sender: str) -> Metric:
    """What a family says of its name."""
    mode = family.mode if isinstance(family, wire.Gauges) else wire.GaugeMode.LATEST
    bounds = family.bounds if isinstance(family, wire.Histograms) else ()
    kind = _KINDS[type(family)]
    return Metric(family.name, kind, family.label_names, family.unit, family.help, mode, bounds, sender)


def _said(metric: Metric, reason: MetricRefusal) -> str:
    """What a sender says of a name, for people."""
    if reason is MetricRefusal.CONFLICT:
        return f"{metric.kind} with labels ({', '.join(metric.label_names)})"
    return f"unit {metric.unit!r}, mode {metric.mode}, buckets {list(metric.buckets) or 'by default'}"


def _shorten(table: dict[bytes, Any]) -> None:
    """Forgets the oldest entry of a table beyond its bound."""
    if len(table) > _MAX_SILENT_SESSIONS:
        del table[next(iter(table))]


def _names(each: Life | PlainSession) -> Iterable[str]:
    """The names that something has series of."""
    return (name for name, _ in each.series) if isinstance(each, Life) else each.series


# What lives that are forgotten had counted, so that totals stay right; bounded.

_MAX_IDS: Final = 65_536
_MAX_TOTALS: Final = 65_536
_MAX_TEXT: Final = 16 << 20
"""Of the totals' names and labels, in memory (bytes)."""
_MAX_BUCKETS: Final = 131_072
"""Of all totals of histograms; beyond it those that nothing was added to for longest are kept at a lower scale."""
_MAX_COUNTED: Final = 65_536
"""Series of folded lives that can return, their buckets, and lives."""


_KEY: Final = 256
"""Bytes of a total besides its labels."""


class _Folded(NamedTuple):
    """A life that can return."""

    latest: int
    """Its last snapshot."""
    counted: dict[SeriesKey, Counted]


class Retired:
    """Totals by sender and series, and the names of the lives they came from: should one return, it is not counted twice."""

    def __init__(self) -> None:
        self._ids: dict[bytes, int] = {}
        """The latest snapshot of each."""
        self._totals: dict[RetiredKey, float] = {}
        self._buckets: dict[RetiredKey, Buckets] = {}
        """Of the totals that are histograms; what was added to last stands last."""
        self._sizes = 0
        self._text = 0
        self._uncertain: Tally[RetiredKey] = Tally()
        """Lives of each total that may have counted more."""
        self._folded: dict[bytes, _Folded] = {}
        """The last ones."""
        self._held = 0

    def knows(self, life: bytes) -> bool:
        """Whether this life was folded."""
        return life in self._ids

    def may_miss(self, life: bytes, number: int) -> bool:
        """Whether a snapshot of a folded life is a further one."""
        return number > self._ids.get(life, number)

    def uncertain(self) -> frozenset[RetiredKey]:
        """The totals of which a life may have counted more than is known."""
        return frozenset(key for key, lives in self._uncertain.items() if lives > 0)

    def fold(self, life: Life, now: float) -> bool:
        """Keeps a life's totals, and forgets the rest; returns whether all of them could be kept."""
        self._ids[life.id] = life.latest
        while len(self._ids) > _MAX_IDS:
            del self._ids[next(iter(self._ids))]
        counted, kept = dict(life.returning), True
        for (name, labels), series in life.series.items():
            count = series.last
            if count is None or series.gauge:
                continue
            key = (life.sender, name, labels)
            if key not in self._totals:
                size = _size_of(labels)
                if len(self._totals) >= _MAX_TOTALS or self._text + size > _MAX_TEXT:
                    kept = False
                    continue
                self._text += size
            uncertain = life.tail(now) is not MetricTail.COMPLETE and not (life.closed and life.is_exact(series, now))
            counted[name, labels] = added = Counted(key, count, series.buckets, uncertain)
            self._add(added)
        self._folded[life.id] = _Folded(life.latest, counted)
        self._held += _weight(counted)
        while self._held > _MAX_COUNTED:
            self._release(next(iter(self._folded)))
        return kept

    def take_back(self, life: bytes, number: int) -> dict[SeriesKey, Counted] | None:
        """Forgets a folded life that has returned with a further snapshot.

        Returns:
            What is to be given to `subtract`, each when its series is there again, so that no total falls in between; None where
            nobody knows what it had counted.
        """
        folded = self._folded.get(life)
        if folded is None or number <= folded.latest:
            return None
        self._release(life)
        self._ids.pop(life, None)
        return folded.counted

    def subtract(self, counted: Counted) -> None:
        """Takes out of the totals what a series of a life has that has returned."""
        key = counted.key
        if counted.uncertain and self._uncertain[key] > 0:
            self._uncertain[key] -= 1
        known = key in self._totals
        left = self._totals.pop(key, 0) - counted.amount
        if left > 0:
            self._totals[key] = left
        elif known:
            self._text -= _size_of(key[2])
        buckets = self._buckets.get(key)
        if buckets is None:
            return
        self._sizes -= buckets.size
        if left > 0 and counted.buckets is not None:
            _take_out(buckets, counted.buckets)
            self._sizes += buckets.size
        else:
            del self._buckets[key]

    def forget(self, name: str) -> None:
        """Forgets the totals of a name that gets another meaning."""
        for key in [key for key in self._totals if key[1] == name]:
            del self._totals[key]
            self._text -= _size_of(key[2])
            self._uncertain.pop(key, None)
            if key in self._buckets:
                self._sizes -= self._buckets.pop(key).size

    def totals(self) -> dict[RetiredKey, float]:
        """All totals, of histograms the number of observations; not to be changed."""
        return self._totals

    def shown(self) -> dict[RetiredKey, float | Buckets]:
        """All totals, of histograms their buckets, which the caller must not change."""
        return {**self._totals, **self._buckets}

    def _add(self, counted: Counted) -> None:
        key = counted.key
        self._totals[key] = self._totals.get(key, 0) + counted.amount
        if counted.uncertain:
            self._uncertain[key] += 1
        if counted.buckets is None:
            return
        buckets = self._buckets.pop(key, None) or Buckets()
        self._sizes -= buckets.size
        self._buckets[key] = buckets.merge(counted.buckets)
        self._sizes += buckets.size
        if self._sizes > _MAX_BUCKETS:
            self._coarsen()

    def _coarsen(self) -> None:
        """Lowers scales, of what nothing was added to for longest first, until an eighth of the room is free."""
        for scale in (0, MIN_SCALE):
            for buckets in self._buckets.values():
                if self._sizes * 8 <= _MAX_BUCKETS * 7:
                    return
                self._sizes -= buckets.size
                buckets.downscale(scale)
                self._sizes += buckets.size

    def _release(self, life: bytes) -> None:
        self._held -= _weight(self._folded.pop(life).counted)


def _size_of(labels: tuple[str, ...]) -> int:
    """What a key takes in memory, about: its sender and name are shared with others."""
    return _KEY + sum(map(getsizeof, labels))


def _weight(counted: dict[SeriesKey, Counted]) -> int:
    return 1 + sum(each.weight for each in counted.values())


def _take_out(buckets: Buckets, less: Buckets) -> None:
    """The inverse of `merge`; no bucket falls below 0."""
    shift = less.scale - buckets.scale
    buckets.zero = max(0, buckets.zero - less.zero)
    buckets.sum -= less.sum
    for side, gone in ((buckets.positive, less.positive), (buckets.negative, less.negative)):
        for bucket, count in joined(gone, shift).items():
            left = side.get(bucket, 0) - count
            if left > 0:
                side[bucket] = left
            else:
                side.pop(bucket, None)
