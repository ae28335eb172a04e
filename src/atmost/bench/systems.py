"""The systems that are measured: how each one sends and receives, with its best settings.

A system is two functions that run in processes of their own. `consume` binds, reports its address and counts messages until it
is told to stop; `produce` returns a function that sends one payload, and one that ends. What a system needs is imported there,
so that one that is not installed costs nothing and is reported by name.
"""

from __future__ import annotations

import importlib.util
import logging
import logging.handlers
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from atmost.transport.base import RECEIVE_BUFFER
from atmost.transport.sockets import ask_receive_buffer

Handler = Callable[[bytes], None]
Send = Callable[[bytes], Any]
Stop = Callable[[], bool]
Ready = Callable[[str], None]

_PATIENCE: Final = 30.0
"""How long a server may take to begin, and to end, seconds."""
_READ: Final = 65_536
_SLICE: Final = 0.1
"""How often a consumer looks whether it shall stop, seconds."""
_HIGH_WATER: Final = 100_000
_CONNECTING: Final = 0.5
"""Time for a connection or a subscription to be known, seconds."""
_LEASE: Final = 0.3
_NATS_TURN: Final = 50
"""Messages that a program publishes in one turn of its loop."""


class TurnFailed(Exception):
    """A system could not be measured; the message says why."""


@dataclass(frozen=True, slots=True)
class System:
    """One way of sending and receiving."""

    name: str
    settings: str
    produce: Callable[[str], tuple[Send, Callable[[], Any]]]
    consume: Callable[[str, Ready, Stop, Handler], None]
    needs: str = ""
    """A module that must be installed."""
    server: str = ""
    """A server that is started for it: the name of a program."""
    full: bool = False
    """Whether it is measured with `--full` only."""

    def missing(self) -> str | None:
        """Why it cannot be measured here; None when it can."""
        if self.needs and importlib.util.find_spec(self.needs) is None:
            return f"the module {self.needs} is not installed"
        if self.server and _program(self.server) is None:
            return f"the program {self.server} is not installed"
        return None


def _program(name: str) -> str | None:
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


@contextmanager
def server(name: str) -> Iterator[str]:
    """Runs a system's server on a free port of this host while the system is measured; gives its address, empty without one."""
    program = _program(name) if name else None
    if program is None:
        yield ""
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = {
        "mosquitto": ["-p", str(port)],
        "nats-server": ["-a", "127.0.0.1", "-p", str(port)],
        "redis-server": ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"],
    }[name]
    with tempfile.TemporaryDirectory() as folder:
        child = subprocess.Popen(
            [program, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + _PATIENCE
            while True:
                if child.poll() is not None:
                    raise TurnFailed(f"{name} ended with {child.returncode}")
                with socket.socket() as probe:
                    if not probe.connect_ex(("127.0.0.1", port)):
                        break
                if time.monotonic() > deadline:
                    raise TurnFailed(f"{name} does not listen")
                time.sleep(0.02)
            yield f"127.0.0.1:{port}"
        finally:
            child.terminate()
            try:
                child.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


# Ours.


def _ours(max_datagram: int | None) -> Callable[[str], tuple[Send, Callable[[], Any]]]:
    def produce(address: str) -> tuple[Send, Callable[[], Any]]:
        from atmost.endpoint.sender import Sender

        sender = Sender(address, name="bench", max_datagram=max_datagram)
        send = sender.send
        return (lambda payload: send("bench.message", payload)), sender.close

    return produce


def _take_ours(address: str, ready: Ready, stop: Stop, handle: Handler) -> None:
    from atmost.endpoint.receiver import Receiver

    receiver = Receiver(address or "udp://127.0.0.1:0")
    threading.Thread(target=_close_later, args=(stop, receiver.close), daemon=True).start()
    ready(receiver.url)
    receiver.run(lambda message: handle(message.payload))


def _close_later(stop: Stop, close: Callable[[], None]) -> None:
    while not stop():
        time.sleep(_SLICE)
    close()


def _over_nats(address: str) -> tuple[Send, Callable[[], Any]]:
    made = _ours(None)(f"nats://{address}/bench")
    time.sleep(_CONNECTING)
    return made


def _take_over_nats(address: str, ready: Ready, stop: Stop, handle: Handler) -> None:
    _take_ours(f"nats://{address}/bench?lease={_LEASE}", lambda _url: ready(address), stop, handle)


# Raw sockets and what sends over them.


def _udp(address: str) -> tuple[Send, Callable[[], Any]]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(_place(address))
    return sock.send, sock.close


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def bound(timeout: float | None = _SLICE) -> socket.socket:
    """A UDP socket on a free port of this host, with the receive buffer that ours asks for."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ask_receive_buffer(sock)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(timeout)
    return sock


def _take_udp(_address: str, ready: Ready, stop: Stop, handle: Handler) -> None:
    with bound() as sock:
        ready(f"127.0.0.1:{sock.getsockname()[1]}")
        receive = sock.recv
        while not stop():
            try:
                while True:
                    handle(receive(_READ))
            except TimeoutError:
                continue


def _take_lines(_address: str, ready: Ready, stop: Stop, handle: Handler) -> None:
    with bound() as sock:
        ready(f"127.0.0.1:{sock.getsockname()[1]}")
        while not stop():
            try:
                while True:
                    for line in sock.recv(_READ).splitlines():
                        handle(line)
            except TimeoutError:
                continue


def _statsd(address: str) -> tuple[Send, Callable[[], Any]]:
    import statsd

    host, port = _place(address)
    pipeline = statsd.StatsClient(host, port).pipeline()
    waiting = 0

    def send(_payload: bytes) -> None:
        nonlocal waiting
        pipeline.incr("bench.message")
        waiting += 1
        if waiting >= 20:
            pipeline.send()
            waiting = 0

    return send, pipeline.send


def _dogstatsd(address: str) -> tuple[Send, Callable[[], Any]]:
    from datadog.dogstatsd.base import DogStatsd

    host, port = _place(address)
    client = DogStatsd(host, port, disable_buffering=False, disable_telemetry=True, flush_interval=0.3)
    return (lambda _payload: client.increment("bench.message")), client.stop


def _logging(make: Callable[[tuple[str, int]], logging.Handler]) -> Callable[[str], tuple[Send, Callable[[], Any]]]:
    def produce(address: str) -> tuple[Send, Callable[[], Any]]:
        handler = make(_place(address))
        logger = logging.getLogger("atmost.bench")
        logger.propagate = False
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        return (lambda payload: logger.info("%s", payload)), handler.close

    return produce


# With a queue or a server between.


def _zmq(address: str) -> tuple[Send, Callable[[], Any]]:
    import zmq

    context = zmq.Context()
    sock = context.socket(zmq.PUB)
    sock.set_hwm(_HIGH_WATER)
    sock.connect(address)
    time.sleep(_CONNECTING)

    def close() -> None:
        sock.close(linger=3000)
        context.term()

    return sock.send, close


def _take_zmq(_address: str, ready: Ready, stop: Stop, handle: Handler) -> None:
    import zmq

    context = zmq.Context()
    sock = context.socket(zmq.SUB)
    sock.set_hwm(_HIGH_WATER)
    sock.setsockopt(zmq.SUBSCRIBE, b"")
    sock.setsockopt(zmq.RCVTIMEO, round(_SLICE * 1000))
    ready(f"tcp://127.0.0.1:{sock.bind_to_random_port('tcp://127.0.0.1')}")
    while not stop():
        try:
            while True:
                handle(sock.recv())
        except zmq.Again:
            continue
    sock.close(linger=0)
    context.term()


def _nats(address: str) -> tuple[Send, Callable[[], Any]]:
    import asyncio

    import nats

    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(nats.connect(f"nats://{address}", pending_size=1 << 24))
    publish, run = client.publish, loop.run_until_complete
    waiting: list[bytes] = []

    async def flush() -> None:
        for payload in waiting:
            await publish("bench.message", payload)
        await asyncio.sleep(0)

    def send(payload: bytes) -> None:
        waiting.append(payload)
        if len(waiting) >= _NATS_TURN:
            run(flush())
            waiting.clear()

    def close() -> None:
        run(flush())
        run(client.drain())

    return send, close


def _take_nats(address: str, ready: Ready, stop: Stop, handle: Handler) -> None:
    import asyncio

    import nats

    async def go() -> None:
        client = await nats.connect(f"nats://{address}")

        async def take(message: Any) -> None:
            handle(message.data)

        await client.subscribe("bench.message", cb=take, pending_msgs_limit=-1, pending_bytes_limit=-1)
        await client.flush()
        ready(address)
        while not stop():  # noqa: ASYNC110  what tells it to stop is a pipe
            await asyncio.sleep(_SLICE)
        await client.close()

    asyncio.run(go())


def _redis(address: str) -> tuple[Send, Callable[[], Any]]:
    import redis

    host, port = _place(address)
    pipeline = redis.Redis(host=host, port=port).pipeline(transaction=False)

    def send(payload: bytes) -> None:
        pipeline.publish("bench", payload)
        if len(pipeline) >= 100:
            pipeline.execute()

    return send, pipeline.execute


def _take_redis(address: str, ready: Ready, stop: Stop, handle: Handler) -> None:
    import redis

    host, port = _place(address)
    connection: Any = redis.Redis(host=host, port=port)
    subscription = connection.pubsub(ignore_subscribe_messages=True)
    subscription.subscribe("bench")
    subscription.get_message(timeout=5)
    ready(address)
    while not stop():
        while (message := subscription.get_message(timeout=_SLICE)) is not None:
            handle(message["data"])


def _zenoh_session(**options: str) -> Any:
    import zenoh

    config = zenoh.Config()
    settings = {"mode": '"peer"', "scouting/multicast/enabled": "false", **options}
    for name, value in settings.items():
        config.insert_json5(name, value)
    return zenoh.open(config)


def _zenoh(address: str) -> tuple[Send, Callable[[], Any]]:
    import zenoh

    session = _zenoh_session(**{"connect/endpoints": f'["tcp/{address}"]', "listen/endpoints": "[]"})
    best_effort = {
        "congestion_control": zenoh.CongestionControl.DROP,
        "reliability": zenoh.Reliability.BEST_EFFORT,
    }
    publisher = session.declare_publisher("bench/message", **best_effort)
    time.sleep(_CONNECTING)
    return publisher.put, session.close


def _take_zenoh(_address: str, ready: Ready, stop: Stop, handle: Handler) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    session = _zenoh_session(**{"listen/endpoints": f'["tcp/{place}"]'})
    session.declare_subscriber("bench/message", lambda sample: handle(sample.payload.to_bytes()))
    ready(place)
    while not stop():
        time.sleep(_SLICE)
    session.close()


def _paho_client(address: str) -> Any:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2)
    client.max_queued_messages_set(0)
    client.connect(*_place(address))
    return client


def _paho(address: str) -> tuple[Send, Callable[[], Any]]:
    client = _paho_client(address)
    client.loop_start()
    time.sleep(_CONNECTING)

    def close() -> None:
        deadline = time.monotonic() + _PATIENCE
        while client.want_write() and time.monotonic() < deadline:
            time.sleep(0.01)
        client.disconnect()
        client.loop_stop()

    return (lambda payload: client.publish("bench/message", payload, qos=0)), close


def _take_paho(address: str, ready: Ready, stop: Stop, handle: Handler) -> None:
    client = _paho_client(address)
    known = threading.Event()
    client.on_message = lambda _client, _data, message: handle(message.payload)
    client.on_subscribe = lambda *_all: known.set()
    client.on_connect = lambda *_all: client.subscribe("bench/message", qos=0)
    client.loop_start()
    if not known.wait(_PATIENCE):
        raise TurnFailed("the server did not answer")
    ready(address)
    while not stop():
        time.sleep(_SLICE)
    client.disconnect()
    client.loop_stop()


LOOPBACK: Final = "atmost loopback"
NETWORK: Final = "atmost 1432 B"
CARRIER: Final = "atmost over NATS"
NATS: Final = "nats-py"
ZMQ: Final = "pyzmq"
RAW: Final = "raw UDP socket"

SYSTEMS: Final = (
    System(LOOPBACK, "datagrams of 61,440 bytes; every rule on", _ours(None), _take_ours),
    System(NETWORK, "datagrams of 1432 bytes, as on a network; every rule on", _ours(1432), _take_ours),
    System(ZMQ, f"PUB/SUB over tcp, high-water mark {_HIGH_WATER:,}", _zmq, _take_zmq, needs="zmq"),
    System(RAW, f"one message a datagram, receive buffer {RECEIVE_BUFFER >> 20} MiB", _udp, _take_udp),
    System("statsd", "pipeline of 20, a counter instead of the payload", _statsd, _take_lines, needs="statsd"),
    System(
        "datadog", "buffered, no telemetry, a counter instead of the payload", _dogstatsd, _take_lines, needs="datadog"
    ),
    System(
        "redis-py",
        "publish in a pipeline of 100",
        _redis,
        _take_redis,
        needs="redis",
        server="redis-server",
    ),
    System(
        CARRIER,
        "datagrams as large as the server takes, never replayed; every rule on",
        _over_nats,
        _take_over_nats,
        server="nats-server",
    ),
    System(
        NATS,
        f"core publish, {_NATS_TURN} in a turn of the loop",
        _nats,
        _take_nats,
        needs="nats",
        server="nats-server",
    ),
    System(
        "zenoh",
        "best effort and dropped when congested, peer to peer over tcp",
        _zenoh,
        _take_zenoh,
        needs="zenoh",
    ),
    System("paho-mqtt", "QoS 0 through mosquitto", _paho, _take_paho, needs="paho", server="mosquitto"),
    System(
        "SysLogHandler",
        "the standard library's, over UDP",
        _logging(logging.handlers.SysLogHandler),
        _take_udp,
        full=True,
    ),
    System(
        "DatagramHandler",
        "the standard library's",
        _logging(lambda place: logging.handlers.DatagramHandler(*place)),
        _take_udp,
        full=True,
    ),
)
"""Those with `full` are far slower than the others and tell less."""
