"""A quarter of an hour in the life of a collector: something of everything that the page can show."""

from __future__ import annotations

import math
import time
from random import Random

from tests.collector.page.answers import gap, heartbeat, overview, points, record, refused_sender, sender, series
from tests.collector.page.fake import FakeCollector

TRACE = """Traceback (most recent call last):
  File "checkout/stock.py", line 81, in reserve
    row = await fetch(item)
TimeoutError: no answer from stock-db within 2 s"""


def play(fake: FakeCollector) -> None:
    """Set the scene."""
    now = time.time()
    _account(fake, now)
    _senders(fake)
    _heartbeats(fake, now)
    _curves(fake)
    _log(fake, now)
    facts = {"cut": False, "sender": "checkout-1"}
    fake.subjects = [
        {"subject": "metrics.snapshot", "count": 160_312, "rate": 12.0, "size": 812, "payload": '{"n":71,"s":[[0,1843902]]}', "last": now, **facts},
        {"subject": "orders.placed", "count": 1_204, "rate": 0.8, "size": 23, "payload": '{"sku":"A1","count":2}', "last": now - 2, **facts},
    ]  # fmt: skip
    fake.rejected = [
        {
            "t": now - 4,
            "listener": "statsd",
            "peer": "127.0.0.1:50412",
            "reason": "malformed_value",
            "sample": "cart.size:many|g",
        },
        {
            "t": now - 71,
            "listener": "syslog",
            "peer": "10.1.7.20:514",
            "reason": "pickle_refused",
            "sample": "\\x00\\x00\\x01\\x8c}q\\x00(X\\x04\\x00name",
        },
        {
            "t": now - 93,
            "listener": "statsd",
            "peer": "127.0.0.1:50412",
            "reason": "mixed_tagging_styles",
            "sample": "hits,a=b:1|c|#c:d",
        },
    ]
    fake.changed()


def _account(fake: FakeCollector, now: float) -> None:
    fake.overview = overview(started=now - 8_042)
    places = {"sender_socket": 61, "in_flight": 5_137, "receiver_queue": 0}
    refused = {"duplicate": 1_204, "malformed": 17, "future": 310}
    fake.overview["totals"] |= {
        "senders": 7, "delivered": 1_843_902, "lost": 5_198, "lost_by_place": places, "late": 212, "pending": 14,
        "duplicates_refused": 1_204, "refused": refused, "tail_unknown": 1, "rate": 1_312.4,
        "minute": {"delivered": 78_744, "lost": 203, "late": 9, "refused": 31}, "refused_senders": 1,
    }  # fmt: skip
    fake.overview["alive"] |= {"up": 5, "suspect": 1, "down": 1, "stopped": 1}
    fake.overview["warnings"] = ["this host's clock was set back: charts are 2 s ahead of it"]
    fake.overview["memory"] = {
        "bytes": 61_300_000,
        "limits": [
            {"name": "series", "used": 1_204, "max": 10_000, "hit": 0},
            {"name": "log_records", "used": 9_998, "max": 10_000, "hit": 31_022},
            {"name": "senders", "used": 7, "max": 4_096, "hit": 0},
        ],
    }
    counts = [
        (1_849_100, 1_847_569, {}),
        (90_122, 90_031, {"malformed_value": 61, "mixed_tagging_styles": 30}),
        (4_410, 4_409, {"pickle_refused": 1}),
        (0, 0, {}),
    ]
    for listener, (received, accepted, rejected) in zip(fake.overview["listeners"], counts, strict=True):
        listener |= {"received": received, "accepted": accepted, "rejected": rejected}
    fake.receivers = [
        {
            "address": "udp://127.0.0.1:7140", "balanced": True, "sent": 1_849_152, "before_join": 38, "delivered": 1_843_902, "queued": 0,
            "overflow": 0, "discarded": 0, "pending": 14, "lost": 5_198, "lost_by_place": {"sender_socket": 61, "in_flight": 5_137},
            "late": 212, "tail_unknown": 1, "datagrams_in": 301_882, "accepted": 300_351, "refused": refused, "evicted": 0,
            "handler_errors": 0, "kernel_drops": 0, "clock_troubles": {"sender_ahead": 310},
        }
    ]  # fmt: skip


def _senders(fake: FakeCollector) -> None:
    def lossy(sent: int, socket: int, flight: int) -> dict[str, object]:
        lost = socket + flight
        return {
            "sent": sent, "delivered": sent - lost, "lost": lost, "loss_ratio": lost / sent, "sender_offered": sent,
            "lost_by_place": {"sender_socket": socket, "in_flight": flight, "receiver_queue": 0},
        }  # fmt: skip

    losing = {"delivered": 36_720, "lost": 203, "late": 9, "refused": 0}
    fake.senders = [
        sender("checkout-1", rate=612.0, pid=8112, late=203, pending=14, minute=losing, **lossy(904_210, 0, 4_901)),
        sender("checkout-2", rate=590.4, pid=8113, late=9, **lossy(880_331, 0, 221)),
        sender("edge-lisbon", host="edge-7", rate=88.1, pid=311, **lossy(61_204, 61, 15)),
        sender("worker-7", host="batch-1", rate=11.2, pid=20, **lossy(1_804, 0, 0)),
        sender("worker-8", host="batch-1", rate=10.6, pid=21, **lossy(1_322, 0, 0)),
        sender("nightly-report", host="batch-2", rate=0.0, tail="closed", last_seen=812.0, minute=None, sessions=1_501,
               alive=0, closed=1_501, **lossy(1_501, 0, 0)),
        sender("batch-2", host="batch-2", rate=0.0, tail="silent", last_seen=388.0, alive=0, silent=1,
               clock_warning="its clock is 0.21 s ahead of this host's", **lossy(80, 0, 0)),
    ]  # fmt: skip
    fake.refused = [
        refused_sender(
            names=["batch-9"],
            address="10.1.7.31:50112",
            host="10.1.7.31",
            reason="future",
            advice="its clock is 41 s ahead of this host's: set that host's clock (chrony, ntpd)",
            count=310,
        )
    ]


def _heartbeats(fake: FakeCollector, now: float) -> None:
    fake.heartbeats = [
        heartbeat(
            "batch-2",
            "down",
            verdict="silent for 388 s: 388 beats missed, at 0 measured loss",
            since=now - 384,
            last_beat=now - 388,
        ),
        heartbeat(
            "edge-lisbon",
            "suspect",
            verdict="silent for 3.4 s: 3 beats missed, at 0.021 measured loss",
            since=now - 1,
            last_beat=now - 3.4,
            loss=0.021,
        ),
        heartbeat(
            "checkout-1", verdict="lost(1): 1 beat lost on the way, it never was down", since=now - 8_000, loss=0.0054
        ),
        heartbeat("checkout-2", verdict="first: its first sign of life here", since=now - 8_000),
        heartbeat(
            "worker-7", verdict="paused(2.1 s): it did not beat for so long, and no beat was lost", since=now - 900
        ),
        heartbeat("worker-8", verdict="restarted: a new life after 1.4 s", since=now - 412),
        heartbeat("web-3", verdict="heard: a sign of life", since=now - 8_041),
        heartbeat(
            "nightly-report", "stopped", verdict="stopped: it said goodbye", since=now - 812, last_beat=now - 812
        ),
    ]


def _curves(fake: FakeCollector) -> None:
    dice = Random(7140)
    count = 300
    rate: list[float | None] = [520 + 90 * math.sin(at / 38) + dice.gauss(0, 18) for at in range(count)]
    lost = {
        at: (round((rate[at] or 0) * share), 1 - share)
        for at in range(150, 190)
        if (share := dice.choice([0.0, 0.02, 0.04, 0.06, 0.14]))
    }
    rate[96:118] = [None] * 22
    latency: list[float | None] = [
        0.012 + 0.004 * abs(math.sin(at / 20)) + dice.expovariate(900) for at in range(count)
    ]
    latency[200:203] = [None] * 3
    latency[210:211] = [None]
    memory: list[float | None] = [3.1e9 + 4e8 * math.sin(at / 90) for at in range(count)]
    hits: list[float | None] = [40 + 12 * math.sin(at / 15) + dice.gauss(0, 3) for at in range(count)]
    hits[240:262] = [None] * 22
    route = {"route": "/cart", "method": "POST"}
    fate: list[float | None] = [max(0.0, dice.gauss(2.0, 1.5)) if 120 < at < 200 else 0.0 for at in range(count)]
    fake.series = [
        series("atmost.lost", sender="checkout-1", source="collector", kind="counter", completeness=None),
        series("http_requests_total", labels=route, sender="checkout-1", kind="counter", help="Requests served"),
        series("checkout_seconds", labels=route, sender="checkout-1", kind="histogram", unit="seconds"),
        series("memory.used", sender="web-3", kind="reading", unit="bytes"),
        series("cart.hits", sender="", source="statsd", kind="counter", completeness=None, labels={"region": "eu"}),
    ]
    fake.units = {"checkout_seconds": "seconds", "memory.used": "bytes"}
    fake.points = {
        "atmost.lost": [one | {"lost": None, "completeness": None} for one in points(*fate, step=2.0)],
        "http_requests_total": points(*rate, step=2.0, lost=lost),
        "checkout_seconds": points(*latency, step=2.0, lost=dict.fromkeys(range(180, 199), (3, 0.94))),
        "memory.used": points(*memory, step=2.0),
        "cart.hits": [one | {"lost": None, "completeness": None} for one in points(*hits, step=2.0)],
    }


def _log(fake: FakeCollector, now: float) -> None:
    lines = [
        record("listening on 0.0.0.0:8080", t=now - 41.2, sender="checkout-2", logger="checkout.web"),
        record("cart 8812 priced in 12 ms", t=now - 33.9, level="DEBUG", logger="checkout.price"),
        record("POST /cart 201", t=now - 33.1, logger="checkout.web", fields={"user": 4411, "ms": 18}),
        gap(14, {"INFO": 12, "DEBUG": 2}, t=now - 30, **{"from": now - 31.4, "to": now - 29.8}),
        record("retrying stock-db", t=now - 29.1, level="WARNING", logger="checkout.stock"),
        record("reservation failed", t=now - 27.0, level="ERROR", logger="checkout.stock", exception=TRACE),
        record("POST /cart 503", t=now - 26.9, logger="checkout.web", late=True),
        record(
            "sshd[4120]: Accepted publickey for deploy from 10.1.7.4 port 51822",
            t=now - 21.0,
            sender="10.1.7.20",
            source="syslog",
        ),
        gap(
            2,
            t=now - 19.5,
            sender="10.1.7.20",
            verified=False,
            reason="sequence_id",
            **{"from": now - 20.9, "to": now - 19.5},
        ),
        record(
            "user said: \x1b[2J\x1b[31mhello\u202e and <b>bold</b>",
            t=now - 14.3,
            sender="edge-lisbon",
            logger="edge.chat",
        ),
        record("POST /cart 201", t=now - 9.7, logger="checkout.web", fields={"user": 4415, "ms": 21}),
        record("stock-db answers again after 17 s", t=now - 8.2, logger="checkout.stock"),
        gap(3, {"INFO": 2, "DEBUG": 1}, t=now - 5.1, **{"from": now - 6.0, "to": now - 5.1}),
        record("POST /cart 201", t=now - 4.4, logger="checkout.web", fields={"user": 4402, "ms": 17}),
        record("GET /health 200", t=now - 1.2, level="DEBUG", sender="checkout-2", logger="checkout.web"),
    ]
    fake.log(*lines)
