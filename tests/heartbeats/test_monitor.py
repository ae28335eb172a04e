"""What a silence means and what explains it, in virtual time."""

import pytest

from atmost import HeartbeatMonitor, OptionError, SubjectError
from atmost.core.events import Loss, Place, SessionClosed
from atmost.heartbeats import HeartbeatState
from atmost.heartbeats.verdicts import HeartbeatVerdictKind
from tests.heartbeats.scene import FakeSender, kinds, make_session, run, steady


@pytest.fixture
def monitor():
    """A monitor that knows nobody."""
    return HeartbeatMonitor()


@pytest.fixture
def worker(monitor):
    """A sender that has beaten for ten minutes without loss, so that three misses mean death."""
    one = FakeSender(monitor)
    one.next = steady(one, 600)
    one.last = one.next - 1
    return one


def test_the_first_beat_makes_it_known(monitor):
    """What was never heard is not watched; the first beat opens it as up."""
    assert monitor.state("worker") is None
    assert monitor.next_deadline() is None
    assert kinds(FakeSender(monitor).beat(5.0)) == [("up", "first")]
    assert monitor.state("worker") is HeartbeatState.UP


def test_silence_goes_from_up_over_late_and_suspect_to_down(monitor, worker):
    """Late after a missed beat, suspect at three intervals, down half an interval later, and then nothing more."""
    changes = run(monitor, worker.last + 100)
    assert kinds(changes) == [("late", "silent"), ("suspect", "silent"), ("down", "silent")]
    assert [change.at - worker.last for change in changes] == pytest.approx([1.5, 3.0, 3.5])
    assert [change.verdict.count for change in changes] == [1, 2, 3]
    assert changes[-1].before is HeartbeatState.SUSPECT
    assert monitor.next_deadline() is None


def test_beats_in_time_change_nothing(monitor, worker):
    """A steady heartbeat is up from its first beat, with no other change."""
    assert kinds(worker.changes) == [("up", "first")]


def test_a_jump_of_the_number_is_loss(monitor, worker):
    """Beats lost on the way are told as lost, with their number, when the next one comes; it never was down."""
    for turn in range(3):
        worker.lose(worker.next + turn)
    changes = run(monitor, worker.next + 3)
    changes += worker.beat(worker.next + 3)
    assert kinds(changes) == [("late", "silent"), ("suspect", "silent"), ("down", "silent"), ("up", "lost")]
    assert changes[-1].verdict.count == 3
    assert "never was down" in str(changes[-1].verdict)


def test_contiguous_but_late_is_a_pause(monitor, worker):
    """A number that continues after a silence proves that nothing was lost: the sender was paused."""
    run(monitor, worker.last + 42)
    [change] = worker.beat(worker.last + 42)
    assert kinds([change]) == [("up", "paused")]
    assert (change.verdict.seconds, change.verdict.count) == (pytest.approx(42), 0)


def test_a_pause_with_loss_tells_both(monitor, worker):
    """Two beats lost before a pause: the pause is what the numbers do not explain."""
    worker.lose(worker.next)
    worker.lose(worker.next + 1)
    run(monitor, worker.last + 42)
    [change] = worker.beat(worker.last + 42)
    assert change.verdict.kind is HeartbeatVerdictKind.PAUSED
    assert (change.verdict.seconds, change.verdict.count) == (pytest.approx(40), 2)


def test_a_slow_network_is_not_a_pause(monitor, worker):
    """A beat that left in time and arrived late: by the sender's own clock nothing was paused."""
    message = worker.message(worker.next)
    run(monitor, worker.next + 2)
    assert kinds(worker.deliver(message, worker.next + 2)) == [("up", "heard")]


def test_a_new_life_is_a_restart(monitor, worker):
    """Another life under the same name, in a later session, is told as restarted; also within an interval."""
    run(monitor, worker.last + 20)
    again = FakeSender(monitor, number=2, start=700)
    [change] = again.beat(worker.last + 20)
    assert (change.before, *kinds([change])) == (HeartbeatState.DOWN, ("up", "restarted"))
    assert change.verdict.seconds == pytest.approx(20)
    assert kinds(FakeSender(monitor, number=3, start=800).beat(worker.last + 20.1)) == [("up", "restarted")]
    assert monitor.status(worker.last + 21)[0].restarts == 2


def test_a_life_begun_in_the_same_session_is_a_restart(monitor, worker):
    """`stop` and `start` over one sender."""
    worker.beat(worker.next, ending="stopped")
    worker.life, worker.number = "another", 0
    assert kinds(worker.beat(worker.next + 1)) == [("up", "restarted")]


def test_beats_without_a_life_are_told_apart_by_their_session(monitor):
    """A plain beat, as the agent sends it, of number and interval alone."""
    plain, again = FakeSender(monitor), FakeSender(monitor, number=2, start=100)
    plain.life = again.life = None
    assert kinds(plain.beat(0.0) + plain.beat(1.0) + again.beat(101)) == [("up", "first"), ("up", "restarted")]


def test_a_goodbye_is_stopped_and_never_down(monitor, worker):
    """What said goodbye may be silent; copies of the goodbye change nothing."""
    assert kinds(worker.beat(worker.next, ending="stopped")) == [("stopped", "stopped")]
    worker.number -= 1
    assert worker.beat(worker.next + 0.05, ending="stopped") == []
    assert run(monitor, worker.next + 1000) == []
    assert monitor.status(worker.next)[0].lost == 0


def test_what_failed_says_so(monitor, worker):
    """The goodbye of a job that raised, with the class of the exception; the session's own goodbye does not hide it."""
    [change] = worker.beat(worker.next, ending="failed", reason="ValueError")
    assert kinds([change]) == [("failed", "failed")]
    assert "ValueError" in str(change.verdict)
    assert monitor.feed(SessionClosed(worker.session), worker.next + 1) == []
    assert worker.deliver(worker.message(0, "logs.app"), worker.next + 2) == []


def test_the_goodbye_of_the_session_stops_all_its_heartbeats(monitor):
    """A process that ends in order is stopped, even when the heartbeat's own goodbye was lost."""
    one = FakeSender(monitor, "a")
    one.beat(0.0)
    one.name = "b"
    one.number = 0
    one.beat(0.1)
    changes = monitor.feed(SessionClosed(one.session), 0.5)
    assert sorted((change.name, change.state) for change in changes) == [("a", "stopped"), ("b", "stopped")]
    assert run(monitor, 100) == []


def test_the_same_life_in_another_session_goes_on(monitor, worker):
    """A rotated key begins a new session in the same life: no restart, and no beat is missed."""
    monitor.feed(SessionClosed(worker.session), worker.last + 0.5)
    worker.session, worker.sequence = make_session(2, 700), 0
    assert kinds(worker.beat(worker.next)) == [("up", "heard")]
    assert monitor.status(worker.next)[0].restarts == 0
    assert worker.deliver(worker.message(0, "logs.app"), worker.next + 1.4) == []
    assert run(monitor, worker.next + 2) == []


def test_any_message_of_the_session_is_a_sign_of_life(monitor, worker):
    """Logs and metrics keep it up; those of another session do not."""
    now = worker.last
    for seconds in (1.0, 1.8):
        worker.lose(now + seconds)
        assert run(monitor, now + seconds) == []
        worker.deliver(worker.message(now, "metrics.cpu", 0.5), now + seconds)
    other = FakeSender(monitor, "other", number=9)
    other.deliver(other.message(0, "metrics.cpu", 0.5), now + 3)
    assert [change.at - now for change in run(monitor, now + 3.4)] == pytest.approx([1.8 + 1.5])


def test_a_message_after_the_verdict_revives_and_the_next_beat_explains(monitor, worker):
    """First it is heard; what the silence was is known with the next number."""
    for turn in range(6):
        worker.lose(worker.next + turn)
    run(monitor, worker.next + 6)
    log = worker.deliver(worker.message(worker.next + 6, "logs.app", "hello"), worker.next + 6)
    beat = worker.beat(worker.next + 6.1)
    assert kinds(log + beat) == [("up", "heard"), ("up", "lost")]
    assert beat[0].verdict.count == 6


def test_a_session_that_lives_without_beats_is_stalled_not_down(monitor, worker):
    """Its other threads send, but what beats hangs: suspect, and back with an explanation."""
    changes, now = [], worker.last
    for turn in range(1, 40):
        changes += run(monitor, now + turn / 4)
        changes += worker.deliver(worker.message(now + turn / 4, "metrics.cpu", 0.5), now + turn / 4)
    assert kinds(changes) == [("suspect", "stalled")]
    assert kinds(worker.beat(now + 10)) == [("up", "paused")]


def test_what_was_sent_before_is_no_news(monitor, worker):
    """A datagram overtaken by one that was heard already says nothing of now, and neither does a loss."""
    early = worker.message(worker.next, "logs.app", "late")
    worker.beat(worker.next)
    worker.deliver(early, worker.next + 1.4)
    monitor.feed(Loss(worker.session, 1, Place.IN_FLIGHT, 5, 5), worker.next + 1.45)
    assert [change.at for change in run(monitor, worker.next + 2)] == pytest.approx([worker.next + 1.5])


def test_a_late_beat_lowers_the_loss(monitor, worker):
    """Reordered beats are not lost."""
    early = worker.message(worker.next)
    worker.beat(worker.next + 1)
    assert monitor.status(0)[0].lost == 1
    assert worker.deliver(early, worker.next + 1.1) == []
    assert monitor.status(0)[0].lost == 0


def test_two_of_one_name_are_a_conflict(monitor):
    """The later session is believed while it lives; the older one's beats are counted, and take over when it dies."""
    old, new = FakeSender(monitor, number=1, start=0), FakeSender(monitor, number=2, start=10)
    old.beat(0.0)
    new.beat(10.0)
    assert old.beat(10.5) == []
    assert monitor.status(11)[0].conflicts == 1
    run(monitor, 60)
    assert kinds(old.beat(60)) == [("up", "restarted")]


def test_senders_of_different_keys_are_different(monitor):
    """Nobody can speak in the name of another key's sender."""
    plain, signed = FakeSender(monitor), FakeSender(monitor, number=2)
    signed.session.key = b"\0\7" + signed.session.key[2:]
    plain.beat(0.0)
    signed.beat(0.1)
    assert {(status.key_id, status.restarts) for status in monitor.status(1)} == {(0, 0), (7, 0)}
    assert monitor.state("worker", key_id=7) is HeartbeatState.UP


def test_a_timeout_of_the_senders_own_is_kept(monitor):
    """It told how long its silence may be: down exactly then, whatever is lost."""
    one = FakeSender(monitor)
    one.beat(0.0, timeout=2.0)
    changes = run(monitor, 10)
    assert [(change.state, change.at) for change in changes] == [("late", 1.5), ("down", 2.0)]


@pytest.mark.parametrize(
    "payload",
    [
        None,
        7,
        {},
        {"number": 1},
        {"number": -1, "interval": 1.0},
        {"number": 1 << 62, "interval": 1.0},
        {"number": 1, "interval": 0.0},
        {"number": 1, "interval": float("nan")},
        {"number": 1, "interval": 1e9},
        {"number": 1, "interval": 1.0, "timeout": 1.9},
        {"number": 1, "interval": 1.0, "timeout": float("nan")},
        {"number": 1, "interval": 1.0, "life": "x" * 200},
        {"number": 1, "interval": 1.0, "ending": "exploded"},
        {"number": 1, "interval": 1.0, "uptime": float("nan")},
        {"number": 1, "interval": 1.0, "uptime": float("inf")},
        {"number": 1, "interval": 1.0, "uptime": -1.0},
        {"number": 1, "interval": 1.0, "offered": -1},
        {"number": True, "interval": 1.0},
    ],
)
def test_what_is_no_beat_is_counted(monitor, payload):
    """Anybody may send anything on the subject: it never raises, and opens nothing."""
    one = FakeSender(monitor)
    assert one.deliver(one.message(0, "heartbeats.worker", payload), 0.0) == []
    assert monitor.stats().malformed == 1
    assert monitor.status(0) == []


def test_what_never_begins_is_found(monitor):
    """An expected heartbeat that is never heard goes down after the longest patience, or its timeout."""
    monitor.expect("backup", 0.0, interval=10)
    monitor.expect("report", 0.0, interval=10, timeout=30)
    changes = run(monitor, 1000)
    assert [(c.name, c.at) for c in changes if c.state is HeartbeatState.DOWN] == [("report", 30), ("backup", 105)]
    one = FakeSender(monitor, "report")
    assert kinds(one.beat(1000)) == [("up", "first")]
    assert monitor.status(1000)[1].down_after == 30


def test_misuse_is_refused_with_the_reason(monitor):
    """A timeout below two intervals, and options out of range."""
    with pytest.raises(OptionError, match="2 × interval = 2 seconds, because otherwise one lost"):
        monitor.expect("x", 0.0, timeout=1.5)
    with pytest.raises(SubjectError):
        monitor.expect("no spaces", 0.0)
    for wrong in ({"target": 0}, {"cap": 2}, {"max_senders": 0}, {"on_change": 5}):
        with pytest.raises(OptionError):
            HeartbeatMonitor(**wrong)
    full = HeartbeatMonitor(max_senders=1)
    full.expect("a", 0.0)
    with pytest.raises(OptionError):
        full.expect("b", 0.0)


def test_the_number_of_senders_is_bounded():
    """Beyond the limit new ones are counted; those that ended, and then those that are down, make room."""
    monitor = HeartbeatMonitor(max_senders=2)
    senders = [FakeSender(monitor, f"w{number}", number=number) for number in range(4)]
    senders[0].beat(0.0)
    senders[1].beat(0.1)
    senders[2].beat(0.2)
    assert (monitor.stats().beats, monitor.stats().sender_limit) == (2, 1)
    senders[0].beat(1.0, ending="stopped")
    assert kinds(senders[2].beat(1.2)) == [("up", "first")]
    run(monitor, 100)
    assert kinds(senders[3].beat(100)) == [("up", "first")]
    assert monitor.stats().forgotten == 2
    assert {status.name for status in monitor.status(100)} == {"w2", "w3"}


def test_a_forgotten_heartbeat_is_new_when_it_beats_again(monitor, worker):
    """`forget` ends the watch, deadlines and all."""
    assert monitor.forget("worker")
    assert not monitor.forget("worker")
    assert run(monitor, 1e6) == []
    assert kinds(worker.beat(worker.next)) == [("up", "first")]


@pytest.mark.parametrize("ending", ["stopped", None])
def test_deadlines_of_days_take_no_room_once_they_are_obsolete(ending):
    """Heartbeats that are forgotten leave nothing behind, nor does one that says another interval with every beat."""
    monitor = HeartbeatMonitor(max_senders=10)
    for number in range(300):
        day = FakeSender(monitor, f"job-{number}" if ending else "job", interval=86_400.0, number=number + 1)
        day.beat(number)
        if ending is None:
            run(monitor, number + 0.1)
            day.interval = 0.01
            day.beat(number + 0.1)
            run(monitor, number + 0.5)
        else:
            day.beat(number, ending=ending)
    assert len(monitor._heap) <= 84
    assert len(monitor.status(300.0)) == (10 if ending else 1)


def test_callbacks_hear_every_change_and_cannot_end_the_watch(monitor):
    """What a callback raises is counted; the others are still called."""
    heard = []

    @monitor.on_change
    def fail(change):
        raise RuntimeError

    monitor.on_change(heard.append)
    returned = FakeSender(monitor).beat(0.0) + run(monitor, 100)
    assert heard == returned
    assert heard[-1].state is HeartbeatState.DOWN
    assert monitor.stats().callback_errors == len(heard)


def test_other_events_are_none_of_its_business(monitor, worker):
    """Any event of a receiver may be handed in."""
    assert monitor.feed(SessionClosed(make_session(77)), 0.0) == []
    assert monitor.feed(Loss(make_session(77), 1, Place.IN_FLIGHT, 0, 0), 0.0) == []
