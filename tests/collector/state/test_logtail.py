"""The log tail: the last entries, bounded in number, bytes and by sender; read from the end, after and before a cursor."""

from hypothesis import given
from hypothesis import strategies as st

from atmost.collector.state.logtail import LogFilter, LogTail, look_up
from atmost.collector.state.records import LEVELS, Gap, Record
from tests.collector.scene import T0

SENDERS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 300)), max_size=60)

BOUNDS = ("log_records", "log_bytes", "log_records_per_sender", "log_bytes_per_sender")


def record(sender="a", message="m", level="INFO", **changes):
    """A record."""
    return Record(t=0.0, sender=sender, host="h", level=level, logger="", message=message, source="atmost", **changes)


def gap(sender="a", lost=2, by_level=None):
    """A gap."""
    return Gap(t=0.0, sender=sender, lost=lost, by_level=by_level, reason="lost", from_=0.0, to=1.0, verified=True)


def tail(records=100, size=1 << 20, each=100, now=1000.0):
    """An empty tail."""
    return LogTail(max_records=records, max_bytes=size, max_records_per_sender=each, now=now)


@given(SENDERS, st.integers(1, 20), st.integers(700, 20_000), st.integers(1, 20))
def test_the_bounds_hold_and_the_oldest_go_first(entries, most, size, each):
    """Against a list that is cut the same way."""
    kept, ours = [], tail(most, size, each)
    for sender, length in entries:
        one = record(sender, "x" * length)
        kept.append(ours.append(one))
        own = [entry for entry in kept if entry.sender == sender]
        while len(own) > each or (len(own) > 1 and sum(entry.size() for entry in own) > size // 2):
            kept.remove(own.pop(0))
        while len(kept) > most or (sum(entry.size() for entry in kept) > size and len(kept) > 1):
            kept.pop(0)
    assert [entry.cursor for entry in ours.entries()] == [entry.cursor for entry in kept]
    assert ours.bytes == sum(entry.size() for entry in kept)
    assert len(ours) == len(kept)
    went = sum(ours.counts[name] for name in BOUNDS)
    assert went == len(entries) - len(kept)
    by_sender = [sum(entry.size() for entry in kept if entry.sender == sender) for sender in "abc"]
    assert ours.most_bytes_of_sender == max(by_sender)
    assert ours._of_sender.keys() == {entry.sender for entry in kept}
    assert ours.most_of_sender == max(([entry.sender for entry in kept].count(sender) for sender in "abc"), default=0)


def test_long_records_of_one_sender_leave_room_for_the_others():
    """Half of the bytes are the most that it has, however few its records are."""
    ours = tail(size=100_000)
    quiet = [ours.append(record("quiet", str(number))) for number in range(10)]
    for _ in range(100):
        ours.append(record("loud", "x" * 10_000))
    assert [entry for entry in ours.entries() if entry.sender == "quiet"] == quiet
    assert ours.most_bytes_of_sender <= 50_000
    assert {name: ours.counts[name] for name in BOUNDS if ours.counts[name]} == {"log_bytes_per_sender": 96}


def test_each_bound_counts_its_own_hits():
    """What went for its bytes is no hit of the bound on records, and the reverse."""
    for bound, changes in (("log_records", {"records": 3}), ("log_bytes", {"size": 3000})):
        ours = tail(**changes)
        for number in range(10):
            ours.append(record(f"s{number}"))
        assert {name for name in BOUNDS if ours.counts[name]} == {bound}


def test_lower_bounds_hold_at_once():
    """Also for senders of which nothing comes any more."""
    ours = tail()
    for number in range(30):
        ours.append(record("ab"[number % 2], str(number)))
    ours.limit(100, 1 << 20, 5)
    assert [entry.message for entry in ours.entries()] == [str(number) for number in range(20, 30)]
    ours.limit(3, 1 << 20, 5)
    assert [entry.message for entry in ours.entries()] == ["27", "28", "29"]
    ours.limit(3, 2000, 5)
    assert len(ours) == 2
    assert ours.bytes <= 2000


def test_wide_characters_are_counted_as_they_are_kept():
    """A character beyond the basic plane takes four bytes, and so do its neighbours."""
    narrow, wide = record(message="x" * 1000), record(message="x" * 999 + "\U0001f600")
    assert 2900 < wide.size() - narrow.size() < 3100


def test_cursors_grow_over_restarts():
    """A reader that resumes after a restart finds what is new, and nothing twice."""
    first, second = tail(now=1000.0), tail(now=1001.0)
    for _ in range(100):
        first.append(record())
    assert second.append(record()).cursor > first.cursor
    assert second.since(first.cursor, 10).entries == second.entries()
    assert second.since(first.cursor, 10).skipped == 0


def test_what_a_reader_missed_is_counted():
    """It gets the newest, and learns how many came meanwhile."""
    ours = tail()
    start = ours.cursor
    for number in range(10):
        ours.append(record(message=str(number)))
    page = ours.since(start, 3)
    assert [entry.message for entry in page.entries] == ["7", "8", "9"]
    assert (page.skipped, page.cursor) == (7, ours.cursor)
    assert ours.since(ours.cursor, 3).entries == []


def test_a_gap_is_lowered_in_its_place():
    """A late record takes one off; the last takes it out."""
    ours = tail()
    hole = gap(lost=2, by_level={"INFO": 2})
    for entry in (record(), hole, record()):
        ours.append(entry)
    ours.change(hole, 1, {"INFO": 1})
    assert [getattr(entry, "lost", None) for entry in ours.entries()] == [None, 1, None]
    assert (ours.counts["lost"], ours.counts["late"]) == (2, 1)
    ours.change(hole, 0, {})
    assert len(ours) == 2
    ours.change(hole, 0, {})
    assert (ours.counts["lost"], ours.counts["late"], ours.lost_by_level["INFO"]) == (2, 2, 2)


def test_lost_records_are_counted_by_level():
    """Of a bounded set of levels, all there from the first; what nobody knows is `unknown`."""
    ours = tail()
    assert set(ours.lost_by_level) == {*LEVELS, "unknown"}
    hole = gap(lost=5, by_level={"INFO": 2, "Level 35": 1, "WARN": 1, "AUDIT": 1})
    ours.append(hole)
    ours.append(gap(lost=3, by_level=None))
    ours.change(hole, 7, {"INFO": 3, "Level 35": 1, "WARN": 1, "AUDIT": 1})
    assert +ours.lost_by_level == {"INFO": 3, "WARNING": 2, "unknown": 1 + 3 + 1}


GAPS = st.tuples(st.integers(0, 5), st.none() | st.dictionaries(st.sampled_from(("INFO", "ERROR")), st.integers(-1, 5)))


@given(st.lists(GAPS, min_size=1, max_size=20))
def test_counters_of_lost_records_never_fall(changes):
    """Whatever becomes of a gap: their sum over the levels is what was lost, and less the late ones what is."""
    ours, (lost, by_level) = tail(), changes[0]
    hole = gap(lost=lost, by_level=by_level)
    ours.append(hole)
    for lost, by_level in changes[1:]:
        before = dict(ours.lost_by_level)
        ours.change(hole, lost, by_level)
        assert all(ours.lost_by_level[level] >= count for level, count in before.items())
        assert sum(ours.lost_by_level.values()) == ours.counts["lost"]
        assert ours.counts["lost"] - ours.counts["late"] == lost


def test_filters_take_what_may_be_meant():
    """By level, sender and text; what has no level, and a gap that may hide one, pass."""
    entries = [
        record(message="Hello", level="INFO"),
        record(message="bye", level="ERROR", exception="Traceback: hello"),
        record("b", "plain", None),
        gap("b"),
        gap("a", by_level={"INFO": 2}),
    ]
    for number, entry in enumerate(entries):
        entry.cursor = number + 1
    assert [entry.cursor for entry in look_up(entries, LogFilter(30), 10).entries] == [2, 3, 4]
    assert [entry.cursor for entry in look_up(entries, LogFilter(sender="b"), 10).entries] == [3, 4]
    assert [entry.cursor for entry in look_up(entries, LogFilter(text="hello"), 10).entries] == [1, 2, 4, 5]


@given(st.integers(0, 12), st.integers(1, 5), st.none() | st.integers(0, 14), st.none() | st.integers(0, 14))
def test_pages_are_the_slices_of_a_list(count, limit, after, before):
    """After a cursor from its side, else from the end; oldest first; whether there is more."""
    entries = [record() for _ in range(count)]
    for number, entry in enumerate(entries):
        entry.cursor = number + 1
    page = look_up(entries, LogFilter(), limit, after, before)
    wanted = [n for n in range(1, count + 1) if (after is None or n > after) and (before is None or n < before)]
    part = wanted[:limit] if after is not None else wanted[-limit:]
    assert [entry.cursor for entry in page.entries] == part
    assert page.truncated == (len(wanted) > limit)


def test_a_filter_by_logger_field_and_time():
    """Loggers below are taken too; values compare as text; times are inclusive."""
    tail = LogTail(max_records=10, max_bytes=1 << 20, max_records_per_sender=10, now=T0)
    for number, logger in enumerate(("shop", "shop.cart", "shopping")):
        tail.append(
            Record(t=T0 + number, sender="a", host="h", level="INFO", logger=logger, message=str(number),
                   fields={"n": number, "who": "x"}, source="atmost")
        )  # fmt: skip

    def found(**wanted):
        return [entry.message for entry in look_up(tail.entries(), LogFilter(**wanted), 10).entries]

    assert found(logger="shop") == ["0", "1"]
    assert found(fields={"n": "1", "who": "x"}) == ["1"]
    assert found(fields={"missing": ""}) == []
    assert found(since=T0 + 1, until=T0 + 1) == ["1"]
