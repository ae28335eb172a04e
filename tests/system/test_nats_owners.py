"""H2 on NATS: a shard has one owner at a time, whoever starts, dies, stands still or comes back; nothing is processed twice over all of them."""

import signal

import pytest

from tests.nats_server import NatsServer, far_apart, running
from tests.system.processes import wait_until

pytestmark = pytest.mark.needs("nats-server")

LEASE = 0.45
READY = {"future_bound": 0.05, "clock_guard": 0.05, "grace": 0.2}
SETTINGS = f"lease={LEASE}&ping=0.5"


@pytest.fixture
def server(tmp_path):
    """One server."""
    with running([NatsServer(tmp_path)]) as [server]:
        yield server


@pytest.fixture
def url(server):
    """A channel of sixteen shards there."""
    return server.url("owned", SETTINGS)


def test_a_second_owner_is_refused_and_told_who_is_there(scene, url):
    """One shard in common is enough; the first one is not disturbed."""
    first = scene.receiver(url, shards="0-8/16", **READY).go()
    first.ready()
    second = scene.receiver(url, shards="8-15/16", **READY).go()
    said = second.child.line()
    assert f"(pid {first.child.pid} on " in said["holder"]
    assert said["holder"].endswith("which has 0-8/16")
    assert "stop that receiver" in said["in_use"]
    sender = scene.sender(url, "a", count=100)
    sender.finish()
    sender.close()
    first.close()
    assert scene.verdict().duplicates == {}


def test_another_number_of_shards_is_refused_too(scene, server, url):
    """Two divisions of one channel would let a session be received twice, or not at all."""
    scene.receiver(url, shards="0-7/16", **READY).go().ready()
    other = scene.receiver(server.url("owned", SETTINGS + "&shards=32"), shards="16-31/32", **READY).go()
    assert other.child.line()["holder"].endswith("which has 0-7/16")


def test_of_several_that_start_at_once_one_becomes_the_owner(scene, url):
    """They hear each other's claims, and the smallest id goes on."""
    crew = [scene.receiver(url, **READY) for _ in range(4)]
    for each in crew:
        each.child.line()
    for each in crew:
        each.child.tell("go")
    wait_until(lambda: sum(each.child._process.poll() == 3 for each in crew) == 3, "three of four have given up")
    (owner,) = [each for each in crew if each.child._process.poll() is None]
    owner.ready()


def test_receivers_that_divide_a_channel_receive_everything_between_them(scene, server):
    """Each session goes to the owner of its shard."""
    url = server.url("owned", "lease=3&ping=1")  # nobody may lose a shard, however busy the machine is
    crew = [scene.receiver(url, shards=shards, **READY).go() for shards in ("0-7/16", "8,9-15/16")]
    for each in crew:
        each.ready()
    senders = [scene.sender(url, label, count=200) for label in "abcd"]
    reports = [(sender.finish(), sender.close())[1] for sender in senders]
    wait_until(lambda: sum(each.handled() for each in crew) == 800, "all is handled by one of the two")
    ledgers = [each.close() for each in crew]
    assert {row["id"] for ledger in ledgers for row in ledger["sessions"]} == {r["session"] for r in reports}
    verdict = scene.verdict()
    assert (verdict.handled, verdict.lost, verdict.unknown) == (800, 0, 0)


def test_a_successor_takes_over_from_the_dead(scene, url):
    """It starts with its own floor: what the dead one may have processed is refused, and known."""
    first = scene.receiver(url, **READY).go()
    first.ready()
    sender = scene.sender(url, "a")
    first.wait_handled(300)
    second = scene.receiver(url, **READY)
    first.kill()
    second.go().ready()
    second.wait_handled(300)
    report = sender.close()
    second.wait_settled(report)
    second.close()
    verdict = scene.verdict()
    assert verdict.handled >= 600


def test_an_owner_that_stood_still_gives_up_before_it_processes_anything(scene, url):
    """It finds the lease over by its own clock, hears of its successor, and ends; what waited at its socket is processed by nobody twice."""
    first = scene.receiver(url, **READY).go()
    first.ready()
    sender = scene.sender(url, "a")
    first.wait_handled(300)
    first.child.signal(signal.SIGSTOP)
    second = scene.receiver(url, **READY).go()
    second.ready()
    second.wait_handled(1_000)
    first.child.signal(signal.SIGCONT)
    assert first.child.wait() == 0
    second.wait_handled(2_000)
    report = sender.close()
    second.wait_settled(report)
    second.close()
    assert scene.verdict().duplicates == {}


def test_an_owner_that_stood_still_takes_over_again_when_nobody_came(scene, url):
    """A new incarnation with the old books: nothing sent before is processed any more, and all of it is accounted for."""
    owner = scene.receiver(url, **READY).go()
    owner.ready()
    sender = scene.sender(url, "a")
    owner.wait_handled(300)
    owner.child.signal(signal.SIGSTOP)
    accepted = sender.progress()["accepted"]
    sender.wait_accepted(accepted + 16_000)  # sixteen a millisecond at the most: longer than a lease
    owner.child.signal(signal.SIGCONT)
    before = owner.handled()
    owner.wait_handled(before + 1_000)
    report = sender.close()
    owner.wait_settled(report)
    ledger = owner.close()
    verdict = scene.verdict()
    assert verdict.unknown == 0
    assert verdict.lost > 0
    assert ledger["refused"].get("below_floor", 0) + ledger["kernel_drops"] > 0


def test_an_owner_that_stood_still_while_another_one_came_and_went(scene, url):
    """What the other one has processed still waits at its socket: taking over again, it refuses all of that (R10)."""
    first = scene.receiver(url, **READY).go()
    first.ready()
    sender = scene.sender(url, "a")
    first.wait_handled(300)
    first.child.signal(signal.SIGSTOP)
    second = scene.receiver(url, **READY).go()
    second.ready()
    second.wait_handled(1_000)
    second.kill()
    first.child.signal(signal.SIGCONT)
    before = first.handled()
    first.wait_handled(before + 1_000)
    report = sender.close()
    first.wait_settled(report)
    first.close()
    assert scene.verdict().duplicates == {}


def test_a_slow_handler_costs_nobody_its_shards(scene, url):
    """The announcements do not wait for it."""
    first = scene.receiver(url, handler_seconds=2.5 * LEASE, **READY).go()
    first.ready()
    sender = scene.sender(url, "a", count=2)
    sender.finish()
    first.wait_handled(1)
    second = scene.receiver(url, **READY).go()
    assert "holder" in second.child.line()
    first.wait_handled(2)
    sender.close()
    first.close()
    assert scene.verdict().handled == 2


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_newcomer_far_away_does_not_disturb_an_owner(scene, tmp_path, order):
    """The owner's contradiction comes after the claim is through: the older one goes on, and the newcomer ends before it has processed anything."""
    lease, delay = 0.4, 0.45
    with far_apart(tmp_path, delay) as (servers, _):
        here, there = (servers[place].url("owned", f"lease={lease}&ping=2") for place in order)
        first = scene.receiver(here, **READY).go()
        first.ready()
        sender = scene.sender(here, "a", linger=0.01)
        first.wait_handled(300)
        second = scene.receiver(there, **READY).go()
        assert second.child.wait() == 0
        before = first.handled()
        first.wait_handled(before + 1_000)
        report = sender.close()
        first.wait_settled(report)
        first.close()
        verdict = scene.verdict()
        assert (verdict.duplicates, second.handled()) == ({}, 0)
