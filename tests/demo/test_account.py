"""The demo's account: three countings that must agree, and a tally that takes nobody's word."""

import json

import pytest

from atmost.cli.output import to_json
from atmost.core.accounts import Ledger
from atmost.core.events import Arrival, Message, Session
from atmost.demo.account import DemoAccount, Tally, balance

# The keys that are promised to whoever parses the last line of `atmost demo --json`.
PROMISED = {
    *("offered", "dropped", "delivered", "lost", "unknown", "late", "pending", "overflow"),
    *("duplicates_refused", "duplicates_processed", "link", "balanced"),
}
GOOD = {
    "offered": 1000,
    "dropped": 7,
    "refused": 3,
    "delivered": 780,
    "lost": 205,
    "lost_by_place": {"sender_socket": 3, "in_flight": 202},
    "unknown": 5,
    "late": 2,
    "pending": 1,
    "overflow": 2,
    "duplicates_refused": 30,
    "duplicates_processed": 0,
    "link": {"dropped_messages": 207, "duplicated_datagrams": 31, "reordered_datagrams": 40},
}


def account(**changes):
    """An account that balances, but for the changes."""
    return DemoAccount(**{**GOOD, **changes})


def test_every_message_in_one_place_and_the_link_agrees():
    """Offered = dropped + delivered + lost + pending + overflow + unknown; lost + unknown = the link's + refused."""
    assert account().explained
    assert account().agrees_with_link
    assert account().balanced


@pytest.mark.parametrize("name", ["offered", "dropped", "delivered", "lost", "unknown", "pending", "overflow"])
@pytest.mark.parametrize("by", [-1, 1])
def test_one_message_too_many_or_too_few_is_not_balanced(name, by):
    """Anywhere in the sum."""
    assert not account(**{name: GOOD[name] + by}).explained
    assert not account(**{name: GOOD[name] + by}).balanced


@pytest.mark.parametrize("by", [-1, 1])
def test_a_link_that_counted_otherwise_is_not_balanced(by):
    """Although every message has a place."""
    told = account(link={**GOOD["link"], "dropped_messages": 207 + by})
    assert told.explained
    assert not told.agrees_with_link
    assert not told.balanced


def test_what_the_senders_socket_refused_never_came_to_the_link():
    """It is part of what is missing, and not of what the link dropped."""
    assert not account(refused=2).balanced
    assert account(refused=2, link={**GOOD["link"], "dropped_messages": 208}).balanced


def test_one_message_processed_twice_is_not_balanced():
    """Whatever else agrees: this is the promise."""
    assert not account(duplicates_processed=1).balanced


def test_a_receiver_that_contradicts_itself_is_not_balanced():
    """Its own identities are part of the verdict."""
    assert not account(receiver_balanced=False).balanced


def test_late_arrivals_and_refused_duplicates_are_in_no_sum():
    """A late arrival is delivered, a refused duplicate was delivered once before."""
    assert account(late=500, duplicates_refused=500).balanced


def test_the_account_as_json_has_what_is_promised():
    """With the verdict beside the figures."""
    parsed = json.loads(to_json(account().as_dict()))
    assert set(parsed) >= PROMISED
    assert set(parsed["link"]) >= {"dropped_messages", "duplicated_datagrams", "reordered_datagrams"}
    assert parsed["balanced"] is True
    assert json.loads(to_json(account(lost=0).as_dict()))["balanced"] is False


class Counted(Ledger):
    """A receiver's account whose own identities hold, as far as anybody asks."""

    def balanced(self):
        return True


def test_the_three_countings_are_put_side_by_side():
    """What the receiver never heard of is unknown to it, and known to whoever sees both ends."""
    stats = {"offered": 1000, "dropped": {"closed": 4}, "open": 3, "handed_over": 990, "refused": {"EPERM": 3}}
    ledger = Counted(
        sent=988,
        delivered=780,
        lost=205,
        lost_by_place={"in_flight": 205},
        late=2,
        pending=1,
        overflow=2,
        refused={"duplicate": 30, "malformed": 5},
        kernel_drops=0,
    )
    tally = Tally()
    tally.processed = 780
    told = balance(stats, ledger, tally, {"dropped_messages": 207})
    assert (told.dropped, told.refused, told.unknown, told.duplicates_refused) == (7, 3, 5, 30)
    assert told.balanced


@pytest.mark.parametrize(("processed", "agrees"), [(780, True), (779, False), (781, False)])
def test_what_was_processed_counts_and_not_what_the_ledger_says(processed, agrees):
    """A receiver that delivers more than it books would be found out."""
    stats = {"offered": processed, "dropped": {}, "open": 0, "handed_over": 780, "refused": {}}
    tally = Tally()
    tally.processed = processed
    told = balance(stats, Counted(sent=780, delivered=780), tally, {"dropped_messages": 0})
    assert told.explained
    assert told.balanced is agrees


def arrival(sequence=0, key=b"k" * 18):
    """A datagram that arrived."""
    return Arrival(Session(key, 0), sequence, 0, 0)


def test_a_tally_of_different_datagrams():
    """Many messages of one datagram, the same number of another session: all of them new."""
    tally = Tally()
    first = arrival()
    for message in (Message("a", 1, first), Message("a", 1, first), Message("b", 2, arrival(1))):
        tally.process(message)
    tally.process(Message("a", 1, arrival(0, b"other".ljust(18))))
    assert (tally.processed, tally.duplicates) == (4, 0)


def test_a_tally_of_a_datagram_that_came_twice():
    """Every message of the second arrival is a duplicate, also long after the first."""
    tally = Tally()
    tally.process(Message("a", 1, arrival(7)))
    for sequence in range(100, 200):
        tally.process(Message("a", 1, arrival(sequence)))
    again = arrival(7)
    tally.process(Message("a", 1, again))
    tally.process(Message("a", 2, again))
    assert (tally.processed, tally.duplicates) == (103, 2)
