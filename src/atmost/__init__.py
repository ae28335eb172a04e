"""Fire-and-forget messaging that never blocks, never repeats, and counts what it loses.

The public names are here and loaded when they are first used, so that `import atmost` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# At once, because what registers with atexit earlier is called later: exit functions of the program may still send.
import atmost.lifecycle as _lifecycle  # noqa: F401

if TYPE_CHECKING:
    from atmost.core.accounts import Ledger as Ledger
    from atmost.core.accounts import MergedLedger as MergedLedger
    from atmost.core.accounts import SenderStats as SenderStats
    from atmost.core.accounts import SessionLedger as SessionLedger
    from atmost.core.events import (
        ClockAlarm as ClockAlarm,
    )
    from atmost.core.events import (
        DatagramRefused as DatagramRefused,
    )
    from atmost.core.events import (
        Event as Event,
    )
    from atmost.core.events import (
        LateArrival as LateArrival,
    )
    from atmost.core.events import (
        Loss as Loss,
    )
    from atmost.core.events import (
        Message as Message,
    )
    from atmost.core.events import (
        QueueOverflow as QueueOverflow,
    )
    from atmost.core.events import (
        Session as Session,
    )
    from atmost.core.events import (
        SessionClosed as SessionClosed,
    )
    from atmost.core.events import (
        SessionEvicted as SessionEvicted,
    )
    from atmost.core.events import (
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
    )
    from atmost.errors import (
        AddressInUse as AddressInUse,
    )
    from atmost.errors import (
        AtMostError as AtMostError,
    )
    from atmost.errors import (
        BindError as BindError,
    )
    from atmost.errors import (
        ConfigError as ConfigError,
    )
    from atmost.errors import (
        HintError as HintError,
    )
    from atmost.errors import (
        HintLoadCycle as HintLoadCycle,
    )
    from atmost.errors import (
        InvalidKey as InvalidKey,
    )
    from atmost.errors import (
        LossNotTolerated as LossNotTolerated,
    )
    from atmost.errors import (
        MetricError as MetricError,
    )
    from atmost.errors import (
        MissingExtra as MissingExtra,
    )
    from atmost.errors import (
        OptionError as OptionError,
    )
    from atmost.errors import (
        PayloadNotEncodable as PayloadNotEncodable,
    )
    from atmost.errors import (
        PayloadTooLarge as PayloadTooLarge,
    )
    from atmost.errors import (
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
        module = _HOME_OF.get(name)
        if name == "durable":  # a submodule, not a name of `__all__`: its users have the extra `nats`
            return import_module("atmost.durable")
        if module is None:
            raise AttributeError(f"module 'atmost' has no attribute {name!r}")
        value = getattr(import_module(module), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
