"""A receiver's cost per datagram, socket included, for datagrams that wait in the socket's buffer and are read all at once.

    python -m benchmarks.receiving [--sessions 1000] [--rounds 7] [--json]

One-message datagrams, and full ones of 1432 bytes, from many sessions, over UDP and Unix sockets. Processor time of this
thread per datagram, the median of the rounds; `bare` is a loop of recv that only counts. The difference from the core's
own cost (`atmost lab scale`) is what the carrier adds. `atmost bench --table receiving` has the same figures, with fewer rounds.
"""

from __future__ import annotations

import statistics
import tempfile

from atmost.bench.receiving import Receiving
from benchmarks.common import arguments, show

FULL = 10
"""Messages of 128 bytes in a datagram of 1432."""


def main() -> None:
    """Measures each carrier and size, and prints a table or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--sessions", type=int, default=1000, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        urls = ("udp://127.0.0.1:0", f"unix://{folder}/receiving.sock")
        rows = [measure(url, count, options.sessions, options.rounds) for count in (1, FULL) for url in urls]
    titles = {
        "carrier": "carrier",
        "messages": "messages a datagram",
        "bare_us": "bare recv, µs",
        "receiver_us": "receiver, µs a datagram",
        "datagrams_per_second": "datagrams/s",
        "messages_per_second": "messages/s",
    }
    show(rows, as_json=options.json, titles=titles)


def measure(url: str, messages: int, sessions: int, rounds: int) -> dict[str, float | str]:
    """Measures one carrier and size."""
    receiving = Receiving(url, messages, sessions)
    try:
        samples = [receiving.round() for _ in range(rounds)]
    finally:
        receiving.close()
    cost = statistics.median(ours for ours, _ in samples)
    return {
        "carrier": url.partition(":")[0],
        "messages": messages,
        "bare_us": statistics.median(bare for _, bare in samples),
        "receiver_us": cost,
        "datagrams_per_second": 1e6 / cost,
        "messages_per_second": 1e6 / cost * messages,
    }


if __name__ == "__main__":
    main()
