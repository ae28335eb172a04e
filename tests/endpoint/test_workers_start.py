"""Workers that come to be, or do not: addresses, options, and what the system refuses."""

import os
import signal
from dataclasses import fields

import pytest

from atmost import (
    AddressError,
    AddressInUse,
    AsyncReceiver,
    BindError,
    InvalidKey,
    OptionError,
    Receiver,
    SubjectError,
    Workers,
    serve,
)
from atmost.endpoint import workers
from atmost.endpoint.checking import ReceiverArguments
from atmost.endpoint.intake import IntakeOptions
from tests.endpoint.crew import LOOPBACK, START, crew

pytestmark = pytest.mark.needs("linux")


def test_h2_nobody_else_receives_there(journal):
    """H2: neither further workers nor a receiver, until all are gone; then the address is free."""
    with crew(journal.handle) as group:
        for kind in (Receiver, lambda url: Workers(journal.handle, url, workers=2)):
            with pytest.raises(AddressInUse):
                kind(group.url)
        url = group.url
    with crew(journal.handle, url, workers=3):
        pass
    with Receiver(url, **START), pytest.raises(AddressInUse):
        Workers(journal.handle, url, workers=2)


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", 1025])
def test_a_number_of_workers_that_cannot_be(journal, count):
    """Refused before anything is bound."""
    with pytest.raises(OptionError, match="a whole number of processes from 1 to 1024"):
        Workers(journal.handle, LOOPBACK, workers=count)


@pytest.mark.parametrize("url", ["memory://workers", "unix:///tmp/atmost-workers.sock"])
def test_only_udp_can_be_shared(journal, url):
    """Other addresses belong to one process, and the error says so."""
    with pytest.raises(OptionError, match="only a UDP port can be shared"):
        Workers(journal.handle, url, workers=2)


def test_only_linux_has_workers(journal, monkeypatch):
    """Elsewhere the error says what would work."""
    monkeypatch.setattr(workers, "can_share", lambda: False)
    with pytest.raises(OptionError, match="expected 1 on this system: only Linux"):
        Workers(journal.handle, LOOPBACK, workers=2)


@pytest.mark.parametrize(
    ("error", "url", "options"),
    [
        (OptionError, LOOPBACK, {"window": 0}),
        (OptionError, LOOPBACK, {"future_bound": -1}),
        (InvalidKey, LOOPBACK, {"key": "no key"}),
        (SubjectError, LOOPBACK, {"subjects": ()}),
        (AddressError, "udp://nowhere.invalid:7140", {}),
        (TypeError, LOOPBACK, {"unheard_of": 1}),
    ],
)
def test_mistakes_are_found_before_a_worker_is_forked(journal, monkeypatch, error, url, options):
    """What a receiver would refuse is refused here, in the caller's own process, and the address is let go."""
    monkeypatch.setattr(workers.os, "fork", lambda: pytest.fail("forked"))
    with pytest.raises(error):
        Workers(journal.handle, url, workers=2, **options)


def test_workers_that_cannot_start(journal, monkeypatch):
    """A worker that ends before it is ready ends the attempt; none is left, and the address is free."""
    made = []

    class Dying(workers.Child):
        def __init__(self, *facts):
            super().__init__(*facts)
            made.append(self.pid)
            if len(made) == 2:
                os.kill(self.pid, signal.SIGKILL)

    monkeypatch.setattr(workers, "Child", Dying)
    with pytest.raises(
        BindError, match=r"cannot receive on udp://127.*: worker 1 was ended by SIGKILL before it was ready"
    ):
        Workers(journal.handle, LOOPBACK, workers=2, future_bound=0.5)
    for pid in made:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_no_room_for_the_first_processes(journal, monkeypatch):
    """The system's refusal to fork is the caller's to know."""

    def fork():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(workers.os, "fork", fork)
    with pytest.raises(BindError, match="worker 0 cannot be started: Resource temporarily unavailable"):
        Workers(journal.handle, LOOPBACK, workers=2)


def test_every_option_of_a_receiver_can_be_written_as_an_argument():
    """The options and their keyword arguments are the same names: one that is added to either must be added to the other."""
    assert set(ReceiverArguments.__annotations__) == {field.name for field in fields(IntakeOptions)}


@pytest.mark.parametrize("kind", [Receiver, AsyncReceiver, Workers, serve])
@pytest.mark.parametrize("name", ["inlet", "shard", "windows"])
def test_a_wrong_option_is_named_as_the_users(kind, name, journal):
    """What is private is no option either; the error names what the user called, before anything is bound."""
    arguments = {"workers": 1} if kind is Workers else {}
    first = (LOOPBACK,) if kind in {Receiver, AsyncReceiver} else (journal.handle, LOOPBACK)
    with pytest.raises(TypeError, match=rf"^{kind.__name__}\(\) got an unexpected keyword argument '{name}'$"):
        kind(*first, **arguments, **{name: None})


def test_workers_say_what_they_are(journal):
    """The representation shows the address and how many there are."""
    with crew(journal.handle) as group:
        assert repr(group) == f"<Workers on {group.url}: 2 of 2>"
    assert repr(group) == f"<Workers on {group.url}: closed>"
