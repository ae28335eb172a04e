"""`atmost lab compare`: what it prints, writes and refuses."""

import json
import sys
from pathlib import Path

import pytest

from atmost.lab.compare.exactly_once import ExactlyOnce
from tests.cli.test_terminal import COLOUR, Terminal


def test_a_comparison_is_printed_beside_theory(commands):
    """The tables on standard output; how fast it was is not part of the result."""
    done = commands("lab", "compare", "--messages", 500)
    assert done.status == 0
    assert "at-most-once  at-least-once  exactly-once" in done.out
    assert "payments: double charges" in done.out
    assert "simulated beside the closed forms" in done.out
    assert "a second" in done.err
    assert commands("lab", "compare", "--messages", 500).out == done.out


def test_json_alone_on_standard_output(commands):
    """The same bytes each time, with every figure."""
    words = ("lab", "compare", "--messages", 300, "--loss", 0.3, "--json", "-")
    done = commands(*words)
    told = json.loads(done.out)
    assert (told["sweep"], told["complete"], len(told["points"])) == (None, True, 1)
    (point,) = told["points"]
    assert point["options"]["loss"] == 0.3
    assert [arm["arm"] for arm in point["arms"]] == ["at-most-once", "at-least-once", "exactly-once"]
    assert all(check["inside"] for check in point["checks"])
    assert point["arms"][2]["effects"]["double_charges"] == 0
    assert commands(*words).out == done.out


def test_a_sweep_with_everything_written(commands, tmp_path):
    """Tables, a verdict on theory, and the files it names."""
    done = commands(
        *("lab", "compare", "--sweep", "ack-loss=0:0.4:3", "--messages", 200),
        *("--json", tmp_path / "f.json", "--plot", tmp_path / "plots"),
    )
    assert done.status == 0
    assert "ack loss  at-most-once" in done.out
    assert "figures lie within what theory allows" in done.out
    for name in done.out.splitlines()[-1].removeprefix("written: ").split():
        assert Path(name).stat().st_size > 1000
    assert len(list((tmp_path / "plots").iterdir())) == 9
    told = json.loads((tmp_path / "f.json").read_text())
    assert told["sweep"] == "ack_loss"
    assert [point["options"]["ack_loss"] for point in told["points"]] == [0.0, 0.2, 0.4]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--loss", "nan"), "'nan' is not a number"),
        (("--loss", "1"), "--loss"),
        (("--crash-before", "-0.1"), "--crash-before"),
        (("--latency", "inf"), "latency=inf"),
        (("--latency", "1"), "longest round trip"),
        (("--messages", "0"), "--messages"),
        (("--messages", "6000000"), "messages=6000000"),
        (("--interval", "0"), "interval=0"),
        (("--sweep", "size=0:1:3"), "one of loss, ack_loss"),
        (("--sweep", "loss=0:0.5:1000"), "2 to 101 points"),
        (("--sweep", "loss=0:0.99:11", "--ack-loss", "0.5"), "transmissions a message"),
        (("--sweep", "loss=0:0.9:101", "--messages", "1000000"), "fewer messages or points"),
        (("--real", "--messages", "100000"), "600 s"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(commands, words, said):
    """With the status of misuse, and before anything runs."""
    done = commands("lab", "compare", *words)
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("option", "name", "said"),
    [
        ("--plot", "file", "file: File exists"),
        ("--json", "none/f.json", "none/f.json: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_written_is_told_before_the_run(commands, tmp_path, option, name, said):
    """One line with its name, not after minutes of comparing."""
    (tmp_path / "file").write_text("")
    done = commands("lab", "compare", "--messages", 10, option, tmp_path / name)
    assert (done.status, done.out) == (1, "")
    assert said in done.err


def test_without_matplotlib_the_extra_is_named_before_the_run(commands, monkeypatch, tmp_path):
    """Not after minutes of comparing."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = commands("lab", "compare", "--plot", tmp_path / "there")
    assert (done.status, done.out) == (1, "")
    assert "pip install 'atmost[lab]'" in done.err


def test_what_disagrees_with_theory_is_a_failure(commands, monkeypatch):
    """The figure is named: here of a log that forgets."""
    monkeypatch.setattr(ExactlyOnce, "_receive", ExactlyOnce.__mro__[1]._receive)
    done = commands("lab", "compare", "--messages", 500)
    assert done.status == 1
    assert "outside: exactly-once, processed twice or more" in done.out


def test_ctrl_c_ends_with_the_partial_result(start, tmp_path):
    """Said as such, with theory still holding for what was offered."""
    command = start("lab", "compare", "--messages", 5_000_000, "--json", tmp_path / "f.json")
    command.says("Ctrl-C ends")
    done = command.end()
    assert done.status == 0
    assert "stopped: a partial result" in done.err
    assert "inside" in done.out
    assert json.loads((tmp_path / "f.json").read_text())["complete"] is False


def test_over_real_sockets(commands):
    """The same table, measured."""
    words = ("--messages", 50, "--interval", 0.002, "--latency", 0.001, "--jitter", 0.001)
    done = commands("lab", "compare", "--real", *words)
    assert done.status == 0
    assert "50 messages over real UDP" in done.out
    assert "measured beside the closed forms" in done.out


def test_on_a_terminal_the_table_is_drawn():
    """By rich, with a bar of the progress before it."""
    status, shown = Terminal("lab", "compare", "--messages", 2000).wait()
    assert status == 0
    assert "│" in shown
    assert "comparing" in shown
    assert "payments: double charges" in COLOUR.sub("", shown)


def test_without_rich_there_are_lines_and_a_hint(monkeypatch, capsys):
    """The result does not depend on an extra."""
    from atmost.cli.lab_compare import show_tables
    from atmost.lab.compare.table import Table

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    show_tables([Table("title", ("", "a"), (("row", "1"),))])
    shown = capsys.readouterr()
    assert shown.out == "title\n     a\nrow  1\n\n"
    assert "pip install 'atmost[lab]'" in shown.err


@pytest.mark.parametrize("width", [20, 30, 60, 64, 80, 200])
def test_a_narrow_terminal_cuts_no_figure(width, monkeypatch, capsys):
    """What has no room to be drawn is printed as lines; a label may be folded, a figure is whole."""
    from atmost.cli.lab_compare import show_tables
    from atmost.lab.compare import CompareOptions, compare
    from atmost.lab.compare.table import checks_table

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    table = checks_table(compare(CompareOptions(messages=50)))
    show_tables([table])
    shown = COLOUR.sub("", capsys.readouterr().out)
    assert "…" not in shown
    assert all(cell in shown for row in table.rows for cell in row[1:])
    assert ("│" in shown) == (width >= 64)
