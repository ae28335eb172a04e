"""Senders that were never accepted: who they are, why their datagrams are refused, and how to fix it.

They appear nowhere else, because they never open a session. One row stands for all such senders of one host that are
refused for one reason at one address. A name comes from a readable beacon; only a key or a clock alarm proves it.

Pure; not thread-safe. Bounded: `MAX_ROWS` rows, `MAX_NAMES` names in each, and `_NEW_A_SECOND` new rows a second, so that a
flood from forged addresses costs little more than counting. A row is forgotten an hour after its last refusal.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import msgspec

from atmost.core.datagram import FLAG_ENCRYPTED, Header, Kind, read_header, unpack_beacon
from atmost.core.events import ClockAlarm, ClockTrouble, RefusalReason
from atmost.core.limits import HEADER, TAG
from atmost.core.seal import NO_KEY

MAX_ROWS: Final = 256
MAX_NAMES: Final = 16
"""Names in one row."""
_NEW_A_SECOND: Final = 200
"""New rows in one second."""
_KEPT_FOR: Final = 3600.0
_USUAL_LAG: Final = 5.0
"""A refused datagram younger than this was sent while the collector started, so its clock is not at fault (seconds)."""
_CLOCKS: Final = {
    ClockTrouble.SENDER_AHEAD: RefusalReason.FUTURE,
    ClockTrouble.SENDER_BEHIND: RefusalReason.BELOW_FLOOR,
}
_BEHIND: Final = (RefusalReason.BOOT_QUARANTINE, RefusalReason.BELOW_FLOOR)
"""Two reasons for one problem; the first is used while the collector starts."""


class RefusedSender(msgspec.Struct, kw_only=True):
    """Senders of one host that were never accepted, refused for one reason at one address."""

    listener: str
    """The address that refused them."""
    address: str
    """The sending address of the last refused datagram; empty where the transport has none."""
    host: str
    """That address without its port."""
    names: list[str]
    """Their names, as their beacons give them; empty until a readable beacon comes."""
    proven: bool
    """Whether a key or checksum proves the names."""
    key_id: int
    """The key number of the last refused datagram; 0 without a key."""
    reason: str
    advice: str
    """Why, and how to fix it."""
    count: int
    """Datagrams refused."""
    first: float
    last: float


class RefusedSenders:
    """The rows, and which of them are new."""

    def __init__(self) -> None:
        self.left_out = 0
        """Datagrams of senders that found no free row."""
        self._rows: dict[tuple[str, str, str], RefusedSender] = {}
        self._news: list[RefusedSender] = []
        self._told: set[tuple[str, str]] = set()
        self._of_session: OrderedDict[bytes, RefusedSender] = OrderedDict()
        """Rows by identity of the sessions refused last, because an alarm has a session but no address."""
        self._second = 0
        self._began = 0
        """Rows created in this second."""

    def __len__(self) -> int:
        return len(self._rows)

    def feed(
        self, datagram: bytes, reason: RefusalReason, listener: str, peer: tuple[str, str], now: float, *, keyed: bool
    ) -> None:
        """Takes one refused datagram of an unknown session.

        Args:
            datagram: its bytes.
            reason: why it was refused.
            listener: the address that refused it.
            peer: the sender's host, and host with port; empty where unknown.
            now: seconds since 1970.
            keyed: whether the collector has keys.
        """
        if reason is RefusalReason.WRONG_SHARD:
            return
        header = read_header(datagram)
        lag = 0.0 if header is None else now - header[7] / 1e6
        if reason in _BEHIND:
            if abs(lag) <= _USUAL_LAG:
                return
            reason = RefusalReason.BELOW_FLOOR
        advice = _advice(reason, header, lag, keyed=keyed)
        row = self._row(listener, peer, reason, now)
        if row is None:
            return
        row.count += 1
        row.last, row.advice, row.address = now, advice, peer[1]
        if header is not None:
            row.key_id = header[2]
            self._remember(datagram[2:20], row)
        if header is not None and header[1] & 15 != Kind.DATA and not header[9] & FLAG_ENCRYPTED:
            beacon = unpack_beacon(datagram[HEADER:-TAG])
            if beacon is not None:
                _note_name(row, beacon.name)
        self._tell(row)

    def alarm(self, alarm: ClockAlarm, listener: str, now: float) -> None:
        """Takes a clock alarm about a refused sender: it proves the name, but has no address."""
        session, reason = alarm.session, _CLOCKS.get(alarm.trouble)
        if session is None or reason is None:
            return
        row = self._of_session.get(session.key) or self._row(listener, ("", ""), reason, now)
        if row is None:
            return
        _note_name(row, session.name)
        row.proven = True
        if not row.count:
            row.count, row.last, row.key_id = alarm.count, now, session.key_id
            row.advice = _clock_advice(reason, alarm.seconds)
            self._tell(row)

    def rows(self, now: float) -> list[RefusedSender]:
        """Copies of all rows, last refused first."""
        self._forget(now)
        rows = [msgspec.structs.replace(row, names=list(row.names)) for row in self._rows.values()]
        rows.sort(key=lambda row: -row.last)
        return rows

    def news(self) -> list[RefusedSender]:
        """New since the last call: the first row of each reason at each address, to be logged."""
        news, self._news = self._news, []
        return news

    def _tell(self, row: RefusedSender) -> None:
        kind = (row.listener, row.reason)
        if kind not in self._told and len(self._told) < MAX_ROWS:
            self._told.add(kind)
            self._news.append(row)

    def _remember(self, session: bytes, row: RefusedSender) -> None:
        self._of_session[session] = row
        if len(self._of_session) > MAX_ROWS:
            self._of_session.popitem(last=False)

    def _row(self, listener: str, peer: tuple[str, str], reason: RefusalReason, now: float) -> RefusedSender | None:
        key = (listener, peer[0], reason.value)
        row = self._rows.get(key)
        if row is not None:
            return row
        if int(now) != self._second:
            self._second, self._began = int(now), 0
        if self._began >= _NEW_A_SECOND:
            self.left_out += 1
            return None
        self._began += 1
        if len(self._rows) >= MAX_ROWS:
            self._forget(now)
        if (
            len(self._rows) >= MAX_ROWS
        ):  # the row refused least makes room, so that a flood of forged addresses hides nobody
            least = min(self._rows, key=lambda each: (self._rows[each].count, self._rows[each].last))
            self.left_out += self._rows.pop(least).count
        row = self._rows[key] = RefusedSender(
            listener=listener, address=peer[1], host=peer[0], names=[], proven=False, key_id=0, reason=reason.value,
            advice="", count=0, first=now, last=now,
        )  # fmt: skip
        return row

    def _forget(self, now: float) -> None:
        for key in [key for key, row in self._rows.items() if now - row.last > _KEPT_FOR]:
            del self._rows[key]


def peer_text(address: Any) -> tuple[str, str]:
    """The sender's address, without and with its port."""
    if isinstance(address, tuple) and address:
        host = str(address[0])
        return host, f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"
    text = address.decode(errors="backslashreplace") if isinstance(address, bytes) else str(address or "")
    return "localhost", text or "unix"


def describe(row: RefusedSender) -> str:
    """One line for people: who, why, and how to fix it."""
    who = ", ".join(row.names[:3]) + (" and others" if len(row.names) > 3 else "")
    where = row.address or "an unknown address"
    return f"{who} at {where}: {row.advice}" if who else f"{where}: {row.advice}"


def _note_name(row: RefusedSender, name: str) -> None:
    if name and name not in row.names and len(row.names) < MAX_NAMES:
        row.names.append(name)


def _advice(reason: RefusalReason, header: Header | None, lag: float, *, keyed: bool) -> str:
    """Why a datagram was refused, and how to fix it."""
    match reason:
        case RefusalReason.UNKNOWN_KEY:
            number = 0 if header is None else header[2]
            if number == NO_KEY:
                return "it sends without a key, and this collector has one: give it the key file (ATMOST_KEY, key_file)"
            if not keyed:
                return f"it sends with key {number}, and this collector has no key: start it with --key-file"
            return f"it sends with key {number}, which this collector does not have: give both the same key file"
        case RefusalReason.AUTH_FAILED:
            return "its key or audience is another one than this collector's: compare the key files and audiences"
        case RefusalReason.FUTURE | RefusalReason.BELOW_FLOOR:
            return _clock_advice(reason, lag)
        case RefusalReason.EXPIRED:
            return f"what it sends is {lag:.3g} s old when it arrives, older than max_age"
        case RefusalReason.IMPLAUSIBLE | RefusalReason.INCONSISTENT:
            return "its numbers contradict each other or leap, as those of a forger would: use keys"
        case _:
            if header is None:
                return "what it sends is not atmost's: another program or protocol sends to this address"
            return "its datagrams are damaged, or not of a version that this collector reads"


def _clock_advice(reason: RefusalReason, seconds: float) -> str:
    side = "ahead of" if reason is RefusalReason.FUTURE else "behind"
    return f"its clock is {abs(seconds):.3g} s {side} this host's: set that host's clock (chrony, ntpd)"
