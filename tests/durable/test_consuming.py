"""Processing until acknowledged: what a handler is given, and what becomes of what it cannot process."""

import asyncio
import sqlite3
import threading
import time

import msgspec
import nats
import pytest

import atmost
from atmost import OptionError, SubjectError
from atmost.durable import (
    AtLeastOnce,
    DurableMessage,
    ExactlyOnce,
    IdempotencyStore,
    SQLiteStore,
    Stream,
    StreamMismatch,
)
from tests.durable.jetstream import Relay
from tests.durable.scene import Mode, Scene, until
from tests.real import program

pytestmark = pytest.mark.needs("nats-server")


@pytest.fixture
def scene(server, tmp_path):
    """A function that makes a scene, at least once unless told otherwise."""
    return lambda mode=Mode.AT_LEAST_ONCE, **stream: Scene(mode, tmp_path / mode.name, server, **stream)


def test_a_handler_of_messages_is_given_the_same_type(scene):
    """Subject, payload, sender's name and times as over any transport, and what the durable path knows beside."""

    async def one() -> DurableMessage:
        got: list[DurableMessage] = []
        before = time.time()
        async with scene() as place:
            async with place.guarantee(name="käse-1") as publisher:
                receipt = await publisher.publish(place.subject, {"amount": 12.5, "raw": b"\0"}, id="order-17")
            async with place.consuming(got.append):
                await place.until_settled()
        (message,) = got
        assert isinstance(message, atmost.Message)
        assert (message.subject, message.payload) == (place.subject, {"amount": 12.5, "raw": b"\0"})
        assert (message.id, message.sequence, message.stream) == ("order-17", receipt.sequence, place.stream.name)
        assert (message.attempt, message.redelivered, message.may_be_repeated) == (1, False, False)
        assert message.session.name == "käse-1"
        assert before - 1 <= message.sent_at <= message.received_at <= time.time() + 1
        return message

    asyncio.run(one())


def test_what_may_have_been_processed_before_is_marked(scene):
    """A delivery after a failure, and a message that its publisher had to repeat."""

    async def repeated():
        seen: list[tuple[int, bool, bool]] = []

        def handler(message):
            seen.append((message.attempt, message.redelivered, message.may_be_repeated))
            if len(seen) == 1:
                raise RuntimeError("no paper")

        async with scene() as place:
            await place.publish()
            async with place.consuming(handler):
                await place.until_settled()
            async with Relay(place.server.port) as relay:
                publisher = place.guarantee(relay.url)
                await publisher._engine.jetstream(10)
                relay.swallow_answers = True
                publishing = asyncio.create_task(publisher.publish(place.subject, "b"))
                await until(lambda: publisher.stats().retries)
                relay.cut()
                await publishing
                await publisher.close()
            async with place.consuming(handler):
                await place.until_settled()
        return seen

    first, again, *copies = asyncio.run(repeated())
    assert first == (1, False, False)
    assert again == (2, True, True)
    assert (1, False, True) in copies


def test_the_order_is_kept_one_at_a_time_and_several_work_at_once(scene):
    """`concurrency` is how many; one keeps the order."""

    async def both():
        order: list[str] = []
        together: set[str] = set()
        most = 0
        async with scene() as place, place.guarantee() as publisher:
            for number in range(8):
                await publisher.publish(place.subject, str(number))
            async with place.consuming(lambda message: order.append(message.payload)):
                await place.until_settled()
            for number in range(8):
                await publisher.publish(place.subject, str(number))

            async def wait(message):
                nonlocal most
                together.add(message.payload)
                most = max(most, len(together))
                await asyncio.sleep(0.05)
                together.discard(message.payload)

            async with place.consuming(wait, concurrency=4):
                await place.until_settled()
        return order, most

    order, most = asyncio.run(both())
    assert order == [str(number) for number in range(8)]
    assert 1 < most <= 4


def test_two_names_each_get_everything_and_subjects_choose(server, tmp_path):
    """A consumer's name is its own account of what was processed; with a shared store too."""

    async def two():
        kept = Stream("TWONAMES", ["twonames.>"])
        got: dict[str, list[str]] = {"ledger": [], "mail": []}
        with SQLiteStore(tmp_path / "store.db") as store:
            async with ExactlyOnce(server.url, kept) as once:
                for subject in ("twonames.a", "twonames.b", "twonames.a"):
                    await once.publish(subject, 1)

                async def run(name, **options):
                    await once.run(lambda m: got[name].append(m.subject), durable=name, store=store, **options)

                running = [asyncio.create_task(run("ledger")), asyncio.create_task(run("mail", subjects=["*.a"]))]
                await until(lambda: len(got["ledger"]) == 3 and len(got["mail"]) == 2)
                once.stop()
                await asyncio.gather(*running)
            assert len(store) == 5
        return got

    got = asyncio.run(two())
    assert got["ledger"] == ["twonames.a", "twonames.b", "twonames.a"]
    assert got["mail"] == ["twonames.a", "twonames.a"]


def test_poison_goes_to_the_dead_letter_subject_once(scene, caplog):
    """With what is known of it in headers; the next message is processed."""

    async def poisoned():
        async with scene() as place:
            dead = f"dead.{place.stream.name}"
            eye = await nats.connect(place.url)
            await eye.jetstream().add_stream(name=f"DEAD_{place.stream.name}", subjects=[dead])
            good: list[str] = []

            def handler(message):
                if message.payload == "bad":
                    raise ValueError("no\nsuch account")
                good.append(message.payload)

            await place.publish("bad", id="order-17")
            await place.publish("good")
            async with place.consuming(handler, max_deliver=2, dead_letter=dead) as consumer:
                await place.until_settled()
                await until(lambda: consumer.stats().dead_lettered)
            stored = await eye.jetstream().get_msg(f"DEAD_{place.stream.name}", 1)
            await eye.close()
            return place, stored, good, consumer.stats()

    place, stored, good, stats = asyncio.run(poisoned())
    assert good == ["good"]
    assert (stats.failed, stats.dead_lettered, stats.processed) == (2, 1, 1)
    assert stored.headers["Atmost-Id"] == "order-17"
    assert stored.headers["Atmost-Dead-Subject"] == place.subject
    assert stored.headers["Atmost-Dead-Sequence"] == "1"
    assert "ValueError: no" in stored.headers["Atmost-Dead-Reason"]
    assert stored.data == b"\xa3bad"
    assert "is on dead." in caplog.text


def test_a_dead_letter_that_nobody_keeps_is_refused(scene):
    """Poison would be thrown away, or go round."""

    async def nobody():
        async with scene() as place, place.guarantee() as consumer:
            with pytest.raises(StreamMismatch, match=r"no stream keeps the dead letters on nobody\.keeps"):
                await consumer.run(print, durable="a", dead_letter="nobody.keeps")
            with pytest.raises(OptionError, match="poison would go round"):
                await consumer.run(print, durable="a", dead_letter=place.subject)

    asyncio.run(nobody())


def test_a_message_that_kills_its_process_is_poison_too(scene, server):
    """Deliveries are counted by the server, so that a crash counts."""

    async def crashing():
        async with scene() as place:
            await place.publish()
            code = "from tests.durable.consumer import main; main()"
            for _ in range(2):
                arguments = (place.url, place.stream.name, place.subject, place.mode, place.folder, "before")
                with program(code, *arguments) as other:
                    assert await asyncio.to_thread(other.line) == "held"
                    other.kill()
            async with place.consuming(max_deliver=2) as consumer:
                await until(lambda: consumer.stats().parked)
                await place.until_settled()
            return consumer.stats(), place.books.effects()

    stats, effects = asyncio.run(crashing())
    assert effects == {}
    assert stats.parked == 1
    assert stats.processed == 0


def test_what_is_no_message_of_ours_is_dead_at_once_or_taken_as_it_is(scene):
    """Bytes that are no MessagePack are parked; a message without our headers has its number in the stream as its id."""

    async def foreign():
        got: list[DurableMessage] = []
        async with scene(Mode.AFTER) as place:
            async with place.guarantee() as publisher:
                await publisher._engine.jetstream(10)
            eye = await nats.connect(place.url)
            js = eye.jetstream()
            await js.publish(place.subject, b"\xc1 no such byte")
            await js.publish(place.subject, b"\x07")
            await js.publish(place.subject, b"\x08", headers={"Atmost-Sent-Us": "-7", "Atmost-Attempt": "x"})
            await eye.close()
            async with place.consuming(got.append) as consumer:
                await place.until_settled()
            return got, consumer.stats(), place.stream.name

    got, stats, name = asyncio.run(foreign())
    assert [message.payload for message in got] == [7, 8]
    assert [message.id.rpartition(":")[0] for message in got] == [f"{name}:2", f"{name}:3"]
    assert all(message.publish_attempt == 1 and message.sent_at > 1e9 for message in got)
    assert (stats.malformed, stats.parked, stats.processed) == (1, 1, 2)


def test_a_consumer_that_is_deleted_on_the_server_is_made_again(scene):
    """At least once comes from the beginning, exactly once skips what it knows."""

    async def deleted():
        async with scene(Mode.TRANSACTION) as place:
            await place.publish("a")
            async with place.consuming() as consumer:
                await place.until_settled()
                await place._js.delete_consumer(place.stream.name, "ledger")
                await place.publish("b")
                await until(lambda: consumer.stats().skipped)
                await place.until_settled()
            return place.books.effects()

    assert asyncio.run(deleted()) == {"a": 1, "b": 1}


class Failing(SQLiteStore):
    """Cannot record the first time, as on a full disk."""

    failed = False

    def record(self, scope: str, id: str) -> bool:  # noqa: A002  as in the protocol
        """Raise once."""
        if not self.failed:
            self.failed = True
            raise OSError(28, "No space left on device")
        return super().record(scope, id)


def test_a_store_that_fails_is_counted_and_the_message_comes_again(scene, tmp_path, caplog):
    """What is not recorded is not acknowledged."""

    async def failing():
        calls: list[int] = []
        async with scene(Mode.AFTER) as place:
            await place.publish()
            with Failing(tmp_path / "failing.db") as store:
                async with place.consuming(lambda message: calls.append(message.attempt), store=store) as consumer:
                    await place.until_settled()
                assert len(store) == 1
            return calls, consumer.stats()

    calls, stats = asyncio.run(failing())
    assert calls == [1, 2]
    assert stats.not_recorded == 1
    assert "could not be recorded" in caplog.text


def test_a_copy_of_what_is_in_hand_waits(scene, tmp_path):
    """Two copies of one id in the stream, and room for both: the second comes again when the first is done."""

    async def copies():
        calls: list[str] = []
        async with scene(Mode.AFTER) as place:
            eye = await nats.connect(place.url)
            async with place.guarantee() as publisher:
                await publisher._engine.jetstream(10)
            for _ in range(2):
                await eye.jetstream().publish(place.subject, b"\x07", headers={"Atmost-Id": "order-17"})
            await eye.close()

            async def handler(message):
                calls.append(message.id)
                await until(lambda: consumer.stats().in_hand)

            async with place.consuming(handler, concurrency=2, ack_wait=0.5) as consumer:
                await place.until_settled()
            return calls, consumer.stats()

    calls, stats = asyncio.run(copies())
    assert calls == ["order-17"]
    assert (stats.processed, stats.skipped) == (1, 1)


def test_stop_lets_what_is_in_hand_end_and_cancel_does_not(scene):
    """Stopped, it is acknowledged; cancelled, it comes again."""

    async def ended():
        async with scene() as place:
            await place.publish("a")
            entered, go = asyncio.Event(), asyncio.Event()

            async def handler(message):
                entered.set()
                await go.wait()

            async with place.consuming(handler) as consumer:
                await entered.wait()
                consumer.stop()
                go.set()
            await place.until_settled()
            assert consumer.stats().processed == 1

            await place.publish("b")
            entered.clear()
            go.clear()
            consumer = place.guarantee()
            running = asyncio.create_task(consumer.run(handler, **place.run_options()))
            await entered.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await consumer.close()
            again: list[int] = []
            async with place.consuming(lambda message: again.append(message.attempt)):
                await place.until_settled()
            return again

    assert asyncio.run(ended()) == [2]


def test_stop_comes_through_before_a_run_has_begun(scene):
    """It may still be looking for a server."""

    async def stopped():
        consumer = AtLeastOnce("nats://127.0.0.1:1", Stream("NOBODY", ["nobody"]))
        running = asyncio.create_task(consumer.run(print, durable="a"))
        await asyncio.sleep(0)
        await asyncio.wait_for(consumer.close(), 10)
        await running

    asyncio.run(stopped())


def test_a_plain_handler_runs_in_a_thread_of_its_own(scene):
    """It may wait without holding up the loop, and stop the run from there; it may also return what is to be awaited."""

    async def threads():
        names: list[str] = []
        async with scene() as place:
            await place.publish()
            consumer = place.guarantee()

            def handler(message):
                names.append(threading.current_thread().name)
                consumer.stop()
                return asyncio.sleep(0, names.append("awaited"))

            await consumer.run(handler, **place.run_options())
            await consumer.close()
        return names

    first, second = asyncio.run(threads())
    assert first.startswith("atmost-durable")
    assert second == "awaited"


def test_a_cancelled_run_ends_after_its_threads(scene):
    """An effect that comes after the end of its run would surprise whoever cancelled it."""

    async def cancelled():
        entered, ended = threading.Event(), threading.Event()

        def handler(message):
            entered.set()
            time.sleep(0.3)
            ended.set()

        async with scene() as place:
            await place.publish()
            consumer = place.guarantee()
            running = asyncio.create_task(consumer.run(handler, **place.run_options()))
            await until(entered.is_set)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert ended.is_set()
            await consumer.close()

    asyncio.run(cancelled())


def test_options_of_run_are_checked(server, tmp_path):
    """And a record that forgets sooner than the last copy can come."""

    async def options():
        kept = Stream("OPTIONS", ["options.>"], max_age=3600)
        async with AtLeastOnce(server.url, kept) as more:
            for wrong in (
                {"durable": "a b"},
                {"durable": "a", "ack_wait": 0},
                {"durable": "a", "max_deliver": 0},
                {"durable": "a", "concurrency": True + 2000},
                {"durable": "a", "no_such": 1},
            ):
                with pytest.raises(OptionError):
                    await more.run(print, **wrong)
            with pytest.raises(OptionError, match="handler=None"):
                await more.run(None, durable="a")
            with pytest.raises(SubjectError, match="nothing would ever come"):
                await more.run(print, durable="a", subjects=[kept.subjects[0], "elsewhere.>"])
        async with ExactlyOnce(server.url, kept) as once:
            with pytest.raises(OptionError, match="store=None"):
                await once.run(print, durable="a")
            with pytest.raises(OptionError, match="record='never'"):
                await once.run(print, durable="a", store=tmp_path / "a.db", record="never")
            short = SQLiteStore(tmp_path / "b.db", retention=3600 + 30 + 30 - 1)
            with short, pytest.raises(OptionError, match=r"retention=3659\.0: expected at least 3660 s"):
                await once.run(print, durable="a", store=short)
        async with ExactlyOnce(server.url, Stream("FOREVER", ["forever"], max_age=0)) as once:
            with SQLiteStore(tmp_path / "c.db") as long, pytest.raises(OptionError, match="at least inf s"):
                await once.run(print, durable="a", store=long)

    asyncio.run(options())


class Shared:
    """A store of the user's own, as for consumers on several hosts."""

    retention = float("inf")

    def __init__(self):
        self.records: set[tuple[str, str]] = set()

    def seen(self, scope, id):  # noqa: A002  as in the protocol
        """Ask."""
        return (scope, id) in self.records

    def record(self, scope, id):  # noqa: A002  as in the protocol
        """Keep."""
        new = (scope, id) not in self.records
        self.records.add((scope, id))
        return new


def test_the_store_is_pluggable_and_a_path_makes_one(scene, tmp_path):
    """Three methods are a store; a path is an SQLite file that keeps long enough."""

    async def stores():
        shared = Shared()
        assert isinstance(shared, IdempotencyStore)
        async with scene(Mode.AFTER) as place:
            await place.publish(id="order-17")
            async with place.consuming(store=shared):
                await place.until_settled()
            async with place.consuming(store=tmp_path / "path.db", durable="other") as consumer:
                await until(lambda: consumer.stats().processed)
            with SQLiteStore(tmp_path / "path.db") as made:
                assert made.seen(f"{place.stream.name}/other", "order-17")
            return shared.records, place.stream.name

    records, name = asyncio.run(stores())
    assert records == {(f"{name}/ledger", "order-17")}


def test_a_store_that_cannot_be_asked_kills_no_message(scene, monkeypatch):
    """No handler has begun with it: it comes again, and is processed, where it is recorded before the handler too."""

    async def one():
        async with scene(Mode.BEFORE) as place:
            record, failures = place.books.store.record, [sqlite3.OperationalError("database is locked")]

            def locked_once(*message):
                if failures:
                    raise failures.pop()
                return record(*message)

            monkeypatch.setattr(place.books.store, "record", locked_once)
            await place.publish()
            async with place.consuming() as consumer:
                await place.until_settled()
            assert place.effects() == 1
            return consumer.stats()

    stats = asyncio.run(one())
    assert (stats.not_recorded, stats.processed) == (1, 1)
    assert stats.parked == 0


def test_a_transaction_does_not_go_with_a_record_before(scene):
    """It finds the record of its own delivery: that is a failure that is told, for nothing was processed."""

    async def one():
        async with scene(Mode.BEFORE) as place:

            def handler(message):
                with place.books.store.transaction(message):
                    raise AssertionError("it is recorded already")

            await place.publish()
            async with place.consuming(handler) as consumer:
                await place.until_settled()
            return consumer.stats()

    stats = asyncio.run(one())
    assert (stats.failed, stats.parked) == (1, 1)
    assert stats.skipped == 0


def test_messages_without_an_id_are_new_in_a_stream_made_anew(scene):
    """Its numbers begin at 1 again, and the store still knows those of the stream that was deleted."""

    async def twice():
        async with scene(Mode.TRANSACTION) as place:
            for number in range(2):
                async with place.guarantee() as engine:
                    await engine._engine.jetstream(10)
                await place._js.publish(place.subject, msgspec.msgpack.encode(f"{number}"))
                async with place.consuming():
                    await place.until_settled()
                await place._js.delete_stream(place.stream.name)
            return place.books.effects()

    assert asyncio.run(twice()) == {"0": 1, "1": 1}
