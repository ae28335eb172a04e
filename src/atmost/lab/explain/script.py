"""One fault in an otherwise perfect network: what the first transmission of the only message meets."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from atmost.lab.compare.faults import Copy, Crash, Fate, Purpose

TRAVEL: Final = 0.02
"""Seconds a datagram or an acknowledgement is on its way."""
_LATER: Final = 0.01
"""Seconds a second copy comes after the first."""


class Fault(StrEnum):
    """What goes wrong, once."""

    NONE = "none"
    DATAGRAM_DROPPED = "datagram-dropped"
    ACK_LOST = "ack-lost"
    CRASH_BEFORE = "crash-before"
    CRASH_AFTER = "crash-after"
    DUPLICATED = "duplicated"


_GOOD: Final = Copy(TRAVEL, Crash.NEVER, TRAVEL)
_FIRST: Final[dict[Fault, Fate]] = {
    Fault.NONE: (_GOOD,),
    Fault.DATAGRAM_DROPPED: (),
    Fault.ACK_LOST: (_GOOD._replace(ack_delay=None),),
    Fault.CRASH_BEFORE: (_GOOD._replace(crash=Crash.BEFORE),),
    Fault.CRASH_AFTER: (_GOOD._replace(crash=Crash.AFTER),),
    Fault.DUPLICATED: (_GOOD, _GOOD._replace(delay=TRAVEL + _LATER)),
}


class ScriptedFates:
    """The fault at the first transmission, and nothing but good fates afterwards."""

    def __init__(self, fault: Fault) -> None:
        """Args: fault: what the message meets."""
        self._fault = fault

    def of(self, purpose: Purpose) -> Fate:
        """The fate of the next transmission; there is one first one, for there is one message."""
        return _FIRST[self._fault] if purpose is Purpose.FIRST else (_GOOD,)
