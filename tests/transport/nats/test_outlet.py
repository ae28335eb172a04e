"""The sending end: it never waits for a server, sends nothing twice, and counts by reason what it could not hand over."""

import gc
import logging
import socket
import threading
import time
from contextlib import closing

import pytest

import atmost
from atmost.core.sending import NOT_NOW
from atmost.core.shards import shard_of
from atmost.transport.nats.outlet import _Sending
from atmost.transport.nats.url import parse_nats
from atmost.transport.nats.wire import Cutter, Delivery, subscribe
from atmost.transport.url import open_outlet
from tests.nats_server import HOST, NatsServer, free_ports, running
from tests.real import BOUND, forge, header, run, until

pytestmark = pytest.mark.needs("nats-server")


class Tap:
    """A plain subscriber: everything that travels on a subject."""

    def __init__(self, server, subject="atmost.test.>"):
        self.sock = socket.create_connection((HOST, server.port), timeout=BOUND)
        self.cutter = Cutter()
        self.sock.recv(65536)
        self.sock.sendall(b'CONNECT {"verbose":false,"headers":false}\r\n' + subscribe(subject, 1) + b"PING\r\n")
        self.found = []
        self.wait(lambda found: any(getattr(one, "verb", "") == "PONG" for one in found))

    def wait(self, condition):
        while not condition(self.found):
            count = self.sock.recv_into(self.cutter.space())
            assert count, "the server closed the connection"
            self.found += self.cutter.cut(count)

    @property
    def datagrams(self):
        """What arrived that is no announcement."""
        return [one.payload for one in self.found if isinstance(one, Delivery) and one.payload[:1] == b"\xa5"]

    def close(self):
        self.sock.close()


def connected(outlet):
    """Return a data outlet whose connection stands."""
    until(lambda: outlet.send(forge([("a", 1)])) is None)
    return outlet


def until_refused(sender, reason):
    """Send until the account knows a reason."""

    def tried():
        sender.send("a", 1)
        return sender.stats().refused.get(reason, 0)

    return until(tried)


def balance(stats):
    """Check the sender's identity (R20)."""
    assert stats.offered == sum(stats.dropped.values()) + stats.open + stats.handed_over + sum(stats.refused.values())


def test_each_session_has_a_subject_of_its_own_by_its_shard(server):
    """`atmost.<channel>.<shard>`, the datagram's bytes as they are on any transport."""
    with closing(Tap(server, "atmost.test.*")) as tap, closing(open_outlet(server.url(options="shards=4"))) as outlet:
        datagrams = [forge([("a", 1)], random64=number) for number in range(8)]
        connected(outlet)
        for datagram in datagrams:
            assert outlet.send(datagram) is None
        tap.wait(lambda _: len(tap.datagrams) >= 9)
        assert tap.datagrams[-8:] == datagrams
    with closing(Tap(server, "atmost.test.3")) as tap, closing(open_outlet(server.url(options="shards=4"))) as outlet:
        connected(outlet)
        for datagram in datagrams:
            outlet.send(datagram)
        tap.wait(lambda _: len(tap.datagrams) == 2)
        assert {shard_of(datagram[2:20], 4) for datagram in tap.datagrams} == {3}


def test_a_message_sent_before_there_was_a_connection_leaves_with_it(server):
    """A program may send one message and end."""
    with closing(Tap(server)) as tap:
        assert (
            run(
                "import sys, atmost; sender = atmost.Sender(sys.argv[1]); sender.send('a', 1)",
                server.url(),
            )
            == ""
        )
        tap.wait(lambda _: sum(header(datagram).count for datagram in tap.datagrams) == 1)


def test_an_unreachable_server_costs_only_the_messages(caplog):
    """It is said once, tried again in the background, and everything is refused and counted; nothing of it is sent later."""
    (port,) = free_ports(1)
    with atmost.Sender(f"nats://{HOST}:{port}/test") as sender:
        until_refused(sender, "ENOTCONN")
        for _ in range(100):
            sender.send("a", 1)
        until(lambda: sender._core.outlet._link.trouble)
        time.sleep(0.3)
        balance(sender.stats())
    assert caplog.text.count("Connection refused; tried again in the background") == 1
    assert sender.stats().handed_over == 0


def test_the_connection_is_made_as_soon_as_there_is_a_server(tmp_path):
    """However long that takes; and what was sent before is not sent then."""
    server = NatsServer(tmp_path)
    with atmost.Sender(server.url(), linger=0) as sender:
        until_refused(sender, "ENOTCONN")
        with running([server]), closing(Tap(server)) as tap:

            def handed_over():
                sender.send("a", 2)
                return sender.stats().handed_over

            until(handed_over)
            tap.wait(lambda _: any(header(datagram).count for datagram in tap.datagrams))
            first = next(datagram for datagram in tap.datagrams if header(datagram).count)
            assert header(first).prior == sum(sender.stats().refused.values())


def test_a_server_that_stands_still_keeps_nobody_waiting(server):
    """Twenty thousand messages later the sender is done, everything is accounted for and its memory is bounded."""
    with atmost.Sender(server.url(options="ping=60")) as sender:
        until(lambda: sender.send("a", 0) and sender.stats().handed_over)
        server.stop()
        try:
            payload = "x" * 4096
            for _ in range(20_000):
                sender.send("a", payload)
            stats = sender.stats()
            balance(stats)
            assert stats.open * 4096 <= 1 << 20
            assert sum(stats.dropped.values()) > 0
        finally:
            server.go_on()


def test_what_was_pending_when_the_connection_broke_is_not_sent_afterwards(server):
    """Nothing older than the disconnection: neither what was begun, nor what waited (R6)."""
    with closing(open_outlet(server.url(options="ping=60"))) as outlet:
        connected(outlet)
        server.stop()
        large = forge([("a", "x" * 60_000)], sequence=1)
        until(lambda: outlet.send(large) == "EAGAIN")
        held = large
        assert outlet.send(held) == "EAGAIN"
        losses = outlet._link.losses
        server.kill()
        until(lambda: outlet._link.losses > losses)
        server.start()
        with closing(Tap(server)) as tap:
            until(lambda: outlet._link.max_payload)
            assert outlet.send(held) == "ENOTCONN"
            last = forge([("a", "after")])
            assert outlet.send(last) is None
            tap.wait(lambda _: last in tap.datagrams)
            assert tap.datagrams == [last]


def test_a_connection_that_breaks_while_it_refuses_takes_what_waits_along(monkeypatch):
    """Nothing older than the disconnection is sent after it, whenever in `send` the connection was lost (R6)."""
    with closing(open_outlet("nats://127.0.0.1:1/test")) as outlet:
        link, datagram = outlet._link, bytes(64)
        monkeypatch.setattr(link, "start", lambda: True)

        def lose(*_):
            link.losses += 1
            return NOT_NOW

        monkeypatch.setattr(link, "offer", lose)
        assert outlet.send(datagram) == NOT_NOW
        monkeypatch.setattr(link, "offer", lambda *_: None)
        assert outlet.send(datagram) == "ENOTCONN"
        assert outlet.send(bytes(65)) is None


def test_a_datagram_that_was_begun_is_finished_though_nobody_sends_again(server):
    """The link's own thread writes the rest as soon as the server reads."""
    with closing(Tap(server)) as tap, closing(open_outlet(server.url(options="ping=60"))) as outlet:
        connected(outlet)
        server.stop()
        large = forge([("a", "x" * 60_000)], sequence=1)
        taken = 0
        while outlet.send(large) is None:
            taken += 1
        server.go_on()
        tap.wait(lambda _: tap.datagrams.count(large) == taken)


def test_datagrams_follow_the_servers_limit(tmp_path):
    """What is larger than `max_payload` is refused as EMSGSIZE, and the next ones are smaller."""
    with (
        running([NatsServer(tmp_path, settings="max_payload: 2048\n")]) as [server],
        closing(Tap(server)) as tap,
        atmost.Sender(server.url()) as sender,
    ):
        until(lambda: sender.send("a", 0) and sender.stats().handed_over)
        for number in range(2_000):
            sender.send("a", number)
        sender.flush()
        stats = sender.stats()
        assert stats.refused.keys() == {"EMSGSIZE"}
        tap.wait(lambda _: sum(header(datagram).count for datagram in tap.datagrams) == stats.handed_over)
        assert max(map(len, tap.datagrams)) <= 2048


@pytest.mark.parametrize(
    ("rules", "user"),
    [
        ('authorization { user: me, password: "right" }\n', "me:wrong@"),
        ('authorization { token: "right" }\n', "wrong@"),
        ('authorization { token: "right" }\n', ""),
    ],
)
def test_wrong_credentials_are_told_once_and_counted(tmp_path, caplog, rules, user):
    """As EACCES; it is tried again, for they may become right, and no password is in the log."""
    with running([NatsServer(tmp_path, settings=rules)]) as [server], atmost.Sender(server.url(user=user)) as sender:
        until_refused(sender, "EACCES")
        time.sleep(0.3)
        assert caplog.text.count("it says 'Authorization Violation'") == 1
        assert "wrong" not in caplog.text
        server.configure("")
        server.kill()
        server.start()

        def handed_over():
            sender.send("a", 1)
            return sender.stats().handed_over

        until(handed_over)


def test_a_forbidden_subject_is_told_once_and_counted(tmp_path, caplog):
    """The connection goes on; what belongs there is refused for a while without asking."""
    rules = 'authorization { users: [ { user: me, password: x, permissions: { publish: "elsewhere" } } ] }\n'
    with (
        running([NatsServer(tmp_path, settings=rules)]) as [server],
        atmost.Sender(server.url(user="me:x@"), linger=0) as sender,
    ):
        until_refused(sender, "EACCES")
        handed_over = sender.stats().handed_over
        for _ in range(10):
            sender.send("a", 1)
        assert sender.stats().refused["EACCES"] >= 11
        assert sender.stats().handed_over == handed_over
        assert sender._core.outlet._link.losses == 0
    assert caplog.text.count("the server forbids publishing on atmost.test.") == 1


@pytest.mark.parametrize("shard", ["16", "9" * 5000, "x", "01", "owners"])
def test_a_subject_that_is_no_shard_forbids_nothing(shard):
    """Whatever a server calls it, and however long: it neither refuses a message nor ends the link."""
    ends = _Sending(parse_nats("nats://127.0.0.1/test"))
    assert ends.complained(f"'Permissions Violation for Publish to \"atmost.test.{shard}\"'")
    assert ends.denied == {}
    assert ends.complained("'Permissions Violation for Publish to \"atmost.test.15\"'")
    assert list(ends.denied) == [15]


def test_a_reconnection_in_the_middle_of_send_raises_nothing():
    """It forgets what was forbidden while a sender finds that the time of it is over."""
    ends = _Sending(parse_nats("nats://127.0.0.1/test"))

    class Forbidden(dict):
        def get(self, shard):
            until = self[shard]
            ends.denied.clear()
            return until

    ends.denied = Forbidden({0: 0.0})
    assert not ends.denies(0)


def test_a_server_of_another_kind_is_told(caplog):
    """Whatever listens there."""
    with socket.create_server((HOST, 0)) as listening:

        def greet():
            for _ in range(2):
                peer, _ = listening.accept()
                peer.sendall(b"220 mail\r\n")
                peer.close()

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        with atmost.Sender(f"nats://{HOST}:{listening.getsockname()[1]}/test") as sender:
            until_refused(sender, "ENOTCONN")
            until(lambda: "not a NATS server" in caplog.text)
            thread.join(BOUND)


def test_a_forked_child_has_a_connection_of_its_own(server):
    """Not a byte of it is on its parent's; sessions and accounts are apart, and both arrive."""
    code = """
import os, sys, atmost
sender = atmost.Sender(sys.argv[1], linger=0)
while not sender.stats().handed_over:
    sender.send("a", "parent")
pid = os.fork()
if not pid:
    assert sender._core.outlet._link.max_payload is None
    while not sender.stats().handed_over:
        sender.send("a", "child")
    sender.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
losses = sender._core.outlet._link.losses
sender.send("a", "after")
print(sender.stats().refused, losses)
sender.close()
"""
    with closing(Tap(server)) as tap:
        assert run(code, server.url()) == "{} 0\n"
        tap.wait(lambda _: len({header(datagram).random64 for datagram in tap.datagrams}) == 2)


def test_a_forgotten_sender_leaves_no_thread_and_no_socket(server):
    """Its finalizer ends the connection."""
    threads = threading.active_count()

    def use_and_forget():
        sender = atmost.Sender(server.url())
        until(lambda: sender.send("a", 1) and sender.stats().handed_over)
        assert threading.active_count() > threads

    use_and_forget()
    gc.collect()
    until(lambda: threading.active_count() <= threads)


def test_a_thread_that_cannot_be_started_is_tried_again(server, monkeypatch):
    """A process that has no room for a thread now may have one later; until then it is as without a connection."""

    def crowded(_thread):
        raise RuntimeError("can't start new thread")

    with closing(open_outlet(server.url())) as outlet:
        with monkeypatch.context() as full:
            full.setattr(threading.Thread, "start", crowded)
            assert outlet.send(bytes(64)) == "ENOTCONN"
        until(lambda: outlet.send(bytes(64)) is None)


def test_nothing_is_connected_before_the_first_message(server):
    """A sender that sends nothing costs nothing."""
    threads = threading.active_count()
    with atmost.Sender(server.url()):
        assert threading.active_count() == threads


def test_a_url_shows_no_password():
    """Neither in `url` nor in what is printed."""
    with closing(open_outlet("nats://me:hunter2@a/c")) as outlet:
        assert outlet.url == "nats://a:4222/c"
    with atmost.Sender("nats://me:hunter2@a/c") as sender:
        assert "hunter2" not in repr(sender)
    assert parse_nats(outlet.url).user is None


def test_a_connection_that_comes_back_is_told(tmp_path, caplog):
    """At the level of information, after the warning."""
    caplog.set_level(logging.INFO, "atmost")
    with running([NatsServer(tmp_path)]) as [server], atmost.Sender(server.url()) as sender:
        until(lambda: sender.send("a", 1) and sender.stats().handed_over)
        server.kill()
        until_refused(sender, "ENOTCONN")
        server.start()
        until(lambda: f"connected to {HOST}:{server.port}" in caplog.text)
    assert f"{HOST}:{server.port} is gone: " in caplog.text
