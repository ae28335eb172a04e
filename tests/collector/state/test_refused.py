"""Who is refused and was never accepted is named: who, why, and what mends it; bounded against a flood of forged addresses."""

from atmost.collector.state.refused import MAX_NAMES, MAX_ROWS, RefusedSenders, describe
from atmost.core.datagram import Kind
from atmost.core.events import ClockAlarm, ClockTrouble, RefusalReason, Session
from tests.real import forge

HERE = "udp://127.0.0.1:7140"
PEER = ("10.0.0.7", "10.0.0.7:4711")


def feed(table, datagram, reason, now, peer=PEER, *, keyed=True):
    """One refused datagram."""
    table.feed(datagram, reason, HERE, peer, now, keyed=keyed)


def test_a_sender_without_a_key_is_named():
    """Its address is known from the first datagram, its name from the first beacon that can be read."""
    table, now = RefusedSenders(), 1_767_225_600.0
    feed(table, forge([("a", 1)]), RefusalReason.UNKNOWN_KEY, now)
    [row] = table.rows(now)
    assert (row.address, row.host, row.names, row.count) == ("10.0.0.7:4711", "10.0.0.7", [], 1)
    assert "it sends without a key, and this collector has one" in row.advice
    feed(table, forge(kind=Kind.BEACON), RefusalReason.UNKNOWN_KEY, now + 1)
    [row] = table.rows(now + 1)
    assert (row.names, row.proven, row.count, row.first, row.last) == (["forger"], False, 2, now, now + 1)
    assert describe(row).startswith("forger at 10.0.0.7:4711: it sends without a key")


def test_what_is_not_ours_is_told_as_that():
    """Another protocol at our address."""
    table = RefusedSenders()
    feed(table, b"bar.hits:1|c", RefusalReason.MALFORMED, 1.0)
    assert "another program or protocol" in table.rows(1.0)[0].advice


def test_a_clock_ahead_is_told_with_its_seconds():
    """From the datagram itself; an alarm adds a name that a key has proven to the same row."""
    table, now = RefusedSenders(), 1_767_225_600.0
    datagram = forge([("a", 1)], sent_us=round((now + 41) * 1e6), start_us=1)
    feed(table, datagram, RefusalReason.FUTURE, now)
    session = Session(datagram[2:20], 1)
    session.name = "batch-2"
    table.alarm(ClockAlarm(ClockTrouble.SENDER_AHEAD, 1, session, 41.0), HERE, now)
    [row] = table.rows(now)
    assert row.advice == "its clock is 41 s ahead of this host's: set that host's clock (chrony, ntpd)"
    assert (row.names, row.proven, row.address) == (["batch-2"], True, "10.0.0.7:4711")


def test_an_alarm_alone_is_a_row_too():
    """Where the transport does not tell addresses."""
    table, session = RefusedSenders(), Session(bytes(18), 1)
    session.name = "far"
    table.alarm(ClockAlarm(ClockTrouble.SENDER_BEHIND, 3, session, 9.0), "nats://n", 5.0)
    [row] = table.rows(5.0)
    assert (row.names, row.address, row.count) == (["far"], "", 3)
    assert "9 s behind" in row.advice


def test_the_start_of_the_collector_blames_nobody():
    """What is sent in these seconds is refused for the boot quarantine; a clock far behind is still told."""
    table, now = RefusedSenders(), 1_767_225_600.0
    feed(table, forge([("a", 1)], sent_us=round((now - 1) * 1e6)), RefusalReason.BOOT_QUARANTINE, now)
    assert table.rows(now) == []
    feed(table, forge([("a", 1)], sent_us=round((now - 60) * 1e6)), RefusalReason.BOOT_QUARANTINE, now)
    assert "60 s behind" in table.rows(now)[0].advice
    feed(table, forge([("a", 1)]), RefusalReason.WRONG_SHARD, now)
    assert len(table) == 1


def test_each_kind_is_news_once():
    """One line for each reason at each address, whoever sends."""
    table = RefusedSenders()
    for number in range(5):
        feed(table, b"x", RefusalReason.MALFORMED, 1.0, (f"10.0.0.{number}", f"10.0.0.{number}:1"))
    feed(table, forge([("a", 1)]), RefusalReason.AUTH_FAILED, 1.0)
    assert [row.reason for row in table.news()] == ["malformed", "auth_failed"]
    assert table.news() == []


def test_a_flood_hides_nobody_and_costs_nothing():
    """Forged addresses push each other out, not the sender that has been refused again and again."""
    table = RefusedSenders()
    for _ in range(50):
        feed(table, b"x", RefusalReason.MALFORMED, 1.0)
    for number in range(20_000):
        feed(table, b"x", RefusalReason.MALFORMED, 1.0 + number / 1000, (f"10.1.{number >> 8}.{number & 255}", "a:1"))
    assert len(table) <= MAX_ROWS
    assert table.left_out > 10_000
    assert max(table.rows(21.0), key=lambda row: row.count).address == "10.0.0.7:4711"


def test_names_are_bounded():
    """A host of many programs has one row."""
    table = RefusedSenders()
    session = Session(bytes(18), 1)
    for number in range(100):
        session.name = f"n{number}"
        table.alarm(ClockAlarm(ClockTrouble.SENDER_AHEAD, 1, session, 9.0), HERE, 5.0)
    [row] = table.rows(5.0)
    assert len(row.names) == MAX_NAMES
    assert "and others" in describe(row)


def test_a_row_is_forgotten_an_hour_after_its_last_refusal():
    """What was mended disappears."""
    table = RefusedSenders()
    feed(table, b"x", RefusalReason.MALFORMED, 1.0)
    assert table.rows(3000.0)
    assert table.rows(3700.0) == []
