"""The numbers of the protocol, and separately those of this implementation.

The first group is part of the wire format and may not change within version 1.
The others are choices: each has its reason, and some can be overridden by an option.
"""

from __future__ import annotations

from typing import Final

# --- the protocol, version 1 (docs/wire.md) -------------------------------------------------------------------------

MAGIC: Final = 0xA5
VERSION: Final = 1
HEADER: Final = 48
"""Bytes before the body."""
TAG: Final = 16
"""Bytes after the body."""
ARRAY_HEADER: Final = 3
"""Bytes of the MessagePack array header (0xdc and a u16) in front of the messages."""
OVERHEAD: Final = HEADER + ARRAY_HEADER + TAG
"""What a DATA datagram costs besides its messages, bytes."""
MAX_DATAGRAM: Final = 65_507
"""The largest datagram, bytes: the largest UDP payload over IPv4."""
MAX_COUNT: Final = (MAX_DATAGRAM - OVERHEAD) // 4
"""C: messages in the largest datagram, because the smallest message takes 4 bytes (an array of a subject of one letter and nil)."""
MAX_MESSAGES: Final = 1 << 53
"""`prior + count` does not pass this (R11.7), so that sums of it stay exact wherever they are read, JavaScript included."""

MAX_TIME: Final = 253_402_300_799
"""The end of the year 9999, seconds since 1970: every time lies between 0 and this, so that any program can show it."""

# --- the sender -----------------------------------------------------------------------------------------------------

BEACON_UNDER_LOAD: Final = 1.0
"""At least one beacon in this time while data flows (R7), seconds."""
BEACON_AFTER_DATA: Final = 0.05
"""From the last data to the beacon that reveals a lost tail (R7), seconds."""
BEACON_GROWTH: Final = 4
"""Idle beacons are spaced by this factor (R7)."""
BEACON_IDLE: Final = 5.0
"""The longest time between two beacons (R7), seconds."""
GOODBYES: Final = 3
"""Datagrams that say goodbye (R7): three back to back would be lost together in a full buffer, so they are spaced."""
MIN_DATAGRAM: Final = 508
"""The smallest datagram size that can be asked for: what every IPv4 host must take (RFC 791: 576, less headers), bytes."""
MAX_NAME: Final = 128
"""The longest name of a sender or a host, characters."""
MAX_REASONS: Final = 32
"""Reasons, or errno names, in one report: sending has fewer ways to fail, and a receiver keeps a report with its session."""
MAX_REASON: Final = 32
"""The longest reason or errno name, bytes."""

# --- the receiver ---------------------------------------------------------------------------------------------------

WINDOW: Final = 4096
"""W: how far behind the highest number of its session a datagram may arrive (R11.4), datagrams."""
MAX_SESSIONS: Final = 4096
"""N: sessions remembered (R11.8)."""
GRACE: Final = 1.0
"""A missing message is called lost after one to two of these (R19), seconds."""
MAX_QUEUE: Final = 131_072
"""Messages between the core and the handler (R14)."""
QUEUED_BYTES: Final = 1024
"""Decoded bytes of one place in the queue; a message that takes more counts as several (R14)."""
MAX_GAPS: Final = 1024
"""Gaps remembered for one session; beyond it the oldest two are joined."""
MAX_GAPS_TOTAL: Final = 65_536
"""Gaps remembered for all sessions together, about 15 MB."""
SILENT_INTERVALS: Final = 3
"""Announced intervals without a sign of life after which a tail is unknown (R21)."""
VICTIM_SILENCE: Final = 60.0
"""A session silent for this long is the first to be evicted (R11.8), seconds."""
VICTIM_DATAGRAMS: Final = 3
"""A session with fewer datagrams than this is the next to be evicted (R11.8)."""
EPISODE: Final = 10.0
"""Events of one kind are reported at once, then at most this often with their count (R23), seconds."""
MAX_EPISODES: Final = 1024
"""Kinds of trouble whose reporting is remembered at once (R23)."""
