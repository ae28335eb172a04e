"""What the receiver of the model accepts and what it then remembers: R10–R13 on small integers.

Written from docs/guarantee.md alone and sharing no line with the product, so that an error in one is not an error in both.
Every rule has a switch, because a rule whose absence does no harm in the model is a rule the model does not test.

The table has one row (N = 1): the other session always evicts, which is the hardest case for the fold of R11.8.
Left out are the rules that only refuse more (tag, malformed, inconsistent, expired, implausible, readiness):
a refusal changes nothing, so to the receiver it is the same as a datagram that was never delivered.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """Why a datagram was accepted or refused; the members up to BELOW_WINDOW accept."""

    NEW_SESSION = "new_session"
    EVICTING = "evicting"
    ADVANCED = "advanced"
    LATE = "late"
    BELOW_WINDOW = "below_window"
    """Accepted although the window cannot remember it: only a mutant does this."""

    FUTURE = "future"
    BOOT_QUARANTINE = "boot_quarantine"
    BELOW_FLOOR = "below_floor"
    BELOW_EFLOOR = "below_efloor"
    """The product books it as `below_floor`; apart here, because another comparison is what refuses it."""
    TOO_OLD = "too_old"
    DUPLICATE = "duplicate"


ACCEPTING = frozenset({Verdict.NEW_SESSION, Verdict.EVICTING, Verdict.ADVANCED, Verdict.LATE, Verdict.BELOW_WINDOW})

BEFORE_ALL_TIME = -1
"""Clocks of the model read 0 and up."""


class Fold(StrEnum):
    """What raises the floor when a row leaves the table (R11.8)."""

    EVICTED = "evicted"
    """The greatest sent_us of the evicted session: the rule."""
    NOW = "now"
    """The receiver's clock, which the evicted session may be ahead of: by F, and by what it stepped back since."""
    NOTHING = "nothing"


class Efloor(StrEnum):
    """What a new row takes for the bound on all that was accepted of its session before it (R11.8)."""

    FLOOR = "floor"
    """The floor when the row is inserted: the rule."""
    BOOT_FLOOR = "boot_floor"
    """The floor at the start, which knows earlier incarnations and no eviction."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Rules:
    """Parameters in clock ticks and one switch per rule; the defaults are the correct rules."""

    future: int = 1
    """F: how far sent_us may be ahead of the receiver's clock."""
    guard: int = 1
    """G: how far back a start may find the receiver's clock."""
    window: int = 2
    """W: sequence numbers remembered per session."""
    floor_adds_future: bool = True
    """R10: the boot floor is above whatever an earlier incarnation accepted ahead of its clock."""
    floor_adds_guard: bool = True
    """R10: the boot floor makes up for a clock found behind an earlier incarnation's."""
    checks_future: bool = True
    """R11.3."""
    checks_window: bool = True
    """R11.4, known session: what its row no longer remembers is below its window."""
    fold: Fold = Fold.EVICTED
    efloor: Efloor = Efloor.FLOOR


class Datagram(NamedTuple):
    """One datagram of one message: the unit that must be processed at most once."""

    session: int
    seq: int
    sent_us: int


class Row(NamedTuple):
    """What the table remembers of a session."""

    session: int
    highest: int
    """Greatest sequence number accepted."""
    seen: int
    """Bit d is set when `highest - d` was accepted; never more than W bits (R13)."""
    greatest_sent_us: int
    efloor: int
    """What was accepted of the session before the row was inserted, and forgotten since, is not above it."""


class Receiver(NamedTuple):
    """The volatile memory of one incarnation: all of it is lost in a crash."""

    boot_floor: int
    floor: int
    row: Row | None


def start(rules: Rules, now: int) -> Receiver:
    """R10: an empty table, and a floor above whatever an earlier incarnation can have accepted."""
    floor = now + rules.future * rules.floor_adds_future + rules.guard * rules.floor_adds_guard
    return Receiver(boot_floor=floor, floor=floor, row=None)


def receive(rules: Rules, receiver: Receiver, datagram: Datagram, now: int) -> tuple[Verdict, Receiver]:
    """R11: one datagram against the memory; a refusal returns the receiver as it was."""
    if rules.checks_future and datagram.sent_us > now + rules.future:
        return Verdict.FUTURE, receiver
    row = receiver.row
    if row is None or row.session != datagram.session:
        return _receive_unknown(rules, receiver, datagram, now)
    verdict, row = _receive_known(rules, row, datagram)
    return verdict, receiver._replace(row=row)


def _receive_unknown(rules: Rules, receiver: Receiver, datagram: Datagram, now: int) -> tuple[Verdict, Receiver]:
    """A session without a row: only the floor can tell an old datagram from a new one (R11.4, R11.8)."""
    if datagram.sent_us <= receiver.floor:
        in_quarantine = datagram.sent_us <= receiver.boot_floor
        return (Verdict.BOOT_QUARANTINE if in_quarantine else Verdict.BELOW_FLOOR), receiver
    # efloor is taken before making room: what the victim leaves behind says nothing about the newcomer's past.
    efloor = _efloor(rules, receiver)
    row = Row(datagram.session, datagram.seq, seen=1, greatest_sent_us=datagram.sent_us, efloor=efloor)
    if receiver.row is None:
        return Verdict.NEW_SESSION, receiver._replace(row=row)
    floor = _fold(rules, receiver.floor, receiver.row, now)
    return Verdict.EVICTING, receiver._replace(floor=floor, row=row)


def _receive_known(rules: Rules, row: Row, datagram: Datagram) -> tuple[Verdict, Row]:
    """A session with a row: efloor for what precedes the row, the window for what the row has seen (R11.4)."""
    if datagram.sent_us <= row.efloor:
        return Verdict.BELOW_EFLOOR, row
    greatest = max(row.greatest_sent_us, datagram.sent_us)
    ahead = datagram.seq - row.highest
    if ahead > 0:
        # R13: the distance is compared before it is shifted by.
        kept = 0 if ahead >= rules.window else (row.seen << ahead) & ((1 << rules.window) - 1)
        return Verdict.ADVANCED, row._replace(highest=datagram.seq, seen=kept | 1, greatest_sent_us=greatest)
    if -ahead >= rules.window:
        if rules.checks_window:
            return Verdict.TOO_OLD, row
        return Verdict.BELOW_WINDOW, row._replace(greatest_sent_us=greatest)
    bit = 1 << -ahead
    if row.seen & bit:
        return Verdict.DUPLICATE, row
    return Verdict.LATE, row._replace(seen=row.seen | bit, greatest_sent_us=greatest)


def _fold(rules: Rules, floor: int, evicted: Row, now: int) -> int:
    """R11.8 and R12: forgetting a session raises the floor to all that was accepted of it, and never lowers it."""
    if rules.fold is Fold.NOTHING:
        return floor
    return max(floor, now if rules.fold is Fold.NOW else evicted.greatest_sent_us)


def _efloor(rules: Rules, receiver: Receiver) -> int:
    """R11.8: what precedes a row is refused by a bound, since the row has no bit for it."""
    if rules.efloor is Efloor.NONE:
        return BEFORE_ALL_TIME
    return receiver.boot_floor if rules.efloor is Efloor.BOOT_FLOOR else receiver.floor
