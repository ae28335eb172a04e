"""Opens a connection to one NATS server: TCP, TLS where asked, CONNECT with credentials, until the server has answered.

A connection authenticates by user and password, a token, an nkey, or a credentials file with a JWT.
Files are read at each connection, so that they can be replaced while the process runs.
Dialling waits, and therefore runs in the thread of a link.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import select
import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from atmost.errors import AddressError, AtMostError, MissingExtra
from atmost.transport.mailbox import Waker
from atmost.transport.nats.url import NatsAddress, Server, Tls, read_port
from atmost.transport.nats.wire import Cutter, ProtocolError, Said
from atmost.transport.sockets import identity_of, is_still, let_go

TIMEOUT: Final = 2.0
"""How long a server may take to be reached and to answer (seconds)."""
_DEFAULT_MAX_PAYLOAD: Final = 1 << 20


class DialError(Exception):
    """No connection to this server now."""

    def __init__(self, problem: str, *, denied: bool = False) -> None:
        """Args: problem: for people. denied: whether the server refused this user."""
        super().__init__(problem)
        self.problem = problem
        self.denied = denied


class Connection:
    """An open connection; its owner reads it, and writes in its turn (`Link`)."""

    def __init__(self, sock: socket.socket, cutter: Cutter, server: Server, info: dict[str, Any]) -> None:
        """Args: sock: not blocking. cutter: of its stream. server: at the other end. info: what the server says of itself."""
        self.sock = sock
        self._identity = identity_of(sock)
        self.cutter = cutter
        self.server = server
        self.rest = b""
        """What is left of the message that is being written."""
        self.unsure = False
        """Whether a write was interrupted: nobody knows how much of a message the system has taken, and nothing may follow it."""
        self.full_since: float | None = None
        """Since when the system has taken nothing (monotonic, seconds)."""
        self.max_payload = _DEFAULT_MAX_PAYLOAD
        self.peers: tuple[Server, ...] = ()
        """Other servers of the cluster."""
        self.learn(info)

    def learn(self, info: dict[str, Any]) -> None:
        """Notes what the server says of itself, at first and whenever it changes."""
        limit = info.get("max_payload")
        if isinstance(limit, int) and limit > 0:
            self.max_payload = limit
        urls = info.get("connect_urls")
        if isinstance(urls, list):
            self.peers = tuple(server for url in urls[:64] if (server := _peer(url)) is not None)

    def write(self, data: bytes) -> bool:
        """Writes what the system takes at once, and keeps the rest of a message that was begun; False when nothing was taken.

        Raises:
            OSError: the connection is gone; nothing of `data` was taken unless a part of it was being kept.
        """
        if self.rest and not self.flush():
            return False
        taken = self._send(data)  # `unsure` until what is left is noted
        # TLS has already encrypted what it could not write, and must be given the same bytes again (SSL_write): the message is begun.
        begun = taken > 0 or isinstance(self.sock, ssl.SSLSocket)
        self.rest, self.unsure = data[taken:] if begun else b"", False
        return begun

    def flush(self) -> bool:
        """Goes on writing the message that was begun; returns whether nothing of it is left."""
        while self.rest:
            taken = self._send(self.rest)
            self.rest, self.unsure = self.rest[taken:], False
            if not taken:
                return False
        return True

    def read(self) -> int | None:
        """Reads into the cutter's space; None when nothing waits, 0 at the end of the stream."""
        try:
            return self.sock.recv_into(self.cutter.space())
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def wait_for_room(self, timeout: float) -> None:
        """Returns when the system may take something, or `timeout` seconds passed."""
        poll = select.poll()  # because select takes no descriptor above 1023
        poll.register(self.sock, select.POLLOUT)
        poll.poll(timeout * 1000 + 0.5)

    def close(self) -> None:
        """Closes the socket; the system still sends what was written."""
        with suppress(OSError):
            let_go(self.sock, self._identity)

    def abandon(self) -> None:
        """Closes a forked child's descriptor, and nothing else: closing a TLS socket could send a goodbye to the server."""
        ours = is_still(self.sock, self._identity)
        descriptor = self.sock.detach()
        if ours:
            with suppress(OSError):
                os.close(descriptor)

    def _send(self, data: bytes) -> int:
        if self.unsure:
            raise BrokenPipeError(errno.EPIPE, "a write was interrupted")
        self.unsure = True
        try:
            taken = self.sock.send(data)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            taken = 0
        if taken:
            self.full_since = None
        elif self.full_since is None:
            self.full_since = time.monotonic()
        return taken


def wait_for(waker: Waker, connection: Connection | None, timeout: float) -> bool:
    """Waits for something to read, for room to write where that is wanted, or to be woken; returns whether there is room."""
    poll = select.poll()
    poll.register(waker.reader, select.POLLIN)
    if connection is not None:
        wanted = bool(connection.rest) or connection.full_since is not None
        if isinstance(connection.sock, ssl.SSLSocket) and connection.sock.pending():
            timeout = 0.0
        poll.register(connection.sock, select.POLLIN | (select.POLLOUT if wanted else 0))
    room = False
    for fd, events in poll.poll(timeout * 1000 + 0.5):
        if fd == waker.reader.fileno():
            waker.clear()
        else:
            room = bool(events & select.POLLOUT)
    return room


def dial(address: NatsAddress, server: Server, name: str) -> Connection:
    """Connects to one server.

    Args:
        address: with credentials and TLS.
        server: one of its servers, or one that they have announced.
        name: of the connection, for the server's operator.

    Raises:
        DialError: it cannot be reached, is not a NATS server, or refuses this user.
    """
    deadline = time.monotonic() + TIMEOUT
    sock: socket.socket | None = None
    try:
        sock = socket.create_connection((server.host, server.port), timeout=TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.tls is Tls.FIRST:
            sock = _secure(sock, address, server)
        cutter, found = Cutter(), list[Said]()
        info = _hear_greeting(sock, address, cutter, found, deadline)
        if address.tls is Tls.REQUIRED or (info.get("tls_required") and address.tls is Tls.ASKED):
            sock = _secure(sock, address, server)
        options = {"name": name, **credentials(address, str(info.get("nonce", "")))}
        info |= _introduce(sock, cutter, found, options, deadline)
        for said in found:  # a server of a cluster may report changes right behind its first answer
            info |= read_info(said.text) if said.verb == "INFO" else {}
        sock.setblocking(False)
        return Connection(sock, cutter, server, info)
    except DialError:
        _close(sock)
        raise
    except ssl.SSLCertVerificationError as error:
        _close(sock)
        raise DialError(
            f"its certificate is not trusted ({error.verify_message}): give the certificates to trust with ca="
        ) from error
    except TimeoutError:
        _close(sock)
        raise DialError(f"no answer within {TIMEOUT:g} s") from None
    except (OSError, UnicodeError, AtMostError, ProtocolError) as error:
        _close(sock)
        strerror = error.strerror if isinstance(error, OSError) else None
        raise DialError(strerror or str(error) or type(error).__name__) from error


def _hear_greeting(
    sock: socket.socket, address: NatsAddress, cutter: Cutter, found: list[Said], deadline: float
) -> dict[str, Any]:
    """The server's description of itself, which it sends first."""
    said = _next(sock, cutter, found, deadline)
    if said.verb != "INFO":
        raise DialError("not a NATS server")
    info = _info(said.text)
    if address.tls is Tls.REQUIRED and not (info.get("tls_required") or info.get("tls_available")):
        raise DialError("it offers no TLS, which tls= requires")
    return info


def _introduce(
    sock: socket.socket, cutter: Cutter, found: list[Said], options: dict[str, Any], deadline: float
) -> dict[str, Any]:
    """Authenticates, and waits for the server's answer; returns the server's newest description of itself."""
    usual = {"verbose": False, "pedantic": False, "lang": "python-atmost", "version": "1", "protocol": 1}
    options = usual | {"echo": True, "headers": False, "tls_required": isinstance(sock, ssl.SSLSocket)} | options
    sock.sendall(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
    info: dict[str, Any] = {}
    while (said := _next(sock, cutter, found, deadline)).verb != "PONG":
        if said.verb == "-ERR":
            raise DialError(f"it says {said.text}", denied=is_denied(said.text))
        if said.verb == "INFO":
            info = _info(said.text)
    return info


def _secure(sock: socket.socket, address: NatsAddress, server: Server) -> ssl.SSLSocket:
    """Encrypts. A server announced by another one is known by its address only, so its certificate must match the name in the URL."""
    name = server.host if server in address.servers else address.servers[0].host
    return tls_context(address).wrap_socket(sock, server_hostname=name)


def is_denied(text: str) -> bool:
    """Whether an -ERR means that the server refuses this user."""
    return "authoriz" in text.lower() or "authentic" in text.lower()


def _next(sock: socket.socket, cutter: Cutter, found: list[Said], deadline: float) -> Said:
    """The next thing the server says; before CONNECT there are no deliveries."""
    while not found:
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        count = sock.recv_into(cutter.space())
        if not count:
            raise DialError("it closed the connection")
        found += [one for one in cutter.cut(count) if isinstance(one, Said)]
    return found.pop(0)


def _info(text: str) -> dict[str, Any]:
    try:
        info = json.loads(text)
    except (ValueError, RecursionError):
        info = None
    if not isinstance(info, dict):
        raise DialError("not a NATS server")
    return info


def read_info(text: str) -> dict[str, Any]:
    """What a later INFO says; empty when it cannot be read."""
    try:
        return _info(text)
    except DialError:
        return {}


def _peer(url: object) -> Server | None:
    host, _, port = str(url).rpartition(":")
    host = host.strip("[]")
    number = read_port(port)
    return Server(host, number) if host and number is not None else None


def _close(sock: socket.socket | None) -> None:
    if sock is not None:
        with suppress(OSError):
            sock.close()


def check_credentials(address: NatsAddress) -> None:
    """Checks everything that can be checked without a server.

    Raises:
        AddressError: a file cannot be read, or has the wrong content.
        MissingExtra: signing needs the extra `nats`.
    """
    credentials(address, "")
    if address.tls is not Tls.ASKED:
        tls_context(address)


def credentials(address: NatsAddress, nonce: str) -> dict[str, Any]:
    """The fields of CONNECT that authenticate this end.

    Args:
        address: with at most one kind of credentials.
        nonce: the server's, to be signed.

    Raises:
        AddressError, MissingExtra: as `check_credentials`.
    """
    if address.user is not None:
        return {"user": address.user, "pass": address.password}
    if address.token is not None:
        return {"auth_token": address.token}
    if address.nkey is not None:
        public, signature = _sign(address, "nkey", _read(address, "nkey", address.nkey).strip(), nonce)
        return {"nkey": public, "sig": signature}
    if address.creds is not None:
        text = _read(address, "creds", address.creds)
        jwt, seed = _block(text, "NATS USER JWT"), _block(text, "USER NKEY SEED")
        if jwt is None or seed is None:
            raise AddressError(address.url, f"creds={address.creds}: no user's JWT and seed in this file")
        return {"jwt": jwt, "sig": _sign(address, "creds", seed, nonce)[1]}
    return {}


def tls_context(address: NatsAddress) -> ssl.SSLContext:
    """The certificates that a connection trusts, and its own; host names are checked.

    Raises:
        AddressError: a file cannot be used.
    """
    name, path = "ca", address.ca
    try:
        context = ssl.create_default_context(cafile=address.ca)
        if address.cert is not None:
            name, path = "cert", address.cert
            context.load_cert_chain(path, address.cert_key)
    except (OSError, ssl.SSLError) as error:
        raise AddressError(address.url, f"{name}={path}: {error.strerror or error}") from None
    return context


def _read(address: NatsAddress, option: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise AddressError(address.url, f"{option}={path}: cannot be read: {reason}") from None


def _block(text: str, name: str) -> str | None:
    """The line between `BEGIN name` and its end."""
    lines = text.splitlines()
    for place, line in enumerate(lines[:-1]):
        if f"BEGIN {name}" in line:
            return lines[place + 1].strip()
    return None


def _sign(address: NatsAddress, option: str, seed: str, nonce: str) -> tuple[str, str]:
    """The public key of a seed, and the signature of the nonce."""
    try:
        import nkeys  # type: ignore[import-untyped]  # it has no annotations
    except ImportError:
        raise MissingExtra("nats", f"{option}= in a nats:// URL") from None
    try:
        pair = nkeys.from_seed(bytearray(seed.encode()))
        return pair.public_key.decode(), base64.b64encode(pair.sign(nonce.encode())).decode()
    except Exception:  # noqa: BLE001  the library raises errors of binascii, of the cipher and its own
        raise AddressError(address.url, f"{option}: the file holds no seed (a seed begins with SU)") from None
