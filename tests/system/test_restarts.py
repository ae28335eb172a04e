"""No message is ever handled twice, however often and wherever the receiver is killed, and whatever is replayed (R10–R12).

Everything goes through an adversary that records every datagram and sends its whole tape again after every restart, from another
address and port. The receivers are killed by SIGKILL: nothing of theirs survives.
"""

import signal
import time
from random import Random

import pytest

from tests.system.addresses import free_url

pytestmark = pytest.mark.needs("linux")


@pytest.fixture
def tap(scene, tmp_path):
    """A function that puts the adversary in front of an address; the senders' address."""
    return lambda url: scene.tap(free_url(url.partition(":")[0], tmp_path, "tap"), url)


@pytest.mark.slow
def test_a_receiver_killed_at_random_times(scene, tap, tmp_path):
    """With the presets of one host: some die before they are ready, some in the middle of a replay, some at work."""
    survive(scene, tap, free_url("udp", tmp_path), Random(3), restarts=6)


@pytest.mark.slow
def test_a_receiver_on_a_unix_socket_killed_at_random_times(scene, tap, tmp_path):
    """The same; each successor finds the socket file and the lock file of the dead one."""
    survive(scene, tap, free_url("unix", tmp_path), Random(5), restarts=6)


@pytest.mark.slow
def test_ten_restarts_a_second(scene, tap, tmp_path):
    """Incarnations of a tenth of a second, for which the guard against clocks that were set back must be 0."""
    survive(scene, tap, free_url("udp", tmp_path), Random(7), restarts=20, longest=0.1, clock_guard=0.0)


@pytest.mark.parametrize(("point", "handled"), [("marked", None), ("before", 39), ("inside", 40), ("after", 40)])
def test_a_receiver_killed_at_a_named_point(scene, tap, tmp_path, point, handled):
    """After the mark, before, inside and after the handler of its fortieth message: the successors never handle it again.

    A message whose handler did not start is lost, the price of at-most-once; one whose handler did is not repeated.
    """
    url = free_url("udp", tmp_path)
    adversary = tap(url)
    sender = scene.sender(adversary.url, "a")
    for _ in range(2):
        dying = scene.receiver(url, die_at=(point, 40)).go()
        dying.bound()
        adversary.replay()
        assert dying.child.wait() == -signal.SIGKILL
        scene.record.handled()
        assert dying.handled() == handled if handled else dying.handled() < 40
    last = scene.receiver(url).go()
    end_of_the_run(scene, adversary, last, [sender])


def test_the_tape_at_another_receiver(scene, tap, tmp_path):
    """One of another audience refuses all of it, whenever it began (R1); one of the same audience that begins later refuses it too (R10)."""
    url, elsewhere, later = (free_url("udp", tmp_path) for _ in range(3))
    adversary = tap(url)
    receiver, stranger = scene.receiver(url).go(), scene.receiver(elsewhere, audience="strangers").go()
    receiver.ready()
    stranger.ready()
    sender = scene.sender(adversary.url, "a")
    receiver.wait_handled(500)
    sender.stop()
    receiver.wait_settled(sender.close())
    receiver.close()
    successor = scene.receiver(later).go()
    successor.ready()
    for other, reason in ((stranger, "auth_failed"), (successor, "boot_quarantine")):
        taped = adversary.replay(other.bound())["taped"]
        other.wait_ledger(lambda now, taped=taped: now["datagrams_in"] == taped, "the tape has arrived")
        assert other.close()["refused"] == {reason: taped}
        assert other.handled() == 0
    assert scene.verdict().unknown == 0


def survive(scene, tap, url, rng, *, restarts, longest=0.3, **options):
    """Kills and restarts the receiver of two senders, and one of these too, then lets the last one give its account.

    Args:
        url: the address all incarnations have.
        rng: when to kill.
        restarts: how many are killed.
        longest: seconds from whatever was waited for to the kill, at most.
        options: of the receivers.
    """
    adversary = tap(url)
    incarnations = [scene.receiver(url, **options) for _ in range(restarts + 1)]
    senders = [scene.sender(adversary.url, label, log_attempts=True) for label in "ab"]
    for number, current in enumerate(incarnations[:-1]):
        current.go().bound()
        adversary.replay()
        if number == restarts // 2:
            senders.pop().kill()
            senders.append(scene.sender(adversary.url, "c"))
        if rng.random() < 0.6:
            current.wait_handled(1)
        if rng.random() < 0.3:
            adversary.replay()
        time.sleep(rng.uniform(0.0, longest))  # the moment of death is the fault
        current.kill()
    verdict = end_of_the_run(scene, adversary, incarnations[-1].go(), senders)
    assert verdict.unknown > 0, "nothing was sent while nobody was ready"


def end_of_the_run(scene, adversary, last, senders):
    """The last incarnation works, gets the tape twice and settles; then the checker judges. Its verdict."""
    last.bound()
    adversary.replay()
    last.ready()
    last.wait_handled(200)
    for sender in senders:
        sender.stop()
    reports = [sender.close() for sender in senders]
    last.wait_settled(*reports)
    before = last.ledger()
    again = adversary.replay()
    seen = before["datagrams_in"] + (before["kernel_drops"] or 0) + again["taped"] - again["refused"]
    last.wait_ledger(
        lambda now: now["datagrams_in"] + (now["kernel_drops"] or 0) >= seen, "the whole tape has arrived once more"
    )
    ledger = last.close()
    verdict = scene.verdict()
    assert ledger["refused"]["boot_quarantine"] > 0
    assert ledger["refused"]["duplicate"] > 0
    assert {row["tail"] for row in ledger["sessions"]} == {"closed"}
    return verdict
