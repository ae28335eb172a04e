"""Why a record is missing or incomplete; reasons become metric labels."""

from __future__ import annotations

from enum import StrEnum


class GapReason(StrEnum):
    """What is known of the cause of a gap."""

    LOST = "lost"
    """They left the handler and did not arrive: the network, the kernels, or the sender's socket."""
    DROPPED = "dropped"
    """The sender had no room, or was closed: they never left."""
    PARTLY_DROPPED = "partly_dropped"
    """Some of both; `dropped` says how many."""
    UNATTRIBUTED = "unattributed"
    """Messages of a sender whose log messages carry no counts: they may have been of any use."""
    OVERFLOW = "overflow"
    """The same, and they arrived: the receiver's queue was full."""


class DropPolicy(StrEnum):
    """Which record goes when there is no room for all."""

    NEWEST = "newest"
    """The one that is being logged: nothing is kept beside the sender's own buffer."""
    OLDEST = "oldest"
    """The one that waits for longest."""
    LOWEST = "lowest"
    """One of the lowest level, among those the one that waits for longest."""
