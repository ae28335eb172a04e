from tests.cli.commands import commands, run, start

__all__ = ["commands", "run", "start"]
