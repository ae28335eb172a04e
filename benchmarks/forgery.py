"""A forger without a key that has seen all traffic: what its datagrams cost honest senders, and what they invent.

    python -m benchmarks.forgery [--seconds 10] [--every 1.0] [--json]

The core is fed directly, in virtual time: ten senders send a datagram of ten messages every 10 ms. The forger knows all 18
bytes of every session, every number and every count; at each turn it forges one datagram for each session, in one of the ways
below. The account is read at the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from atmost.core.datagram import HEADER_LAYOUT, Kind, encode_message, pack_messages
from atmost.core.events import Message
from atmost.core.limits import MAGIC, MAX_COUNT, VERSION, WINDOW
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.core.seal import ChecksumSeal
from benchmarks.common import arguments, show

SENDERS: Final = 10
STEP_US: Final = 10_000
MESSAGES: Final = 10
JUMP: Final = WINDOW // 2
START_US: Final = 1_700_000_000_000_000
SEAL: Final = ChecksumSeal()


class Seen:
    """A session as its sender numbers it, readable by anybody on the path."""

    def __init__(self) -> None:
        """Begins at 0."""
        self.identity = (0, START_US + 1_100_000, int.from_bytes(os.urandom(8)))
        self.sequence = 0
        self.prior = 0

    def make(self, sequence: int, prior: int, items: list[bytes], sent_us: int) -> bytes:
        """Any datagram in this session's name."""
        header = HEADER_LAYOUT.pack(
            MAGIC, VERSION << 4 | Kind.DATA, *self.identity, sequence, prior, sent_us, len(items), 0
        )
        return SEAL.seal(header, pack_messages(items))

    def next(self, sent_us: int) -> bytes:
        """The sender's own next datagram."""
        made = self.make(self.sequence, self.prior, [HONEST] * MESSAGES, sent_us)
        self.sequence += 1
        self.prior += MESSAGES
        return made


HONEST: Final = encode_message(("honest", None))
FORGED: Final = encode_message(("forged", None))
SMALLEST: Final = encode_message(("f", None))

Forge = Callable[[Seen, int], bytes]
WAYS: Final[dict[str, Forge | None]] = {
    "nothing is forged": None,
    "the next number, as many messages": lambda s, us: s.make(s.sequence, s.prior, [FORGED] * MESSAGES, us),
    "the next number, one message": lambda s, us: s.make(s.sequence, s.prior, [FORGED], us),
    "the next number, as many messages as fit": lambda s, us: s.make(s.sequence, s.prior, [SMALLEST] * MAX_COUNT, us),
    "half a window ahead, no message between": lambda s, us: s.make(s.sequence - 1 + JUMP, s.prior, [FORGED], us),
    "half a window ahead, as many between as fit": lambda s, us: s.make(
        s.sequence - 1 + JUMP, s.prior + MAX_COUNT * (JUMP - 1), [FORGED], us
    ),
    "the next number, a million messages before it": lambda s, us: s.make(
        s.sequence, s.prior + 1_000_000, [FORGED], us
    ),
    "the last number there is": lambda s, us: s.make(2**64 - 1, s.prior, [FORGED], us),
}


def main() -> None:
    """Prints a row for each way."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds of virtual time (%(default)s)")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between forged datagrams (%(default)s)")
    options = parser.parse_args()
    show([_run(way, forge, options.seconds, options.every) for way, forge in WAYS.items()], as_json=options.json)


def _run(way: str, forge: Forge | None, seconds: float, every: float) -> dict[str, object]:
    core = ReceiverCore(ReceiverOptions(future_bound=0.5, clock_guard=0.5), START_US)
    sessions = [Seen() for _ in range(SENDERS)]
    honest = forged = forgeries = 0

    def take(datagram: bytes, now_us: int) -> None:
        nonlocal honest, forged
        for event in core.receive(datagram, now_us / 1e6, now_us):
            if isinstance(event, Message):
                honest += event.subject == "honest"
                forged += event.subject != "honest"

    steps = round(seconds * 1e6 / STEP_US)
    for step in range(steps):
        now_us = START_US + 1_200_000 + step * STEP_US
        if forge is not None and step and step % round(every * 1e6 / STEP_US) == 0:
            for seen in sessions:
                take(forge(seen, now_us), now_us)
                forgeries += 1
        for seen in sessions:
            take(seen.next(now_us), now_us)
        core.handle_deadline(now_us / 1e6)
    for later in range(1, 4):
        core.handle_deadline(now_us / 1e6 + later)
    ledger = core.ledger(now_us / 1e6 + 4)
    sent = steps * SENDERS * MESSAGES
    assert ledger.balanced()
    return {
        "forged": way,
        "datagrams_forged": forgeries,
        "honest_sent": sent,
        "honest_delivered": honest,
        "share": honest / sent,
        "forged_delivered": forged,
        "lost_in_the_account": ledger.lost,
        "invented_a_datagram": max(0, ledger.sent - sent) / forgeries if forgeries else 0,
        "refused": ", ".join(f"{reason} {count:,}" for reason, count in ledger.refused.items()),
    }


if __name__ == "__main__":
    main()
