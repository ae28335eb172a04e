"""What a datagram of StatsD or DogStatsD says, as values, and how much one may hold."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

import msgspec

from atmost.ingest.rejected import Rejected

MAX_LINE: Final = 8192
"""Bytes of a line: what the largest DogStatsD clients put into a whole datagram."""
MAX_LINES: Final = 4096
"""Lines of a datagram longer than `MAX_LINE`; a shorter one holds no more that are not empty."""
MAX_VALUES: Final = 4096
"""Values, or samples, packed into a line; and of all lines of a datagram longer than `MAX_LINE`, but for those of the last.
Refused ones count too."""
MAX_TAGS: Final = 64
"""Tags of a line."""
MAX_NAME: Final = 200
"""Characters of a name, as DogStatsD has it."""
MAX_NUMBER: Final = 64
"""Characters of a number or a sample rate."""
MAX_MEMBER: Final = 1024
"""Bytes of a set's member."""
MAX_TIME: Final = 253_402_300_799
"""The last second of the year 9999."""

Tags = tuple[tuple[str, str], ...]
"""Names and values as sent, in order, each name once; a flag has an empty value."""


class StatsdReason(StrEnum):
    """Why a line was refused; they become metric labels."""

    MALFORMED_LINE = "malformed_line"
    """No name, no value or no type; a name with control characters."""
    MALFORMED_VALUE = "malformed_value"
    """Not a finite decimal number of at most `MAX_NUMBER` characters; an empty value."""
    MALFORMED_COMPONENT = "malformed_component"
    """An unknown type, an empty or repeated field, a tag without a name, an impossible time."""
    INVALID_SAMPLE_RATE = "invalid_sample_rate"
    """Negative, above 1, or not a number."""
    MIXED_TAGGING_STYLES = "mixed_tagging_styles"
    """Tags in two places."""
    MALFORMED_EVENT = "malformed_event"
    MALFORMED_CHECK = "malformed_check"
    INVALID_PACKING = "invalid_packing"
    """Both packings in one line, or changes and values of a gauge in one pack."""
    INVALID_UTF8 = "invalid_utf8"
    LINE_TOO_LONG = "line_too_long"
    TOO_MANY_LINES = "too_many_lines"
    TOO_MANY_VALUES = "too_many_values"
    TOO_MANY_TAGS = "too_many_tags"
    NAME_TOO_LONG = "name_too_long"
    MEMBER_TOO_LONG = "member_too_long"
    """Of a set."""
    PICKLE_REFUSED = "pickle_refused"
    """The datagram of a `logging.handlers.DatagramHandler`."""


class StatsdNote(StrEnum):
    """What was left out of an accepted line, or is doubtful in it."""

    UNKNOWN_FIELD = "unknown_field"
    EMPTY_VALUE = "empty_value"
    EMPTY_TAG = "empty_tag"
    DUPLICATE_TAG = "duplicate_tag"
    """A tag whose name comes again; the last value holds."""
    SAMPLE_RATE = "sample_rate"
    """Of a gauge or a set, for which a rate means nothing."""
    MALFORMED_FIELD = "malformed_field"
    """An optional field of an event or a service check that cannot be read, or comes twice."""
    DROPPED_BY_RULE = "dropped_by_rule"
    """A measurement that a mapping rule says to drop."""
    AMBIGUOUS_GAUGE = "ambiguous_gauge"
    """A signed gauge with DogStatsD's tags, fields or packing, taken for a change as in StatsD: DogStatsD means a value."""


class StatsdGauges(StrEnum):
    """The meaning of a gauge's sign."""

    STATSD = "statsd"
    """A change of the gauge."""
    DOGSTATSD = "dogstatsd"
    """A value: DogStatsD has no changes."""


class StatsdKind(StrEnum):
    """The type of a metric, by its letters."""

    COUNTER = "c"
    GAUGE = "g"
    TIMER = "ms"
    """Milliseconds."""
    HISTOGRAM = "h"
    DISTRIBUTION = "d"
    SET = "s"


class StatsdPriority(StrEnum):
    """The priority of an event."""

    NORMAL = "normal"
    LOW = "low"


class StatsdAlert(StrEnum):
    """The type of an event."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    SUCCESS = "success"


class StatsdStatus(IntEnum):
    """What a service check found."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class StatsdOrigin(msgspec.Struct, frozen=True, gc=False):
    """Where a line came from, as DogStatsD's clients say it."""

    container: str = ""
    external: str = ""
    cardinality: str = ""


NOWHERE = StatsdOrigin()


class StatsdMetric(msgspec.Struct, frozen=True, gc=False):
    """A measurement: one name, one type, one value or several."""

    name: str
    kind: StatsdKind
    values: tuple[float | str, ...]
    """As sent, finite; the members of a set are text."""
    rate: float = 1.0
    """The share of measurements that was sent, above 0 and at most 1; 1 for gauges and sets."""
    relative: bool = False
    """Of a gauge: the values are to be added to it; one that is not there yet is taken for 0."""
    tags: Tags = ()
    timestamp: float | None = None
    """Unix seconds, where the client gave them."""
    origin: StatsdOrigin = NOWHERE
    mapped: bool = False
    """Whether a mapping rule gave it its name, which is then shown as it is."""
    help: str = ""
    """The rule's text about it."""

    @property
    def weight(self) -> float:
        """How many measurements each value stands for, as a float: 1 at rate 0.3 stands for 3.33."""
        return 1 / self.rate

    @property
    def total(self) -> float:
        """By how much a counter increases: its values by their weight. 0 for a set."""
        return sum(value for value in self.values if not isinstance(value, str)) / self.rate


class StatsdEvent(msgspec.Struct, frozen=True, gc=False):
    """Something that happened, in words."""

    title: str
    text: str
    timestamp: float | None = None
    """Unix seconds."""
    host: str = ""
    """As the client says; empty when it does not."""
    key: str = ""
    """Events of one key belong together."""
    priority: StatsdPriority = StatsdPriority.NORMAL
    alert: StatsdAlert = StatsdAlert.INFO
    source: str = ""
    tags: Tags = ()
    origin: StatsdOrigin = NOWHERE


class StatsdCheck(msgspec.Struct, frozen=True, gc=False):
    """The state of a service."""

    name: str
    status: StatsdStatus
    timestamp: float | None = None
    """Unix seconds."""
    host: str = ""
    """As the client says; empty when it does not."""
    message: str = ""
    tags: Tags = ()
    origin: StatsdOrigin = NOWHERE


class StatsdDatagram(msgspec.Struct):
    """Everything that one datagram holds."""

    metrics: list[StatsdMetric] = []
    events: list[StatsdEvent] = []
    checks: list[StatsdCheck] = []
    telemetry: list[StatsdMetric] = []
    """The client's own `datadog.dogstatsd.client.*` lines, which are not among the metrics."""
    rejected: list[Rejected] = []
    notes: dict[StatsdNote, int] = {}

    @property
    def dropped_by_client(self) -> dict[str, float]:
        """What the client says that it dropped itself since it last said so, by its own names: `packets_dropped` and others.

        Names with `_queue` and `_writer` are parts of those without.
        """
        dropped: dict[str, float] = {}
        for metric in self.telemetry:
            name = metric.name[len(TELEMETRY) :]
            if "dropped" in name and metric.kind is StatsdKind.COUNTER:
                dropped[name] = dropped.get(name, 0.0) + metric.total
        return dropped


TELEMETRY = "datadog.dogstatsd.client."
"""How the names of a DogStatsD client's telemetry begin."""


class StatsdRefusal(Exception):
    """Ends the reading of a line, or of one sample of it."""

    def __init__(self, reason: StatsdReason) -> None:
        super().__init__(reason)
        self.reason = reason
