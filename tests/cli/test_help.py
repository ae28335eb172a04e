"""What `atmost` says of itself, and what it loads to say so."""

import sys

import click
import pytest

from atmost import __version__, is_compiled
from atmost.cli import _COMMANDS, commands

LOADED = """
import sys
before = set(sys.modules)
from atmost.cli import main
sys.argv = ["atmost", *sys.argv[1:]]
try:
    main()
finally:
    print(*set(sys.modules) - before, file=sys.stderr)
"""
OF_ISSUE = {"agent", "collect", "demo", "listen", "send"}


def test_every_command_that_is_listed_can_be_loaded():
    """A name in the list without a module behind it would break `atmost --help` for all the others."""
    context = commands.make_context("atmost", [], resilient_parsing=True)
    assert set(commands.list_commands(context)) >= OF_ISSUE
    for name in commands.list_commands(context):
        command = commands.get_command(context, name)
        assert command is not None
        assert command.name == name


def test_help_lists_every_command_and_shows_how_to_begin(run):
    """The first thing a newcomer types answers with status 0, and with lines to copy."""
    done = run("--help")
    assert (done.status, done.err) == (0, "")
    for line in ("atmost demo", "atmost listen 'orders.>'", "atmost send orders.new '{\"id\": 1}'"):
        assert any(shown.endswith(line) for shown in done.out.splitlines())
    listed = done.out.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(_COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def every_command(group=commands, path=()):
    """The words of each command, those of a group within it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("words", list(every_command()), ids=" ".join)
def test_every_command_has_help_with_examples(commands, words, flag):
    """Each example stands on a line of its own, to be copied, and each option says what it means."""
    name = " ".join(words)
    done = commands(*words, flag)
    assert (done.status, done.err) == (0, "")
    assert f"Usage: atmost {name}" in done.out
    examples = done.out.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
    assert examples
    assert all(f"atmost {name}" in line or "atmost " in line for line in examples)
    assert any(f"atmost {name}" in line for line in examples)
    options = done.out.partition("Options:\n")[2]
    assert all(len(line.split("  ")) > 1 for line in options.splitlines())


@pytest.mark.parametrize(
    ("name", "default"), [("send", "ATMOST_URL"), ("agent", "ATMOST_URL"), ("listen", "ATMOST_BIND")]
)
def test_help_tells_the_default_address(commands, name, default):
    """What sends and what receives meet where nothing is configured."""
    out = " ".join(commands(name, "--help").out.split())
    assert f"[default: {default}, then udp://127.0.0.1:7140]" in out


def test_without_a_command_there_is_help_and_the_status_of_misuse(run):
    """Not the help as an error message."""
    done = run()
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith("Usage: atmost [OPTIONS] COMMAND")


def test_the_version_is_told(commands):
    """With the name of what it is the version of, and whether its hot path is compiled."""
    build = "compiled" if is_compiled() else "pure"
    assert commands("--version").out == f"atmost, version {__version__} ({build})\n"


def test_help_loads_no_event_loop_and_no_extra(run):
    """Help is quick: what only some commands need is loaded when they run."""
    loaded = {name.partition(".")[0] for name in run("--help", code=LOADED).err.split()}
    assert "atmost" in loaded
    assert not loaded & {"asyncio", "rich", "textual", "cryptography", "multiprocessing"}


def test_a_command_loads_only_itself(run):
    """Sending one message neither reads the host's sensors nor draws tables."""
    loaded = run("send", "--help", code=LOADED).err.split()
    assert "atmost.cli.send" in loaded
    others = {f"atmost.cli.{name}" for name in _COMMANDS} - {"atmost.cli.send"}
    assert not others & set(loaded)
    assert not {"psutil", "rich", "asyncio"} & set(loaded)


def test_the_module_and_the_command_are_one(run):
    """`python -m atmost` and `atmost` say the same."""
    installed = f"import sys; from atmost.cli import main; sys.argv = [{sys.argv[0]!r}, '--help']; main()"
    assert run("--help").out == run(code=installed).out
