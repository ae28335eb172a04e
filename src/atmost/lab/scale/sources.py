"""Many senders on one timeline: real sending cores, a message each once a second, evenly spread over the second."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

from atmost.core.datagram import encode_message
from atmost.core.seal import NO_KEY, no_keys
from atmost.core.sending import SenderCore, SenderOptions
from atmost.transport.base import NETWORK_DATAGRAM

SLOTS: Final = 20
"""Turns of a second; every sender has one of them."""
_SEALS: Final = no_keys()[NO_KEY]


class Sources:
    """The senders; what they say is `[sender, number]`, numbered from 0 like the session's messages."""

    def __init__(self, count: int, random: Random) -> None:
        """Args: count: senders. random: of their identities."""
        self._cores = [
            SenderCore(SenderOptions(), NETWORK_DATAGRAM, _SEALS, name=f"s{number}", host="fleet", pid=number + 1)
            for number in range(count)
        ]
        self._random = random
        self.sent = [0] * count
        """Messages of each."""
        self.number_of: dict[str, int] = {}
        """Which sender a session is, by the identity that ledgers show."""

    def turn(self, turn: int, now: float, wall_us: int) -> Iterator[bytes]:
        """The datagrams of one turn.

        Args:
            turn: its number; sender n speaks in every turn that leaves the remainder n, divided by `SLOTS`.
            now: monotonic, seconds.
            wall_us: µs since 1970.
        """
        for number in range(turn % SLOTS, len(self._cores), SLOTS):
            core = self._cores[number]
            if core.needs_session(wall_us):
                identity = self._random.getrandbits(64)
                self.number_of[identity.to_bytes(8).hex()] = number
                core.begin(identity, wall_us, now)
            item = encode_message(("scale.message", (number, self.sent[number])))
            core.open.append(item)
            core.size += len(item)
            self.sent[number] += 1
            while (outgoing := core.next_datagram(now, wall_us, flush=True)) is not None:
                core.handed_over(outgoing, None, now)
                yield outgoing.data
