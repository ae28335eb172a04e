"""Decides whether a receiver may hold its shards: one owner at a time, without a central authority (H2).

Theory of operation. Receivers of a channel announce on one subject what they claim and what they own, and each hears its own announcements too.

* Once connected, a receiver *claims*. Its claim counts from its first echo on, because no owner can hear it before it has reached the servers.
* A claim that nobody contradicts for one and a half leases becomes *ownership*, once the claimant has heard an echo of its own that is at least a lease
  younger than the claim: because a connection keeps order, it has then heard whatever an owner said within that lease.
* An owner announces itself three times a lease. It *holds* its shards until one lease after it sent the last announcement that came back. An owner
  that was stopped, starved or cut off notices by its own clock, processes nothing more, and claims anew like a stranger
  (Gray and Cheriton, *Leases*, 1989).
* An owner goes before a claimant. Of two claimants, and of two owners, the older goes on: first by when the claim began, as announced, then by identity. Both
  compute the same from the same two announcements, so exactly one ends, and it is the one that has processed least.

Why it is enough. Let L be the lease and D the longest way of an announcement from one receiver to another, the spreading of a new subscription included.
With 2 D <= 1.5 L a claimant hears a living owner before its claim is through, and there is never a second owner. A slower route lets a second one
begin at some instant o. It accepts only what was sent after o + F + G, and so does nothing harmful as long as one of the two has ended by then. One of them
hears of the other by o + D. If it was stopped with this news unread, it holds for at most one lease more, because a later echo would come
behind the news. So G is the clock guard plus `overlap`: 1.5 leases, or a lease and the longest transit seen if that is more.
The overlap cannot cover servers that are cut apart and joined again; only consensus could. There both receivers own until they have heard of
each other.

Bytes and `now` in, bytes and state out; `now` also counts while the host sleeps. One caller at a time, except for `holds` and `leave`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from atmost.core.names import harmless
from atmost.core.shards import Shards
from atmost.errors import OptionError

CLAIM_LEASES: Final = 1.5
"""How long a claim must stand without contradiction, in leases: longer than an owner can go on unheard."""
_ANNOUNCE: Final = 1 / 3
_CLAIM_AGAIN: Final = 1 / 4
_AT_MOST: Final = 1 / 20
"""Announcements are at least this far apart, in leases, whatever others say (R15)."""
_FORGET: Final = 3
"""An owner is forgotten after this many leases without a word."""
_MAX_LEASE: Final = 60.0
UNASKED_LEASE: Final = 10.0
"""The longest lease of somebody else that a claim waits for without having been asked to, in seconds."""
_MAX_TRANSIT: Final = 60.0
"""An announcement that seems to have been under way for longer shows that two clocks differ (seconds)."""
_SLOW: Final = 1 / 2
"""A longer transit gives a warning, in leases."""
_MAX_PAYLOAD: Final = 8192
_MAX_PEERS: Final = 1024
_MAX_STRANGE: Final = 16
"""How many different wrong numbers of shards are warned of, each once."""
_MAX_WHO: Final = 128
"""The most characters of a name that are shown."""
_NEVER: Final = float("-inf")


class AnnouncementKind(StrEnum):
    """What an announcement says."""

    CLAIM = "claim"
    OWN = "own"
    LEAVE = "leave"
    SENDS = "sends"
    """From a sender, once per connection: the number of shards into which it divides the channel."""


class Announcement(msgspec.Struct):
    """One message on the presence subject, as JSON for people who look at it."""

    kind: AnnouncementKind
    id: str
    who: str
    shards: str
    lease: float = 0.0
    number: int = 0
    since_us: int = 0
    """When the claim of this owner or claimant began, by its wall clock."""
    sent_us: int = 0
    """When this was said, by the speaker's wall clock."""


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Announcement).decode


def sends(who: str, count: int, sent_us: int) -> bytes:
    """The announcement that a sender makes once per connection."""
    shards = str(Shards(frozenset(range(count)), count))
    return _encode(Announcement(AnnouncementKind.SENDS, "", who, shards, sent_us=sent_us))


class Presence:
    """One receiver among those of its channel."""

    def __init__(self, identity: str, who: str, shards: Shards, lease: float, clock: Callable[[], int]) -> None:
        """Begins with a claim as soon as it is connected.

        Args:
            identity: unique; decides between two claims of one microsecond.
            who: for people.
            shards: the ones wanted.
            lease: seconds.
            clock: the wall clock, for what is announced to other hosts (µs since 1970).
        """
        self._id = identity
        self._who = who
        self._shards = shards
        self._lease = self._longest = lease
        self._clock = clock
        self._since_us: int | None = None
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
        self._slow_warned = _SLOW * lease
        self.transit = 0.0
        """The longest time that an announcement was seen to be under way, or the difference of two clocks (seconds)."""
        self.objection: str | None = None
        """Why the claim is not pursued, though nobody has the shards; final."""
        self.heard_at = _NEVER
        """When this end last heard itself."""
        self.incarnations = 0
        """How often ownership began."""
        self.holder: str | None = None
        """The owner of the shards wanted here; final."""
        self.warnings: list[str] = []
        """Warnings for the operator; the caller logs and removes them."""

    def holds(self, now: float) -> bool:
        """Whether a datagram that arrives now may be processed; from any thread."""
        return self._owning and now < self._until

    @property
    def claim_time(self) -> float:
        """How long a claim must stand, as far as leases are known here (seconds)."""
        return CLAIM_LEASES * self._longest

    @property
    def overlap(self) -> float:
        """How long an earlier owner may still accept after a new one began (seconds)."""
        return max(CLAIM_LEASES * self._longest, self._longest + self.transit)

    def connected(self, now: float) -> list[bytes]:
        """Notes that there is a connection and the subscriptions have been sent; returns what to announce."""
        if self._over:  # an abandoned claim could deter another receiver from pursuing its own
            return []
        self._online = True
        if self._owning and now < self._until:
            return [self._say(AnnouncementKind.OWN, now)]
        self._lose()
        return [self._say(AnnouncementKind.CLAIM, now)]

    def disconnected(self) -> None:
        """Notes that the connection is gone; the lease runs on."""
        self._online = False

    def receive(self, payload: bytes | None, now: float) -> list[bytes]:
        """Handles an announcement of any receiver; returns the answers."""
        heard = _read(payload)
        if heard is None or self._over:
            return []
        said, shards = heard
        if said.id == self._id:
            self._hear_myself(said.number, now)
            return []
        if said.kind is not AnnouncementKind.LEAVE:
            self._note_transit((self._clock() - said.sent_us) / 1e6, f"what {said.who} says comes", now)
        if said.kind is AnnouncementKind.SENDS:
            self._note_count(said.who, shards.count)
            return []
        if said.kind is AnnouncementKind.LEAVE:
            self._peers.pop(said.id, None)
            return []
        answers: list[bytes] = []
        if shards.count == self._shards.count and not shards.owned & self._shards.owned:
            self._note_peer(said, shards, now)
        else:
            answers = self._contest(said, shards, now)
        self._note_lease(said)
        return [] if self._over else answers

    def handle_deadline(self, now: float) -> list[bytes]:
        """Announces, becomes the owner, or ceases to be."""
        if self._over:
            return []
        if self._owning and now >= self._until:
            self._lose()
            self.warnings.append(f"not in touch for {self._lease:g} s: {self._shards} must be claimed anew")
        if not self._online or now < self._next_at:
            return []
        if not self._owning and self._claimed_at is not None and now < self._until:
            # By now everything an owner said within its lease has been heard: it came before an echo that was published later.
            heard_all = self._until >= self._claimed_at + self._longest + self._lease
            self._owning = heard_all and now >= self._claimed_at + CLAIM_LEASES * self._longest
            if self._owning:
                self.incarnations += 1
                self._look_at = now + _FORGET * self._longest
        if self._owning and now >= self._look_at:
            self._look_for_holes(now)
        return [self._say(AnnouncementKind.OWN if self._owning else AnnouncementKind.CLAIM, now)]

    def next_deadline(self) -> float | None:
        """When `handle_deadline` should be called next; None when there is nothing to do without a connection."""
        if self._over:
            return None
        if self._online:
            return min(self._next_at, self._until) if self._owning else self._next_at
        return self._until if self._owning else None

    @property
    def owning(self) -> bool:
        """Whether the claim has succeeded; `holds` says whether the lease still runs."""
        return self._owning

    def leave(self) -> bytes:
        """The announcement at the end, so that no receiver looks for holes in vain; from any thread, even while another one is in here."""
        self._left = True
        self._owning = False
        self._until = _NEVER
        return self._announce(AnnouncementKind.LEAVE)

    @property
    def _over(self) -> bool:
        return self.holder is not None or self.objection is not None or self._left

    def _lose(self) -> None:
        self._owning = False
        self._since_us = None
        self._claimed_at = None
        self._until = _NEVER
        self._published.clear()

    def _hear_myself(self, number: int, now: float) -> None:
        """Handles an own announcement that came back: the way to the servers is open, and the lease runs from the moment it was sent."""
        at = next((at for said, at in self._published if said == number), None)
        if at is None:
            return
        self.heard_at = now
        self._note_transit(now - at, "what it says itself comes back", now)
        if self._owning and now >= self._until:
            return
        if self._claimed_at is None:
            self._claimed_at = (
                now  # not `at`: an owner could not hear it before it had come to the servers, however long that took
            )
        self._until = max(self._until, at + self._lease)

    def _contest(self, said: Announcement, shards: Shards, now: float) -> list[bytes]:
        """Handles another receiver that claims, or owns, a shard wanted here.

        An announcement that comes before the first echo of a claim was made before the claim, perhaps long ago. A living receiver repeats it.
        """
        if not self._owning and self._claimed_at is None:
            return []
        theirs, mine = said.kind is AnnouncementKind.OWN, self._owning
        older = (said.since_us, said.id) < (self._since_us or 0, self._id)
        if theirs > mine or (theirs == mine and older):
            what = "has" if said.kind is AnnouncementKind.OWN else "claims"
            self.holder = f"{said.who}, which {what} {shards}"
            self._lose()
            return []
        if self._owning and now >= self._until:
            return []
        if now < self._last_at + _AT_MOST * self._lease:
            self._next_at = min(self._next_at, self._last_at + _AT_MOST * self._lease)
            return []
        return [self._say(AnnouncementKind.OWN if self._owning else AnnouncementKind.CLAIM, now)]

    def _note_lease(self, said: Announcement) -> None:
        """Lengthens the claim where another receiver has a longer lease, but not by minutes that nobody here has asked for."""
        lease = min(said.lease, _MAX_LEASE)
        if self.holder is None and not self.incarnations and lease > max(self._lease, UNASKED_LEASE):
            self.objection = f"{said.who} has a lease of {lease:g} s, so that a claim takes {CLAIM_LEASES * lease:g} s: give lease={lease:g} here too"
            self._lose()
        self._longest = max(self._longest, lease)

    def _note_transit(self, transit: float, what: str, now: float) -> None:
        """Notes how long an announcement took, but only while in touch: one that waited at the socket of a stopped receiver was not under way."""
        if now >= self._until or not 0.0 < transit <= _MAX_TRANSIT:
            return
        self.transit = max(self.transit, transit)
        if transit > self._slow_warned:
            self._slow_warned = 2 * transit
            self.warnings.append(
                f"{what} after {transit:.2g} s, which is more than half a lease of {self._lease:g} s: two receivers may own a shard "
                "for a moment; give all of them a longer lease=, unless it is their clocks that differ"
            )

    def _note_peer(self, said: Announcement, shards: Shards, now: float) -> None:
        if said.kind is AnnouncementKind.OWN and (said.id in self._peers or len(self._peers) < _MAX_PEERS):
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

    def _say(self, kind: AnnouncementKind, now: float) -> bytes:
        if self._since_us is None:
            self._since_us = self._clock()
        self._number += 1
        self._published.append((self._number, now))
        self._last_at = now
        self._next_at = now + self._lease * (_ANNOUNCE if kind is AnnouncementKind.OWN else _CLAIM_AGAIN)
        return self._announce(kind)

    def _announce(self, kind: AnnouncementKind) -> bytes:
        return _encode(
            Announcement(
                kind,
                self._id,
                self._who,
                str(self._shards),
                self._lease,
                self._number,
                self._since_us or 0,
                self._clock(),
            )
        )


def _read(payload: bytes | None) -> tuple[Announcement, Shards] | None:
    """What was announced; None for anything that is not an announcement."""
    if payload is None or len(payload) > _MAX_PAYLOAD:
        return None
    try:
        said = _decode(payload)
        said.who = harmless(said.who[:_MAX_WHO])  # it stands in logs and on terminals
        return said, Shards.parse(said.shards)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OptionError):
        return None
