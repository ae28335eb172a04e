"""Addresses that the processes of a host share: each receives at one of them, and everybody sends to all.

There are two ways to write them, besides a list:

* `udp://127.0.0.1:7150-7157`: a range of ports. A process receives on the first that is free.
* `unix:///run/shop/`: a directory. A process makes the first socket that is free, `0.sock` to `63.sock`; senders look once an
  interval which sockets are there.

A process that an invalidator has not found yet hears it late: until then the invalidator is not known there, and what was
loaded before is suspect once it is (see `knowledge`). So the bound holds for whoever comes and goes.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote, unquote, urlsplit

from atmost.core.events import Event
from atmost.endpoint.background import Background
from atmost.endpoint.receiver import Receiver
from atmost.endpoint.sender import Sender
from atmost.errors import AddressInUse, BindError, OptionError
from atmost.lifecycle import Floor, register, run

_log = logging.getLogger("atmost")
MAX_MEMBERS: Final = 256
"""Addresses of one range or list."""
MAX_SOCKETS: Final = 64
"""Sockets of one directory."""
_RANGE: Final = re.compile(r"(udp://.*:)(\d+)-(\d+)$")
_SOCKET: Final = re.compile(r"\d{1,2}\.sock")
_TURN: Final = 0.25
"""Seconds after which a feeding thread that waits in vain sees whether it is over."""
_END: Final = 10.0
"""Seconds to wait for the end of a feeding thread."""


class SendsHints(Protocol):
    """What an invalidator needs of a `Sender`."""

    @property
    def name(self) -> str: ...  # noqa: D102
    def send(self, subject: str, payload: Any = None) -> bool: ...  # noqa: D102
    def flush(self) -> None: ...  # noqa: D102


def addresses_of(given: object, option: str) -> tuple[str, ...]:
    """Returns the addresses that were given, with ranges written out; a directory ends with a slash.

    Args:
        given: a URL, several divided by commas or white space, or an iterable of them.
        option: the option's name, for the error.

    Raises:
        OptionError: there are none, or too many, or one is not text.
    """
    several = [given] if isinstance(given, str) else list(given)  # type: ignore[call-overload]
    texts = [
        part for text in several for part in (re.split(r"[,;\s]+", text.strip()) if isinstance(text, str) else [text])
    ]
    addresses: list[str] = []
    for url in texts:
        if not isinstance(url, str):
            raise OptionError(option, given, "addresses, such as udp://127.0.0.1:7150-7157")
        found = _RANGE.match(url)
        if found is None:
            addresses.append(url)
            continue
        first, last = int(found.group(2)), int(found.group(3))
        if not 0 < first <= last <= 65_535 or last - first >= MAX_MEMBERS:
            raise OptionError(option, url, f"a range of at most {MAX_MEMBERS} ports, such as udp://127.0.0.1:7150-7157")
        addresses += [f"{found.group(1)}{port}" for port in range(first, last + 1)]
    if not any(addresses) or len(addresses) > MAX_MEMBERS:
        raise OptionError(option, given, f"1 to {MAX_MEMBERS} addresses, such as udp://127.0.0.1:7150-7157")
    return tuple(addresses)


def first_free(addresses: tuple[str, ...], **options: Any) -> Receiver:
    """Receives on the first of these addresses that is free on this host.

    Args:
        addresses: as from `addresses_of`.
        options: of the receiver.

    Raises:
        AddressInUse: all are in use.
        BindError: the system refuses all that are not.
        AtMostError: as from `Receiver`.
    """
    refused: AddressInUse | BindError | None = None
    for url in addresses:
        for one in _sockets_of(url) if _is_directory(url) else (url,):
            try:
                return Receiver(one, **options)
            except (AddressInUse, BindError) as error:  # another process has it, or it is another host's
                refused = error
    assert refused is not None
    refused.add_note(
        f"None of {len(addresses)} addresses is free here. Processes of one host share a range of ports, as "
        "udp://127.0.0.1:7150-7157, or a directory, as unix:///run/shop/: one address for each process."
    )
    raise refused


class MemberSenders:
    """Sends to all members: what an `Invalidator` needs of a sender, over several.

    Members in a directory are found by `refresh`, and each has a sender from then on.
    Safe from any thread.
    """

    def __init__(self, addresses: tuple[str, ...], senders: Iterable[SendsHints] = (), **options: Any) -> None:
        """Opens a sender for each address.

        Args:
            addresses: as from `addresses_of`.
            senders: further ones, which stay their owner's to close.
            options: of the senders that are opened.
        """
        self._options = options
        self._given = tuple(senders)
        self._directories = tuple(url for url in addresses if _is_directory(url))
        self._guard = threading.RLock()
        self._opened = {url: Sender(url, **options) for url in addresses if not _is_directory(url)}
        self._senders = (*self._given, *self._opened.values())
        self.name = next((sender.name for sender in self._senders), options.get("name") or "hints")
        self.refresh()
        register(self, Floor.USE)

    def refresh(self) -> None:
        """Looks which sockets are in the directories."""
        if not self._directories:
            return
        found = {url for directory in self._directories for url in _members_in(directory)}
        with self._guard:
            gone = [self._opened.pop(url) for url in set(self._opened) - found if url.startswith("unix:")]
            for url in found - set(self._opened):
                self._opened[url] = Sender(url, **self._options)
            self._senders = (*self._given, *self._opened.values())
        for sender in gone:
            sender.close(timeout=0)

    def send(self, subject: str, payload: Any = None) -> bool:
        """Sends to each; returns whether all took it."""
        taken = [sender.send(subject, payload) for sender in self._senders]
        return all(taken)

    def flush(self) -> None:
        """Hands over what waits, to each."""
        for sender in self._senders:
            sender.flush()

    def close(self, timeout: float = 0.0) -> None:
        """Closes those that were opened here.

        Args:
            timeout: seconds, for all of them together.
        """
        with self._guard:
            opened = list(self._opened.values())
            self._opened.clear()
            self._senders = self._given
        for sender in opened:
            sender.close(timeout=timeout / len(opened))

    def renew(self, *, seen: bool) -> None:  # noqa: ARG002
        """A forked child's first step: a lock that nobody holds."""
        self._guard = threading.RLock()


class Feeder:
    """Feeds a cache from a receiver in the background; it holds the cache weakly."""

    def __init__(self, feed: Callable[[Event], None], receiver: Receiver, *, owned: bool) -> None:
        """Starts.

        Args:
            feed: the cache's method; held weakly.
            receiver: consumed here alone.
            owned: whether to close it at the end.

        Raises:
            RuntimeError: the system has no thread to give.
        """
        self._feed: Callable[[], Callable[[Event], None] | None] = weakref.WeakMethod(feed)
        self._receiver = receiver
        self._owned = owned
        self._ended = False
        self._background: Background[Feeder] = Background(self, Feeder._turn, "atmost-hints")
        if not self._background.wake_at(time.monotonic()):
            self.stop()
            raise RuntimeError("the system has no thread for the hints of a HintedCache")

    @property
    def url(self) -> str | None:
        """Where hints arrive."""
        return getattr(self._receiver, "url", None)

    def stop(self) -> None:
        """Ends the thread, and waits for it unless it is the caller."""
        self._ended = True
        self._background.stop()
        if self._owned:
            self._receiver.close()
        run(self._background.ending(time.monotonic() + _END))

    def _turn(self) -> float | None:
        """Feeds one event, or waits for one in vain; returns when the next turn is due."""
        try:
            event = None if self._ended or self._receiver.closed else self._receiver.next_event(_TURN)
        except Exception as error:  # noqa: BLE001  of a receiver that is the user's: nothing more comes from it
            _log.warning("a HintedCache receives no more hints, so only max_ttl bounds its staleness: %r", error)
            self._ended = True
            self._background.stop()
            return None
        feed = self._feed()
        if feed is None or (event is None and (self._ended or self._receiver.closed)):
            self._background.stop()
            return None
        if event is not None:
            feed(event)
        return time.monotonic()


def _is_directory(url: str) -> bool:
    return url.startswith("unix:///") and url.endswith("/")


def _path_of(directory: str) -> Path:
    return Path(unquote(urlsplit(directory).path, errors="surrogateescape"))


def _sockets_of(directory: str) -> Iterable[str]:
    """Returns the addresses a directory has room for; makes the directory when only its parent exists."""
    try:
        _path_of(directory).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise BindError(directory, error.strerror or str(error)) from error
    return (f"{directory}{number}.sock" for number in range(MAX_SOCKETS))


def _members_in(directory: str) -> Iterable[str]:
    """Returns the addresses of the sockets in a directory."""
    try:
        names = [path.name for path in _path_of(directory).iterdir() if _SOCKET.fullmatch(path.name)]
    except OSError:  # not there yet
        return ()
    return [f"{directory}{quote(name)}" for name in names]
