"""`atmost keygen`: a new key."""

from __future__ import annotations

import secrets

import click

from atmost.core.keys import MAX_KEY_ID, SECRET, KeyMode, new_key, require_encryption


@click.command(short_help="Print a new key.")
@click.option("--encrypted", is_flag=True, help="Encrypt, not only sign; needs the extra 'crypto' at both ends.")
@click.option(
    "--key-id",
    type=click.IntRange(1, MAX_KEY_ID),
    metavar="N",
    help="The key's number; each key a receiver accepts needs its own.  [default: any]",
)
def keygen(encrypted: bool, key_id: int | None) -> int:
    """Print a new key as one line of text.

    Give the same line to senders and receivers: as key=, in ATMOST_KEY, or in a file for --key-file.

    \b
    Examples:
      (umask 077; atmost keygen > atmost.key)
      atmost listen --key-file atmost.key
      atmost send orders.new 1 --key-file atmost.key
    """
    mode = KeyMode.ENCRYPTED if encrypted else KeyMode.SIGNED
    if encrypted:
        require_encryption()
    number = key_id if key_id is not None else 1 + secrets.randbelow(MAX_KEY_ID)
    click.echo(new_key(secrets.token_bytes(SECRET), number, mode).text())
    return 0
