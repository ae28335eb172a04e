"""Asks the operating system whether this host's clock is synchronised (R18): adjtimex(2), Linux only."""

from __future__ import annotations

import ctypes
import struct
import sys
from typing import Final

UNSYNCHRONISED: Final = (
    "this host's clock is not synchronised (adjtimex): senders on hosts whose clocks differ by more than F are refused; "
    "run chrony, systemd-timesyncd or ntpd"
)

_STA_UNSYNC: Final = 0x40  # linux/timex.h
_STATUS_AT: Final = 5 * struct.calcsize("l")  # struct timex: modes (padded), offset, freq, maxerror, esterror, status
_ROOM: Final = 512


def clock_is_synchronised() -> bool | None:
    """Whether the kernel's clock is disciplined; None where the system does not report it."""
    if sys.platform != "linux":
        return None
    timex = ctypes.create_string_buffer(_ROOM)  # modes 0: only read
    try:
        if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
            return None
    except (AttributeError, OSError):
        return None
    (status,) = struct.unpack_from("i", timex, _STATUS_AT)
    return not status & _STA_UNSYNC
