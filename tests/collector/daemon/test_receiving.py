"""The receiving thread: a fault of ours is counted and logged, and it goes on."""

import gc
import logging

from tests.collector.daemon.scene import collecting
from tests.real import until


def test_a_fault_of_ours_does_not_end_the_collector(monkeypatch, caplog):
    """What came is counted as received, the fault is logged once, and the next line is taken."""
    with collecting(statsd=("127.0.0.1:0",), http="127.0.0.1:0") as collector:
        state = collector.daemon.state
        with monkeypatch.context() as broken, caplog.at_level(logging.ERROR, "atmost.collector"):
            broken.setattr(state, "feed_statsd", None)
            for count in range(1, 4):
                collector.send("statsd", b"a:1|c")
                until(lambda count=count: collector.daemon.defects >= count)
        collector.send("statsd", b"a:1|c")
        until(lambda: state.statsd.series)
        assert b"atmost_collector_defects_total 3.0" in collector.get("/metrics")[1]
    assert [record.getMessage() for record in caplog.records] == ["a fault in receiving; the collector goes on"]


def test_a_state_that_grew_is_spared_by_the_garbage_collector():
    """A look at all series would stop every thread for as long as it takes."""
    gc.unfreeze()  # what the collectors of other tests have left
    try:
        with collecting(statsd=("127.0.0.1:0",)) as collector:
            collector.send("statsd", b"first:1|c")
            until(lambda: collector.daemon.state.series_kept == 1)
            before = gc.get_freeze_count()
            assert before > 1000  # what was loaded when it began
            for start in range(0, 1000, 100):
                collector.send("statsd", b"\n".join(b"s%d:1|g" % number for number in range(start, start + 100)))
            until(lambda: collector.daemon.state.series_kept == 1001)
            until(lambda: gc.get_freeze_count() > before + 1000)
    finally:
        gc.unfreeze()
