"""Caches under hints in virtual time: writers, a link, readers, and an oracle that knows how stale every read is.

The cache, the numbers and the marks are the real ones; only the clock, the link and the origin are simulated. The same seed
gives the same run. Used by `benchmarks/loss_hints.py` and by the tests; `scripts/mutants.py hints` breaks one rule at a time, and they must notice.
"""

from __future__ import annotations

import heapq
import itertools
from random import Random
from typing import Any
from unittest import mock

import msgspec

from atmost.core.events import Arrival, Message, Session
from atmost.hints import HintedCache, HintKind
from atmost.hints import cache as cache_module
from atmost.hints.invalidator import Numbering
from atmost.lab.world import Agenda
from benchmarks.loss_hints_world import Report, World, flat

STEP = 0.01
"""Virtual time of a step (s)."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Origin:
    """The values, each the number of its version, and when the hint about each version was sent."""

    def __init__(self, keys: int) -> None:
        self.versions = [0] * keys
        self.told: list[list[tuple[float, bytes]]] = [[] for _ in range(keys)]
        """When the hint about the version of that index was sent, and by which life."""

    def write(self, key: int, now: float, life: bytes) -> None:
        """Commits a new version; its hint is sent at the same moment."""
        self.versions[key] += 1
        self.told[key].append((now, life))


class Writer:
    """A process with an invalidator."""

    def __init__(self, name: str, world: World, chance: Random) -> None:
        self.name, self.world, self.chance = name, world, chance
        self.down_until = 0.0
        self.rate = 1.0 if world.one_host else 1 + chance.uniform(-3e-4, 3e-4)
        """Seconds of its clock in one true second: worse than quartz."""
        self.begin(0.0)

    def begin(self, now: float) -> None:
        """Begins a new life."""
        world = self.world
        self.born = now
        self.session = Session(b"\0\0" + self.chance.randbytes(16), 0)
        self.numbering = Numbering(
            self.chance.randbytes(8),
            self.name,
            "host",
            world.interval,
            world.shards,
            int(world.one_host),
            now,
        )
        self.next_mark = now

    def uptime(self, now: float) -> float:
        """Age of this life by its own clock (s)."""
        return (now - self.born) * self.rate

    def mark(self, now: float, *, closed: bool = False) -> tuple[HintKind, Any]:
        """A mark, as it arrives."""
        self.next_mark = now + self.world.interval / self.rate
        return HintKind.MARK, _decode(_encode(self.numbering.mark(self.uptime(now), closed=closed)))


class Reader:
    """A process with a cache."""

    def __init__(self, world: World, run: Run) -> None:
        self.world, self.run = world, run
        self.stalled_until = 0.0
        self.cut: dict[str, float] = {}
        """When the partition from each writer ends."""
        self.begin()

    def begin(self) -> None:
        """Begins a new life with an empty cache."""
        world = self.world
        self.cache = HintedCache(
            world.max_ttl,
            max_entries=world.keys,
            grace=world.grace,
            policy=world.policy,
            soft=world.soft,
            shards=world.shards,
            forget_after=world.forget_after,
            clock=lambda: self.run.now,
        )
        self.fills: list[tuple[float, int, Any, int]] = []
        self.queue: list[Message] = []
        self.met: dict[bytes, float] = {}
        """When the bound stops covering the hints of a life; it does not cover later hints."""
        self.ttl_only: dict[int, float] = {}

    def feed(self, message: Message) -> None:
        """Hands over a message and records which invalidators the cache knows."""
        self.cache.feed(message)
        if message.subject.endswith("mark"):
            self.know()

    def know(self) -> None:
        """Ends the bound for invalidators' lives that the cache no longer knows."""
        known = self.cache._core.lives._lives  # noqa: SLF001  the oracle asks which lives the promise covers
        for life in known:
            self.met[life] = float("inf")
        for life, until in self.met.items():
            if until == float("inf") and life not in known:
                self.met[life] = self.run.now


class Run:
    """One run of a world."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.chance = Random(seed)
        self.agenda: Agenda[float] = Agenda(0.0)
        self.report = Report()
        self.origin = Origin(world.keys)
        self.names = [f"{'ab'[number % 2]}:{number}" for number in range(world.keys)]
        self.tags = [f"t{number % 10}" for number in range(world.keys)]
        self.counter = itertools.count()
        self.losing: dict[tuple[int, str], bool] = {}
        self.writers = [Writer(f"w{number}", world, self.chance) for number in range(world.writers)]
        self.readers = [Reader(world, self) for _ in range(world.readers)]
        self.report.bound = 2 * world.grace + 3 * world.interval

    @property
    def now(self) -> float:
        """Virtual time (s)."""
        return self.agenda.now

    def go(self, seconds: float) -> Report:
        """Runs for so many seconds of virtual time."""
        for step in range(round(seconds / STEP)):
            self.agenda.run_until(step * STEP)
            for writer in self.writers:
                self.write(writer)
            for reader in self.readers:
                self.deliver(reader)
                self.read(reader)
        for reader in self.readers:
            self.end(reader)
        return self.report

    def write(self, writer: Writer) -> None:
        """One step of a writer."""
        world, chance, now = self.world, self.chance, self.now
        if now < writer.down_until:
            return
        if writer.down_until:
            writer.down_until = 0.0
            writer.begin(now)
        if chance.random() < world.restart_writer * STEP:
            if chance.random() < 0.5:  # in order
                self.send(writer, [writer.mark(now, closed=True)] * 3)
            writer.down_until = now + chance.random() * 10
            return
        while chance.random() < world.writes * STEP:
            self.send(writer, [self.change(writer)])
        if now >= writer.next_mark:
            self.send(writer, [writer.mark(now)])

    def change(self, writer: Writer) -> tuple[HintKind, Any]:
        """Writes and sends the hint."""
        kind, chance = self.chance.random(), self.chance
        life, uptime = writer.numbering.life, writer.uptime(self.now)
        self.report.hints += 1
        key = int(self.world.keys * chance.random() ** 2)
        if kind < self.world.wide:
            prefix = self.names[key][: chance.choice((1, 2, 3))]
            for number, name in enumerate(self.names):
                if name.startswith(prefix):
                    self.origin.write(number, self.now, life)
            return HintKind.PREFIX, writer.numbering.hint(HintKind.PREFIX, prefix, uptime)
        if kind < 2 * self.world.wide:
            for number, tag in enumerate(self.tags):
                if tag == self.tags[key]:
                    self.origin.write(number, self.now, life)
            return HintKind.TAG, writer.numbering.hint(HintKind.TAG, self.tags[key], uptime)
        self.origin.write(key, self.now, life)
        return HintKind.KEY, writer.numbering.hint(HintKind.KEY, self.names[key], uptime)

    def send(self, writer: Writer, payloads: list[tuple[HintKind, Any]]) -> None:
        """Sends a message through the link to every reader."""
        for number, reader in enumerate(self.readers):
            for kind, payload in payloads:
                if reader.cut.get(writer.name, 0.0) > self.now or self.loses((number, writer.name)):
                    continue
                message = Message(f"hints.{kind}", payload, Arrival(writer.session, 0, 0, 0))
                for _ in range(1 + (self.chance.random() < self.world.duplicate)):
                    self.agenda.after(self.delay(), self.arrive, reader, message)

    def arrive(self, reader: Reader, message: Message) -> None:
        """Delivers a message later, to the reader's life at that time."""
        reader.queue.append(message)

    def loses(self, path: tuple[int, str]) -> bool:
        """Whether the link loses the next message: alone, or in runs (Gilbert)."""
        world = self.world
        if world.burst <= 1 or not 0 < world.loss < 1:
            return self.chance.random() < world.loss
        out = 1 / world.burst
        chance = 1 - out if self.losing.get(path) else world.loss * out / (1 - world.loss)
        self.losing[path] = self.chance.random() < chance
        return self.losing[path]

    def delay(self) -> float:
        """The delay of a message: mostly short, never beyond the grace; a stalled reader adds its own delay."""
        if self.chance.random() < self.world.slow:
            return self.chance.random() * self.world.grace
        return self.chance.random() * self.world.quick

    def deliver(self, reader: Reader) -> None:
        """One step of a reader's feeding, and of its loads."""
        world, chance, now = self.world, self.chance, self.now
        if chance.random() < world.restart_reader * STEP:
            self.end(reader)
            reader.begin()
        if chance.random() < world.outage * STEP:
            reader.cut[chance.choice(self.writers).name] = now + chance.random() * 15
        if chance.random() < world.stall * STEP:
            reader.stalled_until = now + chance.random() * 8
        if now >= reader.stalled_until and reader.queue:
            for message in reader.queue:
                reader.feed(message)
            reader.queue.clear()
        while reader.fills and reader.fills[0][0] <= now:
            _, _, fill, version = heapq.heappop(reader.fills)
            number = int(fill.key[2:])
            fill.set((number, version), tags=(self.tags[number],))
            fill.__exit__(None, None, None)

    def read(self, reader: Reader) -> None:
        """One step of a reader's reads."""
        report, chance, now, keys = self.report, self.chance, self.now, self.world.keys
        get, names = reader.cache.get, self.names
        for _ in range(self.world.reads):
            key = int(keys * chance.random() ** 2)
            report.reads += 1
            if now < reader.ttl_only.get(key, 0.0):
                report.ttl_hits += 1
            else:
                reader.ttl_only[key] = now + report.bound
            value = get(names[key])
            if value is None:
                self.load(reader, key)
                continue
            report.hits += 1
            if value[1] != self.origin.versions[key]:
                self.judge(reader, *value)

    def judge(self, reader: Reader, key: int, version: int) -> None:
        """Measures how stale a read is, and whether that breaks the promise.

        The change whose hint was sent first counts; if the reader does not know its invalidator, the next one does.
        """
        report = self.report
        reader.know()
        bound = report.bound + (self.world.soft if self.world.policy == "soft" else 0.0)
        for told, life in itertools.islice(self.origin.told[key], version, None):
            stale = self.now - told
            if reader.met.get(life, 0.0) > told:
                report.worst = max(report.worst, stale)
                report.violations += stale > bound + 1e-6
                return
            report.worst_unknown = max(report.worst_unknown, stale)
            report.violations += stale > self.world.max_ttl

    def load(self, reader: Reader, key: int) -> None:
        """Begins a load: reads the origin at once or a little later, and caches the value later still."""
        fill = reader.cache.filling(self.names[key])
        fill.__enter__()
        most = self.world.slow_load if self.chance.random() < 0.02 else self.world.load
        version = self.origin.versions[key]
        heapq.heappush(reader.fills, (self.now + self.chance.random() * most, next(self.counter), fill, version))

    def end(self, reader: Reader) -> None:
        """Adds up a cache's counts."""
        self.report.counts.update({name: int(count) for name, count in flat(reader.cache.stats()).items()})


def run(world: World, seconds: float, seed: int) -> Report:
    """One run."""
    one = Run(world, seed)
    with mock.patch.object(cache_module, "boot_clock", lambda: (1, one.now)):  # noqa: PT008  the time goes on
        return one.go(seconds)
