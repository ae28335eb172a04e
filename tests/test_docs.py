"""What docs/wire.md and docs/guarantee.md say is true of the code."""

import re
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from xxhash import xxh3_64_intdigest

from atmost.core.accounts import Ledger
from atmost.core.datagram import HEADER_LAYOUT, encode_message
from atmost.core.events import DropReason, Message, RefusalReason
from atmost.core.keys import keyring, parse_key
from atmost.core.limits import HEADER, TAG
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.core.seal import NO_KEY, ChecksumSeal, Keyring, SealFactory, no_keys
from atmost.core.sending import SenderCore, SenderOptions
from tests.model import rules as model_rules
from tests.model.explore import explore
from tests.model.mutants import correct

ROOT = Path(__file__).parent.parent
WIRE = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")
GUARANTEE = (ROOT / "docs" / "guarantee.md").read_text(encoding="utf-8")

SECOND = 1_000_000
START = 1_767_225_600_000_000
RANDOM = 0x0123456789ABCDEF
MESSAGES = [("orders.viewed", {"sku": "A1", "n": 3}), ("orders.viewed", None)]
PADDING = 20
PLAIN = no_keys()[NO_KEY]

VECTORS = {
    name: bytes.fromhex(text)
    for name, text in re.findall(r"^### Vector: (\w+)$.*?^```hex\n(.*?)^```$", WIRE, flags=re.MULTILINE | re.DOTALL)
}
KEYS = {mode: parse_key(text) for text, mode in re.findall(r"`(atmost:(signed|encrypted):7:[^`]+)`", WIRE)}
CHANGES = re.findall(r"^\| (\d+) \| `([0-9a-f]+)` \| (yes|no) \| `(\w+)` \|$", WIRE, flags=re.MULTILINE)


@pytest.fixture
def receiver() -> ReceiverCore:
    """A receiver as the page describes it, which has seen nothing yet."""
    return start(START - 2 * SECOND, future_bound=0.5, clock_guard=0.5)


def start(wall_us: int, *, future_bound: float, clock_guard: float, keys: Keyring | None = None) -> ReceiverCore:
    """An incarnation, without keys and audience unless it is given them."""
    return ReceiverCore(ReceiverOptions(future_bound=future_bound, clock_guard=clock_guard), wall_us, keys)


def transmitted(seals: SealFactory = PLAIN, key_id: int = NO_KEY) -> dict[str, bytes]:
    """What the sender makes of the page's inputs."""
    core = SenderCore(SenderOptions(), 1432, seals, name="checkout-1", host="web-3", pid=4242, key_id=key_id)
    for subject, payload in MESSAGES:
        core.offer(encode_message((subject, payload)), 0.0)
    core.begin(RANDOM, START, 0.0)
    datagrams = {}
    for name, now in (("beacon", 0.0), ("data", 0.001)):
        outgoing = core.next_datagram(now, START + round(now * SECOND), flush=True)
        assert outgoing is not None
        core.handed_over(outgoing, None, now)
        datagrams[name] = outgoing.data
    core.drop(DropReason.BUFFER_FULL)
    goodbye = core.goodbye(2.0, START + 2 * SECOND)
    assert goodbye is not None
    return datagrams | {"goodbye": goodbye.data}


def padded(data: bytes) -> bytes:
    """The page's padding, which no sender of ours makes yet."""
    header, body = data[:HEADER], data[HEADER:-TAG]
    flags = (2).to_bytes(2, "big")
    return ChecksumSeal().seal(header[:-2] + flags, body + bytes(PADDING - 2) + PADDING.to_bytes(2, "big"))


def take(receiver: ReceiverCore, datagram: bytes, wall_us: int | None = None) -> list[tuple[str, object]]:
    """The messages a datagram yields, arriving when it was sent unless told otherwise."""
    events = receiver.receive(datagram, 0.0, sent_us(datagram) if wall_us is None else wall_us)
    return [(event.subject, event.payload) for event in events if isinstance(event, Message)]


def sent_us(datagram: bytes) -> int:
    """The stamp of a datagram."""
    return HEADER_LAYOUT.unpack_from(datagram)[7]


def account(receiver: ReceiverCore) -> Ledger:
    """The receiver's ledger, all in one instant."""
    return receiver.ledger(0.0)


def test_vectors_are_what_the_code_produces():
    """Every vector of the page, byte for byte."""
    made = transmitted()
    made["audience"] = transmitted(no_keys("staging")[NO_KEY])["data"]
    for mode, key in KEYS.items():
        made[mode] = transmitted(key.seals(""), key.key_id)["data"]
    made["padded"] = padded(made["data"])
    assert made == VECTORS
    assert f"`{xxh3_64_intdigest(b'staging'):016x}`" in WIRE
    assert all(f"{len(datagram)} bytes" in WIRE for datagram in made.values())


def test_receiver_accepts_the_vectors(receiver: ReceiverCore):
    """Beacon, data and goodbye make a session with an exact account."""
    assert take(receiver, VECTORS["beacon"]) == []
    assert take(receiver, VECTORS["data"]) == MESSAGES
    assert take(receiver, VECTORS["goodbye"]) == []
    ledger = account(receiver)
    [session] = ledger.sessions
    assert (ledger.accepted, ledger.refused, ledger.delivered, ledger.lost) == (3, {}, 2, 0)
    assert (session.name, session.host, session.pid, session.tail) == ("checkout-1", "web-3", 4242, "closed")
    assert (session.sender_offered, session.sender_dropped, session.sender_refused) == (3, {"buffer_full": 1}, {})
    assert ledger.balanced()


def test_receiver_accepts_the_padded_vector_once(receiver: ReceiverCore):
    """Padding is taken off; the same number without it is a duplicate."""
    assert take(receiver, VECTORS["padded"]) == MESSAGES
    assert take(receiver, VECTORS["data"]) == []
    assert account(receiver).refused == {"duplicate": 1}


def test_audience_vector_is_for_its_audience_only(receiver: ReceiverCore):
    """The tag of another audience does not fit."""
    assert take(receiver, VECTORS["audience"]) == []
    assert account(receiver).refused == {"auth_failed": 1}
    staging = start(START - 2 * SECOND, future_bound=0.5, clock_guard=0.5, keys=no_keys("staging"))
    assert take(staging, VECTORS["audience"]) == MESSAGES


@pytest.mark.parametrize("mode", ["signed", "encrypted"])
def test_keyed_vector_is_for_holders_of_its_key_only(receiver: ReceiverCore, mode: str):
    """A receiver with the key of the page accepts it, and no vector of another mode or without a key."""
    holder = start(START - 2 * SECOND, future_bound=0.5, clock_guard=0.5, keys=keyring([KEYS[mode]], ""))
    assert take(holder, VECTORS["data"]) == []
    assert take(holder, VECTORS["encrypted" if mode == "signed" else "signed"]) == []
    assert take(holder, VECTORS[mode]) == MESSAGES
    assert account(holder).refused == {"unknown_key": 1, "malformed": 1}
    assert take(receiver, VECTORS[mode]) == []
    assert account(receiver).refused == {"unknown_key": 1}


@pytest.mark.parametrize("mode", ["signed", "encrypted"])
def test_session_key_is_derived_as_the_page_says(mode: str):
    """R1: BLAKE2b of identity and audience, keyed with the secret and personalised with the mode."""
    key, data = KEYS[mode], VECTORS[mode]
    person = f"atmost1{mode}".encode()
    session_key = blake2b(data[2:20], key=key.secret, digest_size=32, person=person).digest()
    assert f"`{session_key.hex()}`" in WIRE
    if mode == "signed":
        assert blake2b(data[:-TAG], key=session_key, digest_size=TAG).digest() == data[-TAG:]
    else:
        clear = ChaCha20Poly1305(session_key).decrypt(bytes(4) + data[20:28], data[HEADER:], data[:HEADER])
        assert clear == VECTORS["data"][HEADER:-TAG]


@pytest.mark.parametrize(("offset", "new", "repaired", "reason"), CHANGES)
def test_changed_vector_is_refused_as_the_page_says(receiver: ReceiverCore, offset, new, repaired, reason):
    """The table of changes, row by row; the unchanged datagram is accepted afterwards."""
    data = VECTORS["data"]
    position, replacement = int(offset), bytes.fromhex(new)
    changed = data[:position] + replacement + data[position + len(replacement) :]
    assert changed != data
    if repaired == "yes":
        changed = ChecksumSeal().seal(changed[:HEADER], changed[HEADER:-TAG])
    assert take(receiver, changed, sent_us(data)) == []
    assert account(receiver).refused == {reason: 1}
    assert take(receiver, data) == MESSAGES


def test_changes_were_found_on_the_page():
    """A table that is no longer read would be a test that checks nothing."""
    assert len(CHANGES) == WIRE.count("| yes |") + WIRE.count("| no |")
    assert {reason for *_, reason in CHANGES} <= set(RefusalReason)


def test_every_reason_is_on_the_page():
    """The reasons of refusal and of dropping are named where an implementer looks for them."""
    assert [reason for reason in (*RefusalReason, *DropReason) if f"`{reason}`" not in WIRE] == []


@pytest.mark.parametrize(("future_bound", "again"), [(2.0, False), (1.0, True)])
def test_lowered_future_bound_is_a_step_back_of_the_clock(future_bound: float, again: bool):
    """The counterexample of H1: F from 2 s to 1 s and the clock back by G accept a datagram a second time."""
    data = sent_at(START + 4 * SECOND)
    first = start(START, future_bound=2.0, clock_guard=1.0)
    assert take(first, data, START + 2 * SECOND)
    second = start(START + 1 * SECOND, future_bound=future_bound, clock_guard=1.0)
    assert bool(take(second, data, START + 3 * SECOND)) is again


@pytest.mark.slow
def test_efloor_after_making_room_is_safe_too(monkeypatch: pytest.MonkeyPatch):
    """Taking efloor before making room serves delivery: the other order accepts less, and nothing twice."""
    usual = explore(correct())
    receive_unknown = model_rules._receive_unknown

    def after(rules, receiver, datagram, now):
        verdict, receiver = receive_unknown(rules, receiver, datagram, now)
        if verdict is model_rules.Verdict.EVICTING:
            receiver = receiver._replace(row=receiver.row._replace(efloor=receiver.floor))
        return verdict, receiver

    monkeypatch.setattr(model_rules, "_receive_unknown", after)
    other = explore(correct())
    assert other.complete
    assert other.counterexample is None
    assert f"{other.states:,} states" in GUARANTEE
    late = (model_rules.Verdict.LATE, False)
    assert other.deliveries[late] < usual.deliveries[late]


def test_every_built_rule_is_cited_by_a_test():
    """`scripts/rules.py --check`: no rule of the page is without a test, and no test it names is missing."""
    done = subprocess.run(
        [sys.executable, "scripts/rules.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def sent_at(wall_us: int) -> bytes:
    """A datagram with one message, the first of its session."""
    seal = ChecksumSeal()
    header = HEADER_LAYOUT.pack(0xA5, 0x11, 0, wall_us, RANDOM, 0, 0, wall_us, 1, 0)
    return seal.seal(header, b"\xdc\x00\x01" + encode_message(("a", 1)))
