"""`python -m atmost`: the `atmost` command."""

from __future__ import annotations

from atmost.cli import main

if __name__ == "__main__":
    main()
