"""How an end proves who it is, against servers that insist, and what is said when it cannot."""

import base64
import builtins
import datetime as dt
import ipaddress
import json

import nkeys
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import atmost
from tests.nats_server import NatsServer, running
from tests.real import until

pytestmark = pytest.mark.needs("nats-server")


def passes(url):
    """Check that a sender is let in."""
    with atmost.Sender(url) as sender:
        until(lambda: sender.send("a", 1) and sender.stats().handed_over)
        assert set(sender.stats().refused) <= {"EACCES", "ENOTCONN"}


def trouble(url):
    """Return why a sender is not let in."""
    with atmost.Sender(url) as sender:
        sender.send("a", 1)
        return until(lambda: sender._core.outlet._link.trouble)


@pytest.mark.parametrize(
    ("rules", "user"),
    [
        ('authorization { user: me, password: "s@:cret" }\n', "me:s%40%3Acret@"),
        ('authorization { token: "t0ken" }\n', "t0ken@"),
    ],
)
def test_a_user_and_a_token(tmp_path, rules, user):
    """In the URL, with what has a meaning there written as %40."""
    with running([NatsServer(tmp_path, settings=rules)]) as [server]:
        passes(server.url(user=user))


def seed(kind):
    """Return a new seed: of a user, an account or an operator."""
    import secrets

    return nkeys.encode_seed(secrets.token_bytes(32), kind)


def test_an_nkey(tmp_path):
    """The server's nonce is signed; the seed stays in its file."""
    own, other = seed(nkeys.PREFIX_BYTE_USER), seed(nkeys.PREFIX_BYTE_USER)
    (tmp_path / "own").write_bytes(own + b"\n")
    (tmp_path / "other").write_bytes(other)
    public = nkeys.from_seed(bytearray(own)).public_key.decode()
    with running([NatsServer(tmp_path, settings=f"authorization {{ users: [ {{ nkey: {public} }} ] }}\n")]) as [server]:
        passes(server.url(options=f"nkey={tmp_path}/own"))
        assert "Authorization Violation" in trouble(server.url(options=f"nkey={tmp_path}/other"))


def jwt(issuer, subject, claims):
    """Return a token as NATS wants it: signed by the issuer's seed."""

    def encode(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    pair = nkeys.from_seed(bytearray(issuer))
    head = encode(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
    body = {"jti": "x", "iat": 1_700_000_000, "iss": pair.public_key.decode(), "name": "n", "sub": subject}
    signed = head + b"." + encode(json.dumps(body | {"nats": claims | {"version": 2}}).encode())
    return (signed + b"." + encode(pair.sign(signed))).decode()


def test_a_credentials_file(tmp_path):
    """A user's JWT and seed, as `nsc` writes them, at a server that trusts an operator."""
    operator, account, user = (
        seed(kind) for kind in (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_USER)
    )
    names = [nkeys.from_seed(bytearray(each)).public_key.decode() for each in (operator, account, user)]
    limits = dict.fromkeys(("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1)
    operator_jwt = jwt(operator, names[0], {"type": "operator"})
    account_jwt = jwt(operator, names[1], {"type": "account", "limits": limits | {"wildcards": True}})
    user_jwt = jwt(account, names[2], {"type": "user", "subs": -1, "data": -1, "payload": -1})
    creds = tmp_path / "user.creds"
    creds.write_text(
        f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.decode()}\n------END USER NKEY SEED------\n"
    )
    rules = f"operator: {operator_jwt}\nresolver: MEMORY\nresolver_preload: {{ {names[1]}: {account_jwt} }}\n"
    with running([NatsServer(tmp_path, settings=rules)]) as [server]:
        passes(server.url(options=f"creds={creds}"))


@pytest.fixture
def certificates(tmp_path):
    """An authority, and a certificate of it for 127.0.0.1."""
    now = dt.datetime.now(dt.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("authority", "server")]
    usage = {"key_cert_sign": True, "crl_sign": True, "digital_signature": True}
    rest = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    for file, number in (("ca", 0), ("cert", 1)):
        builder = (
            x509.CertificateBuilder()
            .subject_name(names[number])
            .issuer_name(names[0])
            .public_key(keys[number].public_key())
            .serial_number(number + 1)
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=not number, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[number].public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), critical=False)
        )
        if number:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        else:
            builder = builder.add_extension(x509.KeyUsage(**usage, **rest), critical=True)
        found = builder.sign(keys[0], hashes.SHA256())
        (tmp_path / f"{file}.pem").write_bytes(found.public_bytes(serialization.Encoding.PEM))
    key = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "key.pem").write_bytes(key)
    return tmp_path


@pytest.mark.parametrize(("rule", "option"), [("", "tls=1"), ("handshake_first: true", "tls=first")])
def test_tls(certificates, rule, option):
    """Both ends, in both directions and with more data than one record; a stranger's certificate is not trusted."""
    files = f'cert_file: "{certificates}/cert.pem", key_file: "{certificates}/key.pem", {rule}'
    with running([NatsServer(certificates, settings=f"tls {{ {files} }}\n", quiet=bool(rule))]) as [server]:
        url = server.url(options=f"{option}&ca={certificates}/ca.pem&lease=3")
        with (
            atmost.Receiver(url, future_bound=0.05, clock_guard=0.05) as receiver,
            atmost.Sender(url, linger=0.01) as sender,
        ):
            for number in range(3_000):
                sender.send("a", [number, "x" * 100])
            sender.close()
            until(lambda: _has_heard_all(receiver))
            ledger, stats = receiver.ledger(), sender.stats()
            assert ledger.lost == sum(stats.refused.values())
            assert ledger.delivered == stats.handed_over
            assert ledger.delivered > 1_000
        assert "certificate is not trusted" in trouble(server.url(options=option))


def test_a_client_certificate(certificates):
    """Where the server wants to see one."""
    files = (
        f'cert_file: "{certificates}/cert.pem", key_file: "{certificates}/key.pem", ca_file: "{certificates}/ca.pem"'
    )
    with running([NatsServer(certificates, settings=f"tls {{ {files}, verify: true }}\n")]) as [server]:
        own = f"ca={certificates}/ca.pem&cert={certificates}/cert.pem&cert_key={certificates}/key.pem"
        passes(server.url(options=own))
        assert trouble(server.url(options=f"ca={certificates}/ca.pem"))


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(tmp_path):
    """Nothing, credentials least of all, leaves in the clear."""
    with running([NatsServer(tmp_path)]) as [server]:
        assert "it offers no TLS, which tls= requires" in trouble(server.url(options="tls=1"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("nkey={folder}/none", "nkey={folder}/none: cannot be read: No such file or directory"),
        ("nkey={folder}/text", "nkey: the file holds no seed"),
        ("creds={folder}/text", "creds={folder}/text: no user's JWT and seed in this file"),
        ("ca={folder}/none", "ca={folder}/none: No such file or directory"),
        ("ca={folder}/text", "ca={folder}/text: "),
        ("tls=1&cert={folder}/text", "cert={folder}/text: "),
    ],
)
def test_a_file_that_cannot_be_used_is_told_at_once(tmp_path, options, problem):
    """When an end is made, not at the first message."""
    (tmp_path / "text").write_text("hello")
    for end in (atmost.Sender, atmost.Receiver):
        with pytest.raises(atmost.AddressError) as refused:
            end("nats://127.0.0.1:1/c?" + options.format(folder=tmp_path))
        assert problem.format(folder=tmp_path) in refused.value.problem


def test_without_the_extra_one_line_says_what_to_install(tmp_path, monkeypatch):
    """Only signing needs it."""
    (tmp_path / "seed").write_bytes(seed(nkeys.PREFIX_BYTE_USER))
    usual = builtins.__import__

    def absent(name, *rest):
        if name == "nkeys":
            raise ImportError(name)
        return usual(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(
        atmost.MissingExtra,
        match=r"^nkey= in a nats:// URL needs an optional dependency: pip install 'atmost\[nats\]'$",
    ):
        atmost.Sender(f"nats://127.0.0.1/c?nkey={tmp_path}/seed")
    atmost.Sender("nats://me:x@127.0.0.1/c").close()


def _has_heard_all(receiver):
    """Receives what there is; whether the sender has said goodbye."""
    while receiver.receive(0) is not None:
        pass
    return [one.tail for one in receiver.ledger().sessions] == ["closed"]
