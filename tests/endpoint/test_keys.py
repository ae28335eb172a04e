"""Keys at both ends: where they come from, rotation without loss, and refusal of everybody else (R1)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from atmost import InvalidKey, Receiver, Sender
from atmost.core.keys import KeyMode, new_key
from atmost.endpoint.checking import find_keys
from tests.interrupting import At

WAIT = 10.0
"""A bound for what comes at once, seconds."""


def text(mode: KeyMode = KeyMode.SIGNED, number: int = 5) -> str:
    """A new key's text."""
    return new_key(os.urandom(32), number, mode).text()


@pytest.fixture(autouse=True)
def _no_key_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' environment holds no key."""
    monkeypatch.delenv("ATMOST_KEY", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A key file that only its owner can read, with a comment."""
    path = tmp_path / "atmost.key"
    path.write_text(f"# the key\n\n{text()}\n", encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", list(KeyMode))
def test_a_key_at_both_ends(mode: KeyMode) -> None:
    """The same line of text at both ends is all there is to do."""
    key = text(mode)
    with Receiver("memory://keys", key=key) as receiver, Sender("memory://keys", key=key) as sender:
        sender.send("a.b", {"n": 1})
        message = receiver.receive(WAIT)
        assert message is not None
        assert message.payload == {"n": 1}
        assert message.session.key_id == 5


def test_a_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """ATMOST_KEY serves both ends."""
    monkeypatch.setenv("ATMOST_KEY", text())
    with Receiver("memory://keys") as receiver, Sender("memory://keys") as sender:
        sender.send("a")
        assert receiver.receive(WAIT) is not None


def test_a_key_from_a_file(file: Path) -> None:
    """A key file serves both ends; comments and empty lines are skipped."""
    with Receiver("memory://keys", key_file=file) as receiver, Sender("memory://keys", key_file=str(file)) as sender:
        sender.send("a")
        assert receiver.receive(WAIT) is not None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_file_that_others_can_read_is_refused(file: Path, mode: int) -> None:
    """The error says what to do, and shows no key."""
    file.chmod(mode)
    with pytest.raises(InvalidKey, match="chmod 600"):
        find_keys(None, file)


def test_a_key_file_that_is_missing_or_empty_is_refused(file: Path) -> None:
    """Each says so in one line."""
    with pytest.raises(InvalidKey, match="cannot be read"):
        find_keys(None, file.with_name("other"))
    file.write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(InvalidKey, match="atmost keygen"):
        find_keys(None, file)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_a_key_file_that_is_a_fifo_or_a_device_is_refused(tmp_path: Path) -> None:
    """At once: a FIFO without a writer would block for ever, and a device may never end."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    for path in (fifo, Path(os.devnull), Path("/dev/zero"), tmp_path):
        with pytest.raises(InvalidKey, match=r"cannot be read: (it is not a regular file|Is a directory)"):
            find_keys(None, path)


def test_a_key_file_is_bounded(file: Path) -> None:
    """No file of keys is that long: it is another one."""
    file.write_text("#" * 100_000, encoding="utf-8")
    with pytest.raises(InvalidKey, match="larger than"):
        find_keys(None, file)


def test_key_and_key_file_together_are_refused(file: Path) -> None:
    """Which of the two would hold is not guessed."""
    with pytest.raises(InvalidKey, match="not both"):
        find_keys(text(), file)


@pytest.mark.parametrize("key", [[], (), iter(()), 7, b"atmost", [7], {}])
def test_what_holds_no_key_is_refused_and_does_not_mean_without_keys(key: Any) -> None:
    """At both ends: whoever meant to have keys must not receive from everybody, nor send unsigned."""
    for end in (Receiver, Sender):
        with pytest.raises(InvalidKey):
            end("memory://keys", key=key)


def test_strangers_are_refused_and_counted() -> None:
    """Without the key, or with another one of the same number, nothing is processed; what is good arrives."""
    key = text()
    with Receiver("memory://keys", key=key) as receiver:
        for stranger in (None, text(), text(number=6)):
            with Sender("memory://keys", key=stranger) as sender:
                sender.send("bad")
        with Sender("memory://keys", key=key) as sender:
            sender.send("good")
            message = receiver.receive(WAIT)
        assert message is not None
        assert message.subject == "good"
        refused = receiver.ledger().refused
        assert refused["unknown_key"] >= 2
        assert refused["auth_failed"] >= 1
        assert receiver.ledger().balanced()


def test_rotation_loses_nothing() -> None:
    """R1: old and new accepted, the sender changes in a session of its own, then only the new one is accepted."""
    old, new = text(number=1), text(KeyMode.ENCRYPTED, number=2)
    with Receiver("memory://keys", key=[old, new]) as receiver, Sender("memory://keys", key=old) as sender:
        for number in range(50):
            sender.send("n", number)
        sender.rotate_key(new)
        for number in range(50, 100):
            sender.send("n", number)
        sender.flush()
        received = [receiver.receive(WAIT) for _ in range(100)]
        assert [message.payload for message in received if message is not None] == list(range(100))
        receiver.accept_keys(new)
        sender.send("n", 100)
        last = receiver.receive(WAIT)
        assert last is not None
        assert last.session.key_id == 2
        ledger = receiver.ledger()
        assert (ledger.lost, ledger.pending, ledger.refused) == (0, 0, {})
        assert {row.key_id: row.tail.value for row in ledger.sessions} == {1: "closed", 2: "alive"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_keeps_the_key() -> None:
    """R8: the child's session is another one, under the same key, the rotated one included."""
    old, new = text(number=1), text(number=2)
    with Receiver("udp://127.0.0.1:0", key=[old, new]) as receiver:
        sender = Sender(receiver.url, key=old)
        sender.rotate_key(new)
        child = os.fork()
        if not child:
            sender.send("from.child")
            sender.close(timeout=0)
            os._exit(0)
        os.waitpid(child, 0)
        message = receiver.receive(WAIT)
        assert message is not None
        assert message.session.key_id == 2
        sender.close()


def test_h3_the_same_key_again_begins_a_session() -> None:
    """H3: what a machine that was restored or cloned calls; the identity is new, and so is the key that numbers are nonces of."""
    key = text()
    with Receiver("udp://127.0.0.1:0", key=key) as receiver, Sender(receiver.url, key=key, name="a") as sender:
        identities = []
        for number in range(3):
            assert sender.send("s", number)
            message = receiver.receive(WAIT)
            assert message is not None
            assert message.payload == number
            identities.append(message.session.key)
            sender.rotate_key(key)
        assert len(set(identities)) == 3


def test_a_key_for_a_closed_sender_ends_at_once() -> None:
    """Nothing will ever be sealed with it, so nothing is tried again and again."""
    with Sender("memory://closed", key=text()) as sender:
        sender.send("a", 1)
    key = text()
    with At(1000, lambda: pytest.fail("it goes on and on"), places="lines") as at:
        sender.rotate_key(key)
    assert at.passed
