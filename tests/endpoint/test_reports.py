"""What workers and their keeper say to each other: whole records, whenever they come, and the end of the stream."""

import os
import socket
import struct
from dataclasses import replace

import pytest

from atmost import Ledger
from atmost.core.accounts import SessionLedger
from atmost.core.events import Tail
from atmost.endpoint.worker import Ask, KeeperEnd, Said, WorkerEnd
from atmost.lifecycle import notice_fork
from tests.cfork import c_fork
from tests.real import until


@pytest.fixture
def ends():
    """Both ends of one connection; the worker's socket too."""
    ours, theirs = socket.socketpair()
    keeper = KeeperEnd(ours)
    yield keeper, WorkerEnd(theirs), theirs
    keeper.close()
    theirs.close()


def account(delivered):
    """Return an account with something of every kind in it."""
    row = SessionLedger(
        id="07", name="n\N{SNOWMAN}", host="h", pid=1, key_id=2, tail=Tail.SILENT, sent=3, datagrams=1, last_seen=0.5
    )
    return Ledger(
        delivered=delivered, refused={"future": 2}, lost_by_place={"in_flight": 1}, kernel_drops=None, sessions=[row]
    )


def test_an_account_arrives_as_it_was(ends):
    """Every figure, its type included; several records in one reading."""
    keeper, worker, _ = ends
    worker.say(Said.READY, account(1))
    worker.say(Said.CLOSED, account(2))
    assert list(keeper.records()) == [(Said.READY, account(1)), (Said.CLOSED, account(2))]
    assert list(keeper.records()) == []
    assert not keeper.ended


@pytest.mark.parametrize("figure", [2**53, 2**63, 2**64, 2**200, -(2**70)])
def test_an_account_carries_any_number(ends, figure):
    """Sums of what was claimed may pass 64 bits, at every level; the account neither ends the worker nor loses a figure."""
    keeper, worker, _ = ends
    row = replace(account(1).sessions[0], sent=figure, sender_offered=figure, sender_dropped={"pacing": figure})
    ledger = replace(account(1), sent=figure, lost=figure, refused={"future": figure}, sessions=[row])
    worker.say(Said.REPORT, ledger)
    assert list(keeper.records()) == [(Said.REPORT, ledger)]


@pytest.mark.parametrize("body", [b"", b"{", b"\xc1", b"[]", b'{"sessions": 3}', b"\xff" * 100])
@pytest.mark.parametrize("kind", [2, 200])
def test_what_is_no_account_is_skipped(ends, body, kind):
    """The keeper survives whatever a worker's process writes there, and takes the next account."""
    keeper, worker, theirs = ends
    theirs.sendall(struct.pack(">IB", len(body), kind) + body)
    worker.say(Said.REPORT, account(3))
    assert list(keeper.records()) == [(Said.REPORT, account(3))]


def test_a_record_may_come_in_pieces(ends):
    """A worker can be stopped or killed in the middle of one: the keeper neither waits nor takes half of it."""
    keeper, worker, theirs = ends
    sent = []

    class Slow:
        def sendall(self, data):
            sent.append(data)

    real, worker._sock = worker._sock, Slow()
    worker.say(Said.REPORT, account(7))
    for byte in sent[0][:-1]:
        theirs.sendall(bytes([byte]))
        assert list(keeper.records()) == []
    theirs.sendall(sent[0][-1:])
    assert list(keeper.records()) == [(Said.REPORT, account(7))]
    theirs.sendall(sent[0][:-1])
    real.close()
    assert list(keeper.records()) == []
    assert keeper.ended


def test_questions_arrive_in_order_until_the_keeper_is_gone(ends):
    """A worker waits for questions, and learns that its keeper is gone by the end of them."""
    keeper, worker, theirs = ends
    assert keeper.ask(Ask.REPORT)
    assert keeper.ask(Ask.END)
    assert [worker.asked(), worker.asked()] == [Ask.REPORT, Ask.END]
    keeper.close()
    assert worker.asked() is None
    worker.say(Said.REPORT, account(1))  # nobody hears it, and nothing happens
    theirs.close()
    assert worker.asked() is None


def test_a_keeper_never_waits_for_a_stopped_worker(ends):
    """Questions that find no room are not asked, and the caller is told."""
    keeper, _, theirs = ends
    until(lambda: not keeper.ask(Ask.REPORT))
    theirs.close()
    assert not keeper.ask(Ask.REPORT)
    assert list(keeper.records()) == []
    assert keeper.ended


def test_a_process_forked_from_a_worker_does_not_speak_for_it(ends):
    """What a handler's child does on its way out is no word of the worker's."""
    keeper, worker, _ = ends
    child = os.fork()
    if not child:
        worker.say(Said.CLOSED, account(1))
        os._exit(int(worker.asked() is not None))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    worker.say(Said.REPORT, account(2))
    assert list(keeper.records()) == [(Said.REPORT, account(2))]


def test_a_forked_process_does_not_keep_the_connection(ends):
    """A worker sees its keeper's end although a process that the keeper forked lives on."""
    keeper, worker, _ = ends
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(writer)
        os.read(reader, 1)  # lives until the test lets it go
        os._exit(int(not keeper.ended))
    os.close(reader)
    keeper.close()
    assert worker.asked() is None
    os.close(writer)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.needs("linux")
def test_a_child_forked_by_c_code_keeps_neither_end_open(ends):
    """It closes both as soon as it notices the fork, so that each side sees when the other is gone (H2)."""
    _, _, theirs = ends
    if child := c_fork():
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert theirs.fileno() >= 0
    else:
        status = 1
        try:
            notice_fork()
            status = 0 if theirs.fileno() < 0 else 2
        finally:
            os._exit(status)
