"""Workers that are killed, stopped, slow, or never come to be; and what their account then says."""

import logging
import os
import signal
import sys
import time

import pytest

from atmost.endpoint import workers
from atmost.transport.base import wall_clock
from tests.endpoint.crew import Hand, crew, is_gone, settled, transmit, transmit_at_once, watch
from tests.real import BOUND, forge, until

pytestmark = pytest.mark.needs("linux")


def stuck(journal):
    """Return a handler that notes a message and then does not return."""

    def handle(message):
        journal.handle(message)
        while True:
            time.sleep(BOUND)

    return handle


def test_r20_what_a_killed_worker_had_queued_is_unknown(journal):
    """R20: the account says of messages in hand neither delivered nor lost, and what was pending it does not call lost."""
    with crew(stuck(journal)) as group:
        hand = Hand(0)
        tape = [hand.next() for _ in range(7)]
        transmit_at_once(group, tape[:5] + tape[6:])
        watch(group, journal.entries)
        before = group.ledger()
        assert (before.delivered, before.queued, before.pending, before.unknown) == (1, 5, 1, 0)
        os.kill(group.pids[0], signal.SIGKILL)
        ledger = watch(group, lambda: (ledger := group.ledger()).killed and ledger)
    assert (ledger.delivered, ledger.queued, ledger.pending, ledger.lost, ledger.unknown) == (1, 0, 0, 0, 6)
    assert ledger.balanced()
    assert journal.times() == {"0.0": 1}


def test_r20_a_worker_that_ends_in_order_leaves_a_complete_account(journal):
    """R20: after SIGTERM it takes in what has arrived, says its last account and is replaced; nothing of it is unknown."""
    with crew(journal.handle) as group:
        hands = [Hand(0), Hand(1)]
        transmit(group.url, [hand.next() for hand in hands])
        settled(group, 2)
        before = group.pids
        transmit(group.url, [hand.next() for hand in hands])
        os.kill(before[1], signal.SIGTERM)
        watch(group, lambda: group.pids.get(1) not in {None, before[1]} and group.ready)
        transmit(group.url, [hand.next() for hand in hands])
        ledger = settled(group, 6)
    assert (ledger.delivered, ledger.replaced, ledger.killed, ledger.unknown) == (6, 1, 0, 0)
    assert ledger.balanced()
    assert set(journal.times().values()) == {1}


def test_a_handler_that_exits_ends_its_worker_in_order(journal):
    """`sys.exit` in a handler ends that worker; its account is complete, and the message was processed once."""

    def handle(message):
        journal.handle(message)
        sys.exit(3)

    with crew(handle) as group:
        transmit(group.url, [Hand(0).next()])
        ledger = watch(group, lambda: (ledger := group.ledger()).replaced and ledger)
    assert (ledger.delivered, ledger.killed) == (1, 0)
    assert journal.times() == {"0.0": 1}


def test_a_handler_that_breaks_its_worker_is_shown(journal, capfd):
    """What is no `Exception` ends that worker with its traceback and its last account; the message was processed once."""

    class Broken(BaseException):
        pass

    def handle(message):
        journal.handle(message)
        raise Broken

    with crew(handle) as group:
        transmit(group.url, [Hand(0).next()])
        ledger = watch(group, lambda: (ledger := group.ledger()).replaced and ledger)
    assert (ledger.delivered, ledger.killed) == (1, 0)
    assert journal.times() == {"0.0": 1}
    assert "Broken" in capfd.readouterr().err


def test_h2_a_handler_that_forks_does_not_end_its_worker(journal):
    """H2: the child of a handler has no part in what its worker receives or says, although it comes back into its loop."""

    def handle(message):
        journal.handle(message)
        if child := os.fork():
            os.waitpid(child, 0)

    with crew(handle) as group:
        before = group.pids
        hand = Hand(0)
        for _ in range(3):
            transmit_at_once(group, [hand.next(), hand.next()])
        ledger = settled(group, 6)
        assert group.pids == before
    assert (ledger.delivered, ledger.replaced, ledger.handler_errors) == (6, 0, 0)
    assert set(journal.times().values()) == {1}
    assert {pid for pid, _ in journal.entries()} == {before[0]}


def test_r14_what_a_handler_raises_is_counted(journal):
    """R14: a raising handler keeps its worker, and each error is counted."""

    def handle(message):
        journal.handle(message)
        raise ValueError

    with crew(handle) as group:
        transmit(group.url, [Hand(number).next() for number in range(4)])
        ledger = watch(group, lambda: (ledger := group.ledger()).handler_errors == 4 and ledger)
    assert (ledger.delivered, ledger.replaced) == (4, 0)


def test_r23_replacements_are_logged_once_an_episode(journal, monkeypatch, caplog):
    """R23: one line says that a worker was ended and how; the same again is only counted, and told when the quiet is over."""
    monkeypatch.setattr(workers, "_SAME_AGAIN", 0.0)
    with crew(journal.handle) as group, caplog.at_level(logging.WARNING):
        for count in range(1, 4):
            os.kill(watch(group, lambda: group.pids.get(0)), signal.SIGKILL)
            watch(group, lambda count=count: group._replaced == count and group.ready)
        assert [record.getMessage().split(" (pid")[0] for record in caplog.records] == [f"{group.url}: worker 0"]
        assert "was ended by SIGKILL; another takes over" in caplog.text
        [(_, count)] = group._ends.due(time.monotonic() + 11)
        assert count == 2


def test_a_worker_that_dies_at_once_is_not_replaced_at_once(journal, monkeypatch):
    """A crash on every message must not become a storm of forks: the next start in its place waits."""
    monkeypatch.setattr(workers, "_SAME_AGAIN", 2 * BOUND)
    with crew(journal.handle) as group:
        os.kill(group.pids[0], signal.SIGKILL)
        watch(group, lambda: 0 not in group.pids)
        group.supervise(0.05)
        assert (list(group.pids), group.ready) == ([1], False)
        transmit(group.url, [Hand(0).next(), Hand(1).next()])
        ledger = settled(group, 1)
    assert (ledger.workers, ledger.delivered) == (1, 1)
    assert journal.times() == {"1.0": 1}


def test_a_system_without_room_for_a_process_is_asked_again(journal, monkeypatch, caplog):
    """A replacement that cannot be forked is tried again; the other workers go on meanwhile."""
    monkeypatch.setattr(workers, "_SAME_AGAIN", 0.0)

    def fork():
        monkeypatch.undo()
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with crew(journal.handle) as group:
        before = group.pids
        monkeypatch.setattr(workers.os, "fork", fork)
        os.kill(before[0], signal.SIGKILL)
        watch(group, lambda: group.pids.get(0) not in {None, before[0]} and group.ready)
        assert "worker 0 could not be started: Resource temporarily unavailable; tried again" in caplog.text


def test_r22_a_stopped_worker_is_taken_as_it_was_known(journal, monkeypatch):
    """Asking for the account does not wait for a worker that cannot answer."""
    monkeypatch.setattr(workers, "_ANSWER_WITHIN", 0.05)
    with crew(journal.handle) as group:
        transmit(group.url, [Hand(0).next(), Hand(1).next()])
        settled(group, 2)
        os.kill(group.pids[0], signal.SIGSTOP)
        transmit(group.url, [Hand(2).next(), Hand(3).next()])
        watch(group, lambda: len(journal.entries()) == 3)
        ledger = group.ledger()
        assert (ledger.workers, ledger.datagrams_in, ledger.replaced) == (2, 3, 0)
        os.kill(group.pids[0], signal.SIGCONT)
        assert settled(group, 4).delivered == 4


def test_close_takes_in_what_has_arrived(journal):
    """What waits at the sockets when the end is asked for is processed; the account is final, exact and stays."""
    with crew(journal.handle) as group:
        transmit_at_once(group, [Hand(number).next() for number in range(50)])
    ledger = group.ledger()
    assert (ledger.delivered, ledger.queued, ledger.workers, ledger.killed) == (50, 0, 0, 0)
    assert len(ledger.sessions) == 50
    assert ledger.balanced()
    assert (group.closed, group.pids, group.ready) == (True, {}, False)
    group.supervise()
    group.close()
    assert group.ledger() == ledger


def test_close_ends_a_handler_that_does_not_return(journal):
    """A worker whose handler hangs is killed when the time is over; what it had queued is unknown."""
    with crew(stuck(journal)) as group:
        hand = Hand(0)
        transmit_at_once(group, [hand.next(), hand.next()])
        until(lambda: group.ledger().queued == 1)
        pid = group.pids[0]
        group.close(timeout=0.1)
    ledger = group.ledger()
    assert (ledger.delivered, ledger.unknown, ledger.killed, ledger.replaced) == (1, 1, 1, 0)
    assert ledger.balanced()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_h2_a_process_forked_from_the_keeper_has_no_workers(journal):
    """H2: a child of the program holds nothing of the workers, and cannot end them."""
    with crew(journal.handle) as group:
        child = os.fork()
        if not child:
            group.supervise()
            group.close()
            os._exit(10 * group.closed + len(group.pids))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 10
        transmit(group.url, [Hand(0).next(), Hand(1).next()])
        assert settled(group, 2).delivered == 2


def test_a_program_that_lets_the_system_collect_its_children(journal):
    """Where SIGCHLD is ignored a worker's end is still noticed, though not how it ended."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with crew(journal.handle) as group:
            first = group.pids[0]
            os.kill(first, signal.SIGKILL)
            watch(group, lambda: group.pids.get(0) not in {None, first} and group.ready)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert group.ledger().killed == 1


def test_a_worker_that_does_not_answer_makes_the_group_unready(journal, monkeypatch, caplog):
    """One that is stopped is not dead: it goes on where it was, and the group is ready again."""
    monkeypatch.setattr(workers, "_SILENT", 0.05)
    with crew(journal.handle) as group:
        before = group.pids
        os.kill(before[0], signal.SIGSTOP)
        watch(group, lambda: not group.ready)
        watch(group, lambda: f"(pid {before[0]}) does not answer" in caplog.text)
        os.kill(before[0], signal.SIGCONT)
        watch(group, lambda: group.ready)
        assert group.pids == before


@pytest.mark.parametrize("seconds", [1.0, pytest.param(workers._HANGS, marks=pytest.mark.slow)])
def test_h2_a_worker_that_hangs_is_replaced(journal, monkeypatch, caplog, seconds):
    """H2, R10: it is killed, and the next incarnation in its place begins when it is gone; nothing is processed twice."""
    monkeypatch.setattr(workers, "_HANGS", seconds)
    with crew(journal.handle) as group:
        hands = [Hand(0), Hand(1)]
        transmit(group.url, [hand.next() for hand in hands])
        settled(group, 2)
        hung = group.pids[0]
        os.kill(hung, signal.SIGSTOP)
        transmit(group.url, [hand.next() for hand in hands])
        watch(group, lambda: is_gone(hung), bound=seconds + BOUND)
        watch(group, lambda: group.pids.get(0) not in {None, hung} and group.ready)
        assert f"worker 0 (pid {hung}) has not answered for {seconds:.0f} s and is killed" in caplog.text
        transmit(group.url, [*hands[0].tape, *hands[1].tape, *(hand.next() for hand in hands)])
        watch(group, lambda: {"0.2", "1.2"} <= set(journal.times()))
    assert group.ledger().killed >= 1
    assert set(journal.times().values()) == {1}
    assert {"0.0", "1.0"} <= set(journal.times())


def test_r11_forged_priors_near_the_end_of_all_numbers_stop_no_account(journal):
    """R11.7, R20: what passes 2⁵³ is refused, what reaches it is carried in figures of any size, and every worker hears its end."""
    start_us = wall_clock() - 3_600_000_000  # a session that began before the floor may be joined at any number
    near = 2**53 - 1
    with crew(journal.handle) as group:
        forged = [
            forge(
                [("forged", f"{number}.{prior}")],
                sequence=2**50,
                prior=prior,
                start_us=start_us,
                random64=number,
            )
            for number in range(6)  # three for each of the two workers
            for prior in (2**63 - 2, 2**63, 2**64 - 1, near)
        ]
        transmit(group.url, forged)
        ledger = watch(
            group, lambda: (ledger := group.ledger()).delivered >= 6 and ledger.datagrams_in >= 24 and ledger
        )
        assert ledger.refused == {"inconsistent": 18}
        assert (ledger.delivered, ledger.before_join, ledger.sent) == (6, 6 * near, 6 * (near + 1))
        transmit(group.url, [Hand(0).next(), Hand(1).next()])
        ledger = settled(group, 26)
        assert (ledger.replaced, ledger.killed, ledger.unknown) == (0, 0, 0)
        assert ledger.balanced()
        pids = list(group.pids.values())
    assert all(until(lambda pid=pid: is_gone(pid)) for pid in pids)
    assert group.ledger().balanced()
    assert {"0.0", "1.0"} <= set(journal.times())
