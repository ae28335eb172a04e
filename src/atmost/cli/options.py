"""Options that several commands have."""

from __future__ import annotations

import click

audience_option = click.option("--audience", default="", metavar="TEXT", help="The audience both ends agreed on.")
key_file_option = click.option(
    "--key-file",
    metavar="FILE",
    help="A key from 'atmost keygen', in a file only you can read.  [default: ATMOST_KEY, then no key]",
)
