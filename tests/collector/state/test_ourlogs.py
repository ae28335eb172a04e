"""Records of LogHandler and plain log messages in the tail, with what is missing between them."""

from atmost.collector.state.logtail import LogTail
from atmost.collector.state.ourlogs import OurLogs
from atmost.collector.state.records import Gap
from atmost.core.events import Loss, Place, QueueOverflow
from tests.collector.scene import T0, message, session


def make():
    """A tail, and what writes to it."""
    tail = LogTail(max_records=100, max_bytes=1 << 20, max_records_per_sender=100, now=T0)
    return tail, OurLogs(tail, grace=1.0, max_senders=10, max_record=1000, now=T0)


def test_a_plain_message_is_a_record_without_a_level():
    """As the agent sends lines of files."""
    tail, ours = make()
    ours.feed(message("logs.app", {"message": "a line", "file": "/var/log/app"}), T0)
    [record] = tail.entries()
    assert (record.message, record.level, record.sender, record.host) == ("a line", None, "web-1", "host-1")
    assert record.fields["file"] == "/var/log/app"
    assert record.source == "atmost"


def test_a_loss_between_plain_messages_is_an_unverified_gap():
    """It may have been of any use."""
    tail, ours = make()
    one = session()
    ours.feed(message("logs.app", {"message": "a"}, by=one), T0)
    ours.feed(Loss(one, 3, Place.IN_FLIGHT, 1, 3), T0 + 1)
    ours.tick(T0 + 5)
    [gap] = [entry for entry in tail.entries() if isinstance(entry, Gap)]
    assert (gap.lost, gap.by_level, gap.verified, gap.sender) == (3, None, False, "web-1")


def test_lost_records_are_a_gap_by_level_which_late_ones_lower(real_records):
    """In its place, and gone when everything came after all."""
    tail, ours = make()
    first, second, third, fourth = real_records
    one = session()
    ours.feed(message(*first, by=one, sequence=0), T0 + 1)
    ours.feed(message(*fourth, by=one, sequence=3), T0 + 1)
    ours.tick(T0 + 10)
    [gap] = [entry for entry in tail.entries() if isinstance(entry, Gap)]
    assert (gap.lost, gap.by_level, gap.verified) == (2, {"WARNING": 1, "ERROR": 1}, True)
    assert [type(entry).__name__ for entry in tail.entries()] == ["Record", "Gap", "Record"]
    ours.feed(message(*second, by=one, sequence=1), T0 + 11)
    ours.tick(T0 + 20)
    assert (gap.lost, tail.entries()[-1].late) == (1, True)
    ours.feed(message(*third, by=one, sequence=2), T0 + 21)
    ours.tick(T0 + 30)
    assert not [entry for entry in tail.entries() if isinstance(entry, Gap)]
    assert (tail.counts["lost"], tail.counts["late"]) == (2, 2)
    assert +tail.lost_by_level == {"WARNING": 1, "ERROR": 1}


def test_a_record_has_its_parts(real_records):
    """Logger, level, exception and fields."""
    tail, ours = make()
    ours.feed(message(*real_records[0]), T0 + 1)
    ours.tick(T0 + 10)
    [record] = tail.entries()
    assert (record.level, record.logger, record.message) == ("INFO", "collector.test", "first 1")
    assert record.fields["user"] == 7
    assert record.fields["thread"] == "MainThread"


def test_a_queue_that_overflows_again_raises_the_gap():
    """While nothing comes in between; what was lost the first time stays lost."""
    tail, ours = make()
    one = session()
    ours.feed(message("logs.app", "a", by=one), T0)
    for count, t in ((10, T0 + 1), (7, T0 + 1.5), (3, T0 + 4)):
        ours.feed(QueueOverflow(one, count), t)
    ours.tick(T0 + 9)
    assert [(gap.lost, gap.reason) for gap in tail.entries() if isinstance(gap, Gap)] == [(20, "overflow")]
    assert (tail.counts["lost"], tail.counts["late"]) == (20, 0)
