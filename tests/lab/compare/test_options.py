"""What a comparison can be told, and what it refuses with a reason."""

from math import inf, nan

import pytest

from atmost.errors import OptionError
from atmost.lab.compare import CompareOptions


@pytest.mark.parametrize("name", ["loss", "ack_loss", "duplicate", "crash_before", "crash_after"])
@pytest.mark.parametrize("value", [-0.1, 1.0, nan, inf, "0.1", True])
def test_a_probability_is_one_or_is_refused_by_name(name, value):
    """Also 1: what retries would never end."""
    with pytest.raises(OptionError, match=f"^{name}=") as refused:
        CompareOptions(**{name: value})
    assert refused.value.option == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latency", -1.0),
        ("jitter", nan),
        ("interval", 0.0),
        ("retry_after", 0.0),
        ("max_backoff", 0.1),
        ("messages", 0),
        ("messages", 10**9),
        ("messages", 1.5),
        ("payload", 7),
        ("payload", 1_301),
        ("seed", -1),
        ("future_bound", -0.1),
        ("clock_guard", inf),
    ],
)
def test_other_values_out_of_range_are_refused_by_name(name, value):
    """Each with the range that is right."""
    with pytest.raises(OptionError, match=f"^{name}="):
        CompareOptions(**{name: value})


def test_a_retry_before_an_answer_could_come_is_refused():
    """It would send every message twice, and no closed form would hold."""
    with pytest.raises(OptionError, match="longest round trip"):
        CompareOptions(latency=0.1, jitter=0.0, retry_after=0.2)
    assert CompareOptions(latency=0.1, jitter=0.0, retry_after=0.201)


def test_faults_that_leave_a_retry_no_chance_are_refused():
    """Each is allowed by itself; together they need too many transmissions."""
    assert CompareOptions(loss=0.95, ack_loss=0.0, crash_before=0.0, crash_after=0.0)
    with pytest.raises(OptionError, match="at most 100 transmissions a message, not 400"):
        CompareOptions(loss=0.95, ack_loss=0.95, crash_before=0.0, crash_after=0.0)


def test_waits_double_up_to_the_longest():
    """However many there are."""
    options = CompareOptions(retry_after=0.2, max_backoff=1.0)
    assert [options.backoff(attempt) for attempt in range(5)] == [0.2, 0.4, 0.8, 1.0, 1.0]
    assert options.backoff(100_000) == 1.0
