"""Says which tests hold which rule of docs/guarantee.md, as tables in Markdown.

`rules.py` prints two tables. The first says what is taken out of the code and which test then fails, from `mutants.toml`.
The second lists the tests that cite a rule (`test_r12_…`, "R12", "R10–R13") in their names, docstrings or parameters.
A class's citations hold for its tests. A module whose docstring cites a rule is listed, but does not count as a test.
`rules.py --results REPORT` prints the second table and the fault matrix of the page with a column of results, from the
report that `pytest --junitxml=REPORT` has written.
`rules.py --check` fails if no test cites a rule that is built, or if the page names a test that does not exist.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from mutants import path_of

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "guarantee.md"
MUTANTS = ROOT / "scripts" / "mutants.toml"
LAST = 24

_HEADING = re.compile(r"^#+ (R\d+a?) (.+?)(?: \((not built|partly built)\))?$", re.MULTILINE)
_CITED = re.compile(r"(?<![A-Za-z0-9])R(\d{1,2})(a?)(?:[–-]R(\d{1,2}))?(?![A-Za-z0-9])")
_NAMED = re.compile(r"(?:^|_)r(\d{1,2})(a?)(?=_|$)")
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_FAULTS_BEGIN, _FAULTS_END = "<!-- faults -->\n", "<!-- end of faults -->"

Results = Mapping[str, Counter[str]]
"""Maps a test's `path::name` to how often it passed, failed or was skipped."""


class Rule(NamedTuple):
    """A rule, as given in its heading on the page."""

    name: str
    title: str
    state: str
    """Empty if the rule is built."""


class Test(NamedTuple):
    """A test function, the state machine that Hypothesis runs as one, or a whole file."""

    path: str
    name: str
    """Empty for a file."""
    rules: frozenset[str]

    @property
    def id(self) -> str:
        """The name as pytest takes it."""
        return f"{self.path}::{self.name}" if self.name else self.path


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="fail when a built rule is cited by no test")
    what.add_argument("--results", metavar="REPORT", type=Path, help="a JUnit report: add a column of results")
    options = parser.parse_args(arguments)
    page = PAGE.read_text(encoding="utf-8")
    tests = list(find_tests())
    if options.check:
        faults = list(check(page, tests))
        print("\n".join(faults) if faults else "every rule that is built is cited by a test")
        return 1 if faults else 0
    if options.results:
        results = read_results(options.results)
        print("\n".join(rules_table(page, tests, results)), end="\n\n")
        print("\n".join(faults_table(page, results)))
    else:
        print("\n".join([*mutants_table(), "", *rules_table(page, tests, None)]))
    return 0


def check(page: str, tests: Sequence[Test]) -> Iterator[str]:
    """Returns what is wrong, one line per fault."""
    rules = find_rules(page)
    known = {rule.name for rule in rules}
    for name in (f"R{number}" for number in range(1, LAST + 1)):
        if name not in known:
            yield f"{name}: {PAGE.name} has no heading for it"
    cited = {name for test in tests if test.name for name in test.rules}
    for rule in rules:
        if rule.state != "not built" and rule.name not in cited:
            yield f"{rule.name} {rule.title}: no test cites it"
    there = {test.id for test in tests}
    for path, name in dict.fromkeys(_TEST.findall(page)):
        if f"{path}::{name}" not in there:
            yield f"{path}::{name}: {PAGE.name} names it, but it does not exist"


def find_rules(page: str) -> list[Rule]:
    """The rules of the page, in its order."""
    return [Rule(*found) for found in _HEADING.findall(page)]


def mutants_table() -> Iterator[str]:
    """The table rule → what is taken out → the test that fails."""
    yield "| rule | taken out, or made wrong | a test that fails |"
    yield "| --- | --- | --- |"
    for mutant in tomllib.loads(MUTANTS.read_text(encoding="utf-8"))["mutant"]:
        names = "<br>".join(f"`{path_of(test).partition('[')[0]}`" for test in mutant["tests"])
        yield f"| {mutant['rule']} | {mutant['says']} | {names} |"


def rules_table(page: str, tests: Sequence[Test], results: Results | None) -> Iterator[str]:
    """The table rule → tests that cite it."""
    yield "| rule | tests that cite it |" + (" result |" if results is not None else "")
    yield "| --- | --- |" + (" --- |" if results is not None else "")
    for rule in find_rules(page):
        held = [test for test in tests if rule.name in test.rules]
        state = f" ({rule.state})" if rule.state else ""
        names = "<br>".join(f"`{test.id}`" for test in held) or "–"
        yield f"| {rule.name} {rule.title}{state} | {names} |" + _result(
            (test.id for test in held if test.name), results
        )


def faults_table(page: str, results: Results) -> Iterator[str]:
    """The fault matrix of the page, with a column of results."""
    _, _, rest = page.partition(_FAULTS_BEGIN)
    table, _, _ = rest.partition(_FAULTS_END)
    head, line, *rows = table.strip().split("\n")
    yield from (f"{head} result |", f"{line} --- |")
    for row in rows:
        yield row + _result((f"{path}::{name}" for path, name in _TEST.findall(row)), results)


def read_results(report: Path) -> Results:
    """How the tests of a JUnit report ended, all cases of one function together."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  our own report
        parts = case.get("classname", "").split(".")
        name = case.get("name", "").partition("[")[0]
        while parts and not (ROOT / Path(*parts)).with_suffix(".py").is_file():
            of_class = parts.pop()
            name = of_class if name == "runTest" else name
        path = Path(*parts).with_suffix(".py").as_posix() if parts else ""
        outcome = next((child.tag for child in case if child.tag in {"failure", "error", "skipped"}), "passed")
        found[f"{path}::{name}"][outcome] += 1
    return found


def find_tests() -> Iterator[Test]:
    """All tests, by path and by their order in the file."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        name = path.relative_to(ROOT).as_posix()
        about = frozenset(citations(ast.get_docstring(tree) or ""))
        if about:
            yield Test(name, "", about)
        yield from _tests_in(tree.body, name, frozenset())


def citations(text: str) -> Iterator[str]:
    """The rules that a sentence cites: R12, R12a, R11.4 (R11), R10–R13 (all four)."""
    for first, letter, last in _CITED.findall(text):
        for number in range(int(first), int(last or first) + 1):
            if 1 <= number <= LAST:
                yield f"R{number}{letter}"


def _tests_in(body: Iterable[ast.stmt], path: str, of_class: frozenset[str]) -> Iterator[Test]:
    machines: dict[str, frozenset[str]] = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            rules = of_class | _cited_by(node)
            machines[f"{node.name}.TestCase"] = rules | {name for part in node.body for name in _cited_by(part)}
            if node.name.startswith("Test"):
                yield from _tests_in(node.body, path, rules)
        elif isinstance(node, ast.Assign) and (machine := ast.unparse(node.value)) in machines:
            yield from (Test(path, ast.unparse(target), machines[machine]) for target in node.targets)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            yield Test(path, node.name, of_class | _cited_by(node))


def _cited_by(node: ast.AST) -> frozenset[str]:
    """What the name, the docstring and the decorators of a function or class cite."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return frozenset()
    texts = [ast.get_docstring(node) or ""]
    for decorator in node.decorator_list:
        texts += [
            part.value for part in ast.walk(decorator) if isinstance(part, ast.Constant) and isinstance(part.value, str)
        ]
    named = (f"R{number}{letter}" for number, letter in _NAMED.findall(node.name) if 1 <= int(number) <= LAST)
    return frozenset(named) | frozenset(name for text in texts for name in citations(text))


def _result(tests: Iterable[str], results: Results | None) -> str:
    if results is None:
        return ""
    total: Counter[str] = sum((results.get(test, Counter({"not run": 1})) for test in tests), Counter())
    return f" {', '.join(f'{count} {outcome}' for outcome, count in sorted(total.items())) or '–'} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
