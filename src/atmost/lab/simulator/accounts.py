"""Holds a receiver's ledger against the truth (R19–R23): identities, figures, and that events and ledger tell one story.

The truth about a session's loss is on the tape: the messages numbered from its origin to its end, of datagrams this
incarnation did not accept: lost by the link, refused by the sender's socket, numbered and never handed over, dropped
by the kernel, sent while nobody listened, or refused with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping

from atmost.core.accounts import Account, Ledger, SessionLedger
from atmost.core.events import Place, Tail
from atmost.lab.simulator.incarnation import Incarnation
from atmost.lab.simulator.tape import Tape
from atmost.lab.simulator.violations import ViolationKind
from atmost.lab.simulator.witness import Resident


def check_ledger(
    incarnation: Incarnation, tape: Tape, refused: Mapping[bytes, int], now_us: int, *, settled: bool
) -> Ledger:
    """Checks everything that can be said of an incarnation's account at this moment.

    Args:
        incarnation: whose.
        tape: the truth.
        refused: messages the senders' sockets said they refused, by session.
        now_us: virtual time.
        settled: nothing is on its way, and all graces and quiet times are over.
    """
    ledger = incarnation.core.ledger(now_us / 1e6, incarnation.queued(), incarnation.kernel_drops)
    violate, label = incarnation.findings.violate, incarnation.label
    if not ledger.balanced():
        violate(ViolationKind.UNBALANCED, f"{label}: {_figures(ledger)} of {ledger.sent} sent")
    _check_figures(incarnation, ledger)
    _check_told(incarnation, ledger, settled=settled)
    _check_not_decreased(incarnation, b"", ledger)
    # Both list sessions in the order in which they were taken up; their random parts alone could be imitated.
    sessions = list(incarnation.witness.sessions.items())
    if [row.id for row in ledger.sessions] != [key[10:].hex() for key, _ in sessions]:
        violate(ViolationKind.MISCOUNTED, f"{label}: remembers {len(ledger.sessions)} sessions of {len(sessions)}")
        return ledger
    for row, (key, resident) in zip(ledger.sessions, sessions, strict=True):
        _check_not_decreased(incarnation, key, row)
        _check_session(incarnation, row, resident)
        if not resident.tainted:
            _check_truth(incarnation, tape, key, row, resident, refused.get(key, 0))
    if settled and ledger.pending:
        violate(ViolationKind.PENDING, f"{label}: {ledger.pending} messages pending after all graces")
    return ledger


def _check_figures(incarnation: Incarnation, ledger: Ledger) -> None:
    """What the simulated endpoint counted on its own."""
    totals = incarnation.witness.figures()
    expected = {
        "sent": totals["sent"],
        "before_join": totals["before_join"],
        "datagrams_in": incarnation.read_total,
        "accepted": incarnation.accepted_total,
        "refused": dict(incarnation.refused),
        "delivered": incarnation.handled,
        "queued": len(incarnation.queue),
        "overflow": incarnation.not_handled["overflow"],
        "discarded": incarnation.not_handled["discarded"],
        "handler_errors": incarnation.handler_errors,
        "kernel_drops": incarnation.kernel_drops,
    }
    for name, value in expected.items():
        said = getattr(ledger, name)
        if said != value:
            text = f"{incarnation.label}: {name} is {value}, the ledger says {said}"
            incarnation.findings.violate(ViolationKind.MISCOUNTED, text)
    if ledger.lost + ledger.pending != totals["missing"]:
        text = f"{incarnation.label}: {totals['missing']} missing, {ledger.lost} lost and {ledger.pending} pending"
        incarnation.findings.violate(ViolationKind.MISCOUNTED, text)


def _check_told(incarnation: Incarnation, ledger: Ledger, *, settled: bool) -> None:
    """Loss is told as it is booked; what is told once in ten seconds is told in full when those are over (R23)."""
    told = incarnation.told
    pairs = {"loss": ledger.lost + ledger.late, "late": ledger.late}
    if settled:
        pairs |= {f"refused {reason}": count for reason, count in ledger.refused.items()}
        pairs |= {f"alarm {trouble}": count for trouble, count in ledger.clock_troubles.items()}
        pairs["overflow"] = ledger.overflow
    for name, booked in pairs.items():
        if told[name] != booked:
            text = f"{incarnation.label}: {name}: {told[name]} told, {booked} booked"
            incarnation.findings.violate(ViolationKind.UNTOLD, text)


def _check_not_decreased(incarnation: Incarnation, key: bytes, account: Account) -> None:
    """R19: `lost_total`, which is lost and late together, never goes down; `key` is empty for the whole."""
    lost_total = account.lost + account.late
    before = incarnation.lost_before.get(key, 0)
    # A session that was evicted and seen again begins anew.
    if lost_total < before and key not in incarnation.witness.forgotten:
        text = f"{incarnation.label}: lost_total {key.hex()} went from {before} to {lost_total}"
        incarnation.findings.violate(ViolationKind.LOSS_DECREASED, text)
    incarnation.lost_before[key] = lost_total


def _check_session(incarnation: Incarnation, row: SessionLedger, resident: Resident) -> None:
    """R19: origin, end and what was received, as the accepted datagrams have them."""
    received = row.delivered + row.queued + row.overflow + row.discarded
    said = (row.before_join, row.sent, received, row.datagrams)
    true = (resident.origin, resident.end, resident.received, len(resident.accepted))
    places = sum(row.lost_by_place.values())
    if said != true or places != row.lost:
        text = f"{incarnation.label}: origin, end, received, datagrams are {true}, the ledger says {said}"
        incarnation.findings.violate(ViolationKind.MISCOUNTED, f"{text}, places {places} of {row.lost} lost")
    if (row.tail is Tail.CLOSED) != resident.said_goodbye:
        text = f"{incarnation.label}: tail of {row.id} is {row.tail}, goodbye {resident.said_goodbye}"
        incarnation.findings.violate(ViolationKind.MISCOUNTED, text)


def _check_truth(
    incarnation: Incarnation, tape: Tape, key: bytes, row: SessionLedger, resident: Resident, refused: int
) -> None:
    """R21: after a goodbye the end is exact; what is missing did not come; what the socket lost, no more than it refused."""
    missing = sum(
        entry.facts.messages
        for sequence, entry in tape.sessions[key].items()
        if entry.facts is not None
        and entry.facts.prior >= resident.origin
        and entry.facts.prior + entry.facts.messages <= resident.end
        and sequence not in resident.accepted
    )
    label = tape.labels.get(key, row.id)
    numbered = max(entry.facts.prior + entry.facts.messages for entry in tape.sessions[key].values() if entry.facts)
    if row.tail is Tail.CLOSED and row.sent != numbered:
        text = f"{incarnation.label}: {label} said goodbye after {numbered}, the ledger says {row.sent}"
        incarnation.findings.violate(ViolationKind.MISCOUNTED, text)
    if missing != row.lost + row.pending:
        text = f"{incarnation.label}: {missing} messages of {label} are missing, the ledger says"
        incarnation.findings.violate(ViolationKind.MISCOUNTED, f"{text} {row.lost} lost and {row.pending} pending")
    at_sender = row.lost_by_place[Place.SENDER_SOCKET.value]
    if at_sender > refused:
        text = f"{incarnation.label}: the socket of {label} refused {refused}, the ledger says {at_sender}"
        incarnation.findings.violate(ViolationKind.MISCOUNTED, text)


def _figures(ledger: Ledger) -> str:
    names = (
        "delivered",
        "queued",
        "overflow",
        "discarded",
        "pending",
        "lost",
        "before_join",
        "datagrams_in",
        "accepted",
    )
    return ", ".join(f"{name} {getattr(ledger, name)}" for name in names)
