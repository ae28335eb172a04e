"""Machine instructions of the hot loops: a figure that does not depend on other work on the machine.

    python -m benchmarks.instructions [--source DIR] [--only send inc] [--json]

Each loop runs under valgrind's callgrind with N and with 3 N rounds; the difference, divided by 2 N, is the cost of a round
without the start of the interpreter. `--source DIR` also measures another checkout's `src`, and prints the ratio:
the commit before, in `git worktree add DIR COMMIT`.
`Sender.send` depends on the time since the previous message, which valgrind stretches; here a message never leaves because the sender is idle.
`ATMOST_PURE=1` counts the readable Python where the compiled hot path was built.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, show

ROUNDS = 2000
_TOTALS = re.compile(r"^totals: (\d+)$", re.MULTILINE)
HERE = Path(__file__).resolve().parent.parent / "src"

SET_UP = """
import sys
rounds = int(sys.argv[1])
import atmost
from atmost.core.datagram import encode_message
from atmost.core.receiving import ReceiverCore
try:
    from atmost.core.receiving import ReceiverOptions
    from atmost.core.sending import SenderCore, SenderOptions
except ImportError:
    from atmost.core.parameters import ReceiverOptions, SenderOptions
    from atmost.core.sending import SenderCore
from atmost.core.seal import NO_KEY, no_keys
payload = b"x" * 128

def datagrams(count, messages):
    core = SenderCore(SenderOptions(), 61_440, no_keys()[NO_KEY], name="n", host="h", pid=1)
    core.begin(7, 3_000_000, 0.0)
    made, item = [], encode_message(("bench.message", payload))
    for number in range(count):
        for _ in range(messages):
            core.open.append(item)
            core.size += len(item)
        core.open_since = number * 0.001
        while (out := core.next_datagram(number * 0.001, 3_000_000 + number, flush=True)) is not None:
            core.handed_over(out, None, number * 0.001)
            made.append(out.data)
    return made
"""

SENDER = """
import itertools, socket, time
from atmost.core import sending
from atmost.endpoint import sender as endpoint
# No message leaves because the sender is idle, no thread comes, and in the readable Python no beacon: nothing depends on the time.
sending._IMMEDIATE_EVERY = 1e9
if getattr(endpoint, "native", None) is not None:
    endpoint._bind()
else:
    time.monotonic = itertools.repeat(time.monotonic()).__next__
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", 0))
sender = atmost.Sender(f"udp://127.0.0.1:{sock.getsockname()[1]}", name="n", linger=60.0)
send, flush = sender.send, sender.flush
send("bench.message", payload)
flush()
core = sender._core
(core.background if hasattr(core, "background") else sender._flusher).comes_at = 0.0
"""
"""A sender of any version over a real socket, whose hand-overs come only when they are asked for."""

LOOPS = {
    "send(), buffered": SENDER
    + """
for _ in range(rounds // 10):
    for _ in range(200):
        send("bench.message", payload)
    core.open.clear()
    core.size = 0
import os; os._exit(0)
""",
    "send() and hand-over, 1 message": SENDER
    + """
for _ in range(rounds):
    send("bench.message", payload)
    flush()
import os; os._exit(0)
""",
    "send() and hand-over of 8 messages": SENDER
    + """
for _ in range(rounds):
    for _ in range(8):
        send("bench.message", payload)
    flush()
import os; os._exit(0)
""",
    "datagram of 8 messages, sending core": """
datagrams(rounds, 8)
""",
    "datagram of 1 message, core": """
core = ReceiverCore(ReceiverOptions(future_bound=0.5, clock_guard=0.5), 0)
data = datagrams(rounds + 10, 1)
for number, one in enumerate(data):
    core.receive(one, number * 0.001, 3_100_000 + number)
""",
    "datagram of 100 messages, core": """
core = ReceiverCore(ReceiverOptions(future_bound=0.5, clock_guard=0.5), 0)
data = datagrams(rounds // 10 + 10, 100)
for number, one in enumerate(data):
    core.receive(one, number * 0.001, 3_100_000 + number)
""",
    "counter.inc()": """
metrics = atmost.Metrics(atmost.Sender("memory://instructions", name="n"), interval=3600.0)
inc = metrics.counter("c_total", "c").inc
for _ in range(rounds * 20):
    inc()
import os; os._exit(0)
""",
    "histogram.observe()": """
metrics = atmost.Metrics(atmost.Sender("memory://instructions", name="n"), interval=3600.0)
observe = metrics.histogram("h_seconds", "h", unit="seconds").observe
for number in range(rounds * 20):
    observe(0.001 + number % 1000 * 0.001)
import os; os._exit(0)
""",
}
SCALE = {
    "send(), buffered": 20.0,
    "datagram of 100 messages, core": 0.1,
    "counter.inc()": 20.0,
    "histogram.observe()": 20.0,
}
"""Rounds of the loop in one of ROUNDS."""


def main() -> None:
    """Counts, and prints a table or JSON."""
    compare(__doc__, {name: SET_UP + loop for name, loop in LOOPS.items()}, SCALE)


def compare(documentation: str | None, loops: dict[str, str], scale: dict[str, float] | None = None) -> None:
    """Counts programs, where wanted beside the sources of another checkout, and prints a table or JSON.

    Args:
        documentation: of the command.
        loops: programs by name, which find `rounds`.
        scale: how many rounds of a loop one of `rounds` is; 1 where nothing is said.
    """
    parser = arguments(documentation)
    parser.add_argument("--source", type=Path, help="the src folder of another checkout, to compare with")
    parser.add_argument("--only", nargs="+", default=[], help="run only loops whose names contain one of these")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        raise SystemExit("no valgrind: on Debian, apt-get install valgrind")
    rows: list[dict[str, Any]] = []
    for name, loop in loops.items():
        if options.only and not any(each in name for each in options.only):
            continue
        times = (scale or {}).get(name, 1.0)
        row: dict[str, Any] = {"loop": name, "instructions": round(_count(loop, HERE, times))}
        if options.source is not None:
            row["before"] = round(_count(loop, options.source, times))
            row["ratio"] = row["instructions"] / row["before"]
        rows.append(row)
    show(rows, as_json=options.json)


def _count(loop: str, source: Path, scale: float) -> float:
    """Instructions of one round."""
    few, many = (_run(loop, source, rounds) for rounds in (ROUNDS, 3 * ROUNDS))
    return (many - few) / (2 * ROUNDS * scale)


def phases(program: str, rounds: int, **variables: str) -> list[int]:
    """Counts the instructions between one call of `os.getppid()` and the next, in a single run.

    Args:
        program: finds `rounds` as the first argument.
        rounds: how often it does what is counted.
        variables: of the environment.

    Returns:
        What was counted before each call, and after the last one.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        _callgrind([f"--callgrind-out-file={out}", "--dump-before=getppid"], program, HERE, rounds, variables)
        # The files with numbers are dumps in their order; the one without is what came after the last of them.
        dumps = sorted(Path(folder).glob("out.*"), key=lambda path: int(path.suffix[1:]))
        return [int(_TOTALS.findall(path.read_text(encoding="utf-8", errors="replace"))[-1]) for path in [*dumps, out]]


def _run(program: str, source: Path, rounds: int) -> int:
    done = _callgrind(["--callgrind-out-file=/dev/null"], program, source, rounds, {})
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise SystemExit(done.stderr)
    return int(found[1])


def _callgrind(
    options: list[str], program: str, source: Path, rounds: int, variables: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    # Fixed hashes, because dictionaries would otherwise differ from run to run.
    fixed = {"PYTHONPATH": str(source), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["valgrind", "--tool=callgrind", *options, sys.executable, "-c", program, str(rounds)]
    done = subprocess.run(
        command, env={**os.environ, **fixed, **variables}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return done


if __name__ == "__main__":
    main()
