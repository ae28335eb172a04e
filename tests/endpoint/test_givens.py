"""What others send over, or take events from, is checked where it is given."""

import asyncio

import pytest

from atmost import AsyncReceiver, OptionError, Receiver, Sender, Workers, serve
from atmost.endpoint.checking import check_handler, check_receiver, check_sender


@pytest.mark.parametrize("given", [None, "udp://127.0.0.1:7140", 5, Sender, object()])
def test_what_is_no_sender_is_refused(given):
    """Addresses and classes too, with how to make one."""
    with pytest.raises(OptionError, match=r"^sender=.*expected a Sender, such as atmost\.Sender\("):
        check_sender(given)


def test_a_sender_must_do_what_is_asked_of_it():
    """Anything that can do as much is one."""
    with Receiver("memory://givens") as receiver, Sender("memory://givens") as sender:
        assert check_sender(sender, "stats") is sender
        with pytest.raises(OptionError, match="sender"):
            check_sender(receiver)
        with pytest.raises(OptionError, match="sender"):
            check_sender(sender, "sing")


@pytest.mark.parametrize("given", [None, "udp://127.0.0.1:7140", Receiver, AsyncReceiver])
@pytest.mark.parametrize("awaited", [False, True])
def test_what_is_no_receiver_is_refused(given, awaited):
    """Whichever kind is needed."""
    with pytest.raises(OptionError, match="receiver"):
        check_receiver(given, awaited=awaited)


def test_each_kind_of_receiver_has_its_place():
    """A thread cannot wait for the one, nor an event loop for the other."""

    async def main():
        async with AsyncReceiver("memory://givens-async") as in_loop:
            assert check_receiver(in_loop, awaited=True) is in_loop
            with pytest.raises(OptionError, match="a Receiver, not an AsyncReceiver"):
                check_receiver(in_loop)

    asyncio.run(main())
    with Receiver("memory://givens") as plain:
        assert check_receiver(plain) is plain
        with pytest.raises(OptionError, match="an AsyncReceiver, in an event loop"):
            check_receiver(plain, awaited=True)


async def asynchronous(_message):
    """As somebody writes it who moves from AsyncReceiver."""


class Asynchronous:
    """The same as an object."""

    async def __call__(self, _message):
        """Nothing."""


@pytest.mark.parametrize("handler", [None, 5, "print", asynchronous, Asynchronous(), Asynchronous().__call__])
def test_a_handler_that_could_not_handle_is_refused(handler):
    """Before a message is lost on it: what nobody calls, and coroutines that nobody awaits."""
    with Receiver("memory://givens") as receiver, pytest.raises(OptionError, match="handler"):
        receiver.run(handler)
    with pytest.raises(OptionError, match="handler"):
        serve(handler, "memory://givens")
    with pytest.raises(OptionError, match="handler"):
        Workers(handler, "udp://127.0.0.1:0", workers=2)


@pytest.mark.parametrize("handler", [print, [].append, Asynchronous, lambda _message: None])
def test_whatever_can_be_called_is_a_handler(handler):
    """Classes and methods too; where it is awaited also what is async."""
    assert check_handler(handler) is handler
    assert check_handler(asynchronous, awaited=True) is asynchronous


def test_an_event_loop_refuses_what_cannot_be_called():
    """At once, not with each message."""

    async def main():
        async with AsyncReceiver("memory://givens-async") as receiver:
            with pytest.raises(OptionError, match="plain or async"):
                await receiver.run(None)

    asyncio.run(main())
