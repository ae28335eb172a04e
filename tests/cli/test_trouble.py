"""What this host refuses gets one line that says what to do, and status 1; no traceback."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_misuse import one_line
from tests.real import BOUND, environment

ANY = "udp://127.0.0.1:0"
UNPRIVILEGED_PORTS = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")

# Root may do everything, so it acts as nobody, having loaded what nobody could not.
AS_NOBODY = """
import encodings.idna, fcntl, os, sys
import atmost.cli.listen
from atmost.cli import main
was_root = not os.geteuid()
if was_root:
    os.seteuid(65534)
sys.argv = ["atmost", *sys.argv[1:]]
try:
    main()
finally:
    if was_root:
        os.seteuid(0)
"""


@pytest.mark.parametrize("command", ["listen", "collect"])
def test_an_address_in_use_names_its_holder(start, commands, command):
    """Two receivers on one address could each process the same message: the second is refused, and told who is there."""
    holder = start("listen", "--bind", ANY)
    line = one_line(commands(command, "--bind", holder.url), status=1)
    assert line.startswith(f"{holder.url} is in use by ")
    assert line.endswith(": stop that receiver, or bind another address")
    if sys.platform == "linux":
        assert f"(pid {holder.pid})" in line
    assert holder.end().status == 0


def test_a_unix_socket_in_use_names_its_holder(start, commands, tmp_path):
    """The path is taken while its receiver lives, and free when it has ended."""
    url = f"unix://{tmp_path}/it.sock"
    holder = start("listen", "--bind", url)
    assert holder.url == url
    line = one_line(commands("collect", "--bind", url), status=1)
    assert line.startswith(f"{url} is in use by ")
    if sys.platform == "linux":
        assert f"(pid {holder.pid})" in line
    assert holder.end().status == 0
    assert list(tmp_path.iterdir()) == []
    assert commands("listen", "--bind", url, "--seconds", "0").status == 0


def test_a_stale_socket_file_is_taken_over(start, commands, tmp_path):
    """A killed receiver leaves its socket file; nobody answers on it, so the next one removes it."""
    url = f"unix://{tmp_path}/it.sock"
    holder = start("listen", "--bind", url)
    assert holder.url == url
    holder.kill()
    assert (tmp_path / "it.sock").exists()
    assert commands("listen", "--bind", url, "--seconds", "0").status == 0
    assert not (tmp_path / "it.sock").exists()


def test_a_socket_of_somebody_else_is_left_alone(commands, tmp_path):
    """Whoever answers there keeps the path, even a program that is none of ours."""
    path = tmp_path / "it.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.bind(str(path))
        line = one_line(commands("listen", "--bind", f"unix://{path}"), status=1)
    assert f"unix://{path} is in use" in line
    assert path.exists()


def test_a_file_that_is_no_socket_is_left_alone(commands, tmp_path):
    """A mistyped path must not cost a file."""
    path = tmp_path / "notes.txt"
    path.write_text("precious")
    line = one_line(commands("listen", "--bind", f"unix://{path}"), status=1)
    assert "a file that is not a socket is there: choose another path, or move the file" in line
    assert path.read_text() == "precious"


def test_a_missing_directory_comes_with_the_command_that_makes_it(commands, tmp_path):
    """The line can be copied."""
    line = one_line(commands("collect", "--bind", f"unix://{tmp_path}/run/it.sock"), status=1)
    assert line.endswith(f"the directory {tmp_path}/run does not exist: mkdir -p {tmp_path}/run")


def test_an_address_of_another_host(commands):
    """A receiver cannot bind what this host does not have (192.0.2.0/24 is for documentation, RFC 5737)."""
    line = one_line(commands("listen", "--bind", "udp://192.0.2.1:7140"), status=1)
    assert line == "cannot receive on udp://192.0.2.1:7140: this host has no such address"


def test_no_permission_for_the_directory(run, tmp_path):
    """The line names the directory that cannot be written."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    line = one_line(run("listen", "--bind", f"unix://{closed}/it.sock", code=AS_NOBODY), status=1)
    assert line.endswith(f"no permission to create files in {closed}")


@pytest.mark.skipif(not UNPRIVILEGED_PORTS.exists(), reason="only Linux tells which ports are open to everybody")
def test_no_permission_for_the_port(run):
    """The line says which ports, and who may."""
    if int(UNPRIVILEGED_PORTS.read_text(encoding="ascii")) <= 7:
        pytest.skip(f"every port is open to everybody here: {UNPRIVILEGED_PORTS}")
    line = one_line(run("listen", "--bind", "udp://127.0.0.1:7", code=AS_NOBODY), status=1)
    assert "no permission: ports below 1024 need root or CAP_NET_BIND_SERVICE" in line


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_full_disk_under_the_output():
    """What could not be written is a failure; the reason stands on standard error."""
    command = [sys.executable, "-m", "atmost", "send", "a.b", "1", "--json", "--url", "memory://nobody"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command, env=environment(), stdout=full, stderr=subprocess.PIPE, check=False, timeout=BOUND
        )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == ["atmost: No space left on device"]


@pytest.mark.parametrize(
    ("words", "closing"),
    [
        ("lab compare --messages 50", ">&-"),
        ("lab scale --fleet 2", "2>&-"),
        ("lab simulate --seed 1", ">&- 2>&-"),
        *(
            pytest.param(words, closing, marks=pytest.mark.slow)
            for words, closing in [
                ("lab compare --messages 50", "2>&-"),
                ("lab compare --messages 50", ">&- 2>&-"),
                ("lab scale --fleet 2", ">&-"),
                ("lab scale --fleet 2", ">&- 2>&-"),
                ("lab simulate --seed 1", ">&-"),
                ("lab simulate --seed 1", "2>&-"),
            ]
        ),
    ],
)
def test_closed_outputs_change_nothing(words, closing):
    """As services and cron jobs may have them: the work is done, what is open gets all of it, and the status is the same."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -m atmost {words} {closing}', sys.executable],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOUND,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert bool(done.stdout) == (closing == "2>&-")
