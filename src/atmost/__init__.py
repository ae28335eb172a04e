"""Fire-and-forget messaging that never blocks, never repeats, and counts what it loses.

The public names are listed here and loaded when they are first used, so that `import atmost` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# At once, because functions registered with atexit earlier are called later: exit functions of the program may still send.
import atmost.lifecycle as _lifecycle  # noqa: F401

if TYPE_CHECKING:  # the same names as in `_HOMES`, for those who read this file without running it
    from atmost.compiled import is_compiled as is_compiled
    from atmost.core.accounts import (
        Ledger as Ledger,
        MergedLedger as MergedLedger,
        SenderStats as SenderStats,
        SessionLedger as SessionLedger,
    )
    from atmost.core.events import (
        ClockAlarm as ClockAlarm,
        DatagramRefused as DatagramRefused,
        Event as Event,
        LateArrival as LateArrival,
        Loss as Loss,
        Message as Message,
        QueueOverflow as QueueOverflow,
        Session as Session,
        SessionClosed as SessionClosed,
        SessionEvicted as SessionEvicted,
        SessionOpened as SessionOpened,
    )
    from atmost.endpoint.must_deliver import must_deliver as must_deliver
    from atmost.endpoint.receiver import Receiver as Receiver
    from atmost.endpoint.receiver_async import AsyncReceiver as AsyncReceiver
    from atmost.endpoint.sender import Sender as Sender
    from atmost.endpoint.serve import serve as serve
    from atmost.endpoint.workers import Workers as Workers
    from atmost.errors import (
        AddressError as AddressError,
        AddressInUse as AddressInUse,
        AtMostError as AtMostError,
        BindError as BindError,
        ConfigError as ConfigError,
        HintError as HintError,
        HintLoadCycle as HintLoadCycle,
        InvalidKey as InvalidKey,
        LossNotTolerated as LossNotTolerated,
        MetricError as MetricError,
        MissingExtra as MissingExtra,
        OptionError as OptionError,
        PayloadNotEncodable as PayloadNotEncodable,
        PayloadTooLarge as PayloadTooLarge,
        SubjectError as SubjectError,
    )
    from atmost.heartbeats.heartbeat import Heartbeat as Heartbeat
    from atmost.heartbeats.monitor import HeartbeatMonitor as HeartbeatMonitor
    from atmost.hints.cache import HintedCache as HintedCache
    from atmost.hints.decorator import hinted as hinted
    from atmost.hints.invalidator import Invalidator as Invalidator
    from atmost.lifecycle import close_all as close_all
    from atmost.logs.handler import LogHandler as LogHandler
    from atmost.logs.reader import LogReader as LogReader
    from atmost.metrics.metrics import Metrics as Metrics
    from atmost.metrics.reader import MetricsReader as MetricsReader

__version__ = "0.1.0"

_HOMES = {
    "atmost.compiled": ("is_compiled",),
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

if not TYPE_CHECKING:  # type checkers would take any name for a public one
    __all__ = list(_HOME_OF)
    __all__ += ["__version__"]

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
