"""All four uses over one sender, one lossy link and one receiver: each takes its own, and none mistakes another's loss for its own."""

import logging
import time
from random import Random

from atmost import (
    Heartbeat,
    HeartbeatMonitor,
    HintedCache,
    Invalidator,
    LogHandler,
    LogReader,
    Metrics,
    MetricsReader,
    Receiver,
    Sender,
)
from atmost.lab.faults import PASSED, FaultRules, LinkFaults, Overruled
from atmost.lab.link import Link
from atmost.logs import LogGap, LogRecord
from tests.real import BOUND

RECORDS = 400
HEALED_AT = 380


def test_one_process_uses_all_four_over_one_socket():
    """Totals are right, records and gaps add up by level, the heartbeat never was down, and no stale value is read."""
    logger = logging.getLogger("tests.one_socket")
    logger.setLevel(logging.DEBUG)
    faults = LinkFaults(loss=0.2, duplicate=0.1, reorder=0.1, reorder_delay=0.005)
    rules = Overruled(FaultRules(faults, Random(11)))
    read = []
    with Receiver("udp://127.0.0.1:0") as receiver, Link(receiver.url, rules) as link:
        metrics_reader, monitor = MetricsReader(now=time.monotonic()), HeartbeatMonitor()
        log_reader, cache = LogReader(now=time.monotonic()), HintedCache(max_ttl=3600)
        with Sender(link.url, name="shop", max_datagram=508) as sender:
            metrics = Metrics(sender, interval=0.05)
            requests = metrics.counter("requests_total")
            handler = LogHandler(sender, mark_interval=0.2)
            logger.addHandler(handler)
            invalidator = Invalidator(sender)
            changes = []

            def turn():
                link.step(0.001)
                while (event := receiver.next_event(0)) is not None:
                    now = time.monotonic()
                    metrics_reader.feed(event, now)
                    read.extend(log_reader.feed(event, now))
                    changes.extend(monitor.feed(event, now))
                    cache.feed(event, now)
                now = time.monotonic()
                read.extend(log_reader.tick(now))
                changes.extend(monitor.tick(now))
                cache.tick(now)

            def settled():
                known = log_reader.stats().records + log_reader.stats().lost
                return metrics_reader.total("requests_total") == RECORDS and known == RECORDS + 1

            with Heartbeat(sender, "shop", 0.1):
                for number in range(RECORDS):
                    requests.inc()
                    logger.log(logging.INFO if number % 3 else logging.DEBUG, "record %d", number)
                    invalidator.invalidate(f"key:{number % 50}")
                    if number == HEALED_AT:
                        rules.verdict = PASSED
                    turn()
                logger.warning("the last one")
                deadline = time.monotonic() + BOUND
                while not settled() and time.monotonic() < deadline:
                    turn()
                    time.sleep(0.005)
                assert not cache.blind
                with cache.filling("key:1") as fill:
                    fill.set("fresh")
                assert cache.get("key:1") == "fresh"
                invalidator.invalidate("key:1")
                while cache.get("key:1") is not None and time.monotonic() < deadline:
                    turn()
                assert cache.get("key:1") is None
            logger.removeHandler(handler)
            handler.close()
            metrics.close()
    read.extend(log_reader.close(time.monotonic()))

    assert metrics_reader.total("requests_total") == RECORDS
    messages = [one.message for one in read if isinstance(one, LogRecord)]
    assert len(messages) == len(set(messages))
    lost = {(gap.life, gap.first): gap for gap in read if isinstance(gap, LogGap)}.values()  # a later one replaces
    assert lost
    counted = {}
    for gap in lost:
        for level, count in (gap.by_level or {}).items():
            counted[level] = counted.get(level, 0) + count
    expected = {"INFO": sum(n % 3 != 0 for n in range(RECORDS)), "DEBUG": sum(n % 3 == 0 for n in range(RECORDS))}
    seen = {level: sum(one.level == level for one in read if isinstance(one, LogRecord)) for level in expected}
    assert {level: seen[level] + counted.get(level, 0) for level in expected} == expected
    assert all(str(change.state) != "down" for change in changes)
