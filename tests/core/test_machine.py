"""Senders, a link that loses, repeats and reorders, and one receiver's address: whatever happens, the account is true.

Hypothesis decides what happens; the link's tape is the ground truth.
Receivers and senders restart, clocks step, sockets refuse, tables overflow, and everything ever sent may be replayed.
"""

from collections import Counter
from itertools import chain

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from atmost.core.events import LateArrival, Loss, Message
from atmost.core.sending import NOT_NOW, SenderOptions
from tests.core.twins import GUARD_US, Receiving, Sending, read

TICKS_US = [0, 1, 1000, 60_000, 300_000, 2_000_000, 61_000_000]
STEPS_US = [-86_400_000_000, -600_000, -200_000, -1000, 1000, 1000, 200_000, 600_000]
ANSWERS = [None, None, None, "EPERM", NOT_NOW]
FATES = ["now", "now", "now", "later", "lost", "twice"]
senders = st.integers(0, 2)
ticks = st.sampled_from(TICKS_US)


class Link(RuleBasedStateMachine):
    """What was sent is on the tape for ever; what is in flight may still arrive, in any order, or be dropped."""

    @initialize(window=st.integers(1, 64), sessions=st.integers(1, 8), linger=st.sampled_from([0.0, 0.005]))
    def begin(self, window, sessions, linger):
        """One receiver and three senders, whose clocks agree."""
        self.parameters = {"window": window, "max_sessions": sessions}
        self.options = SenderOptions(linger=linger, max_buffer=1000, max_hold=0.05)
        self.message = 0
        self.tape: list[bytes] = []
        self.in_flight: list[bytes] = []
        self.numbered: dict[bytes, dict[int, object]] = {}
        self.delivered: Counter[object] = Counter()
        self.greatest_us = 0
        self.there = Receiving(**self.parameters)
        self.senders = [self._sender(number) for number in range(3)]
        self._begin_incarnation()

    def _sender(self, number):
        sending = Sending(self.options, 600, wall_us=self.there.wall_us, now=self.there.now)
        sending.random64 = 1000 * (number + 1) + self.message
        return sending

    def _begin_incarnation(self):
        self.lost_total = 0
        self.floor_us = self.there.core.floor_us

    @rule(who=senders, count=st.integers(1, 4), size=st.sampled_from([1, 150]), flush=st.booleans())
    def send(self, who, count, size, flush):
        """Some messages, each with a number of its own."""
        for _ in range(count):
            self.message += 1
            self.senders[who].send([self.message, "x" * size])
        self._drain(who, flush=flush)

    @rule(who=senders, fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=20))
    def stream(self, who, fates):
        """A run of single messages, each with the fate of its datagram."""
        for fate in fates:
            self.message += 1
            self.senders[who].send([self.message, ""])
            before = len(self.in_flight)
            self._drain(who, flush=True)
            new = self.in_flight[before:]
            if fate != "later":
                del self.in_flight[before:]
            if fate in {"now", "twice"}:
                self._take(*new)
            if fate == "twice":
                self._take(*new)

    @rule(who=senders, answer=st.sampled_from(ANSWERS))
    def weather(self, who, answer):
        """The transport takes datagrams, refuses them, or says "not now", until it is told otherwise."""
        self.senders[who].answer = lambda _data: answer
        self._drain(who, flush=False)

    @rule(who=senders)
    def goodbye(self, who):
        """It says goodbye, and may go on all the same."""
        self.senders[who].goodbye()
        self._drain(who, flush=False)

    @rule(who=senders)
    def restart_sender(self, who):
        """A new life: a new session, and what the last one had not handed over is gone."""
        self.senders[who] = self._sender(who)

    @rule(who=senders, step_us=st.sampled_from(STEPS_US))
    def set_senders_clock(self, who, step_us):
        """Nothing is assumed of it."""
        self.senders[who].wall_us += step_us

    @rule(tick_us=ticks)
    def tick(self, tick_us):
        """Time passes for all, and what is due is done."""
        self.there.settle(tick_us / 1e6)
        for who, sending in enumerate(self.senders):
            sending.now += tick_us / 1e6
            sending.wall_us += tick_us
            self._drain(who, flush=False)

    @precondition(lambda self: self.in_flight)
    @rule(which=st.integers(0, 10_000), keep=st.booleans())
    def arrive(self, which, keep):
        """One of those in flight arrives, in any order; it may stay in flight and arrive again."""
        which %= len(self.in_flight)
        self._take(self.in_flight[which] if keep else self.in_flight.pop(which))

    @rule(backwards=st.booleans())
    def arrive_all(self, backwards):
        """All in flight arrive, in their order or the reverse."""
        arriving, self.in_flight = self.in_flight, []
        self._take(*(reversed(arriving) if backwards else arriving))

    @precondition(lambda self: self.in_flight)
    @rule(which=st.integers(0, 10_000), count=st.integers(1, 5))
    def lose(self, which, count):
        """Some in a row never arrive."""
        which %= len(self.in_flight)
        del self.in_flight[which : which + count]

    @precondition(lambda self: self.tape)
    @rule(which=st.integers(0, 10_000), count=st.integers(1, 30))
    def replay(self, which, count):
        """An adversary sends a piece of the tape once more."""
        which %= len(self.tape)
        self._take(*self.tape[which : which + count])

    @rule(count=st.integers(1, 3))
    def overflow(self, count):
        """The queue was full for some messages of the latest session (R14)."""
        rows = self.there.ledger().sessions
        if rows and rows[-1].delivered >= count:
            session = list(self.there.core._table.sessions.values())[-1].session
            self.there.core.overflowed(session, count, self.there.now)

    @rule(step_us=st.sampled_from([-GUARD_US, -1000, 1000, GUARD_US]))
    def set_receivers_clock(self, step_us):
        """It may step either way; over restarts no more than G back (H1)."""
        if self.there.wall_us + step_us >= self.greatest_us - GUARD_US:
            self.there.wall_us += step_us

    @rule(wait_us=st.sampled_from([0, 500_000, 1_000_001, 1_000_001, 2_000_000]), chance=st.integers(0, 3))
    def restart_receiver(self, wait_us, chance):
        """A new incarnation remembers nothing but its clock, and may be reached by what was sent before it was ready."""
        if chance:
            return
        old = self.there
        self.there = Receiving(ready=False, wall_us=old.wall_us, **self.parameters)
        self.there.now = old.now
        self._begin_incarnation()
        self.tick(wait_us)

    @rule()
    def settle(self):
        """After two graces nothing is pending, and what is lost is what truly never came."""
        for _ in range(4):
            self.tick(1_000_000)
        ledger = self.there.ledger()
        assert ledger.pending == 0
        for row, state in zip(ledger.sessions, self.there.core._table.sessions.values(), strict=True):
            assert row.lost == self._missing(state)

    def _drain(self, who, *, flush):
        sending = self.senders[who]
        sending.drain(flush=flush)
        for sealed in sending.attempts:
            seen = read(sealed)
            key = sealed[2:20]
            ours = self.numbered.setdefault(key, {})
            for offset, payload in enumerate(seen.payloads):
                assert ours.setdefault(seen.prior + offset, payload[0]) == payload[0], "a number stands for one message"
        sending.attempts.clear()
        self.tape += sending.wire
        self.in_flight += sending.wire
        sending.wire.clear()

    def _take(self, *datagrams):
        self.greatest_us = max(self.greatest_us, self.there.wall_us)
        for event in self.there.take(*datagrams):
            if isinstance(event, Message):
                self.delivered[event.payload[0]] += 1

    def _missing(self, state):
        """Of the messages this receiver answers for, those that never came, by the link's own account."""
        account, numbered = state.account, self.numbered.get(state.session.key, {})
        assert account.end <= len(numbered)
        return sum(not self.delivered[numbered[number]] for number in range(account.origin, account.end))

    @invariant()
    def no_message_twice(self):
        """Over all lives of the receiver."""
        assert not self.delivered or max(self.delivered.values()) == 1

    @invariant()
    def the_account_is_true(self):
        """R20 at every step (`ledger()` checks it); missing is what is missing; nothing announced is taken back."""
        ledger = self.there.ledger()
        for row, state in zip(ledger.sessions, self.there.core._table.sessions.values(), strict=True):
            assert row.pending + row.lost == self._missing(state)
            assert all((count or 0) >= 0 for count in row.lost_by_place.values())
            assert sum(count or 0 for count in row.lost_by_place.values()) == row.lost
        undelivered = len(set(chain.from_iterable(of.values() for of in self.numbered.values()))) - len(self.delivered)
        assert ledger.lost + ledger.pending <= undelivered
        losses = [event.count for event in self.there.events if isinstance(event, Loss)]
        late = [event.count for event in self.there.events if isinstance(event, LateArrival)]
        assert (sum(losses), sum(late)) == (ledger.lost + ledger.late, ledger.late)
        assert ledger.lost + ledger.late >= self.lost_total
        self.lost_total = ledger.lost + ledger.late

    @invariant()
    def nothing_grows(self):
        """The table keeps its size, the floor only rises, and senders account for all they were given."""
        assert len(self.there.core._table.sessions) <= self.parameters["max_sessions"]
        assert self.there.core.floor_us >= self.floor_us
        self.floor_us = self.there.core.floor_us
        for sending in self.senders:
            sending.stats()


TestLink = Link.TestCase
TestLink.settings = settings(max_examples=250, stateful_step_count=50)
