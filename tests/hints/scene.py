"""A cache in virtual time, and invalidators whose messages the test delivers, loses or holds back by hand."""

import itertools
from typing import Any
from unittest import mock

import msgspec

from atmost.core.events import Arrival, Message, Session
from atmost.hints import HintedCache, HintKind
from atmost.hints.invalidator import Numbering
from atmost.hints.wire import shard_of
from benchmarks.loss_hints_world import flat

_ids = itertools.count(1)
_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


class Scene:
    """A cache whose clock stands still until the test moves it."""

    def __init__(self, **options: Any) -> None:
        self.now = 100.0
        self.cache = HintedCache(**({"max_ttl": 300.0} | options), clock=lambda: self.now)

    def fill(self, key: str, value: Any = 1, *, age: float = 60.0, **how: Any) -> None:
        """Caches a value whose load began `age` seconds ago, too old to be trusted in doubt."""
        now, self.now = self.now, self.now - age
        with self.cache.filling(key) as fill:
            fill.set(value, **how)
        self.now = now

    def told(self, *events: Any) -> None:
        """Feeds messages; this host's boot is number 7, and its clock that of the scene."""
        with mock.patch("atmost.hints.cache.boot_clock", return_value=(7, self.now)):
            for event in events:
                self.cache.feed(event, self.now)

    def count(self, name: str) -> float:
        """One of the cache's counts."""
        return flat(self.cache.stats()).get(name, 0)

    def served(self, *keys: str) -> list[bool]:
        """Which of these keys are hits."""
        return [self.cache.get(key) is not None for key in keys]


class Voice:
    """An invalidator's life; one of boot 7 is on the cache's own host."""

    def __init__(
        self, scene: Scene, name: str = "writer", *, interval: float = 1.0, shards: int = 64, boot: int = 0
    ) -> None:
        self.scene = scene
        self.born = scene.now
        self.session = Session(b"\0\0" + next(_ids).to_bytes(16), 0)
        self.numbers = Numbering(next(_ids).to_bytes(8), name, "host", interval, shards, boot, self.born)

    def message(self, kind: HintKind, payload: Any) -> Message:
        """As a receiver yields it."""
        return Message(f"hints.{kind}", _decode(_encode(payload)), Arrival(self.session, 0, 0, 0))

    def key(self, key: str, digest: int | None = None) -> Message:
        """A hint for a key."""
        return self.message(HintKind.KEY, self.numbers.hint(HintKind.KEY, key, self.uptime, digest))

    def prefix(self, prefix: str) -> Message:
        """A hint for a prefix."""
        return self.message(HintKind.PREFIX, self.numbers.hint(HintKind.PREFIX, prefix, self.uptime))

    def tag(self, tag: str) -> Message:
        """A hint for a tag."""
        return self.message(HintKind.TAG, self.numbers.hint(HintKind.TAG, tag, self.uptime))

    def mark(self, *, closed: bool = False) -> Message:
        """A mark."""
        return self.message(HintKind.MARK, self.numbers.mark(self.uptime, closed=closed))

    @property
    def uptime(self) -> float:
        """Seconds of this life."""
        return self.scene.now - self.born


def keys_of(shard: int, count: int, shards: int = 64) -> list[str]:
    """Keys that are all in one shard."""
    found = (f"key:{number}" for number in itertools.count() if shard_of(f"key:{number}", shards) == shard)
    return list(itertools.islice(found, count))


def marks(scene: Scene, voice: Voice, seconds: float) -> None:
    """Moves the time on, with a mark a second that arrives."""
    for _ in range(round(seconds)):
        scene.now += 1.0
        scene.told(voice.mark())
