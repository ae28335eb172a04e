"""What a sender is constructed with: options, addresses, names; and that it is one of a kind."""

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atmost import AddressError, OptionError, PayloadTooLarge, Receiver, Sender
from atmost.transport import udp
from tests.real import BOUND, environment, raw_receiver, run, url_of

URL = "memory://options"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on the network inside the process."""
    with Receiver(URL) as receiver:
        yield receiver


@pytest.fixture
def sender() -> Iterator[Sender]:
    """A sender to it."""
    sender = Sender(URL)
    yield sender
    sender.close(0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("linger", -1),
        ("linger", 61),
        ("linger", float("nan")),
        ("max_datagram", 507),
        ("max_datagram", 65_508),
        ("max_bytes_per_second", 0),
        ("max_buffer", 507),
        ("max_hold", -0.1),
        ("max_hold", 61),
        ("audience", 7),
        ("audience", "\udcff"),
        ("name", 7),
        ("linger", "1"),
        ("max_datagram", "1432"),
        ("max_datagram", 1432.5),
        ("max_bytes_per_second", "1000"),
        ("max_buffer", None),
        ("max_hold", None),
    ],
)
def test_an_option_outside_its_range_says_what_is_expected(option: str, value: Any) -> None:
    """At construction."""
    with pytest.raises(OptionError) as refused:
        Sender(URL, **{option: value})
    assert refused.value.option == option
    assert str(refused.value).startswith(f"{option}={value!r}: expected ")


@pytest.mark.parametrize(
    ("url", "asked", "size"),
    [
        pytest.param("udp://127.0.0.1:9", None, 61_440, marks=pytest.mark.needs("linux")),
        ("udp://127.0.0.1:9", 9000, 9000),
        ("unix:///run/atmost.sock", None, 61_440),
        (URL, None, 65_507),
        ("udp://network:9", None, 1432),
        ("udp://network:9", 65_507, 65_507),
    ],
)
def test_the_largest_payload_follows_from_the_path_or_the_option(
    url: str, asked: int | None, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large where nothing fragments, 1432 bytes on a network, whatever is asked for anywhere (R2)."""
    if "network" in url:
        monkeypatch.setattr(udp, "_path_mtu", lambda _sock, _family: 1500)
        url = "udp://127.0.0.1:9"
    sender = Sender(url, max_datagram=asked)
    with pytest.raises(PayloadTooLarge) as refused:
        sender.send("a", bytes(70_000))
    assert refused.value.limit == size - 48 - 3 - 16
    sender.close(0)


def test_an_unknown_option_is_refused_by_name() -> None:
    """As every function of Python does."""
    with pytest.raises(TypeError, match="batch_size"):
        Sender(URL, batch_size=7)  # type: ignore[call-arg]


def test_a_url_that_cannot_be_used_is_refused() -> None:
    """At construction, too."""
    with pytest.raises(AddressError):
        Sender("tcp://127.0.0.1:7140")


def test_without_a_url_the_environment_tells_where_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the default; what is given wins."""
    monkeypatch.delenv("ATMOST_URL", raising=False)
    with Sender() as usual:
        assert usual.url == "udp://127.0.0.1:7140"
    monkeypatch.setenv("ATMOST_URL", "memory://elsewhere")
    with Sender() as told, Sender(URL) as given:
        assert (told.url, given.url) == ("memory://elsewhere", URL)


def test_without_a_name_the_environment_or_the_program_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given wins, and is all that a receiver ever shows."""
    monkeypatch.delenv("ATMOST_NAME", raising=False)
    monkeypatch.setattr(sys, "argv", ["/srv/shop/checkout.py", "--fast"])
    with Sender(URL) as usual:
        assert usual.name == "checkout.py"
    monkeypatch.setenv("ATMOST_NAME", "from-outside")
    with Sender(URL) as told, Sender(URL, name="given") as given:
        assert (told.name, given.name) == ("from-outside", "given")
        assert repr(given) == f"<Sender 'given' to {URL}>"
    monkeypatch.delenv("ATMOST_NAME")
    monkeypatch.setattr(sys, "argv", [""])
    with Sender(URL) as interactive:
        assert interactive.name == "python"


@pytest.mark.parametrize("name", ["caf\udce9.py", "\ud800"])
def test_a_name_that_is_no_text_never_makes_send_raise(name: str, receiver: Receiver) -> None:
    """A script's file name may hold any bytes; a beacon carries text."""
    with Sender(URL, name=name) as sender:
        assert sender.send("a")
        message = receiver.receive(BOUND)
        assert message is not None
        assert message.session.name == sender.name == name.encode(errors="replace").decode()


def test_a_name_beyond_its_limit_is_cut(receiver: Receiver) -> None:
    """A receiver would refuse the whole beacon."""
    with Sender(URL, name="n" * 1000) as sender:
        sender.send("a")
        message = receiver.receive(BOUND)
        assert message is not None
        assert message.session.name == "n" * 128


COPIES: list[Callable[[Sender], object]] = [copy.copy, copy.deepcopy, pickle.dumps]


@pytest.mark.parametrize("duplicate", COPIES, ids=["copy", "deepcopy", "pickle"])
def test_a_sender_cannot_be_duplicated(duplicate: Callable[[Sender], object], sender: Sender) -> None:
    """The copy would use the same numbers (R8)."""
    with pytest.raises(TypeError, match="a Sender cannot be pickled or copied: construct one in each process"):
        duplicate(sender)


def test_no_thread_is_started_before_the_first_message() -> None:
    """Neither by importing nor by constructing (R9); then there is one, and it ends with the sender."""
    code = """
import threading, time, atmost
sender = atmost.Sender("memory://threads")
sender.flush()
print(threading.active_count())
for number in range(100):
    sender.send("a", number)
print([thread.name for thread in threading.enumerate()[1:]])
sender.close()
deadline = time.monotonic() + 30
while threading.active_count() > 1 and time.monotonic() < deadline:
    time.sleep(0.001)
print(threading.active_count())
"""
    assert run(code) == "1\n['atmost-flusher']\n1\n"


@pytest.mark.needs("linux")
def test_a_script_whose_name_is_no_text_sends(tmp_path: Path) -> None:
    """Its name comes from the command line as the system gave it."""
    script = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.py")
    with raw_receiver() as receiving:
        Path(script).write_text(f"import atmost\natmost.Sender({url_of(receiving)!r}).send('a')\n", encoding="utf-8")
        subprocess.run([sys.executable, script], env=environment(), check=True, timeout=BOUND)
        assert b"caf?.py" in receiving.recv(2000)
