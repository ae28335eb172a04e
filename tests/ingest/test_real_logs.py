"""Real writers of logs, unmodified, over real sockets: what is read is what they were told."""

import logging
import random
import socket
import subprocess
import sys
import time
from logging.handlers import DatagramHandler, SysLogHandler

import graypy
import pytest
from logging_gelf.formatters import GELFFormatter
from logging_gelf.handlers import GELFUDPSocketHandler
from pygelf import GelfUdpHandler

from atmost.ingest import statsd, syslog
from atmost.ingest.gelf import GelfReader, GelfRecord
from atmost.ingest.syslog import SyslogGaps, SyslogRecord
from tests.real import BOUND, until, waiting


def log(handler, *records):
    """Logs by a logger of its own."""
    logger = logging.Logger("shop.cart")  # noqa: LOG001  it must not outlive the test
    logger.addHandler(handler)
    try:
        for level, message, options in records:
            logger.log(level, message, **options)
    finally:
        handler.close()


RECORDS = [
    (logging.DEBUG, "plain", {}),
    (logging.INFO, "two\nlines", {}),
    (logging.WARNING, "größe \x1b[31m", {}),
    (logging.ERROR, "1 file deleted", {}),
    (logging.CRITICAL, "", {}),
]


@pytest.mark.parametrize("where", ["udp", "unix"])
def test_syslog_handler(where, request):
    """The standard library's handler: text, level and facility; the host is the peer's address."""
    sock = request.getfixturevalue(where)
    log(SysLogHandler(sock.getsockname(), facility="local3"), *RECORDS)
    datagrams = []
    until(lambda: datagrams.extend(waiting(sock)) or len(datagrams) >= len(RECORDS))
    read = [syslog.parse(datagram, "10.0.0.7", 5.0) for datagram in datagrams]
    assert all(isinstance(record, SyslogRecord) for record in read)
    assert [record.message for record in read] == [message for _, message, _ in RECORDS]
    assert [record.level for record in read] == ["debug", "info", "warning", "error", "critical"]
    assert {(record.facility, record.host, record.t, record.application) for record in read} == {
        (19, "10.0.0.7", 5.0, None)
    }


@pytest.mark.parametrize(
    "options", [{"compress": False}, {"compress": True}, {"compress": False, "chunk_size": 60}, {"chunk_size": 60}]
)
def test_pygelf(options, udp):
    """Plain, compressed and in chunks: texts, levels, times, fields and exceptions."""
    host, port = udp.getsockname()
    handler = GelfUdpHandler(host=host, port=port, debug=True, include_extra_fields=True, _app="shop", **options)
    failure = (logging.ERROR, "failed", {"exc_info": True, "extra": {"user": "ann", "n": 7}})
    before = time.time()
    try:
        int("häßlich" * 20)
    except ValueError:
        log(handler, *RECORDS, failure)
    reader, records, datagrams = GelfReader(), [], []

    def look():
        arrived = waiting(udp)
        datagrams.extend(arrived)
        for datagram in arrived:
            records.extend(reader.feed(datagram, "10.0.0.7", time.time()))
        return len(records) >= len(RECORDS) + 1

    until(look)
    assert all(isinstance(record, GelfRecord) for record in records)
    assert [record.message for record in records] == [message for _, message, _ in [*RECORDS, failure]]
    assert [record.level for record in records] == ["debug", "info", "warning", "error", "critical", "error"]
    assert all(record.host == socket.gethostname() and before <= record.t <= time.time() for record in records)
    assert "häßlich" * 20 in records[-1].full_message
    fields = records[-1].fields
    assert (fields["app"], fields["user"], fields["n"], fields["logger_name"]) == ("shop", "ann", 7, "shop.cart")
    assert (len(datagrams) > len(records)) == ("chunk_size" in options)
    assert sum(record.chunks for record in records) == len(datagrams)
    assert reader.stats().waiting == 0


def test_pygelf_with_a_lost_chunk(udp):
    """One datagram of a message is lost: a known loss, with one chunk missing."""
    host, port = udp.getsockname()
    log(GelfUdpHandler(host=host, port=port, compress=False, chunk_size=60), (logging.INFO, "x" * 300, {}))
    datagrams = []
    until(lambda: datagrams.extend(waiting(udp)) or (datagrams and len(datagrams) >= datagrams[0][11]))
    reader = GelfReader()
    assert [out for datagram in datagrams[:2] + datagrams[3:] for out in reader.feed(datagram, "10.0.0.7", 0.0)] == []
    [lost] = reader.tick(5.0)
    assert (lost.missing, lost.received) == (1, len(datagrams) - 1)


def gelf(sock, count):
    """So many GELF messages, and the datagrams they came in."""
    reader, found, datagrams = GelfReader(), [], []

    def look():
        arrived = waiting(sock)
        datagrams.extend(arrived)
        found.extend(out for datagram in arrived for out in reader.feed(datagram, "10.0.0.7", time.time()))
        return len(found) >= count

    until(look)
    assert all(isinstance(record, GelfRecord) for record in found)
    return found, datagrams


@pytest.mark.parametrize("size", [10, 100_000])
def test_graypy(size, udp):
    """zlib, whole and in chunks, with an exception's text and extra fields."""
    host, port = udp.getsockname()
    text = random.Random(size).randbytes(size).hex()
    failure = (logging.ERROR, "failed", {"extra": {"user": "ann", "text": text}})
    log(graypy.GELFUDPHandler(host, port, localname="web-1"), *RECORDS, failure)
    found, datagrams = gelf(udp, len(RECORDS) + 1)
    assert [record.message for record in found] == [message for _, message, _ in [*RECORDS, failure]]
    assert [record.level for record in found] == ["debug", "info", "warning", "error", "critical", "error"]
    assert {record.host for record in found} == {"web-1"}
    assert (found[-1].fields["user"], found[-1].fields["text"]) == ("ann", text)
    assert (len(datagrams) > len(found)) == (size > 10)
    assert sum(record.chunks for record in found) == len(datagrams)


@pytest.mark.parametrize("null", [False, True])
def test_logging_gelf(null, udp):
    """JSON with a line end behind it, and a NUL before that where its option says so."""
    handler = GELFUDPSocketHandler(*udp.getsockname())
    handler.setFormatter(GELFFormatter(null_character=null))
    *some, empty = RECORDS
    log(handler, *some)
    found, datagrams = gelf(udp, len(some))
    assert all(datagram.endswith(b"\0\n" if null else b"}\n") for datagram in datagrams)
    assert [record.message for record in found] == [message for _, message, _ in some]
    assert [record.level for record in found] == ["debug", "info", "warning", "error"]
    log(handler, empty)  # it leaves an empty text out, and so the message says nothing
    [refused] = GelfReader().feed(udp.recv(1 << 16), "10.0.0.7", 0.0)
    assert str(refused.reason) == "missing_message"


def test_datagram_handler_is_refused(udp):
    """Pickles are known as such by all three, and what is in them never runs."""
    log(DatagramHandler(*udp.getsockname()), (logging.INFO, "never unpickled", {}))
    datagram = udp.recv(1 << 16)
    [of_statsd] = statsd.parse(datagram).rejected
    of_syslog = syslog.parse(datagram, "10.0.0.7", 0.0)
    [of_gelf] = GelfReader().feed(datagram, "10.0.0.7", 0.0)
    assert {str(one.reason) for one in (of_statsd, of_syslog, of_gelf)} == {"pickle_refused"}


def test_nothing_here_can_unpickle():
    """The parsers load no pickle at all."""
    code = "import sys, atmost.ingest.statsd, atmost.ingest.syslog, atmost.ingest.gelf; assert not {'pickle', '_pickle'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def logger(sock, *arguments):
    """Runs util-linux' `logger`, and returns what is read of its datagram."""
    _, port = sock.getsockname()
    command = ["logger", "--udp", "--server", "127.0.0.1", "--port", str(port), *arguments]
    subprocess.run(command, check=True, timeout=BOUND, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"})
    before = time.time()
    record = syslog.parse(sock.recv(1 << 16), "10.0.0.7", before)
    assert isinstance(record, SyslogRecord), record
    assert abs(record.t - before) < BOUND
    return record


@pytest.mark.needs("logger")
def test_logger_rfc5424(udp):
    """Structured data with a sequence number, tag, process and message id; then without all of it."""
    tell = [
        "-p",
        "local0.warning",
        "-t",
        "shop",
        "--id=42",
        "--msgid",
        "CART",
        "--sd-id",
        "ex@1",
        "--sd-param",
        'k="v w"',
    ]
    gaps = SyslogGaps()
    found = []
    for number in (7, 8, 11):
        record = logger(udp, *tell, "--sd-id", "meta", "--sd-param", f'sequenceId="{number}"', "größe: full")
        assert (record.form, record.facility, record.level) == ("rfc5424", 16, "warning")
        assert (record.application, record.process, record.message_id) == ("shop", "42", "CART")
        assert ("ex@1", (("k", "v w"),)) in record.structured
        assert (record.message, record.sequence, record.host) == (
            "größe: full",
            number,
            socket.gethostname().split(".")[0],
        )
        assert record.notes == ()
        found.append(gaps.feed(record))
    assert found[:2] == [None, None]
    assert (found[2].first, found[2].last, found[2].verified) == (9, 10, False)
    bare = logger(udp, "--rfc5424=notime,notq,nohost", "-t", "shop", "x")
    assert (bare.host, bare.message, bare.notes) == ("10.0.0.7", "x", ("no_time", "no_host"))


@pytest.mark.needs("logger")
def test_logger_rfc3164(udp):
    """The old form: a time without year and zone, a host, a tag with its process."""
    record = logger(udp, "--rfc3164", "-p", "user.err", "-t", "shop", "--id=42", "größe: full")
    assert (record.form, record.facility, record.level) == ("rfc3164", 1, "error")
    assert (record.application, record.process, record.message) == ("shop", "42", "größe: full")
    assert record.host == socket.gethostname().split(".")[0]
    assert record.notes == ("no_year", "no_zone")


@pytest.mark.needs("logger")
def test_logger_counts_octets(udp):
    """Its count before the message, which belongs to streams, is no part of it."""
    assert logger(udp, "--octet-count", "-t", "shop", "x").message == "x"


@pytest.mark.needs("logger")
def test_logger_on_a_unix_socket(unix):
    """As the C library writes to /dev/log: no host, and none is invented."""
    subprocess.run(["logger", "-u", unix.getsockname(), "-t", "shop", "hello there"], check=True, timeout=BOUND)
    record = syslog.parse(unix.recv(1 << 16), "local", time.time())
    assert isinstance(record, SyslogRecord)
    assert (record.host, record.application, record.message) == ("local", "shop", "hello there")
