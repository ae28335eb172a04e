"""How a connection proves who it is: user and password, a token, an nkey, or a credentials file with a JWT.

Files are read at each connection, so that they can be renewed under a running process.
"""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any

from atmost.errors import AddressError, MissingExtra
from atmost.transport.nats.url import NatsAddress, Tls


def check_credentials(address: NatsAddress) -> None:
    """Tries everything that does not need a server.

    Raises:
        AddressError: a file cannot be read, or is not what it should be.
        MissingExtra: signing needs the extra `nats`.
    """
    credentials(address, "")
    if address.tls is not Tls.ASKED:
        tls_context(address)


def credentials(address: NatsAddress, nonce: str) -> dict[str, Any]:
    """What CONNECT says besides the usual.

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
    """Whom a connection trusts, and how it proves itself; host names are checked.

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
        raise AddressError(address.url, f"{option}: the file holds no seed (it begins with SU)") from None
