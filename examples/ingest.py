"""A program that logs to syslog and counts with StatsD, and parsers that read both; the program needs no change."""

import logging
import socket
import time
from logging.handlers import SysLogHandler

from atmost.ingest import statsd, syslog

with socket.socket(type=socket.SOCK_DGRAM) as logs, socket.socket(type=socket.SOCK_DGRAM) as metrics:
    for sock in (logs, metrics):
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)

    logger = logging.getLogger("shop")
    logger.addHandler(SysLogHandler(logs.getsockname()))
    logger.warning("stock of %s is low", "tea")
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.sendto(b"orders:3|c|@0.5|#shop:berlin\norders:many|c", metrics.getsockname())

    datagram, (host, _) = logs.recvfrom(65_536)
    record = syslog.parse(datagram, host, time.time())
    print(record.level, record.host, record.message, *record.notes)

    read = statsd.parse(metrics.recv(65_536))
    print(read.metrics[0].name, read.metrics[0].total, read.metrics[0].tags)
    print(read.rejected[0].reason, read.rejected[0].sample)
    logger.handlers[0].close()
