"""The regular expressions of a mapping file, matched in time linear in the name.

Strangers choose the names that the patterns are tried on, and Python's `re` backtracks: one pattern such as `(a+)+$` would
hold the collector for ever. RE2 does not backtrack, and reads the syntax of Go's `regexp`, which statsd_exporter uses.
One set of all patterns says which match; only the first of them is tried again for what its groups hold.

Source: statsd_exporter's mapper, and `Expand` of Go's package regexp for `$1`, `${1}`, `$name` and `$$`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from atmost.errors import MissingExtra

MAX_PATTERNS: Final = 500
MAX_PATTERN: Final = 1000
"""Characters of one pattern."""
_PATTERN_MEMORY: Final = 512 << 10
"""What the automaton of one pattern may grow to (bytes); beyond it RE2 drops its cache and goes on."""
_SET_MEMORY: Final = 16 << 20
"""The same of the set."""
_PLACE: Final = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})")


class Pattern:
    """One pattern that can be tried."""

    def __init__(self, text: str) -> None:
        """Compiles it.

        Raises:
            ValueError: it is not a regular expression of RE2's.
            MissingExtra: google-re2 is not installed.
        """
        if len(text) > MAX_PATTERN:
            raise ValueError(f"a pattern of {len(text):,} characters: at most {MAX_PATTERN:,}")
        engine, options = _engine(_PATTERN_MEMORY)
        try:
            self._compiled = engine.compile(text, options)
        except engine.error as error:
            raise ValueError(_message(error)) from None
        self.text = text

    def fill(self, name: str) -> Callable[[str], str] | None:
        """What fills a template with this pattern's groups in a name; None where it does not match."""
        found = self._compiled.search(name)
        if found is None:
            return None

        def filled(place: re.Match[str]) -> str:
            return "$" if place[1] else found[_group(place)] or ""

        return lambda template: _PLACE.sub(filled, template)

    def unknown_group(self, template: str) -> str | None:
        """The first reference of a template that names no group of this pattern; None without one."""
        for place in _PLACE.finditer(template):
            if place[1]:
                continue
            group = _group(place)
            if group not in self._compiled.groupindex if isinstance(group, str) else group > self._compiled.groups:
                return place[0]
        return None


class PatternSet:
    """Which of several patterns match a name."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        """Args: patterns: at least one."""
        engine, options = _engine(_SET_MEMORY)
        self._all = range(len(patterns))
        self._set = engine.Set.SearchSet(options)
        for pattern in patterns:
            self._set.Add(pattern.text)
        # A set whose automaton finds no memory answers that nothing matches. The empty pattern matches every name, so
        # that its absence tells such an answer from a true one.
        self._always = self._set.Add("")
        self._set.Compile()

    def matching(self, name: str) -> Sequence[int]:
        """The patterns that match, in order, by their place; all of them where the set cannot say."""
        found = sorted(self._set.Match(name))
        return found[:-1] if found and found[-1] == self._always else self._all


def _engine(memory: int) -> tuple[Any, Any]:
    try:
        import re2
    except ImportError:
        raise MissingExtra("regex", "a regular expression in a StatsD mapping file") from None
    options = re2.Options()
    options.log_errors = False
    options.max_mem = memory
    return re2, options


def _group(place: re.Match[str]) -> int | str:
    text = place[2] or place[3]
    return int(text) if text.isascii() and text.isdigit() else text


def _message(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
