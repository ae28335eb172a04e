"""`LogReader`: order, gaps in their place, late arrivals, restarts, plain messages, and strangers' payloads."""

import pytest

from atmost import LogReader, OptionError, SubjectError
from atmost.core.events import LateArrival, Loss, Message, Place, QueueOverflow, SessionClosed
from atmost.logs import LogGap, LogGapReason, LogRecord
from atmost.logs.life import MAX_INTERVALS
from atmost.logs.wire import MAX_TOTALS
from tests.logs.scene import ONE, deliver, make, message, session, shown

LEVELS = {"d": 10, "i": 20, "w": 30, "e": 40}


def records(levels, **options):
    """What a handler sends for records of these levels, named by their numbers; and the handler."""
    logger, handler, sender = make(**options)
    for number, level in enumerate(levels):
        logger.log(LEVELS[level], str(number))
    return sender.take(), handler, sender


def mark(handler, sender, *, final=False):
    """What a mark says now."""
    handler.writer.mark(final=final)
    return sender.take()


def test_in_order_nothing_waits():
    """Records are told of as they come."""
    sent, _, _ = records("iwei")
    reader = LogReader(now=0.0)
    assert shown(deliver(reader, sent, 1.0)) == ["0", "1", "2", "3"]
    assert reader.next_deadline() is None
    assert reader.wait(1.0) is None
    assert reader.stats().records == 4


def test_what_overtakes_waits_for_the_others():
    """Inside the grace reordering is no loss."""
    sent, _, _ = records("iiiii")
    reader = LogReader(now=0.0)
    assert shown(deliver(reader, [sent[0], sent[3], sent[4], sent[2]], 1.0)) == ["0"]
    assert reader.next_deadline() == 2.0
    assert reader.wait(1.5) == 0.5
    assert [source.pending for source in reader.sources()] == [1]
    assert shown(deliver(reader, [sent[1]], 1.9)) == ["1", "2", "3", "4"]
    assert reader.tick(2.0) == []
    assert reader.next_deadline() is None
    assert reader.stats().lost_by_level == {}


def test_a_gap_stands_in_its_place_by_level():
    """After the grace, between the record before it and the record after it."""
    sent, _, _ = records("iwieddi")
    reader = LogReader(now=0.0)
    assert shown(deliver(reader, [sent[0], sent[1], sent[5], sent[6]], 1.0)) == ["0", "1"]
    assert reader.tick(1.99) == []
    gap, *rest = reader.tick(2.0)
    assert shown(rest) == ["5", "6"]
    assert isinstance(gap, LogGap)
    assert (gap.first, gap.last, gap.lost, gap.reason) == (2, 4, 3, LogGapReason.LOST)
    assert gap.by_level == {"INFO": 1, "WARNING": 0, "ERROR": 1, "DEBUG": 1}
    assert (gap.sender, gap.host, gap.session, gap.dropped, gap.late) == ("web-1", "host", ONE, 0, 0)
    assert gap.from_t == sent[1][1]["time"]
    assert gap.to_t == sent[5][1]["time"]
    assert reader.stats().lost_by_level == {"INFO": 1, "ERROR": 1, "DEBUG": 1}
    assert reader.stats().lost == 3


def test_a_mark_reveals_what_is_missing_at_the_end():
    """By level, although no record came after it; a mark of what is known says nothing new."""
    sent, handler, sender = records("ieeww")
    reader = LogReader(now=0.0)
    deliver(reader, sent[:2], 1.0)
    assert deliver(reader, mark(handler, sender), 2.0) == []
    [gap] = reader.tick(3.0)
    assert (gap.first, gap.last, gap.lost) == (2, 4, 3)
    assert gap.by_level == {"INFO": 0, "ERROR": 1, "WARNING": 2}
    assert deliver(reader, mark(handler, sender, final=True), 4.0) + reader.tick(9.0) == []
    assert [source.closed for source in reader.sources()] == [True]
    assert reader.stats().marks == 2


def test_a_mark_that_overtakes_costs_nothing():
    """The records it speaks of may still come within the grace."""
    sent, handler, sender = records("iii")
    reader = LogReader(now=0.0)
    assert shown(deliver(reader, [sent[0], *mark(handler, sender), *sent[1:]], 1.0)) == ["0", "1", "2"]
    assert reader.tick(9.0) == []


def test_losses_of_other_uses_are_none_of_logs():
    """Only the counts tell: datagrams of the same sender that held metrics leave no gap here."""
    sent, _, _ = records("ii")
    reader = LogReader(now=0.0)
    assert shown(deliver(reader, sent[:1], 1.0)) == ["0"]
    assert reader.feed(Loss(ONE, 7, Place.IN_FLIGHT, 1, 3), 1.5) == []
    assert reader.feed(message(("metrics.a", 1)), 1.6) == []
    assert shown(deliver(reader, sent[1:], 2.0)) == ["1"]
    assert reader.tick(9.0) == []


def test_a_late_record_is_told_of_and_lowers_its_gap():
    """A later gap of the same place replaces the one before; nothing is told of twice."""
    sent, _, _ = records("iwwei")
    reader = LogReader(now=0.0)
    deliver(reader, [sent[0], sent[4]], 1.0)
    assert shown(reader.tick(2.0)) == [3, "4"]
    late = deliver(reader, [sent[3], sent[3]], 2.5)
    assert shown(late) == ["3*"]
    assert late[0].number == 3
    assert reader.next_deadline() == 3.0
    [gap] = reader.tick(3.0)
    assert (gap.first, gap.last, gap.lost, gap.late) == (1, 3, 2, 1)
    assert gap.by_level == {"INFO": 0, "WARNING": 2, "ERROR": 0}
    assert reader.stats().lost_by_level == {"WARNING": 2}
    assert reader.stats().repeated == 1
    deliver(reader, sent[1:3], 4.5)
    assert shown(reader.tick(5.5)) == [0]
    assert reader.stats().lost_by_level == {}


def test_gaps_within_a_second_are_joined():
    """The first is told of in its place, those of the next second together, without the late ones among them."""
    sent, _, _ = records("iwiwiwiwi")
    reader = LogReader(now=0.0, grace=0.0)
    assert shown(deliver(reader, sent[0::2], 1.0)) == ["0", 1, "2", "4", "6", "8"]
    assert shown(deliver(reader, [sent[5]], 1.5)) == ["5*"]
    assert reader.next_deadline() == 2.0
    [gap] = reader.tick(2.0)
    assert (gap.first, gap.last, gap.lost, gap.late) == (3, 7, 2, 1)
    assert gap.by_level == {"INFO": 0, "WARNING": 2}
    assert reader.next_deadline() is None


def test_a_gap_that_was_filled_before_anybody_heard_of_it_is_never_told_of():
    """Joined, waiting for its second, and all of it came."""
    sent, _, _ = records("iiiii")
    reader = LogReader(now=0.0, grace=0.0)
    assert shown(deliver(reader, sent[0::2], 1.0)) == ["0", 1, "2", "4"]
    assert shown(deliver(reader, [sent[3]], 1.5)) == ["3*"]
    assert reader.tick(5.0) == []


def test_what_the_sender_dropped_is_told_apart():
    """The reason is known where the counts of dropped ones explain the gap."""
    logger, handler, sender = make()
    logger.info("0")
    sender.room = False
    logger.info("1")
    logger.error("2")
    sender.room = True
    logger.info("3")
    logger.info("4")
    logger.info("5")
    sent = sender.take()
    assert len(sent) == 4
    reader = LogReader(now=0.0, grace=0.0, gap_interval=0.0)
    _, gap, _ = deliver(reader, sent[:2], 1.0)
    assert (gap.lost, gap.dropped, gap.reason) == (2, 2, LogGapReason.DROPPED)
    assert gap.by_level == {"INFO": 1, "ERROR": 1}
    gap, _ = deliver(reader, sent[3:], 2.0)
    assert (gap.lost, gap.dropped, gap.reason) == (1, 0, LogGapReason.LOST)
    reader = LogReader(now=0.0, grace=0.0)
    _, gap, _ = deliver(reader, [sent[0], sent[3]], 1.0)
    assert (gap.lost, gap.dropped, gap.reason) == (4, 2, LogGapReason.PARTLY_DROPPED)
    assert [source.dropped for source in reader.sources()] == [2]
    logger.info("6")
    deliver(reader, [*sent[1:3], *sender.take()], 1.5)
    [gap] = reader.tick(2.0)
    assert (gap.lost, gap.dropped, gap.reason) == (2, 2, LogGapReason.DROPPED)
    handler.writer._life.dropped = 5  # a stranger's claims contradict: more were dropped than are missing
    logger.info("7")
    assert shown(deliver(reader, sender.take(), 3.0)) == ["7"]


def test_a_reader_that_joins_knows_what_it_could_not_have():
    """Logged before it was there: neither received nor lost; what a younger handler logged first is lost."""
    sent, _, _ = records("iiiii")
    began = int.from_bytes(sent[3][1]["handler"][:8], "big")
    joined = LogReader(now=100.0)
    found = joined.feed(message(sent[3], sent_us=began + 30_000_000), 110.0)
    assert shown(found) == ["3"]
    [source] = joined.sources()
    assert (source.before_join, source.lost, source.received) == (3, 0, 1)
    assert shown(joined.feed(message(sent[2], sent_us=began + 30_000_000), 110.1)) == ["2*"]
    assert [source.before_join for source in joined.sources()] == [2]
    there = LogReader(now=100.0)
    assert there.feed(message(sent[3], sent_us=began + 9_000_000), 110.0) == []
    assert shown(there.tick(111.0)) == [3, "3"]
    [source] = there.sources()
    assert (source.before_join, source.lost, source.received) == (0, 3, 1)
    assert shown(LogReader().feed(message(sent[3], sent_us=began + 1000), 5.0)) == ["3"]


def test_several_handlers_and_restarts_have_accounts_of_their_own():
    """Also on one sender and one subject; a restart begins at 0 and is no gap."""
    one, _, _ = records("ii")
    other, _, _ = records("eee")
    again, _, _ = records("ii")
    reader = LogReader(now=0.0, grace=0.0)
    found = [
        read
        for sent in (one[0], other[0], other[2], again[0], one[1], again[1])
        for read in deliver(reader, [sent], 1.0)
    ]
    assert shown(found) == ["0", "0", 1, "2", "0", "1", "1"]
    assert [(source.numbered, source.lost) for source in reader.sources()] == [(2, 0), (3, 1), (2, 0)]
    assert reader.stats().lost_by_level == {"ERROR": 1}


def test_a_life_may_go_on_in_another_session():
    """After a change of the key or a step of the clock the same handler goes on, and so do its numbers."""
    sent, _, _ = records("iii")
    reader = LogReader(now=0.0, grace=0.0)
    found = deliver(reader, sent[:1], 1.0, session("web-1", 1)) + deliver(reader, sent[2:], 2.0, session("web-1", 2))
    assert shown(found) == ["0", 1, "2"]


def test_a_strangers_key_reaches_no_other_life():
    """The same identity under another key is another life."""
    sent, _, _ = records("ii")
    stranger = session()
    stranger.key = b"\0\7" + stranger.key[2:]
    reader = LogReader(now=0.0)
    deliver(reader, sent, 1.0)
    assert shown(deliver(reader, sent[:1], 1.0, stranger)) == ["0"]
    assert len(reader.sources()) == 2


@pytest.mark.parametrize(
    ("payload", "text", "level", "fields"),
    [
        ({"message": "line", "file": "app.log"}, "line", None, {"file": "app.log"}),
        ({"message": "x", "level": "WARN", "truncated": True, "original_bytes": 9}, "x", "WARN", {}),
        ("text", "text", None, {}),
        (b"by\xfftes", "by\ufffdtes", None, {}),
        (None, "", None, {}),
        (17, "17", None, {}),
        ({"a": 1, 2: 3}, "", None, {"a": 1, "2": 3}),
        ({"message": 5, "level": 7, "time": "x", "exception": "Traceback"}, "5", None, {}),
    ],
)
def test_plain_messages_are_records_without_numbers(payload, text, level, fields):
    """The agent's lines, and whatever else is sent on the subject."""
    reader = LogReader(now=0.0)
    [record] = deliver(reader, [("logs.app", payload)], 1.0)
    assert isinstance(record, LogRecord)
    assert (record.message, record.level, record.logger, record.fields) == (text, level, "app", fields)
    assert (record.life, record.number) == ("", None)
    assert record.t == record.session.start_us / 1e6
    assert reader.stats().plain == 1


def test_losses_between_plain_messages_say_that_little_is_known():
    """No levels, and perhaps of other uses; late arrivals lower them, and they are joined like others."""
    reader = LogReader(now=0.0)
    assert reader.feed(Loss(ONE, 1, Place.IN_FLIGHT, 0, 0), 0.5) == []
    for sequence in (1, 5, 9):
        reader.feed(message(("logs.app", "x"), sequence=sequence, sent_us=sequence * 1_000_000), 1.0)
    [gap] = reader.feed(Loss(ONE, 4, Place.IN_FLIGHT, 2, 4), 2.0)
    assert (gap.lost, gap.by_level, gap.reason) == (4, None, LogGapReason.UNATTRIBUTED)
    assert (gap.first, gap.last, gap.from_t, gap.to_t, gap.life) == (2, 4, 1.0, 5.0, ONE.id)
    assert reader.feed(Loss(ONE, 2, Place.IN_FLIGHT, 6, 8), 2.1) == []
    assert reader.feed(QueueOverflow(ONE, 3), 2.2) == []
    assert reader.feed(LateArrival(ONE, 2), 2.3) == []
    [gap] = reader.tick(3.0)
    assert (gap.first, gap.lost, gap.late) == (6, 3, 2)
    assert reader.stats().unattributed == 7
    assert reader.feed(SessionClosed(ONE), 4.0) == []
    [gap] = reader.feed(QueueOverflow(ONE, 1), 5.0)
    assert gap.reason is LogGapReason.OVERFLOW


@pytest.mark.parametrize(
    "change",
    [
        {"handler": b"short"},
        {"handler": "text"},
        {"prior": {20: -1}},
        {"prior": {20: 1.5}},
        {"prior": {20: 1 << 63}},
        {"prior": {f"L{number}": 1 for number in range(50)}},
        {"prior": {"LEVEL " + "9" * 5000: 1}},
        {"prior": [1]},
        {"time": "now"},
        {"level": ""},
        {"level": "x" * 50},
        {"level": 5},
        {"message": None},
        {"part": 2, "parts": 2},
        {"part": -1, "parts": 2},
        {"parts": 10**9},
        {"parts": 0},
        {"fields": [1]},
        {"dropped": -1},
        {"original_bytes": -1},
    ],
)
def test_strangers_payloads_are_counted(change):
    """Whatever they hold: `malformed`, and the next record is as ever."""
    sent, _, _ = records("ii")
    reader = LogReader(now=0.0)
    assert deliver(reader, [("logs.app", sent[0][1] | change)], 1.0) == []
    assert reader.stats().malformed == 1
    assert shown(deliver(reader, sent, 2.0)) == ["0", "1"]


def test_counts_that_contradict_are_counted():
    """A level that would have been lost fewer than no times."""
    sent, _, _ = records("iiii")
    reader = LogReader(now=0.0, grace=0.0)
    deliver(reader, sent[:2], 1.0)
    assert deliver(reader, [("logs.app", sent[3][1] | {"prior": {40: 9}})], 1.0) == []
    assert reader.stats().conflict == 1
    assert shown(deliver(reader, sent[2:], 1.0)) == ["2", "3"]


def test_fields_with_odd_names_are_text():
    """A stranger's keys may be anything that MessagePack has."""
    sent, _, _ = records("i")
    [record] = deliver(LogReader(now=0.0), [("logs.app", sent[0][1] | {"fields": {1: 2, b"x": 3}})], 1.0)
    assert record.fields == {"1": 2, "b'x'": 3}


def test_lives_are_bounded():
    """The longest silent is forgotten, after all of it was told of; one that ended goes first."""
    reader = LogReader(now=0.0, max_lives=3)
    lives = [records("iii") for _ in range(5)]
    ended = lives[2][1:]
    deliver(reader, lives[0][0][:1] + lives[0][0][2:], 1.0)
    deliver(reader, lives[1][0], 1.1)
    deliver(reader, lives[2][0] + mark(*ended, final=True), 1.2)
    assert shown(deliver(reader, lives[3][0][:1], 1.5)) == ["0"]
    assert shown(deliver(reader, lives[4][0], 1.6)) == [1, "2", "0", "1", "2"]
    assert len(reader.sources()) == 3
    assert reader.stats().lives_forgotten == 2
    # One that may have been forgotten begins anew: what it logged before is not known.
    deliver(reader, [("logs.app", "plain")], 4.0, session("other", 9))
    began = int.from_bytes(lives[2][0][0][1]["handler"][:8], "big")
    [record] = reader.feed(message(lives[2][0][2], sent_us=began + 2_000_000), 5.0)
    assert record.number == 2
    assert reader.stats().lost == 1


def test_what_is_held_back_is_bounded():
    """Beyond the limit what is missing in front of it is lost at once, and the limit counted."""
    logger, _, sender = make(max_message=60_000)
    for _ in range(40):
        logger.info("x" * 5000)
    sent = sender.take()
    reader = LogReader(now=0.0, max_held=1 << 16)
    deliver(reader, sent[:1], 1.0)
    found = deliver(reader, sent[2:], 1.0)
    assert isinstance(found[0], LogGap)
    assert reader.stats().held_limit == 1
    assert len(found) == 39
    assert reader._size == sum(life.size for life in reader._lives.values()) == 0


def test_runs_of_missing_numbers_are_bounded():
    """What comes of a forgotten one is told of, and lowers nothing."""
    sent, _, _ = records("i" * (2 * MAX_INTERVALS + 10))
    reader = LogReader(now=0.0, grace=0.0)
    deliver(reader, sent[0::2], 1.0)
    lost = reader.stats().lost
    [record] = deliver(reader, [sent[1]], 2.0)[-1:]
    assert record.late
    assert reader.stats().late_unplaced == 1
    assert reader.stats().lost == lost
    [life] = reader._lives.values()
    assert len(life.gaps._intervals) == MAX_INTERVALS
    halves = [("logs.app.db", sent[3][1] | {"part": part, "parts": 2}) for part in (0, 1)]
    [record] = [one for one in deliver(reader, halves, 2.5) if isinstance(one, LogRecord)]
    assert (record.number, record.late, record.hole) == (3, True, ())
    assert reader.stats().late_unplaced == 2


def test_a_gap_never_has_more_dropped_ones_than_missing_ones():
    """When most of it came late after all, as a sender's wrong count of dropped ones would have it."""
    sent, _, _ = records("iiii")
    reader = LogReader(now=0.0, grace=0.0)
    deliver(reader, [sent[0], ("logs.app", sent[3][1] | {"dropped": 2})], 1.0)
    deliver(reader, sent[1:2], 1.1)
    [gap] = reader.tick(2.0)
    assert (gap.lost, gap.dropped, gap.reason) == (1, 1, LogGapReason.DROPPED)


def test_late_parts_of_a_lost_record_are_joined():
    """All of it came, only late."""
    logger, _, sender = make()
    logger.info("0")
    logger.error("x" * 3000)
    logger.info("2")
    first, *parts, last = sender.take()
    reader = LogReader(now=0.0, grace=1.0)
    deliver(reader, [first, last], 1.0)
    assert shown(reader.tick(2.0)) == [1, "2"]
    assert deliver(reader, [*parts[1:], parts[1]], 2.5) == []
    [record] = deliver(reader, parts[:1], 2.6)
    assert record.late
    assert record.message == "x" * 3000
    assert reader.stats().lost_by_level == {}
    assert reader._size == 0


def test_some_late_parts_of_a_lost_record_are_a_record_with_a_hole():
    """Once the others have had their grace."""
    logger, _, sender = make()
    logger.info("0")
    logger.error("x" * 3000)
    logger.info("2")
    first, *parts, last = sender.take()
    reader = LogReader(now=0.0, grace=1.0)
    deliver(reader, [first, last], 1.0)
    reader.tick(2.0)
    assert deliver(reader, parts[:1], 2.5) == []
    found = reader.tick(3.5)
    assert [one.hole for one in found if isinstance(one, LogRecord)] == [tuple(range(1, len(parts)))]
    assert reader.stats().lost_by_level == {}


def test_closing_tells_everything_that_was_held_back():
    """With its gaps: nothing more will come."""
    sent, _, _ = records("iiiii")
    reader = LogReader(now=0.0)
    deliver(reader, [sent[0], sent[2], sent[4]], 1.0)
    assert shown(reader.close(1.1)) == [1, "2", "4", 1]
    assert reader.next_deadline() is None


@pytest.mark.parametrize(
    ("option", "value"),
    [("grace", -1), ("grace", "1"), ("gap_interval", -1), ("max_lives", 0), ("max_held", 5)],
)
def test_misuse_is_told_at_the_call(option, value):
    """With the option's name and its range."""
    with pytest.raises(OptionError) as caught:
        LogReader(**{option: value})
    assert caught.value.option == option


def test_a_subject_that_cannot_be_used():
    """It is that of the handlers."""
    with pytest.raises(SubjectError):
        LogReader(subject="logs.>")
    sent, _, _ = records("i", subject="audit.web")
    assert shown(deliver(LogReader(subject="audit.web", now=0.0), sent, 1.0)) == ["0"]
    assert deliver(LogReader(now=0.0), sent, 1.0) == []
    assert isinstance(message(sent[0]), Message)


def test_a_plain_session_that_is_forgotten_tells_its_gap_first():
    """The one that waited for its turn: it is counted, so it is told of."""
    one, other = session(), session("web-2", 2)
    reader = LogReader(now=0.0, max_lives=1)
    reader.feed(message(("logs.app", "a"), one), 1.0)
    assert shown(reader.feed(Loss(one, 2, Place.IN_FLIGHT, 1, 2), 1.1)) == [2]
    assert reader.feed(Loss(one, 3, Place.IN_FLIGHT, 4, 6), 1.2) == []
    assert shown(reader.feed(message(("logs.app", "b"), other), 1.3)) == [3, "b"]


def test_lost_levels_of_all_lives_are_bounded():
    """Each life may have levels of its own, and lives come and go for weeks: beyond the bound they are OTHER."""
    [(subject, payload)], _, _ = records("i")
    reader = LogReader(now=0.0, max_lives=2)
    for number in range(MAX_TOTALS + 50):
        life = payload | {"handler": payload["handler"][:8] + number.to_bytes(4, "big"), "prior": {f"L{number}": 1}}
        deliver(reader, [(subject, life)], 3.0 * number + 1)
        reader.tick(3.0 * number + 3)
    assert len(reader.stats().lost_by_level) == MAX_TOTALS + 1
    assert (reader.stats().lost_by_level["L0"], reader.stats().lost_by_level["OTHER"]) == (1, 50)


def test_a_late_record_of_a_level_that_is_not_missing_contradicts():
    """A stranger's: it lowers nothing below 0, and makes no level of its own."""
    sent, _, _ = records("iiwi")
    reader = LogReader(now=0.0)
    deliver(reader, [sent[0], sent[3]], 1.0)
    reader.tick(3.0)
    assert deliver(reader, [(sent[1][0], sent[1][1] | {"level": "AUDIT"})], 4.0) == []
    assert reader.stats().conflict == 1
    assert reader.stats().lost_by_level == {"INFO": 1, "WARNING": 1}
    assert shown(deliver(reader, [sent[1], sent[2]], 5.0)) == ["1*", 1, "2*"]
    assert reader.stats().lost_by_level == {}
