"""Prints the walks through the code: which files one message, log record or StatsD line passes, and how the tree is made.

    python scripts/walks.py [--json] [--show NAME]

A walk is one warm call under `sys.setprofile`: the files of this package whose functions run, the greatest depth of calls
within the package, and how often control passes from one file to another. The figures of the tree follow: files, lines,
the median length of a file, and circles of imports (imports within functions and for annotations only count too).
`--show NAME` prints the calls of one walk, indented.
"""

from __future__ import annotations

import argparse
import ast
import json
import logging
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atmost.collector.state.state import CollectorState

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "atmost"
sys.path.insert(0, str(ROOT / "src"))


class Walk:
    """The files and calls that one walk passed through."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.files: list[str] = []
        self.calls: list[tuple[int, str, str]] = []
        self._stack: list[bool] = []
        self.depth = 0
        self.switches = 0
        self._last = ""

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """The profile function."""
        if event == "call":
            path = frame.f_code.co_filename
            ours = path.startswith(str(SOURCE))
            self._stack.append(ours)
            if ours:
                file = path[len(str(SOURCE)) + 1 :]
                depth = sum(self._stack)
                self.depth = max(self.depth, depth)
                self.calls.append((depth, file, frame.f_code.co_qualname))
                if file not in self.files:
                    self.files.append(file)
                self._pass_to(file)
        elif event == "return" and self._stack:
            self._stack.pop()
            back = frame.f_back
            if back is not None and back.f_code.co_filename.startswith(str(SOURCE)) and any(self._stack):
                self._pass_to(back.f_code.co_filename[len(str(SOURCE)) + 1 :])

    def _pass_to(self, file: str) -> None:
        if self._last and file != self._last:
            self.switches += 1
        self._last = file


def walk(name: str, action: Callable[[], Any]) -> Walk:
    """Profiles one call."""
    found = Walk(name)
    sys.setprofile(found)
    try:
        action()
    finally:
        sys.setprofile(None)
    return found


def walks() -> Iterator[Walk]:
    """Returns all walks, each over objects already warmed up."""
    import atmost

    collector = _collector()
    with (
        atmost.Receiver("memory://walks") as receiver,
        atmost.Sender("memory://walks", name="walker", linger=60.0) as sender,
    ):

        def flushed() -> None:
            sender.flush()
            receiver.receive(1.0)

        def send() -> None:
            sender.send("walk.message", 1)

        send()
        flushed()
        # A message right after another one waits to share a datagram; a message that comes alone goes to the outlet at once.
        tries = []
        for _ in range(9):
            send()
            tries.append(walk("Sender.send, buffered", send))
            flushed()
        yield min(tries, key=lambda found: found.switches)
        while receiver.receive(0.05) is not None:
            pass
        yield walk("Sender.send to the outlet", send)
        yield walk("datagram to message", lambda: receiver.receive(1.0))

        # Records of level ERROR leave at once.
        logger = logging.Logger("walk", 1)  # noqa: LOG001  of this walk alone
        logger.addHandler(handler := atmost.LogHandler(sender))

        def to_the_tail() -> None:
            event = receiver.next_event(1.0)
            assert event is not None
            collector.feed(event, time.time(), time.monotonic())

        for _ in range(2):
            logger.error("warm")
            to_the_tail()
        yield walk("log record, emit to outlet", lambda: logger.error("a record"))
        yield walk("log record, socket to collector's tail", to_the_tail)
        handler.close()
    yield statsd_walk(collector)
    yield cache_walk()


def _collector() -> CollectorState:
    from atmost.collector.options import CollectorOptions
    from atmost.collector.state.state import CollectorState

    return CollectorState(CollectorOptions(), time.time(), time.monotonic())


def statsd_walk(collector: CollectorState) -> Walk:
    """A StatsD line from its bytes to the state of the collector."""
    from atmost.collector.listening import StatsdReader
    from atmost.collector.options import Place
    from atmost.collector.state.listeners import ListenerStats

    url = "udp://127.0.0.1:8125"
    reader, stats = StatsdReader(collector, Place("127.0.0.1", 8125)), ListenerStats("statsd", url)

    def read() -> None:
        reader.feed(deque([(b"hits:1|c|#env:prod", ("127.0.0.1", 1))]), stats, time.time(), None)
        collector.statsd.book_all()

    read()
    return walk("StatsD line to state", read)


def cache_walk() -> Walk:
    """A miss, its load, and the value kept."""
    import atmost

    cache = atmost.HintedCache(max_ttl=60.0)
    cache.get_or_load("warm", lambda: 1)
    return walk("cache miss with load", lambda: cache.get_or_load("cold", lambda: 2))


def tree() -> dict[str, Any]:
    """The figures of the tree."""
    files = sorted(SOURCE.rglob("*.py"))
    lines = [len(file.read_text(encoding="utf-8").splitlines()) for file in files]
    return {
        "files": len(files),
        "lines": sum(lines),
        "median": statistics.median(lines),
        "60 lines or fewer (without __init__)": sum(
            count <= 60 for file, count in zip(files, lines, strict=True) if file.name != "__init__.py"
        ),
        "circles": [" <-> ".join(circle) for circle in circles(files)],
    }


def circles(files: list[Path]) -> list[list[str]]:
    """Modules that import each other, directly or through others."""
    names = {_name(file): file for file in files}
    needs = {name: _imports(name, file, names) for name, file in names.items()}
    found = {frozenset(group) for name in names if len(group := _circle_of(name, needs)) > 1}
    return sorted(sorted(group) for group in found)


def _circle_of(name: str, needs: dict[str, set[str]]) -> set[str]:
    onward = _reach(name, needs)
    return {name} | {other for other in onward if name in _reach(other, needs)} if name in onward else {name}


def _reach(name: str, needs: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = [name]
    while todo:
        for other in needs[todo.pop()] - seen:
            seen.add(other)
            todo.append(other)
    return seen


def _name(file: Path) -> str:
    return ".".join(file.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def _imports(name: str, file: Path, names: dict[str, Path]) -> set[str]:
    """The modules of this package that a module imports, also within its functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in names else node.module)
    # A package's `__init__` imports its modules by design, and the root loads everything late.
    return {other for other in found if other in names and other not in {name, "atmost"}}


def main(arguments: list[str]) -> int:
    """Prints everything; exits with 1 if there is a circle of imports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--show", metavar="NAME", help="print the calls of the walks whose name contains this")
    parser.add_argument("--tree", action="store_true", help="only the figures of the tree and its circles")
    options = parser.parse_args(arguments)
    figures = tree()
    rows = [] if options.tree else list(walks())
    if options.show:
        for row in rows:
            if options.show in row.name:
                print(row.name)
                print("\n".join(f"{'  ' * depth}{file}: {name}" for depth, file, name in row.calls))
        return 0
    if options.json:
        table = [
            {"walk": row.name, "files": len(row.files), "depth": row.depth, "switches": row.switches} for row in rows
        ]
        print(json.dumps({"walks": table, "tree": figures}, indent=2))
    else:
        for row in rows:
            print(f"{row.name:30} files {len(row.files):3}  depth {row.depth:3}  switches {row.switches:3}")
        for name, value in figures.items():
            print(f"{name:40} {value if not isinstance(value, list) else len(value)}")
        print("\n".join(f"  {circle}" for circle in figures["circles"]), end="\n" if figures["circles"] else "")
    return 1 if figures["circles"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
