"""A link between two UDP addresses that loses, duplicates, delays and reorders on purpose, in user space.

`Link` reads datagrams from a socket of its own and forwards them, one way, to a target; `LinkCore` decides what leaves
when and counts it. `serve` runs a link as a process of its own until told to end: `python -m atmost.lab.link --help`.

Promise: the account says what the link really did, in datagrams and in messages; what the network refuses is counted,
never raised; memory is bounded. Not thread-safe: one thread at a time.
"""

import argparse
import dataclasses
import json
import math
import os
import secrets
import selectors
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self, TextIO

from atmost.lab.ending import StopSignals, watch_input
from atmost.lab.faults import FaultRules, Judge, LinkFaults
from atmost.lab.forwarding import LinkAccount, LinkCore
from atmost.lab.journal import LinkJournal
from atmost.lab.sockets import ask_receive_buffer, kernel_drops, resolve

_LARGEST_DATAGRAM = 65_536
"""Bytes; no UDP datagram is larger, so none is truncated."""
_BATCH = 64
"""Datagrams read in one `step`, so that a flood cannot keep its caller waiting."""
_MAX_DRAIN = 65_536
"""Datagrams read by `drain`, so that a flood cannot keep it from ending; more than the receive buffer holds."""
_LONGEST_WAIT = 0.05
"""Seconds between two looks at what may end a loop: unnoticed by whoever waits, nothing beside the link's own work."""


class Link:
    """Forwards datagrams from a UDP address to another, with faults.

    Example:
        >>> with Link("udp://127.0.0.1:7140", FaultRules(LinkFaults(loss=0.05), Random(7))) as link:
        ...     link.run(until=lambda: link.account().received_datagrams >= 1000)
        ...     link.drain()
        ...     print(link.account())
    """

    def __init__(
        self,
        target: str,
        rules: Judge,
        *,
        bind: str = "udp://127.0.0.1:0",
        receive_buffer: int = 4 * 1024 * 1024,
        max_held: int = 65_536,
        max_held_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Bind the link's address; datagrams wait in its receive buffer until `step`, `run` or `drain`.

        Args:
            target: Where to forward, `udp://host:port`.
            rules: What to do with each datagram, asked once for each.
            bind: Where to receive, `udp://host:port`; port 0 takes a free one, see `url`.
            receive_buffer: Bytes to ask the kernel for, beyond its limit where privileges allow. Too small a buffer
                loses datagrams before the link sees them, and these are known by number only.
            max_held: Copies that may wait for their time at once; a datagram that does not fit is dropped.
            max_held_bytes: Bytes that may wait for their time at once; a datagram that does not fit is dropped.
            clock: Seconds that never step back.

        Raises:
            ValueError: An address that is no `udp://host:port`, or a target that is the link itself.
            OSError: A name that does not resolve, or an address that cannot be bound.
        """
        self._core = LinkCore(rules, max_held=max_held, max_held_bytes=max_held_bytes)
        self._clock = clock
        self._buffer = memoryview(bytearray(_LARGEST_DATAGRAM))
        target_family, self._target = resolve("target", target, lowest_port=1)
        family, address = resolve("bind", bind, lowest_port=0)
        # Two sockets: what comes back from the target, answer or ICMP error, cannot reach the one that is read.
        self._receiving = socket.socket(family, socket.SOCK_DGRAM)
        self._sending = socket.socket(target_family, socket.SOCK_DGRAM)
        self._selector = selectors.DefaultSelector()
        try:
            self._receiving.setblocking(False)
            self._sending.setblocking(False)
            ask_receive_buffer(self._receiving, receive_buffer)
            self._receiving.bind(address)
            self.address: tuple[str, int] = self._receiving.getsockname()[:2]
            """Host and port the link receives on."""
            _refuse_loop(target, self._target, self.address)
            self._selector.register(self._receiving, selectors.EVENT_READ)
        except BaseException:
            self.close()
            raise
        host, port = self.address
        self.url = f"udp://[{host}]:{port}" if ":" in host else f"udp://{host}:{port}"
        """The same for a sender's `url`."""

    def __enter__(self) -> Self:
        """Return the link itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the link, without draining it."""
        self.close()

    def step(self, timeout: float = 0.0) -> int:
        """Forward what is due and take in one batch of what has arrived.

        Args:
            timeout: Seconds to wait for either, rounded up to whole milliseconds by some kernels.

        Returns:
            How many datagrams were taken in.
        """
        deadline = self._core.next_deadline()
        if deadline is not None:
            timeout = min(timeout, deadline - self._clock())
        ready = self._selector.select(max(0.0, timeout))
        self._send_due(self._clock())
        return self._read(_BATCH) if ready else 0

    def run(self, until: Callable[[], bool]) -> None:
        """Forward until told to end; what is still held then stays held.

        Args:
            until: Asked before every step, at least every 50 ms; the link ends when it returns True.
        """
        while not until():
            self.step(_LONGEST_WAIT)

    def drain(self) -> None:
        """Take in what has arrived already, by the rules, and send what is held: at once, in the order it is due."""
        self._read(_MAX_DRAIN)
        self._send_due(math.inf)

    def partition(self, on: bool) -> None:  # noqa: FBT001 - a switch, and its only argument
        """Drop everything from now on, or stop doing so. What is held is dropped if its time comes while this is on."""
        self._core.partition(on)

    def account(self) -> LinkAccount:
        """Return what the link did so far."""
        return self._core.account(kernel_drops(self._receiving))

    def close(self) -> None:
        """Close the sockets. What is held or unread is gone without being counted: drain first. May be repeated."""
        self._selector.close()
        self._receiving.close()
        self._sending.close()

    def _read(self, limit: int) -> int:
        """Take in up to so many datagrams, forwarding what is due after each; return how many there were."""
        for taken in range(limit):
            try:
                size = self._receiving.recv_into(self._buffer)
            except BlockingIOError:
                return taken
            now = self._clock()
            self._core.receive(bytes(self._buffer[:size]), now)
            self._send_due(now)
        return limit

    def _send_due(self, now: float) -> None:
        """Send the copies due by now."""
        while (datagram := self._core.take_due(now)) is not None:
            try:
                self._sending.sendto(datagram.content, self._target)
            except OSError:
                self._core.refused(datagram)
            else:
                self._core.sent(datagram)


def serve(
    target: str,
    faults: LinkFaults,
    *,
    seed: int | None = None,
    bind: str = "udp://127.0.0.1:0",
    journal: Path | None = None,
    output: TextIO | None = None,
) -> LinkAccount:
    """Run a link until SIGTERM, SIGINT or the end of standard input, then drain it.

    Writes two JSON objects, one a line: `url`, `target` and `seed` when datagrams may come, and the account at the end.
    Standard input ends the link only where it is a pipe or a socket, whose other end can vanish with the process that
    holds it. A signal that is ignored at the start stays so. To be called from the main thread.

    Args:
        target: Where to forward, `udp://host:port`.
        faults: What to do to the datagrams.
        seed: Of the faults; None takes any, and the first line tells which.
        bind: Where to receive, `udp://host:port`.
        journal: A log file to append one line a second to: INFO, or WARNING when something was dropped.
        output: Where the two lines go; None for standard output.

    Returns:
        What the link did.

    Raises:
        ValueError: An address that is no `udp://host:port`.
        OSError: An address that cannot be had, or a journal that cannot be written.
    """
    output = output or sys.stdout
    seed = secrets.randbits(32) if seed is None else seed
    input_ended = watch_input()  # Before any socket, which could take the number of a closed standard input.
    rules = FaultRules(faults, Random(seed))
    with Link(target, rules, bind=bind) as link, LinkJournal(journal) as log, StopSignals() as stop:
        _write(output, {"url": link.url, "target": target, "seed": seed})
        log.started(link.url, target, seed, faults)
        while not (stop.asked or input_ended()):
            link.step(_LONGEST_WAIT)
            log.tick(link.account)
        link.drain()
        account = link.account()
        log.ended(account)
        _write(output, dataclasses.asdict(account))
    return account


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `serve` from the command line.

    Args:
        arguments: Those after the program's name; None takes the process's own.

    Returns:
        The exit status: 0 when told to end, 1 on failure; wrong usage exits with 2.
    """
    parser = argparse.ArgumentParser(
        prog="python -m atmost.lab.link",
        description="Forward UDP datagrams one way, with faults, until SIGTERM, SIGINT or the end of a piped input.",
        epilog="Probabilities are 0 to 1, times are seconds. Prints its address, and its account at the end, as JSON.",
    )
    parser.add_argument("--target", required=True, metavar="URL", help="where to forward, udp://host:port")
    parser.add_argument("--bind", default="udp://127.0.0.1:0", metavar="URL", help="where to receive (%(default)s)")
    parser.add_argument("--seed", type=int, help="same seed, same faults (any)")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="log file to append a line a second to (none)")
    options = dataclasses.fields(LinkFaults)
    for option in options:
        flag = "--" + option.name.replace("_", "-")
        kind = int if isinstance(option.default, int) else float
        parser.add_argument(flag, type=kind, default=option.default, metavar="N", help="(%(default)s)")
    given = vars(parser.parse_args(arguments))
    try:
        faults = LinkFaults(**{option.name: given.pop(option.name) for option in options})
        serve(faults=faults, **given)
    except ValueError as error:
        parser.error(str(error))
    except BrokenPipeError:
        # Nobody reads the account any more; the interpreter must not find so a second time when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)  # noqa: T201 - the command line's own words
        return 1
    return 0


def _refuse_loop(url: str, target: tuple[Any, ...], own: tuple[str, int]) -> None:
    """Refuse a target that would have the link forward the same datagram to itself for ever."""
    if target[:2] == own:
        raise ValueError(f"target must be another address than the link's own, got {url!r}")


def _write(output: TextIO, value: dict[str, Any]) -> None:
    """Write one line of JSON, at once."""
    output.write(json.dumps(value) + "\n")
    output.flush()


if __name__ == "__main__":
    sys.exit(main())
