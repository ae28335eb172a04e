"""Cost of logging one record through `LogHandler` and through handlers of the standard library, interleaved in one run.

    python -m benchmarks.uses_logs [--repetitions 15] [--calls 5000] [--json]

Each figure is processor time per record (µs), of the thread that logs and of the whole process, which includes the work of
other threads. It is the median over the repetitions, and the minimum, which is the cost without disturbance. The record is
made anew each time by the same `Logger.info("… %s …", …)`.
`null` is a handler that does nothing: the cost of making a record.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import queue
import socket
import statistics
import threading
import time
from pathlib import Path
from typing import Self

import atmost
from benchmarks.common import arguments


class Nothing(logging.Handler):
    """Takes records and drops them."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Does the least that a handler can do."""
        return bool(record)


def main() -> None:
    """Measures, and prints a table or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--repetitions", type=int, default=15, help="interleaved runs of every handler (%(default)s)")
    parser.add_argument("--calls", type=int, default=5000, help="records in one repetition (%(default)s)")
    options = parser.parse_args()
    with Sink() as sink, Path(os.devnull).open("w", encoding="utf-8") as null:
        drained: queue.Queue[logging.LogRecord] = queue.Queue()
        listener = logging.handlers.QueueListener(drained, Nothing())
        listener.start()
        handlers: dict[str, logging.Handler] = {
            "null": Nothing(),
            "atmost.LogHandler": atmost.LogHandler(f"udp://127.0.0.1:{sink.port}"),
            "atmost.LogHandler, 1432-byte datagrams": atmost.LogHandler(
                {"url": f"udp://127.0.0.1:{sink.port}", "max_datagram": 1432}
            ),
            "atmost.LogHandler, with 2 fields": atmost.LogHandler(f"udp://127.0.0.1:{sink.port}"),
            "atmost.LogHandler, drop=oldest": atmost.LogHandler(f"udp://127.0.0.1:{sink.port}", drop="oldest"),
            "StreamHandler to /dev/null": logging.StreamHandler(null),
            "QueueHandler": logging.handlers.QueueHandler(drained),
            "DatagramHandler": logging.handlers.DatagramHandler("127.0.0.1", sink.port),
            "SysLogHandler": logging.handlers.SysLogHandler(("127.0.0.1", sink.port)),
        }
        rows = measure(handlers, options.repetitions, options.calls)
        listener.stop()
        for handler in handlers.values():
            handler.close()
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{'handler':42} {'thread':>8} {'least':>8} {'process':>8}   µs a record")
    for name, row in rows.items():
        print(f"{name:42} {row['thread']:8.2f} {row['thread_least']:8.2f} {row['process']:8.2f}")


def measure(handlers: dict[str, logging.Handler], repetitions: int, calls: int) -> dict[str, dict[str, float]]:
    """Microseconds of each handler."""
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in handlers}
    for _ in range(repetitions):
        for name, handler in handlers.items():
            runs[name].append(once(handler, calls, fields="fields" in name))
    return {
        name: {
            "thread": statistics.median(thread for thread, _ in costs),
            "thread_least": min(thread for thread, _ in costs),
            "process": statistics.median(process for _, process in costs),
        }
        for name, costs in runs.items()
    }


def once(handler: logging.Handler, calls: int, *, fields: bool) -> tuple[float, float]:
    """Microseconds a record, of this thread and of the process."""
    logger = logging.Logger("shop.checkout", level=logging.INFO)  # noqa: LOG001  it must know no other handler
    logger.addHandler(handler)
    extra = {"order": 4711, "customer": "c-17"} if fields else None
    process, thread = time.process_time_ns(), time.thread_time_ns()
    for number in range(calls):
        logger.info("order %d of %s took %.3f s", number, "customer", 0.25, extra=extra)
    thread_spent = time.thread_time_ns() - thread
    handler.flush()
    time.sleep(0.01)
    return thread_spent / calls / 1e3, (time.process_time_ns() - process) / calls / 1e3


class Sink:
    """A socket in a process of its own, so that reading it costs this process nothing."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.pid = 0

    def __enter__(self) -> Self:
        self.pid = os.fork()
        if not self.pid:
            parent = os.getppid()
            threading.Thread(target=self._end_with, args=(parent,), daemon=True).start()
            while True:
                self.sock.recv(65_536)
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        self.sock.close()

    @staticmethod
    def _end_with(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(0)


if __name__ == "__main__":
    main()
