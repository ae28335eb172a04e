"""Publishing until acknowledged: what is checked before, what is known of the outcome, and what is told."""

import asyncio
import datetime as dt
import sys
from contextlib import suppress

import nats
import pytest
from nats.js.client import JetStreamContext
from nats.js.errors import APIError

from atmost import AddressError, MissingExtra, OptionError, PayloadNotEncodable, SubjectError
from atmost.durable import AtLeastOnce, DurableStats, ExactlyOnce, NotAcknowledged, NotConnected, Stream
from tests.durable.conftest import Server
from tests.durable.jetstream import JetStream, Relay
from tests.durable.scene import until
from tests.real import BOUND, alive

pytestmark = pytest.mark.needs("nats-server")
NOWHERE = "nats://127.0.0.1:1"
KINDS = [AtLeastOnce, ExactlyOnce]


def stream(request: pytest.FixtureRequest, **options: object) -> Stream:
    """A stream of this test's own."""
    name = "".join(letter if letter.isalnum() else "_" for letter in request.node.name)[:60]
    return Stream(name, [f"{name}.>"], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_many_at_once_are_all_acknowledged_under_their_numbers(kind, request, server):
    """Each receipt is another message's, and the stream has as many."""
    kept = stream(request)

    async def many():
        async with kind(server.url, kept, max_in_flight=8) as publisher:
            receipts = await asyncio.gather(*(publisher.publish(f"{kept.name}.a", n) for n in range(100)))
            assert publisher.stats() == DurableStats(published=100)
            return receipts

    receipts = asyncio.run(many())
    assert sorted(receipt.sequence for receipt in receipts) == list(range(1, 101))
    assert {(receipt.stream, receipt.attempts, receipt.duplicate) for receipt in receipts} == {(kept.name, 1, False)}
    assert len({receipt.id for receipt in receipts}) == 100


def test_without_an_answer_the_outcome_is_unknown_and_said_to_be(request, server):
    """It was stored, and nobody told the caller: the error says what to do."""
    kept = stream(request)

    async def unanswered():
        async with Relay(server.port) as relay, ExactlyOnce(relay.url, kept, ack_timeout=0.1) as publisher:
            await publisher.publish(f"{kept.name}.a", 1, id="one")
            relay.swallow_answers = True
            with pytest.raises(NotAcknowledged) as told:
                await publisher.publish(f"{kept.name}.a", 2, id="two", deadline=0.4)
            relay.cut()
            again = await publisher.publish(f"{kept.name}.a", 2, id="two")
            return told.value, again, publisher.stats()

    error, again, stats = asyncio.run(unanswered())
    assert error.unknown is True
    assert (error.subject, error.id, error.seconds) == (f"{kept.name}.a", "two", 0.4)
    assert error.attempts > 1
    assert "outcome unknown: it may be stored; publish again with id='two'" in str(error)
    assert again.duplicate is True
    assert stats.not_acknowledged == 1


@pytest.mark.needs("linux")
def test_a_server_that_stands_still_is_waited_for(request, start: Server):
    """SIGSTOP: connections stand, nothing answers; afterwards everything is there once."""
    server, kept = start(), stream(request)

    async def stopped():
        async with ExactlyOnce(server.url, kept, ack_timeout=0.2) as publisher:
            await publisher.publish(f"{kept.name}.a", 0)
            server.pause()
            publishing = asyncio.gather(*(publisher.publish(f"{kept.name}.a", n) for n in range(20)))
            await until(lambda: publisher.stats().retries >= 20)
            server.go_on()
            return await publishing

    receipts = asyncio.run(stopped())
    assert sorted(receipt.sequence for receipt in receipts) == list(range(2, 22))


def test_a_full_stream_refuses_and_says_that_nothing_is_stored(request, server):
    """What is stored is not deleted for what comes; the reason is the server's."""
    kept = stream(request, max_bytes=4096)

    async def full():
        # The next attempt lies behind the deadline: one that it cuts short has no answer to tell.
        async with AtLeastOnce(server.url, kept, retry_delay=5, max_retry_delay=5) as publisher:
            for _ in range(3):
                await publisher.publish(f"{kept.name}.a", b"x" * 1000)
            with pytest.raises(NotAcknowledged, match=r"maximum bytes exceeded.*: it is not stored") as told:
                await publisher.publish(f"{kept.name}.a", b"x" * 1000, deadline=0.5)
            return told.value

    assert asyncio.run(full()).unknown is False


def test_a_deadline_that_was_swallowed_ends_all_the_same(request, server, monkeypatch):
    """Python 3.11's `wait_for` drops a cancellation when the answer comes in the same moment, and it comes only once."""
    kept = stream(request)

    async def swallowing(self, *_, **__):
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.5)
        raise APIError(503, "no quorum")

    async def swallowed():
        async with AtLeastOnce(server.url, kept, retry_delay=0.001) as publisher:
            await publisher.publish(f"{kept.name}.a", 1)
            monkeypatch.setattr(JetStreamContext, "publish", swallowing)
            with pytest.raises(NotAcknowledged, match="no quorum") as told:
                await asyncio.wait_for(publisher.publish(f"{kept.name}.a", 2, deadline=0.2), 10)
            return told.value

    assert asyncio.run(swallowed()).unknown is True


def test_a_payload_beyond_the_server_s_limit_is_told_at_once(request, start: Server, tmp_path):
    """No retry would help."""
    (tmp_path / "small.conf").write_text("max_payload: 2048\n")
    server, kept = start("-c", str(tmp_path / "small.conf")), stream(request)

    async def large():
        async with AtLeastOnce(server.url, kept) as publisher:
            with pytest.raises(NotAcknowledged, match="max_payload") as told:
                await publisher.publish(f"{kept.name}.a", b"x" * 4096)
            return told.value

    error = asyncio.run(large())
    assert (error.attempts, error.unknown) == (1, False)


def test_an_outage_leaves_nothing_behind(request, start: Server):
    """However often it was tried meanwhile: nothing is kept for answers to what was never handed over, or is too large."""
    kept, own = stream(request), start()

    def waiting():
        return sum(not each.done() for each in alive(asyncio.Future))

    async def outage():
        async with AtLeastOnce(own.url, kept, retry_delay=0.001, max_retry_delay=0.002) as publisher:
            await publisher.publish(f"{kept.name}.a", 1)
            before = waiting()
            own.kill()
            await until(lambda: not publisher.connected)
            publishing = asyncio.ensure_future(publisher.publish(f"{kept.name}.a", 2))
            await until(lambda: publisher.stats().retries > 100)
            own.start()
            await publishing
            for _ in range(20):
                with pytest.raises(NotAcknowledged):
                    await publisher.publish(f"{kept.name}.a", bytes(1 << 21))
            assert waiting() < before + 20

    asyncio.run(outage())


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_there(kind, request, caplog):
    """The deadline holds from the first connection on."""
    kept = stream(request)

    async def nobody():
        async with kind(NOWHERE, kept) as publisher:
            with pytest.raises(NotAcknowledged, match=r"Connect call failed.*it is not stored") as told:
                await publisher.publish(f"{kept.name}.a", 1, deadline=0.3)
            assert not publisher.connected
            assert publisher.stats().disconnected == 0  # it never was
            return told.value, repr(publisher)

    error, shown = asyncio.run(nobody())
    assert not [record for record in caplog.records if "is lost" in record.message]
    assert error.attempts == 0
    assert shown == f"<{kind.__name__} {kept.name} on {NOWHERE}>"


def test_once_closed_nothing_is_waited_for(request, server):
    """No deadline is needed to know it, whether the call begins then or is under way."""
    kept = stream(request)

    async def closed():
        publisher = AtLeastOnce(server.url, kept, deadline=3 * BOUND)
        await publisher.publish(f"{kept.name}.a", 1)
        await publisher.close()
        with pytest.raises(NotAcknowledged, match=r"last: closed\): it is not stored"):
            await publisher.publish(f"{kept.name}.a", 1)
        waiting = AtLeastOnce(NOWHERE, kept, deadline=3 * BOUND)
        publishing = asyncio.create_task(waiting.publish(f"{kept.name}.a", 1))
        await until(lambda: waiting.stats().trouble)
        await waiting.close()
        with pytest.raises(NotAcknowledged, match=r"last: closed\): it is not stored"):
            await publishing

    asyncio.run(asyncio.wait_for(closed(), BOUND))


def test_wrong_credentials_are_told_at_once(request, start: Server):
    """Neither the deadline is waited for, nor is the password in the message."""
    server, kept = start("--user", "bob", "--pass", "right"), stream(request)

    async def refused():
        wrong = server.url.replace("//", "//bob:secret7@")
        async with AtLeastOnce(wrong, kept, deadline=30) as publisher:
            with pytest.raises(NotConnected, match="check user, token or credentials") as told:
                await publisher.run(print, durable="a")
            with pytest.raises(NotAcknowledged) as unpublished:
                await publisher.publish(f"{kept.name}.a", 1, deadline=0.3)
        async with AtLeastOnce(server.url, kept, connect={"user": "bob", "password": "right"}) as publisher:
            await publisher.publish(f"{kept.name}.a", 1)
        return f"{told.value} {unpublished.value} {publisher!r}"

    assert "secret7" not in asyncio.run(refused())


def test_a_server_without_jetstream_is_told(request, tmp_path):
    """It takes the connection and keeps nothing."""
    kept = stream(request)

    async def bare():
        async with AtLeastOnce(server.url, kept, deadline=0.6) as publisher:
            with pytest.raises(NotConnected, match="is one running with JetStream"):
                await publisher.run(print, durable="a")
            with pytest.raises(NotAcknowledged, match="JetStream does not answer"):
                await publisher.publish(f"{kept.name}.a", 1)

    server = JetStream(tmp_path, jetstream=False)
    try:
        asyncio.run(bare())
    finally:
        server.kill()


def test_what_a_caller_got_wrong_is_told_before_anything_is_sent(request):
    """No server is needed to know it."""
    kept = stream(request)

    async def wrong():
        async with ExactlyOnce(NOWHERE, kept) as publisher:
            subject = f"{kept.name}.a"
            with pytest.raises(SubjectError, match=f"stream {kept.name} keeps {kept.name}.>: add it to subjects="):
                await publisher.publish("stock.7", 1)
            with pytest.raises(SubjectError):
                await publisher.publish(f"{kept.name}.*", 1)
            with pytest.raises(PayloadNotEncodable, match=r"payload\['at'\]"):
                await publisher.publish(subject, {"at": object()})
            for id_ in ("", "a b", "ä", "x" * 256, 7):
                with pytest.raises(OptionError, match="id="):
                    await publisher.publish(subject, 1, id=id_)
            for deadline in (0, -1, 31, float("nan")):
                with pytest.raises(OptionError, match="deadline="):
                    await publisher.publish(subject, 1, deadline=deadline)
            assert publisher.stats() == DurableStats()

    asyncio.run(wrong())


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:4222", "udp://127.0.0.1", "nats://", "nats://a:b", "nats://a/channel", "nats://a?shards=4", 7],
)
def test_a_url_that_cannot_be_used(url):
    """Told at construction."""
    with pytest.raises(AddressError):
        AtLeastOnce(url, Stream("A", ["a"]))


@pytest.mark.parametrize(
    "url",
    [
        "nats://me:hunter2/x@a",
        "nats://me:hunter2#x@a",
        "nats://me:hunter2,x@a",
        "nats://me:hunter2@a/channel",
        "nats://a?token=hunter2",
    ],
)
def test_a_url_that_cannot_be_used_shows_no_password(url):
    """Neither one that should have been escaped, nor what was written in the wrong place."""
    with pytest.raises(AddressError) as refused:
        AtLeastOnce(url, Stream("A", ["a"]))
    assert "hunter2" not in str(refused.value)


def test_options_are_checked_at_construction():
    """A deadline beyond the duplicate window would make exactly once a claim."""
    kept = Stream("A", "a.>", duplicate_window=10)
    assert kept.subjects == ("a.>",)
    AtLeastOnce(NOWHERE, kept, deadline=30)
    with pytest.raises(OptionError, match="duplicate_window"):
        ExactlyOnce(NOWHERE, kept, deadline=9)
    with pytest.raises(OptionError, match=r"durable\.Stream"):
        AtLeastOnce(NOWHERE, "A")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="name=None"):
        AtLeastOnce(NOWHERE, kept, name=None)  # type: ignore[arg-type]
    assert Stream("A", ["a", "b", "a"]).subjects == ("a", "b")
    for options in ({"ack_timeout": 0}, {"max_in_flight": 0}, {"retry_delay": 1, "max_retry_delay": 0.5}):
        with pytest.raises(OptionError):
            AtLeastOnce(NOWHERE, kept, **options)
    for options in (
        {"name": "a.b"},
        {"subjects": []},
        {"subjects": ["a..b"]},
        {"subjects": None},
        {"max_bytes": "1 GB"},
        {"max_bytes": 2000.5},
        {"max_age": 1},
        {"max_bytes": 1},
        {"replicas": 2},
        {"duplicate_window": float("nan")},
    ):
        with pytest.raises((OptionError, SubjectError)):
            Stream(**{"name": "A", "subjects": ["a"]} | options)


def test_a_missing_extra_is_one_line(monkeypatch):
    """It names the install."""
    monkeypatch.setitem(sys.modules, "nats.aio.client", None)
    with pytest.raises(MissingExtra, match=r"atmost.durable needs .*pip install 'atmost\[nats\]'"):
        AtLeastOnce(NOWHERE, Stream("A", ["a"]))


def test_what_is_stored_is_messagepack_that_others_can_read(request, server):
    """The payload alone, and what travels beside it in headers."""
    kept = stream(request)

    async def look():
        async with ExactlyOnce(server.url, kept, name="käse") as publisher:
            await publisher.publish(f"{kept.name}.a", {"at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}, id="order-17")
        eye = await nats.connect(server.url)
        stored = await eye.jetstream().get_msg(kept.name, 1)
        await eye.close()
        return stored

    stored = asyncio.run(look())
    assert stored.data[:4] == b"\x81\xa2at"
    assert stored.headers["Nats-Msg-Id"] == stored.headers["Atmost-Id"] == "order-17"
    assert stored.headers["Atmost-Name"] == "k%C3%A4se"


def test_it_cannot_be_copied():
    """A copy would share a connection with another process."""
    import pickle

    with pytest.raises(TypeError, match="construct one in each process"):
        pickle.dumps(AtLeastOnce(NOWHERE, Stream("A", ["a"])))
