"""Answers of a collector as its interface gives them: each function returns one object, with what the test changes of it."""

from __future__ import annotations

import time
from typing import Any

Object = dict[str, Any]


def overview(**changes: Any) -> Object:
    """A collector that nobody has sent anything to."""
    now = time.time()
    listener = {"received": 0, "accepted": 0, "rejected": {}, "kernel_drops": 0, "queue_drops": 0, "warning": None}
    return {
        "now": now,
        "started": now,
        "version": "0.1.0",
        "host": "web-3",
        "listeners": [
            {"kind": "atmost", "address": "udp://127.0.0.1:7140", **listener},
            {"kind": "statsd", "address": "udp://127.0.0.1:8125", **listener},
            {"kind": "syslog", "address": "udp://127.0.0.1:5514", **listener},
            {"kind": "gelf", "address": "udp://127.0.0.1:12201", **listener},
        ],
        "totals": {
            "senders": 0,
            "delivered": 0,
            "lost": 0,
            "lost_by_place": {"sender_socket": 0, "in_flight": 0, "receiver_queue": 0},
            "late": 0,
            "pending": 0,
            "duplicates_refused": 0,
            "refused": {},
            "tail_unknown": 0,
            "rate": 0.0,
            "minute": {"delivered": 0, "lost": 0, "late": 0, "refused": 0},
            "refused_senders": 0,
        },
        "alive": {"up": 0, "late": 0, "suspect": 0, "down": 0, "failed": 0, "stopped": 0, "unknown": 0},
        "memory": {"bytes": 48 << 20, "limits": [{"name": "series", "used": 0, "max": 10_000, "hit": 0}]},
        "warnings": [],
        **changes,
    }


def sender(name: str, **changes: Any) -> Object:
    """A sender of one session, of which nothing was lost."""
    return {
        "id": f"0:{name}",
        "name": name,
        "key_id": 0,
        "host": "web-3",
        "pid": 4242,
        "hosts": 1,
        "sessions": 1,
        "alive": 1,
        "silent": 0,
        "closed": 0,
        "tail": "alive",
        "rate": 10.0,
        "sent": 100,
        "delivered": 100,
        "lost": 0,
        "lost_by_place": {"sender_socket": 0, "in_flight": 0, "receiver_queue": 0},
        "loss_ratio": 0.0,
        "late": 0,
        "pending": 0,
        "before_join": 0,
        "refused": {},
        "sender_offered": 100,
        "sender_dropped": {},
        "sender_refused": {},
        "last_seen": 0.2,
        "clock_warning": None,
        "minute": {"delivered": 10, "lost": 0, "late": 0, "refused": 0},
        **changes,
    }


def session(sender: Object, **changes: Any) -> Object:
    """One session of a sender."""
    left_out = {"hosts", "sessions", "alive", "silent", "closed", "minute"}
    return {name: value for name, value in sender.items() if name not in left_out} | {"id": "a" * 16} | changes


def refused_sender(**changes: Any) -> Object:
    """A sender that was never accepted."""
    now = time.time()
    return {
        "listener": "udp://127.0.0.1:7140",
        "address": "10.0.0.7:4711",
        "host": "10.0.0.7",
        "names": ["edge-9"],
        "proven": False,
        "key_id": 0,
        "reason": "unknown_key",
        "advice": "it sends without a key, and this collector has one: give it the key file (ATMOST_KEY, key_file)",
        "count": 12,
        "first": now - 60,
        "last": now,
        **changes,
    }


def heartbeat(name: str, state: str = "up", **changes: Any) -> Object:
    """A heartbeat; up unless told otherwise."""
    now = time.time()
    return {
        "name": name,
        "sender": name,
        "state": state,
        "verdict": "heard: a sign of life",
        "since": now - 60,
        "last_beat": now,
        "interval": 1.0,
        "timeout": 4.0,
        "loss": 0.0,
        "beats": 60,
        "lost": 0,
        "key_id": 0,
        "host": "web-3",
        "pid": 4242,
        "missed": 0,
        "flaps": 0,
        "longest_silence": 1.0,
        "expected": False,
        "conflict": "",
        "uptime": 1.0,
        "history": "." * 60 + "u" * 36,
        **changes,
    }


def series(name: str, **changes: Any) -> Object:
    """A series of our own sender."""
    return {
        "name": name,
        "labels": {},
        "sender": "web-3",
        "source": "atmost",
        "kind": "gauge",
        "unit": "",
        "help": "",
        "last": 1.0,
        "last_seen": time.time(),
        "completeness": 1.0,
        **changes,
    }


def points(*values: float | None, step: float = 1.0, lost: dict[int, tuple[int, float]] | None = None) -> list[Object]:
    """A point a step that ends now; `lost` gives count and completeness by index, null values have neither."""
    end = float(int(time.time()))
    made = []
    for index, value in enumerate(values):
        missing, complete = (lost or {}).get(index, (0, 1.0) if value is not None else (None, None))
        made.append(
            {"t": end - (len(values) - 1 - index) * step, "value": value, "lost": missing, "completeness": complete}
        )
    return made


def record(message: str, **changes: Any) -> Object:
    """A line of the log."""
    return {
        "type": "record",
        "t": time.time(),
        "sender": "checkout-1",
        "host": "web-3",
        "level": "INFO",
        "logger": "",
        "message": message,
        "exception": None,
        "fields": {},
        "late": False,
        "truncated": False,
        "source": "atmost",
        **changes,
    }


def gap(lost: int, by_level: dict[str, int] | None = None, **changes: Any) -> Object:
    """A hole in the log."""
    now = time.time()
    return {
        "type": "gap",
        "t": now,
        "sender": "checkout-1",
        "lost": lost,
        "by_level": by_level,
        "reason": "in_flight",
        "from": now - 1,
        "to": now,
        "verified": True,
        **changes,
    }
