"""A connection takes a message whole or not at all, with TLS too."""

import datetime as dt
import ipaddress
import socket
import ssl
import threading
import time
from contextlib import closing

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from atmost.transport.nats.dial import Connection, dial
from atmost.transport.nats.url import Server, parse_nats
from atmost.transport.nats.wire import Cutter
from tests.real import BOUND


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    """A file with the certificate and the key of 127.0.0.1."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


def pair(identity):
    """A connection, and the other end of it; encrypted with an identity."""
    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    if identity is not None:
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        theirs.load_cert_chain(identity)
        secured = []
        shaking = threading.Thread(target=lambda: secured.append(theirs.wrap_socket(far, server_side=True)))
        shaking.start()
        near = ssl.create_default_context(cafile=identity).wrap_socket(near, server_hostname="127.0.0.1")
        shaking.join(BOUND)
        (far,) = secured
    near.setblocking(False)
    return Connection(near, Cutter(), Server("127.0.0.1", 4222), {}), far


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("size", [1400, 40_000])
def test_a_message_is_taken_whole_or_not_at_all(identity, encrypted, size):
    """What was refused while the connection was full never arrives, and what comes after it is not mixed with it."""
    connection, far = pair(identity if encrypted else None)
    with closing(connection), far:
        taken, arrived, tried = b"", bytearray(), 0
        far.settimeout(BOUND)
        for _ in range(3):
            while connection.full_since is None:
                message = b"%c" % (65 + tried) * (size - tried)  # each one is shorter than the one before
                tried += 1
                taken += message if connection.write(message) else b""
            assert not connection.write(b"z" * 2 * size)
            assert not connection.write(b"y")
            deadline = time.monotonic() + BOUND
            while not connection.flush() or len(arrived) < len(taken):
                assert time.monotonic() < deadline
                far.settimeout(0.02)
                try:
                    arrived += far.recv(65_536)
                except TimeoutError:
                    continue
            connection.full_since = None
        assert bytes(arrived) == taken


def test_what_a_server_says_of_its_cluster_is_taken_or_left():
    """Behind its first answer too; and what is no server's address, however long, is no peer and stops nobody."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b'INFO {"connect_urls": ["a:%s", "b", "c:0", ":1"]}\r\n' % (b"9" * 5000))
                peer.recv(65_536)
                peer.sendall(b'PONG\r\nINFO {"connect_urls": ["d:4222", "[::1]:4223"], "max_payload": 7777}\r\n')
                peer.recv(1)

        serving = threading.Thread(target=serve)
        serving.start()
        with closing(dial(parse_nats("nats://127.0.0.1/test"), Server(*listener.getsockname()), "test")) as connection:
            assert connection.peers == (Server("d", 4222), Server("::1", 4223))
            assert connection.max_payload == 7777
        serving.join(BOUND)
