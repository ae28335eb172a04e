"""The processes that share a Django cache: who receives where, and what the threads of one process share.

Thread-safe; a forked child has nothing of its parent's.
"""

from __future__ import annotations

import ipaddress
import os
import re
import threading
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured  # type: ignore[import-untyped]  # Django is not typed

from atmost.endpoint.receiver import Receiver
from atmost.endpoint.sender import Sender
from atmost.errors import AddressInUse, BindError
from atmost.hints import HintedCache, Invalidator

SUBJECT: Final = "hints.django"
_RANGE: Final = re.compile(r"(.*:)(\d+)-(\d+)$")


class Fan:
    """Sends to all members."""

    def __init__(self, senders: list[Sender]) -> None:
        """Args: senders: one a member."""
        self._senders = senders
        self.name = senders[0].name if senders else "django"

    def send(self, subject: str, payload: Any = None) -> bool:
        """Returns whether all took it."""
        taken = [sender.send(subject, payload) for sender in self._senders]
        return all(taken)

    def flush(self) -> None:
        """Of all."""
        for sender in self._senders:
            sender.flush()

    def close(self) -> None:
        """Of all, without waiting."""
        for sender in self._senders:
            sender.close(timeout=0)


class Node:
    """What the threads of one process share."""

    def __init__(self, members: tuple[str, ...], options: dict[str, Any]) -> None:
        """Raises: ImproperlyConfigured: no address is free here."""
        keys = {"audience": options.get("AUDIENCE", ""), "key_file": options.get("KEY_FILE")}
        grace = options.get("GRACE", 1.0)
        self.receiver = _first_free(members, grace, keys)
        try:
            self._begin(others_of(members, self.receiver.url), options, keys, grace)
        except BaseException:
            self.receiver.close()
            raise

    def _begin(self, others: tuple[str, ...], options: dict[str, Any], keys: dict[str, Any], grace: float) -> None:
        self.fan = Fan([Sender(url, name=f"django {self.receiver.url}", **keys) for url in others])
        subject = options.get("SUBJECT", SUBJECT)
        self.invalidator = Invalidator(self.fan, interval=options.get("INTERVAL", 1.0), subject=subject)
        self.cache = HintedCache(
            max_ttl=options.get("MAX_TTL", 3600),
            max_entries=options["MAX_ENTRIES"],
            receiver=self.receiver,
            subject=subject,
            grace=grace,
            forget_after=options.get("FORGET_AFTER", 30.0),
            own=self.invalidator,
        )

    def close(self) -> None:
        """Says goodbye; for tests, and the end of a process."""
        self.invalidator.close(timeout=0)
        self.cache.close()
        self.receiver.close()
        self.fan.close()


_nodes: dict[object, Node] = {}
_making = [threading.Lock()]


def close_all() -> None:
    """Says goodbye to the other processes and lets go of the addresses; the next use begins anew."""
    with _making[0]:
        nodes = list(_nodes.values())
        _nodes.clear()
    for node in nodes:
        node.close()


def node_of(members: tuple[str, ...], options: dict[str, Any]) -> Node:
    """The process's, made when it is first asked for."""
    name = (members, repr(sorted(options.items())))
    node = _nodes.get(name)
    if node is None:
        with _making[0]:
            node = _nodes.get(name)
            if node is None:
                node = _nodes[name] = Node(members, options)
    return node


def members_of(location: str | Iterable[str]) -> tuple[str, ...]:
    """The addresses of LOCATION, ranges written out."""
    given = re.split(r"[,;\s]+", location.strip()) if isinstance(location, str) else list(location)
    members: list[str] = []
    for url in given:
        found = _RANGE.match(url)
        if found is None:
            members.append(url)
            continue
        head, first, last = found.group(1), int(found.group(2)), int(found.group(3))
        if not 0 < first <= last <= 65_535 or last - first > 255:
            raise ImproperlyConfigured(f"LOCATION {url!r}: a range of at most 256 ports, as udp://127.0.0.1:7150-7157")
        members += [f"{head}{port}" for port in range(first, last + 1)]
    if not any(members):
        raise ImproperlyConfigured("LOCATION is missing: the members' addresses, as udp://127.0.0.1:7150-7157")
    return tuple(members)


def others_of(members: tuple[str, ...], own: str) -> tuple[str, ...]:
    """Where one that receives on `own` sends to: a single address and multicast groups are those of other hosts too."""
    return members if len(members) == 1 else tuple(url for url in members if url != own or _is_group(url))


def _first_free(members: tuple[str, ...], grace: float, keys: dict[str, Any]) -> Receiver:
    for url in members:
        try:
            return Receiver(url, grace=grace, **keys)
        except (AddressInUse, BindError) as error:  # another process has it, or another host is meant
            last = error
    raise ImproperlyConfigured(f"no address of LOCATION is free here, of {len(members)}: widen the range ({last})")


def _is_group(url: str) -> bool:
    """Whether an address is a multicast group's."""
    try:
        return ipaddress.ip_address((urlsplit(url).hostname or "").partition("%")[0]).is_multicast
    except ValueError:
        return False


def _renew_after_fork() -> None:
    _making[0] = threading.Lock()
    _nodes.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
