"""`atmost listen --collector`: the messages of a running collector, which goes on receiving them."""

import atmost
from tests.collector.daemon.scene import FREE, collecting
from tests.real import until


def test_messages_of_a_running_collector(start):
    """What matches, for people; the collector keeps them too."""
    with collecting(bind=FREE["bind"], http=FREE["http"]) as collector:
        page = f"http://127.0.0.1:{collector.port('http')}"
        command = start("listen", "--collector", page, "--count", "2", "orders.>")
        until(lambda: collector.daemon.state.subjects.taps)
        with atmost.Sender(collector.daemon.url, name="shop") as sender:
            sender.send("orders.new", {"id": 1})
            sender.send("other", 1)
            sender.send("orders.paid", {"id": "\x1b[2J"})
            done = command.wait()
        assert done.status == 0
        assert [line.split(" ", 1)[1] for line in done.out.splitlines()] == [
            'shop orders.new {"id":1}',
            'shop orders.paid {"id":"\\u001b[2J"}',
        ]
        until(lambda: not collector.daemon.state.subjects.taps)
        subjects = {row["subject"] for row in collector.json("/api/v1/subjects")["subjects"]}
        assert subjects == {"orders.new", "other", "orders.paid"}


def test_misuse(commands):
    """No collector there, and an address that is none."""
    assert commands("listen", "--collector", "http://127.0.0.1:1").status == 1
    assert commands("listen", "--collector", "udp://127.0.0.1:7140").status == 2
