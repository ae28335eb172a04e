"""One message's life under each guarantee, as a sequence diagram made by running it (docs/lab.md)."""

from atmost.lab.explain.diagram import draw
from atmost.lab.explain.script import Fault
from atmost.lab.explain.story import Lane, Line, Story, tell

__all__ = ["Fault", "Lane", "Line", "Story", "draw", "tell"]
