"""Cost of a refused datagram in the receiver's core, by reason, beside an accepted one.

    python -m benchmarks.refusals [--keyed]

Datagrams hold one message of 128 bytes; each figure is the best of five runs over 20,000 calls.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from atmost.core.datagram import HEADER_LAYOUT, Kind, encode_message, pack_messages
from atmost.core.keys import KeyMode, keyring, new_key
from atmost.core.limits import MAGIC, VERSION
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.core.seal import NO_KEY, ChecksumSeal, SealFactory, no_keys
from benchmarks.common import arguments, show
from benchmarks.flood import Source

CALLS = 20_000
BODY = pack_messages([encode_message(("bench.message", os.urandom(128)))])
IMPLAUSIBLE = 1 << 40


def main() -> None:
    """Prints nanoseconds by reason."""
    parser = arguments(__doc__)
    parser.add_argument("--keyed", action="store_true", help="with a signing key")
    given = parser.parse_args()
    keyed: bool = given.keyed
    key = new_key(os.urandom(32), 7, KeyMode.SIGNED)
    checksum = ChecksumSeal()
    seals: SealFactory = key.seals("") if keyed else lambda _session: checksum
    key_id = 7 if keyed else NO_KEY
    wall_us = time.time_ns() // 1000
    options = ReceiverOptions(future_bound=0.5, clock_guard=0.5, window=64, max_age=60.0)
    core = ReceiverCore(options, wall_us, keyring([key], "") if keyed else no_keys())
    now_us = wall_us + 1_100_000
    start_us = now_us

    def datagram(
        sequence: int, prior: int, sent_us: int, *, kid: int = key_id, random64: int = 1, start: int = start_us
    ) -> bytes:
        session = HEADER_LAYOUT.pack(0, 0, kid, start, random64, 0, 0, 0, 0, 0)[2:20]
        header = HEADER_LAYOUT.pack(
            MAGIC, VERSION << 4 | Kind.DATA, kid, start, random64, sequence, prior, sent_us, 1, 0
        )
        return seals(session).seal(header, BODY)

    for number in range(200):
        core.receive(datagram(number, number, now_us), 1.0, now_us)
    late_us = now_us + 100_000_000
    good = datagram(200, 200, now_us)
    cases = {
        "malformed": (b"\x00" + good[1:], now_us),
        "unknown_key": (datagram(200, 200, now_us, kid=9), now_us),
        "future": (datagram(200, 200, now_us + 10_000_000), now_us),
        "boot_quarantine": (datagram(0, 0, wall_us, random64=2, start=wall_us), now_us),
        "below_floor": (datagram(200, 200, wall_us), now_us),
        "too_old": (datagram(10, 10, now_us), now_us),
        "duplicate": (datagram(199, 199, now_us), now_us),
        "expired": (good, late_us),
        "auth_failed": (good[:-1] + bytes([good[-1] ^ 1]), now_us),
        "inconsistent": (datagram(201, 5, now_us), now_us),
    }
    if not keyed:
        cases["implausible"] = (datagram(IMPLAUSIBLE, IMPLAUSIBLE, now_us), now_us)
    rows: list[dict[str, str | float]] = []
    for reason, (content, wall) in cases.items():
        before = core.ledger(1.0).refused.get(reason, 0)
        cost = _best(lambda content=content, wall=wall: core.receive(content, 1.0, wall))
        assert core.ledger(1.0).refused[reason] > before, reason
        rows.append({"refused": reason, "ns": cost})
    source = Source(key_id, now_us, seals)
    fresh = iter([source.datagram(now_us) for _ in range(CALLS * 5)])
    rows.append({"refused": "(accepted)", "ns": _best(lambda: core.receive(next(fresh), 1.0, now_us))})
    show(rows, as_json=given.json)


def _best(call: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter_ns()
        for _ in range(CALLS):
            call()
        best = min(best, (time.perf_counter_ns() - began) / CALLS)
    return best


if __name__ == "__main__":
    main()
