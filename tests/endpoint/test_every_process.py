"""Every living object in every kind of child: whatever starts and ends the process, its account is complete (R7, R8)."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

import atmost
from atmost.heartbeats import HeartbeatMonitor
from atmost.hints.wire import read_mark
from atmost.logs import LogReader
from atmost.metrics import MetricsReader
from tests.real import BOUND, run, until

PROGRAM = """
import logging, multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor
import atmost
from tests.cfork import c_fork

JOBS = 12

def begin():
    global sender, jobs, logger, invalidator
    sender = atmost.Sender(os.environ["COLLECTOR"], name="shop", linger=60)
    metrics = atmost.Metrics(sender, interval=60)
    jobs = metrics.counter("jobs_total")
    logger = logging.getLogger("shop")
    logger.setLevel(logging.INFO)
    logger.addHandler(atmost.LogHandler(sender))
    invalidator = atmost.Invalidator(sender, interval=60)
    return metrics

def work(number):
    if os.environ["WHERE"] == "child" and "jobs" not in globals():
        globals()["kept"] = begin()
    jobs.inc()
    logger.info("job %d", number)
    sender.send("jobs.done", number)
    invalidator.invalidate(f"job:{number}")
    return os.getpid()

def all_of_them():
    for number in range(JOBS):
        work(number)
    global heartbeat
    heartbeat = atmost.Heartbeat(sender, f"worker-{os.getpid()}").start()

if __name__ == "__main__":
    kind, how = sys.argv[1:]
    if os.environ["WHERE"] == "parent":
        kept = begin()
    context = multiprocessing.get_context(how) if how != "c" else None
    if kind == "process":
        child = context.Process(target=all_of_them)
        child.start()
        child.join(60)
        assert child.exitcode == 0, child.exitcode
    elif kind == "executor":
        with ProcessPoolExecutor(3, context) as pool:
            assert os.getpid() not in set(pool.map(work, range(JOBS)))
    elif kind == "pool":
        with context.Pool(3) as pool:
            pool.map(work, range(JOBS), chunksize=1)
            pool.close()
            pool.join()
    elif kind == "c":
        child = c_fork()
        if not child:
            all_of_them()
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
"""
JOBS = 12


class Collector:
    """Reads everything that the uses say, until every session has said goodbye."""

    def __init__(self) -> None:
        self.receiver = atmost.Receiver("udp://127.0.0.1:0", clock_guard=0, grace=0.05)
        self.metrics, self.logs, self.beats = MetricsReader(), LogReader(), HeartbeatMonitor()
        self.done: list[Any] = []
        self.lines: list[Any] = []
        self.hints: list[str] = []
        self.ended_lives = 0
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for event in self.receiver.events():
            now = time.monotonic()
            self.metrics.feed(event, now)
            self.lines += self.logs.feed(event, now)
            self.beats.feed(event, now)
            if isinstance(event, atmost.Message):
                if event.subject == "jobs.done":
                    self.done.append(event.payload)
                mark = read_mark(event.payload) if event.subject.endswith(".mark") else None
                self.ended_lives += mark is not None and mark.closed

    def finish(self) -> None:
        """Wait until every session is closed and everything was read."""
        until(lambda: bool(self.receiver.ledger().sessions))
        until(lambda: all(session.tail == "closed" for session in self.receiver.ledger().sessions))
        until(lambda: not self.receiver.ledger().queued)
        self.receiver.close()
        self._thread.join(BOUND)


CASES = [
    *[("process", how, "parent") for how in ("fork",)],
    *[("process", how, "child") for how in ("spawn", "forkserver")],
    ("executor", "fork", "parent"),
    ("executor", "spawn", "child"),
    ("executor", "forkserver", "child"),
    ("pool", "fork", "parent"),
    ("pool", "forkserver", "child"),
    ("c", "c", "parent"),
]


@pytest.mark.parametrize(("kind", "how", "where"), CASES)
def test_a_child_leaves_a_complete_account(kind: str, how: str, where: str, tmp_path: Path) -> None:
    """Counters, records, hints, messages and beats of children, made in them or inherited: all there, all said to be over."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    collector = Collector()
    try:
        run(
            f"import runpy, sys; sys.argv[0] = {str(program)!r}; runpy.run_path(sys.argv[0], run_name='__main__')",
            kind,
            how,
            COLLECTOR=collector.receiver.url,
            WHERE=where,
        )
    finally:
        collector.finish()
    assert sorted(collector.done) == list(range(JOBS))
    assert collector.metrics.total("jobs_total") == JOBS
    stats = collector.logs.stats()
    assert (stats.records, stats.lost) == (JOBS, 0)
    assert collector.ended_lives
    beats = collector.beats.status(time.monotonic())
    assert len(beats) == (kind in {"process", "c"})
    assert {status.state for status in beats} <= {"stopped"}
    assert collector.receiver.ledger().lost == 0
