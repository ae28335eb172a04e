"""GELF in UDP datagrams: JSON, plain or compressed, whole or in chunks.

Source: the Graylog Extended Log Format 1.1, and what its clients send. A set of chunks that stays incomplete is the one
loss that these protocols prove: the number of missing chunks is known, and that one message is missing.
"""

from atmost.ingest.gelf.reader import GelfReader
from atmost.ingest.gelf.values import (
    GelfEnding,
    GelfIncomplete,
    GelfLimits,
    GelfNote,
    GelfReason,
    GelfRecord,
    GelfStats,
)

__all__ = [
    "GelfEnding",
    "GelfIncomplete",
    "GelfLimits",
    "GelfNote",
    "GelfReader",
    "GelfReason",
    "GelfRecord",
    "GelfStats",
]
