"""Fuzzes the three parsers with coverage guidance: `python -m tests.ingest.fuzz statsd --runs 1000000`.

Atheris tells libFuzzer which branches an input reached, and libFuzzer changes inputs to reach more. Every input must keep what
the parsers promise: nothing raises, everything is bounded, what is shown of a refusal is printable, and reading twice gives the
same. The corpus beside this file, every input that was ever reported, is where it starts. An input that breaks a promise ends
the program with a traceback; the bytes are printed and written to a file.
"""

import argparse
import math
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["atmost.ingest"]):
    from atmost.ingest import statsd, syslog
    from atmost.ingest.gelf import GelfIncomplete, GelfReader
    from atmost.ingest.rejected import MAX_SAMPLE, Rejected
    from atmost.ingest.statsd import StatsdGauges, StatsdKind
    from atmost.ingest.syslog import SyslogGaps, SyslogHost

CORPUS = Path(__file__).parent / "corpus"
NOW = 1_767_225_600.0
RULES = statsd.read_mapping(
    "mappings: [{match: 'a.*', name: 'x_$1', labels: {l: '$1'}}, {match: '*.b', name: 'y', honor_labels: true, scale: 2}]"
)


def check_refused(refused: Rejected) -> None:
    """A refusal that can be shown anywhere."""
    assert refused.count >= 1
    assert len(refused.sample) <= MAX_SAMPLE + 1
    assert refused.sample.isprintable()


def check_statsd(data: bytes) -> None:
    """Lines, by both readings of signed gauges, and under mapping rules."""
    for gauges in StatsdGauges:
        read = statsd.parse(data, gauges=gauges)
        assert read == statsd.parse(data, gauges=gauges)
        for refused in read.rejected:
            check_refused(refused)
        for metric in read.metrics:
            assert 0 < len(metric.name) <= 200
            assert metric.values
            assert 0 < metric.rate <= 1
            assert math.isfinite(metric.weight)
            assert len(dict(metric.tags)) == len(metric.tags) <= 64
            assert not (metric.relative and gauges is StatsdGauges.DOGSTATSD)
            if metric.kind is StatsdKind.SET:
                assert all(isinstance(value, str) and len(value.encode()) <= 1024 for value in metric.values)
            else:
                assert all(math.isfinite(value) for value in metric.values)
            if metric.kind is StatsdKind.COUNTER:
                assert math.isfinite(metric.total)
            mapped = RULES.apply(metric)
            assert mapped is None or all(isinstance(value, str) or math.isfinite(value) for value in mapped.values)


def check_syslog(data: bytes) -> None:
    """Records of one datagram, by both readings of an ambiguous host, and their numbers."""
    gaps = SyslogGaps(4)
    for host in SyslogHost:
        read = syslog.parse_all(data, "10.0.0.7", NOW, host=host)
        assert read == syslog.parse_all(data, "10.0.0.7", NOW, host=host)
        assert 1 <= len(read) <= 1025
        for record in read:
            if isinstance(record, Rejected):
                check_refused(record)
                continue
            assert 0 <= record.facility <= 23
            assert math.isfinite(record.t)
            assert "no_year" not in record.notes or record.t <= NOW + 86_400
            assert record.host
            assert record.host.isprintable()
            assert record.application is None or (record.application and record.application.isprintable())
            gaps.feed(record)


def check_gelf(data: bytes) -> None:
    """A datagram for itself, and the pieces of it between `|` as datagrams of two peers, until all is given up."""
    for pieces in ([data], data.split(b"|")[:50]):
        reader = GelfReader()
        outcomes = []
        for number, piece in enumerate(pieces):
            outcomes += reader.feed(piece, f"10.0.0.{number % 2}", NOW + number)
        outcomes += reader.close(NOW + 100)
        assert (reader.stats().held, reader.stats().waiting) == (0, 0)
        for outcome in outcomes:
            if isinstance(outcome, Rejected):
                check_refused(outcome)
            elif isinstance(outcome, GelfIncomplete):
                assert outcome.received >= 1
                assert outcome.missing >= 1
            else:
                assert math.isfinite(outcome.t)
                assert len(outcome.fields) <= 256


CHECKS = {"statsd": check_statsd, "syslog": check_syslog, "gelf": check_gelf}


def main() -> None:
    """Fuzzes one parser for a number of executions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parser", choices=CHECKS, help="what is fuzzed")
    parser.add_argument("--runs", type=int, default=1_000_000, help="executions")
    parser.add_argument("--seed", type=int, default=1, help="of libFuzzer's changes")
    parser.add_argument("--found", default=".", metavar="DIR", help="where an input that breaks a promise is written")
    options = parser.parse_args()
    check = CHECKS[options.parser]
    fresh = tempfile.mkdtemp()  # where libFuzzer writes what it finds worth keeping
    arguments = [
        sys.argv[0],
        f"-atheris_runs={options.runs}",
        f"-seed={options.seed}",
        "-max_len=512",
        "-print_final_stats=1",
        f"-artifact_prefix={options.found}/",
        fresh,
        str(CORPUS / options.parser),
    ]
    atheris.Setup(arguments, lambda data: check(bytes(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
