"""Decides whether a receiver may hold its shards: one owner at a time, without anybody who could decide for all (H2).

Receivers of a channel tell each other on one subject what they claim and what they own; each hears itself too.
A claim that nobody contradicts for one and a half leases, from its first echo on, becomes ownership. Of two that claim at once the one with the smaller id goes on.
An owner holds its shards only as long as it has heard itself within one lease: whoever was stopped, starved or cut off gives up by its own
clock before a successor can be through with its claim, and takes over again like a stranger (Gray and Cheriton, *Leases*, 1989).
So at most one owner processes, as long as the servers between two receivers that both hear themselves are connected. Where they are cut apart and
joined again, both own until they have heard of each other, a third of a lease at most: that cannot be had without consensus.

Bytes and `now` in, bytes and state out; `now` counts while the host sleeps. One caller at a time, but for `holds` and `leave`.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Final

import msgspec

from atmost.core.names import harmless
from atmost.core.shards import Shards
from atmost.errors import OptionError

CLAIM_LEASES: Final = 1.5
"""How long a claim must stand uncontradicted, in leases: longer than an owner can go on unheard."""
_ANNOUNCE: Final = 1 / 3
_CLAIM_AGAIN: Final = 1 / 4
_AT_MOST: Final = 1 / 20
"""Announcements are at least this far apart, in leases, whatever others say (R15)."""
_FORGET: Final = 3
"""An owner is forgotten after this many leases without a word."""
_MAX_LEASE: Final = 60.0
_MAX_PAYLOAD: Final = 8192
_MAX_PEERS: Final = 1024
_MAX_STRANGE: Final = 16
"""Other numbers of shards that are told of, each once."""
_MAX_WHO: Final = 128
"""Characters of a name that is shown."""
_NEVER: Final = float("-inf")


class Kind(StrEnum):
    """What an announcement says."""

    CLAIM = "claim"
    OWN = "own"
    LEAVE = "leave"
    SENDS = "sends"
    """From a sender, once a connection: into how many shards it divides the channel."""


class Announcement(msgspec.Struct):
    """One message on the presence subject, as JSON for people who look at it."""

    kind: Kind
    id: str
    who: str
    shards: str
    lease: float = 0.0
    number: int = 0


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Announcement).decode


def sends(who: str, count: int) -> bytes:
    """What a sender says once a connection."""
    return _encode(Announcement(Kind.SENDS, "", who, f"0-{count - 1}/{count}" if count > 1 else "0/1"))


class Presence:
    """One receiver among those of its channel."""

    def __init__(self, identity: str, who: str, shards: Shards, lease: float) -> None:
        """Args: identity: unique, decides between two at once. who: for people. shards: what is wanted. lease: seconds."""
        self._id = identity
        self._who = who
        self._shards = shards
        self._lease = self._longest = lease
        self._online = False
        self._owning = False
        self._claimed_at: float | None = None
        self._next_at = 0.0
        self._last_at = _NEVER
        self._number = 0
        self._published: deque[tuple[int, float]] = deque(maxlen=64)
        self._peers: dict[str, tuple[frozenset[int], float]] = {}
        self._look_at = float("inf")
        self._holes: frozenset[int] = frozenset()
        self._strange_counts: set[int] = set()
        self._until = _NEVER
        self._left = False
        self.heard_at = _NEVER
        """When this end last heard itself."""
        self.incarnations = 0
        """How often ownership began."""
        self.holder: str | None = None
        """Who owns what is wanted here; final."""
        self.warnings: list[str] = []
        """What the operator should know; taken by whoever logs it."""

    def holds(self, now: float) -> bool:
        """Whether what arrives now may be processed; from any thread."""
        return self._owning and now < self._until

    def connected(self, now: float) -> list[bytes]:
        """There is a connection, and the subscriptions stand."""
        if self.holder is not None or self._left:  # a claim that nobody pursues could deter somebody who would
            return []
        self._online = True
        if self._owning and now < self._until:
            return [self._say(Kind.OWN, now)]
        self._lose()
        return [self._say(Kind.CLAIM, now)]

    def disconnected(self) -> None:
        """The connection is gone; the lease runs on."""
        self._online = False

    def receive(self, payload: bytes | None, now: float) -> list[bytes]:
        """Takes what somebody said; returns what to say to it."""
        heard = _read(payload)
        if heard is None or self.holder is not None or self._left:
            return []
        said, shards = heard
        if said.id == self._id:
            self._hear_myself(said.number, now)
            return []
        if said.kind is Kind.SENDS:
            self._note_count(said.who, shards.count)
            return []
        if said.kind is Kind.LEAVE:
            self._peers.pop(said.id, None)
            return []
        self._longest = max(self._longest, min(said.lease, _MAX_LEASE))
        if shards.count == self._shards.count and not shards.owned & self._shards.owned:
            self._note_peer(said, shards, now)
            return []
        return self._contest(said, shards, now)

    def handle_deadline(self, now: float) -> list[bytes]:
        """Announces, becomes the owner, or ceases to be."""
        if self.holder is not None or self._left:
            return []
        if self._owning and now >= self._until:
            self._lose()
            self.warnings.append(f"not in touch for {self._lease:g} s: {self._shards} must be claimed anew")
        if not self._online or now < self._next_at:
            return []
        if not self._owning and self._claimed_at is not None and now < self._until:
            # And what an owner said within its lease is heard by now: it came before an echo that was published later than that.
            heard_all = self._until >= self._claimed_at + self._longest + self._lease
            self._owning = heard_all and now >= self._claimed_at + CLAIM_LEASES * self._longest
            if self._owning:
                self.incarnations += 1
                self._look_at = now + _FORGET * self._longest
        if self._owning and now >= self._look_at:
            self._look_for_holes(now)
        return [self._say(Kind.OWN if self._owning else Kind.CLAIM, now)]

    def next_deadline(self) -> float | None:
        """When `handle_deadline` should be called next; None when there is nothing to do without a connection."""
        if self.holder is not None or self._left:
            return None
        if self._online:
            return min(self._next_at, self._until) if self._owning else self._next_at
        return self._until if self._owning else None

    @property
    def owning(self) -> bool:
        """Whether the claim is through; `holds` says whether it still is good."""
        return self._owning

    def leave(self) -> bytes:
        """What to say at the end, so that nobody looks for holes in vain; from any thread, while another one may be in here."""
        self._left = True
        self._owning = False
        self._until = _NEVER
        return self._announce(Kind.LEAVE)

    def _lose(self) -> None:
        self._owning = False
        self._claimed_at = None
        self._until = _NEVER
        self._published.clear()

    def _hear_myself(self, number: int, now: float) -> None:
        """The way to the servers and back is open: what was said then is known, and the lease runs from that moment."""
        at = next((at for said, at in self._published if said == number), None)
        if at is None:
            return
        self.heard_at = now
        if self._owning and now >= self._until:
            return
        if self._claimed_at is None:
            self._claimed_at = (
                now  # not `at`: an owner could not hear it before it had come to the servers, however long that took
            )
        self._until = max(self._until, at + self._lease)

    def _contest(self, said: Announcement, shards: Shards, now: float) -> list[bytes]:
        """Somebody else wants, or has, what is wanted here.

        What comes before the first echo of a claim was said before it, perhaps long ago, to one that stood still. Whoever lives says it again.
        """
        if not self._owning and self._claimed_at is None:
            return []
        stronger = said.kind is Kind.OWN and not self._owning
        if stronger or (said.id < self._id and (said.kind is Kind.OWN or not self._owning)):
            what = "has" if said.kind is Kind.OWN else "claims"
            self.holder = f"{said.who}, which {what} {shards}"
            self._lose()
            return []
        if self._owning and now >= self._until:
            return []
        if now < self._last_at + _AT_MOST * self._lease:
            self._next_at = min(self._next_at, self._last_at + _AT_MOST * self._lease)
            return []
        return [self._say(Kind.OWN if self._owning else Kind.CLAIM, now)]

    def _note_peer(self, said: Announcement, shards: Shards, now: float) -> None:
        if said.kind is Kind.OWN and (said.id in self._peers or len(self._peers) < _MAX_PEERS):
            self._peers[said.id] = (shards.owned, now)

    def _note_count(self, who: str, count: int) -> None:
        strange = self._strange_counts
        if count != self._shards.count and count not in strange and len(strange) < _MAX_STRANGE:
            strange.add(count)
            self.warnings.append(
                f"the sender {who} divides the channel into {count} shards instead of {self._shards.count}: "
                "what it sends is refused or lost; give both ends the same ?shards="
            )

    def _look_for_holes(self, now: float) -> None:
        self._look_at = now + _FORGET * self._longest
        self._peers = {name: peer for name, peer in self._peers.items() if now - peer[1] < _FORGET * self._longest}
        held = self._shards.owned.union(*(owned for owned, _ in self._peers.values()))
        holes = frozenset(range(self._shards.count)) - held
        if holes and holes != self._holes:
            missing = Shards(holes, self._shards.count)
            self.warnings.append(f"nobody receives the shards {missing}: what their senders send is lost")
        self._holes = holes

    def _say(self, kind: Kind, now: float) -> bytes:
        self._number += 1
        self._published.append((self._number, now))
        self._last_at = now
        self._next_at = now + self._lease * (_ANNOUNCE if kind is Kind.OWN else _CLAIM_AGAIN)
        return self._announce(kind)

    def _announce(self, kind: Kind) -> bytes:
        return _encode(Announcement(kind, self._id, self._who, str(self._shards), self._lease, self._number))


def _read(payload: bytes | None) -> tuple[Announcement, Shards] | None:
    """What somebody said; None for anything that is no announcement."""
    if payload is None or len(payload) > _MAX_PAYLOAD:
        return None
    try:
        said = _decode(payload)
        said.who = harmless(said.who[:_MAX_WHO])  # it stands in logs and on terminals
        return said, Shards.parse(said.shards)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OptionError):
        return None
