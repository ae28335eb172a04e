"""Every table filled to its bound with what a stranger may send, and memory stays within what `--print-config` promises."""

import json
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from atmost.collector.options import load_options
from atmost.core.datagram import HEADER_LAYOUT, BeaconBody, Kind, encode_message, pack_beacon, pack_messages
from atmost.core.limits import MAGIC, MAX_REASON, MAX_REASONS, VERSION
from atmost.core.seal import ChecksumSeal
from atmost.transport.base import wall_clock
from benchmarks.memory import Attack, wide, wide_bytes
from tests.cli.commands import ask
from tests.real import BOUND, until

pytestmark = [pytest.mark.slow, pytest.mark.needs("linux")]

SMALL = {
    "max_series": 200,
    "max_statsd_series": 200,
    "max_series_per_sender": 100,
    "max_histograms": 10,
    "max_senders": 200,
    "max_heartbeats": 200,
    "max_log_records": 2000,
    "max_log_bytes": 4_000_000,
    "max_queue": 8192,
    "max_rejected": 50,
    "max_exported_senders": 10,
    "max_set_values": 100,
}
SETTINGS = [f"{name}={value}" for name, value in SMALL.items()]


def test_every_table_over_six_hours():
    """In virtual time: each table alone takes at most its share of the bound, and all of them together less than the whole."""
    command = [sys.executable, "-m", "benchmarks.memory", "--json", *(f"--set={each}" for each in SETTINGS)]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    tables = {row["table"]: row for row in said["tables"]}
    over = {name: row for name, row in tables.items() if (row["measured_MB"] or 0) > row["promised_MB"]}
    assert over == {}
    assert tables["all"]["promised_MB"] == load_options(settings=SETTINGS).memory_bound() / 1e6
    hit = {name for name, (_, _, refused) in said["limits"].items() if refused}
    assert {"series", "log_bytes", "log_bytes_per_sender", "subjects", "refused_senders", "heartbeats"} <= hit


def unread(port):
    """Bytes that the kernel holds for a UDP port of 127.0.0.1."""
    for line in Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]:
        words = line.split()
        if words[1] == f"0100007F:{port:04X}":
            return int(words[4].split(":")[1], 16)
    return 0


class Stranger(Attack):
    """The same from outside: what is sent arrives at the sockets of a collector."""

    rounds = 2
    holes = 20

    def __init__(self, places):
        super().__init__(load_options(settings=SETTINGS), hours=0.2)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.places = {kind: int(url.rstrip("/").rpartition(":")[2]) for kind, url in places.items()}
        self.seal = ChecksumSeal()
        self.numbers = {}
        self.sent = 0
        self.started_us = wall_clock()

    def send(self, kind, datagram):
        """Sends one, and waits where the kernel holds many for this port: what is lost fills nothing."""
        port = self.places[kind]
        self.sock.sendto(datagram, ("127.0.0.1", port))
        self.sent += 1
        if self.sent % 8 == 0:
            until(lambda: unread(port) < 65_536)

    def ours(self, number, kind, body, count):
        """A datagram of a session that began now, with the next number."""
        sequence, prior = self.numbers.get(number, (0, 0))
        self.numbers[number] = (sequence + 1, prior + count)
        fields = (number & (1 << 64) - 1, sequence, prior, wall_clock(), count, 0)
        head = HEADER_LAYOUT.pack(MAGIC, VERSION << 4 | kind, 0, self.started_us, *fields)
        self.send("atmost", self.seal.seal(head, body))

    def beacon(self, number):
        """A report as long as one may be."""
        reasons = {wide_bytes(number * MAX_REASONS + n, MAX_REASON): 1 << 40 for n in range(MAX_REASONS)}
        body = BeaconBody(wide(number, 128), wide(number, 128), 1 << 40, 1 << 40, reasons, reasons, 5.0)
        self.ours(number, Kind.BEACON, pack_beacon(body), 0)

    def feed(self, session, subject, payload, sequence=0):
        """One message of a session."""
        if session.start_us not in self.numbers:
            self.beacon(session.start_us)
        self.ours(session.start_us, Kind.DATA, pack_messages([encode_message((subject, payload))]), 1)

    def lines(self, *lines):
        """StatsD, a few lines a datagram."""
        for first in range(0, len(lines), 20):
            self.send("statsd", "\n".join(lines[first : first + 20]).encode())

    def tick(self):
        """Its clock is its own."""

    def senders(self):
        """Sessions with the longest reports, and a reading each."""
        for number in range(2 * self.options.max_senders):
            self.feed(self.session(number + (1 << 30)), f"metrics.{'m' * 120}", 1.5)

    def retired(self):
        """Processes that come and go."""
        labels = [f"l{n}" for n in range(16)]
        for life in range(300):
            entries = [[[wide_bytes(life, 24)] * 16, 0, 1.5]]
            family = ["c", "r_total", labels, "", "", entries]
            part = [1, (life + (1 << 50)).to_bytes(8), wide_bytes(life, 128), 0, 0, 1, True, 0.0, 1.0, {}, [family]]
            self.feed(self.session(1 << 22), "metrics.r", part)

    def samples(self):
        """Subjects, refused datagrams, broken lines, syslog and GELF."""
        for number in range(1000):
            self.feed(self.session(1 << 25), "s." + wide_bytes(number, 240), wide(number, 600))
            self.send("statsd", f"{wide(number, 20)}:x|c\n:1|c\na:1|zz\n{'t' * 9000}:1|c".encode())
            self.send("syslog", f'<13>1 - {"h" * 200}{number} a - - [meta sequenceId="{number * 3}"] x'.encode())
            self.send("gelf", b"\x1e\x0f" + number.to_bytes(8) + bytes([0, 2]) + bytes(8000))
            self.send("atmost", bytes(100))

    def queue(self):
        """As many messages as a datagram holds, again and again."""
        items = [encode_message(("queue", n)) for n in range(4000)]
        for _ in range(20):
            self.ours(1 << 31, Kind.DATA, pack_messages(items), len(items))

    def everything(self):
        """All of it, one after the other."""
        tables = dict(self.parts())
        for name in ("histograms", "sets", *tables):  # these need room among the series
            tables[name]()
            yield


def test_a_collector_that_is_filled_from_outside(tmp_path):
    """A real one on real sockets: its peak is below the bound, every table is full, and it answers and stops as ever."""
    where = [
        "--bind",
        "udp://127.0.0.1:0",
        *(word for kind in ("statsd", "syslog", "gelf", "http") for word in (f"--{kind}", "127.0.0.1:0")),
    ]
    command = [sys.executable, "-m", "atmost", "collect", "--json", *where, *(f"--set={each}" for each in SETTINGS)]
    with (tmp_path / "err").open("w") as errors:
        process = subprocess.Popen([*command, "--set=state_dir=off"], stdout=subprocess.PIPE, stderr=errors, text=True)
    with ExitStack() as stack:
        stack.callback(process.wait)
        stack.callback(process.kill)
        addresses = {each["kind"]: each["url"] for each in json.loads(process.stdout.readline())["addresses"]}
        page = addresses.pop("http")
        process.stdout.close()
        stranger = Stranger(addresses)
        stack.callback(stranger.sock.close)
        full = {"series", "statsd_series", "histograms", "statsd_histograms", "senders", "subjects", "heartbeats"}

        def fill():
            for _ in stranger.everything():
                assert ask(page, "healthz")[0] == 200
            limits = json.loads(ask(page, "api/v1/overview")[1])["memory"]["limits"]
            return all(each["used"] >= each["max"] or each["hit"] for each in limits if each["name"] in full)

        until(fill, 10 * BOUND)
        assert ask(page, "metrics")[0] == 200
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
        peak = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))
        assert peak < load_options(settings=SETTINGS).memory_bound()
        process.terminate()
        assert process.wait(BOUND) == 0
