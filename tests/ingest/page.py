"""The tables of docs/ingest.md, and how its rows are read and results are written there."""

import gzip
import re
import zlib
from pathlib import Path

from atmost.ingest.gelf import GelfIncomplete, GelfRecord
from atmost.ingest.rejected import Rejected
from atmost.ingest.statsd import StatsdDatagram, StatsdMetric
from atmost.ingest.syslog import SyslogRecord

PAGE = (Path(__file__).parents[2] / "docs" / "ingest.md").read_text(encoding="utf-8")
NOW = 1_767_225_600.0
PEER = "10.0.0.7"

_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|[nr0\\])")
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"0": b"\0", b"\\": b"\\"}
_WRAPPED = re.compile(r"(gzip|zlib|pickle)\((.*?)\)(?=gzip|zlib|junk|\\0|\Z)")


def rows(section: str, *tables: str) -> list[tuple[list[str], str]]:
    """What is in the first two cells of every row: the codes of the first, and the code of the second."""
    [chapter] = re.findall(rf"^## {section}$(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    found = []
    for table in tables:
        [body] = re.findall(rf"^### {table}$(.*?)(?=^### |\Z)", chapter, flags=re.MULTILINE | re.DOTALL)
        lines = [line for line in body.splitlines() if line.startswith("| `")]
        assert lines
        for line in lines:
            first, second, _ = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:4])
            [result] = _codes(second)
            found.append((_codes(first), result))
    return found


def _codes(cell: str) -> list[str]:
    codes = [code.replace("\\|", "|") for code in re.findall(r"`([^`]*)`", cell)]
    assert " then ".join(f"`{code}`" for code in codes) == cell.replace("\\|", "|")
    return codes


def to_bytes(code: str) -> bytes:
    """The bytes that a code stands for."""

    def one(found: re.Match[bytes]) -> bytes:
        return _ESCAPED.get(found[1]) or bytes.fromhex(found[1][1:].decode())

    return _ESCAPE.sub(one, code.encode())


def to_datagram(code: str) -> bytes:
    """The same, with `gzip(…)`, `zlib(…)` and `pickle(…)` done."""
    datagram, end = b"", 0
    for found in _WRAPPED.finditer(code):
        datagram += to_bytes(code[end : found.start()]) + _WRAPPERS[found[1]](to_bytes(found[2]))
        end = found.end()
    return datagram + to_bytes(code[end:])


_WRAPPERS = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zlib": zlib.compress,
    "pickle": lambda data: len(data).to_bytes(4, "big") + data,
}


def of_statsd(read: StatsdDatagram) -> list[str]:
    """What a datagram of StatsD became, as the page writes it."""
    became = [_metric(metric) for metric in read.metrics]
    became += [str(one.reason) for one in read.rejected for _ in range(one.count)]
    became += [f"telemetry {name}={count:g}" for name, count in read.dropped_by_client.items()]
    for event in read.events:
        said = [f"event {event.title!r} {event.text!r}", *_time(event.timestamp)]
        said += [f"host={event.host}"] * bool(event.host) + [f"key={event.key}"] * bool(event.key)
        said += [f"priority={event.priority}"] * (event.priority != "normal")
        said += [f"source={event.source}"] * bool(event.source) + [f"alert={event.alert}"] * (event.alert != "info")
        became.append(" ".join(said + _tags(event.tags)))
    for check in read.checks:
        said = [f"check {check.name} {check.status.name}", *_time(check.timestamp)]
        said += [f"host={check.host}"] * bool(check.host) + _tags(check.tags)
        became.append(" ".join(said + [repr(check.message)] * bool(check.message)))
    if read.notes and became:
        became[0] += " notes=" + ",".join(name for name, count in read.notes.items() for _ in range(count))
    return became


def _metric(metric: StatsdMetric) -> str:
    plus = metric.relative and all(not isinstance(value, str) and value > 0 for value in metric.values)
    said = [str(metric.kind), metric.name]
    said += [
        repr(value) if isinstance(value, str) else f"{value:+g}" if plus or _plus(metric) else f"{value:g}"
        for value in metric.values
    ]
    said += ["relative"] * (metric.relative and not plus)
    said += [f"rate={metric.rate:g}"] * (metric.rate != 1) + _tags(metric.tags) + _time(metric.timestamp)
    for name in ("container", "external", "cardinality"):
        said += [f"{name}={getattr(metric.origin, name)}"] * bool(getattr(metric.origin, name))
    return " ".join(said)


def _plus(metric: StatsdMetric) -> bool:
    return metric.relative and metric.values[0] > 0


def _tags(tags: tuple[tuple[str, str], ...]) -> list[str]:
    return ["#" + ",".join(f"{name}:{value}" if value else name for name, value in tags)] if tags else []


def _time(seconds: float | None) -> list[str]:
    return [] if seconds is None else [f"T{seconds:.12g}"]


def _seconds(t: float) -> str:
    """Since now, in microseconds at the finest."""
    return f"{t - NOW:+.6f}".rstrip("0").rstrip(".")


def of_syslog(read: SyslogRecord | Rejected) -> str:
    """What a datagram of syslog became, as the page writes it."""
    if isinstance(read, Rejected):
        return str(read.reason)
    process = f"[{read.process}]" if read.process else ""
    said = [str(read.form), f"{read.facility}.{int(read.severity)}", read.host]
    said += [f"{read.application}{process}"] * (read.application is not None) + [repr(read.message)]
    said += [f"t={_seconds(read.t)}"] * ("no_time" not in read.notes)
    said += [f"id={read.message_id}"] * (read.message_id is not None)
    elements = "".join(
        f"[{' '.join([name, *(f'{key}={value!r}' for key, value in parameters)])}]"
        for name, parameters in read.structured
    )
    said += [elements] * bool(elements) + [f"seq={read.sequence}"] * (read.sequence is not None)
    return " ".join(said + [str(note) for note in read.notes])


def of_gelf(outcome: GelfRecord | GelfIncomplete | Rejected) -> str:
    """What a message of GELF became, as the page writes it."""
    if isinstance(outcome, Rejected):
        return str(outcome.reason)
    if isinstance(outcome, GelfIncomplete):
        return f"incomplete {outcome.reason} received={outcome.received} missing={outcome.missing}"
    said = [f"{outcome.severity} {outcome.host} {outcome.message!r}"]
    said += [f"full={outcome.full_message!r}"] * (outcome.full_message is not None)
    said += [f"t={_seconds(outcome.t)}"] * ("no_time" not in outcome.notes)
    said += [f"{name}={value!r}" for name, value in outcome.fields.items()]
    said += [f"chunks={outcome.chunks}"] * (outcome.chunks > 1)
    return " ".join(said + [str(note) for note in outcome.notes])
