"""Cost of reading other protocols: lines or messages per second, and microseconds for each, by dialect.

    python -m benchmarks.ingest [--repetitions 7] [--seconds 0.2] [--json]

Processor time of one thread in the parser alone, without sockets: the median over the repetitions, and the minimum, which
is the cost without disturbance. `alone` is one line in a datagram, `packed` as many as fit 1432 bytes, as clients with a
buffer send them.
"""

from __future__ import annotations

import gzip
import json
import statistics
import time
import zlib
from collections.abc import Callable
from itertools import count

from atmost.ingest import statsd, syslog
from atmost.ingest.gelf import GelfReader
from atmost.ingest.statsd.values import MAX_LINE
from benchmarks.common import arguments, show

NOW, PEER, DATAGRAM = 1_767_225_600.0, "10.0.0.7", 1432
LINES = {
    "statsd counter": b"page.views:1|c",
    "statsd timer with a rate": b"page.load:320.25|ms|@0.1",
    "statsd gauge delta": b"queue.depth:-4|g",
    "classic packing, 2 samples": b"page:1|c:320|ms",
    "dogstatsd, 2 tags": b"page.views:1|c|#env:prod,host:web-3",
    "dogstatsd, rate, 5 tags, container": b"page.load:320.25|d|@0.1|#env:prod,host:web-3,route:/cart,code:200,canary|c:83c0a99c",
    "dogstatsd, 20 values": b"page.load" + b":320.25" * 20 + b"|d|#env:prod,host:web-3",
    "tags beside the name": b"page.views,env=prod,host=web-3:1|c",
    "dogstatsd event": b"_e{10,21}:Deployment|version 1.2.3 is out|t:success|#env:prod",
    "refused": b"page.views:one|c",
}
GELF = {
    "host": "web-3",
    "short_message": "order 4711 taken: 3 articles, paid by card",
    "timestamp": NOW,
    "level": 6,
    "_logger": "shop.cart",
    "_file": "cart.py",
    "_line": 117,
}


def work() -> dict[str, tuple[Callable[[], object], int]]:
    """All measurements: for each, a call and the number of lines or messages it reads."""
    jobs: dict[str, tuple[Callable[[], object], int]] = {}
    for name, line in LINES.items():
        fitting = (DATAGRAM + 1) // (len(line) + 1)
        for how, lines in (("alone", 1), ("packed", fitting)):
            datagram = b"\n".join([line] * lines)
            jobs[f"{name}, {how}"] = (lambda datagram=datagram: statsd.parse(datagram)), lines
    samples = b"a" + b":1|h" * ((MAX_LINE - 1) // 4)
    jobs["the longest line, of nothing but samples"] = (lambda: statsd.parse(samples)), 1
    refused = b"a:1|h" + b":1|" * ((MAX_LINE - 5) // 3)
    jobs["the same, all but one refused"] = (lambda: statsd.parse(refused)), 1
    for name, datagram in {
        "syslog, RFC 5424 with structured data": b'<134>1 2026-01-01T00:00:00.000003Z web-3 shop 4711 CART [meta sequenceId="7"] order 4711 taken',
        "syslog, RFC 3164": b"<134>Jan  1 00:00:00 web-3 shop[4711]: order 4711 taken",
        "syslog, SysLogHandler": b"<134>order 4711 taken\0",
    }.items():
        jobs[name] = (lambda datagram=datagram: syslog.parse(datagram, PEER, NOW)), 1
    reader, text = GelfReader(), json.dumps(GELF).encode()
    for name, datagram in {"plain": text, "zlib": zlib.compress(text), "gzip": gzip.compress(text)}.items():
        jobs[f"gelf, {name}"] = (lambda datagram=datagram: reader.feed(datagram, PEER, NOW)), 1
    jobs["gelf, 4 chunks"] = chunked(reader, text), 1
    return jobs


def chunked(reader: GelfReader, text: bytes) -> Callable[[], object]:
    """Reads a message in four chunks, each time with a new id."""
    size, numbers = -(-len(text) // 4), count()
    pieces = [bytes((number, 4)) + text[number * size : (number + 1) * size] for number in range(4)]

    def read() -> object:
        head = b"\x1e\x0f" + next(numbers).to_bytes(8, "big")
        for piece in pieces:
            outcomes = reader.feed(head + piece, PEER, NOW)
        return outcomes

    return read


def measure(call: Callable[[], object], seconds: float) -> float:
    """Processor time per call (s)."""
    calls, began = 0, time.process_time()
    while (spent := time.process_time() - began) < seconds:
        for _ in range(10):
            call()
        calls += 10
    return spent / calls


def main() -> None:
    """Measures, and prints a table or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--repetitions", type=int, default=7, help="interleaved runs of every dialect (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.2, help="seconds of each repetition (%(default)s)")
    options = parser.parse_args()
    jobs = work()
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(options.repetitions):
        for name, (call, lines) in jobs.items():
            times[name].append(measure(call, options.seconds) / lines)
    rows = {
        name: {
            "per_s": 1 / statistics.median(each),
            "median_us": 1e6 * statistics.median(each),
            "least_us": 1e6 * min(each),
        }
        for name, each in times.items()
    }
    titles = {"per_s": "lines or messages a second", "median_us": "µs each", "least_us": "least"}
    show(rows, as_json=options.json, titles=titles)


if __name__ == "__main__":
    main()
