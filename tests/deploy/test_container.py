"""deploy/container: an image that could be built of what it copies, is healthy when the collector is, and is not root."""

import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from atmost.collector.options import CollectorOptions, load_options
from tests.deploy.conftest import DEPLOY, Collector
from tests.real import until

ROOT = DEPLOY.parent
FOLDER = DEPLOY / "container"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """The Containerfile, each instruction with what follows it."""
    text = (FOLDER / "Containerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ").splitlines()
    found = [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]
    assert {name for name, _ in found} <= KNOWN
    return found


FILE = instructions()
LAST = dict(FILE)
"""The last of each kind: those of the image itself."""


def copied() -> list[str]:
    """What is copied from the checkout."""
    words = [each.split() for name, each in FILE if name == "COPY" and not each.startswith("--from")]
    return [source for each in words for source in each[:-1]]


def test_what_it_copies_is_there_and_is_sent_to_the_builder():
    """Each file exists, and the ignore file lets it through; the environment and the history stay outside."""
    lines = (FOLDER / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
    assert sorted(allowed) == sorted(copied())
    assert all((ROOT / each).exists() for each in allowed)
    assert not any(fnmatch.fnmatch(each, rule) for each in (".git", ".venv", "tests") for rule in allowed)


def test_it_can_be_built_of_what_it_copies(tmp_path):
    """The first stage's files make a wheel, with the page and the description of the interface in it."""
    for each in copied():
        source, target = ROOT / each, tmp_path / "checkout" / Path(each).name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    made = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*made, "--disable-pip-version-check", "--wheel-dir", str(tmp_path), str(tmp_path / "checkout")],
        check=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"atmost/collector/page/index.html"} <= set(names)


def test_its_constraints_are_the_lock(tmp_path):
    """The line of sed turns every entry of the lock into a version, and nothing else."""
    run = next(each for name, each in FILE if name == "RUN")
    command = run.partition("&&")[0].replace("/constraints.txt", str(tmp_path / "constraints.txt"))
    subprocess.run(["sh", "-c", command], cwd=ROOT, check=True, timeout=60)
    lines = (tmp_path / "constraints.txt").read_text().splitlines()
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert len(lines) == len(re.findall(r"^[a-z0-9]", lock, flags=re.MULTILINE))
    assert all(re.fullmatch(r"[a-z0-9._-]+==[\w.!+-]+", line) for line in lines)
    extras = re.search(r"'\.\[(.*)\]'", run)
    assert extras
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f"\n{extra} = [" in project for extra in extras[1].split(","))


def test_it_is_nobody_and_offers_what_it_listens_to(commands):
    """A numeric user that is not root; the ports of its configuration, no more; a command whose options are ours."""
    user, group = LAST["USER"].split(":")
    assert (user, group) == ("7140", "7140")
    options = load_options(str(FOLDER / "collector.toml"))
    places = [*options.bind, *options.statsd, *options.syslog, *options.gelf]
    assert {place.rpartition(":")[0].rpartition("/")[2] for place in [*places, options.http]} == {"0.0.0.0"}
    ports = {f"{place.rpartition(':')[2]}/udp" for place in places} | {f"{options.http.rpartition(':')[2]}/tcp"}
    assert set(LAST["EXPOSE"].split()) == ports
    entry, command = json.loads(LAST["ENTRYPOINT"]), json.loads(LAST["CMD"])
    assert entry == ["/opt/atmost/bin/atmost"]
    (copy,) = [each.split() for name, each in FILE if name == "COPY" and "collector.toml" in each]
    assert command == ["collect", "--config", copy[1]]
    done = commands("collect", "--config", str(FOLDER / "collector.toml"), "--print-config")
    assert done.status == 0


def test_without_a_token_it_does_not_start(commands):
    """Other hosts can reach it, so the file that must hold a token is missed, with a word on what to do."""
    flags = ["--bind=off", "--statsd=off", "--syslog=off", "--gelf=off", "--http=0.0.0.0:0"]
    missing = commands("collect", "--config", str(FOLDER / "collector.toml"), *flags)
    assert missing.status != 0
    assert "/run/secrets/atmost_token cannot be read" in missing.err
    none = commands("collect", "--config", str(FOLDER / "collector.toml"), "--set", "token_file=", *flags)
    assert none.status != 0
    assert "set a token" in none.err


def test_it_is_healthy_while_the_collector_answers(tmp_path):
    """The check of health runs as it is written, needs no token, and fails once nobody answers."""
    form, command = re.fullmatch(r"(.*) CMD (\[.*\])", LAST["HEALTHCHECK"]).groups()
    assert "--interval=10s" in form
    python, flag, code = json.loads(command)
    assert (python, flag) == ("/opt/atmost/bin/python", "-c")
    assert "127.0.0.1', 7141" in code
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    token.chmod(0o600)

    def status(port: int) -> int:
        done = subprocess.run(
            [sys.executable, "-c", code.replace("7141", str(port))], stderr=subprocess.DEVNULL, check=False, timeout=60
        )
        return done.returncode

    with Collector("--token-file", str(token), http="0.0.0.0:0") as collector:
        assert status(collector.http) == 0
        assert collector.ask("/metrics")[0] == 401
    assert status(collector.http) == 1


def test_the_example_of_four():
    """What compose.yaml mounts is there, its commands are ours, and only what is meant for the network is published."""
    services = COMPOSE["services"]
    assert set(services) == {"collector", "agent", "prometheus", "grafana"}
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (FOLDER / source).is_file(), f"{name}: {source}"
        for secret in service.get("secrets", []):
            assert secret["source"] in COMPOSE["secrets"]
        for port in service.get("ports", []):
            assert port.endswith("/udp") or port.startswith("127.0.0.1:"), f"{name}: {port}"
    build = services["collector"]["build"]
    assert (FOLDER / build["context"] / build["dockerfile"]).samefile(FOLDER / "Containerfile")
    published = {port.split(":")[-1] for port in services["collector"]["ports"]}
    assert published == set(LAST["EXPOSE"].split())
    options = load_options(str(FOLDER / "collector.toml"))
    token = {secret["target"] for name in ("collector", "prometheus") for secret in services[name]["secrets"]}
    assert token == {Path(options.token_file).name}
    limit = int(services["collector"]["mem_limit"].removesuffix("m")) * (1 << 20)
    assert 1.1 < limit / CollectorOptions().memory_bound() < 1.5


@pytest.mark.parametrize("service", ["collector", "agent"])
def test_a_service_has_no_more_rights_than_it_needs(service):
    """A read-only image, no capability, no new privileges."""
    given = COMPOSE["services"][service]
    assert given["read_only"] is True
    assert given["cap_drop"] == ["ALL"]
    assert given["security_opt"] == ["no-new-privileges:true"]


def test_the_agent_of_the_example_sends(start):
    """Its command is one that runs, and sends where its environment says."""
    given = COMPOSE["services"]["agent"]
    assert given["environment"]["ATMOST_URL"] == "udp://collector:7140"
    with Collector("--set", "token_file=") as collector:
        told = {**given["environment"], "ATMOST_URL": collector.urls["atmost"]}
        command = [*shlex.split(shlex.join(given["command"])), "--interval", "0.2", "--seconds", "30"]
        agent = start(*command, **told)
        up = {"heartbeat": given["environment"]["ATMOST_NAME"]}
        until(lambda: up in collector.samples().get("atmost_heartbeat_up", []))
        assert agent.end().status == 0
