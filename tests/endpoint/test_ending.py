"""A process that ends says goodbye, also one that multiprocessing started, which runs no function of atexit."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from atmost import Receiver
from tests.real import BOUND, run, until

PROGRAM = """
import multiprocessing, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import atmost

def ten(sender):
    for number in range(10):
        sender.send("child", number)

def inherited(_url):
    ten(sender)

def constructed(url):
    global sender
    sender = atmost.Sender(url, linger=60)
    ten(sender)

def threads(url):
    global pool
    constructed(url)
    pool = ThreadPoolExecutor(1)
    pool.submit(ten, sender).result()
    threading.Thread(target=lambda: (time.sleep(0.2), ten(sender))).start()

def failed(url):
    constructed(url)
    raise SystemExit(3)

if __name__ == "__main__":
    how, work, url = sys.argv[1:]
    if how == "fork":
        sender = atmost.Sender(url, linger=60)
    child = multiprocessing.get_context(how).Process(target=globals()[work], args=(url,))
    child.start()
    child.join(30)
    assert child.exitcode == (3 if work == "failed" else 0), child.exitcode
"""


@contextmanager
def counting() -> Iterator[tuple[str, list[object]]]:
    """Receive until every session that began has ended; yields the address and the payloads."""
    payloads: list[object] = []
    with Receiver("udp://127.0.0.1:0", clock_guard=0, grace=0) as receiver:
        consumer = threading.Thread(target=receiver.run, args=(lambda message: payloads.append(message.payload),))
        consumer.start()
        yield receiver.url, payloads
        until(lambda: bool(receiver.ledger().sessions))
        until(lambda: all(session.tail == "closed" for session in receiver.ledger().sessions))
        until(lambda: not receiver.ledger().queued)
        assert receiver.ledger().lost == 0
    consumer.join(BOUND)


@pytest.mark.parametrize(
    ("how", "work", "count"),
    [
        ("fork", "inherited", 10),
        ("fork", "constructed", 10),
        ("fork", "threads", 30),
        ("fork", "failed", 10),
        ("spawn", "constructed", 10),
        ("spawn", "threads", 30),
    ],
)
def test_a_child_of_multiprocessing_hands_over_what_waits(tmp_path: Path, how: str, work: str, count: int) -> None:
    """Under every start method, whoever made the sender, and when its threads have ended; nothing waits for its linger."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    with counting() as (url, payloads):
        run(
            f"import runpy, sys; sys.argv[0] = {str(program)!r}; runpy.run_path(sys.argv[0], run_name='__main__')",
            how,
            work,
            url,
        )
    assert sorted(payloads, key=str) == sorted([*range(10)] * (count // 10), key=str)
