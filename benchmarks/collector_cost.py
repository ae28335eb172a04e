"""What a line costs the collector, beside npm's statsd 0.9 under the same traffic: CPU time of the process for each line, and the ratio.

    python -m benchmarks.collector_cost [--rounds 5] [--seconds 3] [--rate 20000] [--npm DIR] [--source DIR] [--json]

Both run at the same time, and get the same prepared datagrams in turn, paced, from one process. Counted is the CPU time of all
threads of each process by `/proc` (in the kernel too), less what it spends without traffic; the figures are medians of the rounds.
A round in which a socket dropped something says so. statsd has a backend that does nothing, and its default interval.
`alone` is one line in a datagram, `packed` as many as fit 1432 bytes.
Readings, records and syslog lines of the collector are measured in the same way, without a peer.
`--source DIR` also measures a collector of another checkout's `src`: the commit before, in `git worktree add DIR COMMIT`.

`--npm DIR` is a folder with `node_modules/statsd`; without it `npm install statsd@0.9` is run in a temporary one, and where there is
no npm, statsd's columns stay empty.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

from benchmarks.collector import Collector
from benchmarks.common import arguments, show

DATAGRAM = 1432
PAUSE = 0.002
"""Between two bursts (s)."""
SERIES = 60
BACKEND = "exports.init = function () { return true; };\n"
CONFIG = (
    '{{port: {port}, mgmt_port: {admin}, address: "127.0.0.1", mgmt_address: "127.0.0.1", backends: ["{backend}"]}}'
)


def statsd_lines() -> list[bytes]:
    """Counters by one, timers and gauges of many values: what an instrumented service writes."""
    lines = []
    for number in range(3000):
        which = number * 7 % SERIES
        if which % 3 == 0:
            lines.append(b"shop.page_%d.views:1|c" % which)
        elif which % 3 == 1:
            lines.append(b"shop.page_%d.load:%d.%02d|ms" % (which, number * 37 % 900, number % 100))
        else:
            lines.append(b"shop.page_%d.open:%d|g" % (which, number * 13 % 500))
    return lines


def dogstatsd_lines() -> list[bytes]:
    """The same with four tags."""
    tags = b"|#env:prod,host:web-3,route:/cart,code:200"
    return [line + tags for line in statsd_lines()]


def packed(lines: list[bytes]) -> list[tuple[bytes, int]]:
    """Datagrams of as many lines as fit, each with their number."""
    made, size, begin = [], -1, 0
    for place, line in enumerate(lines):
        if size + 1 + len(line) > DATAGRAM:
            made.append((b"\n".join(lines[begin:place]), place - begin))
            size, begin = -1, place
        size += 1 + len(line)
    return made


def alone(lines: list[bytes]) -> list[tuple[bytes, int]]:
    """Datagrams of one line."""
    return [(line, 1) for line in lines]


def syslog_lines() -> list[bytes]:
    """What Python's handler and a daemon write."""
    return [
        b"<134>order %d taken\0" % number
        if number % 2
        else b"<134>Jan  1 00:00:00 web-3 shop[4711]: order %d taken" % number
        for number in range(1000)
    ]


class Statsd:
    """npm's statsd in a process of its own."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        backend, config = scratch / "nothing.js", scratch / "config.js"
        self.port, admin = free_port(), free_port()
        backend.write_text(BACKEND, encoding="ascii")
        config.write_text(CONFIG.format(port=self.port, admin=admin, backend=backend), encoding="ascii")
        self.child = subprocess.Popen(
            ["node", str(folder / "node_modules/statsd/stats.js"), str(config)], stdout=subprocess.DEVNULL
        )
        self.pid = self.child.pid

    def __enter__(self) -> Self:
        while dropped(self.port) is None:
            if self.child.poll() is not None:
                raise SystemExit("statsd ended")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.child.terminate()
        self.child.wait(10)


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def dropped(port: int) -> int | None:
    """Datagrams that the kernel dropped at a port of this host; None where nobody listens."""
    for line in Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]:
        parts = line.split()
        if int(parts[1].partition(":")[2], 16) == port:
            return int(parts[-1])
    return None


def cpu(pid: int) -> float:
    """CPU time of all threads of a process (s)."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
        except OSError:
            continue  # this thread has just ended
    return total / 1e9


def send_paced(datagrams: list[tuple[bytes, int]], port: int, rate: float, seconds: float) -> int:
    """Sends datagrams at a rate of lines a second; returns how many lines they were."""
    sent, place = 0, 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            while sent < passed * rate:
                data, lines = datagrams[place]
                sock.send(data)
                sent += lines
                place = (place + 1) % len(datagrams)
            time.sleep(PAUSE)
    return sent


def send_ours(payload: Callable[[int], tuple[str, Any]], url: str, rate: float, seconds: float) -> int:
    """Sends messages of ours at a rate; returns how many."""
    import atmost

    sent = 0
    with atmost.Sender(url, name="bench") as sender:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            while sent < passed * rate:
                sender.send(*payload(sent))
                sent += 1
            time.sleep(PAUSE)
    return sent


def send_records(url: str, rate: float, seconds: float) -> int:
    """Logs records at a rate; returns how many."""
    import logging

    import atmost

    sent = 0
    logger = logging.Logger("bench")  # noqa: LOG001  of this process alone
    with atmost.Sender(url, name="bench-logs") as sender:
        handler = atmost.LogHandler(sender)
        logger.addHandler(handler)
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            while sent < passed * rate:
                sent += 1
                logger.info("request %d served", sent)
            time.sleep(PAUSE)
        logger.removeHandler(handler)
        handler.close()
    return sent


def idle_cost(pid: int, seconds: float) -> float:
    """CPU time a second without traffic (s)."""
    before = cpu(pid)
    time.sleep(seconds)
    return (cpu(pid) - before) / seconds


def statsd_folder(given: Path | None, scratch: Path) -> Path | None:
    """Where `node_modules/statsd` is; installs it where npm is there."""
    if given is not None:
        return given
    if shutil.which("npm") is None or shutil.which("node") is None:
        return None
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(scratch), "statsd@0.9"],
        env=os.environ.copy(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return scratch


class Subject:
    """A process that is measured."""

    def __init__(self, name: str, pid: int, ports: dict[str, int]) -> None:
        self.name, self.pid, self.ports = name, pid, ports
        self.url = f"udp://127.0.0.1:{ports['atmost']}" if "atmost" in ports else ""
        self.idle = 0.0
        self.costs: dict[str, list[float]] = {}
        self.dropped: dict[str, int] = {}

    def measure(self, name: str, send: Callable[[], int], port: int | None = None, lines_each: float = 1.0) -> None:
        """Adds the CPU time for each line that reached it (µs).

        Args:
            name: of the traffic.
            send: sends, and returns the number of lines.
            port: where the kernel counts the datagrams that it dropped.
            lines_each: lines of a datagram.
        """
        before, lost, began = cpu(self.pid), 0 if port is None else dropped(port) or 0, time.monotonic()
        lines: float = send()
        time.sleep(0.3)
        spent = cpu(self.pid) - before - self.idle * (time.monotonic() - began)
        if port is not None:
            drops = (dropped(port) or 0) - lost
            lines -= drops * lines_each
            self.dropped[name] = self.dropped.get(name, 0) + drops
        self.costs.setdefault(name, []).append(spent / lines * 1e6)


def compare(options: Any) -> list[dict[str, Any]]:
    """All measurements, in turn."""
    plain, tagged = statsd_lines(), dogstatsd_lines()
    traffic = {
        "StatsD lines, packed": packed(plain),
        "StatsD lines, alone": alone(plain),
        "DogStatsD lines, packed": packed(tagged),
        "DogStatsD lines, alone": alone(tagged),
    }
    seconds, rate = options.seconds, options.rate
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = statsd_folder(options.npm, scratch)
        subjects = []
        for name, source in (("collector", None), ("before", options.source)):
            if name == "collector" or source is not None:
                one = stack.enter_context(Collector(source))
                subjects.append(Subject(name, one.child.pid, one.ports))
        if folder is not None:
            peer = stack.enter_context(Statsd(folder, scratch))
            subjects.append(Subject("statsd", peer.pid, {"statsd": peer.port}))
        time.sleep(2.0)
        for each in subjects:
            each.idle = idle_cost(each.pid, 2.0)
        for _ in range(options.rounds):
            for name, datagrams in traffic.items():
                if not options.only or any(part in name for part in options.only):
                    lines_each = sum(lines for _, lines in datagrams) / len(datagrams)
                    for each in subjects:
                        port = each.ports["statsd"]
                        each.measure(name, partial(send_paced, datagrams, port, rate, seconds), port, lines_each)
            for each in subjects:
                if each.url:
                    for name, send in others(each, rate, seconds).items():
                        if not options.only or any(part in name for part in options.only):
                            each.measure(name, send)
        return [row(name, subjects) for name in subjects[0].costs]


def others(to: Subject, rate: float, seconds: float) -> dict[str, Callable[[], int]]:
    """Traffic that npm's statsd does not know."""
    return {
        "syslog lines": partial(send_paced, alone(syslog_lines()), to.ports["syslog"], rate / 4, seconds),
        "readings of ours": partial(send_ours, reading, to.url, rate, seconds),
        "records of ours": partial(send_records, to.url, rate / 4, seconds),
        "other messages of ours": partial(send_ours, lambda n: ("orders.viewed", n), to.url, rate, seconds),
    }


def reading(number: int) -> tuple[str, float]:
    """One of twenty plain readings."""
    return f"metrics.plain_{number % 20}", float(number)


def row(name: str, subjects: list[Subject]) -> dict[str, Any]:
    """Medians, and the medians of the ratios within the rounds."""
    found: dict[str, Any] = {"traffic": name}
    mine = subjects[0].costs[name]
    for each in subjects:
        costs = each.costs.get(name)
        found[f"{each.name}_us"] = None if costs is None else statistics.median(costs)
    for each in subjects[1:]:
        costs = each.costs.get(name)
        ratio = None if costs is None else statistics.median(a / b for a, b in zip(mine, costs, strict=True))
        found[f"ratio_to_{each.name}"] = ratio
    return found | {"dropped": sum(each.dropped.get(name, 0) for each in subjects)}


def main() -> None:
    """Measures, and prints a table or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of everything in turn (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of each traffic in a round (%(default)s)")
    parser.add_argument("--rate", type=float, default=20_000.0, help="lines a second (%(default)s)")
    parser.add_argument("--source", type=Path, help="the src folder of another checkout, measured as `before`")
    parser.add_argument("--npm", type=Path, help="a folder with node_modules/statsd")
    parser.add_argument("--only", nargs="+", default=[], help="run only traffic whose name contains one of these")
    options = parser.parse_args()
    show(compare(options), as_json=options.json)


if __name__ == "__main__":
    main()
