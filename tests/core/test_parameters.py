"""The options of both ends are checked where they are given."""

import pytest

from atmost.core.limits import MAX_DATAGRAM, MIN_DATAGRAM
from atmost.core.receiving import ReceiverOptions
from atmost.core.sending import SenderOptions
from atmost.errors import OptionError


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("future_bound", -0.1),
        ("future_bound", 86_401),
        ("future_bound", float("nan")),
        ("future_bound", "1"),
        ("clock_guard", -1),
        ("clock_guard", float("inf")),
        ("grace", -1),
        ("window", 0),
        ("window", 1.5),
        ("window", (1 << 24) + 1),
        ("max_sessions", 0),
        ("max_sessions", (1 << 24) + 1),
        ("max_age", 0),
        ("max_age", -1),
        ("max_age", float("nan")),
        ("max_age", "5"),
    ],
)
def test_a_receivers_option_outside_its_range_is_the_callers_mistake(option, value):
    """It raises when it is made, and says which and what is expected."""
    with pytest.raises(OptionError, match=option) as caught:
        ReceiverOptions(**{"future_bound": 0.5, "clock_guard": 0.5, option: value})
    assert caught.value.option == option


def test_the_edges_of_the_options_are_allowed():
    """Nothing at all is a bound too: one clock for both ends needs none."""
    options = ReceiverOptions(future_bound=0, clock_guard=0, window=1, max_sessions=1, grace=0)
    assert (options.window, options.max_age) == (1, None)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("linger", -0.001),
        ("linger", 61),
        ("linger", float("nan")),
        ("max_datagram", MIN_DATAGRAM - 1),
        ("max_datagram", MAX_DATAGRAM + 1),
        ("max_bytes_per_second", 0),
        ("max_bytes_per_second", float("nan")),
        ("max_buffer", 507),
        ("max_buffer", (1 << 30) + 1),
        ("max_hold", -1),
        ("max_hold", 61),
    ],
)
def test_a_senders_option_outside_its_range_is_the_callers_mistake(option, value):
    """It raises when it is made, and says which and what is expected."""
    with pytest.raises(OptionError, match=option) as caught:
        SenderOptions(**{option: value})
    assert caught.value.option == option
