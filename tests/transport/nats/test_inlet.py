"""The receiving end: its shards or a clear error, every way of receiving, and what it drops is counted."""

import asyncio
import os
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psutil
import pytest

import atmost
from atmost.transport import mailbox
from atmost.transport.nats.inlet import lease_clock
from atmost.transport.nats.wire import Delivery
from atmost.transport.url import open_inlet, open_outlet
from tests.nats_server import HOST, NatsServer, free_ports, running
from tests.real import BOUND, forge, run, until

pytestmark = pytest.mark.needs("nats-server")

FAST = {"future_bound": 0.05, "clock_guard": 0.05, "grace": 0.1}
LEASE = "lease=0.45"


def send(url, count, **options):
    """Send so many messages, each of which is handed over."""
    with atmost.Sender(url, **options) as sender:
        for number in range(count):
            sender.send("a.b", number)
    stats = sender.stats()
    assert stats.handed_over == count


def test_a_receiver_iterates(server):
    """Messages in order, until it is closed; the ledger balances."""
    url = server.url(options=LEASE)
    with atmost.Receiver(url, **FAST) as receiver:
        send(url, 100)
        seen = []
        for message in receiver:
            seen.append(message.payload)
            if len(seen) == 100:
                receiver.close()
    assert seen == list(range(100))
    assert receiver.url == url
    ledger = receiver.ledger()
    assert (ledger.delivered, ledger.lost, ledger.kernel_drops, ledger.refused) == (100, 0, 0, {})


def test_an_async_receiver_iterates(server):
    """The same in a loop that watches what waits, and after which nothing is left behind."""

    async def receive():
        url = server.url(options=LEASE)
        seen = []
        async with await asyncio.to_thread(atmost.AsyncReceiver, url, **FAST) as receiver:
            sending = asyncio.to_thread(send, url, 100)
            task = asyncio.create_task(sending)
            async for message in receiver:
                seen.append(message.payload)
                if len(seen) == 100:
                    break
            await task
        return seen

    assert asyncio.run(receive()) == list(range(100))


def test_a_session_that_is_not_its_own_is_refused(server):
    """R17: whatever subject it came on."""
    url = server.url(options=LEASE + "&shards=2")
    with atmost.Receiver(url, shards="0/2", **FAST) as receiver, closing(open_outlet(url)) as outlet:
        until(lambda: outlet.send(forge([("a", 1)], random64=1)) is None)
        outlet._heads.reverse()
        outlet.send(forge([("a", 2)], random64=1))
        assert receiver.receive(0.2) is None
        assert until(lambda: receiver.receive(0) or receiver.ledger().refused) == {"wrong_shard": 1}


def test_what_finds_no_room_is_counted(server, monkeypatch):
    """A receiver that does not come to read in time loses what does not fit; the sequence numbers tell of it, and so does `kernel_drops`."""
    monkeypatch.setattr(mailbox.Mailbox.__init__, "__defaults__", (5, 1 << 20))
    url = server.url(options=LEASE)
    with atmost.Receiver(url, **FAST) as receiver:
        with atmost.Sender(url, linger=0) as sender:
            until(lambda: sender.send("a.b", 0) and sender.stats().handed_over)
            for number in range(30):
                sender.send("a.b", number)
        dropped = until(receiver._intake.inlet.kernel_drops)
        while receiver.receive(0) is not None:
            pass
        # What tells of the loss is the next beacon that finds room.
        with atmost.Sender(url) as other:
            other.send("a", 1)
            until(lambda: receiver.receive(0.01))
        ledger = receiver.ledger()
    assert ledger.kernel_drops >= dropped
    assert ledger.delivered < 31


def test_what_comes_after_the_end_is_no_drop(server):
    """A receiver that has given its shards free drops nothing; before its end, without them, it does."""
    with closing(open_inlet(server.url(options=LEASE))) as inlet:
        receiving = (
            inlet._receiving
        )  # the moment between farewell and the end of the connection cannot be met from outside
        late = Delivery(1, b"datagram")
        owning = receiving.presence._owning
        receiving.presence._owning = False
        receiving.delivered(late)
        assert inlet.kernel_drops() == 1
        receiving.presence._owning = owning
        inlet.close()
        receiving.delivered(late)
        assert inlet.kernel_drops() == 1


def test_no_server_is_an_error_at_once():
    """A receiver that cannot receive does not pretend to."""
    (port,) = free_ports(1)
    with pytest.raises(
        atmost.BindError, match=f"no connection to {HOST}:{port}: Connection refused; is the server running"
    ):
        atmost.Receiver(f"nats://{HOST}:{port}/c")


def test_a_server_that_goes_away_meanwhile_is_told_as_such(tmp_path):
    """Nothing of what is claimed comes back then, which is no matter of permissions."""
    with running([NatsServer(tmp_path)]) as [server], ThreadPoolExecutor(1) as threads:
        claiming = threads.submit(atmost.Receiver, server.url(options=LEASE), **FAST)
        until(lambda: any(each.raddr and each.raddr.port == server.port for each in psutil.Process().net_connections()))
        server.kill()
        with pytest.raises(atmost.BindError, match="Connection refused; is the server running"):
            claiming.result(BOUND)


@pytest.mark.parametrize(
    ("permissions", "problem"),
    [
        ('publish: ">", subscribe: "elsewhere"', "Permissions Violation for Subscription"),
        ('publish: "elsewhere", subscribe: ">"', "Permissions Violation for Publish"),
        ('publish: ">", subscribe: "atmost.test.owners"', "Permissions Violation for Subscription"),
    ],
)
def test_what_the_server_forbids_is_an_error(tmp_path, permissions, problem):
    """With the server's own words, which name the subject."""
    rules = f"authorization {{ users: [ {{ user: me, password: x, permissions: {{ {permissions} }} }} ] }}\n"
    with (
        running([NatsServer(tmp_path, settings=rules)]) as [server],
        pytest.raises(atmost.BindError, match=problem),
    ):
        atmost.Receiver(server.url(user="me:x@", options=LEASE), **FAST)


def test_wrong_credentials_are_an_error(tmp_path):
    """Which shows no password."""
    rules = "authorization { user: me, password: x }\n"
    with (
        running([NatsServer(tmp_path, settings=rules)]) as [server],
        pytest.raises(atmost.BindError, match="Authorization Violation") as refused,
    ):
        atmost.Receiver(server.url(user="me:hunter2@"), **FAST)
    assert "hunter2" not in str(refused.value)


def test_the_number_of_shards_is_that_of_the_url(server):
    """Or it would listen where nobody sends."""
    with pytest.raises(atmost.OptionError, match=r"shards='0/4': expected shards of 16"):
        atmost.Receiver(server.url(), shards="0/4")
    with pytest.raises(atmost.OptionError, match=r"None for memory://: only a nats:// channel has shards"):
        atmost.Receiver("memory://x", shards="0/4")


def test_a_claim_waits_for_the_longest_lease_it_hears_of(server, monkeypatch):
    """That may take longer than a claim of its own and the time for an answer."""
    monkeypatch.setattr("atmost.transport.nats.inlet._CLAIM_SPARE", 0.3)
    with atmost.Receiver(server.url(options="lease=1"), shards="0-7/16", **FAST):
        began = time.monotonic()
        with atmost.Receiver(server.url(options="lease=0.4"), shards="8-15/16", **FAST):
            assert time.monotonic() - began >= 1.5


@pytest.mark.parametrize(("patience", "level"), [(10.0, "INFO"), (1.0, "WARNING")])
def test_a_claim_is_reported_and_a_long_one_is_a_warning(server, caplog, monkeypatch, patience, level):
    """A start takes a few leases: whoever waits for it can read for how long."""
    monkeypatch.setattr("atmost.transport.nats.inlet.EPISODE", patience)
    caplog.set_level("INFO", "atmost")
    open_inlet(server.url(options="lease=0.4")).close()
    said = next(record for record in caplog.records if "claiming the shards" in record.getMessage())
    assert said.levelname == level
    assert said.getMessage().endswith(
        "claiming the shards 0-15/16, which takes 0.6 s when nobody contradicts; ready about 1.6 s after that"
    )


def test_an_address_in_use_names_its_owner(server):
    """And the next one is let in as soon as that one is closed."""
    url = server.url(options=LEASE)
    with atmost.Receiver(url, shards="0-3/16", **FAST):
        with pytest.raises(atmost.AddressInUse, match=rf"\(3-4/16\) is in use by .*pid {os.getpid()} on .* has 0-3/16"):
            atmost.Receiver(url, shards="3-4/16", **FAST)
        atmost.Receiver(url, shards="4/16", **FAST).close()
    atmost.Receiver(url, shards="3-4/16", **FAST).close()


def test_names_that_are_no_text_keep_nobody_from_meeting(server, monkeypatch):
    """A program and a host may be called by bytes that are not UTF-8: both ends say so with question marks."""
    monkeypatch.setattr(sys, "argv", ["/srv/caf\udce9.py"])
    monkeypatch.setattr(socket, "gethostname", lambda: "h\udcffst")
    with atmost.Receiver(server.url(options=LEASE), **FAST) as receiver:
        with pytest.raises(atmost.AddressInUse, match=r"caf\?\.py \(pid \d+ on h\?st\)"):
            atmost.Receiver(server.url(options=LEASE), **FAST)
        with atmost.Sender(server.url(options=LEASE), linger=0) as sender:
            until(lambda: sender.send("a", 1) and sender.stats().handed_over)
        assert receiver.receive(BOUND) is not None


def test_shards_that_nobody_receives_are_named(server, caplog):
    """In the log of those who are there."""
    with atmost.Receiver(server.url(options="lease=0.1"), shards="0-14/16", **FAST):
        until(lambda: "nobody receives the shards 15/16: what their senders send is lost" in caplog.text)


def test_a_sender_that_divides_the_channel_otherwise_is_named(server, caplog):
    """What it sends to shards that do not exist here nobody would see."""
    with (
        atmost.Receiver(server.url(options=LEASE), **FAST),
        atmost.Sender(server.url(options="shards=32")) as sender,
    ):
        until(lambda: sender.send("a", 1) and sender.stats().handed_over)
        until(lambda: "divides the channel into 32 shards instead of 16" in caplog.text)


def test_a_forked_child_does_not_receive(server):
    """The shards stay with the parent, whose connection is not touched (H2)."""
    code = """
import logging, os, sys, atmost
logging.getLogger("atmost").setLevel(logging.ERROR)  # not of this host's clock
url = sys.argv[1]
receiver = atmost.Receiver(url, future_bound=0.05, clock_guard=0.05)
pid = os.fork()
if not pid:
    assert receiver.receive(1) is None
    assert receiver.closed
    receiver.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
with atmost.Sender(url) as sender:
    sender.send("a", 1)
    assert receiver.receive(10).payload == 1
assert receiver._intake.inlet._link.losses == 0
receiver.close()
"""
    url = server.url(options=LEASE)
    assert run(code, url) == ""


def test_closing_leaves_nothing_and_says_so(server):
    """A successor's neighbours need not wait to know of the hole."""
    url = server.url(options=LEASE)
    inlet = open_inlet(url)
    inlet.close()
    inlet.close()
    assert inlet.receive() is None
    assert inlet.fileno() == -1
    inlet.wait(None)


def test_a_dropped_receiver_gives_its_shards_free(server):
    """They would be a black hole until the process ends: its thread would go on to hold them."""
    url = server.url(options=LEASE)
    receiver = atmost.Receiver(url, **FAST)
    del receiver
    atmost.Receiver(url, **FAST).close()


@pytest.mark.parametrize(("platform", "clock"), [("linux", "CLOCK_BOOTTIME"), ("darwin", "CLOCK_MONOTONIC")])
def test_a_lease_runs_on_while_the_host_sleeps(monkeypatch, platform, clock):
    """By the clock of each platform that does; `time.monotonic` stands still while a Mac sleeps."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(time, "clock_gettime", {getattr(time, clock): 17.0}.__getitem__)
    assert lease_clock() == 17.0
