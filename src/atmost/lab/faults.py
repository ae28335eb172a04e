"""Faults of a link: decides for each datagram whether it is lost, doubled, damaged or late.

Faults are ordered rules. Each rule takes the verdict so far and returns the next one; once a rule drops a
datagram, the later ones are skipped. Losses come alone or in bursts by the two-state model of E. N. Gilbert, *Capacity of a
burst-noise channel* (Bell System Technical Journal 39, 1960), with every datagram of the bad state lost.

Promise: pure. No input or output, no clock; randomness comes only from the generator handed in, so the same seed gives
the same verdicts. Each rule draws from a stream of its own, seeded from that generator: with one seed, the same
datagrams are lost whatever the other faults are set to. Not thread-safe: one thread at a time.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

_RANGES: dict[str, tuple[float, float, str]] = {
    "loss": (0.0, 1.0, ""),
    "duplicate": (0.0, 1.0, ""),
    "reorder": (0.0, 1.0, ""),
    "burst": (1.0, 1_000_000.0, " datagrams"),
    "corrupt": (0.0, 1.0, ""),
    "delay": (0.0, 3600.0, " seconds"),
    "jitter": (0.0, 3600.0, " seconds"),
    "reorder_delay": (0.000_001, 3600.0, " seconds"),
    "copies": (2, 1000, ""),
}
"""Lowest and highest value of each option, with its unit."""


@dataclass(frozen=True, slots=True)
class LinkFaults:
    """What a link does to the datagrams it carries; by default nothing.

    Raises:
        ValueError: An option is out of its range; the text names the option, its value and the range.
    """

    loss: float = 0.0
    """Probability, 0 to 1, that a datagram is dropped. 0 drops nothing and 1 drops everything, exactly."""

    duplicate: float = 0.0
    """Probability, 0 to 1, that a datagram which is not dropped is sent `copies` times."""

    reorder: float = 0.0
    """Probability, 0 to 1, that a datagram which is not dropped is kept `reorder_delay` longer than the others."""

    burst: float = 1.0
    """Mean length of a run of losses, in datagrams, at least 1.

    Independent losses already come in runs of 1 / (1 - loss) on average; this value or any below it, such as the
    default of 1, means independent losses. The share of datagrams lost is `loss` at every burst length.
    """

    corrupt: float = 0.0
    """Probability, 0 to 1, that one bit of a datagram which is not dropped is flipped, the same bit in every copy."""

    delay: float = 0.0
    """Seconds every datagram is kept."""

    jitter: float = 0.0
    """Seconds, at most, that each copy is kept on top of `delay`: uniform from 0 to this, drawn for each copy.

    More jitter than the time between two datagrams reorders them.
    """

    reorder_delay: float = 0.02
    """Seconds a datagram chosen by `reorder` is kept on top of the rest. Only what comes meanwhile overtakes it."""

    copies: int = 2
    """How often a datagram chosen by `duplicate` is sent in all: 2 to 1000."""

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        for name, (lowest, highest, unit) in _RANGES.items():
            value = getattr(self, name)
            if not lowest <= value <= highest:  # Written so that NaN is refused too.
                raise ValueError(f"{name} must be between {lowest:g} and {highest:g}{unit}, got {value!r}")
        if self.copies != int(self.copies):
            raise ValueError(f"copies must be a whole number between 2 and 1000, got {self.copies!r}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to happen to one datagram."""

    delays: tuple[float, ...] = (0.0,)
    """Seconds to keep each copy, one entry a copy; empty when the datagram is dropped."""

    reordered: bool = False
    """Kept longer than the others on purpose. Whether anything overtakes it is up to the traffic."""

    corrupt_at: int | None = None
    """Which bit to flip, for `corrupted_copy`; None to leave the datagram whole."""

    @property
    def dropped(self) -> bool:
        """Whether no copy is to be sent."""
        return not self.delays

    @property
    def duplicated(self) -> bool:
        """Whether more than one copy is to be sent."""
        return len(self.delays) > 1

    @property
    def corrupted(self) -> bool:
        """Whether a bit is to be flipped."""
        return self.corrupt_at is not None


PASSED = Verdict()
"""The datagram is sent once, at once, as it is."""

DROPPED = Verdict(delays=())
"""The datagram is not sent at all."""


class Rule(Protocol):
    """One fault: amends the verdict on the next datagram."""

    def amend(self, verdict: Verdict) -> Verdict:
        """Return the verdict after this rule; called at most once a datagram, in the order of the datagrams."""


class Judge(Protocol):
    """Decides what happens to datagrams: `FaultRules`, or a test's script."""

    def judge(self) -> Verdict:
        """Return the verdict on the next datagram."""


class FaultRules:
    """The rules of one link, in their order: loss, corruption, reordering, duplication, delay.

    Loss comes first, so `loss` is the share of all datagrams; duplication comes after whatever happens to a datagram
    as a whole, so that its copies share it; delay comes last, so that each copy has a jitter of its own.
    """

    __slots__ = ("_rules",)

    def __init__(self, faults: LinkFaults, random: Random) -> None:
        """Prepare the rules.

        Args:
            faults: What the link does.
            random: Source of all randomness, used only in this call.
        """
        # One stream for each rule, drawn whether the rule is in use or not: options do not move each other's faults.
        streams = [Random(random.getrandbits(64)) for _ in range(5)]
        loss, corrupt, reorder, duplicate, delay = streams
        rules: list[Rule] = [_Loss(faults.loss, faults.burst, loss)]
        if faults.corrupt > 0:
            rules.append(_Corruption(faults.corrupt, corrupt))
        if faults.reorder > 0:
            rules.append(_Reordering(faults.reorder, faults.reorder_delay, reorder))
        if faults.duplicate > 0:
            rules.append(_Duplication(faults.duplicate, int(faults.copies), duplicate))
        if faults.delay > 0 or faults.jitter > 0:
            rules.append(_Delay(faults.delay, faults.jitter, delay))
        self._rules = tuple(rules)

    def judge(self) -> Verdict:
        """Return the verdict on the next datagram."""
        verdict = PASSED
        for rule in self._rules:
            verdict = rule.amend(verdict)
            if verdict.dropped:
                break
        return verdict


class Overruled:
    """Rules that can be overruled for a while: by an outage, or by a link that heals.

    Overruled rules are not asked, so afterwards they continue where they stopped.
    """

    __slots__ = ("_rules", "verdict")

    def __init__(self, rules: Judge) -> None:
        """Args: rules: Decide when they are not overruled."""
        self._rules = rules
        self.verdict: Verdict | None = None
        """The verdict on every datagram, such as `PASSED` or `DROPPED`; None to ask the rules."""

    def judge(self) -> Verdict:
        """Return the verdict on the next datagram."""
        return self._rules.judge() if self.verdict is None else self.verdict


def corrupted_copy(datagram: bytes, corrupt_at: int) -> bytes:
    """Return the datagram with one bit flipped.

    Args:
        datagram: Any bytes; empty ones come back as they are, having no bit to flip.
        corrupt_at: Which bit, counted from the first byte's lowest, modulo the number of bits there are.
    """
    if not datagram:
        return datagram
    byte, bit = divmod(corrupt_at % (8 * len(datagram)), 8)
    damaged = bytearray(datagram)
    damaged[byte] ^= 1 << bit
    return bytes(damaged)


class _Loss:
    """Drops datagrams, alone or in runs: a Markov chain of two states, lost and passed.

    With `stay` the probability that a loss follows a loss, runs have a mean length of 1 / (1 - stay), and the share of
    losses settles at `loss` when a loss follows a pass with probability loss (1 - stay) / (1 - loss). At stay = loss
    both are `loss`, which is independence; the first datagram is drawn from the settled share.
    """

    __slots__ = ("_after_loss", "_after_pass", "_probability", "_random")

    def __init__(self, loss: float, burst: float, random: Random) -> None:
        self._after_loss = max(loss, 1.0 - 1.0 / burst)
        self._after_pass = loss * (1.0 - self._after_loss) / (1.0 - loss) if loss < 1.0 else 1.0
        self._probability = loss
        self._random = random

    def amend(self, verdict: Verdict) -> Verdict:
        # random() is below 1 always and below 0 never: both ends of the range are exact.
        if self._random.random() < self._probability:
            self._probability = self._after_loss
            return DROPPED
        self._probability = self._after_pass
        return verdict


class _Corruption:
    """Flips one bit."""

    __slots__ = ("_probability", "_random")

    def __init__(self, probability: float, random: Random) -> None:
        self._probability = probability
        self._random = random

    def amend(self, verdict: Verdict) -> Verdict:
        if self._random.random() < self._probability:
            return replace(verdict, corrupt_at=self._random.getrandbits(32))
        return verdict


class _Reordering:
    """Keeps a datagram so long that others overtake it."""

    __slots__ = ("_delay", "_probability", "_random")

    def __init__(self, probability: float, delay: float, random: Random) -> None:
        self._probability = probability
        self._delay = delay
        self._random = random

    def amend(self, verdict: Verdict) -> Verdict:
        if self._random.random() < self._probability:
            return replace(verdict, delays=tuple(kept + self._delay for kept in verdict.delays), reordered=True)
        return verdict


class _Duplication:
    """Sends a datagram several times."""

    __slots__ = ("_copies", "_probability", "_random")

    def __init__(self, probability: float, copies: int, random: Random) -> None:
        self._probability = probability
        self._copies = copies
        self._random = random

    def amend(self, verdict: Verdict) -> Verdict:
        if self._random.random() < self._probability:
            return replace(verdict, delays=verdict.delays * self._copies)
        return verdict


class _Delay:
    """Keeps every copy for a fixed time and a random one."""

    __slots__ = ("_delay", "_jitter", "_random")

    def __init__(self, delay: float, jitter: float, random: Random) -> None:
        self._delay = delay
        self._jitter = jitter
        self._random = random

    def amend(self, verdict: Verdict) -> Verdict:
        def longer(kept: float) -> float:
            return kept + self._delay + self._jitter * self._random.random()

        return replace(verdict, delays=tuple(longer(kept) for kept in verdict.delays))
