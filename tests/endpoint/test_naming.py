"""Where a sender's name comes from; what receivers make of it is tested with the sender's options."""

import sys
from pathlib import Path
from typing import Any

import pytest

from atmost import OptionError
from atmost.endpoint.checking import find_name


@pytest.fixture(autouse=True)
def _no_name_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' environment gives no name."""
    monkeypatch.delenv("ATMOST_NAME", raising=False)


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["/srv/shop/checkout.py", "--fast"], "checkout.py"),
        (["caf\udce9.py"], "caf?.py"),
        ([""], "python"),
        ([], "python"),
    ],
)
def test_a_program_is_called_as_its_file(argv: list[str], shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its folder, as text; an interpreter without a program, or embedded in another one, by its own name."""
    monkeypatch.setattr(sys, "argv", argv)
    assert find_name(None) == shown


def test_what_is_given_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also an empty name; an empty variable is none."""
    monkeypatch.setattr(sys, "argv", ["program"])
    monkeypatch.setenv("ATMOST_NAME", "from-outside")
    assert [find_name(name) for name in ("given", "", None)] == ["given", "", "from-outside"]
    monkeypatch.setenv("ATMOST_NAME", "")
    assert find_name(None) == "program"


@pytest.mark.parametrize("name", [7, b"name", Path("name")], ids=repr)
def test_what_is_no_text_is_the_callers_mistake(name: Any) -> None:
    """It raises, before an address is opened."""
    with pytest.raises(OptionError, match=r"^name=.*: expected a string"):
        find_name(name)
