"""deploy/systemd: units that systemd loads, whose commands are ours, with bounds that fit the options."""

import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from atmost.collector.options import load_options
from atmost.transport.base import RECEIVE_BUFFER
from tests.deploy.conftest import DEPLOY, Collector
from tests.real import until

FOLDER = DEPLOY / "systemd"
UNITS = sorted(path.name for path in FOLDER.glob("*.service"))
TOKEN = "0123456789abcdef"
OURS = "/opt/atmost/bin/atmost"
BESIDE = Path(sys.executable).parent / "atmost"
PLACES = {"%t": "/run", "%d": "/run/credentials", "$MAINPID": "1", "$ATMOST_AGENT_FLAGS": ""}


def settings(*files: Path) -> dict[str, list[str]]:
    """The settings of [Service] in units and drop-ins, as systemd adds them up: an empty one clears those before it."""
    found: dict[str, list[str]] = {}
    for file in files:
        section = ""
        for line in file.read_text(encoding="utf-8").splitlines():
            if re.match(r"\s*[#;]|\s*$", line):
                continue
            if head := re.fullmatch(r"\[(Unit|Service|Install)\]", line):
                section = head[1]
                continue
            parts = re.fullmatch(r"([A-Z][A-Za-z]+)=(.*)", line)
            assert parts, f"{file.name}: {line!r}"
            assert section, f"{file.name}: {line!r} stands in no section"
            if section == "Service":
                values = found.setdefault(parts[1], [])
                values.append(parts[2]) if parts[2] else values.clear()
    return found


def whole(unit: str) -> dict[str, list[str]]:
    """A unit with its drop-ins."""
    return settings(FOLDER / unit, *sorted((FOLDER / f"{unit}.d").glob("*.conf")))


@pytest.mark.parametrize("unit", UNITS)
def test_commands_are_ours(commands, unit):
    """Every option that a unit or its drop-in gives is one of the command's."""
    for given in (settings(FOLDER / unit), whole(unit)):
        (line,) = given["ExecStart"]
        for variable, value in PLACES.items():
            line = line.replace(variable, value)
        program, command, *arguments = shlex.split(line)
        assert program == OURS
        spoken = commands(command, "--help").out
        options = [argument for argument in arguments if argument.startswith("-")]
        assert options or command == "agent"
        assert all(re.search(rf"(?<!\S){option}\b", spoken) for option in options)


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_loads_them(tmp_path, unit):
    """`systemd-analyze verify` has nothing to say, of the unit alone, with its drop-in, and with port 514; a typo it would."""
    text = (FOLDER / unit).read_text(encoding="utf-8").replace(OURS, str(BESIDE))
    drop_in = (FOLDER / f"{unit}.d/secrets.conf").read_text(encoding="utf-8").replace(OURS, str(BESIDE))
    assert _complaints(tmp_path / "alone", unit, text) == ""
    assert _complaints(tmp_path / "with", unit, text, drop_in) == ""
    assert _complaints(tmp_path / "514", unit, re.sub("^#(?=[A-Z][A-Za-z]+=)", "", text, flags=re.MULTILINE)) == ""
    assert "Unknown key" in _complaints(tmp_path / "typo", unit, text.replace("UMask=", "UMsk="))


def test_memory_is_what_the_options_add_up_to():
    """The kernel ends the collector above its own bound, and not below: a tenth to a half on top."""
    (text,) = whole("atmost-collector.service")["MemoryMax"]
    bound = load_options(str(DEPLOY / "examples/collector.toml")).memory_bound()
    assert text.endswith("M")
    assert 1.1 < int(text[:-1]) * (1 << 20) / bound < 1.5


@pytest.mark.parametrize("unit", UNITS)
def test_a_service_has_no_more_rights_than_it_needs(unit):
    """No new privileges, no capability, a read-only system, and sockets of three families only."""
    given = whole(unit)
    assert given["CapabilityBoundingSet"] == []
    for name, value in {"NoNewPrivileges": "yes", "ProtectSystem": "strict", "DynamicUser": "yes"}.items():
        assert given[name] == [value]
    assert given["RestrictAddressFamilies"] == ["AF_INET AF_INET6 AF_UNIX"]


def test_a_group_may_send_to_the_unix_sockets():
    """The service is of a group with a name of its own, which the example's mode lets write, and nobody else."""
    given = whole("atmost-collector.service")
    (group,) = given["Group"]
    assert f"groupadd --system --force {group} " in (DEPLOY.parent / "docs/deploy.md").read_text(encoding="utf-8")
    mode = int(load_options(str(DEPLOY / "examples/collector.toml")).unix_mode, 8)
    assert mode & 0o020
    assert not mode & 0o007
    assert int(given["UMask"][0], 8) == 0o007


def test_secrets_are_copies_only_the_service_can_read(tmp_path, commands):
    """The collector refuses a credential as systemd shows it, mode 440, and takes the copy that the drop-in makes."""
    given = whole("atmost-collector.service")
    (line,) = given["ExecStartPre"]
    loaded = dict(each.split(":") for each in given["LoadCredential"])
    credentials, runtime = tmp_path / "credentials", tmp_path / "run"
    credentials.mkdir()
    (runtime / "atmost").mkdir(parents=True)
    for name, text in {"atmost.key": commands("keygen").out, "token": TOKEN}.items():
        assert loaded[name] == f"/etc/atmost/{name}"
        (credentials / name).write_text(text)
        (credentials / name).chmod(0o440)
    command = line.replace("%d", str(credentials)).replace("%t", str(runtime))
    assert all(f"{credentials}/{name}" in command for name in loaded)
    environment = dict(each.replace("%t", str(runtime)).split("=", 1) for each in given["Environment"])
    started = [sys.executable, "-m", "atmost", "collect", "--http=127.0.0.1:0", "--bind=udp://127.0.0.1:0"]
    bare = {name: str(credentials / Path(path).name) for name, path in environment.items()}
    refused = subprocess.run(started, env=bare, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode != 0
    assert "can be read by others" in refused.stderr
    subprocess.run(shlex.split(command), check=True, timeout=60)
    with Collector("--token-file", environment.pop("ATMOST_COLLECT_TOKEN_FILE"), **environment) as collector:
        assert collector.ask("/metrics")[0] == 401
        assert collector.ask("/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_the_service_is_told_that_it_is_ready_and_alive(tmp_path):
    """Type=notify and WatchdogSec: READY=1 comes, then WATCHDOG=1 within half the time, and STOPPING=1 at the end."""
    (kind,), (watchdog,) = (whole("atmost-collector.service")[name] for name in ("Type", "WatchdogSec"))
    assert (kind, int(watchdog) >= 10) == ("notify", True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        with Collector("--set", "token_file=", **told):
            assert manager.recv(4096).startswith(b"READY=1")
            assert until(lambda: manager.recv(4096) == b"WATCHDOG=1")
        assert until(lambda: manager.recv(4096) == b"STOPPING=1")


def test_kernel_buffers_are_what_receivers_ask_for():
    """The sysctl file grants each socket the receive buffer that it asks for."""
    lines = (FOLDER / "90-atmost.conf").read_text(encoding="utf-8").splitlines()
    given = dict(line.split(" = ") for line in lines if line and not line.startswith("#"))
    assert int(given["net.core.rmem_max"]) == RECEIVE_BUFFER
    assert int(given["net.unix.max_dgram_qlen"]) >= 512


def _complaints(folder: Path, unit: str, text: str, drop_in: str = "") -> str:
    """What systemd says of a unit."""
    folder.mkdir()
    (folder / unit).write_text(text, encoding="utf-8")
    if drop_in:
        (folder / f"{unit}.d").mkdir()
        (folder / f"{unit}.d/secrets.conf").write_text(drop_in, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", f"./{unit}"], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr
