"""What tests of the two ends share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atmost import Sender
from atmost.core import sending
from atmost.endpoint import sender as module
from tests.endpoint.crew import Journal
from tests.endpoint.tape import Tape

Make = Callable[..., Sender]
Busy = Callable[[Sender], None]


@pytest.fixture
def tape() -> Tape:
    """What a sender hands over."""
    return Tape()


@pytest.fixture
def make(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """A function that constructs a sender over the tape."""
    made: list[Sender] = []
    monkeypatch.setattr(module, "open_outlet", lambda _url: tape)

    def make(**options: object) -> Sender:
        made.append(Sender("memory://tape", **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for sender in made:
        sender.close(0)


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Busy:
    """A function that makes a sender believe, for as long as the test lasts, that it has just sent."""

    def busy(sender: Sender) -> None:
        monkeypatch.setattr(sending, "_IMMEDIATE_EVERY", 1e9)
        sender.send("first")

    return busy


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """What the workers of a test processed."""
    journal = Journal(tmp_path / "journal")
    yield journal
    journal.close()
