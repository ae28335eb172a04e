"""The arms over real UDP: the same code in real time, through links that lose, double and delay what they carry.

One process and one thread: both ends of an arm and its two links (there and back) take turns. Crashes are drawn at the
receiver and the links decide everything else. So the fates differ from the simulation's, but follow the same law.

Promise: every wait is bounded, and sockets are closed whatever happens. Not thread-safe.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from random import Random
from typing import Any, Final, Self

from atmost.core.limits import GRACE
from atmost.errors import OptionError
from atmost.lab.compare.closed_forms import checks
from atmost.lab.compare.measures import GroundTruth, Tally, report
from atmost.lab.compare.network import REPLY, Acknowledged, Copy, Crash, Purpose, Receive, Traffic
from atmost.lab.compare.options import CompareOptions
from atmost.lab.compare.running import ARMS, Comparison, Stop, Watch
from atmost.lab.faults import FaultRules, LinkFaults
from atmost.lab.link import Link
from atmost.lab.world import Agenda

MAX_SECONDS: Final = 600.0
"""The longest run, as messages times interval (s)."""
_LARGEST: Final = 65_536
_IDLE: Final = 0.000_5
"""Time between two checks when nothing happens (s): short beside a latency of milliseconds."""


class RealNetwork:
    """Four sockets and two links on the loopback interface."""

    def __init__(self, options: CompareOptions, clock: Callable[[], float] = time.monotonic) -> None:
        """Opens everything.

        Args:
            options: the faults of the links.
            clock: monotonic, seconds.

        Raises:
            OSError: a socket could not be opened.
        """
        self.traffic = Traffic()
        self._clock, self._began = clock, clock()
        self._wall_us = time.time_ns() // 1000
        self._options = options
        self._crashes = Random(f"{options.seed} crashes").random
        self._agenda = Agenda(0.0)
        there = LinkFaults(loss=options.loss, duplicate=options.duplicate, delay=options.latency, jitter=options.jitter)
        back = LinkFaults(loss=options.ack_loss, delay=options.latency, jitter=options.jitter)
        with ExitStack() as stack:
            self._sender = stack.enter_context(_socket())
            self._receiver = stack.enter_context(_socket())
            rules = [FaultRules(faults, Random(f"{options.seed} {way}")) for way, faults in enumerate((there, back))]
            self._there = stack.enter_context(Link(_url(self._receiver), rules[0]))
            self._back = stack.enter_context(Link(_url(self._sender), rules[1]))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes every socket."""
        self._stack.close()

    @property
    def now(self) -> float:
        """Time since the network was opened (s)."""
        return self._clock() - self._began

    @property
    def wall_us(self) -> int:
        """The host's clock at the opening plus the time since then, so that setting the clock changes nothing (µs)."""
        return self._wall_us + round(self.now * 1e6)

    def connect(self, receive: Receive, acknowledged: Acknowledged) -> None:
        """Sets the functions that are called when something arrives."""
        self._receive = receive
        self._acknowledged = acknowledged

    def transmit(self, datagram: bytes, purpose: Purpose) -> None:
        """Hands a datagram to the kernel, which hands it to the link."""
        self.traffic.count(purpose, datagram)
        self._send(self._sender, datagram, self._there)

    def reply(self, datagram: bytes, copy: Copy) -> None:  # noqa: ARG002  the link decides, not the copy
        """Hands an acknowledgement to the kernel."""
        self.traffic.count(REPLY, datagram)
        self._send(self._receiver, datagram, self._back)

    def after(self, delay: float, action: Callable[..., object], *arguments: Any) -> None:
        """Calls `action(*arguments)` after a delay (s)."""
        self._agenda.at(self.now + delay, action, *arguments)

    def step(self) -> bool:
        """Does everything that is due; returns whether anything arrived."""
        moved = self._there.step() + self._back.step()
        for datagram in _waiting(self._receiver):
            moved += 1
            self._receive(datagram, Copy(0.0, self._crash(), 0.0))
        for datagram in _waiting(self._sender):
            moved += 1
            self._acknowledged(datagram)
        self._agenda.run_until(self.now)
        return moved > 0

    def _send(self, sending: socket.socket, datagram: bytes, link: Link) -> None:
        try:
            sending.sendto(datagram, link.address)
        except OSError:
            self.traffic.refused += 1

    def _crash(self) -> Crash:
        options, chance = self._options, self._crashes()
        if chance < options.crash_before:
            return Crash.BEFORE
        after = (1 - options.crash_before) * options.crash_after
        return Crash.AFTER if chance < options.crash_before + after else Crash.NEVER


def compare_real(options: CompareOptions, watch: Watch = lambda _count: None, stop: Stop = lambda: False) -> Comparison:
    """Offers the same messages to all three arms over real sockets, all at the same time.

    Args:
        options: faults, traffic and seed.
        watch: called with the progress.
        stop: called now and then; True offers nothing more and gives up all retries.

    Raises:
        OptionError: the run would take longer than `MAX_SECONDS`.
        OSError: a socket could not be opened.
    """
    if options.messages * options.interval > MAX_SECONDS:
        raise OptionError(
            "messages",
            options.messages,
            f"at most {MAX_SECONDS:g} s of messages in real time, one every {options.interval:g} s",
        )
    with ExitStack() as stack:
        networks = [stack.enter_context(RealNetwork(options)) for _ in ARMS]
        tallies = [Tally() for _ in ARMS]
        arms = [kind(options, network, tally) for kind, network, tally in zip(ARMS, networks, tallies, strict=True)]
        offered = 0
        while offered < options.messages and not (offered and stop()):
            if networks[0].now >= options.ready_after + offered * options.interval:
                for arm, network, tally in zip(arms, networks, tallies, strict=True):
                    tally.offered.append(network.now)
                    arm.send(offered)
                offered += 1
                watch(len(arms))
            _turn(networks)
        _until(networks, networks[0].now + options.interval)
        for arm in arms:
            arm.finish()
        while (retrying := any(arm.busy for arm in arms)) and not stop():
            _turn(networks)
        _until(networks, networks[0].now + options.round_trip + 3 * GRACE)
        truth = GroundTruth(options, offered)
        reports = tuple(
            report(arm.name, tally, network.traffic, truth)
            for arm, network, tally in zip(arms, networks, tallies, strict=True)
        )
    # Times on a host with other work do not follow a closed form.
    beside = tuple(check for check in checks(options, reports) if "(s)" not in check.figure)
    complete = offered == options.messages and not retrying
    return Comparison(options, offered, complete, True, reports, beside)


def _turn(networks: list[RealNetwork]) -> None:
    moved = [network.step() for network in networks]
    if not any(moved):
        time.sleep(_IDLE)


def _until(networks: list[RealNetwork], end: float) -> None:
    while networks[0].now < end:
        _turn(networks)


def _socket() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(("127.0.0.1", 0))
    opened.setblocking(False)
    return opened


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()
    return f"udp://{host}:{port}"


def _waiting(receiving: socket.socket) -> list[bytes]:
    """Reads at most a few datagrams that have arrived, so that the other sockets get their turn."""
    datagrams: list[bytes] = []
    while len(datagrams) < 64:
        try:
            datagrams.append(receiving.recv(_LARGEST))
        except BlockingIOError:
            break
    return datagrams
