"""What loss does to logs: records through links that lose, by `atmost.LogHandler` and by the standard library's `DatagramHandler`.

    python -m benchmarks.loss_logs [--loss 0 1 5 30 60] [--seconds 6] [--seed 1] [--json]

Real senders and receivers over UDP on loopback, each through a link of its own with the same faults and seed: loss, 5 %
duplicates, 10 % reordered. Records of four levels, one in a hundred larger than a datagram, and readings of metrics on
the same socket. Then the link heals and the handler is closed. The reader's reports are compared with the records logged and
those that came out of the receiver: every record once, every missing one in exactly one gap, by level, in its place.
"""

from __future__ import annotations

import itertools
import logging
import logging.handlers
import socket
import threading
import time
from collections import Counter
from random import Random
from typing import Any

import atmost
from atmost.logs import LogGap, LogRecord
from benchmarks.common import arguments, show
from benchmarks.lossy_path import LossyPath

LEVELS = (logging.DEBUG, logging.INFO, logging.INFO, logging.INFO, logging.WARNING, logging.ERROR)
LARGE = 100
"""One record in this many is larger than a datagram."""
SIZE = 4000
Found = LogRecord | LogGap


class Reading:
    """A receiver and a reader in their own thread; keeps what arrived and what was reported."""

    def __init__(self) -> None:
        self.receiver = atmost.Receiver("udp://127.0.0.1:0")
        self.reader = atmost.LogReader(now=time.monotonic())
        self.came: set[int] = set()
        """Numbers of records of which at least a part came out of the receiver."""
        self.told: list[Found] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """Stops once everything has been reported."""
        self._ended.set()
        self._thread.join()
        self.told += self.reader.close(time.monotonic())
        self.receiver.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            event = self.receiver.next_event(0.05)
            now = time.monotonic()
            if event is None:
                self.told += self.reader.tick(now)
                continue
            if isinstance(event, atmost.Message) and event.subject.startswith("logs.app"):
                self.came.add(sum(event.payload["prior"].values()))
            self.told += self.reader.feed(event, now)


def check(told: list[Found], logged: list[str], came: set[int]) -> dict[str, Any]:
    """Compares the reports with the truth.

    Args:
        told: the reader's reports, in order.
        logged: the level of each record, by number.
        came: numbers of records of which at least a part arrived.
    """
    missing = set(range(len(logged))) - came
    records = [one for one in told if isinstance(one, LogRecord)]
    numbers = [one.number for one in records if one.number is not None]
    # A later gap of the same place replaces the one before.
    gaps = {one.first: one for one in told if isinstance(one, LogGap)}
    in_gaps: Counter[int] = Counter()
    wrong = 0
    for gap in gaps.values():
        inside = missing & set(range(gap.first, gap.last + 1))
        in_gaps.update(inside)
        truth = Counter(logged[number] for number in inside)
        by_level = {level: count for level, count in (gap.by_level or {}).items() if count}
        wrong += gap.lost != len(inside) or by_level != dict(truth)
    in_order = [one.number for one in records if not one.late and one.number is not None]
    return {
        "records": len(logged),
        "missing": len(missing),
        "in_gaps": sum(gap.lost for gap in gaps.values()),
        "missing_errors": sum(logged[number] == "ERROR" for number in missing),
        "errors_in_gaps": sum((gap.by_level or {}).get("ERROR", 0) for gap in gaps.values()),
        "gaps": len(gaps),
        "wrong_gaps": wrong + sum(count != 1 for count in in_gaps.values()) + len(missing - set(in_gaps)),
        "twice": len(numbers) - len(set(numbers)),
        "untold": len(came - set(numbers)),
        "out_of_order": sum(after <= before for before, after in itertools.pairwise(in_order)),
        "misplaced": misplaced(told),
        "late": sum(one.late for one in records),
        "with_hole": sum(bool(one.hole) for one in records),
    }


def misplaced(told: list[Found]) -> int:
    """Gaps first reported before the records in front of them."""
    count, last, said = 0, -1, set()
    for one in told:
        if isinstance(one, LogRecord):
            last = last if one.late or one.number is None else one.number
        elif one.first not in said:
            said.add(one.first)
            count += last < one.first - 1
    return count


def log(logger: logging.Logger, number: int, chance: Random) -> int:
    """Logs something; returns the level."""
    level = chance.choice(LEVELS)
    if number % LARGE == LARGE - 1:
        logger.log(level, "record %d %s", number, "x" * SIZE, extra={"order": number})
    else:
        logger.log(level, "record %d", number, extra={"order": number})
    return level


class Other:
    """The standard library's side: the records known to have arrived."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(0.05)
        self.count: Counter[bytes] = Counter()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """Stops."""
        self._ended.set()
        self._thread.join()
        self.sock.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self.count[self.sock.recv(65_536)] += 1
            except TimeoutError:
                continue


def run(loss: float, seconds: float, seed: int) -> dict[str, Any]:
    """Measures one loss rate."""
    reading, other = Reading(), Other()
    path = LossyPath(reading.receiver.url, loss, seed)
    other_path = LossyPath(f"udp://127.0.0.1:{other.sock.getsockname()[1]}", loss, seed)
    chance, logged = Random(seed), []
    logger = logging.Logger("app", level=logging.DEBUG)  # noqa: LOG001  it must know no other handler
    with atmost.Sender(path.link.url, name="bench", max_datagram=1432) as sender:
        handler = atmost.LogHandler(sender, mark_interval=1.0)
        logger.addHandler(handler)
        logger.addHandler(logging.handlers.DatagramHandler(*other_path.link.address))
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for _ in range(3):
                logged.append(logging.getLevelName(log(logger, len(logged), chance)))
            sender.send("metrics.queue.depth", len(logged))
            time.sleep(0.005)
        path.heal()
        other_path.heal()
        time.sleep(0.1)
        for one in logger.handlers:
            one.close()
    time.sleep(2.5)
    path.end()
    other_path.end()
    reading.end()
    other.end()
    result = check(reading.told, logged, reading.came)
    result |= {"stdlib_lost": len(logged) - len(other.count), "stdlib_twice": other.count.total() - len(other.count)}
    return {"loss_%": loss * 100} | result


def main() -> None:
    """Runs every loss rate in turn, and prints a table or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--loss", type=float, nargs="+", default=[0, 1, 5, 30, 60], help="percent (%(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=6.0, help="seconds with faults at each loss rate (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the faults and the records (%(default)s)")
    options = parser.parse_args()
    rows = [run(loss / 100, options.seconds, options.seed) for loss in options.loss]
    show(rows, as_json=options.json)


if __name__ == "__main__":
    main()
