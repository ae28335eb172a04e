"""What a line, a reading or a record costs the collector, beside npm's statsd under the same traffic where that is installed.

Counted is the processor time of all threads of each process, in the kernel too, less what it spends without traffic, for each line
that its socket did not drop. Both processes run at the same time, and get the same prepared datagrams one after the other, paced.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from atmost.bench.systems import TurnFailed

DATAGRAM: Final = 1432
"""Bytes of a packed datagram, at most."""
RATE: Final = 20_000.0
"""Lines a second."""
SETTINGS: Final = (
    f"statsd with a backend that does nothing; {RATE:,.0f} lines a second, records and syslog lines a quarter of that"
)
_PAUSE: Final = 0.002
"""Between two bursts, seconds."""
_SETTLING: Final = 0.3
"""What is still on its way has this long to be taken, seconds."""
_PATIENCE: Final = 30.0
_SERIES: Final = 60
_LINES: Final = 3000
_BACKEND: Final = "exports.init = function () { return true; };\n"

TRAFFIC: Final = (
    "StatsD lines, packed", "StatsD lines, alone", "DogStatsD lines, packed", "DogStatsD lines, alone", "syslog lines",
    "readings of ours", "records of ours",
)  # fmt: skip
"""What is sent, as the table names it."""

Datagrams = list[tuple[bytes, int]]
"""Each with the number of its lines."""


def statsd_lines() -> list[bytes]:
    """Counters by one, timers and gauges of many values: what an instrumented service writes."""
    lines = []
    for number in range(_LINES):
        which = number * 7 % _SERIES
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


def syslog_lines() -> list[bytes]:
    """What Python's handler and a daemon write."""
    return [
        b"<134>order %d taken\0" % number
        if number % 2
        else b"<134>Jan  1 00:00:00 web-3 shop[4711]: order %d taken" % number
        for number in range(1000)
    ]


def packed(lines: list[bytes]) -> Datagrams:
    """Datagrams of as many lines as fit."""
    made, size, begin = [], -1, 0
    for place, line in enumerate(lines):
        if size + 1 + len(line) > DATAGRAM:
            made.append((b"\n".join(lines[begin:place]), place - begin))
            size, begin = -1, place
        size += 1 + len(line)
    return made


def alone(lines: list[bytes]) -> Datagrams:
    """Datagrams of one line."""
    return [(line, 1) for line in lines]


def send_paced(datagrams: Datagrams, port: int, rate: float, seconds: float) -> int:
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
            time.sleep(_PAUSE)
    return sent


def send_ours(payload: Callable[[int], tuple[str, Any]], url: str, rate: float, seconds: float) -> int:
    """Sends messages of ours at a rate; returns how many."""
    from atmost.endpoint.sender import Sender

    sent = 0
    with Sender(url, name="bench") as sender:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            while sent < passed * rate:
                sender.send(*payload(sent))
                sent += 1
            time.sleep(_PAUSE)
    return sent


def send_records(url: str, rate: float, seconds: float) -> int:
    """Logs records at a rate; returns how many."""
    from atmost.endpoint.sender import Sender
    from atmost.logs.handler import LogHandler

    sent = 0
    logger = logging.Logger("bench")  # noqa: LOG001  of this measurement alone
    with Sender(url, name="bench-logs") as sender:
        handler = LogHandler(sender)
        logger.addHandler(handler)
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            while sent < passed * rate:
                sent += 1
                logger.info("request %d served", sent)
            time.sleep(_PAUSE)
        logger.removeHandler(handler)
        handler.close()
    return sent


def reading(number: int) -> tuple[str, float]:
    """One of twenty plain readings."""
    return f"metrics.plain_{number % 20}", float(number)


def cpu(pid: int) -> float:
    """Processor time of all threads of a process so far (s)."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
        except OSError:
            continue  # this thread has just ended
    return total / 1e9


def dropped(port: int) -> int | None:
    """Datagrams that the kernel dropped at a port of this host; None where nobody listens."""
    for line in Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]:
        parts = line.split()
        if int(parts[1].partition(":")[2], 16) == port:
            return int(parts[-1])
    return None


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Measured:
    """A process whose processor time is measured."""

    def __init__(self, child: subprocess.Popen[bytes], ports: dict[str, int]) -> None:
        """Args: child: listens by now. ports: of each protocol."""
        self._child, self.ports = child, ports
        self.pid = child.pid
        self.idle = 0.0
        """Processor time a second without traffic (s)."""
        self.dropped = 0
        """Datagrams that its sockets dropped."""

    def rest(self, seconds: float) -> None:
        """Measures what it spends without traffic."""
        before = cpu(self.pid)
        time.sleep(seconds)
        self.idle = (cpu(self.pid) - before) / seconds

    def cost(self, send: Callable[[], int], port: int | None = None, lines_each: float = 1.0) -> float:
        """Processor time for each line that reached it (µs).

        Args:
            send: sends, and returns the number of lines.
            port: where the kernel counts the datagrams that it dropped.
            lines_each: lines of a datagram.
        """
        before, lost, began = cpu(self.pid), 0 if port is None else dropped(port) or 0, time.monotonic()
        lines: float = send()
        time.sleep(_SETTLING)
        spent = cpu(self.pid) - before - self.idle * (time.monotonic() - began)
        if port is not None:
            drops = (dropped(port) or 0) - lost
            self.dropped += drops
            lines -= drops * lines_each
        if lines <= 0:
            raise TurnFailed("every datagram was dropped")
        return max(0.0, spent) / lines * 1e6

    def close(self) -> None:
        """Ends the process, by force where asking does not do."""
        self._child.terminate()
        try:
            self._child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def start_collector(folder: Path, source: Path | None = None) -> Measured:
    """A collector on free ports of this host.

    Args:
        folder: for what it writes.
        source: the src folder of another checkout; None takes this one.
    """
    said = folder / f"collector{'' if source is None else '-before'}.jsonl"
    environment = None if source is None else {**os.environ, "PYTHONPATH": str(source)}
    listeners = [part for kind in ("statsd", "syslog") for part in (f"--{kind}", "127.0.0.1:0")]
    command = [sys.executable, "-m", "atmost", "collect", "--json", "--bind", "udp://127.0.0.1:0", *listeners]
    with said.open("wb") as out:
        child = subprocess.Popen(
            [*command, "--gelf", "off", "--http", "off", "--set", "state_dir=off"],
            stdout=out,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
    deadline = time.monotonic() + _PATIENCE
    while not (lines := said.read_bytes().splitlines(keepends=True)) or not lines[0].endswith(b"\n"):
        if child.poll() is not None or time.monotonic() > deadline:
            child.kill()
            child.wait()
            raise TurnFailed("the collector does not listen")
        time.sleep(0.05)
    places = {each["kind"]: each["url"] for each in json.loads(lines[0])["addresses"]}
    return Measured(child, {kind: int(url.rstrip("/").rpartition(":")[2]) for kind, url in places.items()})


def find_statsd() -> Path | None:
    """npm's statsd, where a folder above this one or npm's global folder has it."""
    npm = shutil.which("npm")
    if shutil.which("node") is None:
        return None
    here = Path.cwd()
    folders = [each / "node_modules" for each in (here, *here.parents)]
    if npm is not None:
        done = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=False)
        folders += [Path(done.stdout.strip())] if done.stdout.strip() else []
    return next((each / "statsd" for each in folders if (each / "statsd" / "stats.js").is_file()), None)


def start_statsd(package: Path, folder: Path) -> Measured:
    """npm's statsd on free ports of this host, with a backend that does nothing and its default interval."""
    backend, config = folder / "nothing.js", folder / "statsd.js"
    port, admin = free_port(), free_port()
    backend.write_text(_BACKEND, encoding="ascii")
    place = {"port": port, "mgmt_port": admin, "address": "127.0.0.1", "mgmt_address": "127.0.0.1"}
    config.write_text(json.dumps({**place, "backends": [str(backend)]}), encoding="utf-8")
    node = shutil.which("node") or "node"
    child = subprocess.Popen(
        [node, str(package / "stats.js"), str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + _PATIENCE
    while dropped(port) is None:
        if child.poll() is not None or time.monotonic() > deadline:
            child.kill()
            child.wait()
            raise TurnFailed("statsd does not listen")
        time.sleep(0.05)
    return Measured(child, {"statsd": port})


class Collecting:
    """A collector, and statsd beside it where it is installed."""

    def __init__(self, folder: Path, seconds: float) -> None:
        """Args: folder: for their files. seconds: of each traffic in a turn."""
        if not Path("/proc/self/task").is_dir():
            raise TurnFailed("this system has no /proc: processor time of threads cannot be read")
        self._seconds = seconds
        self._peer: Measured | None = None
        self.without_peer = ""
        """Why there is no statsd; empty where there is one."""
        self._collector = start_collector(folder)
        try:
            package = find_statsd()
            if package is None:
                self.without_peer = "node and npm's package statsd are not installed"
            else:
                self._peer = start_statsd(package, folder)
        except TurnFailed as error:
            self.without_peer = str(error)
        except BaseException:
            self._collector.close()
            raise
        for each in self._measured():
            each.rest(max(0.5, seconds))

    @property
    def pid(self) -> int:
        """The collector's process."""
        return self._collector.pid

    def turns(self) -> dict[str, Callable[[], dict[str, float]]]:
        """What can be measured, by name."""
        ours, rate, seconds = self._collector, RATE, self._seconds
        url = f"udp://127.0.0.1:{ours.ports['atmost']}"
        syslog = alone(syslog_lines())
        takes = (
            lambda: self._lines(packed(statsd_lines())),
            lambda: self._lines(alone(statsd_lines())),
            lambda: self._lines(packed(dogstatsd_lines())),
            lambda: self._lines(alone(dogstatsd_lines())),
            lambda: _only(
                ours.cost(lambda: send_paced(syslog, ours.ports["syslog"], rate / 4, seconds), ours.ports["syslog"])
            ),
            lambda: _only(ours.cost(lambda: send_ours(reading, url, rate, seconds))),
            lambda: _only(ours.cost(lambda: send_records(url, rate / 4, seconds))),
        )
        return dict(zip(TRAFFIC, takes, strict=True))

    def close(self) -> None:
        """Ends the collector, and the peer where there is one."""
        for each in self._measured():
            each.close()

    def _measured(self) -> list[Measured]:
        return [self._collector, *([] if self._peer is None else [self._peer])]

    def _lines(self, datagrams: Datagrams) -> dict[str, float]:
        lines_each = sum(lines for _, lines in datagrams) / len(datagrams)

        def cost(one: Measured) -> float:
            port = one.ports["statsd"]
            return one.cost(lambda: send_paced(datagrams, port, RATE, self._seconds), port, lines_each)

        found = {"collector_us": cost(self._collector)}
        if self._peer is not None:
            found["statsd_us"] = cost(self._peer)
            if found["statsd_us"]:
                found["share_of_statsd"] = found["collector_us"] / found["statsd_us"]
        return found


def _only(cost: float) -> dict[str, float]:
    return {"collector_us": cost}
