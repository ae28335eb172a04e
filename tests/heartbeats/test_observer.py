"""The observer doubts itself before it calls anybody dead."""

import pytest

from atmost import HeartbeatMonitor
from atmost.core.accounts import Ledger, SessionLedger
from atmost.core.events import QueueOverflow, SessionEvicted, Tail
from atmost.heartbeats import HeartbeatMonitorStats
from tests.heartbeats.scene import FakeSender, kinds, run, steady

BEATS = 600


@pytest.fixture
def monitor():
    """A monitor that knows nobody."""
    return HeartbeatMonitor()


@pytest.fixture
def worker(monitor):
    """A sender that has beaten for ten minutes without loss, last at 599 s."""
    one = FakeSender(monitor)
    steady(one, BEATS)
    return one


def row(sender: FakeSender, last_seen: float) -> SessionLedger:
    """What a receiver's account says of a session."""
    session = sender.session
    return SessionLedger(
        id=session.id, name="", host="", pid=0, key_id=0, tail=Tail.ALIVE, sent=0, datagrams=0, last_seen=last_seen,
        sender_offered=0, sender_dropped={}, sender_refused={},
    )  # fmt: skip


def test_an_observer_that_did_not_look_blames_itself(monitor, worker):
    """After a minute in which nobody ticked, the verdict is unknown for one interval; beats read then clear it."""
    changes = monitor.tick(660.0)
    assert kinds(changes) == [("unknown", "observer_late")]
    assert changes[0].verdict.seconds == pytest.approx(59.5)
    message = worker.message(600.0)
    assert kinds(worker.deliver(message, 660.1)) == [("up", "heard")]
    assert monitor.stats().observer_late == 1


@pytest.mark.parametrize(("last_seen", "away"), [(61.0, 59.5), (60.6, 59.1)])
def test_the_account_of_a_long_absence_does_not_hide_it(monitor, worker, last_seen, away):
    """What was heard last before nobody looked, or soon after, is no reason to call the silence since then a death."""
    run(monitor, 600.0)
    monitor.observe(Ledger(sessions=[row(worker, last_seen)]), 660.0)
    changes = monitor.tick(660.0)
    assert kinds(changes) == [("unknown", "observer_late")]
    assert changes[0].verdict.seconds == pytest.approx(away)


def test_beats_that_waited_for_the_observer_are_no_pause(monitor, worker):
    """The first event after its absence is a beat from long ago: it explains nothing, for nothing happened."""
    assert worker.deliver(worker.message(600.0), 660.0) == []
    assert worker.deliver(worker.message(601.0), 660.0) == []


def test_who_died_meanwhile_is_found_after_the_observer_came_back(monitor, worker):
    """Held for one interval, the silence then counts on from where the observer left it."""
    changes = monitor.tick(660.0) + run(monitor, 700)
    assert kinds(changes) == [
        ("unknown", "observer_late"), ("late", "silent"), ("suspect", "silent"), ("down", "silent")
    ]  # fmt: skip
    assert changes[-1].at == pytest.approx(660 + 2.0)


def test_an_observer_a_little_late_reads_its_socket_first(monitor, worker):
    """A deadline noticed half an interval late gives what waits in the socket a moment, and says nothing of it."""
    run(monitor, 602.0)
    assert monitor.tick(602.9) == []
    assert kinds(worker.beat(602.91)) == [("up", "paused")]
    run(monitor, 605.9)
    assert monitor.tick(606.7) == []
    assert kinds(run(monitor, 607)) == [("down", "silent")]


def test_an_observer_that_is_always_late_comes_to_a_verdict_too(monitor, worker):
    """Whoever ticks less than once an interval finds deaths later, but finds them."""
    changes = []
    for turn in range(1, 30):
        changes += monitor.tick(599.0 + turn * 2.2)
    assert kinds(changes)[-1] == ("down", "silent")


def test_an_observer_that_ticks_once_an_interval_is_good_enough(monitor, worker):
    """A coarse rhythm delays, and blames nobody."""
    changes = []
    for turn in range(1, 10):
        changes += monitor.tick(599.3 + turn)
    assert kinds(changes) == [("suspect", "silent"), ("down", "silent")]
    assert changes[-1].at <= 599 + 3.5 + 2


@pytest.mark.parametrize("event", [lambda s: QueueOverflow(s, 5), lambda s: SessionEvicted(s, live=True)])
def test_what_the_observer_dropped_may_have_been_the_beat(monitor, worker, event):
    """Its own queue or table was full during the silence: the verdict is held for one interval, and then given."""
    run(monitor, 601.0)
    monitor.feed(event(worker.session), 601.0)
    changes = run(monitor, 700)
    assert kinds(changes) == [("unknown", "observer_dropped"), ("down", "silent")]
    assert changes[0].at == pytest.approx(602)
    assert changes[1].at == pytest.approx(603)


def test_drops_of_the_kernel_are_known_from_the_account(monitor, worker):
    """So are those of the queue; the same figure again is no news, and what was there at the start none either."""
    monitor.observe(Ledger(kernel_drops=7), 599.0)
    monitor.observe(Ledger(kernel_drops=7), 600.0)
    monitor.observe(Ledger(kernel_drops=8), 601.0)
    assert kinds(run(monitor, 602.5))[-1] == ("unknown", "observer_dropped")


def test_drops_before_the_silence_are_no_excuse(monitor, worker):
    """What was dropped before the last sign of life cannot have been a later one."""
    monitor.observe(Ledger(), 598.0)
    monitor.observe(Ledger(overflow=3), 598.5)
    assert kinds(run(monitor, 700))[-1] == ("down", "silent")
    assert monitor.stats().observer_dropped == 0


def test_beacons_are_signs_of_life(monitor, worker):
    """A session that was heard according to the account lives, though nothing of it came as an event."""
    run(monitor, 600.0)
    assert monitor.observe(Ledger(sessions=[row(worker, 0.2)]), 600.4) == []
    assert [change.at for change in run(monitor, 602)] == pytest.approx([600.2 + 1.5])
    assert kinds(monitor.observe(Ledger(sessions=[row(worker, 0.1)]), 602)) == [("up", "heard")]
    assert monitor.observe(Ledger(sessions=[row(worker, 9.0)]), 602.1) == []


def test_beacons_are_signs_of_life_of_the_fastest_too(monitor):
    """What is too soon to be another beacon of one that beats once a second is five beats of another."""
    fast = FakeSender(monitor, interval=0.01)
    end = steady(fast, 6000)
    for turn in range(100):
        now = end + turn * 0.01
        assert monitor.observe(Ledger(sessions=[row(fast, 0.001)]), now) == []
        assert monitor.tick(now) == []


def test_the_same_beacon_told_again_begins_no_new_silence(monitor, worker):
    """Its age is told to the microsecond, by another clock reading each time; a doubt is held once in a silence all the same."""
    run(monitor, 601.0)
    monitor.observe(Ledger(sessions=[row(worker, 1.8)]), 601.0)  # heard at 599.2
    monitor.feed(QueueOverflow(worker.session, 5), 601.0)
    changes = []
    for turn in range(1, 60):
        now = 601.0 + turn / 4
        changes += monitor.observe(Ledger(sessions=[row(worker, now - 599.2 - turn * 1e-6)]), now)
        changes += monitor.tick(now)
    assert kinds(changes) == [("unknown", "observer_dropped"), ("down", "silent")]


def test_many_silences_at_once_are_the_observers(monitor):
    """More than half fell silent together: unknown for one interval, for each; then it is as it looks."""
    senders = [FakeSender(monitor, f"w{number}", number=number) for number in range(10)]
    for turn in range(300):
        run(monitor, turn + 0.0)
        for offset, one in enumerate(senders):
            one.beat(turn + offset / 100)
    for turn in range(300, 320):
        for one in senders[6:]:
            run(monitor, turn + 0.06)
            one.beat(turn + 0.07)
    changes = run(monitor, 319.9)
    for one in senders[:6]:
        assert monitor.state(one.name) == "down"
    assert monitor.stats().together == 6
    assert changes == []


def test_less_than_half_are_believed_at_once(monitor):
    """Four of ten that fall silent together are four deaths."""
    senders = [FakeSender(monitor, f"w{number}", number=number) for number in range(10)]
    changes = []
    for turn in range(310):
        for offset, one in enumerate(senders):
            if turn < 300 or offset >= 4:
                changes += run(monitor, turn + offset / 100)
                changes += one.beat(turn + offset / 100)
    assert monitor.stats().together == 0
    assert sum(change.state == "down" for change in changes) == 4


def test_one_sender_alone_is_not_together(monitor, worker):
    """A monitor of one sender has nobody to compare it with."""
    run(monitor, 700)
    assert monitor.stats() == HeartbeatMonitorStats(BEATS, 0, 0, 0, 0, 0, 0, 0)
