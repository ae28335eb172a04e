"""The tag without a key: it covers header and body, and belongs to an audience."""

from hashlib import blake2b

import pytest
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from atmost.core.events import Message, RefusalReason
from atmost.core.keys import KeyMode, new_key
from atmost.core.limits import HEADER, TAG
from atmost.core.seal import NO_KEY, ChecksumSeal, no_keys
from tests.core.twins import Receiving, datagram

HEADER_BYTES = bytes(range(HEADER))


def test_sealing_appends_the_tag_and_opening_gives_the_body():
    """Header and body travel in the clear, the xxh3-128 of both behind them."""
    sealed = ChecksumSeal().seal(HEADER_BYTES, b"body")
    assert sealed == HEADER_BYTES + b"body" + xxh3_128_digest(HEADER_BYTES + b"body")
    assert bytes(ChecksumSeal().open(sealed)) == b"body"


def test_the_seed_is_the_hash_of_the_audience():
    """Other implementations need it: the seed is xxh3-64 of the audience's UTF-8, 0 for the empty one."""
    seed = xxh3_64_intdigest("ägypten".encode())
    assert ChecksumSeal("ägypten").seal(HEADER_BYTES, b"")[-TAG:] == xxh3_128_digest(HEADER_BYTES, seed)
    assert ChecksumSeal("").seal(HEADER_BYTES, b"")[-TAG:] == xxh3_128_digest(HEADER_BYTES, 0)


@pytest.mark.parametrize("position", range(HEADER + 4 + TAG))
def test_h0_every_bit_is_covered(position):
    """H0: one bit changed anywhere, header, body or tag, and the datagram does not open."""
    sealed = bytearray(ChecksumSeal().seal(HEADER_BYTES, b"body"))
    for bit in range(8):
        sealed[position] ^= 1 << bit
        assert ChecksumSeal().open(bytes(sealed)) is None
        sealed[position] ^= 1 << bit
    assert ChecksumSeal().open(bytes(sealed)) is not None


@pytest.mark.parametrize(("sender", "receiver"), [("", "a"), ("a", ""), ("a", "b"), ("a", "a ")])
def test_r1_another_audience_does_not_accept(sender, receiver):
    """R1: the audience is part of every tag, so a copy that strays to another receiver is refused there."""
    there = Receiving(audience=receiver)
    stray = datagram(start_us=there.wall_us, sent_us=there.wall_us, seal=ChecksumSeal(sender))
    assert there.refusal(stray) is RefusalReason.AUTH_FAILED


@pytest.mark.parametrize("audience", ["", "a", "日本"])
def test_r1_the_same_audience_accepts(audience):
    """R1: agreed by both ends, any name will do."""
    there = Receiving(audience=audience)
    said = there.take(datagram(start_us=there.wall_us, sent_us=there.wall_us, seal=ChecksumSeal(audience)))
    assert any(isinstance(event, Message) for event in said)


def test_r12a_a_receiver_without_keys_knows_only_key_0():
    """R12a: its keyring holds key_id 0 and nothing else."""
    assert list(no_keys()) == [NO_KEY] == [0]


def test_r1_the_derivation_of_a_session_key_is_the_documented_one():
    """R1: other implementations need it: keyed BLAKE2b over session and audience, the mode in the personalisation."""
    session, secret = bytes(range(18)), bytes(range(32))
    derived = blake2b(session + b"aud", key=secret, digest_size=32, person=b"atmost1signed").digest()
    tag = blake2b(HEADER_BYTES + b"body", key=derived, digest_size=TAG).digest()
    seal = new_key(secret, 1, KeyMode.SIGNED).seals("aud")(session)
    assert seal.seal(HEADER_BYTES, b"body") == HEADER_BYTES + b"body" + tag
