"""Real NATS servers of a test's own: on free loopback ports, with their files in a folder of the test, ended with it."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from atmost.demo.cluster import find_server, free_ports
from tests.real import BOUND, until
from tests.relay import Relay

HOST = "127.0.0.1"


class NatsServer:
    """One server: can be killed, stopped, continued and started again on the same port."""

    def __init__(
        self, folder: Path, name: str = "solo", settings: str = "", port: int = 0, *, quiet: bool = False
    ) -> None:
        """Args: folder: for its configuration and log. settings: its configuration besides name and port. quiet: greets nobody."""
        self.name = name
        self._quiet = quiet
        self.port = port or free_ports(1)[0]
        self._config = folder / f"{name}.conf"
        self.log = folder / f"{name}.log"
        self._base = f'server_name: {name}\nlisten: "{HOST}:{self.port}"\nmax_control_line: 8192\n'
        self.configure(settings)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"{HOST}:{self.port}"

    def url(self, channel: str = "test", options: str = "", user: str = "") -> str:
        """Return a URL of ours."""
        return f"nats://{user}{self.address}/{channel}" + (f"?{options}" if options else "")

    def configure(self, settings: str) -> None:
        """Write the configuration; see `reload`."""
        self._config.write_text(self._base + settings, encoding="utf-8")

    def reload(self) -> None:
        """Make the running server read its configuration again."""
        lines = len(self.log.read_text(errors="replace").splitlines())
        self.signal(signal.SIGHUP)
        until(lambda: any("Reloaded" in line for line in self.log.read_text().splitlines()[lines:]))

    def start(self) -> "NatsServer":
        """Start it and wait until it greets."""
        path = find_server()
        assert path is not None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([path, "-c", str(self._config)], stdout=log, stderr=log)
        until(self._greets)
        return self

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def stop(self) -> None:
        """Let it stand still, with all its connections open."""
        self.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End a `stop`."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as nothing can prevent."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(BOUND)
            self.process = None

    def _greets(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text(errors="replace")
        if self._quiet:
            return "Server is ready" in self.log.read_text(errors="replace")
        return _info(self.port) is not None


def _info(port: int) -> dict[str, object] | None:
    with suppress(OSError, ValueError), socket.create_connection((HOST, port), timeout=1) as sock:
        return dict(json.loads(sock.recv(65536).split(b"INFO ", 1)[1]))
    return None


@contextmanager
def running(servers: Sequence[NatsServer]) -> Iterator[list[NatsServer]]:
    """Start servers, and end them whatever happens."""
    try:
        yield [server.start() for server in servers]
    finally:
        for server in servers:
            server.kill()


@contextmanager
def cluster(folder: Path, size: int = 3, settings: str = "") -> Iterator[list[NatsServer]]:
    """Run servers that know each other, with all routes formed."""
    ports = free_ports(2 * size)
    routes = ", ".join(f'"nats://{HOST}:{port}"' for port in ports[size:])
    servers = [
        NatsServer(
            folder,
            f"node{number}",
            f'cluster {{ name: all, listen: "{HOST}:{ports[size + number]}", routes: [{routes}], pool_size: -1 }}\n'
            + settings,
            ports[number],
        )
        for number in range(size)
    ]
    with running(servers):
        until(lambda: formed(servers))
        yield servers


@contextmanager
def far_apart(folder: Path, delay: float) -> Iterator[tuple[list[NatsServer], Relay]]:
    """Run two servers that know each other over a slow route: what passes between them is late by `delay` seconds each way."""
    port = free_ports(1)[0]
    near = NatsServer(folder, "near", f'cluster {{ name: all, listen: "{HOST}:{port}", pool_size: -1 }}\n')
    with running([near]), Relay(port, delay) as relay:
        settings = f'cluster {{ name: all, listen: "{HOST}:{free_ports(1)[0]}", routes: ["nats://{HOST}:{relay.port}"], pool_size: -1 }}\n'
        with running([NatsServer(folder, "far", settings)]) as [far]:
            until(lambda: formed([near, far]))
            yield [near, far], relay


def formed(servers: Sequence[NatsServer]) -> bool:
    """Return whether every server tells its clients of every other."""
    wanted = {server.address for server in servers}
    return all(wanted <= set((_info(server.port) or {}).get("connect_urls") or ()) for server in servers)  # type: ignore[call-overload]
