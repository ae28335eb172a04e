"""`atmost run` and `atmost beat`: real commands, real signals, and what a receiver makes of them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from atmost import HeartbeatMonitor, LogReader, Receiver
from atmost.heartbeats import HeartbeatState, read_beat
from atmost.logs import LogRecord
from tests.real import BOUND, environment, until


class Watching:
    """A receiver, and what a monitor and a reader make of it."""

    def __init__(self, receiver):
        self.receiver = receiver
        self.url = receiver.url
        self.monitor = HeartbeatMonitor()
        self.reader = LogReader(now=time.monotonic())
        self.beats = []
        self.changes = []
        self.records = []

    def look(self):
        while (event := self.receiver.next_event(0)) is not None:
            now = time.monotonic()
            self.changes += self.monitor.feed(event, now)
            self.records += [one for one in self.reader.feed(event, now) if isinstance(one, LogRecord)]
            if getattr(event, "subject", "").startswith("heartbeats."):
                self.beats.append(read_beat(event.payload))

    def until(self, condition):
        def met():
            self.look()
            return condition()

        until(met)

    def state(self, name):
        self.until(lambda: self.monitor.state(name) is not None)
        return self.monitor.state(name)


@pytest.fixture
def watching():
    """Somebody who watches, on a free port."""
    with Receiver("udp://127.0.0.1:0") as receiver:
        yield Watching(receiver)


def test_a_command_that_succeeds(run, watching):
    """Its output is passed on as it is, its status is ours; start, duration, status and tail are a log record each."""
    code = "import sys; print('one'); print('two', file=sys.stderr); print('three' * 3)"
    done = run("run", "--url", watching.url, "--name", "job", "--tail", "2", "--", sys.executable, "-c", code)
    assert (done.status, done.out, done.err) == (0, "one\nthreethreethree\n", "two\n")
    watching.until(lambda: len(watching.records) == 2)
    first, last = watching.records
    assert (first.level, first.message, first.subject) == ("INFO", "job started", "logs.run.job")
    assert first.fields["pid"] > 0
    assert last.message.startswith("job ended after ")
    assert last.message.endswith(" s: exit status 0")
    assert (last.fields["status"], last.fields["command"]) == (0, Path(sys.executable).name)
    assert 0 < last.fields["duration"] < BOUND
    assert len(last.fields["tail"].splitlines()) == 2
    watching.until(lambda: watching.monitor.state("job") is HeartbeatState.STOPPED)
    assert watching.reader.sources()[0].closed


def test_lines_of_two_outputs_are_not_joined(run, watching):
    """A line that comes in pieces is whole in the tail, whatever the other output says in the middle of it."""
    code = (
        "import os, time\n"
        "for number, piece in ((1, b'one '), (2, b'other\\n'), (1, b'line\\n'), (2, b'unfinished')):\n"
        "    os.write(number, piece)\n"
        "    time.sleep(0.1)"
    )
    done = run("run", "--url", watching.url, "--name", "job", "--tail", "5", "--", sys.executable, "-c", code)
    assert done.status == 0
    watching.until(lambda: len(watching.records) == 2)
    assert sorted(watching.records[1].fields["tail"].splitlines()) == ["one line", "other", "unfinished"]


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("import sys; print('before the end'); sys.exit(3)", 3, "exit status 3"),
        ("import sys; sys.exit('cannot connect')", 1, "exit status 1"),
        ("import os; os.kill(os.getpid(), 11)", 128 + 11, "SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", 128 + 9, "SIGKILL"),
    ],
)
def test_a_command_that_fails(run, watching, code, status, reason):
    """The heartbeat is failed with the reason, the record an ERROR with the end of its output, and the status the command's."""
    done = run("run", "--url", watching.url, "--name", "job", "--", sys.executable, "-c", code)
    assert done.status == status
    watching.until(lambda: watching.monitor.state("job") is HeartbeatState.FAILED)
    assert watching.monitor.status(0.0)[0].verdict.reason == reason
    watching.until(lambda: len(watching.records) == 2)
    last = watching.records[1]
    assert (last.level, last.message.split(": ")[1]) == ("ERROR", reason)
    if "before" in code:
        assert last.fields["tail"] == "before the end"


@pytest.mark.parametrize(("program", "status"), [("no-such-program-anywhere", 127), ("/dev/null", 126)])
def test_a_command_that_cannot_be_run(run, watching, program, status):
    """As shells have it, with one line that says why; and the heartbeat has failed."""
    done = run("run", "--url", watching.url, "--name", "job", "--", program)
    assert done.status == status
    assert done.err.startswith(f"atmost: cannot run {Path(program).name}: ")
    assert done.err.count("\n") == 1
    watching.until(lambda: watching.monitor.state("job") is HeartbeatState.FAILED)


WAITING = """
import os, signal, sys, time
def take(number, frame):
    os.write(1, b"got %b\\n" % signal.Signals(number).name.encode())  # also in the middle of another's writing
    if number != signal.SIGUSR1:
        sys.exit(7 if number == signal.SIGHUP else 0)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, take)
os.write(1, b"ready\\n")
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("number", "status", "state"),
    [
        (signal.SIGTERM, 0, HeartbeatState.STOPPED),
        (signal.SIGINT, 0, HeartbeatState.STOPPED),
        (signal.SIGHUP, 7, HeartbeatState.FAILED),
    ],
)
def test_signals_are_passed_on(start, watching, number, status, state):
    """What the command makes of them is its affair; its status is ours."""
    command = start("run", "--url", watching.url, "--name", "job", "--", sys.executable, "-c", WAITING)
    command.prints(1)
    command.process.send_signal(signal.SIGUSR1)
    command.prints(2)
    done = command.end(number)
    assert done.status == status
    assert done.out.split("\n")[1:3] == ["got SIGUSR1", f"got {number.name}"]
    watching.until(lambda: watching.monitor.state("job") is state)


def test_a_command_that_is_told_to_stop_and_dies_of_it_has_stopped(start, watching):
    """SIGTERM with nobody to take it: no failure, and the status that shells give."""
    code = "print('ready', flush=True); import time; time.sleep(60)"
    command = start("run", "--url", watching.url, "--name", "job", "--", sys.executable, "-c", code)
    command.prints(1)
    assert command.end(signal.SIGTERM).status == 128 + 15
    watching.until(lambda: watching.monitor.state("job") is HeartbeatState.STOPPED)
    watching.until(lambda: len(watching.records) == 2)
    assert watching.records[1].message.endswith(": told to stop")


def test_it_beats_while_the_command_runs(start, watching):
    """Up for as long as it takes, and then gone."""
    code = "print('ready', flush=True); input()"
    command = start(
        *("run", "--url", watching.url, "--name", "job", "--interval", "0.05", "--", sys.executable, "-c", code),
        stdin=subprocess.PIPE,
    )
    command.prints(1)
    watching.until(lambda: len(watching.beats) >= 5)
    assert watching.monitor.state("job") is HeartbeatState.UP
    command.write(b"\n")
    assert command.wait().status == 0
    watching.until(lambda: watching.monitor.state("job") is HeartbeatState.STOPPED)


def test_a_killed_run_goes_down(start, watching):
    """Nothing can be said by what is killed: its silence is."""
    code = "print('ready', flush=True); input()"
    command = start(
        *("run", "--url", watching.url, "--name", "job", "--interval", "0.05", "--timeout", "0.3", "--"),
        *(sys.executable, "-c", code),
        stdin=subprocess.PIPE,
    )
    command.prints(1)
    watching.until(lambda: watching.monitor.state("job") is HeartbeatState.UP)
    command.process.kill()
    command.close_input()

    def down():
        watching.changes += watching.monitor.tick(time.monotonic())
        return watching.monitor.state("job") is HeartbeatState.DOWN

    watching.until(down)


def test_nothing_of_the_network_changes_a_run(run):
    """Nobody receives: the command runs, and its status is ours."""
    done = run("run", "--url", "udp://127.0.0.1:9", "--", sys.executable, "-c", "print('done')")
    assert (done.status, done.out, done.err) == (0, "done\n", "")


def test_the_commands_own_output_is_untouched_without_a_tail(run, watching):
    """`--tail 0`: no pipe between; nothing of it is sent."""
    code = "import os; print(os.fstat(1).st_ino == int(os.environ['INODE']) or 'same')"
    read, write = os.pipe()
    try:
        inode = os.fstat(write).st_ino
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "atmost",
                "run",
                "--url",
                watching.url,
                "--name",
                "j",
                "--tail",
                "0",
                "--",
                sys.executable,
                "-c",
                code,
            ],
            stdout=write,
            env=environment(INODE=str(inode)),
            check=False,
            timeout=2 * BOUND,
        )
        os.close(write)
        write = -1
        assert (done.returncode, os.read(read, 100)) == (0, b"True\n")
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)
    watching.until(lambda: len(watching.records) == 2)
    assert "tail" not in watching.records[1].fields


def beside(watching, code):
    """Run a program under `atmost run` beside the test; its output is a pipe."""
    watched = ["-m", "atmost", "run", "--url", watching.url, "--name", "job", "--", sys.executable, "-c", code]
    return subprocess.Popen([sys.executable, *watched], stdout=subprocess.PIPE, env=environment())


def test_output_that_nobody_reads_does_not_end_the_command(watching, tmp_path):
    """The reader of our output goes away: the command finishes its work."""
    done_file = tmp_path / "done"
    code = f"import time\nfor _ in range(2000): print('x' * 100, flush=True)\nopen({str(done_file)!r}, 'w').close()"
    process = beside(watching, code)
    process.stdout.close()
    assert process.wait(2 * BOUND) == 0
    assert done_file.exists()


def test_what_goes_on_in_the_background_holds_nobody_up(run, watching):
    """A grandchild that keeps the pipe open: the run ends with its command."""
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "print(child.pid)\n"
    )
    process = beside(watching, code)
    child = int(process.stdout.readline())
    try:
        assert process.wait(BOUND) == 0
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_arguments_are_not_sent(run, watching):
    """A password on the command line stays on this host."""
    run("run", "--url", watching.url, "--", sys.executable, "-c", "pass", "--password=hunter2")
    watching.until(lambda: len(watching.records) == 2)
    assert "hunter2" not in repr([record.fields for record in watching.records])
    assert watching.records[0].sender == Path(sys.executable).name


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["run", "--interval", "0", "true"], ["run", "--name", "a b", "true"], ["run", "--timeout", "1", "true"]],
)
def test_misuse_of_run(commands, arguments):
    """One line, status 2, and nothing is started."""
    done = commands(*arguments)
    assert done.status == 2
    assert done.err.startswith("atmost: ")
    assert done.err.count("\n") == 1


def test_beats_one_at_a_time(run, watching):
    """Each from a process of its own: up, with no restarts and no loss; the end of the process is not the end of the job."""
    for _ in range(3):
        assert run("beat", "backup", "--interval", "60", "--url", watching.url).status == 0
    watching.until(lambda: watching.monitor.state("backup") is HeartbeatState.UP and len(watching.beats) >= 9)
    [status] = watching.monitor.status(time.monotonic())
    assert (status.state, status.restarts, status.lost, status.conflict) == (HeartbeatState.UP, 0, 0, "")
    assert status.down_after == 210
    assert [str(change.verdict.kind) for change in watching.changes] == ["first"]
    assert run("beat", "backup", "--fail", "disk full", "--url", watching.url).status == 0
    watching.until(lambda: watching.monitor.state("backup") is HeartbeatState.FAILED)
    assert watching.monitor.status(0.0)[0].verdict.reason == "disk full"
    assert run("beat", "backup", "--url", watching.url).status == 0
    watching.until(lambda: watching.monitor.state("backup") is HeartbeatState.UP)
    assert run("beat", "backup", "--stop", "--url", watching.url).status == 0
    watching.until(lambda: watching.monitor.state("backup") is HeartbeatState.STOPPED)


def test_a_script_that_stops_calling_goes_down(run, watching):
    """After the time it gave, without any further word."""
    run("beat", "backup", "--interval", "0.1", "--timeout", "0.3", "--url", watching.url)

    def down():
        watching.changes += watching.monitor.tick(time.monotonic())
        return watching.monitor.state("backup") is HeartbeatState.DOWN

    watching.until(down)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_beats_that_are_kept_up_until_a_signal(start, watching, number):
    """In the background of a script: up until it is ended, then stopped."""
    command = start("beat", "worker", "--keep", "--interval", "0.05", "--url", watching.url)
    watching.until(lambda: len(watching.beats) >= 4)
    assert watching.monitor.state("worker") is HeartbeatState.UP
    assert command.end(number).status == 0
    watching.until(lambda: watching.monitor.state("worker") is HeartbeatState.STOPPED)


def test_a_beat_that_cannot_leave(run):
    """Status 1, and one line that says what to do."""
    done = run("beat", "worker", "--url", "udp://127.0.0.1:9")
    assert done.status == 1
    assert "nobody receives" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["a b"],
        ["w", "--keep", "--stop"],
        ["w", "--fail", "x", "--stop"],
        ["w", "--interval", "0"],
        ["w", "--timeout", "1"],
    ],
)
def test_misuse_of_beat(commands, arguments):
    """One line, and status 2."""
    done = commands("beat", *arguments)
    assert done.status == 2
    assert done.err.count("\n") == 1
