"""The tables of mutants stay true to the code; `scripts/mutants.py` runs them."""

import tomllib
from pathlib import Path

import pytest

from scripts.mutants import path_of

ROOT = Path(__file__).parent.parent
TABLES = [ROOT / "scripts" / "mutants.toml", ROOT / "scripts" / "mutants_hints.toml"]
ROWS = [row for table in TABLES for row in tomllib.loads(table.read_text(encoding="utf-8"))["mutant"]]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['rule']} {row['says']}")
def test_every_mutant_has_its_place(row):
    """The text it changes stands once in its file, and a test or the simulator is named to notice."""
    text = (ROOT / "src" / "atmost" / row["file"]).read_text(encoding="utf-8")
    assert text.count(row["old"]) == 1
    assert row["new"] != row["old"]
    assert row.get("tests") or row.get("simulator")
    for test in row.get("tests", ()):
        assert (ROOT / path_of(test).partition("::")[0]).is_file(), test
