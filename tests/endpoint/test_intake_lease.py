"""H2 where an address is held by a lease: an owner that stands still between any two steps processes nothing that a successor may have."""

from collections.abc import Iterator

import pytest

from atmost import Message
from atmost.core.shards import Shards
from atmost.endpoint import intake as module
from atmost.endpoint.intake import Intake, IntakeOptions
from atmost.transport.base import NETWORK, Inlet
from tests.real import forge

SECOND = 1_000_000
START_US = 1_700_000_000 * SECOND


class Leased:
    """An inlet whose lease ends at `until_us`; `stops` says how long the process stands still after each step, by its name."""

    url = "leased:"
    preset = NETWORK
    overlap = 1.5
    look_every = 3600.0
    warning = None
    shards: Shards | None = None
    ended = None

    def __init__(self) -> None:
        self.now_us = START_US
        self.until_us = START_US
        self.waiting: list[bytes] = []
        self.stops: dict[str, float] = {}
        self.unconfirmed = 0
        self.taken_again = False

    def _stand_still(self, step: str) -> None:
        self.now_us += round(self.stops.pop(step, 0.0) * SECOND)

    def clock(self) -> int:
        now_us = self.now_us
        self._stand_still("clock")
        return now_us

    def receive(self) -> bytes | None:
        if not self.waiting:
            return None
        datagram = self.waiting.pop(0)
        taken = self.confirms()
        self._stand_still("look")
        return datagram if taken else None

    def confirms(self) -> bool:
        if self.now_us < self.until_us:
            return True
        self.unconfirmed += 1
        return False

    def incarnation(self) -> int:
        return 1 + self.taken_again

    def resume(self, incarnation: int) -> None:
        assert incarnation == 1 + self.taken_again

    def kernel_drops(self) -> int:
        return self.unconfirmed

    def wait(self, timeout: float | None) -> None:
        """Nothing is waited for."""

    wake = abandon = close = lambda self: None

    def fileno(self) -> int:
        return -1


@pytest.fixture
def inlet() -> Leased:
    """One that is owned for a second from the moment at which the receiver is ready."""
    return Leased()


@pytest.fixture
def intake(inlet: Leased, monkeypatch: pytest.MonkeyPatch) -> Iterator[Intake]:
    """A receiver over it, ready."""

    def bind(_url: str, _shards: Shards | None) -> Inlet:
        return inlet

    monkeypatch.setattr(module, "open_inlet", bind)
    intake = Intake(IntakeOptions(), "leased:")
    inlet.now_us += round((0.5 + 0.5 + inlet.overlap) * SECOND) + 1
    inlet.until_us = inlet.now_us + SECOND
    yield intake
    intake.close()


def processed(intake: Intake) -> list[object]:
    """Read what waits; return the payloads that reach the consumer."""
    intake.pump()
    found: list[object] = []
    while intake.next_batch():
        found += [event.payload for event in intake.current if isinstance(event, Message)]
    return found


def sent_at(inlet: Leased, seconds: float) -> bytes:
    """Return a datagram that was sent so much later than now, by its sender's clock."""
    return forge([("a", seconds)], sent_us=inlet.now_us + round(seconds * SECOND), start_us=inlet.now_us)


def test_the_overlap_is_part_of_the_floor(inlet: Leased, intake: Intake) -> None:
    """F + G + the time for which an earlier owner may go on."""
    inlet.waiting = [forge([("a", 1)], sent_us=START_US + round(2.49 * SECOND), start_us=START_US)]
    assert processed(intake) == []
    assert intake.ledger().refused == {"boot_quarantine": 1}


def test_an_owner_that_stands_still_after_its_look_judges_by_the_clock_before_it(inlet: Leased, intake: Intake) -> None:
    """A datagram with a date nine seconds ahead is for a successor by the time the owner goes on."""
    inlet.waiting = [sent_at(inlet, 9.0)]
    inlet.stops = {"look": 10.0}
    assert processed(intake) == []
    assert intake.ledger().kernel_drops == 1


def test_an_owner_that_stands_still_before_its_look_processes_nothing(inlet: Leased, intake: Intake) -> None:
    """Its lease is over."""
    inlet.waiting = [sent_at(inlet, 0.1)]
    inlet.stops = {"clock": 10.0}
    assert processed(intake) == []
    assert intake.ledger().kernel_drops == 1


def test_what_was_sent_after_the_reading_is_judged_by_another_one(inlet: Leased, intake: Intake) -> None:
    """While the lease runs nothing is refused for a reading that is a little old."""
    inlet.waiting = [sent_at(inlet, 0.9)]
    inlet.stops = {"look": 0.5}
    assert processed(intake) == [0.9]


def test_a_grown_overlap_counts_when_the_address_is_taken_over_again(inlet: Leased, intake: Intake) -> None:
    """What was seen of the way between owners meanwhile belongs to the new floor."""
    inlet.overlap, inlet.taken_again = 3.0, True
    inlet.until_us = inlet.now_us + 20 * SECOND
    assert processed(intake) == []
    inlet.now_us += 3 * SECOND
    inlet.waiting = [sent_at(inlet, 0.0)]
    assert processed(intake) == []
    inlet.now_us += 2 * SECOND
    inlet.waiting = [sent_at(inlet, 0.0)]
    assert processed(intake) == [0.0]
