"""What is expected: names and patterns, over a restart of the observer; and two that beat under one name."""

import json
import os
import sys
from pathlib import Path

import pytest

from atmost import HeartbeatMonitor, OptionError
from atmost.heartbeats import HeartbeatMemory, HeartbeatState, HeartbeatVerdictKind, RememberedHeartbeat
from tests.heartbeats.scene import FakeSender, kinds, make_session, run, steady


@pytest.fixture
def monitor():
    """A monitor that knows nobody."""
    return HeartbeatMonitor()


def rows(monitor, now=0.0):
    """Names and states."""
    return {status.name: str(status.state) for status in monitor.status(now)}


def test_a_name_is_expected_under_any_key(monitor):
    """A configuration does not know key numbers: the first beat of the name settles it, and there is one row."""
    monitor.expect("worker", 0.0, timeout=5.0)
    one = FakeSender(monitor)
    one.session.key = b"\0\7" + one.session.key[2:]
    assert kinds(one.beat(1.0)) == [("up", "first")]
    [status] = monitor.status(1.0)
    assert (status.key_id, status.expected, status.down_after) == (7, True, 5.0)
    monitor.expect("worker", 2.0, timeout=9.0)
    assert len(monitor.status(2.0)) == 1


def test_a_key_that_is_named_is_kept_to(monitor):
    """Somebody else's beat of that name is another heartbeat."""
    monitor.expect("worker", 0.0, key_id=7)
    FakeSender(monitor).beat(1.0)
    assert sorted((status.key_id, str(status.state)) for status in monitor.status(1.0)) == [(0, "up"), (7, "unknown")]


def test_a_pattern_is_missed_until_something_matches(monitor):
    """It is down under its own text, like a name; what matches takes its place, and is expected."""
    monitor.expect("worker-*", 0.0, interval=1.0, timeout=4.0)
    changes = run(monitor, 100.0)
    assert (changes[-1].name, changes[-1].state, changes[-1].at) == ("worker-*", HeartbeatState.DOWN, 4.0)
    changes = FakeSender(monitor, "worker-7").beat(100.0)
    assert [(change.name, str(change.state)) for change in changes] == [("worker-*", "up"), ("worker-7", "up")]
    FakeSender(monitor, "other", number=2).beat(100.0)
    FakeSender(monitor, "worker-8", number=3).beat(100.5)
    status = {one.name: one for one in monitor.status(101.0)}
    assert {name: one.expected for name, one in status.items()} == {"worker-7": True, "other": False, "worker-8": True}
    assert status["worker-8"].down_after == 4.0


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("*", ["a", "a.b"], []),
        ("w-*", ["w-", "w-1.x"], ["w", "xw-1"]),
        ("*-w", ["a-w"], ["a-wb"]),
        ("a*b*c", ["abc", "a-b-c", "abbc"], ["acb", "ac"]),
        ("ab*ba", ["abba", "ab-ba"], ["aba"]),
        ("a?[b]*", ["a?[b]1"], ["axb1"]),
    ],
)
def test_a_pattern_matches_any_characters(monitor, pattern, matching, other):
    """`*` stands for any run of characters, dots included, and nothing else is special."""
    monitor.expect(pattern, 0.0)
    for number, name in enumerate([*matching, *other], start=1):
        FakeSender(monitor, name, number=number).beat(1.0)
    assert {status.name for status in monitor.status(1.0) if status.expected and status.beats} == set(matching)
    assert (pattern in rows(monitor)) == (not matching)


def test_a_pattern_takes_what_is_known_already(monitor):
    """Asked for later, or again after a restart, it has no row of its own."""
    FakeSender(monitor, "worker-7").beat(0.0)
    monitor.expect("worker-*", 1.0)
    assert [(status.name, status.expected) for status in monitor.status(1.0)] == [("worker-7", True)]


def test_what_was_decommissioned_is_forgotten(monitor):
    """A name under all its keys, or a pattern; it comes back only by beating."""
    monitor.expect("gone", 0.0)
    monitor.expect("old-*", 0.0)
    worker = FakeSender(monitor)
    worker.beat(0.0)
    assert monitor.forget("gone")
    assert monitor.forget("old-*")
    assert monitor.forget("worker")
    assert not monitor.forget("worker")
    assert monitor.status(0.0) == []
    assert run(monitor, 1e6) == []
    FakeSender(monitor, "old-1", number=2).beat(1e6)
    assert [status.expected for status in monitor.status(1e6)] == [False]


def test_wrong_names_are_refused(monitor):
    """At the call, and without a trace."""
    for wrong in (7, "a b*", "", "*" * 300):
        with pytest.raises((OptionError, ValueError)):
            monitor.expect(wrong, 0.0)
    full = HeartbeatMonitor(max_senders=1)
    full.expect("a", 0.0)
    with pytest.raises(OptionError):
        full.expect("b-*", 0.0)
    assert not full.forget("b-*")


@pytest.fixture
def memory(tmp_path):
    """A memory without a file yet."""
    return HeartbeatMemory(tmp_path / "heartbeats.json")


def restarted(memory, monitor, now=0.0):
    """Another monitor, that begins with what the one before it knew."""
    snapshot = memory.snapshot(monitor)
    if snapshot is not None:
        memory.write(snapshot)
    again = HeartbeatMonitor()
    assert memory.restore(again, now) == ""
    return again


def test_what_beat_before_a_restart_is_expected_after_it(memory, monitor):
    """Kill what beats, restart the observer: it is missed; what goes on beating is simply heard."""
    dead, alive, other = (FakeSender(monitor, name, number=number) for number, name in enumerate("abc", start=1))
    for one in (dead, alive, other):
        steady(one, 10)
    again = restarted(memory, monitor)
    assert rows(again) == {"a": "unknown", "b": "unknown", "c": "unknown"}
    assert {str(status.verdict.kind) for status in again.status(0.0)} == {"remembered"}
    assert "up before the observer restarted" in str(again.status(0.0)[0].verdict)
    alive.monitor = other.monitor = again
    other.session, other.life, other.number = make_session(9, 100), "another", 0
    assert kinds(alive.beat(0.5)) == [("up", "heard")]
    assert kinds(other.beat(0.6)) == [("up", "restarted")]
    changes = run(again, 100.0)
    assert ("a", HeartbeatState.DOWN) in [(change.name, change.state) for change in changes]


def test_no_alarm_ends_by_a_restart(memory, monitor):
    """What was down or failed is so at once; what stopped is not remembered, unless it is expected."""
    monitor.expect("nightly", 0.0)
    for number, name in enumerate(("down", "failed", "stopped", "nightly"), start=1):
        one = FakeSender(monitor, name, number=number)
        one.beat(0.0)
        if name == "failed":
            one.beat(1.0, ending="failed", reason="ValueError")
        elif name != "down":
            one.beat(1.0, ending="stopped")
    run(monitor, 100.0)
    again = restarted(memory, monitor)
    assert rows(again) == {"down": "down", "failed": "failed", "nightly": "stopped"}
    reasons = {status.name: str(status.verdict) for status in again.status(0.0)}
    assert reasons["failed"] == "failed: ValueError ended it"
    assert "down before" in reasons["down"]
    assert run(again, 1e6) == []
    twice = restarted(memory, again)
    assert rows(twice) == rows(again)


def test_an_expectation_of_the_configuration_meets_the_memory(memory, monitor):
    """A restart of the whole observer: the memory first, then the names and patterns of its configuration."""
    FakeSender(monitor, "worker-7").beat(0.0)
    again = restarted(memory, monitor)
    again.expect("worker-7", 0.0, timeout=7.0)
    again.expect("worker-*", 0.0, timeout=8.0)
    again.expect("db", 0.0)
    assert [(status.name, status.expected) for status in again.status(0.0)] == [("worker-7", True), ("db", True)]


def test_a_snapshot_is_made_only_when_something_changed(memory, monitor):
    """A beat is nothing that is remembered; a new name, a death and a goodbye are."""
    worker = FakeSender(monitor)
    worker.beat(0.0)
    memory.write(memory.snapshot(monitor))
    worker.beat(1.0)
    assert memory.snapshot(monitor) is None
    run(monitor, 100.0)
    assert memory.snapshot(monitor) is not None


def test_a_forgotten_one_is_forgotten_over_a_restart(memory, monitor):
    """What `forget` took out is not in the next snapshot."""
    FakeSender(monitor).beat(0.0)
    memory.write(memory.snapshot(monitor))
    monitor.forget("worker")
    assert rows(restarted(memory, monitor)) == {}


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other", "deep", "bytes", "form"])
def test_a_corrupt_file_costs_the_expectation_and_says_so(memory, monitor, tmp_path, damage):
    """Whatever is in it: nothing is believed of it, it is kept beside, and the next one is written."""
    FakeSender(monitor).beat(0.0)
    memory.write(memory.snapshot(monitor))
    path = tmp_path / "heartbeats.json"
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[:-9],
            "flipped": content.replace(b"worker", b"walker"),
            "empty": b"",
            "other": b'{"format": "something else"}',
            "deep": b"[" * 100_000,
            "bytes": bytes(range(256)),
            "form": content.replace(b"heartbeats 1", b"heartbeats 9"),
        }[damage]
    )
    again = HeartbeatMonitor()
    problem = HeartbeatMemory(path).restore(again, 0.0)
    assert "are lost" in problem
    assert "corrupt" in problem
    assert again.status(0.0) == []
    assert not path.exists()
    assert (tmp_path / "heartbeats.json.corrupt").exists()


def test_a_file_that_cannot_be_read_says_so_and_nothing_waits(tmp_path, monitor):
    """A folder, or a FIFO that nobody writes to."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (tmp_path, fifo):
        assert "are lost" in HeartbeatMemory(path).restore(monitor, 0.0)
    assert HeartbeatMemory(tmp_path / "none").restore(monitor, 0.0) == ""


def test_a_bad_row_costs_one_row(memory, monitor):
    """Rows that another version wrote, or that there is no room for."""
    good = RememberedHeartbeat("good", 0, 1.0, None, HeartbeatState.UP, "", "life", expected=False)
    wrong = [
        RememberedHeartbeat("a b", 0, 1.0, None, HeartbeatState.UP, "", "", expected=False),
        RememberedHeartbeat("short", 0, -1.0, None, HeartbeatState.UP, "", "", expected=False),
        RememberedHeartbeat("early", 0, 1.0, 1.5, HeartbeatState.UP, "", "", expected=False),
        good,
    ]
    assert HeartbeatMonitor(max_senders=1).restore([good, *wrong], 0.0) == 4
    FakeSender(monitor).beat(0.0)
    memory.write(memory.snapshot(monitor))
    assert memory.restore(monitor, 0.0) == f"1 of 1 heartbeats in {memory._path} could not be restored"


def test_a_write_that_fails_leaves_the_file_before_it(memory, monitor, tmp_path):
    """A full disk, or here a folder that is gone: an error, and nothing half."""
    FakeSender(monitor).beat(0.0)
    memory.write(memory.snapshot(monitor))
    path = tmp_path / "heartbeats.json"
    assert json.loads(path.read_text())["heartbeats"][0]["name"] == "worker"
    assert [entry.name for entry in tmp_path.iterdir()] == ["heartbeats.json"]
    with pytest.raises(FileNotFoundError):
        HeartbeatMemory(tmp_path / "gone" / "x").write(b"[]")


def test_a_restart_of_many_is_quick(monitor, memory):
    """Thousands of names are taken over in one go; the file stays small."""
    for number in range(4096):
        FakeSender(monitor, f"worker-{number}", number=number + 1).beat(0.0)
    again = restarted(memory, monitor)
    assert len(again.status(0.0)) == 4096
    assert Path(memory._path).stat().st_size < 4096 * 200


def test_two_that_beat_under_one_name_are_a_conflict(monitor):
    """Both hosts go on: seen after two beats of the other one, named, and over when it is gone."""
    old, new = FakeSender(monitor, number=1, start=0), FakeSender(monitor, number=2, start=10)
    steady(old, 10)
    changes = []
    for turn in range(10, 20):
        changes += run(monitor, turn)
        changes += new.beat(turn)
        changes += old.beat(turn + 0.5)
    assert kinds(changes) == [("up", "restarted"), ("up", "conflict")]
    assert changes[-1].at == 11.5
    assert "sender-1 (process 4242 on host) beats under the same name" in str(changes[-1].verdict)
    [status] = monitor.status(20.0)
    assert status.conflict == "sender-1 (process 4242 on host)"
    assert status.conflicts == 10
    for turn in range(20, 30):
        changes += new.beat(turn)
    assert kinds(changes)[2:] == [("up", "heard")]
    assert monitor.status(30.0)[0].conflict == ""


def test_two_heartbeats_of_one_name_in_one_process_are_a_conflict(monitor):
    """Over one sender they share its session: the lives tell them apart, and it is no row of restarts."""
    worker = FakeSender(monitor)
    lives = {"a": 0, "b": 0}
    changes = []
    for turn in range(20):
        worker.life = "ab"[turn % 2]
        worker.number = lives[worker.life]
        changes += worker.beat(turn / 2)
        lives[worker.life] += 1
    assert kinds(changes) == [("up", "first"), ("up", "restarted"), ("up", "conflict")]
    assert monitor.status(10.0)[0].restarts == 1


def test_late_beats_of_the_life_before_are_no_conflict(monitor):
    """After a restart what the old one had sent comes at once, and then no more; nor does its goodbye stop the new one."""
    old, new = FakeSender(monitor, number=1, start=0), FakeSender(monitor, number=2, start=10)
    steady(old, 8)
    late = [old.message(8.0 + turn) for turn in range(3)]
    bye = old.message(11.0, ending="stopped")
    changes = new.beat(11.0)
    for turn, message in enumerate([*late, bye]):
        changes += old.deliver(message, 11.1 + turn / 100)
    changes += new.beat(12.0)
    assert kinds(changes) == [("up", "restarted")]
    assert monitor.status(12.0)[0].conflict == ""


def test_the_other_one_takes_over_when_the_present_one_ends(monitor):
    """The name is never without its living one."""
    old, new = FakeSender(monitor, number=1, start=0), FakeSender(monitor, number=2, start=10)
    old.beat(0.0)
    new.beat(10.0)
    assert kinds(new.beat(10.5, ending="stopped")) == [("stopped", "stopped")]
    assert kinds(old.beat(11.0)) == [("up", "restarted")]
    assert monitor.status(11.0)[0].conflict == ""


def test_missed_beats_flaps_and_the_longest_silence_are_counted(monitor):
    """Missed is whatever did not come in time, lost or not beaten, each once; a flap is a return from `down` or `failed`."""
    worker = FakeSender(monitor)
    now = steady(worker, 600)
    for turn in range(3):
        worker.lose(now + turn)
    run(monitor, now + 3)
    assert monitor.status(now + 2.9)[0].missed == 3
    worker.beat(now + 3)
    [status] = monitor.status(now + 3)
    assert (status.missed, status.lost, status.flaps) == (3, 3, 1)
    assert status.longest_silence == pytest.approx(4.0)
    worker.beat(now + 4, ending="failed")
    run(monitor, now + 1000)
    [status] = monitor.status(now + 1000)
    assert (status.missed, status.longest_silence) == (3, pytest.approx(4.0))
    worker.life, worker.number = "again", 0
    worker.beat(now + 1000)
    assert (monitor.status(now + 1000)[0].flaps, monitor.status(now + 1000)[0].missed) == (2, 3)


def test_missed_never_falls(monitor):
    """It is a counter: also while the observer excuses itself, and however often it is asked for."""
    worker = FakeSender(monitor)
    steady(worker, 20)
    seen = []
    for moment in (21.0, 24.2, 24.3, 60.0, 61.0, 61.5, 70.0, 200.0):
        monitor.tick(moment)
        seen.append(monitor.status(moment)[0].missed)
        seen.append(monitor.status(moment)[0].missed)
    assert seen == sorted(seen)
    assert seen[-1] > 100


@pytest.mark.parametrize("timeout", [1.7e308, float(2**1023), 4e7])
def test_a_timeout_beyond_all_bounds_is_no_beat(monitor, timeout):
    """It raises nothing; what is within bounds is kept, however long."""
    worker = FakeSender(monitor, interval=0.01)
    assert worker.beat(0.0, timeout=timeout) == []
    assert monitor.stats().malformed == 1
    worker.beat(1.0, timeout=366 * 86_400.0)
    assert monitor.status(1.0)[0].down_after == 366 * 86_400.0
    with pytest.raises(OptionError, match="at most 31,622,400"):
        monitor.expect("x", 0.0, timeout=timeout)


def test_names_beyond_the_limit_cost_no_search():
    """A flood of names at a full monitor does not look at everybody for each of them."""
    monitor = HeartbeatMonitor(max_senders=4096)
    for number in range(4096):
        FakeSender(monitor, f"w{number}", number=number + 1).beat(0.0)
    flood = FakeSender(monitor, "flood", number=9999)
    calls = 0

    def count(_frame, _event, _argument):
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        for number in range(200):
            flood.name = f"flood-{number}"
            flood.beat(1.0)
    finally:
        sys.setprofile(None)
    assert calls < 200 * 4096 / 4  # a search calls something for each
    assert monitor.stats().sender_limit == 200


def test_verdict_of_a_conflict_and_of_memory_have_words():
    """Names of others are made harmless."""
    from atmost.heartbeats import HeartbeatVerdict

    assert "another process beats" in str(HeartbeatVerdict(HeartbeatVerdictKind.CONFLICT))
    assert r"\x1b" in str(HeartbeatVerdict(HeartbeatVerdictKind.CONFLICT, reason="\x1b[2J"))
    assert "it beat before" in str(HeartbeatVerdict(HeartbeatVerdictKind.REMEMBERED))
