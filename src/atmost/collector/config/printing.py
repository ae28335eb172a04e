"""The configuration as a file that can be read again: every option with its meaning, unit, default and present value."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from atmost.collector.config.options import CollectorOptions, meaning_of
from atmost.collector.config.sources import PREFIX


def print_config(options: CollectorOptions) -> str:
    """TOML with a comment on each option; what has its default stands as a comment, and a token is never shown."""
    lines = ["# Options of 'atmost collect'; file < environment < flags. What stands behind '#' is the default."]
    for each in fields(CollectorOptions):
        meaning, value = meaning_of(each), getattr(options, each.name)
        facts = [meaning.unit] if meaning.unit else []
        if meaning.least is not None:
            facts.append(meaning.range)
        if meaning.reload:
            facts.append("SIGHUP reloads it")
        facts.append(f"environment: {PREFIX}{each.name.upper()}")
        lines += ["", f"# {meaning.text[0].upper()}{meaning.text[1:]}.", f"# ({'; '.join(facts)})"]
        if value == each.default:
            lines.append(f"#{each.name} = {_toml(value)}")
        elif each.name == "token":
            lines.append("# token is set, and not shown")
        else:
            lines += [f"# default: {_toml(each.default)}", f"{each.name} = {_toml(value)}"]
    lines += ["", f"# With these limits the process needs at most about {options.memory_bound() / (1 << 20):,.0f} MiB."]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    """A value as TOML writes it, which for these kinds is as JSON does."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
