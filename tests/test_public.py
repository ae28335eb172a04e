"""The public names: all there, loaded when they are first used, on any platform."""

import ast
import sys
import tomllib
from pathlib import Path

import pytest

import atmost
from tests.real import run

SOURCE = Path(atmost.__file__)


def test_every_public_name_is_had_from_its_home() -> None:
    """The same object as in the module that defines it."""
    for module, names in atmost._HOMES.items():
        for name in names:
            assert getattr(atmost, name) is getattr(sys.modules[module], name)


def test_type_checkers_read_the_names_that_are_loaded() -> None:
    """From the same homes; and a name without an alias would be private to them (PEP 484)."""
    lazily = {(module, name) for module, names in atmost._HOMES.items() for name in names}
    assert dir(atmost) == sorted(atmost.__all__) == sorted(["__version__", *(name for _, name in lazily)])
    (checked,) = (
        node
        for node in ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8")))
        if isinstance(node, ast.If) and _typing(node)
    )
    imported = [
        (node.module, alias) for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    assert {(module, alias.name) for module, alias in imported} == lazily
    assert all(alias.asname == alias.name for _, alias in imported)


def _typing(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    """As from any module."""
    with pytest.raises(AttributeError, match="module 'atmost' has no attribute 'Socket'"):
        atmost.Socket  # noqa: B018
    assert not hasattr(atmost, "sender")


def test_the_version_is_that_of_the_project() -> None:
    """It is written in two places."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert atmost.__version__ == project["project"]["version"]


def test_a_sender_is_had_without_the_receivers() -> None:
    """Only what is used is loaded."""
    code = "import sys, atmost; atmost.Sender; print(*(name for name in sys.modules if 'receiver' in name))"
    assert run(code) == "\n"


BARE = """
import os, selectors, socket, sys
hidden, platform = sys.argv[1].split(","), sys.argv[2]

def pair(*_):  # what Python does where the system has no pair of its own
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        return one, server.accept()[0]

if "AF_UNIX" in hidden:
    del socket.AF_UNIX
    socket.socketpair = pair
if "fork" in hidden:
    del os.fork, os.register_at_fork, os.forkpty
if "modules" in hidden:
    for name in ("fcntl", "resource", "grp", "pwd", "termios"):
        sys.modules[name] = None
if "options" in hidden:
    for name in [name for name in vars(socket) if name.startswith(("SO_", "IP_", "IPV6_", "MSG_"))]:
        if name not in ("SO_RCVBUF", "SO_REUSEADDR", "SO_ERROR", "SO_TYPE", "IPV6_V6ONLY"):
            delattr(socket, name)
if "selectors" in hidden:
    for name in ("EpollSelector", "KqueueSelector", "DevpollSelector", "PollSelector"):
        if hasattr(selectors, name):
            delattr(selectors, name)
    selectors.DefaultSelector = selectors.SelectSelector
sys.platform = platform

import atmost
with atmost.Receiver("udp://127.0.0.1:0", clock_guard=0) as receiver, atmost.Sender(receiver.url) as sender:
    for number in range(100):
        assert sender.send("a", number)
    assert [receiver.receive(30).payload for _ in range(100)] == list(range(100))
    ledger = receiver.ledger()
    assert ledger.delivered == 100 and ledger.lost == 0, ledger
    print(ledger.kernel_drops)
with atmost.Receiver("memory://bare") as receiver, atmost.Sender("memory://bare") as sender:
    sender.send("a", 1)
    assert receiver.receive(30).payload == 1
if "AF_UNIX" in hidden:
    for end in (atmost.Sender, atmost.Receiver):
        try:
            end("unix:///run/atmost.sock")
        except atmost.AddressError as refused:
            assert "no Unix sockets" in str(refused)
"""
EVERYTHING = "AF_UNIX,fork,modules,options,selectors"


@pytest.mark.parametrize(
    ("hidden", "platform"),
    [
        ("AF_UNIX", "linux"),
        ("fork", "linux"),
        ("modules", "linux"),
        ("options", "linux"),
        ("options,selectors", "darwin"),
        (EVERYTHING, "win32"),
    ],
)
def test_it_works_without_what_not_every_system_has(hidden: str, platform: str) -> None:
    """No Unix sockets, no fork, no Linux constants: it sends and receives over UDP, and unknown drops are unknown (R22)."""
    expected = "0\n" if platform == "linux" == sys.platform else "None\n"
    assert run(BARE, hidden, platform) == expected


def test_the_packages_of_the_uses_are_there_without_an_import_of_their_own() -> None:
    """`atmost.metrics` and the others, each loaded when it is first used."""
    code = """
import sys, atmost
assert not {"atmost.metrics", "atmost.logs", "atmost.heartbeats", "atmost.hints", "atmost.durable"} & set(sys.modules)
for name in ("metrics", "logs", "heartbeats", "hints", "durable"):
    print(getattr(atmost, name).__name__)
"""
    assert run(code).split() == [f"atmost.{name}" for name in ("metrics", "logs", "heartbeats", "hints", "durable")]
