"""`atmost bench`: it measures what it says, ends cleanly when it is interrupted, and names what it could not measure."""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from atmost.bench import collecting
from atmost.bench import run as bench_run
from atmost.bench.collecting import DATAGRAM, TRAFFIC, Collecting, cpu, find_statsd, packed, statsd_lines
from atmost.bench.limit import build, limit
from atmost.bench.presets import Preset
from atmost.bench.receiving import Receiving
from atmost.bench.report import as_svg, as_text
from atmost.bench.results import Results
from atmost.bench.run import measure
from atmost.bench.systems import CARRIER, LOOPBACK, RAW, SYSTEMS, ZMQ, System, TurnFailed
from atmost.bench.turns import throughput
from tests.cli.commands import commands as commands  # noqa: PLC0414  a fixture

TINY = Preset(seconds=0.05, repetitions=2, full=False, sessions=3, remembered=5)


def _results(**samples):
    results = Results(
        {"atmost": "0", "python": "p", "system": "s", "processor": "c", "cores": 1, "load": 0, "packages": {}}
    )
    for name, values in samples.items():
        for value in values:
            results.row("throughput", name.replace("_", " "), "as it comes").add({"delivered": value})
    return results


def test_ratios_are_taken_within_each_repetition():
    """A machine that is twice as slow in one repetition changes no ratio."""
    results = _results(pyzmq=[100.0, 50.0, 200.0], atmost=[300.0, 150.0, 600.0])
    assert results.ratios("throughput", "delivered", ZMQ) == {"pyzmq": 1.0, "atmost": 3.0}
    assert results.ratios("throughput", "delivered", "nobody") == {}
    assert results.row("throughput", "atmost").median("delivered") == 300.0
    assert results.row("throughput", "atmost").spread("delivered") == 225 / 300


def test_the_text_has_the_figures_the_settings_and_what_is_missing():
    """Peers' settings, the steal and the reasons are part of the result."""
    results = _results(pyzmq=[100.0], atmost=[300.0])
    results.missing["statsd"] = "the module statsd is not installed"
    results.steal = [0.5]
    results.interrupted = True
    text = as_text(results)
    for expected in ("| atmost | 300 | 3 |", "pyzmq: as it comes", "statsd (the module", "50.0%", "Interrupted"):
        assert expected in text


def test_the_picture_is_one_bar_for_each_system_but_the_limit():
    """Valid SVG, with the values as text."""
    results = _results(pyzmq=[100.0], atmost=[300.0], **{"C limit": [9000.0]})
    root = ET.fromstring(as_svg(results))  # noqa: S314  it is our own
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[1:] == ["atmost", "300", "pyzmq", "100"]
    assert "C limit" not in as_svg(results)


def test_an_interruption_keeps_what_was_measured(monkeypatch):
    """Ctrl-C in the second measurement: the first is there."""
    turns = iter([{"delivered": 7.0}])

    def turn(_name, _seconds):
        try:
            return next(turns)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(bench_run, "throughput", turn)
    results = measure(TINY, tables=["throughput"], only=[LOOPBACK, RAW])
    assert results.interrupted
    assert [row.name for row in results.tables["throughput"].values()] == [LOOPBACK]


def test_a_system_that_is_missing_or_fails_is_named_and_the_others_go_on(monkeypatch):
    """Nothing is left out in silence."""
    nobody = System("nobody", "", lambda _address: None, lambda *_all: None, needs="no_such_module")
    monkeypatch.setattr(bench_run, "SYSTEMS", (nobody, *(one for one in SYSTEMS if one.name in (LOOPBACK, RAW))))

    def turn(name, _seconds):
        if name == RAW:
            raise TurnFailed("its process ended")
        return {"delivered": 7.0}

    monkeypatch.setattr(bench_run, "throughput", turn)
    results = measure(TINY, tables=["throughput"], only=["nobody", LOOPBACK, RAW])
    assert results.missing == {
        "nobody": "the module no_such_module is not installed",
        RAW: "it failed: its process ended",
    }
    assert len(results.tables["throughput"][LOOPBACK].samples["delivered"]) == TINY.repetitions


@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "unix://{}/bench.sock"])
def test_a_receiver_is_measured_beside_a_bare_loop(tmp_path, url):
    """Both got the same datagrams; the receiver checks that every message came."""
    receiving = Receiving(url.format(tmp_path), 10, 3)
    try:
        ours, bare = receiving.round()
    finally:
        receiving.close()
    assert ours > 0
    assert bare > 0


@pytest.mark.needs("compiler")
def test_the_limit_is_compiled_and_run(tmp_path):
    """What the sender in C sent is at least what the receiver counted."""
    figures = limit(build(tmp_path), 1432, 0.05)
    assert figures["delivered"] > 0
    assert 0 < figures["share"] <= 1


@pytest.mark.slow
def test_the_command_measures_real_systems(commands):
    """Processes of their own, real sockets; every message that the handler counted was sent."""
    ended = commands(
        "bench",
        "--seconds",
        "0.05",
        "--repetitions",
        "1",
        "--json",
        "--only",
        LOOPBACK,
        "--only",
        RAW,
        "--only",
        "import",
    )
    assert ended.status == 0
    tables = json.loads(ended.out)["tables"]
    for name in (LOOPBACK, RAW):
        assert 0 < tables["throughput"][name]["share"]["median"] <= 1
        assert tables["latency"][name]["p50_us"]["median"] > 0
    assert tables["one process"]["import atmost"]["ms"]["median"] > 0


@pytest.mark.parametrize(
    ("command", "says"), [("false", "the compiler failed"), ("/nonexistent/cc -O2", "cannot be run")]
)
def test_a_compiler_that_fails_costs_the_limits_alone(monkeypatch, command, says):
    """The others are measured; the report names it."""
    monkeypatch.setenv("CC", command)
    results = measure(TINY, tables=["throughput"], only=["C limit"])
    assert not results.tables
    assert [says in reason for reason in results.missing.values()] == [True, True]


def test_rows_are_chosen_by_the_names_they_have():
    """What the tables print is what may be asked for; steal is recorded of every measurement, or not told."""
    results = measure(TINY, tables=["one process", "receiving"], only=["inc() of atmost", "udp, 1 message a datagram"])
    assert [list(rows) for rows in results.tables.values()] == [["udp, 1 message a datagram"], ["inc() of atmost"]]
    assert len(results.steal) == 4
    assert "CPU steal" in as_text(results)
    results.steal.clear()
    assert "CPU steal" not in as_text(results)


def test_bars_that_cannot_be_drawn_are_refused_at_once(commands, tmp_path):
    """Before minutes of measuring: of a table that has none, into a folder that is not there."""
    ended = commands("bench", "--table", "latency", "--plot", str(tmp_path / "bars.svg"))
    assert (ended.status, "throughput" in ended.err) == (2, True)
    ended = commands("bench", "--plot", str(tmp_path / "none" / "bars.svg"))
    assert (ended.status, "no folder" in ended.err) == (2, True)


def test_lines_are_packed_as_a_client_does():
    """As many as fit a datagram, each line whole and in order; their numbers are right."""
    lines = statsd_lines()
    datagrams = packed(lines)
    together = [line for data, _ in datagrams for line in data.split(b"\n")]
    assert together == lines[: len(together)]
    assert [data.count(b"\n") + 1 for data, _ in datagrams] == [count for _, count in datagrams]
    assert all(DATAGRAM - 64 < len(data) <= DATAGRAM for data, _ in datagrams)


def test_npms_statsd_is_found_in_a_folder_above(tmp_path, monkeypatch):
    """As node itself finds packages; without node there is nothing to run it."""
    package = tmp_path / "node_modules" / "statsd"
    package.mkdir(parents=True)
    (package / "stats.js").touch()
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    monkeypatch.setattr(collecting.shutil, "which", lambda name: "/usr/bin/node" if name == "node" else None)
    assert find_statsd() == package
    monkeypatch.setattr(collecting.shutil, "which", lambda _name: None)
    assert find_statsd() is None


def test_a_collector_that_cannot_be_started_costs_its_own_rows_alone(monkeypatch):
    """They are named with the reason."""

    def refuse(*_all):
        raise TurnFailed("the collector does not listen")

    monkeypatch.setattr(bench_run, "Collecting", refuse)
    results = measure(TINY, tables=["collecting", "one process"], only=["readings of ours", "inc() of atmost"])
    assert results.missing == {"readings of ours": "the collector does not listen"}
    assert list(results.tables) == ["one process"]


def test_settings_that_all_rows_share_are_said_once():
    """And those of one row with its name."""
    results = _results(pyzmq=[100.0], atmost=[300.0])
    for name in ("readings of ours", "records of ours"):
        results.row("collecting", name, "a rate").add({"collector_us": 2.0})
    text = as_text(results)
    assert text.count("a rate") == 1
    assert "readings of ours: a rate" not in text


def test_the_carrier_is_compared_with_its_peer():
    """Through a server of the same kind: one line says the ratio."""
    results = _results(**{"nats-py": [100.0, 50.0], "atmost over NATS": [800.0, 400.0]})
    assert f"{CARRIER} delivered 8 times what nats-py did" in as_text(results)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processor time of threads is read from /proc")
def test_a_real_collector_is_measured(tmp_path):
    """It works for each traffic, and is gone afterwards."""
    one = Collecting(tmp_path, 0.2)
    try:
        turns = one.turns()
        assert tuple(turns) == TRAFFIC
        before = cpu(one.pid)
        for name in ("StatsD lines, packed", "syslog lines", "records of ours"):
            assert "collector_us" in turns[name]()
        assert cpu(one.pid) > before
    finally:
        one.close()
    assert not Path(f"/proc/{one.pid}").exists()


@pytest.mark.slow
@pytest.mark.needs("nats-server")
def test_the_nats_carrier_is_measured():
    """Through a server of its own, which ends with it."""
    figures = throughput(CARRIER, 0.1)
    assert 0 <= figures["share"] <= 1
    assert figures["flat_ns"] > 0


def test_a_name_that_nothing_has_is_said(commands):
    """Not an empty table."""
    ended = commands("bench", "--only", "no such thing")
    assert ended.status == 1
    assert "nothing was measured" in ended.err


def test_import_atmost_loads_no_bench():
    """The package is for the command alone."""
    import subprocess

    code = "import sys, atmost; atmost.Sender; sys.exit(any(name.startswith('atmost.bench') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
