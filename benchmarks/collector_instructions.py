"""Machine instructions of what the collector does for a line, a reading or a record: a figure that does not depend on other work.

    python -m benchmarks.collector_instructions [--source DIR] [--only StatsD] [--json]

From bytes or messages to the state, without sockets; as `benchmarks.instructions`, whose counting this uses. Twenty series; what comes
within 10 ms is taken together.
"""

from __future__ import annotations

from benchmarks import instructions

SET_UP = """
from collections import deque
import msgspec
from atmost.collector.listening import StatsdReader, SyslogReader
from atmost.collector.options import CollectorOptions, Place
from atmost.collector.state.listeners import ListenerStats
from atmost.collector.state.state import CollectorState
from atmost.core.events import Arrival, Message, Session

T0, PEER = 1_767_225_600.0, ("127.0.0.1", 9)
state = CollectorState(CollectorOptions(), T0, 0.0)
stats = ListenerStats("x", "x")

def feed(reader, datagrams, now):
    if hasattr(reader, "feed"):
        waiting = deque((each, PEER) for each in datagrams)
        while waiting:
            reader.feed(waiting, stats, now, None)
    else:  # an earlier tree
        for each in datagrams:
            reader.decode(each, PEER, stats, now)()

def statsd(rounds, lines_each, kind, tags=b""):
    reader = StatsdReader(state, Place(host="127.0.0.1"))
    lines = [b"shop.page_%d.load:%d.%02d|%b" % (n % 20, n * 37 % 900, n % 100, kind) + tags for n in range(1000)]
    if kind == b"c":
        lines = [b"shop.page_%d.views:1|c" % (n % 20) + tags for n in range(1000)]
    data = [b"\\n".join(lines[at : at + lines_each]) for at in range(0, 1000, lines_each)]
    at = 0
    for turn in range(rounds // 200):
        feed(reader, [data[(at + n) % len(data)] for n in range(200 // lines_each)], T0 + turn * 0.01)
        at += 200 // lines_each
    assert stats.accepted == rounds // 200 * 200

session = Session(b"\\0\\0" + (1).to_bytes(8, "big") + (2).to_bytes(8, "big"), 0)
session.name = "bench"

HANDLER = int(T0 * 1e6).to_bytes(8, "big") + b"life"

def record(n, fields=None):
    body = {"handler": HANDLER, "prior": {20: n} if n else {}, "time": T0, "level": "INFO", "process": 4711}
    body["message"] = "request %d served" % n
    if fields is not None:
        body["fields"] = fields
    return msgspec.msgpack.decode(msgspec.msgpack.encode(("logs.shop.cart", body)))

def messages(rounds, make):
    for turn in range(rounds // 200):
        now = T0 + turn * 0.01
        events = []
        for datagram in range(5):
            arrival = Arrival(session, turn * 5 + datagram, 0, 0)
            events += [Message(*make(turn * 200 + datagram * 40 + n), arrival) for n in range(40)]
        if hasattr(state, "feed_all"):
            state.feed_all(iter(events), now, now - T0)
        else:
            for event in events:
                state.feed(event, now, now - T0)

"""
LOOPS = {
    "StatsD counter, packed": 'statsd(rounds, 40, b"c")',
    "StatsD counter, alone": 'statsd(rounds, 1, b"c")',
    "StatsD timer, packed": 'statsd(rounds, 40, b"ms")',
    "StatsD timer, alone": 'statsd(rounds, 1, b"ms")',
    "DogStatsD counter with 2 tags, packed": 'statsd(rounds, 40, b"c", b"|#env:prod,host:web-3")',
    "DogStatsD gauge with 2 tags, packed": 'statsd(rounds, 40, b"g", b"|#env:prod,host:web-3")',
    "plain reading of ours": 'messages(rounds, lambda n: (f"metrics.plain_{n % 20}", float(n)))',
    "other message of ours": 'messages(rounds, lambda n: ("orders.viewed", n))',
    "record of ours": "messages(rounds, record)",
    "record of ours with 3 fields": """
messages(rounds, lambda n: record(n, {"order": n, "user": "u%d" % n, "seconds": n / 7}))
""",
    "line of a file, as the agent sends it": """
messages(rounds, lambda n: ("logs.app", {"message": "line %d of a file" % n, "file": "/var/log/app"}))
""",
    "making a record, without taking it": "for n in range(rounds): record(n)",
    "syslog line": """
reader = SyslogReader(state, Place(host="127.0.0.1"))
for turn in range(rounds // 200):
    data = [b"<134>Jan  1 00:00:00 web-3 shop[4711]: order %d taken" % n for n in range(200)]
    feed(reader, data, T0 + turn * 0.01)
""",
}


def main() -> None:
    """Counts, and prints a table or JSON."""
    instructions.compare(__doc__, {name: instructions.SET_UP + SET_UP + loop for name, loop in LOOPS.items()})


if __name__ == "__main__":
    main()
