"""How many datagrams a second a stranger must send until 5 % of the honest messages are lost: without a key, and with one.

    python -m benchmarks.stranger [--honest 1000] [--seconds 3] [--keyed]

Three processes on loopback: a receiver, an honest sender that hands over so many datagrams a second, and a stranger who sends sessions of one forged
datagram each (with `--keyed`, with the right key number and a wrong tag) at a rate that is doubled from one round to the next. What is lost of the
honest session is the receiver's own account. Nothing is pinned: on a machine of few cores the stranger also takes the time of the others.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from multiprocessing.connection import Connection

from atmost import Receiver, Sender
from atmost.core.datagram import HEADER_LAYOUT, Kind, encode_message, pack_messages
from atmost.core.keys import KeyMode, new_key
from atmost.core.limits import MAGIC, VERSION
from atmost.core.seal import NO_KEY, ChecksumSeal
from benchmarks.common import arguments, show

ROUNDS = 12
FIRST = 500
"""Datagrams a second in the first round."""
BURST = 50
"""Datagrams between two looks at the clock."""


def receive(key: str | None, asked: Connection) -> None:
    """Receives, and answers with what came and what was lost of the honest session."""
    with Receiver("udp://127.0.0.1:0", key=key) as receiver:
        asked.send(receiver.url)
        while True:
            while receiver.receive(0.05) is not None:
                if asked.poll():
                    break
            if asked.poll():
                if asked.recv() is None:
                    return
                ledger = receiver.ledger()
                rows = [row for row in ledger.sessions if row.name == "honest"]
                asked.send(
                    (rows[0].sent, rows[0].delivered, ledger.datagrams_in, ledger.kernel_drops) if rows else None
                )


def flood(url: str, key_id: int, rate: float, seconds: float, said: Connection) -> None:
    """Sends forged datagrams at this rate; reports how many it could send."""
    host, port = url.removeprefix("udp://").split(":")
    body, seal = pack_messages([encode_message(("flood", 1))]), ChecksumSeal()
    sent, began = 0, time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        while (passed := time.monotonic() - began) < seconds:
            while sent < passed * rate:
                for _ in range(BURST):
                    wall = time.time_ns() // 1000
                    head = (
                        MAGIC,
                        VERSION << 4 | Kind.DATA,
                        key_id,
                        wall,
                        int.from_bytes(os.urandom(8)),
                        0,
                        0,
                        wall,
                        1,
                        0,
                    )
                    sock.sendto(seal.seal(HEADER_LAYOUT.pack(*head), body), (host, int(port)))
                sent += BURST
                if time.monotonic() - began >= seconds:
                    break
            time.sleep(0.0005)
    said.send(sent / seconds)


def main() -> None:
    """Doubles the rate until a twentieth is lost, and prints every round."""
    parser = arguments(__doc__)
    parser.add_argument("--honest", type=int, default=1000, help="honest datagrams a second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a round (%(default)s)")
    parser.add_argument("--keyed", action="store_true", help="use a key that the stranger does not have")
    options = parser.parse_args()
    key = new_key(os.urandom(32), 7, KeyMode.SIGNED).text() if options.keyed else None
    ours, theirs = multiprocessing.Pipe()
    receiver = multiprocessing.Process(target=receive, args=(key, theirs), daemon=True)
    receiver.start()
    url = ours.recv()
    rows, rate, before = [], float(FIRST), (0, 0, 0, 0)
    with Sender(url, name="honest", key=key) as sender:
        for _ in range(ROUNDS):
            mine, other = multiprocessing.Pipe()
            stranger = multiprocessing.Process(
                target=flood, args=(url, 7 if options.keyed else NO_KEY, rate, options.seconds, other)
            )
            stranger.start()
            began, sent = time.monotonic(), 0
            while (passed := time.monotonic() - began) < options.seconds:
                while sent < passed * options.honest:
                    sender.send("honest", sent)
                    sender.flush()
                    sent += 1
                time.sleep(0.0005)
            forged = mine.recv()
            stranger.join()
            time.sleep(2.5)
            ours.send("account")
            now = ours.recv()
            honest, delivered = now[0] - before[0], now[1] - before[1]
            before = now
            lost = 1 - delivered / honest if honest else 1.0
            rows.append({"forged_a_second": round(forged), "honest_sent": honest, "honest_lost_percent": 100 * lost})
            if lost >= 0.05 or forged < rate / 2:
                break
            rate *= 2
        ours.send(None)
    show(rows, as_json=options.json)


if __name__ == "__main__":
    main()
