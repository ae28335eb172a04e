"""An adversary that has a tape of everything ever sent and plays it at the worst moments.

It needs neither a key nor luck: it sees when a receiver starts, what it evicts and where its windows stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from atmost.core.datagram import (
    FLAG_ENCRYPTED,
    FLAG_PADDED,
    HEADER_LAYOUT,
    PADDING_LAYOUT,
    Kind,
    encode_message,
    pack_messages,
)
from atmost.core.limits import HEADER, MAGIC, TAG, VERSION, VICTIM_SILENCE
from atmost.core.seal import ChecksumSeal
from atmost.lab.guarantee import coverage
from atmost.lab.guarantee.driving import Operations
from atmost.lab.guarantee.parameters import RECEIVER, STRANGER, WORKER
from atmost.lab.guarantee.senders import subject_of
from atmost.lab.guarantee.stage import Stage
from atmost.lab.guarantee.steps import Deliver, Forge, StartReceiver
from atmost.lab.guarantee.tape import MESSAGES_A_STEP, Entry, Facts
from atmost.lab.guarantee.witness import FAR

# Where no key is used, an adversary without a key can make up any datagram, with a correct checksum (R16).
#
# This may cause loss, even for others, but never a duplicate and never an exception.

_BIG = 1 << 63
_ALL_ONES = (1 << 64) - 1


class Forger:
    """Forges datagrams and sends them to a receiver."""

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
            self._contradiction,
            self._odd_stamp,
            self._odd_flags,
            self._stranger,
        ]

    def forge(self, tape: list[Entry]) -> None:
        """Forges a datagram.

        Args:
            tape: everything ever sent, which the forger may imitate.
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
        """Changes any byte and corrects the checksum."""
        data = bytearray(self._stage.random.choice(tape).data if tape else b"")
        if len(data) > HEADER + TAG:
            data[self._stage.random.randrange(len(data) - TAG)] ^= 1 << self._stage.random.randrange(8)
            self._send(self._seal.seal(bytes(data[:HEADER]), bytes(data[HEADER:-TAG])))
            self._stage.hit(coverage.FORGERY, "altered, checksum right")

    def _flood(self, _tape: list[Entry]) -> None:
        """Opens one session after another, more than the table holds."""
        for _ in range(self._stage.parameters.receiver.max_sessions + 2):
            self._send(self._data({}))
        self._stage.hit(coverage.FORGERY, "flood")

    def _claim(self, tape: list[Entry]) -> None:
        """Sends an implausible jump and a second datagram that confirms it."""
        random = self._stage.random
        known = self._imitated(tape) if random.random() < 0.5 else None
        sequence = random.choice((FAR + 1, FAR * 2, _BIG, _ALL_ONES - 2))
        prior = random.choice((0, FAR * 3, 1 << 52))
        key = {} if known is None else {"start_us": known.start_us, "random64": int.from_bytes(known.key[10:], "big")}
        first = {"start_us": self._now_us() + random.randint(0, self._future_us()), "random64": random.getrandbits(64)}
        first |= key
        self._send(self._data(first | {"sequence": sequence, "prior": prior}))
        self._send(self._data(first | {"sequence": sequence + 1, "prior": prior + 1}))
        self._stage.hit(coverage.FORGERY, "implausible claim")

    def _in_a_senders_name(self, tape: list[Entry]) -> None:
        """Takes the next number of a sender's session, or one of its gaps, with a prior that may contradict it."""
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

    def _contradiction(self, _tape: list[Entry]) -> None:
        """Takes the very next number of a session that the receiver remembers, after more messages than there were, or fewer."""
        incarnation = self._stage.cast.receivers.newest(RECEIVER)
        if incarnation is None or not incarnation.witness.sessions:
            return
        random = self._stage.random
        key, resident = random.choice(list(incarnation.witness.sessions.items()))
        start_us = int.from_bytes(key[2:10], "big")
        known = {"start_us": start_us, "random64": int.from_bytes(key[10:], "big")}
        known |= {"sequence": min(resident.highest + 1, _ALL_ONES), "sent_us": max(start_us, self._now_us())}
        for prior in (resident.end + random.choice((1, 5)), resident.end - 1):
            if prior >= 0:
                self._send(self._data(known | {"prior": prior}))
        self._stage.hit(coverage.FORGERY, "contradiction")

    def _odd_stamp(self, _tape: list[Entry]) -> None:
        for sent_us in (0, _ALL_ONES, self._now_us() + self._future_us(), self._now_us() + self._future_us() + 1):
            self._send(self._data({"sent_us": sent_us}))
        self._stage.hit(coverage.FORGERY, "odd stamp")

    def _odd_flags(self, _tape: list[Entry]) -> None:
        """Sends false flags, and correct padding."""
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
        """A DATA datagram with one message, by default valid and in a session of its own."""
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
        """A message that nobody sent, named after the step that will put it on the tape."""
        name = len(self._stage.steps) * MESSAGES_A_STEP
        return encode_message((subject_of(name), (name, b"")))

    def _imitated(self, tape: list[Entry]) -> Facts | None:
        honest = [entry for entry in tape[-20:] if entry.honest and entry.facts is not None]
        return self._stage.random.choice(honest).facts if honest else None

    def _send(self, data: bytes) -> None:
        stage = self._stage
        step = Forge(f"forged {len(stage.steps)}", data)
        stage.do(step)
        entry = stage.cast.tape.entries[step.name]
        entry.transmitted = True
        self._operations.arrive(entry, replay=True)

    def _now_us(self) -> int:
        return self._operations.clock.read(self._stage.now_us)

    def _future_us(self) -> int:
        return round(self._stage.parameters.receiver.future_bound * 1e6)


_MAX_REPLAYS: Final = 600
"""The adversary's steps in one run, without its final replay after everything has settled."""


class Adversary:
    """Replays and forges."""

    def __init__(self, stage: Stage, operations: Operations) -> None:
        """Args: stage: the run's. operations: the receiver it is after."""
        self._stage = stage
        self._operations = operations
        self._chance = stage.parameters.chances.replay
        self._forger = Forger(stage, operations)
        stage.after_step.append(self._react)
        operations.after_start.append(self._after_start)

    def begin(self) -> None:
        """Starts the receiver of another audience and acts now and then."""
        stage = self._stage
        wall_us = self._operations.clock.read(stage.now_us)
        stage.do(StartReceiver(STRANGER, stage.now_us, wall_us))
        if stage.parameters.workers:
            stage.do(StartReceiver(WORKER, stage.now_us, wall_us))
        self._next_moment()

    def play_all(self) -> None:
        """Replays the whole tape in the order in which it was sent; to both workers if there are two."""
        self._play("whole tape", self._tape(), budget=False)
        if self._stage.parameters.workers:
            self._play("whole tape", self._tape(), budget=False, astray=True)

    def _next_moment(self) -> None:
        stage = self._stage
        stage.after(stage.random.expovariate(1 / (10 * stage.parameters.pause)), self._moment)

    def _moment(self) -> None:
        """Acts at a random moment: replays or forges a datagram."""
        stage, random = self._stage, self._stage.random
        self._next_moment()
        if stage.chance(stage.parameters.chances.silence):
            stage.skip_us(round((VICTIM_SILENCE + 1) * 1e6))
        if stage.chance(stage.parameters.chances.forge * 4):
            self._forger.forge(list(stage.cast.tape.entries.values()))
        tape = self._tape()
        if not tape or not stage.chance(self._chance):
            return
        kind = random.random()
        if kind < 0.1:
            self._play("whole tape", tape)
        elif kind < 0.3:
            self._play_to_stranger(random.choices(tape, k=3))
        elif kind < 0.5 and stage.parameters.workers:
            self._play("at another worker", random.choices(tape, k=5), astray=True)
        else:
            self._play("any", random.choices(tape, k=5))

    def _after_start(self) -> None:
        """Acts just after a start, and again while the clock passes the new floor."""
        stage = self._stage
        if not stage.chance(self._chance):
            return
        tape = self._tape()
        floor_us = self._operations.clock.read(stage.now_us)
        incarnation = stage.cast.receivers.newest(RECEIVER)
        if incarnation is not None:
            floor_us = incarnation.core.floor_us
        nearest = sorted(tape, key=lambda entry: abs(_stamp(entry) - floor_us))[:12]
        whole = stage.random.random() < 0.3
        stage.at(stage.now_us, lambda: self._play("just after restart", tape if whole else nearest))
        future_us = incarnation.witness.future_us if incarnation is not None else 0
        until_floor = floor_us - self._operations.clock.read(stage.now_us)
        above = sorted(tape, key=_stamp)[-12:]
        for wait_us in (until_floor - future_us, until_floor, until_floor + 1):
            stage.at(stage.now_us + wait_us, lambda: self._play("as the floor passes", above))

    def _react(self) -> None:
        """Replays what was just evicted, and what is just leaving a window."""
        stage = self._stage
        receivers = stage.cast.receivers
        for key in receivers.evicted:
            if stage.chance(self._chance):
                session = stage.cast.tape.sessions.get(key, {})
                last = [entry for _, entry in sorted(session.items())[-4:]]
                self._soon("just after eviction", last)
        for entry in receivers.accepted:
            if entry.facts is not None and entry.honest and stage.chance(self._chance / 2):
                self._soon("at the window's edge", self._at_the_edge(entry))

    def _at_the_edge(self, entry: Entry) -> list[Entry]:
        """Datagrams about to leave the window, and those that filled a gap: only there could R11.7 admit a second copy."""
        assert entry.facts is not None
        incarnation = self._stage.cast.receivers.newest(RECEIVER)
        resident = incarnation.witness.sessions.get(entry.facts.key) if incarnation is not None else None
        if resident is None:
            return []
        edge = resident.highest - self._stage.parameters.receiver.window
        numbers = [edge - 1, edge, edge + 1, *resident.late[-3:]]
        found = [self._stage.cast.tape.at(entry.facts.key, number) for number in numbers]
        return [candidate for candidate in found if candidate is not None and candidate.transmitted]

    def _soon(self, moment: str, entries: list[Entry]) -> None:
        if entries:
            self._stage.at(self._stage.now_us, lambda: self._play(moment, entries))

    def _play(self, moment: str, entries: Iterable[Entry], *, budget: bool = True, astray: bool = False) -> None:
        stage = self._stage
        many = 1000 if stage.chance(0.002) else 3
        for entry in entries:
            if budget and stage.replays >= _MAX_REPLAYS:
                return
            if not entry.transmitted:
                continue
            stage.hit(coverage.MOMENT, moment)
            copies = many if stage.chance(0.1) else 1
            self._operations.arrive(entry, copies=copies, replay=True, astray=astray)

    def _play_to_stranger(self, entries: Iterable[Entry]) -> None:
        stage = self._stage
        stage.hit(coverage.MOMENT, "at another receiver")
        wall_us = self._operations.clock.read(stage.now_us)
        for entry in entries:
            stage.do(Deliver(STRANGER, entry.name, stage.now_us, wall_us, replay=True))

    def _tape(self) -> list[Entry]:
        """Every datagram that the adversary could have overheard."""
        return [entry for entry in self._stage.cast.tape.entries.values() if entry.transmitted]


def _stamp(entry: Entry) -> int:
    return entry.facts.sent_us if entry.facts is not None else 0
