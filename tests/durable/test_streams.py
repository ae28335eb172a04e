"""Streams and consumers that are there already are verified, and never changed."""

import asyncio

import nats
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from atmost.core.names import matcher
from atmost.durable import AtLeastOnce, Stream, StreamMismatch
from atmost.durable.engine import covers

pytestmark = pytest.mark.needs("nats-server")
TOKENS = st.lists(st.sampled_from("ab*"), min_size=1, max_size=3)


def there(server, name, **config):
    """Make a stream by hand, as another program did."""

    async def make():
        eye = await nats.connect(server.url)
        usual = {"storage": StorageType.FILE, "max_age": 7 * 86_400, "duplicate_window": 120, "subjects": [f"{name}.>"]}
        await eye.jetstream().add_stream(StreamConfig(name=name, **usual | config))
        await eye.close()

    asyncio.run(make())


def publish(server, kept, subject):
    """Publish one message."""

    async def one():
        async with AtLeastOnce(server.url, kept) as publisher:
            return await publisher.publish(subject, 1)

    return asyncio.run(one())


def test_a_stream_as_it_must_be_is_used(server):
    """With more subjects and longer times than asked for."""
    limits = {"max_msgs_per_subject": 9, "discard": DiscardPolicy.NEW, "discard_new_per_subject": True}
    there(server, "FINE", subjects=["fine.>", "other.>"], max_age=0, duplicate_window=600, **limits)
    assert publish(server, Stream("FINE", ["fine.a.*"]), "fine.a.b").sequence == 1


@pytest.mark.parametrize(
    ("number", "config", "problem"),
    [
        (1, {"subjects": ["bad1.*"]}, "it does not keep bad1.>"),
        (2, {"storage": StorageType.MEMORY}, "it keeps messages in memory only"),
        (3, {"max_msgs": 10, "discard": DiscardPolicy.OLD}, "it deletes old messages, processed or not"),
        (4, {"max_age": 3600}, "it keeps messages for 3600 s"),
        (5, {"duplicate_window": 10}, "its duplicate window is 10 s"),
        (6, {"no_ack": True}, "it acknowledges nothing"),
        (7, {"max_msgs_per_subject": 1, "discard": DiscardPolicy.NEW}, "beyond 1 messages of a subject it deletes old"),
        (8, {"retention": RetentionPolicy.INTEREST}, "it keeps no message without a consumer"),
    ],
)
def test_a_stream_that_would_break_the_guarantee_is_refused(server, number, config, problem):
    """The difference is named, and nothing of it is changed."""
    there(server, f"BAD{number}", **{"subjects": [f"bad{number}.>"]} | config)
    for _ in range(2):
        with pytest.raises(StreamMismatch, match="stream BAD") as refused:
            publish(server, Stream(f"BAD{number}", [f"bad{number}.>"]), f"bad{number}.a")
        (told,) = refused.value.problems
        assert problem in told


def test_subjects_of_another_stream_are_refused(server):
    """Two streams that keep the same message would both acknowledge it."""
    there(server, "FIRST", subjects=["shared.>"])
    with pytest.raises(StreamMismatch, match=r"another stream keeps some of shared\.a"):
        publish(server, Stream("SECOND", ["shared.a"]), "shared.a")


@pytest.mark.parametrize(
    ("kept", "problem"),
    [
        (Stream("NEVER", ["never.>", "never.a"]), "overlaps"),
        (Stream("NEVER", ["never.>"], replicas=3), "non-clustered"),
    ],
)
def test_a_stream_that_no_server_would_make_is_told_at_once(server, kept, problem):
    """A retry would only hide it until the deadline."""
    with pytest.raises(StreamMismatch, match=f"the server refuses it: .*{problem}"):
        publish(server, kept, "never.a")


@pytest.mark.parametrize(
    ("number", "config", "problem"),
    [
        (1, {"max_deliver": 3}, "stops delivering after 3 times"),
        (2, {"filter_subject": "c2.a"}, "it has the subjects c2.a"),
        (3, {"deliver_subject": "somewhere"}, "it pushes"),
        (4, {"ack_policy": AckPolicy.ALL}, "it takes messages as acknowledged"),
    ],
)
def test_a_consumer_of_another_kind_is_refused(server, number, config, problem):
    """One that the server gives up silently, or that acknowledges what nobody processed."""
    name = f"C{number}"
    there(server, name, subjects=[f"c{number}.>"])

    async def consumer():
        eye = await nats.connect(server.url)
        await eye.jetstream().add_consumer(name, ConsumerConfig(durable_name="ledger", **config))
        await eye.close()
        async with AtLeastOnce(server.url, Stream(name, [f"c{number}.>"])) as guarantee:
            await guarantee.run(print, durable="ledger")

    with pytest.raises(StreamMismatch, match=problem):
        asyncio.run(consumer())


@given(TOKENS, st.booleans(), TOKENS, st.booleans())
def test_a_pattern_covers_another_when_all_its_subjects_match(wide, wide_open, narrow, narrow_open):
    """Against the oracle of filling the narrow one's wildcards with what the wide one does not name."""
    wide_text, narrow_text = (".".join([*t, ">"] if o else t) for t, o in ((wide, wide_open), (narrow, narrow_open)))
    filled = ".".join("z" if token == "*" else token for token in narrow)
    longest = [f"{filled}.z", f"{filled}.z.z.z.z"] if narrow_open else [filled]
    assert covers(wide_text, narrow_text) == all(map(matcher(wide_text), longest))
