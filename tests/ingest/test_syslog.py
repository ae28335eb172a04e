"""Syslog: any bytes are read without harm, and messages of RFC 5424 to what they were written from."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.ingest import syslog
from atmost.ingest.rejected import Rejected
from atmost.ingest.syslog import SyslogForm, SyslogNote, SyslogReason, SyslogRecord
from atmost.ingest.syslog.structured import MAX_PARAMETERS
from atmost.ingest.syslog.values import MAX_DATAGRAM
from tests.ingest.page import NOW, PEER

PIECES = st.sampled_from(
    [
        b"<13>",
        b"<999>",
        b"1 ",
        b"- ",
        b"2026-01-01T00:00:00Z ",
        b"2026-01-01T",
        b"Jan  1 00:00:00 ",
        b"Feb 29 23:59:60 ",
        b"web ",
        b"app: ",
        b"app[1]: ",
        b"[a ",
        b'k="v"',
        b"]",
        b'\\"',
        b'"',
        b"\\",
        b"\xef\xbb\xbf",
        b"\xff",
        b"\x00",
        b"\n",
        b"7 ",
    ]
)
JUNK = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=20).map(b"".join))
TOKENS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30).filter(
    lambda text: text != "-"
)
IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='="]['), min_size=1, max_size=32)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001


def read(datagram, **options):
    """A record that must be one."""
    record = syslog.parse(datagram, PEER, NOW, **options)
    assert isinstance(record, SyslogRecord), record
    return record


@given(JUNK)
def test_any_bytes_are_read(datagram):
    """Nothing raises, nothing is invented: every part stands in the datagram, or a note says what stands for it."""
    record = syslog.parse(datagram, PEER, NOW)
    if isinstance(record, Rejected):
        assert record.sample.isprintable()
        return
    text = datagram.decode(errors="backslashreplace")
    assert 0 <= record.facility < 24
    assert record.message in text
    assert (record.host == PEER) if SyslogNote.NO_HOST in record.notes else (record.host in text)
    assert (record.t == NOW) or SyslogNote.NO_TIME not in record.notes
    assert record.application is None or record.application in text


@given(JUNK)
def test_text_is_never_lost(datagram):
    """A bare text is the datagram without its priority, ends and octet count."""
    record = syslog.parse(datagram, PEER, NOW)
    if isinstance(record, SyslogRecord) and record.form is SyslogForm.BARE and record.application is None:
        assert (
            datagram.rstrip(b"\0")
            .removesuffix(b"\n")
            .removesuffix(b"\r")
            .decode(errors="backslashreplace")
            .endswith(record.message)
        )
        assert len(record.message) >= len(datagram.decode(errors="backslashreplace").rstrip("\0")) - 5 - 2 - 7


@given(
    st.integers(0, 191),
    st.one_of(st.none(), st.tuples(MOMENTS, st.integers(-23 * 60, 23 * 60))),
    st.tuples(*[st.one_of(st.none(), TOKENS)] * 4),
    st.lists(st.tuples(IDS, st.lists(st.tuples(IDS, TEXTS), max_size=3)), max_size=3),
    st.one_of(st.none(), TEXTS.filter(lambda text: not text.endswith(("\0", "\n", "\r")) and text[:1] != "\ufeff")),
)
def test_rfc5424_as_written(priority, moment, tokens, elements, message):
    """A message of the RFC's grammar is read to what it was written from."""
    stamp = "-"
    if moment is not None:
        stamp = moment[0].astimezone(timezone(timedelta(minutes=moment[1]))).isoformat()
    host, application, process, message_id = tokens
    data = "".join(
        f"[{name}{''.join(f' {key}={quoted(value)}' for key, value in parameters)}]" for name, parameters in elements
    )
    text = f"<{priority}>1 {stamp} {' '.join(token or '-' for token in tokens)} {data or '-'}"
    record = read((text + ("" if message is None else f" {message}")).encode())
    assert record.form is SyslogForm.RFC5424
    assert record.facility * 8 + record.severity == priority
    assert record.t == (NOW if moment is None else pytest.approx(moment[0].timestamp(), abs=1e-5))
    assert record.host == (host or PEER)
    assert (record.application, record.process, record.message_id) == (application, process, message_id)
    assert record.structured == tuple((name, tuple(parameters)) for name, parameters in elements)
    assert record.message == (message or "")


def quoted(value):
    """A parameter's value as the RFC has it."""
    return '"' + re.sub(r'(["\\\]])', r"\\\1", value) + '"'


@given(st.integers(0, 4 * 366 * 86_400), st.integers(-363 * 86_400, 86_400))
def test_a_date_without_a_year_is_the_last_such_day(arrival, age):
    """RFC 3164 has no year: a message of the year before its arrival, or of the day after it, is put where it was written."""
    now = NOW + arrival
    moment = datetime.fromtimestamp(now + age, UTC)
    record = syslog.parse(f"<13>{moment:%b %e %H:%M:%S} web app: x".encode(), PEER, now)
    assert isinstance(record, SyslogRecord)
    assert record.t == now + age


def test_the_zone_can_be_told():
    """A timestamp without a zone is one of the zone given; one that names its zone is not touched."""
    zone = timezone(timedelta(hours=2))
    assert read(b"<13>Jan  1 02:00:00 web app: x", zone=zone).t == NOW
    assert read(b"<13>2026-01-01T02:00:00 web app: x", zone=zone).t == NOW
    assert read(b"<13>1 2026-01-01T00:00:00Z web app - - -", zone=zone).t == NOW


def test_bounds():
    """A datagram and its structured data have a size."""
    parameters = ' k="v"' * (MAX_PARAMETERS - 1)
    assert len(read(f"<13>1 - - - - - [a{parameters}]".encode()).structured[0][1]) == MAX_PARAMETERS - 1
    for datagram, reason in (
        (f'<13>1 - - - - - [a{parameters} k="v"]', SyslogReason.TOO_MUCH_STRUCTURED_DATA),
        (f"<13>1 - - - - - [a{parameters}{parameters}]", SyslogReason.TOO_MUCH_STRUCTURED_DATA),
        ("<13>1 - - - - - " + "[a]" * (MAX_PARAMETERS + 1), SyslogReason.TOO_MUCH_STRUCTURED_DATA),
        ("x" * (MAX_DATAGRAM + 1), SyslogReason.TOO_LONG),
        ("\0\0\0\4}q\0.", SyslogReason.PICKLE_REFUSED),
    ):
        refused = syslog.parse(datagram.encode(), PEER, NOW)
        assert isinstance(refused, Rejected)
        assert refused.reason is reason
    assert len(read(b"x" * MAX_DATAGRAM).message) == MAX_DATAGRAM


def test_levels_have_names():
    """The severity's name is the level."""
    assert [read(f"<{8 + severity}>x".encode()).level for severity in (0, 3, 4, 7)] == [
        "emergency",
        "error",
        "warning",
        "debug",
    ]
