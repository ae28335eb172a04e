"""docs/lab.md shows what the commands print."""

import re
from pathlib import Path

from atmost.cli.lab_compare import compare
from atmost.lab.compare import ARMS
from atmost.lab.explain import Fault, draw, tell

PAGE = (Path(__file__).parents[3] / "docs" / "lab.md").read_text(encoding="utf-8")


def test_the_diagrams_are_those_of_the_command():
    """To the character."""
    for arm in ARMS:
        drawn = draw(tell(arm.name, Fault.ACK_LOST))
        assert "\n".join(f"    {line}" for line in drawn) in PAGE


def test_every_option_and_every_fault_is_on_the_page():
    """And no option that is not there."""
    options = {name for param in compare.params for name in param.opts}
    named = set(re.findall(r"(?<![-|])--[a-z][a-z-]+", PAGE))
    assert named - options - {"--fault"} == set()
    assert options - named - {"--payload", "--seed"} == set()
    assert all(f"`{fault.value}`" in PAGE for fault in Fault)


def test_the_plots_are_there():
    """Each that the page shows."""
    links = re.findall(r"\]\((lab/[a-z]+\.svg)\)", PAGE)
    assert len(links) == 4
    for link in links:
        assert (Path(__file__).parents[3] / "docs" / link).stat().st_size < 60_000
