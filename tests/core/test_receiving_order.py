"""R11: the checks come in their order; of two faults in one datagram the earlier one is the reason."""

from itertools import combinations

import pytest

from atmost.core.events import RefusalReason
from atmost.core.limits import WINDOW
from tests.core.twins import FUTURE_US, Receiving, datagram

MAX_AGE_US = 1_000_000
R = RefusalReason


def _scene():
    """A known session at number 20 and a receiver with a full table, its floor well below now."""
    there = Receiving(window=8, max_sessions=1, max_age=MAX_AGE_US / 1e6, shard=(1, 2))
    hand = there.hand()
    there.take(*(hand.data() for _ in range(21)))
    there.pass_time(10 * MAX_AGE_US)
    return there, hand


# Each step of R11 with the fields that break it: (reason, fields); `torn` spoils the tag.
OF_BOTH = [
    (R.MALFORMED, lambda t, h: {"flags": 4}),
    (R.UNKNOWN_KEY, lambda t, h: {"key_id": 1}),
    (R.WRONG_SHARD, lambda t, h: {"random64": 4}),
    (R.FUTURE, lambda t, h: {"sent_us": t.wall_us + FUTURE_US + 1}),
]
OF_KNOWN = [
    (R.BELOW_FLOOR, lambda t, h: {"sent_us": t.core.floor_us}),
    (R.TOO_OLD, lambda t, h: {"sequence": 12}),
    (R.DUPLICATE, lambda t, h: {"sequence": 20}),
]
OF_UNKNOWN = [(R.BOOT_QUARANTINE, lambda t, h: {"sent_us": t.core.floor_us})]
LAST = [
    (R.EXPIRED, lambda t, h: {"sent_us": t.wall_us - MAX_AGE_US - 1}),
    (R.AUTH_FAILED, lambda t, h: {"torn": True}),
    (R.MALFORMED, lambda t, h: {"body": b"\xdc\x00\x01\xc1"}),
]
CLAIMS_OF_KNOWN = [
    (R.INCONSISTENT, lambda t, h: {"prior": 3}),
    (R.IMPLAUSIBLE, lambda t, h: {"sequence": 20 + WINDOW // 2 + 1}),
]
CLAIMS_OF_UNKNOWN = [
    (R.INCONSISTENT, lambda t, h: {"prior": 2**63}),
    (R.IMPLAUSIBLE, lambda t, h: {"sequence": WINDOW // 2 + 1}),
]
KNOWN = OF_BOTH + OF_KNOWN + LAST + CLAIMS_OF_KNOWN
UNKNOWN = OF_BOTH + OF_UNKNOWN + LAST + CLAIMS_OF_UNKNOWN


def _pairs(steps):
    for earlier, later in combinations(steps, 2):
        there, hand = _scene()
        if not earlier[1](there, hand).keys() & later[1](there, hand).keys():
            yield pytest.param(earlier, later, id=f"{earlier[0]} before {later[0]}")


def _check(known, earlier, later):
    there, hand = _scene()
    fields = {**later[1](there, hand), **earlier[1](there, hand)}
    torn = fields.pop("torn", False)
    who = {"start_us": hand.start_us, "sequence": 21, "prior": 21} if known else {"start_us": there.wall_us - 9_000_000}
    made = datagram(**{"random64": 1 if known else 3, "sent_us": there.wall_us, **who, **fields})
    if torn:
        made = made[:-1] + bytes([made[-1] ^ 1])
    assert there.refusal(made) is earlier[0]


@pytest.mark.parametrize(("earlier", "later"), list(_pairs(KNOWN)))
def test_r11_in_a_known_session_the_earlier_check_decides(earlier, later):
    """R11: header, key, future, floor, window, age, tag, body, account, belief; and each leaves the state alone."""
    _check(True, earlier, later)


@pytest.mark.parametrize(("earlier", "later"), list(_pairs(UNKNOWN)))
def test_r11_of_an_unknown_session_the_earlier_check_decides(earlier, later):
    """R11: the same for a session never seen, whose floor is the receiver's; nothing is evicted for any of them."""
    _check(False, earlier, later)


@pytest.mark.parametrize("reason", [R.AUTH_FAILED, R.MALFORMED, R.INCONSISTENT, R.IMPLAUSIBLE])
def test_r11_the_window_moves_only_for_what_is_accepted(reason):
    """R11.6–R11.8: a far number that is refused at the end moves nothing, and the session goes on where it was."""
    there, hand = _scene()
    fields = dict(LAST + CLAIMS_OF_KNOWN)[reason](there, hand)
    far = {"start_us": hand.start_us, "sequence": 500_000, "prior": 21, "sent_us": there.wall_us, **fields}
    torn = far.pop("torn", False)
    made = datagram(**far)
    there.take(made[:-1] + b"\x00" if torn and made[-1] else made)
    assert there.ledger().refused == {reason: 1}
    hand.sent_us = there.wall_us
    there.take(hand.data())
    assert there.payloads[-1] == 21
