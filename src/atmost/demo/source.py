"""The demo's sending process: the agent of this host over the link, until it is told to end.

Prints two JSON lines: its name, once it handles SIGTERM, and at the end what became of its messages.
Ends on SIGTERM, or when its standard input ends because the demo is gone.
"""

from __future__ import annotations

import os
import sys
import time

import msgspec

from atmost.agent.agent import Agent
from atmost.agent.follow import Follower, FollowOptions
from atmost.endpoint.sender import Sender
from atmost.lab.process import StopSignals, watch_input

_DATAGRAM = 1432
"""Small, as on a network: a lost datagram then takes a few messages with it, not a whole second of them."""
_INTERVAL = 1.0


def main(url: str, name: str, log: str) -> None:
    """Sends readings, heartbeats and a followed log.

    Args:
        url: the link's address.
        name: the sender's name.
        log: the file to follow, from its start.
    """
    input_ended = watch_input()
    with StopSignals() as stop:
        sender = Sender(url, name=name, max_datagram=_DATAGRAM)
        follower = Follower(log, FollowOptions(from_start=True))
        agent = Agent(sender, time.monotonic(), interval=_INTERVAL, logs=[follower], notice=lambda _text: None)
        _say(msgspec.json.encode({"name": name}))
        while not (stop.asked or input_ended()):
            time.sleep(min(0.05, agent.turn(time.monotonic())))
        agent.close()
        sender.close()
    if not _say(msgspec.json.encode(sender.stats())):
        sys.exit(1)


def _say(line: bytes) -> bool:
    """Print a line at once; False when the demo is gone, so that nobody would read a traceback."""
    try:
        os.write(1, line + b"\n")
    except BrokenPipeError:
        return False
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
