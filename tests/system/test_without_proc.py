"""Programs on a system that has no /proc, as in a minimal container or a jail: what it does not tell is absent, and all else works."""

import json
import shlex
import subprocess
import sys

import pytest

from tests.real import BOUND, environment

pytestmark = pytest.mark.needs("mountns")

AGENT = """
from atmost.agent.readings import HostReadings
readings = HostReadings(0.0)
print(sorted(readings.read(1.0)), sorted(readings.failures))
"""
COLLECTOR = """
import http.client, json, time
from atmost.collector.daemon import CollectorDaemon
from atmost.collector.options import CollectorOptions
free = ("127.0.0.1:0",)
options = CollectorOptions(bind=("udp://127.0.0.1:0",), statsd=free, syslog=free, gelf=free, http="127.0.0.1:0")
with CollectorDaemon(options, environment={}) as daemon:
    port = int(dict(daemon.addresses)["http"].rstrip("/").rpartition(":")[2])
    for path in ("/api/v1/overview", "/metrics"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        print(answer.status, json.dumps(answer.read().decode()))
        connection.close()
"""


def run(code):
    """Runs a program in a mount namespace of its own, with an empty /proc; it must succeed."""
    command = f"mount -t tmpfs none /proc && exec {shlex.join([sys.executable, '-c', code])}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command],
        env=environment(PYTHONWARNINGS="ignore"),
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * BOUND,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_agent_tells_what_it_can():
    """The load averages come from the system, the rest is absent and counted."""
    [line] = run(AGENT)
    assert "load.1m" in line
    assert "cpu.utilization" not in line
    assert "'memory'" in line


def test_the_collector_runs():
    """It answers, and its own memory is unknown: null in the API, no sample at /metrics."""
    (overview, metrics) = (line.split(" ", 1) for line in run(COLLECTOR))
    assert overview[0] == metrics[0] == "200"
    assert json.loads(json.loads(overview[1]))["memory"]["bytes"] is None
    text = json.loads(metrics[1])
    assert "atmost_collector_uptime_seconds" in text
    assert "atmost_collector_memory_bytes" not in text
