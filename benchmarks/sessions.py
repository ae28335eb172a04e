"""A receiver's memory per session, and its time per one-message datagram from many sessions, beside a bare counting loop.

    python -m benchmarks.sessions [--sessions 100000]

The core is fed directly; memory is the growth of resident memory divided by the sessions, each known by a beacon and a message.
"""

from __future__ import annotations

import time

from atmost.core.datagram import HEADER_LAYOUT, BeaconBody, Kind, pack_beacon
from atmost.core.limits import MAGIC, VERSION
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.core.seal import NO_KEY, ChecksumSeal
from benchmarks.common import arguments, show
from benchmarks.flood import Source, resident


def main() -> None:
    """Prints bytes per session and nanoseconds per datagram."""
    parser = arguments(__doc__)
    parser.add_argument("--sessions", type=int, default=100_000, help="(%(default)s)")
    options = parser.parse_args()
    count = options.sessions
    wall_us = time.time_ns() // 1000
    core = ReceiverCore(ReceiverOptions(future_bound=0.5, clock_guard=0.5, max_sessions=count), wall_us)
    now_us = wall_us + 1_100_000
    checksum = ChecksumSeal()
    sources = [Source(NO_KEY, now_us, lambda _session: checksum) for _ in range(count)]
    beacons = [_beacon(source, now_us, number) for number, source in enumerate(sources)]
    rounds = [[source.datagram(now_us) for source in sources] for _ in range(3)]
    before = resident()
    for datagram in beacons:
        core.receive(datagram, 1.0, now_us)
    row: dict[str, float] = {"sessions": count, "bytes_a_session": (resident() - before) / count}
    for number, datagrams in enumerate(rounds, 1):
        began = time.perf_counter_ns()
        for datagram in datagrams:
            core.receive(datagram, 1.0, now_us)
        row[f"ns_a_datagram_{number}"] = (time.perf_counter_ns() - began) / count
    assert core.ledger(1.0).delivered == 3 * count
    show([row], as_json=options.json)


def _beacon(source: Source, now_us: int, number: int) -> bytes:
    """The beacon that opens a session, as a sender of that name would send it."""
    body = BeaconBody(f"sender-{number}", "host", number, 0, {}, {}, 5.0)
    fields = (MAGIC, VERSION << 4 | Kind.BEACON, *source.identity, source.sequence, 0, now_us, 0, 0)
    source.sequence += 1
    return ChecksumSeal().seal(HEADER_LAYOUT.pack(*fields), pack_beacon(body))


if __name__ == "__main__":
    main()
