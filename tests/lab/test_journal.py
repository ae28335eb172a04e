"""The log of a link: one line a second, whose differences add up to the account."""

import re
from dataclasses import replace

import pytest

from atmost.lab.faults import DROPPED, LinkFaults
from atmost.lab.link import LinkAccount, LinkCore
from atmost.lab.process import LinkJournal
from tests.lab.scripted import Script, data

LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?P<level>INFO|WARNING) atmost\.lab\.link: saw (?P<datagrams>\d+) datagrams "
    r"with (?P<messages>\d+) messages, dropped (?P<dropped>\d+) datagrams with (?P<lost>\d+) messages, "
    r"duplicated \d+, reordered \d+, corrupted \d+(?P<kernel>; \d+ more .*)?"
)


class Time:
    """A clock set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def empty() -> LinkAccount:
    """The account of a link that did nothing."""
    return LinkCore(Script()).account()


@pytest.fixture
def time() -> Time:
    """Time as the journal sees it."""
    return Time()


def test_there_is_a_line_a_second_with_what_happened_in_it(tmp_path, time):
    """INFO, or WARNING in a second that dropped something; the account is asked for only when a line is due."""
    path = tmp_path / "link.log"
    core = LinkCore(Script([DROPPED]))
    asked = 0

    def account() -> LinkAccount:
        nonlocal asked
        asked += 1
        return core.account()

    with LinkJournal(path, time) as journal:
        journal.tick(account)
        core.receive(data(3), time.now)
        time.now += 1.0
        journal.tick(account)
        journal.tick(account)
        core.receive(data(5), time.now)
        core.receive(data(5), time.now)
        time.now += 1.0
        journal.tick(account)
        time.now += 0.9
        journal.tick(account)
    lines = [LINE.fullmatch(line) for line in path.read_text().splitlines()]
    assert [line and line.group("level", "datagrams", "messages", "dropped", "lost") for line in lines] == [
        ("WARNING", "1", "3", "1", "3"),
        ("INFO", "2", "10", "0", "0"),
    ]
    assert asked == 2


def test_after_a_pause_there_is_one_line_for_all_of_it(tmp_path, time):
    """A stopped process does not make up for the lines it did not write, and keeps its rhythm afterwards."""
    path = tmp_path / "link.log"
    with LinkJournal(path, time) as journal:
        time.now += 60.5
        for _ in range(5):
            journal.tick(empty)
        time.now += 1.0
        journal.tick(empty)
    assert len(path.read_text().splitlines()) == 2


def test_the_lines_add_up_to_the_account(tmp_path, time):
    """What happened after the last full second has its line too, and the sum comes last."""
    path = tmp_path / "link.log"
    core = LinkCore(Script([DROPPED] * 5))
    with LinkJournal(path, time) as journal:
        for _ in range(9):
            core.receive(data(2), time.now)
            time.now += 0.4
            journal.tick(core.account)
        journal.ended(core.account())
    *lines, last = path.read_text().splitlines()
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches)
    assert [sum(int(line[name]) for line in matches) for name in ("datagrams", "messages", "dropped", "lost")] == [
        9,
        18,
        5,
        10,
    ]
    assert "WARNING atmost.lab.link: ended; in all it saw 9 datagrams with 18 messages, dropped 5 datagrams" in last


def test_drops_of_the_kernel_are_a_warning_and_an_unknown_number_of_them_is_not_told(tmp_path, time):
    """The link never saw them, so its own counts stay as they are."""
    path = tmp_path / "link.log"
    with LinkJournal(path, time) as journal:
        for drops in (None, 4):
            time.now += 1.0
            journal.tick(lambda drops=drops: replace(empty(), kernel_drops=drops))
    first, second = (LINE.fullmatch(line) for line in path.read_text().splitlines())
    assert (first["level"], first["kernel"]) == ("INFO", None)
    assert (second["level"], second["datagrams"]) == ("WARNING", "0")
    assert second["kernel"].startswith("; 4 more were dropped by the kernel")


def test_the_first_line_says_what_the_link_is(tmp_path):
    """From where to where, with which seed and faults: enough to run the same again."""
    path = tmp_path / "link.log"
    with LinkJournal(path) as journal:
        journal.started("udp://127.0.0.1:1", "udp://127.0.0.1:2", 7, LinkFaults(loss=0.25))
    line = path.read_text()
    assert "INFO atmost.lab.link: link from udp://127.0.0.1:1 to udp://127.0.0.1:2 with seed 7: loss 0.25, " in line


def test_a_journal_without_a_file_writes_nothing(capsys, time):
    """Nothing reaches the terminal either."""
    with LinkJournal(None, time) as journal:
        journal.ended(replace(empty(), dropped_datagrams=1))
    assert capsys.readouterr() == ("", "")


def test_an_existing_file_is_continued(tmp_path):
    """A restart does not erase what the link before it wrote."""
    path = tmp_path / "link.log"
    path.write_text("earlier\n")
    with LinkJournal(path) as journal:
        journal.ended(empty())
    assert path.read_text().startswith("earlier\n")
    assert len(path.read_text().splitlines()) == 3


def test_a_file_that_cannot_be_opened_is_an_error_at_once(tmp_path):
    """Not at the first line."""
    with pytest.raises(FileNotFoundError):
        LinkJournal(tmp_path / "missing" / "link.log")
