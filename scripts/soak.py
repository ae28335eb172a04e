"""Runs a collector under mixed, encrypted load, with kills and restarts in the middle, and fails when an account or a resource is not right.

    make soak [ARGS="--seconds 60"]

Senders of all uses (readings, log records, heartbeats, plain messages) run as processes of their own. Every few seconds one of them ends and
another begins: every third is killed, the others end by a signal and report their own counts. Halfway the collector itself is killed and
started again at the same address. In the end:

* each sender that reported has numbered exactly as many messages as the collector's account says that it sent, and the account balances: delivered,
  lost, dropped by the queue, and sent before the collector that was started again could remember;
* after the restart nothing is lost but what the kernel says it dropped;
* memory, descriptors and threads of the collector are flat from a fifth of each of its lives on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from atmost import Heartbeat, Metrics, Sender
from atmost.core.keys import KeyMode, new_key
from atmost.logs import LogHandler

SENDERS = 4
TURN = 7.0
"""Between two ends of a sender, seconds."""
ROOM = 24 << 20
"""How much memory may grow while histories fill, bytes."""
COLLECT = ["--statsd", "off", "--syslog", "off", "--gelf", "off", "--http", "off", "--set", "state_dir=off"]
COLLECT += ["--set", "max_log_records=500", "--set", "max_series=500"]
"""Tables that fill within the first fifth of a life: what they take would be growth like any other."""


def client(url: str, name: str, key_file: str) -> None:
    """Sends until SIGTERM, then prints how many messages it numbered."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    sender = Sender(url, name=name, key_file=key_file)
    metrics, handler, beat = Metrics(sender, 1.0), LogHandler(sender), Heartbeat(sender, name, interval=0.5)
    counter, timer = metrics.counter("soak_total", "", ("kind",)), metrics.histogram("soak_seconds", "")
    log = logging.getLogger(name)
    log.addHandler(handler)
    log.propagate = False
    beat.start()
    print(flush=True)
    for number in itertools.count():
        if ended.wait(0.01):
            break
        for each in range(random.randint(1, 5)):
            sender.send(f"soak.{each}", {"number": number, "text": "x" * random.randint(0, 200)})
        counter.labels(str(number % 20)).inc()
        timer.observe(random.random())
        log.warning("number %d", number)
    beat.stop()
    log.removeHandler(handler)
    handler.close()
    metrics.close()
    sender.close(2.0)
    stats = sender.stats()
    print(
        json.dumps(
            {"name": name, "handed_over": stats.handed_over, "refused": stats.refused, "dropped": stats.dropped}
        ),
        flush=True,
    )


class Collector:
    """One life of the collector, watched."""

    def __init__(self, url: str, key_file: str) -> None:
        """Starts it, and waits until it listens."""
        command = [sys.executable, "-m", "atmost", "collect", "--json", "--bind", url, "--key-file", key_file, *COLLECT]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        [self.url] = [
            each["url"] for each in json.loads(self._process.stdout.readline())["addresses"] if each["kind"] == "atmost"
        ]
        self._last = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._seen = psutil.Process(self._process.pid)
        self.samples: list[tuple[int, int, int]] = []

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._last = line

    def look(self) -> None:
        """Notes what it uses."""
        self.samples.append((self._seen.memory_info().rss, self._seen.num_fds(), self._seen.num_threads()))

    def end(self, number: signal.Signals) -> dict[str, Any]:
        """Ends it; returns the last that it said: after SIGTERM its account."""
        self._process.send_signal(number)
        self._process.wait()
        self._reader.join()
        said: dict[str, Any] = json.loads(self._last)
        return said

    def kill(self) -> None:
        """Ends it for certain, where something went wrong."""
        self._process.kill()
        self._process.wait()

    def faults(self) -> list[str]:
        """What is not flat."""
        flat = self.samples[len(self.samples) // 5 :]
        grown = max(rss for rss, _, _ in flat) - flat[0][0]
        print(f"memory grew by {grown / 1e6:.1f} MB over {len(flat)} looks, to {flat[-1]}")
        faults = [f"memory grew by {grown / 1e6:.1f} MB"] if grown > ROOM else []
        for at, what in ((1, "descriptors"), (2, "threads")):
            counts = {sample[at] for sample in flat}
            faults += [f"{what}: {min(counts)} to {max(counts)}"] if max(counts) > min(counts) + 1 else []
        return faults


class Soak:
    """The load, and what its senders reported."""

    def __init__(self, seconds: float, folder: Path) -> None:
        """Args: seconds: how long. folder: for the key."""
        self.seconds = seconds
        self.key = folder / "key"
        self.key.touch(0o600)
        self.key.write_text(new_key(os.urandom(32), 7, KeyMode.ENCRYPTED).text() + "\n", encoding="ascii")
        self.running: list[subprocess.Popen[str]] = []
        self.lives: list[Collector] = []
        self.names = (f"soak-{number}" for number in itertools.count())
        self.reports: list[dict[str, Any]] = []
        self.killed = 0

    def begin(self, url: str) -> None:
        """Starts one more sender."""
        command = [sys.executable, __file__, "--client", url, next(self.names), str(self.key)]
        self.running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))

    def finish(self, *, kill: bool = False) -> None:
        """Ends the oldest sender."""
        process = self.running.pop(0)
        assert process.stdout is not None
        process.stdout.readline()  # it sends, and hears signals
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        said, _ = process.communicate()
        self.killed += kill
        if not kill:
            self.reports.append(json.loads(said))

    def run(self) -> list[str]:
        """Runs it; returns what is not right."""
        lives = self.lives
        lives.append(Collector("udp://127.0.0.1:0", str(self.key)))
        url = lives[0].url
        began = time.monotonic()
        before = 0
        turns = restarted = 0.0
        for _ in range(SENDERS):
            self.begin(url)
        while (passed := time.monotonic() - began) < self.seconds:
            time.sleep(0.5)
            lives[-1].look()
            if passed - turns >= TURN:
                turns = passed
                self.finish(kill=random.random() < 1 / 3)
                self.begin(url)
            if passed > self.seconds / 2 and not restarted:
                restarted = passed
                lives[0].end(signal.SIGKILL)
                lives.append(Collector(url, str(self.key)))
                before = len(self.reports)
        while self.running:
            self.finish()
        time.sleep(2.5)
        account = lives[-1].end(signal.SIGTERM)
        return [
            *self.check(account, self.reports[before:]),
            *(f"life {n}: {fault}" for n, life in enumerate(lives) for fault in life.faults()),
        ]

    def check(self, account: dict[str, Any], reports: list[dict[str, Any]]) -> list[str]:
        """The account of the collector that was started again, beside what each sender counted that ended in its life."""
        faults = []
        rows: dict[str, dict[str, Any]] = {row["name"]: row for row in account["sessions"]}
        for report in reports:
            row = rows.get(report["name"])
            sent = None if row is None else row["sent"]
            own = report["handed_over"] + sum(report["refused"].values())
            if sent != own:
                faults.append(f"{report['name']}: it numbered {own}, the account says {sent}")
        parts = ("delivered", "lost", "overflow", "pending", "queued", "discarded")
        if account["sent"] - account["before_join"] != sum(account[part] for part in parts):
            faults.append(f"the account does not balance: {account}")
        if account["lost"] and not account["kernel_drops"]:
            faults.append(f"{account['lost']} lost, and the kernel dropped nothing")
        figures = {part: account[part] for part in ("sent", "before_join", *parts)}
        print(f"{len(self.reports)} senders ended, {self.killed} were killed; {len(reports)} compared; {figures}")
        return faults


def main() -> None:
    """Soaks, and exits with 1 when something is not right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600, help="how long (%(default)s)")
    parser.add_argument("--client", nargs=3, metavar=("URL", "NAME", "KEY_FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        client(*options.client)
        return
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(options.seconds, Path(folder))
        try:
            faults = soak.run()
        finally:
            for process in soak.running:
                process.kill()
            for life in soak.lives:
                life.kill()
    for fault in faults:
        print(f"not right: {fault}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
