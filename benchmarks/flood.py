"""A flood of forged sessions against a receiver with established senders: memory, loss, duplicates, time per datagram.

    python -m benchmarks.flood [--sessions 1000000] [--datagrams 1] [--ahead 0.49] [--keyed]

The core is fed directly, in virtual time at 100,000 forged sessions a second, because a socket would drop most of such a flood.
Ten established senders send a datagram every 10 ms all the while; each forged session sends `--datagrams` datagrams.
Every 100 ms an honest newcomer begins as well and sends a datagram every 10 ms for 100 ms.
With `--keyed`, the forger has no key: its datagrams carry the right key number and a wrong tag.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from atmost.core.datagram import HEADER_LAYOUT, Kind, encode_message, pack_messages
from atmost.core.events import Message
from atmost.core.keys import KeyMode, keyring, new_key
from atmost.core.limits import MAGIC, VERSION
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.core.seal import NO_KEY, ChecksumSeal, Seal, SealFactory, no_keys
from benchmarks.common import arguments, show

ESTABLISHED = 10
FORGED_A_SECOND = 100_000
EVERY = 1_000
"""Forged datagrams between two rounds of the established senders: 10 ms."""


class Source:
    """A session that numbers what it sends."""

    def __init__(self, key_id: int, start_us: int, seals: SealFactory) -> None:
        """Args: key_id: as on the wire. start_us: the session's start (µs). seals: the key's."""
        self.identity = (key_id, start_us, int.from_bytes(os.urandom(8)))
        self._seal: Seal = seals(HEADER_LAYOUT.pack(0, 0, *self.identity, 0, 0, 0, 0, 0)[2:20])
        self.sequence = 0
        self.sent = 0

    def datagram(self, sent_us: int) -> bytes:
        """The next datagram, which holds one message."""
        fields = (
            MAGIC,
            VERSION << 4 | Kind.DATA,
            *self.identity,
            self.sequence,
            self.sent,
            sent_us,
            1,
            self._seal.flags,
        )
        body = pack_messages([encode_message(("flood.message", self.sent))])
        self.sequence += 1
        self.sent += 1
        return self._seal.seal(HEADER_LAYOUT.pack(*fields), body)


def main() -> None:
    """Runs the flood and prints what it cost."""
    parser = arguments(__doc__)
    parser.add_argument("--sessions", type=int, default=1_000_000, help="forged (%(default)s)")
    parser.add_argument(
        "--datagrams",
        type=int,
        default=1,
        help="datagrams per forged session; with 3 or more it looks established (%(default)s)",
    )
    parser.add_argument(
        "--ahead", type=float, default=0.0, help="seconds by which forged stamps are ahead of the clock (%(default)s)"
    )
    parser.add_argument("--keyed", action="store_true", help="use a key that the forger does not have")
    options = parser.parse_args()
    key = new_key(os.urandom(32), 7, KeyMode.SIGNED)
    forged_key = new_key(os.urandom(32), 7, KeyMode.SIGNED)
    checksum = ChecksumSeal()
    honest: SealFactory = key.seals("") if options.keyed else lambda _session: checksum
    forged: SealFactory = forged_key.seals("") if options.keyed else lambda _session: checksum
    key_id = 7 if options.keyed else NO_KEY
    wall_us = time.time_ns() // 1000
    parameters = ReceiverOptions(future_bound=0.5, clock_guard=0.5)
    core = ReceiverCore(parameters, wall_us, keyring([key], "") if options.keyed else no_keys())
    wall_us += 1_100_000
    senders = [Source(key_id, wall_us, honest) for _ in range(ESTABLISHED)]
    processed: dict[tuple[bytes, int], int] = {}
    newcomer_sent = newcomer_delivered = 0
    newcomer = Source(key_id, wall_us, honest)
    before = resident()
    spent = 0
    for number in range(options.sessions):
        now_us = wall_us + number * 1_000_000 // FORGED_A_SECOND
        if number % EVERY == 0:
            for sender in senders:
                for event in core.receive(sender.datagram(now_us), now_us / 1e6, now_us):
                    if isinstance(event, Message):
                        arrival = event.arrival
                        place = (arrival.session.key, arrival.sequence)
                        processed[place] = processed.get(place, 0) + 1
            if number % (10 * EVERY) == 0:
                newcomer = Source(key_id, now_us, honest)
            newcomer_sent += 1
            arrived = core.receive(newcomer.datagram(now_us), now_us / 1e6, now_us)
            newcomer_delivered += sum(isinstance(event, Message) for event in arrived)
            core.handle_deadline(now_us / 1e6)
        stamp_us = now_us + round(options.ahead * 1e6)
        forger = Source(key_id, now_us, forged)
        for forgery in [forger.datagram(stamp_us) for _ in range(options.datagrams)]:
            began = time.perf_counter_ns()
            core.receive(forgery, now_us / 1e6, now_us)
            spent += time.perf_counter_ns() - began
    after = resident()
    ledger = core.ledger(wall_us / 1e6 + options.sessions / FORGED_A_SECOND)
    known = {place[0] for place in processed}
    delivered = sum(count for count in processed.values())
    sent = sum(sender.sent for sender in senders)
    row = {
        "key": "yes" if options.keyed else "no",
        "forged_sessions": options.sessions,
        "memory_before_MB": before / 1e6,
        "memory_after_MB": after / 1e6,
        "refused": ", ".join(f"{reason} {count:,}" for reason, count in ledger.refused.items()),
        "evicted": ledger.evicted,
        "established_sent": sent,
        "established_delivered": delivered,
        "established_heard": len(known),
        "newcomers_sent": newcomer_sent,
        "newcomers_delivered": newcomer_delivered,
        "duplicates": sum(count - 1 for count in processed.values()),
        "ns_a_forged_datagram": spent / options.sessions / options.datagrams,
    }
    show([row], as_json=options.json)


def resident() -> int:
    """Resident memory of this process, bytes."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
