"""What a stranger calls itself, its series and its texts: nothing that a terminal obeys, and nothing that nobody sees, is at /metrics."""

import pytest

from atmost.core.accounts import Ledger, SessionLedger
from atmost.core.events import Tail
from tests.collector.scene import T0, Asked, feed_statsd, message, session

UNSEEN = "\x1b[2J\x00\x07\x85\x9b\xad\u034f\u061c\u115f\u180e\u200b\u200d\u200f\u2028\u202e\u2060\u2066\u3164\ufeff\ufff9\U000e0041"
UTF8 = "text/plain; version=1.0.0; escaping=allow-utf-8"
OPEN = "application/openmetrics-text; version=1.0.0; escaping=allow-utf-8"


@pytest.mark.parametrize("accept", ["text/plain", UTF8, OPEN])
def test_every_way_a_text_gets_there(accept):
    """Names, labels, help texts, units, reasons, heartbeats, senders: in each format."""
    asked, by = Asked(), session(f"n{UNSEEN}")
    by.host = f"h{UNSEEN}"
    feed_statsd(
        asked.state, f"x{UNSEEN[3:]}:1|c|#k{UNSEEN}:v{UNSEEN}\ng:1|g|#k:v{UNSEEN}\nt:1|ms|#{UNSEEN}:z\nbad{UNSEEN}:x|c"
    )
    family = ["c", f"nm{UNSEEN}", [f"l{UNSEEN}"], f"u{UNSEEN[:9]}", f"h{UNSEEN}", [[[f"v{UNSEEN}"], 0, 1]]]
    part = [1, b"12345678", f"s{UNSEEN}", 0, 0, 1, False, 0.0, 1.0, {f"r{UNSEEN[:9]}": 3}, [family]]
    asked.state.feed(message("metrics.x", part, by=by), T0, 0.0)
    asked.state.feed(message(f"metrics.rd{UNSEEN}", 1.0, by=by), T0, 0.0)
    asked.state.feed(message(f"heartbeats.hb{UNSEEN}", {"number": 0, "interval": 1.0}, by=by), T0, 0.0)
    asked.state.feed(message("logs.x", {"message": UNSEEN, "level": f"INFO{UNSEEN}"}, by=by), T0, 0.0)
    drops = {f"d{UNSEEN}": 4}
    one = SessionLedger(
        id="1", name=by.name, host=by.host, pid=1, key_id=0, tail=Tail.ALIVE, sent=1, delivered=1, datagrams=1,
        last_seen=0.0, sender_dropped=drops, sender_refused=drops,
    )  # fmt: skip
    asked.state.observe({"udp://x": Ledger(sessions=[one], sent=1, delivered=1)}, T0, 0.0)
    text = asked.get("/metrics", accept=accept).text
    assert [line for line in text.split("\n") if not line.isprintable()] == []
    assert text.count("<1b>") >= 10
    assert not set(UNSEEN[4:]) & set(text) - set("[2J")


def test_different_texts_stay_different():
    """A label with ESC, and one with what is shown for it, are two series."""
    asked = Asked()
    feed_statsd(asked.state, "m:1|g|#t:a\x1b\nm:2|g|#t:a\ufffd<1b>\nm:3|g|#t:a<1b>")
    lines = [line for line in asked.get("/metrics").text.split("\n") if line.startswith("m{")]
    assert len({line.rpartition(" ")[0] for line in lines}) == 3
