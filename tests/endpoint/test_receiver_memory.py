"""R14: the queue is bounded by what its messages take when they are decoded."""

import sys
import tracemalloc

import pytest

from atmost.core.limits import QUEUED_BYTES
from atmost.endpoint.intake import _SWELLING, Intake, IntakeOptions
from tests.endpoint.tape import Hand

URL = "memory://swollen"
MOST = 1_000
"""Messages in the queue: 1 MB decoded."""


def nested(depth):
    """Maps in maps: the most bytes that one byte of a datagram can become."""
    value = {}
    for _ in range(depth):
        value = {1: value}
    return value


SWELLING = {
    "empty maps": lambda: [{} for _ in range(12_500)],
    "maps of one": lambda: [{1: None} for _ in range(3_750)],
    "nested maps": lambda: [nested(100) for _ in range(50)],
    "empty lists": lambda: [[] for _ in range(12_500)],
    "short texts": lambda: ["ab" for _ in range(3_750)],
    "numbers": lambda: list(range(300, 4_050)),
}


@pytest.mark.parametrize("kind", SWELLING)
def test_r14_the_queue_takes_no_more_memory_than_it_says(kind):
    """R14: 12 KB on the wire may become 1.5 MB; whatever they hold, what waits is bounded, and the rest is counted as overflow."""
    intake = Intake(IntakeOptions(max_queue=MOST), URL)
    hand = Hand(URL)
    payload = SWELLING[kind]()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(40):
            hand.data(payload)
            while intake.pump():
                pass
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    ledger = intake.ledger()
    intake.close()
    assert held < 2 * MOST * QUEUED_BYTES
    assert ledger.overflow > 0
    assert ledger.overflow + ledger.queued == 40
    assert ledger.balanced()


def test_r14_small_messages_fill_the_queue_by_their_number():
    """R14: what is usual counts as one, so that `max_queue` means messages."""
    intake = Intake(IntakeOptions(max_queue=MOST), URL)
    hand = Hand(URL)
    for number in range(MOST // 4 + 10):
        hand.data(*({"sku": "A1", "number": number} for _ in range(4)))
        intake.pump()
    ledger = intake.ledger()
    intake.close()
    assert ledger.queued >= MOST * 7 // 8
    assert ledger.overflow > 0


def test_no_byte_becomes_more_than_is_assumed():
    """The bound that is taken without looking at messages holds for the worst that is known."""
    for make in SWELLING.values():
        value, bytes_on_wire = make(), 0
        seen, total = [value], 0
        while seen:
            one = seen.pop()
            total += sys.getsizeof(one) + 8
            bytes_on_wire += 2 if isinstance(one, (dict, list)) and one else 1
            seen += one if isinstance(one, list) else one.values() if isinstance(one, dict) else ()
        assert total < _SWELLING * bytes_on_wire
