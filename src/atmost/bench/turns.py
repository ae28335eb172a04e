"""One measurement of one system: a producer and a consumer in processes of their own, pinned to different cores where there are two."""

from __future__ import annotations

import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from atmost.bench.systems import SYSTEMS, TurnFailed, server

SIZE: Final = 128
"""Bytes of a payload."""
BURST: Final = 50
_BURSTS: Final = 60
_WARMING: Final = 1000
_PATIENCE: Final = 60.0
"""The longest wait for a process to answer, seconds: beyond it the system counts as failed."""
_SETTLING: Final = 0.5
"""What is still on its way has this long to arrive, seconds."""
_spawned: Final = multiprocessing.get_context("spawn")


def pin(core: int) -> None:
    """Keeps this process on one core, where the machine has several and the system allows it."""
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) > 1:
            os.sched_setaffinity(0, {allowed[core % len(allowed)]})


def steal() -> tuple[int, int]:
    """Processor time that others got on this virtual machine, and all of it, so far (ticks)."""
    try:
        fields = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:]]
    except OSError:
        return 0, 0
    return fields[7], sum(fields[:8])


def stolen(since: tuple[int, int]) -> float:
    """The share stolen since an earlier `steal`."""
    now = steal()
    return (now[0] - since[0]) / max(1, now[1] - since[1])


def throughput(name: str, seconds: float) -> dict[str, float]:
    """Sends in bursts, then as fast as it goes.

    Returns:
        Messages a second that reached the handler, the share of all that were sent, and nanoseconds a call in bursts and flat out.
    """
    with _pair(name, _send_fast, seconds) as (sent, arrived):
        return {
            "delivered": sent["flat"] / sent["elapsed"] * arrived["count"] / sent["sent"],
            "share": arrived["count"] / sent["sent"],
            "flat_ns": sent["flat_ns"],
            "burst_ns": sent["burst_ns"],
        }


def latency(name: str, seconds: float, rate: int = 2000) -> dict[str, float]:
    """One way, from the call to the handler, at a steady rate (µs)."""
    with _pair(name, _send_paced, seconds, rate) as (_, arrived):
        delays = arrived["delays"]
        if len(delays) < 2:
            raise TurnFailed("nothing arrived")
        return {"p50_us": statistics.median(delays), "p99_us": statistics.quantiles(delays, n=100)[98]}


@contextmanager
def _pair(name: str, sending: Any, *arguments: Any) -> Iterator[tuple[dict[str, float], dict[str, Any]]]:
    """Runs both processes; gives what each of them says. They are ended in any case."""
    system = next(one for one in SYSTEMS if one.name == name)
    children: list[Any] = []

    def start(target: Any, *own: Any) -> Connection:
        here, there = _spawned.Pipe()
        child = _spawned.Process(target=target, args=(there, *own), daemon=True)
        children.append(child)
        child.start()
        there.close()
        return here

    with server(system.server) as place:
        try:
            consumer = start(_consume, name, place)
            address = _answer(consumer)
            sent = _answer(start(_produce, name, address, sending, arguments))
            time.sleep(_SETTLING)
            with suppress(BrokenPipeError):  # it is gone, and its answer says why
                consumer.send("stop")
            yield sent, _answer(consumer)
        finally:
            for child in children:
                child.join(0.5)
                if child.is_alive():
                    child.kill()
                    child.join()


def _answer(pipe: Connection) -> Any:
    if not pipe.poll(_PATIENCE):
        raise TurnFailed("no answer")
    try:
        answer = pipe.recv()
    except EOFError:
        raise TurnFailed("its process ended") from None
    if isinstance(answer, BaseException):
        raise TurnFailed(f"{type(answer).__name__}: {answer}")
    return answer


def _consume(pipe: Connection, name: str, place: str) -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C goes to the whole group; the measuring process ends the others
    pin(1)
    system = next(one for one in SYSTEMS if one.name == name)
    count, delays, clock = 0, [], time.monotonic_ns

    def handle(payload: bytes) -> None:
        nonlocal count
        count += 1
        if payload[0] == 1:  # a stamped one
            delays.append((clock() - int.from_bytes(payload[1:9])) / 1000)

    try:
        system.consume(place, pipe.send, pipe.poll, handle)
        pipe.send({"count": count, "delays": delays})
    except Exception as error:  # noqa: BLE001  reported, whatever it is
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _produce(pipe: Connection, name: str, address: str, sending: Any, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pin(0)
    system = next(one for one in SYSTEMS if one.name == name)
    try:
        send, close = system.produce(address)
        result = sending(send, *arguments)
        close()
        pipe.send(result)
    except Exception as error:  # noqa: BLE001  reported, whatever it is
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _send_fast(send: Any, seconds: float) -> dict[str, float]:
    payload = b"\0" + os.urandom(SIZE - 1)
    for _ in range(_WARMING):
        send(payload)
    time.sleep(0.2)
    clock, spent = time.perf_counter_ns, 0
    # In bursts, as a request handler sends: fifty at once, then a pause.
    for _ in range(_BURSTS):
        began = clock()
        for _ in range(BURST):
            send(payload)
        spent += clock() - began
        time.sleep(0.002)
    began = clock()
    end, flat = began + round(seconds * 1e9), 0
    while clock() < end:
        for _ in range(1000):
            send(payload)
        flat += 1000
    elapsed = (clock() - began) / 1e9
    return {
        "sent": _WARMING + _BURSTS * BURST + flat,
        "flat": flat,
        "elapsed": elapsed,
        "flat_ns": elapsed / flat * 1e9,
        "burst_ns": spent / _BURSTS / BURST,
    }


def _send_paced(send: Any, seconds: float, rate: int) -> dict[str, float]:
    filling = os.urandom(SIZE - 9)
    for _ in range(100):
        send(b"\0" + bytes(SIZE - 1))
        time.sleep(0.001)
    clock, apart = time.monotonic_ns, round(1e9 / rate)
    due, number = clock(), 0
    for number in range(round(seconds * rate)):  # noqa: B007  how many, at the end
        while clock() < due:
            time.sleep(0)
        send(b"\1" + clock().to_bytes(8) + filling)
        due += apart
    return {"sent": number + 1.0}
