"""Records of syslog, GELF and DogStatsD in the tail, with the gaps that their numbers and chunks hint at."""

import json

from atmost.collector.state import foreign as module
from atmost.collector.state.foreign import ForeignLogs
from atmost.collector.state.logtail import LogTail
from atmost.collector.state.records import Gap
from atmost.ingest import statsd, syslog
from atmost.ingest.gelf import GelfReader
from tests.collector.scene import T0


def make(max_record=1000):
    """A tail, and what writes to it."""
    tail = LogTail(max_records=100, max_bytes=1 << 20, max_records_per_sender=100, now=T0)
    return tail, ForeignLogs(tail, max_record=max_record)


def feed_syslog(foreign, text, source="10.0.0.1:514", now=T0):
    """Gives a datagram of syslog."""
    foreign.syslog(syslog.parse(text.encode(), source.partition(":")[0], now), source, now)


def test_a_syslog_record_has_its_parts():
    """Level, application, host and structured data."""
    tail, foreign = make()
    feed_syslog(foreign, '<165>1 2026-01-01T00:00:00.5Z web-1 shop 17 ID47 [a@1 b="c"] it works')
    [record] = tail.entries()
    assert (record.level, record.sender, record.host, record.logger) == ("NOTICE", "shop", "web-1", "shop")
    assert (record.message, record.t, record.source) == ("it works", T0 + 0.5, "syslog")
    assert record.fields == {"facility": 20, "process": "17", "message_id": "ID47", "a@1.b": "c", "peer": "10.0.0.1"}


def test_a_bare_text_has_the_peer_as_its_host():
    """Nothing is invented."""
    tail, foreign = make()
    feed_syslog(foreign, "<13>hello")
    [record] = tail.entries()
    assert (record.sender, record.host, record.t, record.level) == ("10.0.0.1", "10.0.0.1", T0, "NOTICE")


def test_a_jump_of_numbers_is_an_unverified_gap():
    """A relay that filters looks the same."""
    tail, foreign = make()
    text = '<13>1 - web-1 shop - - [meta sequenceId="{}"] m'
    feed_syslog(foreign, text.format(1))
    feed_syslog(foreign, text.format(5), now=T0 + 3)
    _, gap, late = tail.entries()
    assert (gap.lost, gap.verified, gap.by_level, gap.reason) == (3, False, None, "syslog_sequence")
    assert (gap.sender, gap.from_, gap.to) == ("shop", T0, T0 + 3)
    assert not late.late
    feed_syslog(foreign, text.format(3), now=T0 + 4)
    assert tail.entries()[-1].late
    assert (gap.lost, tail.counts["lost"], tail.counts["late"]) == (2, 3, 1)


def test_numbers_that_overtake_each_other_leave_no_gap():
    """What came late is in no hole any more, and the next hole is one of its own."""
    tail, foreign = make()
    text = '<13>1 - web-1 shop - - [meta sequenceId="{}"] m'
    for number in (
        2147483645,
        3,
        2147483647,
        2,
        2147483646,
    ):  # 1 follows 2147483647, and is a new beginning where it is late
        feed_syslog(foreign, text.format(number))
    assert [entry.lost for entry in tail.entries() if isinstance(entry, Gap)] == [1]
    feed_syslog(foreign, text.format(5), source="10.0.0.2:514")
    for number in (8, 7, 6, 6):
        feed_syslog(foreign, text.format(number), source="10.0.0.2:514", now=T0 + 2)
    assert [entry.lost for entry in tail.entries() if isinstance(entry, Gap)] == [1]
    feed_syslog(foreign, text.format(10), source="10.0.0.2:514", now=T0 + 2)
    assert [entry.lost for entry in tail.entries() if isinstance(entry, Gap)] == [1, 1]


def test_a_number_may_be_of_an_older_hole():
    """Each of the last holes of a counter is lowered by its own, and only once."""
    tail, foreign = make()
    text = '<13>1 - web-1 shop - - [meta sequenceId="{}"] m'
    for second, number in enumerate((1, 3, 6, 8)):
        feed_syslog(foreign, text.format(number), now=T0 + 2 * second)
    for number in (2, 2, 5):
        feed_syslog(foreign, text.format(number), now=T0 + 9)
    assert [entry.lost for entry in tail.entries() if isinstance(entry, Gap)] == [1, 1]


def test_what_is_remembered_of_senders_is_bounded(monkeypatch):
    """Whoever they say they are, and however many."""
    monkeypatch.setattr(module, "_KEPT", 3)
    _, foreign = make()
    for host in range(20):
        for number in (1, 3):
            feed_syslog(foreign, f'<13>1 - host-{host} app-{host} - - [meta sequenceId="{number}"] m')
    assert (len(foreign._last), len(foreign._gaps), len(foreign._holes)) == (3, 3, 3)


def test_who_goes_on_is_not_forgotten_for_strangers(monkeypatch):
    """Its next gap begins where it was heard last, is joined with the one before, and is lowered by what comes late."""
    monkeypatch.setattr(module, "_KEPT", 3)
    tail, foreign = make()
    text = '<13>1 - {} {} - - [meta sequenceId="{}"] m'
    for turn in range(10):
        feed_syslog(foreign, text.format("web-1", "shop", 3 * turn + 1), now=T0 + 0.1 * turn)
        for stranger in range(2):
            for number in (1, 3):
                name = f"{turn}-{stranger}"
                feed_syslog(foreign, text.format(name, name, number), source=f"10.0.0.9:{turn}", now=T0 + 0.1 * turn)
    feed_syslog(foreign, text.format("web-1", "shop", 27), now=T0 + 2)
    [gap] = [entry for entry in tail.entries() if isinstance(entry, Gap) and entry.sender == "shop"]
    assert (gap.lost, gap.from_) == (17, T0)


def test_a_long_record_is_cut_and_marked():
    """The bound is the operator's."""
    tail, foreign = make(max_record=300)
    feed_syslog(foreign, "<13>" + "x" * 1000)
    [record] = tail.entries()
    assert (len(record.message), record.truncated) == (300, True)
    assert tail.counts["log_record"] == 1


def test_a_gelf_record_has_its_parts():
    """The full message is its exception; additional fields are fields."""
    tail, foreign = make()
    body = {
        "version": "1.1",
        "host": "web-1",
        "short_message": "boom",
        "full_message": "Traceback",
        "level": 3,
        "timestamp": T0,
    }
    [record] = GelfReader().feed(json.dumps(body | {"_facility": "shop", "_user": 7}).encode(), "10.0.0.1", T0)
    foreign.gelf(record)
    [entry] = tail.entries()
    assert (entry.level, entry.sender, entry.host, entry.message) == ("ERROR", "shop", "web-1", "boom")
    assert (entry.exception, entry.fields, entry.source) == ("Traceback", {"facility": "shop", "user": 7}, "gelf")


def test_an_incomplete_gelf_message_is_a_verified_gap():
    """Chunks that came prove the message."""
    tail, foreign = make()
    reader = GelfReader()
    assert reader.feed(b"\x1e\x0f" + b"12345678" + b"\x00\x02" + b"half", "10.0.0.1", T0) == []
    [lost] = reader.tick(T0 + 10)
    foreign.gelf_incomplete(lost, T0 + 10)
    [gap] = tail.entries()
    assert (gap.lost, gap.verified, gap.reason, gap.sender) == (1, True, "gelf_chunks_timeout", "10.0.0.1")


def test_events_and_checks_of_dogstatsd_are_records():
    """They are words, and what else they say is in the fields: with their tags, none of which takes the place of another."""
    tail, foreign = make()
    found = statsd.parse(
        b"_e{5,4}:title|text|t:error|p:low|k:deploys|d:1600000000|c:in-1|#a:b,title:mine\n_sc|db|2|d:1600000001|m:gone"
    )
    foreign.event(found.events[0], "10.0.0.1", T0)
    foreign.check(found.checks[0], "10.0.0.1", T0)
    event, check = tail.entries()
    assert (event.level, event.message, event.source) == ("ERROR", "title: text", "statsd")
    assert event.fields == {
        "title": "title",
        "priority": "low",
        "aggregation_key": "deploys",
        "time": 1_600_000_000.0,
        "container": "in-1",
        "a": "b",
        "tag.title": "mine",
    }
    assert (check.level, check.message, check.logger) == ("ERROR", "db is critical: gone", "db")
    assert check.fields == {"status": "CRITICAL", "time": 1_600_000_001.0}


def test_repeated_parameters_of_structured_data_are_all_kept():
    """RFC 5424, 7.2.1: an origin may have several addresses."""
    tail, foreign = make()
    feed_syslog(foreign, '<14>1 - web app - - [origin ip="192.0.2.1" ip="192.0.2.129" software="x"] m')
    fields = tail.entries()[0].fields
    assert fields["origin.ip"] == '["192.0.2.1","192.0.2.129"]'
    assert fields["origin.software"] == "x"


def test_strangers_text_is_kept_as_it_came():
    """Escaping is for whoever shows it; UTF-8 must carry it."""
    tail, foreign = make()
    feed_syslog(foreign, "<13>\x1b[2J<script>alert(1)</script>")
    assert tail.entries()[0].message == "\x1b[2J<script>alert(1)</script>"


def test_a_flood_of_gaps_is_one_a_second():
    """It hides no record: the holes of one sender are joined."""
    tail, foreign = make()
    reader = GelfReader()
    for number in range(50):
        reader.feed(b"\x1e\x0f" + number.to_bytes(8, "big") + b"\x00\x02half", "10.0.0.1", T0)
    for lost in reader.tick(T0 + 10):
        foreign.gelf_incomplete(lost, T0 + 10)
    assert [gap.lost for gap in tail.entries()] == [50]
    reader.feed(b"\x1e\x0f12345678\x00\x02half", "10.0.0.1", T0 + 12)
    for lost in reader.tick(T0 + 20):
        foreign.gelf_incomplete(lost, T0 + 20)
    assert [gap.lost for gap in tail.entries()] == [50, 1]
