"""`atmost lab explain`: one message's life under each guarantee, when one thing goes wrong."""

from __future__ import annotations

from typing import Any, Final

import click

from atmost.lab.compare import ARMS
from atmost.lab.explain import Fault, draw, tell

_ALIASES: Final = {"packet-dropped": Fault.DATAGRAM_DROPPED.value}
"""What many would type first."""


class _FaultName(click.Choice[str]):
    """A fault by its name, or by another that it is known by."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the fault's own name."""
        return super().convert(_ALIASES.get(value, value), param, ctx)


@click.command(short_help="One message's life under each guarantee, when one thing goes wrong.")
@click.option(
    "--fault",
    type=_FaultName([fault.value for fault in Fault]),
    default=Fault.DATAGRAM_DROPPED.value,
    show_default=True,
    help="What the message's first transmission meets.",
)
@click.option(
    "--guarantee",
    "guarantees",
    type=click.Choice([arm.name for arm in ARMS]),
    multiple=True,
    help="Only this one; may be repeated.  [default: all three]",
)
def explain(fault: str, guarantees: tuple[str, ...]) -> None:
    """Draw what happens to one message as a sequence diagram: the arms of 'atmost lab compare', run with one fault.

    \b
    Examples:
      atmost lab explain
      atmost lab explain --fault ack-lost
      atmost lab explain --fault crash-after --guarantee exactly-once
    """
    for arm in ARMS:
        if not guarantees or arm.name in guarantees:
            click.echo("\n".join(draw(tell(arm.name, Fault(fault)))) + "\n")
