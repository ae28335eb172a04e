"""Recognises the datagrams of the standard library's `DatagramHandler`, which are refused and never unpickled.

It sends four bytes of length and a pickle of the record's attributes (`logging.handlers.SocketHandler.makePickle`).
Unpickling runs whatever the sender wrote into it, so nobody who can reach the port may have that done.
"""

from __future__ import annotations

from typing import Final

ADVICE: Final = (
    "a logging.handlers.DatagramHandler sends here; its pickles are refused, because unpickling runs the sender's code: "
    "use atmost.LogHandler instead"
)
"""What to do about it, for the warning at the first refusal."""

_OPENINGS: Final = (b"\x80", b"}", b"(", b"]", b"c")
"""A protocol number, or with the protocols 0 and 1 an empty dict, a mark, an empty list or a global."""


def is_pickle(datagram: bytes) -> bool:
    """Whether these bytes are a length, and a pickle of that length; nothing of it is decoded."""
    return (
        len(datagram) > 5
        and datagram[-1:] == b"."
        and int.from_bytes(datagram[:4], "big") == len(datagram) - 4
        and datagram[4:5] in _OPENINGS
    )
