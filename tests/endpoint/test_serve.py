"""`serve`: receives until it is told to end, and returns the account; in this process or in several."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from atmost import AddressInUse, Ledger, MergedLedger, OptionError, Receiver, Sender, serve
from atmost.endpoint import serve as module
from tests.endpoint.crew import START, Hand, is_gone, transmit
from tests.real import BOUND, environment, until

PROGRAM = """
import dataclasses, json, os, sys, time
import atmost
from atmost.endpoint import worker

worker._ORPHAN_PATIENCE = 0.01

def handle(message):
    os.write(1, json.dumps({"pid": os.getpid(), "payload": message.payload}).encode() + b"\\n")
    if message.payload == "hang":
        time.sleep(600)
    if message.payload == "forward":
        atmost.Sender(sys.argv[2], name="in-worker", linger=10).send("s", "from a worker")

print("in the buffer")  # when the workers are forked
ledger = atmost.serve(handle, sys.argv[1], workers=int(sys.argv[3]), future_bound=0.01, clock_guard=0.02)
print(json.dumps(dataclasses.asdict(ledger)))
"""


class Service:
    """A program that serves, in a process group of its own as a terminal would give it."""

    def __init__(self, process, url):
        self.process = process
        self.url = url

    def line(self):
        """Return the next line it prints, read without waiting for ever."""
        got = b""
        while not got.endswith(b"\n"):
            assert select.select([self.process.stdout], [], [], BOUND)[0], "it said nothing"
            one = os.read(self.process.stdout.fileno(), 1)
            assert one, f"it ended after {got!r}"
            got += one
        return got.decode().rstrip("\n")

    def processed(self):
        """Return what it says of the next message."""
        said = json.loads(self.line())
        return said["pid"], said["payload"]

    def account(self):
        """Return its exit status, what else it printed, and the account."""
        *others, account = self.process.stdout.read().decode().splitlines()
        return self.process.wait(BOUND), others, json.loads(account)


@contextmanager
def service(workers=2, url=None, forward_to="udp://127.0.0.1:9"):
    """Start a program that serves at a port that is free now; nothing of it outlives the test."""
    if url is None:
        with Receiver("udp://127.0.0.1:0", **START) as receiver:
            url = receiver.url
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url, forward_to, str(workers)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            started = Service(process, url)
            assert started.line() == "in the buffer"
            yield started
        finally:
            process.kill()


def both_work(started):
    """Send to both workers until each has processed something; return the payloads, by process."""
    done = {}
    number = 0

    def send():
        nonlocal number
        number += 1
        transmit(started.url, [Hand(2 * number).next(), Hand(2 * number + 1).next()])
        while select.select([started.process.stdout], [], [], 0.02)[0]:
            pid, payload = started.processed()
            done.setdefault(pid, []).append(payload)
        return len(done) == 2

    until(send)
    return done


@pytest.mark.needs("linux")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_of_them_ends_with_the_merged_account(number):
    """Ctrl-C reaches the workers too, and SIGTERM does where a service manager stops a whole group: the account is complete."""
    with service() as started:
        done = both_work(started)
        os.killpg(started.process.pid, number)
        status, others, account = started.account()
        assert status == 0
        assert started.process.stderr.read() == b""
    handled = sum(map(len, done.values())) + len(others)
    assert "in the buffer" not in others
    assert account["delivered"] == handled == len(account["sessions"])
    assert (account["queued"], account["pending"], account["lost"], account["killed"]) == (0, 0, 0, 0)
    assert account["datagrams_in"] == account["accepted"] + sum(account["refused"].values())
    assert set(account["refused"]) <= {"boot_quarantine"}
    assert all(is_gone(pid) for pid in done)


@pytest.mark.needs("linux")
def test_h2_workers_end_when_their_keeper_is_killed():
    """H2: nobody is left to receive at the address, and it is free again."""
    with service() as started:
        pids = list(both_work(started))
        started.process.kill()
        for pid in pids:
            until(lambda pid=pid: is_gone(pid))
        with Receiver(started.url, **START):
            pass


@pytest.mark.needs("linux")
def test_h2_as_long_as_a_worker_of_a_killed_keeper_lives_nobody_else_receives():
    """H2: a worker that cannot end yet still holds the address."""
    with service() as started:
        pids = list(both_work(started))
        os.kill(pids[0], signal.SIGSTOP)
        started.process.kill()
        until(lambda: is_gone(pids[1]))
        for workers in (1, 2):
            with pytest.raises(AddressInUse):
                serve(print, started.url, workers=workers)
        os.kill(pids[0], signal.SIGCONT)
        until(lambda: is_gone(pids[0]))


@pytest.mark.needs("linux")
def test_h2_a_handler_that_hangs_does_not_keep_the_address_of_a_killed_keeper():
    """H2: a worker without its keeper gives its handler some time, and then ends."""
    with service() as started, Sender(started.url) as sender:
        pids = list(both_work(started))
        sender.send("s", "hang")
        until(lambda: started.processed()[1] == "hang")
        started.process.kill()
        for pid in pids:
            until(lambda pid=pid: is_gone(pid))


@pytest.mark.needs("linux")
def test_a_sender_in_a_handler_says_goodbye():
    """What a handler has sent and was still waiting for company leaves when its worker ends."""
    with Receiver("udp://127.0.0.1:0", **START) as receiver, service(forward_to=receiver.url) as started:
        both_work(started)
        with Sender(started.url) as sender:
            sender.send("s", "forward")
        until(lambda: started.processed()[1] == "forward")
        started.process.send_signal(signal.SIGINT)
        assert receiver.receive(BOUND).payload == "from a worker"
        until(lambda: (receiver.receive(0), receiver.ledger().sessions[0].tail == "closed")[1])
        assert started.account()[0] == 0


@pytest.mark.parametrize("url", ["memory://serve", "udp://127.0.0.1:0"])
def test_one_worker_is_this_process(url, monkeypatch):
    """With one worker any address will do, and the handler may keep what it gets; SIGTERM ends it, and what has arrived is handled."""
    handled, made, stop = [], [], threading.Event()

    class Seen(module.Intake):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(module, "Intake", Seen)

    def handle(message):
        handled.append((os.getpid(), message.payload))
        if len(handled) == 3:
            stop.set()
            signal.raise_signal(signal.SIGTERM)

    def send():
        with Sender(until(lambda: made and made[0].inlet.url)) as sender:
            while not stop.wait(0.005):
                sender.send("s", "again")

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    sending = threading.Thread(target=send)
    sending.start()
    ledger = serve(handle, url, **START)
    sending.join(BOUND)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert type(ledger) is Ledger
    assert ledger.balanced()
    assert ledger.delivered == len(handled) >= 3
    assert set(handled) == {(os.getpid(), "again")}


@pytest.mark.needs("linux")
def test_several_workers_in_this_process_return_a_merged_account():
    """The function itself, ended by a signal like a service; the signal's handlers are as before."""
    ending = threading.Timer(0, signal.raise_signal, [signal.SIGTERM])
    before = signal.getsignal(signal.SIGTERM)

    class Late(module.Workers):
        def supervise(self, *arguments):
            super().supervise(*arguments)
            if ending.ident is None:
                ending.start()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "Workers", Late)
        ledger = serve(print, "udp://127.0.0.1:0", workers=2, **START)
    ending.join(BOUND)
    assert signal.getsignal(signal.SIGTERM) == before
    assert ledger == MergedLedger(lost_by_place={"sender_socket": 0, "in_flight": 0}, kernel_drops=ledger.kernel_drops)


def test_serving_belongs_to_the_main_thread():
    """Signals are the main thread's: elsewhere nothing is bound, and the address stays free."""
    errors = []

    def try_it():
        try:
            serve(print, "memory://not-here", workers=1)
        except ValueError as error:
            errors.append(str(error))

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join(BOUND)
    assert len(errors) == 1
    assert "main thread" in errors[0]
    with Receiver("memory://not-here"):
        pass


def test_several_workers_need_udp():
    """The error says what one worker could do."""
    with pytest.raises(OptionError, match="workers=2: expected 1"):
        serve(print, "memory://serve", workers=2)
