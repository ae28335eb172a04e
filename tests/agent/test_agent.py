"""What the agent sends and when: readings, heartbeats, and the lines of followed files."""

import os
from collections import Counter

import msgspec
import pytest

import atmost
from atmost.agent.agent import Agent
from atmost.agent.follow import Follower, FollowOptions
from atmost.errors import PayloadTooLarge

STEP = 0.25


class Recorder:
    """Takes the place of a sender; refuses, as a sender does, what is larger than its limit."""

    def __init__(self, name="checkout-1", limit=1 << 16):
        self.name = name
        self.limit = limit
        self.sent = []

    def send(self, subject, payload=None):
        size = len(msgspec.msgpack.encode((subject, payload)))
        if size > self.limit:
            raise PayloadTooLarge(size, self.limit)
        self.sent.append((subject, payload))
        return True

    def on(self, prefix):
        """The payloads sent on subjects that begin so."""
        return [payload for subject, payload in self.sent if subject.startswith(prefix)]


class Working:
    """An agent whose time only moves when it is told to."""

    def __init__(self, *paths, interval=1.0, **recorder):
        self.now = 100.0
        self.sender = Recorder(**recorder)
        self.notices = []
        logs = [Follower(path, FollowOptions(from_start=True)) for path in paths]
        self.agent = Agent(self.sender, self.now, interval=interval, logs=logs, notice=self.notices.append)

    def pass_time(self, seconds):
        """Take a turn whenever the agent asked for one, until so much time has passed."""
        end = self.now + seconds
        while self.now < end:
            wait = self.agent.turn(self.now)
            assert wait >= 0
            self.now += max(wait, 0.001)

    @property
    def lines(self):
        """The log lines sent so far."""
        return [payload["message"] for payload in self.sender.on("logs.")]


@pytest.fixture
def working():
    """A function that makes an agent; its files are closed at the end."""
    made = []

    def make(*paths, **options):
        made.append(Working(*paths, **options))
        return made[-1]

    yield make
    for one in made:
        one.agent.close()


def test_a_heartbeat_comes_at_once_and_then_every_interval(working):
    """Numbered, with its interval, so that a lost one can be told from a late one."""
    it = working(interval=2.0)
    assert [subject for subject, _ in it.sender.sent] == ["heartbeats.checkout-1"]
    it.pass_time(9.0)
    beats = it.sender.on("heartbeats.")
    assert [beat["number"] for beat in beats] == [0, 1, 2, 3, 4]
    assert [beat["uptime"] for beat in beats] == pytest.approx([0, 2, 4, 6, 8], abs=0.05)
    assert {beat["interval"] for beat in beats} == {2.0}


def test_the_heartbeats_subject_is_made_of_the_name(working):
    """A name may hold anything, one token of a subject may not."""
    it = working(name="Büro 7.east/\x1b")
    ((subject, _),) = it.sender.sent
    assert subject == "heartbeats.b_ro_7_east"


def test_readings_of_this_host_come_every_interval(working):
    """The first after one interval: a rate needs two looks; each reading is a number on a subject of its own."""
    it = working()
    assert not it.sender.on("metrics.")
    it.pass_time(3.5)
    counts = Counter(subject for subject, _ in it.sender.sent if subject.startswith("metrics."))
    assert counts["metrics.memory.utilization"] == 3
    assert len(counts) > 3
    assert all(isinstance(value, (int, float)) for value in it.sender.on("metrics."))


def test_after_a_pause_there_is_one_reading_and_the_rhythm_of_before(working):
    """A laptop that slept sends no burst of stale readings."""
    it = working()
    it.pass_time(1.5)
    it.now = 160.25
    it.agent.turn(it.now)
    assert len(it.sender.on("metrics.memory.utilization")) == 2
    assert it.agent.turn(it.now) == pytest.approx(0.75)
    it.now = 161.0
    it.agent.turn(it.now)
    assert len(it.sender.on("metrics.memory.utilization")) == 3


def test_the_wait_is_until_whatever_is_next(working, tmp_path):
    """Without files the next reading, with files the next look; never negative."""
    assert working(interval=5.0).agent.turn(100.0) == pytest.approx(5.0)
    it = working(tmp_path / "app.log", interval=5.0)
    assert it.agent.turn(100.0) == pytest.approx(0.2)
    assert it.agent.turn(100.15) == pytest.approx(0.05)
    assert it.agent.turn(300.0) == pytest.approx(0.2)


def test_lines_are_sent_on_a_subject_made_of_the_files_name(working, tmp_path):
    """Each line a message with the file it stands in; two files keep apart."""
    first, second = tmp_path / "app.log", tmp_path / "Access Log.1.txt"
    first.write_text("one\ntwo\n")
    second.write_text("three\n")
    it = working(first, second)
    it.pass_time(STEP)
    assert [sent for sent in it.sender.sent if sent[0].startswith("logs.")] == [
        ("logs.app", {"message": "one", "file": "app.log"}),
        ("logs.app", {"message": "two", "file": "app.log"}),
        ("logs.access_log_1", {"message": "three", "file": "Access Log.1.txt"}),
    ]


def test_a_file_that_is_not_there_yet_is_waited_for(working, tmp_path):
    """It is told once, and followed from its first line when it appears."""
    path = tmp_path / "later.log"
    it = working(path)
    it.pass_time(3.0)
    assert it.notices == [f"{path}: waiting (it is followed as soon as it exists)"]
    path.write_text("first\n")
    it.pass_time(STEP)
    assert it.lines == ["first"]
    assert it.notices[1:] == [f"{path}: found"]


def test_rotation_loses_no_line_and_is_told(working, tmp_path):
    """The old file to its end, then the new one."""
    path = tmp_path / "app.log"
    path.write_text("one\n")
    it = working(path)
    it.pass_time(STEP)
    with path.open("a") as log:
        log.write("two\n")
    path.rename(tmp_path / "app.log.1")
    path.write_text("three\n")
    it.pass_time(3.0)
    assert it.lines == ["one", "two", "three"]
    assert it.notices == [f"{path}: rotated"]


def test_a_file_that_was_cut_tells_how_much_was_not_read(working, tmp_path):
    """What is known to be lost is said, in bytes."""
    path = tmp_path / "app.log"
    path.write_text("one\n")
    it = working(path)
    it.pass_time(STEP)
    path.write_text("2\n")
    it.pass_time(STEP)
    assert it.lines == ["one", "2"]
    assert it.notices == [f"{path}: truncated"]


def test_the_last_words_are_sent_when_it_closes(working, tmp_path):
    """What is written by then, a line without an end included."""
    path = tmp_path / "app.log"
    path.write_text("one\n")
    it = working(path)
    it.pass_time(STEP)
    with path.open("a") as log:
        log.write("two\nunfinish")
    it.agent.close()
    assert it.lines == ["one", "two", "unfinish"]


def test_a_line_beyond_the_followers_limit_says_so(working, tmp_path):
    """Its head is sent, with the length it has."""
    path = tmp_path / "app.log"
    path.write_text("x" * 70_000 + "\n")
    it = working(path, limit=200_000)
    it.pass_time(STEP)
    (payload,) = it.sender.on("logs.")
    assert len(payload.pop("message")) == 65_536
    assert payload == {"file": "app.log", "truncated": True, "original_bytes": 70_000}


@pytest.mark.parametrize("limit", [441, 1365])
@pytest.mark.parametrize("letter", ["x", "é", "日", "😀"])
@pytest.mark.parametrize("stem", ["app", "long" * 60])
def test_a_line_beyond_a_datagram_is_cut_to_fit(working, tmp_path, limit, letter, stem):
    """Between characters, down to the smallest datagram and the longest file name; the next line follows."""
    path = tmp_path / f"{stem}.log"
    path.write_text(letter * 3000 + "\nnext\n", encoding="utf-8")
    it = working(path, limit=limit)
    it.pass_time(STEP)
    long, following = it.sender.on("logs.")
    assert long["truncated"] is True
    assert long["original_bytes"] == 3000 * len(letter.encode())
    assert set(long["message"]) <= {letter}
    assert following["message"] == "next"


def test_a_file_called_by_bytes_that_are_no_text(working, tmp_path):
    """Such a name cannot travel as it is; its lines still do."""
    path = tmp_path / os.fsdecode(b"caf\xe9.log")
    try:
        path.write_text("one\n")
    except OSError:
        pytest.skip("this file system takes no such name")
    it = working(path)
    it.pass_time(STEP)
    assert it.sender.on("logs.") == [{"message": "one", "file": "caf?.log"}]


def test_over_a_real_sender_everything_arrives():
    """In memory: what the agent counts as sent is what a receiver is given, in order."""
    with atmost.Receiver("memory://agent") as receiver, atmost.Sender("memory://agent", name="host-1") as sender:
        agent = Agent(sender, 0.0, interval=1.0, logs=[], notice=lambda _text: None)
        for now in (0.5, 1.0, 2.0, 3.0):
            agent.turn(now)
        agent.close()
        sender.flush()
        messages = []
        while (message := receiver.receive(0)) is not None:
            messages.append(message)
        assert len(messages) == sender.stats().offered
    beats = [message.payload["number"] for message in messages if message.subject == "heartbeats.host-1"]
    assert beats == [0, 1, 2, 3]
    assert all(message.session.name == "host-1" for message in messages)
