"""Logs over a link that loses a tenth of all datagrams: missing records are reported by level, where they are missing."""

import logging
import time
from random import Random

import atmost
from atmost.lab.faults import FaultRules, LinkFaults
from atmost.lab.link import Link
from atmost.logs import LogGap, display_lines, read

receiver = atmost.Receiver("udp://127.0.0.1:0")
reader, records, lost = atmost.LogReader(now=time.monotonic(), grace=0.2), 0, 0
with Link(receiver.url, FaultRules(LinkFaults(loss=0.1, duplicate=0.1), Random(7))) as link:
    handler = atmost.LogHandler({"url": link.url, "name": "shop", "max_datagram": 1432})
    (logger := logging.getLogger("orders")).addHandler(handler)
    for number in range(1000):
        logger.log(logging.ERROR if number % 50 == 0 else logging.WARNING, "order %d", number)
        link.step(0.001)
    handler.close()
    link.drain()
for found in read(receiver, reader):
    records += not isinstance(found, LogGap)
    if isinstance(found, LogGap):
        lost += found.lost
        print(*display_lines(found))
    if records + lost >= 1000:
        break
print(f"1000 logged, {records} received, {lost} known to be missing")
receiver.close()
