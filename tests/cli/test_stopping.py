"""The first Ctrl-C asks, the second insists, and what is ignored stays ignored."""

import os
import signal

import pytest

import atmost
from atmost.cli.stopping import stopping
from tests.real import until

_HEARS_HANG_UP = (
    "import signal, sys\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever started these tests\n"
    "from atmost.cli import main\nsys.argv = ['atmost', *sys.argv[1:]]\nmain()"
)


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """As in a terminal, whatever started these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_what_was_before_comes_back(number):
    """Nothing is interrupted; afterwards the signals do what they did before."""
    before = signal.getsignal(number)
    with stopping() as stop:
        assert not stop.asked
        os.kill(os.getpid(), number)
        until(lambda: stop.asked)
    assert signal.getsignal(number) is before


def test_a_terminal_that_is_closed_ends_a_command_in_order(start):
    """SIGHUP: the account is told to whoever still reads, and nothing is left behind."""
    listener = start("listen", "--bind", "udp://127.0.0.1:0", code=_HEARS_HANG_UP)
    assert listener.url
    done = listener.end(signal.SIGHUP)
    assert done.status == 0
    assert "account of" in done.err


def test_a_second_ctrl_c_insists():
    """Whoever asks twice does not want to wait; SIGTERM before counts as asking."""
    with stopping() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        until(lambda: stop.asked)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_second_sigterm_only_asks_again():
    """A supervisor may repeat it; the end stays clean."""
    with stopping() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
            until(lambda: stop.asked)


def test_a_signal_that_is_ignored_stays_ignored(start):
    """A shell that starts a command in the background ignores Ctrl-C for it; SIGTERM still ends it."""
    code = (
        "import signal, sys\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from atmost.cli import main\nsys.argv = ['atmost', *sys.argv[1:]]\nmain()"
    )
    listener = start("listen", "--json", "--bind", "udp://127.0.0.1:0", code=code)
    with atmost.Sender(listener.url) as sender:
        listener.process.send_signal(signal.SIGINT)
        sender.send("a", 1)
        listener.until(lambda: any('"message"' in line for line in listener.out))
    done = listener.end(signal.SIGTERM)
    assert done.status == 0
    assert "account of" in done.err


def test_an_interrupt_before_there_is_anything_to_account_for(commands, monkeypatch):
    """Status 130, as shells have it, and no traceback."""

    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("atmost.cli.listen.Receiver", interrupted)
    done = commands("listen")
    assert done.status == 130
    assert done.err.strip() == ""
