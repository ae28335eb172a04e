"""Fire-and-forget messaging that never blocks, never repeats, and counts what it loses.

The public names are here and loaded when they are first used, so that `import atmost` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atmost.core.events import (
        ClockAlarm,
        DatagramRefused,
        Event,
        LateArrival,
        Loss,
        Message,
        QueueOverflow,
        Session,
        SessionClosed,
        SessionEvicted,
        SessionOpened,
    )
    from atmost.core.ledger import Ledger, SessionLedger
    from atmost.core.sending import SenderStats
    from atmost.endpoint.receiver import Receiver
    from atmost.endpoint.receiver_async import AsyncReceiver
    from atmost.endpoint.sender import Sender
    from atmost.errors import (
        AddressError,
        AddressInUse,
        AtMostError,
        BindError,
        InvalidKey,
        MissingExtra,
        OptionError,
        PayloadNotEncodable,
        PayloadTooLarge,
        SubjectError,
    )

__version__ = "0.1.0"

_HOMES = {
    "atmost.core.events": (
        "ClockAlarm",
        "DatagramRefused",
        "Event",
        "LateArrival",
        "Loss",
        "Message",
        "QueueOverflow",
        "Session",
        "SessionClosed",
        "SessionEvicted",
        "SessionOpened",
    ),
    "atmost.core.ledger": ("Ledger", "SessionLedger"),
    "atmost.core.sending": ("SenderStats",),
    "atmost.endpoint.receiver": ("Receiver",),
    "atmost.endpoint.receiver_async": ("AsyncReceiver",),
    "atmost.endpoint.sender": ("Sender",),
    "atmost.errors": (
        "AddressError",
        "AddressInUse",
        "AtMostError",
        "BindError",
        "InvalidKey",
        "MissingExtra",
        "OptionError",
        "PayloadNotEncodable",
        "PayloadTooLarge",
        "SubjectError",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: PLE0604  the same names as above
    *_HOME_OF,
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Loads a public name's module (PEP 562)."""
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'atmost' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
