"""What `atmost collect` prints of a state that another thread writes."""

from collections import Counter
from types import SimpleNamespace

from atmost.cli.collect_view import second
from atmost.collector.state.senders import SenderTable
from atmost.core.accounts import Ledger, SessionLedger
from atmost.core.events import Tail
from tests.collector.scene import feed_statsd, make_state


def test_a_second_counts_refusals_under_the_lock():
    """A first refusal of its kind that comes meanwhile would end the loop over them."""
    state = make_state()
    stats = feed_statsd(state, "no metric")

    class Held(Counter):
        def items(self):
            assert state.lock.locked()
            return super().items()

    stats.rejected = Held(stats.rejected)
    daemon = SimpleNamespace(state=state, url="udp://a", ledger=Ledger, addresses=[])
    assert second(daemon, SenderTable(0.0))["listeners"][0]["rejected"] == {"malformed_line": 1}


def test_a_second_has_a_row_of_each_sender():
    """With the tail as text, and duplicates apart from other refusals."""
    session = SessionLedger(
        id="one",
        key_id=0,
        name="a",
        host="h",
        pid=17,
        tail=Tail.SILENT,
        sent=0,
        datagrams=1,
        last_seen=0.5,
        delivered=10,
        lost=11,
        late=12,
        pending=13,
        refused={"duplicate": 14, "too_old": 99},
    )
    account = Ledger(sessions=[session])
    daemon = SimpleNamespace(state=make_state(), url="udp://a", ledger=lambda: account, addresses=[])
    [row] = second(daemon, SenderTable(0.0))["senders"]
    assert (row["sender"], row["host"], row["pid"], row["session"], row["tail"]) == ("a", "h", 17, "one", "silent")
    assert [row[name] for name in ("delivered", "lost", "late", "pending", "duplicates_refused")] == [
        10,
        11,
        12,
        13,
        14,
    ]
    assert row["last_seen"] == 0.5
