"""A link as a process of its own: `python -m atmost.lab.process --help`.

It ends by SIGTERM, SIGINT or the end of its standard input, drains the link, and prints the account as JSON.
Its log has one line a second with what it did since the previous line, and a last line with the sum, in the format of the
standard library's logging: INFO, or WARNING if something was dropped. The lines add up to the account.
Not thread-safe: one thread at a time.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import secrets
import select
import signal
import stat
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self, TextIO

from atmost.lab.faults import FaultRules, LinkFaults
from atmost.lab.link import Link, LinkAccount

_LONGEST_WAIT = 0.05
"""Seconds between two checks of what may end the loop: too short to notice, too rare to cost anything."""


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
    holds it. A signal that is ignored at the start stays ignored. Call it from the main thread.

    Args:
        target: Where to forward, `udp://host:port`.
        faults: What to do to the datagrams.
        seed: Seed of the faults; None takes any, and the first line reports it.
        bind: Where to receive, `udp://host:port`.
        journal: A log file to append one line a second to: INFO, or WARNING when something was dropped.
        output: Where the two lines go; None for standard output.

    Returns:
        The link's account.

    Raises:
        ValueError: An address is not `udp://host:port`.
        OSError: An address cannot be bound, or the journal cannot be written.
    """
    output = output or sys.stdout
    seed = secrets.randbits(32) if seed is None else seed
    input_ended = (
        watch_input()
    )  # Before any socket is opened, because it could get the number of a closed standard input.
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
        arguments: The command line after the program's name; None takes the process's own.

    Returns:
        The exit status: 0 when told to end, 1 on failure; wrong usage exits with 2.
    """
    parser = argparse.ArgumentParser(
        prog="python -m atmost.lab.process",
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
        # Nobody reads the account any more; keep the interpreter from failing over the same pipe when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)  # noqa: T201 - the command line's own words
        return 1
    return 0


def _write(output: TextIO, value: dict[str, Any]) -> None:
    """Write one line of JSON, at once."""
    output.write(json.dumps(value) + "\n")
    output.flush()


_INTERVAL = 1.0
"""Seconds from line to line."""
_SHOWN = (
    "received_datagrams",
    "received_messages",
    "dropped_datagrams",
    "dropped_messages",
    "duplicated_datagrams",
    "reordered_datagrams",
    "corrupted_datagrams",
    "kernel_drops",
)


class LinkJournal:
    """Writes the log of one link to a file, or nowhere."""

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Open the file.

        Args:
            path: The file to append to; None writes nothing.
            clock: Seconds that never step back, for the time between lines.

        Raises:
            OSError: The file cannot be opened.
        """
        self._clock = clock
        self._next = clock() + _INTERVAL
        self._told = dict.fromkeys(_SHOWN, 0)
        self._handler = logging.NullHandler() if path is None else logging.FileHandler(path, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._logger = logging.getLogger("atmost.lab.link")
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False
        self._logger.addHandler(self._handler)

    def __enter__(self) -> Self:
        """Return the journal itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self._logger.removeHandler(self._handler)
        self._handler.close()

    def started(self, url: str, target: str, seed: int, faults: LinkFaults) -> None:
        """Write a line with the link's addresses, seed and faults."""
        options = ", ".join(f"{name} {value:g}" for name, value in asdict(faults).items())
        self._logger.info("link from %s to %s with seed %d: %s", url, target, seed, options)

    def tick(self, account: Callable[[], LinkAccount]) -> None:
        """Write the line of the last second, if that second is over.

        Args:
            account: Returns the link's account so far; called only when a line is due.
        """
        now = self._clock()
        if now >= self._next:
            # After a pause, one line covers all of it and the rhythm stays the same.
            self._next += _INTERVAL * (1 + (now - self._next) // _INTERVAL)
            self._write("saw", account())

    def ended(self, account: LinkAccount) -> None:
        """Write what happened since the last line, and then the sum."""
        self._write("saw", account)
        self._told = dict.fromkeys(_SHOWN, 0)
        self._write("ended; in all it saw", account)

    def _write(self, opening: str, account: LinkAccount) -> None:
        """Write the growth of the account since the last line."""
        totals = {name: getattr(account, name) or 0 for name in _SHOWN}  # None is an unknown count and is left out.
        new = {name: totals[name] - self._told[name] for name in _SHOWN}
        self._told = totals
        text = (
            "{received_datagrams} datagrams with {received_messages} messages, "
            "dropped {dropped_datagrams} datagrams with {dropped_messages} messages, "
            "duplicated {duplicated_datagrams}, reordered {reordered_datagrams}, corrupted {corrupted_datagrams}"
        ).format_map(new)
        if new["kernel_drops"]:
            text += f"; {new['kernel_drops']} more were dropped by the kernel, for want of receive buffer"
        level = logging.WARNING if new["dropped_datagrams"] or new["kernel_drops"] else logging.INFO
        self._logger.log(level, "%s %s", opening, text)


class StopSignals:
    """While entered, remembers whether SIGTERM or SIGINT arrived; main thread only.

    A signal that is ignored stays ignored, because the parent then handles Ctrl-C for the whole group.
    """

    def __init__(self) -> None:
        """Prepare; nothing is caught yet."""
        self.asked = False
        """Whether a signal came."""

    def __enter__(self) -> Self:
        """Catch the signals."""
        numbers = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._ask) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, *_: object) -> None:
        self.asked = True


def watch_input() -> Callable[[], bool]:
    """Return a function that reports whether standard input has ended; it reads and ignores all input.

    Only a pipe or a socket counts as ended, once the process at its other end is gone. A terminal, a file, a device such
    as /dev/null or an input closed from the start never does.
    """
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return lambda: False
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return lambda: False

    def ended() -> bool:
        try:
            return bool(select.select([0], [], [], 0)[0]) and not os.read(0, 4096)
        except OSError:
            return True

    return ended


if __name__ == "__main__":
    sys.exit(main())
