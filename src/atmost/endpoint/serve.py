"""`serve`: a handler that receives until the program is told to end, in one process or several."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final, Unpack

from atmost.core.accounts import Ledger
from atmost.endpoint.checking import ReceiverArguments
from atmost.endpoint.intake import Intake, options_of
from atmost.endpoint.serving import Handler, Serving, ended_by_signals
from atmost.endpoint.workers import Workers

_TURN: Final = 0.1
"""How soon a request to end is noticed, seconds."""


def serve(
    handler: Handler,
    url: str | None = None,
    *,
    workers: int = 1,
    subjects: Iterable[str] = (">",),
    **options: Unpack[ReceiverArguments],
) -> Ledger:
    """Receives until Ctrl-C or SIGTERM, in one process or several; call it in the main thread.

    Args:
        handler: called once a message, in a worker process, or with `workers=1` in this one.
        url, subjects, options: as `Workers` takes them; with `workers=1` any URL that `Receiver` takes.
        workers: processes; more than one needs Linux and UDP. Larger handles more senders at once.

    Returns:
        The account; with several workers a `MergedLedger`.

    Raises:
        AtMostError: as `Receiver` and `Workers` do, before anything is received.
        ValueError: this is not the main thread.
    """
    if workers == 1:
        return _serve_here(handler, url, subjects, options)
    asked = threading.Event()
    with ended_by_signals(asked.set), Workers(handler, url, workers=workers, subjects=subjects, **options) as group:
        while not asked.is_set():
            group.supervise(_TURN, asked.is_set)
    return group.ledger()


def _serve_here(handler: Handler, url: str | None, subjects: Iterable[str], options: ReceiverArguments) -> Ledger:
    intake = Intake(options_of("serve", options), url)
    try:
        serving = Serving(intake, handler, subjects)
        with ended_by_signals(serving.end):
            serving.start()
            serving.run()
    finally:
        intake.close()
    return intake.ledger()
