"""The arithmetic of a fleet follows from its costs."""

import math

import pytest

from atmost.errors import OptionError
from atmost.lab.scale import Costs, Load, measure_costs, plan

COSTS = Costs(datagram_us=4.0, message_us=0.5, session_bytes=1000.0, sessions=1)


def test_one_stage_by_hand():
    """10,000 senders with 10 datagrams of 5 messages a second: 110,000 datagrams with beacons, 500,000 messages."""
    [stage] = plan([Load(10_000, 10.0, 5.0, 800.0)], COSTS, carrier_us=2.0, handler_us=0.5, headroom=0.5)
    assert stage.datagrams == 110_000
    assert stage.messages == 500_000
    assert stage.cores == pytest.approx((110_000 * 6.0 + 500_000 * 1.0) / 1e6 / 0.5)
    assert stage.shards == 4
    assert stage.session_bytes == 10_000_000
    assert stage.shard_bytes == 2_500_000
    assert stage.network_bytes == 100_000 * 800 + 10_000 * 160


def test_shards_are_a_power_of_two_with_a_core_of_work_or_less():
    """From one on."""
    for senders in (1, 1000, 50_000, 10**6, 10**7):
        [stage] = plan([Load(senders, 2.0)], COSTS)
        assert math.log2(stage.shards).is_integer()
        assert stage.cores / stage.shards <= 1
        assert stage.shards == 1 or stage.cores / (stage.shards / 2) > 1


@pytest.mark.parametrize("wrong", [{"senders": 0}, {"datagrams_per_second": 0.0}, {"datagram_bytes": math.inf}])
def test_loads_that_no_fleet_sends_are_refused(wrong):
    """With the option's name."""
    with pytest.raises(OptionError):
        Load(**{"senders": 1, "datagrams_per_second": 1.0, **wrong})


@pytest.mark.parametrize(
    "wrong", [{"headroom": 0.0}, {"headroom": 1.1}, {"carrier_us": -1.0}, {"handler_us": math.nan}]
)
def test_costs_outside_their_range_are_refused(wrong):
    """With the option's name."""
    with pytest.raises(OptionError):
        plan([Load(1, 1.0)], COSTS, **wrong)


def test_costs_are_measured():
    """They are there, and of a plausible size: nothing is accepted in no time or memory."""
    costs = measure_costs(sessions=300)
    assert 0.1 < costs.datagram_us < 1000
    assert 0 <= costs.message_us < 100
    assert 300 < costs.session_bytes < 10_000
