"""`atmost keygen`: a key that both ends can use, from a file or from the environment."""

import pytest

from tests.cli.test_misuse import one_line

ANY = "udp://127.0.0.1:0"


@pytest.fixture
def key(commands):
    """A new key, as one line of text."""
    done = commands("keygen")
    assert (done.status, done.err) == (0, "")
    (line,) = done.out.splitlines()
    return line


def test_every_key_is_another(commands, key):
    """Nobody can guess the next one."""
    assert commands("keygen").out.strip() != key


def test_a_key_of_a_number(commands):
    """A receiver tells its keys apart by number; one out of range is refused."""
    assert commands("keygen", "--key-id", 7).out != commands("keygen", "--key-id", 7).out
    assert "not in the range" in one_line(commands("keygen", "--key-id", 0))


def test_only_who_has_the_key_is_heard(start, run, key, tmp_path):
    """By file at one end and by environment at the other; without the key nothing is printed, and it is counted."""
    path = tmp_path / "atmost.key"
    path.touch(mode=0o600)
    path.write_text(key + "\n")
    listener = start("listen", "--json", "--key-file", path, "--count", 1, "--bind", ANY)
    assert run("send", "a", '"forged"', "--url", listener.url).status == 0
    assert run("send", "a", '"proven"', "--url", listener.url, ATMOST_KEY=key).status == 0
    done = listener.wait()
    assert [event["payload"] for event in done.objects if event["type"] == "message"] == ["proven"]
    assert "unknown_key" in done.err
    assert key not in done.out + done.err


@pytest.mark.parametrize("command", [("send", "a", "1"), ("listen",), ("collect",), ("agent",)])
def test_a_key_file_that_cannot_be_used(commands, tmp_path, command):
    """Missing, or not a key: one line, which does not show what stands there."""
    assert "cannot be read: No such file" in one_line(commands(*command, "--key-file", tmp_path / "missing"))
    path = tmp_path / "wrong"
    path.touch(mode=0o600)
    path.write_text("secret of somebody")
    assert "secret of somebody" not in one_line(commands(*command, "--key-file", path))
