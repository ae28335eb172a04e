"""Keys: their text, and what a datagram sealed with one opens under (R1, R11.2, R11.6, R12a)."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from atmost.core.datagram import FLAG_ENCRYPTED, HEADER_LAYOUT, encode_message, pack_messages
from atmost.core.events import Message, RefusalReason
from atmost.core.keys import Key, KeyMode, keyring, new_key, parse_key, sealing
from atmost.core.limits import HEADER, MAGIC, TAG, VERSION
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.core.seal import NO_KEY, no_keys
from atmost.errors import InvalidKey, MissingExtra

MODES = list(KeyMode)
START = 1_700_000_000_000_000
SENT = START + 2_000_000
SESSION = HEADER_LAYOUT.pack(0, 0, 5, SENT, 77, 0, 0, 0, 0, 0)[2:20]
SECRET = bytes(range(32))


def key_of(mode: KeyMode, *, number: int = 5, secret: bytes = SECRET) -> Key:
    """A key with known bytes."""
    return new_key(secret, number, mode)


def sealed(key: Key, *, audience: str = "", sequence: int = 0, payload: Any = "secret text") -> bytes:
    """A datagram of one message under a key."""
    seal = key.seals(audience)(SESSION)
    fields = (MAGIC, VERSION << 4 | 1, key.key_id, SENT, 77, sequence, sequence, SENT, 1, seal.flags)
    return seal.seal(HEADER_LAYOUT.pack(*fields), pack_messages([encode_message(("s", payload))]))


def receiving(*keys: Key, audience: str = "") -> ReceiverCore:
    """A receiver with keys, past its floor; without any it accepts only what has no key."""
    options = ReceiverOptions(future_bound=0.5, clock_guard=0.5)
    return ReceiverCore(options, START, keyring(keys, audience) if keys else None)


def payloads(core: ReceiverCore, datagram: bytes) -> list[Any]:
    """What the receiver processes of a datagram."""
    return [event.payload for event in core.receive(datagram, 0.0, SENT) if isinstance(event, Message)]


@pytest.mark.parametrize("mode", MODES)
def test_r1_a_key_survives_its_text(mode: KeyMode) -> None:
    """R1: the text of a key carries its number, mode and secret."""
    key = key_of(mode)
    assert parse_key(f"  {key.text()}\n") == key
    assert ":5:" in key.text()


@pytest.mark.parametrize("text", ["", "x", "atmost:signed:5:AAAA:0000", "atmost:other:5:AAAA:0000", "a:b:c:d:e:f"])
def test_a_text_that_is_no_key_is_refused(text: str) -> None:
    """A text that is no key is refused."""
    with pytest.raises(InvalidKey):
        parse_key(text)


@pytest.mark.parametrize("character", ["A", "é", "\udcff"])
def test_every_single_mistyped_character_is_noticed(character: str) -> None:
    """A key with one character changed never is another key, and the error never shows it."""
    text = key_of(KeyMode.SIGNED).text()
    for position in range(len(text)):
        mistyped = text[:position] + (character if text[position] != character else "B") + text[position + 1 :]
        with pytest.raises(InvalidKey) as caught:
            parse_key(mistyped)
        assert mistyped not in str(caught.value)


def test_a_key_never_shows_its_secret() -> None:
    """repr, which ends up in logs, has no secret in it."""
    assert "secret" not in repr(key_of(KeyMode.SIGNED))


@pytest.mark.parametrize(("secret", "number"), [(bytes(31), 5), (bytes(32), 0), (bytes(32), 65_536)])
def test_a_secret_has_32_bytes_and_a_number_is_a_u16_above_0(secret: bytes, number: int) -> None:
    """Number 0 means no key on the wire."""
    with pytest.raises(InvalidKey):
        new_key(secret, number, KeyMode.SIGNED)


def test_two_keys_of_one_number_are_refused() -> None:
    """The number on the wire must name one key."""
    with pytest.raises(InvalidKey, match="number 5"):
        keyring([key_of(KeyMode.SIGNED), key_of(KeyMode.ENCRYPTED)], "")


def test_a_sender_seals_with_the_first_key() -> None:
    """Receivers accept them all, so that a new one can be put in front."""
    new, old = key_of(KeyMode.SIGNED, number=6), key_of(KeyMode.SIGNED, secret=SECRET[::-1])
    key_id, seals = sealing([new, old], "shop")
    header, body = bytes(HEADER), b"body"
    assert key_id == 6
    assert seals(SESSION).seal(header, body) == new.seals("shop")(SESSION).seal(header, body)


def test_r12a_a_sender_without_keys_seals_with_the_checksum() -> None:
    """R12a: under number 0, which a receiver without keys accepts, of the same audience only."""
    key_id, seals = sealing([], "shop")
    header, body = bytes(HEADER), b"body"
    datagram = seals(SESSION).seal(header, body)
    assert key_id == NO_KEY
    assert no_keys("shop")[NO_KEY](SESSION).open(datagram) == body
    assert no_keys("stock")[NO_KEY](SESSION).open(datagram) is None


@pytest.mark.parametrize("mode", MODES)
def test_r1_a_keyed_datagram_is_processed_once(mode: KeyMode) -> None:
    """R1: a receiver with the key processes the datagram, once."""
    key = key_of(mode)
    core = receiving(key)
    assert payloads(core, sealed(key)) == ["secret text"]
    assert payloads(core, sealed(key)) == []
    assert core.ledger(0.0).refused == {RefusalReason.DUPLICATE: 1}


def test_signing_leaves_the_payload_readable_and_encryption_does_not() -> None:
    """The header flag says which, and only encryption hides the body."""
    signed, encrypted = sealed(key_of(KeyMode.SIGNED)), sealed(key_of(KeyMode.ENCRYPTED))
    assert b"secret text" in signed
    assert b"secret text" not in encrypted
    assert not signed[47] & FLAG_ENCRYPTED
    assert encrypted[47] & FLAG_ENCRYPTED
    assert len(signed) == len(encrypted)


def test_r1_one_text_gives_other_bytes_under_every_number() -> None:
    """R1: the sequence number is the nonce, so equal messages are sealed differently."""
    key = key_of(KeyMode.ENCRYPTED)
    assert sealed(key, sequence=0)[HEADER:-TAG] != sealed(key, sequence=1)[HEADER:-TAG]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("what", ["secret", "audience"])
def test_r1_another_secret_or_audience_opens_nothing(mode: KeyMode, what: str) -> None:
    """R1: both are part of the session key; a failed tag remembers and evicts nothing."""
    key = key_of(mode)
    other = key_of(mode, secret=bytes(32)) if what == "secret" else key
    core = receiving(key, audience="b" if what == "audience" else "")
    assert payloads(core, sealed(other)) == []
    ledger = core.ledger(0.0)
    assert ledger.refused == {RefusalReason.AUTH_FAILED: 1}
    assert ledger.sessions == []


@pytest.mark.parametrize(("made", "held"), [(KeyMode.SIGNED, KeyMode.ENCRYPTED), (KeyMode.ENCRYPTED, KeyMode.SIGNED)])
def test_r1_the_mode_cannot_be_changed_on_the_way(made: KeyMode, held: KeyMode) -> None:
    """R1: the same secret under the other mode is another key; flipping the flag does not help either."""
    core = receiving(key_of(held))
    datagram = bytearray(sealed(key_of(made)))
    assert payloads(core, bytes(datagram)) == []
    datagram[47] ^= FLAG_ENCRYPTED
    assert payloads(core, bytes(datagram)) == []
    assert core.ledger(0.0).accepted == 0


@pytest.mark.parametrize("mode", MODES)
def test_r11_every_byte_is_covered_by_the_tag(mode: KeyMode) -> None:
    """R11.6: no byte of a keyed datagram can be changed unnoticed, and nothing is remembered of the attempt."""
    key = key_of(mode)
    core = receiving(key)
    datagram = sealed(key)
    for position in range(len(datagram)):
        torn = bytearray(datagram)
        torn[position] ^= 1
        assert payloads(core, bytes(torn)) == []
    assert core.ledger(0.0).sessions == []
    assert payloads(core, datagram) == ["secret text"]


def test_r12a_keyed_receivers_refuse_what_has_no_key_and_the_reverse() -> None:
    """R12a: number 0 is no key to a receiver with keys, and a number is unknown to one without."""
    key = key_of(KeyMode.SIGNED)
    keyed, keyless = receiving(key), receiving()
    assert payloads(keyless, sealed(key)) == []
    assert keyless.ledger(0.0).refused == {RefusalReason.UNKNOWN_KEY: 1}
    plain = HEADER_LAYOUT.pack(MAGIC, VERSION << 4 | 1, 0, SENT, 77, 0, 0, SENT, 1, 0)
    keyed.receive(key.seals("")(SESSION).seal(plain, pack_messages([encode_message(("s", 1))])), 0.0, SENT)
    assert keyed.ledger(0.0).refused == {RefusalReason.UNKNOWN_KEY: 1}


def test_r12_a_retired_key_frees_no_session() -> None:
    """R12: what was accepted under a retired key stays a duplicate when the key comes back."""
    old, new = key_of(KeyMode.SIGNED), key_of(KeyMode.SIGNED, number=6)
    core = receiving(old, new)
    assert payloads(core, sealed(old)) == ["secret text"]
    core.accept_keys(keyring([new], ""))
    assert payloads(core, sealed(old, sequence=1)) == []
    core.accept_keys(keyring([old, new], ""))
    assert payloads(core, sealed(old)) == []
    assert core.ledger(0.0).refused == {RefusalReason.UNKNOWN_KEY: 1, RefusalReason.DUPLICATE: 1}


@pytest.mark.parametrize("mode", MODES)
def test_a_new_secret_under_an_old_number_ends_the_old_ones_sessions(mode: KeyMode) -> None:
    """The keyring's epoch: what a stolen secret still signs is refused, whatever number and mode the new one has; R12 holds on."""
    old = key_of(KeyMode.SIGNED)
    core = receiving(old)
    assert payloads(core, sealed(old)) == ["secret text"]
    core.accept_keys(keyring([key_of(mode, secret=bytes(32))], ""))
    assert payloads(core, sealed(old, sequence=1)) == []
    (reason,) = core.ledger(0.0).refused
    assert reason in {RefusalReason.AUTH_FAILED, RefusalReason.MALFORMED}
    core.accept_keys(keyring([old], ""))
    assert payloads(core, sealed(old)) == []
    assert payloads(core, sealed(old, sequence=1)) == ["secret text"]


def test_a_session_says_which_key_proved_it() -> None:
    """One key a sender gives attribution that no name can fake."""
    keys = [key_of(KeyMode.SIGNED), key_of(KeyMode.ENCRYPTED, number=6)]
    core = receiving(*keys)
    core.receive(sealed(keys[0]), 0.0, SENT)
    assert [row.key_id for row in core.ledger(0.0).sessions] == [5]


def test_encryption_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing extra is one line that names the installation."""
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"atmost\[crypto\]"):
        key_of(KeyMode.ENCRYPTED).seals("")(SESSION)
