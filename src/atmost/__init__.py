"""Fire-and-forget messaging that never blocks, never repeats, and counts what it loses.

The public names are listed here and loaded when they are first used, so that `import atmost` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# At once, because functions registered with atexit earlier are called later: exit functions of the program may still send.
import atmost.lifecycle as _lifecycle  # noqa: F401

if TYPE_CHECKING:
    from atmost.core.accounts import Ledger, MergedLedger, SenderStats, SessionLedger
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
    from atmost.endpoint.must_deliver import must_deliver
    from atmost.endpoint.receiver import Receiver
    from atmost.endpoint.receiver_async import AsyncReceiver
    from atmost.endpoint.sender import Sender
    from atmost.endpoint.serve import serve
    from atmost.endpoint.workers import Workers
    from atmost.errors import (
        AddressError,
        AddressInUse,
        AtMostError,
        BindError,
        ConfigError,
        HintError,
        HintLoadCycle,
        InvalidKey,
        LossNotTolerated,
        MetricError,
        MissingExtra,
        OptionError,
        PayloadNotEncodable,
        PayloadTooLarge,
        SubjectError,
    )
    from atmost.heartbeats.heartbeat import Heartbeat
    from atmost.heartbeats.monitor import HeartbeatMonitor
    from atmost.hints.cache import HintedCache
    from atmost.hints.decorator import hinted
    from atmost.hints.invalidator import Invalidator
    from atmost.lifecycle import close_all
    from atmost.logs.handler import LogHandler
    from atmost.logs.reader import LogReader
    from atmost.metrics.metrics import Metrics
    from atmost.metrics.reader import MetricsReader

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
    "atmost.core.accounts": ("Ledger", "MergedLedger", "SenderStats", "SessionLedger"),
    "atmost.endpoint.must_deliver": ("must_deliver",),
    "atmost.endpoint.receiver": ("Receiver",),
    "atmost.endpoint.receiver_async": ("AsyncReceiver",),
    "atmost.endpoint.sender": ("Sender",),
    "atmost.endpoint.serve": ("serve",),
    "atmost.endpoint.workers": ("Workers",),
    "atmost.errors": (
        "AddressError",
        "AddressInUse",
        "AtMostError",
        "BindError",
        "ConfigError",
        "HintError",
        "HintLoadCycle",
        "InvalidKey",
        "LossNotTolerated",
        "MetricError",
        "MissingExtra",
        "OptionError",
        "PayloadNotEncodable",
        "PayloadTooLarge",
        "SubjectError",
    ),
    "atmost.heartbeats.heartbeat": ("Heartbeat",),
    "atmost.heartbeats.monitor": ("HeartbeatMonitor",),
    "atmost.lifecycle": ("close_all",),
    "atmost.logs.handler": ("LogHandler",),
    "atmost.logs.reader": ("LogReader",),
    "atmost.hints.cache": ("HintedCache",),
    "atmost.hints.decorator": ("hinted",),
    "atmost.hints.invalidator": ("Invalidator",),
    "atmost.metrics.metrics": ("Metrics",),
    "atmost.metrics.reader": ("MetricsReader",),
}
_PACKAGES = frozenset({"durable", "heartbeats", "hints", "logs", "metrics", "testing"})
"""The public submodules: `atmost.metrics` and the others are also loaded when they are first used."""
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # the names of `_HOMES`, written out: type checkers read a list, not a program
    "AddressError",
    "AddressInUse",
    "AsyncReceiver",
    "AtMostError",
    "BindError",
    "ClockAlarm",
    "ConfigError",
    "DatagramRefused",
    "Event",
    "Heartbeat",
    "HeartbeatMonitor",
    "HintError",
    "HintLoadCycle",
    "HintedCache",
    "InvalidKey",
    "Invalidator",
    "LateArrival",
    "Ledger",
    "LogHandler",
    "LogReader",
    "Loss",
    "LossNotTolerated",
    "MergedLedger",
    "Message",
    "MetricError",
    "Metrics",
    "MetricsReader",
    "MissingExtra",
    "OptionError",
    "PayloadNotEncodable",
    "PayloadTooLarge",
    "QueueOverflow",
    "Receiver",
    "Sender",
    "SenderStats",
    "Session",
    "SessionClosed",
    "SessionEvicted",
    "SessionLedger",
    "SessionOpened",
    "SubjectError",
    "Workers",
    "__version__",
    "close_all",
    "hinted",
    "must_deliver",
    "serve",
]


if not TYPE_CHECKING:  # type checkers would take any name for a public one

    def __getattr__(name: str) -> Any:
        """Loads a public name's module (PEP 562)."""
        if name in _PACKAGES:
            return import_module(f"atmost.{name}")
        module = _HOME_OF.get(name)
        if module is None:
            raise AttributeError(f"module 'atmost' has no attribute {name!r}")
        value = getattr(import_module(module), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
