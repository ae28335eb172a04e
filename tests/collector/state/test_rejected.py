"""Samples of rejected input: the last of each kind, in bounds that a flood cannot push others out of."""

from atmost.collector.state.rejected import RejectedSamples, Sample


def sample(t, reason="malformed_value", listener="statsd"):
    """A sample."""
    return Sample(t=t, listener="gelf", address=listener, peer="p", reason=reason, sample="x")


def test_the_last_are_kept_oldest_first():
    """Of each kind a tenth of all."""
    samples = RejectedSamples(100)
    for t in range(30):
        samples.append(sample(float(t)))
    assert [each.t for each in samples.latest()] == [float(t) for t in range(20, 30)]


def test_a_flood_of_one_kind_hides_no_other():
    """The rare one is still there."""
    samples = RejectedSamples(20)
    samples.append(sample(0.0, "rare"))
    for t in range(1000):
        samples.append(sample(float(t)))
    assert [each.reason for each in samples.latest()].count("rare") == 1


def test_the_bound_of_all_holds():
    """Whatever the number of kinds."""
    samples = RejectedSamples(10)
    for number in range(100):
        samples.append(sample(float(number), f"reason {number}"))
    assert [each.t for each in samples.latest()] == [float(t) for t in range(90, 100)]


def test_a_flood_costs_next_to_nothing():
    """When a kind is full, samples within 50 ms of the last are not even kept."""
    samples = RejectedSamples(10)
    for t in (0.0, 0.01, 0.02, 0.06):
        samples.append(sample(t))
    assert [each.t for each in samples.latest()] == [0.06]
