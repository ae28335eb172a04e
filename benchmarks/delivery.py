"""Delivered rate, share and caller cost of `atmost` beside peers, interleaved in one run.

    python -m benchmarks.delivery [--seconds 2] [--repetitions 5]

Producer and consumer are processes of their own, pinned to different cores where there are two; messages are 128 bytes.
Every figure is the median over the repetitions; ratios are taken within one repetition.
CPU steal is read from /proc/stat, and repetitions with more than 5 % are left out and counted.
Peers carry a bare payload, their best case; `atmost` runs with every rule on.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.common import arguments

PAYLOAD = os.urandom(128)
BURST = 50


def main() -> None:
    """Runs every system in turn and prints a table, or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of sending in each run (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=5, help="interleaved runs of every system (%(default)s)")
    parser.add_argument("--only", help="comma-separated names of systems")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(SYSTEMS)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    left_out = 0
    for _ in range(options.repetitions):
        for name in names:
            before = _steal()
            result = _run(name, options.seconds)
            if _steal_share(before, _steal()) > 0.05:
                left_out += 1
                continue
            runs[name].append(result)
    table = {name: _median(results) for name, results in runs.items() if results}
    if options.json:
        print(json.dumps({"systems": table, "left_out": left_out}))
        return
    print(f"{'system':28} {'delivered/s':>12} {'share':>7} {'ns/send flat':>13} {'ns/send burst':>14} {'runs':>5}")
    for name, row in table.items():
        print(
            f"{name:28} {row['delivered']:12,.0f} {row['share']:7.4f} {row['flat_ns']:13.0f} {row['burst_ns']:14.0f}"
            f" {len(runs[name]):5}"
        )
    if left_out:
        print(f"{left_out} runs left out for CPU steal above 5 %")


Producer = Callable[[str], tuple[Callable[[bytes], Any], Callable[[], Any]]]


def _atmost_producer(max_datagram: int | None, rate: float | None) -> Producer:
    def make(address: str) -> tuple[Callable[[bytes], Any], Callable[[], Any]]:
        import atmost

        sender = atmost.Sender(address, name="bench", max_datagram=max_datagram, max_bytes_per_second=rate)
        send = sender.send
        return (lambda payload: send("bench.message", payload)), sender.close

    return make


def _atmost_consumer(_address: str, ready: Callable[[str], None], stop: Callable[[], bool]) -> int:
    import atmost

    count = 0

    def handle(_message: object) -> None:
        nonlocal count
        count += 1

    import threading

    receiver = atmost.Receiver("udp://127.0.0.1:0")
    ready(receiver.url)
    threading.Thread(target=lambda: (_wait(stop), receiver.close()), daemon=True).start()
    receiver.run(handle)
    return count


def _zmq_producer(address: str) -> tuple[Callable[[bytes], Any], Callable[[], Any]]:
    import zmq

    context = zmq.Context()
    sock = context.socket(zmq.PUB)
    sock.set_hwm(100_000)
    sock.connect(address)
    time.sleep(0.5)
    return sock.send, lambda: (sock.close(linger=3000), context.term())


def _zmq_consumer(_address: str, ready: Callable[[str], None], stop: Callable[[], bool]) -> int:
    import zmq

    context = zmq.Context()
    sock = context.socket(zmq.SUB)
    sock.set_hwm(100_000)
    sock.setsockopt(zmq.SUBSCRIBE, b"")
    sock.setsockopt(zmq.RCVTIMEO, 100)
    port = sock.bind_to_random_port("tcp://127.0.0.1")
    ready(f"tcp://127.0.0.1:{port}")
    count = 0

    def handle(_payload: bytes) -> None:
        nonlocal count
        count += 1

    while not stop():
        try:
            while True:
                handle(sock.recv())
        except zmq.Again:
            continue
    return count


def _udp_producer(address: str) -> tuple[Callable[[bytes], Any], Callable[[], Any]]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", int(address)))
    return sock.send, sock.close


def _udp_consumer(_address: str, ready: Callable[[str], None], stop: Callable[[], bool]) -> int:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(0.1)
    ready(str(sock.getsockname()[1]))
    count = 0

    def handle(_payload: bytes) -> None:
        nonlocal count
        count += 1

    while not stop():
        try:
            while True:
                handle(sock.recv(65_536))
        except TimeoutError:
            continue
    return count


SYSTEMS: dict[str, tuple[Any, Any]] = {
    "atmost loopback": (_atmost_producer(None, None), _atmost_consumer),
    "atmost 1432 B": (_atmost_producer(1432, None), _atmost_consumer),
    "pyzmq PUB/SUB": (_zmq_producer, _zmq_consumer),
    "raw UDP socket": (_udp_producer, _udp_consumer),
}


def _run(name: str, seconds: float) -> dict[str, float]:
    here, there = multiprocessing.Pipe()
    child = multiprocessing.Process(target=_consume, args=(name, there), daemon=True)
    child.start()
    address = here.recv()
    out, inside = multiprocessing.Pipe()
    sending = multiprocessing.Process(target=_produce, args=(name, address, seconds, inside), daemon=True)
    sending.start()
    sent = out.recv()
    sending.join()
    time.sleep(0.7)
    here.send("stop")
    count, busy = here.recv()
    child.join()
    return {
        "delivered": count / sent["elapsed"],
        "share": count / sent["sent"],
        "flat_ns": sent["flat_ns"],
        "burst_ns": sent["burst_ns"],
        "consumer_cpu": busy,
    }


def _produce(name: str, address: str, seconds: float, out: Connection) -> None:
    _pin(0)
    send, close = SYSTEMS[name][0](address)
    for _ in range(1000):
        send(PAYLOAD)
    time.sleep(0.3)
    # In bursts, as a request handler sends: fifty at once, then a pause.
    spent, bursts = 0, 200
    for _ in range(bursts):
        began = time.perf_counter_ns()
        for _ in range(BURST):
            send(PAYLOAD)
        spent += time.perf_counter_ns() - began
        time.sleep(0.002)
    sent = 1000 + bursts * BURST
    began = time.perf_counter()
    end = began + seconds
    flat = 0
    while time.perf_counter() < end:
        for _ in range(1000):
            send(PAYLOAD)
        flat += 1000
    elapsed = time.perf_counter() - began
    close()
    out.send(
        {"sent": sent + flat, "elapsed": elapsed, "flat_ns": elapsed / flat * 1e9, "burst_ns": spent / bursts / BURST}
    )


def _consume(name: str, pipe: Connection) -> None:
    _pin(1)
    began = time.process_time()
    count = SYSTEMS[name][1]("", pipe.send, pipe.poll)
    pipe.send((count, time.process_time() - began))


def _wait(stop: Callable[[], bool]) -> None:
    while not stop():
        time.sleep(0.05)


def _pin(core: int) -> None:
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {core})


def _steal() -> tuple[int, int]:
    try:
        fields = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:]]
    except OSError:
        return 0, 1
    return fields[7], sum(fields[:8])


def _steal_share(before: tuple[int, int], after: tuple[int, int]) -> float:
    return (after[0] - before[0]) / max(1, after[1] - before[1])


def _median(results: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(result[name] for result in results) for name in results[0]}


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
