"""Every compiled pattern of the package is linear: a stranger's longest text costs no more time than its length.

Each pattern is given texts of 32 KB made to be its worst: what leads up to a repetition, the repetition, and an end that does
not match. A linear pattern reads all of them in milliseconds, one that backtracks needs minutes. A process of its own tries
them within a limit of processor time, and prints which one it is at, so that the guilty one has a name.
"""

import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import atmost
from tests.real import BOUND, environment

SOURCE = Path(atmost.__file__).parent
LENGTH = 32_768
SECONDS = 4
"""Of processor time, for all patterns of a file and all their texts; a pattern of quadratic time needs more for one text."""
ANYWHERE = {"search", "sub", "subn", "split", "findall", "finditer"}
"""Methods that try a pattern at every place of a text, where one that is linear from each may take quadratic time."""
METHODS = {"compile", "match", "fullmatch", *ANYWHERE}
Pattern = tuple[str, int, bool, bool]
"""A pattern's text, its flags, whether it is of bytes, and whether it is looked for anywhere in a text."""

TRY = """
import json, re, resource, sys, time
from tests.test_patterns import worst
limit = int(time.process_time()) + 1 + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
for source, flags, binary, anywhere in json.load(sys.stdin):
    print(source, flush=True)
    text = source.encode("latin-1") if binary else source
    pattern = re.compile(text, flags)
    for given in worst(source, flags):
        data = given.encode("latin-1", "replace") if binary else given
        pattern.match(data), pattern.fullmatch(data), anywhere and pattern.search(data)
print("done")
"""


def patterns_of(path: Path) -> list[Pattern]:
    """Every pattern that a file compiles or uses."""
    scope = _constants(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {
        id(each.value): ast.unparse(each.targets[0] if isinstance(each, ast.Assign) else each.target)
        for each in ast.walk(tree)
        if isinstance(each, ast.Assign | ast.AnnAssign) and each.value is not None
    }
    found = []
    for node in ast.walk(tree):
        if not (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "re"
            and node.func.attr in METHODS
        ):
            continue
        pattern = _value(node.args[0], scope)
        assert pattern is not None, f"{path}:{node.lineno}: not a pattern"
        flags = 0
        for each in [*node.args[1:], *(keyword.value for keyword in node.keywords if keyword.arg == "flags")]:
            for name in re.findall(r"re\.([A-Z]+)", ast.unparse(each)):
                flags |= getattr(re, name)
        text = pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
        name = names.get(id(node), "")
        anywhere = node.func.attr in ANYWHERE or bool(
            name and re.search(rf"\b{name}\.(?:{'|'.join(ANYWHERE)})\b", EVERYTHING)
        )
        found.append((text, int(flags), isinstance(pattern, bytes), anywhere))
    return found


def _constants(path: Path) -> dict[str, object]:
    """The names of the module."""
    name = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
    return vars(importlib.import_module(name))


def _value(node: ast.expr, scope: dict[str, object]) -> str | bytes | None:
    """The pattern of a call; what is only known at run time, as an escaped name, is `x` in it: it repeats nothing."""

    class Plain(ast.NodeTransformer):
        def visit_Call(self, call: ast.Call) -> ast.expr:
            return ast.copy_location(ast.Constant("x"), call)

        def visit_Attribute(self, attribute: ast.Attribute) -> ast.expr:
            return ast.copy_location(ast.Constant("x"), attribute)

        def visit_Name(self, name: ast.Name) -> ast.expr:
            return name if name.id in scope else ast.copy_location(ast.Constant("x"), name)

    plain = ast.fix_missing_locations(ast.Expression(Plain().visit(node)))
    made = eval(compile(plain, "<pattern>", "eval"), dict(scope))  # noqa: S307  our own source
    return made if isinstance(made, str | bytes) else getattr(made, "pattern", None)


def worst(source: str, flags: int) -> list[str]:
    """Texts of `LENGTH` characters for a pattern: for each repetition what leads to it, itself over and over, and an end."""
    tree = re._parser.parse(source, flags)  # type: ignore[attr-defined]
    texts = []
    for before, repeated in _repetitions(tree, ""):
        for pump in {repeated, repeated[:1], repeated + before[-1:]} - {""}:
            body = before + pump * (LENGTH // len(pump))
            texts += [body, body + "\x00", body + "\n!", body[len(before) :] + "\x00"]
    return texts or [c * LENGTH for c in "a0 \\"]


def _repetitions(tree: object, before: str) -> list[tuple[str, str]]:
    """For each repetition in a pattern: an example of what stands before it, and one of what is repeated."""
    found = []
    for operation, value in tree:  # type: ignore[attr-defined]
        name = str(operation)
        if name in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
            found.append((before, _example(value[2])))
            found += _repetitions(value[2], before)
        elif name == "SUBPATTERN":
            found += _repetitions(value[3], before)
        elif name == "BRANCH":
            for branch in value[1]:
                found += _repetitions(branch, before)
        elif name in {"ASSERT", "ASSERT_NOT"}:
            found += _repetitions(value[1], before)
        before += _example([(operation, value)])
    return found


def _example(tree: object) -> str:
    """A text that a pattern matches, the shortest that is not empty where it can be chosen."""
    text = ""
    for operation, value in tree:  # type: ignore[attr-defined]
        name = str(operation)
        if name == "LITERAL":
            text += chr(value)
        elif name == "NOT_LITERAL":
            text += "a" if value != ord("a") else "b"
        elif name == "ANY":
            text += "a"
        elif name == "IN":
            text += _member(value)
        elif name in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
            text += _example(value[2]) * max(value[0], 1)
        elif name == "SUBPATTERN":
            text += _example(value[3])
        elif name == "BRANCH":
            text += max((_example(branch) for branch in value[1]), key=len)
    return text


def _member(value: object) -> str:
    """A character of a class, a digit or a letter where it has one."""
    inside = re.compile(_class(value), re.DOTALL)
    for character in "1a_ -.:;=/" + "".join(map(chr, range(256))):
        if inside.fullmatch(character):
            return character
    return "a"


def _class(value: object) -> str:
    parts, negated = "", ""
    for operation, inner in value:  # type: ignore[attr-defined]
        name = str(operation)
        if name == "NEGATE":
            negated = "^"
        elif name == "LITERAL":
            parts += re.escape(chr(inner))
        elif name == "RANGE":
            parts += f"{re.escape(chr(inner[0]))}-{re.escape(chr(inner[1]))}"
        else:
            parts += {"CATEGORY_DIGIT": r"\d", "CATEGORY_SPACE": r"\s", "CATEGORY_WORD": r"\w"}.get(
                str(inner),
                {"CATEGORY_NOT_DIGIT": r"\D", "CATEGORY_NOT_SPACE": r"\S", "CATEGORY_NOT_WORD": r"\W"}.get(
                    str(inner), ""
                ),
            )
    return f"[{negated}{parts}]"


EVERYTHING = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
FILES = sorted(
    path
    for path in SOURCE.rglob("*.py")
    if re.search(r"\bre\.(compile|match|fullmatch|search|sub|split|findall)", path.read_text(encoding="utf-8"))
)


def attempt(patterns: list[Pattern], seconds: int = SECONDS) -> tuple[bool, str]:
    """Tries patterns in a process of its own; returns whether all came to an end, and the last one begun."""
    done = subprocess.run(
        [sys.executable, "-c", TRY, str(seconds)],
        input=json.dumps(patterns),
        env=environment(PYTHONPATH=f"{SOURCE.parent}:{SOURCE.parents[1]}"),
        capture_output=True,
        text=True,
        check=False,
        timeout=10 * BOUND,
    )
    lines = done.stdout.splitlines()
    return bool(lines) and lines[-1] == "done", lines[-1] if lines else done.stderr


def test_every_pattern_is_linear():
    """No text that a stranger sends holds the interpreter."""
    patterns = [each for path in FILES for each in patterns_of(path)]
    assert len(patterns) > 30
    finished, last = attempt(patterns)
    assert finished, f"this pattern backtracks: {last!r}"


@pytest.mark.parametrize(("source", "anywhere"), [(r"[-+]?[0-9]+\.?[0-9]*", False), (r"\s+$", True)])
def test_patterns_that_backtrack_are_found(source, anywhere):
    """The first is one that StatsD's numbers had; the second is linear from one place, and not from every."""
    assert attempt([(source, 0, False, anywhere)], seconds=1) == (False, source)


def test_what_is_linear_from_one_place_is_told_apart():
    """So that a pattern which is only matched at the beginning is not held to more."""
    assert attempt([(r"\s+$", 0, False, False)]) == (True, "done")
