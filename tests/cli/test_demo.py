"""`atmost demo`: what it shows of a run, and the status it ends with; the runs themselves are in tests/demo."""

import pytest

from atmost.core.events import Arrival, DatagramRefused, Loss, Message, Place, RefusalReason, Session
from atmost.demo.processes import ChildError
from tests.demo.test_account import account

EVIL = "\x1b[2J\r\n"


@pytest.fixture
def run_of(monkeypatch):
    """A function that lets the demo have run: with these events, this account, or this failure."""

    def let(result, *events, page=None):
        def run_demo(options, asked, watcher):
            assert not asked()
            watcher.began("udp://collector", "udp://link", page)
            for event in events:
                watcher.show(event)
            watcher.tick()
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr("atmost.cli.demo.run_demo", run_demo)

    return let


def message(subject, payload):
    """A message that arrived."""
    return Message(subject, payload, Arrival(Session(b"k" * 18, 0), 0, 0, 0))


def test_an_account_that_balances(commands, run_of):
    """Status 0, and the check in words."""
    run_of(account())
    done = commands("demo")
    assert done.status == 0
    assert "  offered                 1,000\n" in done.out
    assert "  lost                      205   (sender socket 3, in flight 202)\n" in done.out
    assert "  dropped                     7\n" in done.out
    assert "  duplicates refused         30   datagrams (the link sent 31 twice)\n" in done.out
    assert "  duplicates processed        0\n" in done.out
    assert "  lost 205 + unknown 5 = dropped by the link 207 + refused by the socket 3\n" in done.out
    assert done.out.endswith("  the account is balanced\n")


@pytest.mark.parametrize(("port", "again"), [(7141, True), (35177, False)])
def test_the_page_that_comes_back(commands, run_of, port, again):
    """Only at its usual port: where that was taken the next one is elsewhere."""
    run_of(account(), page=f"http://127.0.0.1:{port}/")
    last = commands("demo").out.splitlines()[-1]
    assert last.startswith(f"the page was on http://127.0.0.1:{port}/")
    assert ("it comes back" in last) is again


@pytest.mark.parametrize("changes", [{"lost": 204}, {"duplicates_processed": 1}, {"receiver_balanced": False}])
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_an_account_that_does_not_balance(commands, run_of, changes, flags):
    """Status 1, and the verdict in words or as `balanced: false`."""
    run_of(account(**changes))
    done = commands("demo", *flags)
    assert done.status == 1
    if flags:
        assert done.objects[-1]["balanced"] is False
    else:
        assert done.out.endswith("  the account is NOT balanced\n")


def test_a_link_that_disagrees_is_named(commands, run_of):
    """The sum that does not come out is shown."""
    run_of(account(lost=204, delivered=781))
    assert (
        "  lost 204 + unknown 5 does not agree with the link: dropped 207 + refused by the socket 3\n"
        in commands("demo").out
    )


def test_a_process_of_the_demo_that_failed(commands, run_of):
    """One line and status 1."""
    run_of(ChildError("the link process ended with status 1"))
    done = commands("demo", "--json")
    assert (done.status, done.out) == (1, "")
    assert done.err == "atmost: demo: the link process ended with status 1\n"


def test_log_lines_and_losses_stand_in_their_place(commands, run_of):
    """Readings and heartbeats only count, refused duplicates are for the account; nothing steers the terminal."""
    session = Session(b"k" * 18, 0)
    session.name = f"host{EVIL}"
    run_of(
        account(),
        message("logs.link", {"message": f"one{EVIL}"}),
        Loss(session, 3, Place.IN_FLIGHT, 1, 1),
        message("logs.link", "two"),
        message("logs.link", {"other": 1}),
        message("metrics.cpu.utilization", 0.5),
        message("heartbeats.host", {"number": 1}),
        DatagramRefused(RefusalReason.DUPLICATE, 1, session),
    )
    _, _, first, loss, second, third, *rest = commands("demo").out.splitlines()
    assert first.endswith(r" log  one\x1b[2J\r\n")
    assert loss.strip() == r"-- 3 messages of host\x1b[2J\r\n lost here (in flight)"
    assert second.endswith(" log  two")
    assert third.endswith(" log  None")
    assert rest[0] == ""


def test_with_json_there_is_only_the_account(commands, run_of):
    """One line, whatever arrived."""
    run_of(account(), message("logs.link", {"message": "one"}))
    done = commands("demo", "--json")
    assert (done.status, done.err) == (0, "")
    (told,) = done.objects
    assert told == account().as_dict()
