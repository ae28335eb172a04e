"""What an adversary without a key can make up where no key is used: anything, with a correct checksum (R16).

It may cost loss, also to others, but never a duplicate and never an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from atmost.core.datagram import (
    FLAG_ENCRYPTED,
    FLAG_PADDED,
    HEADER_LAYOUT,
    PADDING_LAYOUT,
    Kind,
    encode_message,
    pack_messages,
)
from atmost.core.limits import HEADER, IMPLAUSIBLE_JUMP, MAGIC, TAG, VERSION
from atmost.core.seal import ChecksumSeal
from atmost.lab.simulator import coverage
from atmost.lab.simulator.emission import subject_of
from atmost.lab.simulator.operations import Operations
from atmost.lab.simulator.stage import Stage
from atmost.lab.simulator.steps import Forge
from atmost.lab.simulator.tape import MESSAGES_A_STEP, Entry, Facts

_BIG = 1 << 63
_ALL_ONES = (1 << 64) - 1


class Forger:
    """Makes datagrams up and sends them to a receiver."""

    def __init__(self, stage: Stage, operations: Operations) -> None:
        """Args: stage: the run's. operations: the receiver it is after."""
        self._stage = stage
        self._operations = operations
        self._seal = ChecksumSeal()
        self._kinds: list[Callable[[list[Entry]], None]] = [
            self._garbage,
            self._truncated,
            self._altered,
            self._flood,
            self._claim,
            self._in_a_senders_name,
            self._odd_stamp,
            self._odd_flags,
            self._stranger,
        ]

    def forge(self, tape: list[Entry]) -> None:
        """Makes something up.

        Args:
            tape: everything ever sent, which may be imitated.
        """
        self._stage.random.choice(self._kinds)(tape)

    def _garbage(self, _tape: list[Entry]) -> None:
        random = self._stage.random
        self._send(random.randbytes(random.choice((0, 1, HEADER, HEADER + TAG, random.randint(0, 200)))))
        self._send(bytes([MAGIC]) + random.randbytes(HEADER + TAG))
        self._stage.hit(coverage.FORGERY, "garbage")

    def _truncated(self, tape: list[Entry]) -> None:
        if tape:
            data = self._stage.random.choice(tape).data
            self._send(data[: self._stage.random.randrange(len(data) + 1)])
            self._stage.hit(coverage.FORGERY, "truncated")

    def _altered(self, tape: list[Entry]) -> None:
        """Any byte changed, and the checksum put right."""
        data = bytearray(self._stage.random.choice(tape).data if tape else b"")
        if len(data) > HEADER + TAG:
            data[self._stage.random.randrange(len(data) - TAG)] ^= 1 << self._stage.random.randrange(8)
            self._send(self._seal.seal(bytes(data[:HEADER]), bytes(data[HEADER:-TAG])))
            self._stage.hit(coverage.FORGERY, "altered, checksum right")

    def _flood(self, _tape: list[Entry]) -> None:
        """One session after the other, more than the table holds."""
        for _ in range(self._stage.parameters.receiver.max_sessions + 2):
            self._send(self._data({}))
        self._stage.hit(coverage.FORGERY, "flood")

    def _claim(self, tape: list[Entry]) -> None:
        """A jump that is not plausible, and a second datagram that confirms it."""
        random = self._stage.random
        known = self._imitated(tape) if random.random() < 0.5 else None
        sequence = random.choice((IMPLAUSIBLE_JUMP + 1, IMPLAUSIBLE_JUMP * 2, _BIG, _ALL_ONES - 2))
        prior = random.choice((0, IMPLAUSIBLE_JUMP * 3, _BIG - 10))
        key = {} if known is None else {"start_us": known.start_us, "random64": int.from_bytes(known.key[10:], "big")}
        first = {"start_us": self._now_us() + random.randint(0, self._future_us()), "random64": random.getrandbits(64)}
        first |= key
        self._send(self._data(first | {"sequence": sequence, "prior": prior}))
        self._send(self._data(first | {"sequence": sequence + 1, "prior": prior + 1}))
        self._stage.hit(coverage.FORGERY, "implausible claim")

    def _in_a_senders_name(self, tape: list[Entry]) -> None:
        """The next number of somebody's session, or one of its gaps, with a prior that may contradict it."""
        known, random = self._imitated(tape), self._stage.random
        if known is None:
            return
        self._send(
            self._data(
                {
                    "start_us": known.start_us,
                    "random64": int.from_bytes(known.key[10:], "big"),
                    "sequence": max(0, known.sequence + random.choice((-1, 1, 2, 20))),
                    "prior": max(0, known.prior + random.choice((-1, 0, known.messages, 5, _BIG))) & _ALL_ONES,
                    "sent_us": random.choice((self._now_us(), known.sent_us, known.start_us - 1)),
                }
            )
        )
        self._stage.hit(coverage.FORGERY, "another's session")

    def _odd_stamp(self, _tape: list[Entry]) -> None:
        for sent_us in (0, _ALL_ONES, self._now_us() + self._future_us(), self._now_us() + self._future_us() + 1):
            self._send(self._data({"sent_us": sent_us}))
        self._stage.hit(coverage.FORGERY, "odd stamp")

    def _odd_flags(self, _tape: list[Entry]) -> None:
        """Flags that lie, and padding that is in order."""
        body = pack_messages([self._item()])
        self._send(self._data({"flags": FLAG_ENCRYPTED}))
        self._send(self._data({"flags": FLAG_PADDED}, body + PADDING_LAYOUT.pack(60_000)))
        self._send(self._data({"flags": FLAG_PADDED}, body + bytes(3) + PADDING_LAYOUT.pack(5)))
        self._send(self._data({"count": 2}, body))
        self._stage.hit(coverage.FORGERY, "odd flags or count")

    def _stranger(self, _tape: list[Entry]) -> None:
        self._send(self._data({"key_id": 7}))
        self._stage.hit(coverage.FORGERY, "unknown key")

    def _data(self, fields: Mapping[str, int], body: bytes | None = None) -> bytes:
        """A DATA datagram with one message, by default in order and of a session of its own."""
        now_us = self._now_us()
        values: dict[str, Any] = {
            "key_id": 0,
            "start_us": now_us - 1,
            "random64": self._stage.random.getrandbits(64),
            "sequence": 0,
            "prior": 0,
            "sent_us": now_us + self._stage.random.randint(0, self._future_us()),
            "count": 1,
            "flags": 0,
        }
        values |= fields
        header = HEADER_LAYOUT.pack(MAGIC, VERSION << 4 | Kind.DATA, *values.values())
        return self._seal.seal(header, pack_messages([self._item()]) if body is None else body)

    def _item(self) -> bytes:
        """A message that nobody sent; it is named after the step that will put it on the tape."""
        name = len(self._stage.steps) * MESSAGES_A_STEP
        return encode_message((subject_of(name), (name, b"")))

    def _imitated(self, tape: list[Entry]) -> Facts | None:
        honest = [entry for entry in tape[-20:] if entry.honest and entry.facts is not None]
        return self._stage.random.choice(honest).facts if honest else None

    def _send(self, data: bytes) -> None:
        stage = self._stage
        step = Forge(f"forged {len(stage.steps)}", data)
        stage.do(step)
        entry = stage.world.tape.entries[step.name]
        entry.transmitted = True
        self._operations.arrive(entry, replay=True)

    def _now_us(self) -> int:
        return self._operations.clock.read(self._stage.now_us)

    def _future_us(self) -> int:
        return round(self._stage.parameters.receiver.future_bound * 1e6)
