"""docs/commands.md says of all commands what it says of one."""

import re

from atmost.agent.readings import HostReadings
from atmost.cli import _COMMANDS
from atmost.cli.output import as_dict
from atmost.core import events
from tests.deploy.conftest import DEPLOY

ROOT = DEPLOY.parent
PAGE = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
SOURCES = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
EVENTS = {each for each in vars(events).values() if isinstance(each, type) and hasattr(each, "__dataclass_fields__")}


def test_page_names_every_command():
    """One that stands nowhere is not found."""
    assert all(re.search(rf"`(?:atmost )?{name}\b", PAGE) for name in _COMMANDS)


def test_page_names_every_variable_that_is_read():
    """Those of the collector's options have one beginning."""
    read = set(re.findall(r"\bATMOST_[A-Z_]*[A-Z]\b", SOURCES)) - {"ATMOST_COLLECT"}
    told = set(re.findall(r"\| `(ATMOST_[A-Z_]*[A-Z])` ", PAGE))
    assert told == read


def test_page_names_every_type_of_object():
    """And each fact of it, besides those of the sender."""
    for each in EVENTS:
        made = object.__new__(each)
        for name in each.__dataclass_fields__:
            object.__setattr__(made, name, None)
        shown = as_dict(made)
        assert f"`{shown.pop('type')}`" in PAGE
        assert all(f"`{name}`" in PAGE or f"`{name}:" in PAGE for name in shown), each


def test_page_names_every_reading():
    """By its last part, where a device is in its name."""
    reader = HostReadings(0.0)
    told = {name.rpartition(".")[2].lstrip(".") for name in re.findall(r"`([a-zA-Z_.0-9]+)`", PAGE)}
    assert {name.rpartition(".")[2] for name in reader.read(1.0)} <= told
