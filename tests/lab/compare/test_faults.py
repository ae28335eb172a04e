"""The fates of transmissions: the same for every arm, and moved by nothing but their own option."""

from atmost.lab.compare import CompareOptions
from atmost.lab.compare.network import Crash, Purpose, RandomFates

EVERYTHING = CompareOptions(
    loss=0.2, ack_loss=0.3, duplicate=0.25, crash_before=0.1, crash_after=0.2, latency=0.01, jitter=0.02, seed=9
)


def fates(options, purpose=Purpose.FIRST, count=2000):
    """So many fates of one purpose."""
    source = RandomFates(options)
    return [source.of(purpose) for _ in range(count)]


def test_the_same_seed_gives_the_same_fates():
    """And another seed others."""
    assert fates(EVERYTHING) == fates(EVERYTHING)
    assert fates(EVERYTHING) != fates(CompareOptions(**EVERYTHING.as_dict() | {"seed": 10}))


def test_retries_and_beacons_do_not_move_the_fates_of_first_transmissions():
    """So the arms, which repeat differently, lose the same first transmissions."""
    source = RandomFates(EVERYTHING)
    mixed = []
    for number in range(2000):
        for _ in range(number % 3):
            source.of(Purpose.AGAIN)
            source.of(Purpose.CONTROL)
        mixed.append(source.of(Purpose.FIRST))
    assert mixed == fates(EVERYTHING)


def test_with_more_loss_what_was_lost_stays_lost():
    """And what arrives in both runs arrives alike, so a sweep's points differ by the option alone."""
    more = fates(CompareOptions(**EVERYTHING.as_dict() | {"loss": 0.4}))
    for before, after in zip(fates(EVERYTHING), more, strict=True):
        if after:
            assert before[0] == after[0]


def test_every_fault_comes_as_often_as_asked():
    """Within five standard deviations of 20,000 draws, with a fixed seed."""
    drawn = fates(EVERYTHING, count=20_000)
    arrived = [fate for fate in drawn if fate]
    copies = [copy for fate in drawn for copy in fate]
    shares = {
        "lost": (sum(not fate for fate in drawn), len(drawn), 0.2),
        "doubled": (sum(len(fate) == 2 for fate in arrived), len(arrived), 0.25),
        "before": (sum(copy.crash is Crash.BEFORE for copy in copies), len(copies), 0.1),
        "after": (sum(copy.crash is Crash.AFTER for copy in copies), len(copies), 0.9 * 0.2),
        "unheard": (sum(copy.ack_delay is None for copy in copies), len(copies), 0.3),
    }
    for name, (count, of, share) in shares.items():
        assert abs(count / of - share) < 5 * (share * (1 - share) / of) ** 0.5, name
    assert all(0.01 <= copy.delay < 0.03 for copy in copies)
    assert len({copy.delay for copy in copies}) == len(copies)
