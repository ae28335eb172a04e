"""A cache that is told what changes, over a link that loses a quarter: a lost hint costs a reload, never a stale page."""

import threading
import time
from random import Random

import atmost
from atmost.lab.faults import FaultRules, LinkFaults
from atmost.lab.link import Link

prices = {f"item:{number}": 0 for number in range(200)}
faults = FaultRules(LinkFaults(loss=0.25, duplicate=0.1), Random(7))
ended = threading.Event()

with atmost.Receiver("udp://127.0.0.1:0") as receiver, Link(receiver.url, faults) as link:
    threading.Thread(target=link.run, args=(ended.is_set,)).start()
    cache = atmost.HintedCache(max_ttl=300, receiver=receiver, grace=0.2)
    with atmost.Sender(link.url, name="shop") as sender, atmost.Invalidator(sender, interval=0.2) as hints:
        for turn in range(40):
            changed = f"item:{turn % 20}"
            prices[changed] += 1  # commit first, then send the hint
            hints.invalidate(changed)
            shown = {item: cache.get_or_load(item, lambda item=item: prices[item]) for item in prices}
            time.sleep(0.03)
        time.sleep(cache.staleness_bound)
        wrong = [item for item in prices if cache.get_or_load(item, lambda item=item: prices[item]) != prices[item]]
        print(f"stale after {cache.staleness_bound:g} s: {len(wrong)}; {cache.stats()}")
    ended.set()
    cache.close()
