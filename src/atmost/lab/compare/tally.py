"""What became of the messages of one arm, written down as it happens; the figures are made of it afterwards.

A plain book with bounds: one entry a processing, one a message that was acknowledged. Not thread-safe.
"""

from __future__ import annotations

from array import array


class Tally:
    """One arm's book."""

    def __init__(self) -> None:
        self.offered = array("d")
        """When each message was offered, seconds; its place is its number."""
        self.order = array("I")
        """The message of each processing, in the order of the processings."""
        self.times = array("d")
        """When each of them was, seconds."""
        self.waits = array("d")
        """From the offer to the acknowledgement, seconds, of each message that was acknowledged."""
        self.crashes = 0
        self.told = 0
        """Messages the receiver itself knows to be lost."""
        self.max_held = 0
        """The most bytes of messages the sender held at once."""
        self.receiver_bytes = 0
        """Bytes the receiver must remember in memory, at the end."""
        self.persistent_bytes = 0
        """Bytes the receiver must keep over a crash, at the end."""

    def processed(self, message: int, now: float) -> None:
        """Its effect happened, again or for the first time."""
        self.order.append(message)
        self.times.append(now)

    def acknowledged(self, message: int, now: float) -> None:
        """The sender knows that it was processed; here a caller that must know may go on."""
        self.waits.append(now - self.offered[message])

    def crashed(self) -> None:
        """The receiver lost what it had in memory, and began anew."""
        self.crashes += 1
