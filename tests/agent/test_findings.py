from atmost.agent.follow import Findings, FollowEvent, FollowEventKind
from atmost.agent.lines import Line


def kinds(findings):
    """Take everything, and return what kinds of events it was."""
    return [event.kind for event in findings.drain()]


def test_findings_are_taken_once_in_order():
    """Lines and events come out as they went in; taking empties."""
    findings = Findings("/log")
    findings.line(Line("a", 0, 1))
    findings.line(None)
    findings.event(FollowEventKind.ROTATED, "why", 3)
    assert len(findings) == 2
    assert findings.drain() == [Line("a", 0, 1), FollowEvent(FollowEventKind.ROTATED, "/log", "why", 3)]
    assert findings.drain() == []


def test_a_trouble_is_told_when_it_begins_changes_and_ends():
    """While a trouble lasts nothing is said; another reason is another trouble; its end is told once."""
    findings = Findings("/log")
    for _ in range(3):
        findings.trouble("path", FollowEventKind.UNREADABLE, "forbidden")
    for _ in range(3):
        findings.trouble("path", FollowEventKind.UNREADABLE, "a directory")
    for _ in range(3):
        findings.no_trouble("path")
    assert kinds(findings) == [FollowEventKind.UNREADABLE, FollowEventKind.UNREADABLE, FollowEventKind.FOUND]


def test_one_trouble_met_in_two_places_is_told_once():
    """The same trouble is not told again from elsewhere, and it ends when it has ended everywhere."""
    findings = Findings("/log")
    for _ in range(3):
        findings.trouble("path", FollowEventKind.UNREADABLE, "stale")
        findings.trouble("reading", FollowEventKind.UNREADABLE, "stale")
    findings.no_trouble("path")
    assert findings.has_trouble("reading")
    assert kinds(findings) == [FollowEventKind.UNREADABLE]
    findings.no_trouble("reading")
    assert kinds(findings) == [FollowEventKind.FOUND]


def test_everything_is_counted():
    """Statistics tell lines by what happened to them, bytes read and lost, and events by kind."""
    findings = Findings("/log")
    findings.read(10)
    findings.line(Line("a", 0, 9, truncated=True))
    findings.line(Line("b", 9, 1, complete=False))
    findings.event(FollowEventKind.TRUNCATED, lost_bytes=5)
    findings.trouble("path", FollowEventKind.WAITING)
    statistics = findings.stats()
    assert (statistics.lines_total, statistics.truncated_lines_total, statistics.incomplete_lines_total) == (2, 1, 1)
    assert (statistics.bytes_total, statistics.lost_bytes_total) == (10, 5)
    assert statistics.events_total == {"truncated": 1, "waiting": 1}
