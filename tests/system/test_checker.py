"""The checker of real runs accepts what is allowed, and finds each kind of wrong."""

import pytest

from tests.system.checker import Handled, Row, check

SENT = {"s": ["a0", "a1", "a2", "a3"], "t": ["b0", "b1"]}


def handled(incarnation, *ids):
    """Lines of the log."""
    return [Handled(incarnation, each) for each in ids]


def test_everything_handled_once_is_valid():
    """Nothing lost, nothing unknown."""
    told = {"1": {"s": Row(end=4, delivered=4), "t": Row(end=2, delivered=2)}}
    verdict = check(SENT, handled("1", "a0", "b0", "a1", "a3", "b1", "a2"), told)
    assert verdict.valid
    assert (verdict.handled, verdict.lost, verdict.unknown) == (6, 0, 0)


def test_loss_that_was_told_is_valid():
    """Losing is allowed, as long as the account says so."""
    told = {"1": {"s": Row(end=4, delivered=1, lost=3), "t": Row(end=2, delivered=0, lost=2)}}
    verdict = check(SENT, handled("1", "a2"), told)
    assert verdict.valid
    assert (verdict.handled, verdict.lost, verdict.unknown) == (1, 5, 0)


@pytest.mark.parametrize("lost", [0, 1, 3])
def test_loss_told_wrongly_is_found(lost):
    """Two were not handled: none, one and three are all wrong."""
    told = {"1": {"s": Row(end=4, delivered=2, lost=lost)}}
    verdict = check(SENT, handled("1", "a0", "a3"), told)
    assert verdict.misaccounted == [f"1, session s: it told of {lost} not handled, and these are 2"]


def test_what_waited_was_not_handled():
    """Pending, queued, overflow and discarded messages are told of, and are not loss."""
    told = {"1": {"s": Row(end=4, delivered=0, pending=1, queued=1, overflow=1, discarded=1)}}
    verdict = check(SENT, [], told)
    assert verdict.valid
    assert (verdict.lost, verdict.unknown) == (0, 2)


@pytest.mark.parametrize("second", ["1", "2"])
def test_a_message_handled_twice_is_found(second):
    """In one incarnation and across two; the log alone is enough, for a killed one tells nothing."""
    verdict = check(SENT, [*handled("1", "a0", "a1"), *handled(second, "a1")], {})
    assert verdict.duplicates == {"a1": ["1", second]}
    assert not verdict.valid


def test_a_message_nobody_sent_is_found():
    """What no sender numbered must not be handled."""
    verdict = check(SENT, handled("1", "a0", "c7"), {})
    assert verdict.unexpected == [Handled("1", "c7")]
    assert not verdict.valid


def test_a_killed_incarnation_leaves_the_rest_unknown():
    """Nobody can say whether the others were lost: they are unknown, and the run is valid."""
    verdict = check(SENT, handled("1", "a0", "b1"), {})
    assert verdict.valid
    assert (verdict.handled, verdict.lost, verdict.unknown) == (2, 0, 4)


def test_what_came_before_a_later_incarnation_is_unknown_to_it():
    """It answers from the first message it remembers; the earlier ones are neither lost nor delivered."""
    told = {"2": {"s": Row(origin=2, end=4, delivered=1, lost=1)}}
    verdict = check(SENT, [*handled("1", "a0"), *handled("2", "a3")], told)
    assert verdict.valid
    assert (verdict.lost, verdict.unknown) == (1, 3)


def test_an_unknown_tail_is_not_loss():
    """After the last sign of life nothing is claimed, unless the session is said to be closed."""
    log = handled("1", "a0", "a1")
    for tail in ("alive", "silent"):
        verdict = check(SENT, log, {"1": {"s": Row(end=2, delivered=2, tail=tail)}})
        assert verdict.valid
        assert (verdict.lost, verdict.unknown) == (0, 4)
    closed = check(SENT, log, {"1": {"s": Row(end=2, delivered=2, tail="closed")}})
    assert closed.misaccounted == ["1, session s: it takes 2 for the end, and 4 messages were numbered"]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (Row(end=4, delivered=3, lost=2), "it told of 3 delivered, and handled 2"),
        (Row(end=5, delivered=2, lost=3), "it answers for messages 0 to 5, of 4 that were numbered"),
        (Row(origin=1, end=4, delivered=1, lost=2), "it handled 1 messages outside those it answers for, such as a0"),
        (Row(origin=-1, end=4, delivered=2, lost=2), "it answers for messages -1 to 4, of 4 that were numbered"),
    ],
)
def test_each_wrong_figure_is_found(row, text):
    """Delivered, E and O are held against the logs too."""
    verdict = check(SENT, handled("1", "a0", "a3"), {"1": {"s": row}})
    assert f"1, session s: {text}" in verdict.misaccounted
    assert not verdict.valid


def test_a_session_left_out_of_an_account_is_found():
    """An incarnation that handled messages of a session must tell of it."""
    verdict = check(SENT, handled("1", "a0"), {"1": {}})
    assert verdict.misaccounted == ["1 handled messages of session s and told nothing of it"]


def test_an_account_of_a_session_nobody_began_is_found():
    """An account may be empty, but not invented."""
    told = {"1": {"x": Row(end=1, delivered=0, lost=1)}}
    assert check(SENT, [], told).misaccounted == [
        "1, session x: it answers for messages 0 to 1, of 0 that were numbered"
    ]


def test_an_account_is_read_from_a_ledger():
    """The names of a session's ledger are those of the guarantee: `sent` is E, `before_join` is O."""
    counts = {"delivered": 5, "lost": 1, "pending": 2, "queued": 3, "overflow": 4, "discarded": 6}
    row = Row.told({"before_join": 7, "sent": 28, "tail": "alive", "name": "n", **counts})
    assert row == Row(origin=7, end=28, tail="alive", **counts)
    assert row.not_handled == 16
