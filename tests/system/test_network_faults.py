"""Duplication, partition, reordering, delay and corruption on a real network: once or not at all, and always known.

Duplicates and partitions are made by the kernel; reordering, delay and corruption by the lab's link, a process on the receiving host,
whose account is the truth. It holds what is to be late until it is told to end, so that no test depends on how fast anything is.
"""

import signal

import pytest

from tests.system.network import ONE_CLOCK, PORT, RECEIVER_HOST, URL, encoded_size

pytestmark = pytest.mark.needs("root", "netns", "nft")

LINK_URL = f"udp://{RECEIVER_HOST}:{PORT + 1}"
FOREVER = 3600
"""A delay that ends only with the link, seconds."""
SINGLE = {"count": 1000, "linger": 0}


@pytest.fixture
def receive(scene, network):
    """A function that starts a receiver on its host and waits until it is ready."""

    def start(**options):
        receiver = scene.receiver(URL, prefix=network.receiver.prefix, **ONE_CLOCK, **options).go()
        receiver.ready()
        return receiver

    return start


@pytest.fixture
def send(scene, network):
    """A function that starts a sender on its host."""
    return lambda url=URL, **options: scene.sender(url, "a", prefix=network.sender.prefix, **options)


@pytest.fixture
def link(scene, network):
    """A function that starts the link in front of the receiver; what it returns ends it, sends what it holds, and gives its account."""

    def start(**faults):
        flags = [text for name, value in faults.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        arguments = ("--bind", LINK_URL, "--target", URL, "--seed", "11", *flags)
        child = scene.child("atmost.lab.process", *arguments, prefix=network.receiver.prefix)
        assert child.line()["url"] == LINK_URL

        def end():
            child.signal(signal.SIGTERM)
            account = child.line()
            assert child.wait() == 0
            assert (account["held_datagrams"], account["kernel_drops"], account["send_errors"]) == (0, 0, 0)
            return account

        return end

    return start


def test_every_datagram_sent_four_times_is_handled_once(scene, network, receive, send):
    """The kernel of the sender duplicates three times in its output hook; each copy is refused as a duplicate, and counted (R11.4)."""
    copies = f"dup to {RECEIVER_HOST} device cable"
    network.sender.rules("output", "counter name seen", copies, copies, copies, counters=["seen"])
    receiver, sender = receive(), send(count=20_000)
    sender.finish()
    sender.stop()
    report = sender.close()
    receiver.wait_settled(report)
    receiver.wait_ledger(lambda now: now["datagrams_in"] == 4 * report["numbers"], "all copies have arrived")
    ledger = receiver.close()
    verdict = scene.verdict()
    assert network.sender.dropped("seen") == 4 * report["numbers"]
    assert ledger["refused"] == {"duplicate": 3 * report["numbers"]}
    assert (verdict.handled, ledger["lost"]) == (20_000, 0)


def test_a_cable_pulled_out_and_put_in_again(scene, network, receive, send):
    """What the socket refuses meanwhile has spent its number and is never tried again; it shows as loss at the sender, exactly (R5, R6)."""
    receiver, sender = receive(grace=0.2), send()
    receiver.wait_handled(500)
    network.sender.cable(up=False)
    sender.wait_accepted(sender.progress()["accepted"] + 500)
    network.sender.cable(up=True)
    receiver.wait_handled(receiver.handled() + 500)
    ledger, report = finish(scene, receiver, sender)
    refused = report["stats"]["refused"]
    assert set(refused) <= {"ENETUNREACH", "ENETDOWN"}
    assert ledger["lost_by_place"] == {"sender_socket": sum(refused.values()), "in_flight": 0}
    assert ledger["lost"] > 0


def test_a_partition_that_no_socket_notices(scene, network, receive, send):
    """While nothing arrives the tail is unknown, and never called 0; once it is healed the loss is known to the message (R21)."""
    network.receiver.rules("input")
    receiver, sender = receive(grace=0.2), send()
    receiver.wait_handled(500)
    network.receiver.rules("input", "goto lose")
    silent = receiver.wait_ledger(lambda now: now["tail_unknown"] == 1, "the session is silent")
    assert (silent["lost"], silent["pending"]) == (0, 0)
    network.receiver.heal()
    receiver.wait_handled(receiver.handled() + 500)
    ledger, _ = finish(scene, receiver, sender)
    lost = network.receiver.counters()["data"].messages(encoded_size(8))
    assert ledger["lost_by_place"] == {"sender_socket": 0, "in_flight": lost}
    assert lost > 0
    assert [row["tail"] for row in ledger["sessions"]] == ["closed"]


def test_delay_that_differs_and_copies_lose_nothing(scene, receive, send, link):
    """Everything is shuffled and some of it doubled: all of it is handled once, and each copy counted as a duplicate (R11.4, R19)."""
    end = link(delay=0.02, jitter=0.05, duplicate=0.2, copies=3)
    receiver, sender = receive(), send(LINK_URL, **SINGLE)
    sender.finish()
    sender.stop()
    report = sender.close()
    account = end()
    receiver.wait_settled(report)
    receiver.wait_ledger(
        lambda now: now["datagrams_in"] == account["forwarded_datagrams"] + account["extra_copies"], "all has arrived"
    )
    ledger = receiver.close()
    verdict = scene.verdict()
    assert (verdict.handled, ledger["lost"]) == (1000, 0)
    assert ledger["refused"] == {"duplicate": account["extra_copies"]}
    assert min(account["extra_copies"], account["reordered_datagrams"]) > 0


@pytest.mark.parametrize("window", [4096, 64])
def test_what_was_called_lost_and_comes_after_all(scene, receive, send, link, window):
    """Inside the window it is delivered and booked as late, which lowers the loss; beyond it is refused, and stays lost (R11.4, R19)."""
    end = link(reorder=0.3, reorder_delay=FOREVER)
    receiver, sender = receive(window=window, grace=0.2), send(LINK_URL, **SINGLE)
    sender.finish()
    before = receiver.wait_settled(sender.stop())
    report = sender.close()
    account = end()
    ledger = receiver.wait_ledger(lambda now: now["datagrams_in"] == report["numbers"], "all has arrived")
    receiver.close()
    scene.verdict()
    assert before["lost"] > 200
    assert account["forwarded_datagrams"] == report["numbers"]
    too_old = ledger["refused"].get("too_old", 0)
    assert ledger["refused"] == ({"too_old": too_old} if window == 64 else {})
    assert ledger["accepted"] == report["numbers"] - too_old
    assert ledger["late"] == before["lost"] - ledger["lost"]
    assert (ledger["lost"] > 100) if window == 64 else (ledger["lost"] == 0)


def test_what_was_delayed_across_restarts_is_never_handled(scene, receive, send, link):
    """It was sent before the last incarnation's boot floor, whatever the ones before it saw of it (R10)."""
    end = link(delay=FOREVER)
    sender = send(LINK_URL, **SINGLE)
    sender.finish()
    sender.stop()
    report = sender.close()
    for _ in range(2):
        receive().kill()
    last = receive()
    account = end()
    last.wait_ledger(lambda now: now["datagrams_in"] == report["numbers"], "all has arrived")
    ledger = last.close()
    verdict = scene.verdict()
    assert account["forwarded_messages"] == 1000
    assert ledger["refused"] == {"boot_quarantine": report["numbers"]}
    assert (verdict.handled, verdict.unknown) == (0, 1000)


def test_a_damaged_datagram_is_refused_and_its_messages_are_lost(scene, receive, send, link):
    """One bit is flipped in three datagrams of ten, anywhere: nothing of it is handled, and each is refused for a reason (R11, H0)."""
    end = link(corrupt=0.3)
    receiver, sender = receive(grace=0.2), send(LINK_URL, **SINGLE)
    sender.finish()
    receiver.wait_settled(sender.stop())
    report = sender.close()
    receiver.wait_ledger(lambda now: now["datagrams_in"] == report["numbers"], "all has arrived")
    ledger, account = receiver.close(), end()
    verdict = scene.verdict()
    assert sum(ledger["refused"].values()) == account["corrupted_datagrams"]
    assert {"auth_failed", "malformed"} <= set(ledger["refused"])
    assert ledger["lost"] == account["corrupted_messages"] > 0
    assert ledger["lost"] + verdict.handled == 1000


def finish(scene, receiver, sender):
    """Ends the sending, settles and judges; the last account and the truth about the session."""
    receiver.wait_settled(sender.stop())
    report = sender.close()
    refused = sum(report["stats"]["refused"].values())
    receiver.wait_ledger(lambda now: now["lost_by_place"]["sender_socket"] == refused, "refusals are known")
    receiver.wait_ledger(lambda now: now["sessions"][0]["tail"] == "closed", "the goodbye has arrived")
    ledger = receiver.close()
    verdict = scene.verdict()
    assert (ledger["kernel_drops"], ledger["refused"], verdict.unknown) == (0, {}, 0)
    return ledger, report
