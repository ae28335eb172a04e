"""One owner at a time, in virtual time: claims, leases, and a network between receivers that delays, cuts and joins."""

import json
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atmost.core.shards import Shards
from atmost.transport.nats.presence import CLAIM_LEASES, Presence, sends

LEASE = 1.0
STEP = 0.05


class Bus:
    """Servers that carry what receivers say, everywhere and at once; each receiver may be cut off or stand still."""

    def __init__(self):
        self.now = 100.0
        self.skew = {}
        self.crew = {}
        self.waiting = {}
        self.still = set()
        self.apart = set()

    def join(self, identity, shards="0-3/4", lease=LEASE):
        """Let a receiver come and claim."""

        def clock():
            return round((self.now + self.skew.get(identity, 0.0)) * 1e6)

        presence = self.crew[identity] = Presence(identity, identity, Shards.parse(shards), lease, clock)
        self.waiting[identity] = []
        self.say(identity, presence.connected(self.now))
        return presence

    def say(self, identity, payloads):
        """Deliver to all on this side of a cut, the speaker included."""
        for name in self.crew:
            if (name in self.apart) == (identity in self.apart):
                self.waiting[name] += payloads

    def run(self, seconds):
        """Let time pass; those that stand still find all of it waiting."""
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            for name in list(self.crew):
                if name not in self.still:
                    self.turn(name)
            self.check()

    def turn(self, name):
        presence = self.crew[name]
        due = presence.next_deadline()
        if due is not None and self.now >= due:
            self.say(name, presence.handle_deadline(self.now))
        while self.waiting[name]:
            self.say(name, presence.receive(self.waiting[name].pop(0), self.now))

    def check(self):
        """Nobody holds a shard together with another one, as long as the servers are connected."""
        holding = [p for p in self.crew.values() if p.holds(self.now)]
        if not self.apart:
            for one, other in combinations(holding, 2):
                assert not one._shards.owned & other._shards.owned


def test_a_claim_that_nobody_contradicts_becomes_ownership():
    """After one and a half leases, not before; and it lasts as long as the owner hears itself."""
    bus = Bus()
    a = bus.join("a")
    bus.run(CLAIM_LEASES * LEASE - 2 * STEP)
    assert not a.holds(bus.now)
    bus.run(0.5)
    assert a.holds(bus.now)
    bus.run(20)
    assert a.holds(bus.now)
    assert a.incarnations == 1


def test_the_lease_ends_by_itself():
    """Without an echo nothing is held any more, whether or not anybody looks at the deadlines."""
    bus = Bus()
    a = bus.join("a")
    bus.run(2)
    assert a.holds(bus.now)
    assert not a.holds(bus.now + LEASE + STEP)
    a.disconnected()
    assert a.handle_deadline(bus.now + 2) == []
    assert not a.owning
    assert a.warnings == ["not in touch for 1 s: 0-3/4 must be claimed anew"]


def test_a_lease_runs_from_when_it_was_said_and_not_from_its_echo():
    """What an owner said last may be as old as the way there and back: a successor counts from when it was said."""
    bus = Bus()
    a = bus.join("a")
    bus.run(2)
    said_at = bus.now + LEASE / 3
    (said,) = a.handle_deadline(said_at)
    a.receive(said, said_at + 0.3)
    assert a.holds(said_at + 0.99)
    assert not a.holds(said_at + 1.01)


def test_without_an_echo_nothing_is_ever_owned():
    """Whoever may publish and not subscribe, or the reverse, owns nothing."""
    lonely = Presence("a", "a", Shards.parse("0/1"), LEASE, int)
    lonely.connected(0.0)
    for tick in range(1, 200):
        lonely.handle_deadline(tick * 0.1)
    assert lonely.incarnations == 0
    assert not lonely.holds(20.0)


@pytest.mark.parametrize("end", [Presence.leave, lambda taken: setattr(taken, "holder", "b")])
def test_whoever_is_through_claims_nothing_on_a_new_connection(end):
    """One that was closed while it connected, or has lost its shards, deters nobody with a claim that it does not pursue."""
    bus = Bus()
    a = bus.join("a")
    bus.run(0.5)
    end(a)
    assert a.connected(bus.now) == []
    b = bus.join("b")
    bus.run(2)
    assert b.holds(bus.now)


def test_a_receiver_may_be_closed_while_its_link_looks_at_the_claim():
    """`close` leaves in a thread of its own: the one in the middle of a deadline comes through, and nothing is held."""
    bus = Bus()
    a = bus.join("a")
    bus.run(1.0)

    class Moment(float):
        compared = 0

        def __lt__(self, other):
            Moment.compared += 1
            if Moment.compared == 2:  # with the end of the lease, right before the claim is looked at
                before = float(self) < other
                a.leave()
                return before
            return float(self) < other

    a.handle_deadline(Moment(bus.now + 0.3))
    assert Moment.compared == 2
    assert not a.holds(bus.now)


def test_an_owner_is_not_disturbed_by_a_claim():
    """Not even by one with a smaller id."""
    bus = Bus()
    b = bus.join("b")
    bus.run(2)
    a = bus.join("a", "3/4")
    bus.run(1)
    assert a.holder == "b, which has 0-3/4"
    assert a.next_deadline() is None
    assert b.holds(bus.now)


@pytest.mark.parametrize(("first", "second"), ["ab", "ba"])
def test_of_two_claims_the_older_goes_on(first, second):
    """Whichever has the smaller id."""
    bus = Bus()
    older = bus.join(first)
    bus.run(0.7)
    younger = bus.join(second)
    bus.run(3)
    assert older.holds(bus.now)
    assert younger.holder == f"{first}, which claims 0-3/4"


def test_of_two_claims_of_one_moment_the_smaller_id_goes_on():
    """The order is total: exactly one ends."""
    bus = Bus()
    b, a = bus.join("b"), bus.join("a")
    bus.run(3)
    assert a.holds(bus.now)
    assert b.holder == "a, which claims 0-3/4"


def test_clocks_that_differ_make_another_one_older_but_never_both():
    """Each compares what was announced, so that both see the same one as older; an owner goes before any claim."""
    bus = Bus()
    bus.skew = {"b": -5.0, "c": -9.0}
    a = bus.join("a")
    bus.run(0.7)
    b = bus.join("b")
    bus.run(3)
    assert a.holder == "b, which claims 0-3/4"
    c = bus.join("c")
    bus.run(3)
    assert c.holder == "b, which has 0-3/4"
    assert b.holds(bus.now)


def test_a_short_cut_costs_nothing_and_a_long_one_a_new_claim():
    """Whoever is back within a lease goes on; later somebody may have been here, so it is another incarnation."""
    bus = Bus()
    a = bus.join("a")
    bus.run(3)
    for outage, incarnations in ((0.4, 1), (3.0, 2)):
        a.disconnected()
        bus.apart = {"a"}
        bus.run(outage)
        bus.apart = set()
        bus.say("a", a.connected(bus.now))
        bus.run(3)
        assert a.holds(bus.now)
        assert a.incarnations == incarnations


def test_who_stood_still_ends_when_another_one_has_taken_over():
    """It sees by its own clock that its lease is over, and from the successor that it is not to come back."""
    bus = Bus()
    a = bus.join("a")
    bus.run(3)
    bus.still = {"a"}
    bus.run(1)
    b = bus.join("b")
    bus.run(3)
    assert b.holds(bus.now)
    bus.still = set()
    bus.run(1)
    assert a.holder == "b, which has 0-3/4"
    assert b.holds(bus.now)


def test_who_stood_still_is_not_deterred_by_the_words_of_the_dead():
    """What a successor said before it died waits at the other one's socket; nobody says it again, so the claim is good."""
    bus = Bus()
    a = bus.join("a")
    bus.run(3)
    bus.still = {"a"}
    bus.run(1)
    bus.join("b")
    bus.run(3)
    del bus.crew["b"]
    bus.still = set()
    bus.run(3)
    assert a.holder is None
    assert a.holds(bus.now)
    assert a.incarnations == 2


def test_a_claim_counts_from_when_an_owner_could_hear_it():
    """Its way to the servers may be long: what an owner that stands still then has renewed meanwhile is over before the claim is through."""
    bus = Bus()
    a = bus.join("a")
    bus.run(2)
    b = bus.join("b")
    late, bus.waiting["a"], bus.waiting["b"] = bus.waiting["b"], [], []
    bus.still.add("b")  # for its connection carries nothing yet
    bus.run(0.9 * LEASE)
    assert a.holds(bus.now)
    bus.still = {"a"}
    bus.waiting["b"] += late
    bus.run(2)
    assert b.holds(bus.now)


def test_a_claim_is_not_through_before_it_has_heard_what_an_owner_said():
    """Both stand still in turn, and the owner's answer waits unread when the time of the claim is over."""
    bus = Bus()
    b = bus.join("b")
    bus.run(1.7 * LEASE)
    bus.still = {"b"}
    a = bus.join("a")
    bus.run(0.75 * LEASE)
    bus.still = {"a"}
    bus.run(0.8 * LEASE)
    assert b.holds(bus.now)
    bus.still = set()
    bus.run(1)
    assert a.holder == "b, which has 0-3/4"
    assert b.incarnations == 1


def test_after_a_cut_the_younger_of_two_owners_ends():
    """Each side had one; they hear of each other within a third of a lease, and the one that was there before stays."""
    bus = Bus()
    b = bus.join("b")
    bus.run(3)
    bus.apart = {"a"}
    a = bus.join("a")
    bus.run(4)
    assert a.holds(bus.now)
    assert b.holds(bus.now)
    bus.apart = set()
    until = bus.now + LEASE / 3 + 3 * STEP
    bus.check = lambda: None
    while bus.now < until:
        bus.run(STEP)
    assert b.holds(bus.now)
    assert a.holder == "b, which has 0-3/4"


def test_the_overlap_is_one_and_a_half_leases_or_what_the_way_takes():
    """A successor refuses what an earlier owner may still accept until they have heard of each other; a slow way is warned about, once."""
    bus = Bus()
    a = bus.join("a")
    bus.run(3)
    now = round(bus.now * 1e6)
    assert (a.overlap, a.warnings) == (1.5, [])
    for transit, overlap in ((0.4, 1.5), (0.8, 1.8), (0.7, 1.8), (-3.0, 1.8), (86_400.0, 1.8)):
        a.receive(sends("web-1", 4, now - round(transit * 1e6)), bus.now)
        assert a.overlap == pytest.approx(overlap)
    (warning,) = a.warnings
    assert warning.startswith("what web-1 says comes after 0.8 s, which is more than half a lease of 1 s")


def test_what_waited_at_the_socket_was_not_under_way():
    """A receiver that stood still reads old words; the way is not slow for that."""
    bus = Bus()
    a = bus.join("a")
    bus.run(3)
    said = sends("web-1", 4, round(bus.now * 1e6))
    a.receive(said, bus.now + 20.0)
    assert (a.transit, a.warnings) == (pytest.approx(0.0, abs=0.1), [])


def test_a_long_lease_of_somebody_else_must_be_asked_for():
    """Or one receiver with a mistake in its URL would make all others start a minute later; an owner goes on."""
    bus = Bus()
    b = bus.join("b", "1/4")
    bus.run(1)
    bus.join("a", "0/4", lease=20)
    bus.run(1)
    assert b.objection == "a has a lease of 20 s, so that a claim takes 30 s: give lease=20 here too"
    assert b.next_deadline() is None
    c = bus.join("c", "2/4", lease=20)
    bus.run(40)
    assert c.holds(bus.now)
    owner = Bus()
    d = owner.join("d", "0/4")
    owner.run(3)
    owner.join("e", "1/4", lease=20)
    owner.run(3)
    assert d.holds(owner.now)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["join", "still", "on", "leave"]), st.integers(0, 3), st.sampled_from([0.1, 0.6, 1.2, 3.0])
        ),
        max_size=25,
    )
)
def test_whatever_they_do_no_two_hold_one_shard(steps):
    """Joining, standing still, going on and leaving in any order, as long as the servers are connected (H2)."""
    bus, joined = Bus(), 0
    for what, which, seconds in steps:
        names = list(bus.crew)
        if what == "join":
            joined += 1
            # Ids in no order, shards that overlap.
            bus.join(f"{which}-{joined}", ["0-3/4", "0-1/4", "2,3/4", "1-2/4"][which])
        elif names:
            name = names[which % len(names)]
            if what == "still":
                bus.still |= {name}
            elif what == "on":
                bus.still -= {name}
            else:
                bus.crew[name].leave()
        bus.run(seconds)


@pytest.mark.parametrize(
    "payload",
    [None, b"", b"{", b"[]", b"\xff" * 9, b"x" * 9000, b"[" * 5000, json.dumps({"kind": "own"}).encode()]
    + [
        json.dumps({"kind": "own", "id": "z", "who": "w", "shards": shards}).encode()
        for shards in ("", "0-9/4", "x", "0/0", "0,0/4")
    ],
)
def test_what_is_no_announcement_changes_nothing(payload):
    """Anybody may publish there who is allowed to."""
    bus = Bus()
    a = bus.join("a")
    bus.run(3)
    assert a.receive(payload, bus.now) == []
    assert a.holds(bus.now)


def test_answers_are_few_whatever_is_claimed():
    """A flood of claims is not answered with a flood (R15)."""
    bus = Bus()
    a = bus.join("a")
    bus.run(3)
    claim = json.dumps({"kind": "claim", "id": "b", "who": "b", "shards": "0-3/4"}).encode()
    assert sum(len(a.receive(claim, bus.now)) for _ in range(1000)) <= 1


def test_shards_without_an_owner_are_named_once():
    """By those who are there, after others had time to come; and again when it becomes another hole."""
    bus = Bus()
    a = bus.join("a", "0/4")
    b = bus.join("b", "2/4")
    bus.run(12)
    assert a.warnings == ["nobody receives the shards 1,3/4: what their senders send is lost"]
    b.leave()
    bus.crew.pop("b")
    bus.run(12)
    assert a.warnings[1:] == ["nobody receives the shards 1-3/4: what their senders send is lost"]


def test_another_number_of_shards_is_noticed():
    """A sender's is told once, a receiver's is a contest."""
    bus = Bus()
    a = bus.join("a")
    bus.run(3)
    for _ in range(3):
        bus.say("a", [sends("web-1", 32, 0), sends("web-2", 4, 0)])
        bus.run(1)
    assert len(a.warnings) == 1
    assert "web-1 divides the channel into 32 shards instead of 4" in a.warnings[0]
    other = bus.join("0", "7/8")
    bus.run(1)
    assert other.holder == "a, which has 0-3/4"


def test_whoever_lies_about_it_is_told_of_a_few_times():
    """Each number once, and not all there are: the log is no place for a flood."""
    bus = Bus()
    a = bus.join("a")
    bus.run(3)
    for count in [*range(5, 105), *range(5, 105)]:
        a.receive(sends("web-1", count, 0), bus.now)
    assert len(a.warnings) == 16


def test_a_name_cannot_write_to_the_log_or_terminal():
    """It is shown as escapes, and not at any length."""
    bus = Bus()
    a = bus.join("a")
    who = "\x1b[31m\nred" + "d" * 1000
    bus.run(3)
    a.receive(sends(who, 32, 0), bus.now)
    a.receive(json.dumps({"kind": "own", "id": "0", "who": who, "shards": "0-3/4"}).encode(), bus.now)
    assert a.holder is not None
    for text in (a.holder, a.warnings[-1]):
        assert "\\x1b[31m\\nred" in text
        assert text.isprintable()
        assert len(text) < 300
