"""Options shared by several commands, with the same name, help and checks everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

import click

from atmost.core.names import harmless
from atmost.errors import PayloadTooLarge
from atmost.transport.base import without_credentials

DEFAULT_PAGE: Final = "http://127.0.0.1:7141"
"""The default address of a collector's page."""


class Number(click.FloatRange):
    """A number within a range; NaN is refused, because no comparison excludes it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or refuse NaN."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def utf8(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Refuse text that cannot be sent: a command line may hold any bytes."""
    try:
        (value or "").encode()
    except UnicodeEncodeError:
        raise click.BadParameter(f"{value!a} is not valid UTF-8") from None
    return value


audience_option = click.option(
    "--audience", default="", callback=utf8, metavar="TEXT", help="The audience that both ends agreed on."
)
bind_option = click.option(
    "--bind", callback=utf8, metavar="URL", help="Where to receive.  [default: ATMOST_BIND, then udp://127.0.0.1:7140]"
)
collector_option = click.option(
    "--collector",
    "url",
    default=DEFAULT_PAGE,
    show_default=True,
    callback=utf8,
    metavar="URL",
    help="Where the collector's page is.",
)
token_option = click.option(
    "--token",
    envvar="ATMOST_TOKEN",
    default="",
    callback=utf8,
    metavar="TEXT",
    help="The collector's token.  [default: ATMOST_TOKEN, then none]",
)
key_file_option = click.option(
    "--key-file",
    metavar="FILE",
    help="A key from 'atmost keygen', in a file only you can read.  [default: ATMOST_KEY, then no key]",
)
max_datagram_option = click.option(
    "--max-datagram", type=int, metavar="BYTES", help="Largest datagram, in bytes.  [default: what the path allows]"
)
seconds_option = click.option("--seconds", type=Number(min=0), metavar="S", help="End after S seconds.")
shards_option = click.option(
    "--shards",
    metavar="SHARDS",
    help="The shards of a nats:// channel to receive, and how many there are: 0-7/16.  [default: all]",
)
url_option = click.option(
    "--url", callback=utf8, metavar="URL", help="Where to send.  [default: ATMOST_URL, then udp://127.0.0.1:7140]"
)


def too_large(error: PayloadTooLarge) -> str:
    """Say what to do about a message too large for a datagram."""
    return (
        f"a message of {error.size:,} bytes, at most {error.limit:,} fit one datagram here: "
        "send less, split it, or allow more with --max-datagram"
    )


def check_no_address(subjects: Iterable[str], option: str) -> None:
    """Refuse an address where a subject stands, so that its credentials go nowhere.

    Raises:
        click.UsageError: one of them is an address; the message does not show what secret it may hold.
    """
    for each in subjects:
        if "://" in each:
            shown = harmless(without_credentials(each).partition("?")[0])
            raise click.UsageError(f"{shown!r} is an address, not a subject: give it with {option}")
