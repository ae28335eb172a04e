"""Real senders, receivers and threads over the lossy link; and the example."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from random import Random

from atmost import HintedCache, Invalidator, Receiver, Sender
from atmost.lab.faults import FaultRules, LinkFaults
from atmost.lab.link import Link
from tests.real import environment, until

ROOT = Path(__file__).parents[2]


def test_every_change_shows_in_the_end():
    """Through loss, duplicates and reordering: what the cache serves once the last mark came is what is true."""
    faults = FaultRules(LinkFaults(loss=0.3, duplicate=0.1, reorder=0.2, reorder_delay=0.01), Random(5))
    truth = {f"k{number}": 0 for number in range(120)}
    ended = threading.Event()
    with Receiver("udp://127.0.0.1:0") as receiver, Link(receiver.url, faults) as link:
        thread = threading.Thread(target=link.run, args=(ended.is_set,))
        thread.start()
        cache = HintedCache(300, receiver=receiver, grace=0.1)
        with Sender(link.url, linger=0) as sender, Invalidator(sender, interval=0.1) as invalidator:
            until(lambda: cache.invalidators == 1)
            for turn in range(120):
                shown(cache, truth)
                changed = f"k{turn}"
                truth[changed] += 1
                invalidator.invalidate(changed)
            until(lambda: told(cache) == 120)
            bound = cache.staleness_bound
            time.sleep(bound)  # the promise is about time: nothing staler than this is served
            assert shown(cache, truth) == truth
        counts = cache.stats()
        cache.close()
        ended.set()
        thread.join()
    assert bound == 0.5
    assert counts.hints_lost > 5
    assert counts.hits > 5_000


def shown(cache, truth):
    """What the cache serves, or loads."""
    return {key: cache.get_or_load(key, lambda key=key: truth[key]) for key in list(truth)}


def told(cache):
    """Hints that came, or are known to be lost."""
    counts = cache.stats()
    return counts.hints_lost + sum(counts.hints_by_kind.values())


def test_example():
    """It runs, is short, and serves nothing stale."""
    path = ROOT / "examples" / "hints.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 30
    done = subprocess.run(
        [sys.executable, path], env=environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("stale after 1 s: 0;")
