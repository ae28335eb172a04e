"""The face for programs without an event loop, and the example."""

import asyncio
import re
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import pytest

from atmost import OptionError
from atmost.durable import AtLeastOnce, Blocking, ExactlyOnce, NotAcknowledged, NotConnected, SQLiteStore, Stream
from tests.real import BOUND, environment

pytestmark = pytest.mark.needs("nats-server")
ROOT = Path(__file__).parents[2]


def test_publish_and_process_from_threads(server, tmp_path):
    """The same calls, which wait; a handler stops the run from within."""
    kept = Stream("BLOCKING", ["blocking.>"])
    with Blocking(lambda: ExactlyOnce(server.url, kept)) as once, SQLiteStore(tmp_path / "a.db") as store:
        threads = [
            threading.Thread(target=once.publish, args=("blocking.a", n), kwargs={"id": f"{n}"}) for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND)
        assert once.publish("blocking.a", 0, id="0").duplicate
        got: list[int] = []

        def handler(message):
            got.append(message.payload)
            if len(got) == 8:
                once.stop()

        once.run(handler, durable="ledger", store=store)
        assert sorted(got) == list(range(8))
        assert once.stats().processed == 8
    once.close()


def test_what_goes_wrong_is_raised_where_it_is_waited_for():
    """And no thread is left behind by a construction that failed."""
    with pytest.raises(OptionError):
        Blocking(lambda: AtLeastOnce("nats://127.0.0.1:1", Stream("A", ["a"]), deadline=-1))
    assert "atmost-durable" not in {thread.name for thread in threading.enumerate()}
    nobody = Blocking(lambda: AtLeastOnce("nats://127.0.0.1:1", Stream("A", ["a"])))
    with nobody, pytest.raises(NotAcknowledged):
        nobody.publish("a", deadline=0.2)
    assert "atmost-durable" not in {thread.name for thread in threading.enumerate()}


def test_once_closed_it_says_so():
    """As an error of ours, and stopping what has ended is none."""
    once = Blocking(lambda: AtLeastOnce("nats://127.0.0.1:1", Stream("A", ["a"])))
    once.close()
    with pytest.raises(NotConnected, match="closed"):
        once.publish("a", 1)
    with pytest.raises(NotConnected, match="closed"):
        once.run(print, durable="a")
    once.stop()


def test_whoever_publishes_while_it_is_closed_is_not_left_waiting(monkeypatch):
    """Closing ends what is under way in other threads, and two may close at once."""
    blocking = Blocking(lambda: AtLeastOnce("nats://127.0.0.1:1", Stream("A", ["a"])))
    begun = threading.Event()

    async def never(*_, **__):
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(blocking._guarantee, "publish", never)
    with ThreadPoolExecutor(3) as threads:
        publishing = threads.submit(blocking.publish, "a")
        assert begun.wait(BOUND)
        for closing in [threads.submit(blocking.close) for _ in range(2)]:
            closing.result(BOUND)
        with pytest.raises(CancelledError):
            publishing.result(BOUND)


def test_example(server, tmp_path):
    """It runs, again too, is short, and moves a subject between guarantees in one line."""
    example = ROOT / "examples" / "durable.py"
    assert len(example.read_text(encoding="utf-8").splitlines()) <= 30
    booked = set()
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(example), server.url],
            env=environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * BOUND,
        )
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert lines[0].startswith("refused: subject 'payments.captured' must be delivered")
        assert [line.partition("duplicate=")[2] for line in lines[1:3]] == ["False)", "True)"]
        assert re.fullmatch(r"booked: order-\d+, 12\.5 EUR", lines[3])
        booked.update(lines[3:])
    assert len(booked) == 2
