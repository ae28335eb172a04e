"""`atmost listen 'logs.>'`: records in order, with every gap in its place, for people and as JSON."""

import itertools
import logging
import threading

import atmost
from atmost.lab.faults import DROPPED, PASSED, Verdict
from atmost.lab.link import Link
from tests.lab.scripted import Script

ANY = "udp://127.0.0.1:0"
LATER = Verdict(delays=(0.2,))


class Logging:
    """A logger whose records travel one a datagram, through a link that treats them as written."""

    def __init__(self, target, verdicts):
        self.over = threading.Event()
        self.link = Link(target, Script(verdicts))
        self.thread = threading.Thread(target=self.link.run, args=(self.over.is_set,))
        self.thread.start()
        self.sender = atmost.Sender(self.link.url, name="web-1", linger=0)
        self.handler = atmost.LogHandler(self.sender, mark_interval=60)
        self.logger = logging.Logger("shop", level=1)  # noqa: LOG001  of this test alone
        self.logger.addHandler(self.handler)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.handler.close()
        self.sender.close()
        self.over.set()
        self.thread.join()
        self.link.close()


def test_a_gap_stands_in_its_place_for_people(start):
    """By level, between the record before it and the record after it; late ones that are not lost wait for their turn."""
    listener = start("listen", "logs.>", "--bind", ANY)
    with Logging(listener.url, [PASSED, PASSED, DROPPED, DROPPED, LATER, PASSED]) as logs:
        for number, level in enumerate((20, 40, 20, 20, 30)):
            logs.logger.log(level, "record %d", number, extra={"order": number})
        listener.until(lambda: any("record 4" in line for line in listener.out))
    done = listener.end()
    lines = [line for line in done.out.splitlines() if "record" in line and "in flight" not in line]
    assert [line.split(" ", 1)[1] if line[0].isdigit() else line for line in lines] == [
        "web-1 INFO shop: record 0 order=0",
        "-- 2 records of web-1 lost here: 1 INFO, 1 ERROR",
        "web-1 INFO shop: record 3 order=3",
        "web-1 WARNING shop: record 4 order=4",
    ]


def test_a_gap_as_json(start):
    """Records and gaps as objects of their own; what no handler numbered is a message as ever."""
    listener = start("listen", "--json", "--bind", ANY)
    with Logging(listener.url, [PASSED, PASSED, DROPPED]) as logs:
        for number in range(3):
            logs.logger.info("record %d", number)
        logs.sender.send("logs.app", {"message": "plain"})
        logs.sender.send("metrics.a", 1)
        listener.until(lambda: any('"record 2"' in line for line in listener.out))
    objects = [one for one in listener.end().objects if one["type"] in {"log_record", "log_gap", "message"}]
    first, gap, last = (one for one in objects if one["type"] != "message")
    assert [one["subject"] for one in objects if one["type"] == "message"] == ["logs.app", "metrics.a"]
    assert (first["message"], first["level"], first["number"], first["sender"]) == ("record 0", "INFO", 0, "web-1")
    assert first["subject"] == "logs.shop"
    assert (gap["first"], gap["last"], gap["lost"], gap["by_level"]) == (1, 1, 1, {"INFO": 1})
    assert (gap["reason"], gap["late"], gap["sender"]) == ("lost", 0, "web-1")
    assert last["message"] == "record 2"
    assert {"session", "host", "pid", "life"} <= first.keys() & gap.keys()


def test_only_what_matches_is_printed_and_counted(start):
    """`--count` counts records; gaps are none of those who want other subjects."""
    listener = start("listen", "logs.shop", "--count", 2, "--bind", ANY)
    other = start("listen", "metrics.>", "--count", 1, "--bind", ANY)
    for target, verdicts in ((listener.url, []), (other.url, [PASSED, PASSED, DROPPED])):
        with Logging(target, verdicts) as logs:
            for number in itertools.count():
                logs.logger.info("record %d", number)
                logs.handler.handle(logging.LogRecord("other", 20, "", 0, "elsewhere", (), None))
                if number == 2:
                    break
            if target == other.url:
                logs.sender.send("metrics.a", 1)
    done = listener.wait()
    assert "record 0" in done.out
    assert "record 1" in done.out
    assert "record 2" not in done.out
    assert "elsewhere" not in done.out
    assert "record" not in other.wait().out


def test_what_is_held_back_is_printed_in_the_end(start):
    """Ctrl-C does not cost what stood behind a gap."""
    listener = start("listen", "logs.>", "--json", "--bind", ANY)
    with Logging(listener.url, [PASSED, PASSED, DROPPED]) as logs:
        for number in range(3):
            logs.logger.info("record %d", number)
        listener.until(lambda: any('"record 0"' in line for line in listener.out))
        done = listener.end()
    kinds = [one["type"] for one in done.objects if one["type"].startswith("log_")]
    assert kinds[0] == "log_record"
    assert kinds in (["log_record", "log_gap", "log_record"], ["log_record"])


def test_nothing_in_a_record_can_steer_the_terminal(start):
    """Texts are shown as escapes, line by line; as JSON they keep their value."""
    evil = "\x1b]0;owned\x07\u202e\nforged"
    people, program = (
        start("listen", "--count", 1, "--bind", ANY),
        start("listen", "--json", "--count", 1, "--bind", ANY),
    )
    for listener in (people, program):
        with Logging(listener.url, []) as logs:
            logs.logger.info(evil, extra={"f": evil})
    done, objects = people.wait(), program.wait().objects
    assert not {character for character in done.out if not character.isprintable()} - {"\n"}
    assert "    | forged\n" in done.out
    [record] = [one for one in objects if one["type"] == "log_record"]
    assert (record["message"], record["fields"]) == (evil, {"f": evil})
