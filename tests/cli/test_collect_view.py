"""What `atmost collect` prints of a state that another thread writes."""

from collections import Counter
from types import SimpleNamespace

from atmost.cli.collect_view import second
from atmost.collector.watch import Watch
from atmost.core.ledger import Ledger
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
    daemon = SimpleNamespace(state=state, ledger=Ledger, addresses=[])
    assert second(daemon, Watch(0.0))["listeners"][0]["rejected"] == {"malformed_line": 1}
