"""Fills every table of a collector to its bound with what a stranger may send, and sets what that takes beside the bound it prints.

    python -m benchmarks.memory [--set max_series=400 ...] [--hours 6]

The collector's state and the core of its receiver are fed directly, in virtual time, because some tables fill in six hours only: histories
of series, and the last ten minutes of histograms. All texts are as long as they may be, of characters that take four bytes each.
The figures are resident memory, of a process that holds nothing else; `promised` is the share of `memory_bound` that stands for the table.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from atmost.collector.options import CollectorOptions, load_options
from atmost.collector.state.listeners import ListenerStats
from atmost.collector.state.state import CollectorState
from atmost.core.datagram import HEADER_LAYOUT, BeaconBody, Kind, encode_message, pack_beacon, pack_messages
from atmost.core.events import Arrival, Message, RefusalReason, Session
from atmost.core.limits import MAGIC, MAX_NAME, MAX_REASON, MAX_REASONS, VERSION
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.core.seal import ChecksumSeal, no_keys
from atmost.endpoint.intake import Intake, IntakeOptions
from atmost.ingest import statsd, syslog
from atmost.ingest.gelf import GelfReader
from atmost.ingest.rejected import Rejected
from atmost.metrics.buckets import value_of
from benchmarks.common import arguments, show

T0: Final = 1_800_000_000.0
WIDE: Final = "\N{GRINNING FACE}"
STEP: Final = 110.0
"""Virtual seconds between two rounds: less than a page of a history."""
PORT: Final = 7140
LIVES_A_SERIES: Final = 10


def wide(number: int, length: int) -> str:
    """A text of so many characters, another one for each number, of four bytes each."""
    digits = f"{number:x}"
    return digits + WIDE * (length - len(digits))


def wide_bytes(number: int, length: int) -> str:
    """The same of at most so many bytes."""
    digits = f"{number:x}"
    return digits + WIDE * ((length - len(digits)) // 4)


class Attack:
    """A stranger, and what he fills."""

    rounds = 61
    """Slots of ten seconds that histograms fill."""
    holes = 200
    """Gaps in each life of a log handler."""

    def __init__(self, options: CollectorOptions, hours: float) -> None:
        """Args: options: the limits. hours: virtual time for the histories."""
        self.options, self.hours = options, hours
        self.now = T0
        self.state = CollectorState(options, T0, 0.0)
        self.statsd = ListenerStats("statsd", "127.0.0.1:8125", None)
        self.gelf, self.syslog = GelfReader(), self.state.new_foreign_logs()
        self.core: ReceiverCore | None = None
        self.intake: Intake | None = None

    def parts(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """What is filled, by the name that its share of the bound has."""
        yield "senders", self.senders
        yield "series", self.series
        yield "histograms", self.histograms
        yield "retired", self.retired
        yield "logs", self.logs
        yield "heartbeats", self.heartbeats
        yield "samples", self.samples
        yield "sets", self.sets
        yield "queue", self.queue

    def session(self, number: int) -> Session:
        """A session with the longest name and host."""
        one = Session(bytes(2) + number.to_bytes(8) + number.to_bytes(8), number)
        one.name, one.host, one.pid = wide(number, MAX_NAME), wide(number, MAX_NAME), number
        return one

    def feed(self, session: Session, subject: str, payload: Any, sequence: int = 0) -> None:
        """One message, as the receiver hands it over: every text in it is a new one."""
        subject, payload = msgspec.msgpack.decode(encode_message((subject, payload)))
        arrival = Arrival(session, sequence, int(self.now * 1e6), int(self.now * 1e6))
        self.state.feed(Message(subject, payload, arrival), self.now, self.now - T0)

    def lines(self, *lines: str) -> None:
        """StatsD."""
        self.state.feed_statsd(
            statsd.parse("\n".join(lines).encode()), self.statsd, "192.0.2.1", "192.0.2.1:9", self.now
        )

    def tick(self) -> None:
        """What the collector does by itself."""
        self.state.tick(self.now, self.now - T0)

    # Each table.

    def senders(self) -> None:
        """Sessions with forged reports and gaps, their ledgers, and plain readings."""
        options = self.options
        seal = ChecksumSeal()
        parameters = ReceiverOptions(future_bound=0.5, clock_guard=0.5, max_sessions=options.max_senders)
        core = self.core = ReceiverCore(parameters, int(T0 * 1e6), no_keys())
        self.now += 2

        def send(number: int, kind: Kind, sequence: int, prior: int, body: bytes, count: int) -> None:
            wall = int(self.now * 1e6)
            head = HEADER_LAYOUT.pack(
                MAGIC, VERSION << 4 | kind, 0, int(T0 * 1e6) + 1_900_000, number, sequence, prior, wall, count, 0
            )
            for event in core.receive(seal.seal(head, body), self.now, wall):
                self.state.feed(event, self.now, self.now - T0, "udp://127.0.0.1:7140")

        for number in range(options.max_senders):
            reasons = {wide_bytes(number * MAX_REASONS + n, MAX_REASON): 1 << 40 for n in range(MAX_REASONS)}
            beacon = BeaconBody(wide(number, MAX_NAME), wide(number, MAX_NAME), 1 << 40, 1 << 40, reasons, reasons, 5.0)
            send(number, Kind.BEACON, 0, 0, pack_beacon(beacon), 0)
            reading = pack_messages([encode_message((f"metrics.{'m' * 120}{number % options.max_series}", 1.5))])
            for n in range(1, 34, 2):
                send(number, Kind.DATA, n, 2 * n - 1, reading, 1)
        for _ in range(3):
            self.now += 1
            core.handle_deadline(self.now)
            self.state.observe({"udp://127.0.0.1:7140": core.ledger(self.now)}, self.now, self.now - T0)
            self.tick()

    def series(self) -> None:
        """Series of ours and of StatsD with the longest names and labels, with a loss now and then; and what senders say of themselves."""
        options = self.options
        labels = [f"l{n}" for n in range(16)]
        ours = max(1, (options.max_series - max(16, options.max_series // 4)) // LIVES_A_SERIES)
        tags = ",".join(f"k{n}:{wide(n, 4)}" for n in range(60))
        plain = "metrics." + "p" * 100
        step, number = 0, 0
        until = self.now + self.hours * 3600
        while self.now < until:
            for life in range(ours):
                entries = [
                    [[wide_bytes(life * LIVES_A_SERIES + n, 24)] * 1 + [wide_bytes(n, 24)] * 15, 0, 1.5, 0.0]
                    for n in range(LIVES_A_SERIES)
                ]
                family = ["g", f"n{life % 1000}{'n' * 120}", labels, "u" * 32, "h" * 160, entries, "latest"]
                part = [
                    1,
                    life.to_bytes(8),
                    wide_bytes(life, 128),
                    number,
                    0,
                    1,
                    False,
                    number * STEP,
                    STEP / 4,
                    {},
                    [family],
                ]
                self.feed(self.session(life), "metrics.x", part)
            for first in range(0, options.max_statsd_series, 100):
                self.lines(
                    *(f"{wide(n, 200)}:1|g|#{tags}" for n in range(first, min(first + 100, options.max_statsd_series)))
                )
            for one in range(max(16, options.max_series // 4)):
                self.feed(self.session((1 << 20) + one), plain, 1.0, step)
            self.now += STEP
            step += 1
            number += 1 if step % 3 else 5
            if self.core is not None:
                self.state.observe({"udp://127.0.0.1:7140": self.core.ledger(self.now)}, self.now, self.now - T0)
            self.tick()

    def histograms(self) -> None:
        """Every bucket of every histogram in use, in each ten seconds of the last ten minutes, with counts beyond 32 bits."""
        options = self.options
        values = [value_of(bucket) for bucket in range(-1024, 1024)]
        packed = [
            ":".join(f"{value:.6g}" for value in values[first : first + 512]) for first in range(0, len(values), 512)
        ]
        for _ in range(self.rounds):
            for number in range(options.max_histograms):
                for each in packed:
                    self.lines(f"h{number}:{each}|h|@0.0000000001")
            self.now += 10
        flat = [pair for n in range(1024) for pair in (1, 1 << 40)]
        session = self.session(1 << 21)
        for step in range(self.rounds):
            more = [pair for n in range(1024) for pair in (1, (1 << 40) + (step << 34))]
            for number in range(options.max_histograms):
                entry = [[], 0, 1.5, 0, 5, more or flat, more or flat, 1]
                part = [
                    1,
                    (number + (1 << 40)).to_bytes(8),
                    "h",
                    step,
                    0,
                    1,
                    False,
                    float(step),
                    10.0,
                    {},
                    [["h", f"h{number}", [], "", "", [entry], []]],
                ]
                self.feed(session, "metrics.h", part)
            self.now += 10
            self.tick()

    def retired(self) -> None:
        """Totals of processes that are gone, each of another sender and with other labels; names that nobody uses."""
        labels = [f"l{n}" for n in range(16)]
        for life in range(1 << 17):
            entries = [[[wide_bytes(life * 8 + n, 24)] + [wide_bytes(n, 24)] * 15, 0, 1.5] for n in range(8)]
            part = [
                1,
                (life + (1 << 50)).to_bytes(8),
                wide_bytes(life, 128),
                0,
                0,
                1,
                True,
                0.0,
                1.0,
                {},
                [["c", "r_total", labels, "", "", entries]],
            ]
            self.feed(self.session(life + (1 << 22)), "metrics.r", part)
            if life % 100 == 0:
                self.now += 61
            if life > self.options.max_senders * 2 and self.state.metrics.stats().lives_folded >= (1 << 13):
                break

    def logs(self) -> None:
        """The tail, records that wait for others, and more gaps than are remembered."""
        options = self.options
        for number in range(options.max_senders):
            session = self.session(number)
            for n in range(self.holes):
                prior = {wide(level, 32): 3 * n for level in range(16)}
                body = {
                    "handler": int(T0 * 1e6).to_bytes(8) + number.to_bytes(4),
                    "prior": prior,
                    "time": T0,
                    "level": "INFO",
                }
                self.feed(session, "logs.x", body, n)
        for _ in range(3):
            self.now += 1
            self.tick()
        for number in range(options.max_log_records + 1000):
            fields = {wide(n, 16): wide(n, 16) for n in range(8)}
            self.feed(
                self.session((1 << 23) + number % 64),
                "logs.y",
                {"message": wide(number, 400), "fields": 1, **fields},
                number,
            )
        for number in range(options.max_log_bytes // 40_000 + 10):
            self.feed(self.session((1 << 23) + number % 64), "logs.y", {"message": wide(number, 12_000)}, number)

    def heartbeats(self) -> None:
        """Beats with the longest names, lives and reasons, that change their state."""
        for number in range(self.options.max_heartbeats * 2):
            name = wide_bytes(number, 240).replace(" ", "")
            for beat in range(3):
                self.feed(
                    self.session((1 << 24) + number),
                    f"heartbeats.{name}",
                    {
                        "number": beat,
                        "interval": 0.1,
                        "life": wide(number, 128),
                        "offered": 1,
                        "ending": "failed" if beat else None,
                        "reason": wide(number, 128),
                    },
                    beat,
                )

    def samples(self) -> None:
        """Subjects, refused senders, samples of rejected input, gaps of syslog, chunks of GELF."""
        for number in range(1000):
            self.feed(self.session(1 << 25), "s." + wide_bytes(number, 240), wide(number, 600))
        stats = ListenerStats("statsd", "127.0.0.1:8125", None)
        for number in range(self.options.max_rejected * 10):
            for reason in statsd.StatsdReason:
                self.state.reject(Rejected(reason, wide(number, 250), 1), stats, "192.0.2.1:9", self.now)
            self.now += 0.06
        seal = ChecksumSeal()
        for number in range(300 * 16):
            beacon = BeaconBody(wide(number, MAX_NAME), wide(number, MAX_NAME), 1, 1, {}, {}, 5.0)
            head = HEADER_LAYOUT.pack(MAGIC, VERSION << 4 | Kind.BEACON, 7, 1, number, 0, 0, int(self.now * 1e6), 0, 0)
            peer = (f"2001:db8::{number // 16:x}", f"[2001:db8::{number // 16:x}]:9")
            self.state.refused.feed(
                seal.seal(head, pack_beacon(beacon)),
                RefusalReason.UNKNOWN_KEY,
                "udp://[::]:7140",
                peer,
                self.now,
                keyed=True,
            )
            self.now += 0.01
        for number in range(20_000):
            line = f'<13>1 - {"h" * 200}{number} {"a" * 40} - - [meta sequenceId="{(number % 7) * 10 + number // 7}"] x'
            for record in syslog.parse_all(line.encode(), "192.0.2.1", self.now):
                if not isinstance(record, Rejected):
                    self.syslog.syslog(record, f"192.0.2.1:{number % 3000}", self.now)
        for number in range(3000):
            for peer in range(3):
                self.gelf.feed(
                    b"\x1e\x0f" + number.to_bytes(8) + bytes([0, 2]) + os.urandom(8000), f"192.0.2.{peer}", self.now
                )

    def sets(self) -> None:
        """Sets of StatsD: as many members as one and all of them may have."""
        self.now += 20_000_000  # every series before is idle, and makes room
        self.tick()
        for number in range(150):
            for first in range(0, self.options.max_set_values, 100):
                self.lines(*(f"set{number}:{number}-{n}-{'m' * 50}|s" for n in range(first, first + 100)))

    def queue(self) -> None:
        """Messages that nobody takes."""
        # The queue of a receiver in this process, whose handler never returns.
        from atmost.endpoint.sender import Sender

        self.intake = Intake(IntakeOptions(max_queue=self.options.max_queue), "memory://bound")
        with Sender("memory://bound", max_datagram=60_000) as sender:
            payload = [wide(n, 10) for n in range(6)]
            for number in range(2 * self.options.max_queue):
                sender.send("queue", [number, payload])
                if number % 1000 == 0:
                    sender.flush()
                    while self.intake.pump():
                        pass


def resident() -> int:
    """Resident memory of this process, bytes."""
    gc.collect()
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def alone(options: CollectorOptions, hours: float, table: str) -> int:
    """What one table takes in a process of its own, bytes."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        before = resident()
        attack = Attack(options, hours)
        dict(attack.parts())[table]()
        os.write(writer, str(resident() - before).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="ascii") as stream:
        said = stream.read()
    os.waitpid(pid, 0)
    return int(said)


def main() -> None:
    """Fills, and prints a row for each table."""
    parser = arguments(__doc__)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an option of the collector")
    parser.add_argument("--hours", type=float, default=6.1, help="virtual time for the histories (%(default)s)")
    parser.add_argument("--only", action="append", default=[], help="fill only this table")
    given = parser.parse_args()
    options = load_options(settings=given.set)
    promised = options.memory_bounds()
    attack = Attack(options, given.hours)
    base = resident()
    rows = [{"table": "process", "promised_MB": promised.pop("process") / 1e6, "measured_MB": base / 1e6}]
    for name, _ in attack.parts():
        if not given.only or name in given.only:
            measured = alone(options, given.hours, name)
            rows.append({"table": name, "promised_MB": promised.pop(name) / 1e6, "measured_MB": measured / 1e6})
            print(rows[-1], file=sys.stderr)
    if not given.only:
        for _, fill in attack.parts():
            fill()
    rows += [{"table": name, "promised_MB": size / 1e6, "measured_MB": None} for name, size in promised.items()]
    rows.append({"table": "all", "promised_MB": options.memory_bound() / 1e6, "measured_MB": resident() / 1e6})
    limits = {each.name: [each.used, each.max, each.hit] for each in attack.state.limits()}
    if given.json:
        show({"tables": rows, "limits": limits}, as_json=True)
    else:
        show(rows, as_json=False)


if __name__ == "__main__":
    main()
