"""The link without sockets: what leaves when, and an account of what really happened."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.lab.faults import DROPPED, PASSED, Verdict
from atmost.lab.link import LinkAccount, LinkCore, messages_in
from tests.lab.scripted import Script, data, number_of


def send_due(core: LinkCore, now: float) -> list[int]:
    """Take what is due, all of it sent; return the numbers in their order."""
    numbers = []
    while (datagram := core.take_due(now)) is not None:
        numbers.append(number_of(datagram.content))
        core.sent(datagram)
    return numbers


def assert_balanced(account: LinkAccount) -> None:
    """The identities of every account."""
    assert account.received_datagrams == (
        account.forwarded_datagrams + account.dropped_datagrams + account.held_datagrams
    )
    assert account.received_messages == account.forwarded_messages + account.dropped_messages + account.held_messages
    assert account.dropped_datagrams == sum(account.dropped_datagrams_by_reason.values())
    assert account.dropped_messages == sum(account.dropped_messages_by_reason.values())


def later(*delays: float) -> Verdict:
    """The verdict that keeps each copy for so many seconds."""
    return Verdict(delays=delays)


def test_what_is_not_delayed_leaves_at_once_in_order_and_unchanged():
    """Without faults a link is a wire."""
    core = LinkCore(Script())
    for number in range(5):
        core.receive(data(3, number), now=1.0)
    assert send_due(core, 1.0) == [0, 1, 2, 3, 4]
    account = core.account()
    assert_balanced(account)
    assert (account.forwarded_datagrams, account.forwarded_messages) == (5, 15)
    assert account.reordered_datagrams == account.duplicated_datagrams == account.dropped_datagrams == 0


def test_a_delayed_datagram_leaves_when_it_is_due_and_not_before():
    """`next_deadline` says when, and until then the datagram is held."""
    core = LinkCore(Script([later(0.5)]))
    assert core.next_deadline() is None
    core.receive(data(2), now=10.0)
    assert core.next_deadline() == 10.5
    assert send_due(core, 10.4) == []
    assert (core.account().held_datagrams, core.account().held_messages) == (1, 2)
    assert send_due(core, 10.5) == [0]
    assert core.next_deadline() is None
    assert core.account().held_datagrams == 0


def test_a_delayed_datagram_is_reordered_only_if_something_overtook_it():
    """The intention to reorder counts for nothing: with no other traffic, order is kept."""
    slow = Verdict(delays=(0.5,), reordered=True)
    core = LinkCore(Script([slow, slow, slow, PASSED]))
    core.receive(data(1, 0), now=0.0)
    assert send_due(core, 1.0) == [0]
    assert core.account().reordered_datagrams == 0
    for number in range(1, 4):
        core.receive(data(1, number), now=2.0)
        send_due(core, 2.0)
    assert send_due(core, 3.0) == [1, 2]
    assert core.account().reordered_datagrams == 2


def test_being_overtaken_by_what_never_left_is_no_reordering():
    """A datagram received later that is dropped or refused overtakes nobody."""
    core = LinkCore(Script([later(0.5), DROPPED, PASSED]))
    for number in range(3):
        core.receive(data(1, number), now=0.0)
    refused = core.take_due(0.0)
    assert refused is not None
    core.refused(refused)
    assert send_due(core, 1.0) == [0]
    assert core.account().reordered_datagrams == 0


def test_a_late_second_copy_is_a_duplicate_and_no_reordering():
    """Order is that of first copies."""
    core = LinkCore(Script([later(0.0, 0.5)]))
    core.receive(data(1, 0), now=0.0)
    core.receive(data(1, 1), now=0.0)
    assert send_due(core, 1.0) == [0, 1, 0]
    account = core.account()
    assert (account.duplicated_datagrams, account.extra_copies, account.reordered_datagrams) == (1, 1, 0)


def test_copies_are_counted_once_as_messages_and_each_as_a_copy():
    """A datagram sent four times is one duplicated datagram with three extra copies, its messages forwarded once."""
    core = LinkCore(Script([later(0.0, 0.0, 0.0, 0.0)]))
    core.receive(data(7), now=0.0)
    assert send_due(core, 0.0) == [0, 0, 0, 0]
    account = core.account()
    assert_balanced(account)
    assert (account.forwarded_datagrams, account.forwarded_messages) == (1, 7)
    assert (account.duplicated_datagrams, account.extra_copies) == (1, 3)


def test_a_datagram_is_dropped_by_refusal_only_when_every_copy_was_refused():
    """Each refusal is a send error; one copy sent is a datagram forwarded, and no duplicate."""
    core = LinkCore(Script([later(0.0, 0.0), later(0.0, 0.0)]))
    core.receive(data(3, 0), now=0.0)
    for _ in range(2):
        datagram = core.take_due(0.0)
        assert datagram is not None
        assert core.account().held_messages == 3
        core.refused(datagram)
    account = core.account()
    assert_balanced(account)
    assert (account.send_errors, account.dropped_datagrams, account.dropped_messages) == (2, 1, 3)
    assert account.dropped_messages_by_reason == {"loss": 0, "partition": 0, "overflow": 0, "refused": 3}

    core.receive(data(5, 1), now=0.0)
    datagram = core.take_due(0.0)
    assert datagram is not None
    core.refused(datagram)
    assert send_due(core, 0.0) == [1]
    account = core.account()
    assert_balanced(account)
    assert (account.send_errors, account.dropped_datagrams, account.forwarded_messages) == (3, 1, 5)
    assert account.duplicated_datagrams == 0


def test_a_partition_drops_what_comes_and_what_falls_due_and_nothing_else():
    """What is due after the partition was waiting on the far side of it, and leaves."""
    core = LinkCore(Script([later(1.0), later(5.0)]))
    core.receive(data(1, 0), now=0.0)
    core.receive(data(2, 1), now=0.0)
    core.partition(True)
    core.receive(data(4, 2), now=0.5)
    assert send_due(core, 2.0) == []
    core.partition(False)
    core.receive(data(8, 3), now=3.0)
    assert send_due(core, 9.0) == [3, 1]
    account = core.account()
    assert_balanced(account)
    assert account.dropped_messages_by_reason == {"loss": 0, "partition": 5, "overflow": 0, "refused": 0}
    assert account.dropped_datagrams_by_reason["partition"] == 2


def test_a_partition_does_not_move_the_verdicts():
    """The rules are asked for every datagram: the n-th verdict belongs to the n-th datagram received."""
    core = LinkCore(Script([PASSED, DROPPED, PASSED]))
    core.partition(True)
    core.receive(data(1, 0), now=0.0)
    core.partition(False)
    core.receive(data(1, 1), now=0.0)
    core.receive(data(1, 2), now=0.0)
    assert send_due(core, 0.0) == [2]
    assert core.account().dropped_datagrams_by_reason == {"loss": 1, "partition": 1, "overflow": 0, "refused": 0}


def test_the_number_of_waiting_copies_is_bounded():
    """A datagram whose copies do not all fit is dropped whole; one that need not wait always passes."""
    core = LinkCore(Script([later(1.0, 1.0), later(1.0, 1.0), later(1.0), later(1.0), PASSED]), max_held=3)
    for number in range(5):
        core.receive(data(10**number % 65_536, number), now=0.0)
    assert send_due(core, 0.0) == [4]
    account = core.account()
    assert_balanced(account)
    assert account.dropped_messages_by_reason == {"loss": 0, "partition": 0, "overflow": 1010, "refused": 0}
    assert send_due(core, 1.0) == [0, 0, 2]


def test_the_bytes_that_wait_are_bounded():
    """Copies share the bytes of their datagram; what has left makes room, and what need not wait needs none."""
    delays = [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (0.0,), (1.0, 1.0), (1.0,)]
    core = LinkCore(Script(later(*copies) for copies in delays), max_held_bytes=200)
    core.receive(data(1, 0, size=100), now=0.0)
    core.receive(data(2, 1, size=100), now=0.0)
    core.receive(data(4, 2, size=64), now=0.0)
    core.receive(data(8, 3, size=64), now=0.0)
    assert send_due(core, 0.0) == [3]
    assert core.account().dropped_messages_by_reason["overflow"] == 4
    assert send_due(core, 1.0) == [0, 0]
    core.receive(data(16, 4, size=100), now=1.0)
    core.receive(data(32, 5, size=64), now=1.0)
    assert core.account().dropped_messages_by_reason["overflow"] == 4 + 32
    assert send_due(core, 2.0) == [1, 1, 4, 4]
    assert_balanced(core.account())


@pytest.mark.parametrize("limit", ["max_held", "max_held_bytes"])
def test_a_negative_limit_is_refused(limit):
    """A limit below nothing means nothing."""
    with pytest.raises(ValueError, match=r"must not be negative, got .*-1"):
        LinkCore(Script(), **{limit: -1})


def test_what_is_held_leaves_in_the_order_it_is_due():
    """Time infinity empties the link; what is due at the same moment leaves in the order received."""
    core = LinkCore(Script(later(delay) for delay in (3.0, 1.0, 2.0, 1.0)))
    for number in range(4):
        core.receive(data(1, number), now=0.0)
    assert send_due(core, math.inf) == [1, 3, 2, 0]


def test_a_corrupted_datagram_is_damaged_by_one_bit_in_every_copy_and_counted_when_it_left():
    """Its messages are counted as forwarded, and as corrupted beside that; an empty datagram stays as it is."""
    core = LinkCore(Script([Verdict(delays=(1.0, 1.0), corrupt_at=44 * 8), Verdict(corrupt_at=0)]))
    core.receive(data(2), now=0.0)
    core.receive(b"", now=0.0)
    assert core.account().corrupted_datagrams == 0
    contents = []
    while (datagram := core.take_due(1.0)) is not None:
        contents.append(datagram.content)
        core.sent(datagram)
    assert contents == [b"", data(258), data(258)]
    account = core.account()
    assert_balanced(account)
    assert (account.forwarded_messages, account.corrupted_datagrams, account.corrupted_messages) == (2, 1, 2)


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        (data(0), 0),
        (data(1), 1),
        (data(65_535, size=1432), 65_535),
        (data(9)[:63], 0),
        (b"\xa4" + data(9)[1:], 0),
        (b"\xa5\x12" + data(9)[2:], 0),
        (b"\xa5\x13" + data(9)[2:], 0),
        (b"", 0),
        (b"page.views:1|c" * 10, 0),
    ],
)
def test_messages_are_those_the_header_of_a_data_datagram_announces(datagram, expected):
    """Beacons, goodbyes, foreign and truncated datagrams have none."""
    assert messages_in(datagram) == expected


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("receive"),
            st.integers(0, 5),
            st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0]), max_size=3).map(tuple),
        ),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0]), st.integers(0, 7)),
        st.tuples(st.just("partition"), st.booleans(), st.none()),
    ),
    max_size=40,
)


@given(steps=steps)
def test_the_account_agrees_with_what_was_seen_to_leave(steps):
    """Under any traffic, refusals and partitions the identities hold at each step, and each count is the oracle's."""
    script = Script(Verdict(delays=step[2]) for step in steps if step[0] == "receive")
    core = LinkCore(script, max_held=4)
    messages: list[int] = []
    left: list[int] = []
    errors = 0
    now = 0.0
    for kind, first, second in [*steps, ("partition", False, None), ("wait", math.inf, 0)]:
        if kind == "receive":
            core.receive(data(first, len(messages)), now)
            messages.append(first)
        elif kind == "partition":
            core.partition(first)
        else:
            now += first
            turn = 0
            while (datagram := core.take_due(now)) is not None:
                if second >> turn & 1:
                    core.refused(datagram)
                    errors += 1
                else:
                    core.sent(datagram)
                    left.append(number_of(datagram.content))
                turn += 1
        assert_balanced(core.account())
    copies = Counter(left)
    firsts = list(dict.fromkeys(left))
    account = core.account()
    assert account.held_datagrams == account.held_messages == 0
    assert account.received_datagrams == len(messages)
    assert account.received_messages == sum(messages)
    assert account.forwarded_datagrams == len(copies)
    assert account.forwarded_messages == sum(messages[number] for number in copies)
    assert account.duplicated_datagrams == sum(count > 1 for count in copies.values())
    assert account.extra_copies == len(left) - len(copies)
    assert account.reordered_datagrams == sum(any(n > number for n in firsts[:i]) for i, number in enumerate(firsts))
    assert account.send_errors == errors
