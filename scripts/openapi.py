"""Writes the description of the collector's HTTP interface from the types of its answers."""

from __future__ import annotations

import json
from pathlib import Path

from atmost.collector.api.openapi import document

FILE = Path(__file__).parent.parent / "src" / "atmost" / "collector" / "api" / "openapi.json"


def main() -> None:
    """Writes the file; a test fails while it is not what this writes."""
    FILE.write_text(json.dumps(document(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(FILE.name)


if __name__ == "__main__":
    main()
