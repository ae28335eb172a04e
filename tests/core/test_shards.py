"""R17: receivers that divide the sessions among them, and refuse each other's."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.core.events import RefusalReason
from atmost.core.limits import WINDOW
from atmost.core.shards import SHARD_OFFSET, Shards, shard_of
from atmost.errors import OptionError
from tests.core.twins import Hand, Receiving

U64 = st.integers(0, 2**64 - 1)
WORKERS = 4


def workers():
    """Return one receiver a shard, in one instant."""
    return [Receiving(shard=(number, WORKERS)) for number in range(WORKERS)]


@given(U64, U64, st.integers(1, 1024))
def test_r17_the_shard_is_what_a_kernel_can_compute(start_us, random64, count):
    """R17: the big endian u32 at offset 16 of the datagram, modulo the number of shards."""
    hand = Hand(min(start_us, 2**63), random64)
    (word,) = struct.unpack_from(">I", hand.data(), SHARD_OFFSET)
    assert SHARD_OFFSET == 16
    assert shard_of(hand.key, count) == word % count == random64 % 2**32 % count


@given(U64, st.permutations(range(WORKERS)))
def test_r17_whatever_the_kernel_hands_out_one_worker_processes_it(random64, order):
    """R17: of workers that all see a datagram, in any order, one accepts it and each other one refuses it."""
    crew = workers()
    hand = crew[0].hand(random64)
    for datagram in (hand.beacon(), hand.data(2)):
        for number in order:
            crew[number].take(datagram)
    assert [there.payloads for there in crew].count([0, 1]) == 1
    refused = [there.ledger().refused for there in crew]
    assert refused.count({"wrong_shard": 2}) == WORKERS - 1
    assert refused.count({}) == 1


def test_r17_without_the_refusal_two_windows_let_a_copy_through():
    """R17: the same datagram at two workers that take any session is processed twice: the check is what prevents it."""
    crew = [Receiving(), Receiving()]
    datagram = crew[0].hand().data()
    for there in crew:
        there.take(datagram)
    assert [there.payloads for there in crew] == [[0], [0]]


def test_r17_a_known_session_stays_where_it_is():
    """R17: the sessions of one worker go on while it refuses others', and a refusal leaves no trace but its count."""
    there = Receiving(shard=(1, 2))
    own, other = there.hand(3), there.hand(2)
    there.take(own.data())
    assert there.refusal(other.data()) is RefusalReason.WRONG_SHARD
    there.take(own.data())
    assert there.payloads == [0, 1]


def test_r17_a_strange_session_leaves_no_claim():
    """R16, R17: what a worker refuses as another's is not remembered as implausible either."""
    there = Receiving(shard=(1, 2))
    far = there.hand(2, sequence=WINDOW // 2 + 1, prior=WINDOW // 2 + 1)
    assert there.refusal(far.data(), claims=False) is RefusalReason.WRONG_SHARD


def test_r17_one_shard_of_one_is_a_receiver_like_any():
    """R17: with nobody to share with every session is its own."""
    there = Receiving(shard=(0, 1))
    hands = [there.hand(number) for number in (1, 2, 2**64 - 1)]
    there.take(*(hand.data() for hand in hands))
    assert there.payloads == [0, 0, 0]
    assert there.ledger().refused == {}


@given(
    st.integers(1, 1024).flatmap(
        lambda count: st.tuples(st.just(count), st.sets(st.integers(0, count - 1), min_size=1))
    )
)
def test_shards_are_read_as_they_are_written(drawn):
    """Any of them, in runs: 0-3,7/16."""
    count, owned = drawn
    shards = Shards(frozenset(owned), count)
    assert Shards.parse(str(shards)) == shards
    assert shards.all == (len(owned) == count)


@pytest.mark.parametrize(("text", "owned"), [("0-7/16", range(8)), ("0,2,4-5/16", [0, 2, 4, 5]), ("15/16", [15])])
def test_shards_as_people_write_them(text, owned):
    """One by one, and from the first to the last."""
    assert Shards.parse(text) == Shards(frozenset(owned), 16)
    assert str(Shards.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "shards and how many there are"),
        ("0-7", "shards and how many there are"),
        ("/16", "shards and how many there are"),
        ("0-7/", "shards and how many there are"),
        ("0-7/0", "shards and how many there are"),
        ("0-7/1025", "shards and how many there are"),
        ("a/4", "shards and how many there are"),
        ("0--1/4", "shards and how many there are"),
        ("٣/4", "shards and how many there are"),
        ("4/4", "shards from 0 to 3, the lower one first"),
        ("3-1/4", "shards from 0 to 3, the lower one first"),
        ("0-2,2-3/4", "each shard once: 2 is named twice"),
        (7, "shards and how many there are"),
    ],
)
def test_shards_that_overlap_or_do_not_exist_are_refused(text, expected):
    """With a line that says what would be right."""
    with pytest.raises(OptionError, match=expected):
        Shards.parse(text)


def test_r17_a_receiver_of_several_shards_refuses_the_others():
    """R17: the same rule for one shard and for many."""
    there = Receiving(shard=Shards(frozenset({0, 3}), 4))
    for number in range(8):
        hand = there.hand(number)
        if number % 4 in {0, 3}:
            there.take(hand.data())
        else:
            assert there.refusal(hand.data()) is RefusalReason.WRONG_SHARD
    assert there.payloads == [0] * 4
