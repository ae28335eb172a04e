"""Processes that are stopped for seconds, or killed while they send: every message is accounted for, or said to be unknown (R20–R22)."""

import signal
import time

import pytest

from tests.system.addresses import drops_at

pytestmark = pytest.mark.needs("linux")

STOPPED = 2.0
"""Seconds a process stands still at least."""
MANY = 3000
"""Messages sent meanwhile at least."""


def test_a_stopped_receiver_is_never_in_the_way_and_knows_what_it_missed(scene):
    """While it stands still the sender goes on; what its buffer could not hold is counted by the kernel, and all of it is loss.

    Each datagram has one message, so that the kernel's figure, the numbers that are missing and the loss can be compared:
    every missing datagram was dropped at this socket, every lost message was in one of them (R20, R22).
    """
    receiver = scene.receiver(receive_buffer=65_536).go()
    url = receiver.ready()
    sender = scene.sender(url, "a", linger=0)
    receiver.wait_handled(100)
    receiver.child.signal(signal.SIGSTOP)
    stopped_at, before = time.monotonic(), sender.progress()["accepted"]
    sender.wait_accepted(before + MANY)
    time.sleep(max(0.0, stopped_at + STOPPED - time.monotonic()))
    receiver.child.signal(signal.SIGCONT)
    receiver.wait_handled(receiver.handled() + 100)
    sender.stop()
    report = sender.close()
    receiver.wait_settled(report)
    receiver.wait_ledger(
        lambda now: now["datagrams_in"] + now["kernel_drops"] == report["numbers"],
        "every datagram arrived or was dropped",
    )
    drops = drops_at(receiver.child.pid, url)
    ledger = receiver.close()
    verdict = scene.verdict()
    assert ledger["kernel_drops"] == drops > 0
    assert ledger["lost"] == report["accepted"] - verdict.handled > 0
    assert ledger["lost_by_place"] == {"sender_socket": 0, "in_flight": ledger["lost"]}
    beacons_lost = (report["numbers"] - report["accepted"]) - (ledger["accepted"] - verdict.handled)
    # More than half a window was lost at once: the first datagram after it waits for a second witness (R16), and is lost by that.
    unconfirmed = ledger["refused"].get("implausible", 0)
    assert sum(ledger["refused"].values()) == unconfirmed <= 1
    assert drops + unconfirmed == ledger["lost"] + beacons_lost
    assert (report["dropped"], report["stats"]["refused"]) == ([], {})


def test_a_receiver_closed_at_work_tells_what_it_never_handled(scene):
    """Its handler is too slow: what found the queue full was dropped after marking, what was queued at the end is discarded (R14, R20)."""
    receiver = scene.receiver(handler_seconds=0.02, max_queue=500).go()
    sender = scene.sender(receiver.ready(), "a")
    receiver.wait_ledger(lambda now: now["overflow"] > 0 and now["queued"] > 0, "the queue is full")
    ledger = receiver.close()
    sender.stop()
    sender.close()
    verdict = scene.verdict()
    (row,) = ledger["sessions"]
    assert row["delivered"] == verdict.handled == receiver.handled() > 0
    assert min(row["overflow"], row["discarded"]) > 0
    assert row["queued"] == 0
    assert row["tail"] != "closed"


def test_a_stopped_sender_falls_silent_and_goes_on_where_it_was(scene):
    """Meanwhile its tail is unknown and not 0; afterwards it is the same session, and nothing of it is lost (R21)."""
    receiver = scene.receiver().go()
    sender = scene.sender(receiver.ready(), "a")
    receiver.wait_handled(100)
    sender.child.signal(signal.SIGSTOP)
    silent = receiver.wait_ledger(lambda now: now["tail_unknown"] == 1, "the session is silent")
    assert [row["tail"] for row in silent["sessions"]] == ["silent"]
    sender.child.signal(signal.SIGCONT)
    receiver.wait_handled(silent["delivered"] + 100)
    sender.stop()
    receiver.wait_settled(sender.close())
    ledger = receiver.close()
    verdict = scene.verdict()
    assert [row["tail"] for row in ledger["sessions"]] == ["closed"]
    assert verdict.unknown == ledger["tail_unknown"] == 0
    assert ledger["kernel_drops"] or ledger["lost"] == 0


def test_the_tail_of_a_killed_sender_is_unknown(scene):
    """It says no goodbye: what it may have sent after its last sign of life is reported as unknown, never as 0 and never as lost (R21).

    Each id was logged before it was sent, so the truth is known to this test: nothing is handled that was not sent, and
    what the account leaves open are the messages that the sender had in its hands.
    """
    receiver = scene.receiver().go()
    sender = scene.sender(receiver.ready(), "a", linger=0.02, log_attempts=True)
    receiver.wait_handled(500)
    sender.kill()
    receiver.wait_ledger(lambda now: now["tail_unknown"] == 1 and not now["pending"], "the session is silent")
    ledger = receiver.close()
    verdict = scene.verdict()
    (session,) = scene.record.sent
    (row,) = ledger["sessions"]
    attempts = len(scene.record.sent[session])
    assert (row["id"], row["tail"], row["tail_unknown"]) == (session, "silent", 1)
    assert row["sent"] == verdict.handled + verdict.lost <= attempts
    assert verdict.unknown == attempts - row["sent"]
    assert ledger["kernel_drops"] or ledger["lost"] == 0
