"""The command line: one module a command, loaded when it is called.

Exit status: 0 done, 1 failed, 2 used wrongly, 130 interrupted before there was anything to account for.
Every failure is one line that says what to do; a traceback is a defect.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Final

import click

from atmost import __version__
from atmost.cli.bounded_output import TellingHandler, tell, tell_the_rest
from atmost.compiled import is_compiled
from atmost.errors import AddressInUse, AtMostError, BindError, MissingExtra

_COMMANDS: Final = {
    "agent": "atmost.cli.agent:agent",
    "beat": "atmost.cli.beat:beat",
    "bench": "atmost.cli.bench:bench",
    "collect": "atmost.cli.collect:collect",
    "demo": "atmost.cli.demo:demo",
    "forget": "atmost.cli.forget:forget",
    "keygen": "atmost.cli.keygen:keygen",
    "lab": "atmost.cli.lab:lab",
    "listen": "atmost.cli.listen:listen",
    "run": "atmost.cli.run:run",
    "send": "atmost.cli.send:send",
    "top": "atmost.cli.top.command:top",
}
_BUILD: Final = "compiled" if is_compiled() else "pure"
_FAILED: Final = 1
_MISUSED: Final = 2
_INTERRUPTED: Final = 130


class _Commands(click.Group):
    """Loads a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  the base class's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  as above
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="atmost", message=f"%(prog)s, version %(version)s ({_BUILD})")
def commands() -> None:
    """Fire-and-forget messaging that never blocks, never repeats, and counts what it loses.

    \b
    Try it:            atmost demo
    In two terminals:  atmost listen 'orders.>'
                       atmost send orders.new '{"id": 1}'
    """


def main() -> None:
    """The `atmost` command."""
    _prepare_output()
    logging.basicConfig(format="%(message)s", level=logging.WARNING, handlers=[TellingHandler()])
    try:
        status = commands.main(prog_name="atmost", standalone_mode=False, color=False if _wants_no_color() else None)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = _MISUSED
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "atmost"
        _say(f"{error.format_message()} (see {path} --help)")
        status = _MISUSED
    except click.ClickException as error:
        _say(error.format_message())
        status = error.exit_code
    except (AddressInUse, BindError, MissingExtra) as error:
        _say(str(error))
        status = _FAILED
    except AtMostError as error:
        _say(str(error))
        status = _MISUSED
    except (click.Abort, KeyboardInterrupt):
        status = _INTERRUPTED
    except OSError as error:  # such as a full disk under standard output; click itself ends quietly after `| head`
        _say(f"{error.filename + ': ' if error.filename else ''}{error.strerror or error}")
        status = _FAILED
    tell_the_rest()
    sys.exit(_flushed(status))


def _prepare_output() -> None:
    """Shows what the terminal's encoding lacks as escapes, rather than failing; what is closed takes everything and shows nothing."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # also lest the next socket be given its number
            setattr(sys, name, open(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _wants_no_color() -> bool:
    """Whether the user asked every program so (https://no-color.org), or the terminal takes nothing but text."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def _flushed(status: int) -> int:
    """Makes sure that everything was written; the interpreter must not find that it was not when it exits."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return status or _FAILED
    return status


def _say(text: str) -> None:
    """One line, whatever it quotes."""
    from atmost.cli.output import harmless

    tell(f"atmost: {harmless(text)}")
