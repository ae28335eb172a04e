"""What a log record costs the collector from the message to its state: processor time, the least and the median of many turns (µs).

    python -m benchmarks.collector_records [--rounds 5] [--source DIR] [--json]

A turn is 200 records of one handler in five datagrams; the tail is full after the first 10,000. `--source DIR` also measures another checkout's
`src`, in turns with this one. The least counts where other programs share the machine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, show

HERE = Path(__file__).resolve().parent.parent / "src"
KINDS = {"record": "record", "record with 3 fields": "fields", "line of a file": "line"}

PROGRAM = """
import json, sys, time
from operator import length_hint
import msgspec
from atmost.collector.options import CollectorOptions
from atmost.collector.state.state import CollectorState
from atmost.core.events import Arrival, Message, Session

T0 = 1_767_225_600.0
kind = sys.argv[1]
state = CollectorState(CollectorOptions(), T0, 0.0)
session = Session(b"\\0\\0" + (1).to_bytes(8, "big") + (2).to_bytes(8, "big"), 0)
session.name, session.host, session.pid = "shop-1", "web-3", 4711
life = int(T0 * 1e6).to_bytes(8, "big") + b"life"

def made(n):
    if kind == "line":
        return "logs.app", {"message": "line %d of a file" % n, "file": "/var/log/app"}
    prior = {level: count for level, count in ((20, n - n // 10), (40, n // 10)) if count}
    body = {"handler": life, "prior": prior, "time": T0 + n * 1e-3, "level": "ERROR" if n % 10 == 9 else "INFO", "process": 4711}
    body["message"] = "request %d served" % n
    if kind == "fields":
        body["fields"] = {"order": n, "user": "u%d" % n, "seconds": n / 7}
    return "logs.shop.cart", body

decode, times = msgspec.msgpack.Decoder(list[Message]).decode, []
for turn in range(150):
    events = []
    for number in range(5):
        arrival = Arrival(session, turn * 5 + number, int(T0 * 1e6), int(T0 * 1e6))
        first = turn * 200 + number * 40
        for message in decode(msgspec.msgpack.encode([made(n) for n in range(first, first + 40)])):
            message.arrival = arrival
            events.append(message)
    now, left = T0 + turn * 0.01, iter(events)
    began = time.thread_time_ns()
    while length_hint(left):
        state.feed_all(left, now, now - T0)
    times.append((time.thread_time_ns() - began) / len(events) / 1000)
assert state.logs.counts["records"] == 30_000
print(json.dumps(times))
"""


def turns(kind: str, source: Path) -> list[float]:
    """The times of one process (µs a record)."""
    environment = {**os.environ, "PYTHONPATH": str(source)}
    command = [sys.executable, "-c", PROGRAM, kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: list[float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measures, and prints a table or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind, in turns (%(default)s)")
    parser.add_argument("--source", type=Path, help="the src folder of another checkout, measured as `before`")
    options = parser.parse_args()
    sources = {"": HERE, **({} if options.source is None else {"before ": options.source})}
    rows: list[dict[str, Any]] = []
    for name, kind in KINDS.items():
        times: dict[str, list[float]] = {which: [] for which in sources}
        for _ in range(options.rounds):
            for which, source in sources.items():
                times[which] += turns(kind, source)
        row: dict[str, Any] = {"message": name}
        for which, found in times.items():
            row |= {f"{which}least_us": min(found), f"{which}median_us": statistics.median(found)}
        rows.append(row)
    show(rows, as_json=options.json)


if __name__ == "__main__":
    main()
