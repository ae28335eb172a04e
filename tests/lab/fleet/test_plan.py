"""The arithmetic of a fleet follows from its costs."""

import math

import pytest

from atmost.core.datagram import encode_message
from atmost.core.seal import NO_KEY, no_keys
from atmost.core.sending import SenderCore, SenderOptions
from atmost.errors import OptionError
from atmost.lab.fleet import Costs, Load, measure_costs, plan
from atmost.lab.fleet.plan import beacons_per_second
from atmost.transport.base import NETWORK_DATAGRAM

COSTS = Costs(datagram_us=4.0, message_us=0.5, session_bytes=1000.0, sessions=1)


def test_one_stage_by_hand():
    """10,000 senders with 10 datagrams of 5 messages a second, a beacon after each: 200,000 datagrams, 500,000 messages."""
    [stage] = plan([Load(10_000, 10.0, 5.0, 800.0)], COSTS, carrier_us=2.0, handler_us=0.5, headroom=0.5)
    assert stage.datagrams == 200_000
    assert stage.messages == 500_000
    assert stage.cores == pytest.approx((200_000 * 6.0 + 500_000 * 1.0) / 1e6 / 0.5)
    assert stage.shards == 4
    assert stage.session_bytes == 10_000_000
    assert stage.shard_bytes == 2_500_000
    assert stage.network_bytes == 100_000 * 800 + 100_000 * 160


def test_shards_are_a_power_of_two_with_a_core_of_work_or_less():
    """From one on."""
    for senders in (1, 1000, 50_000, 10**6, 10**7):
        [stage] = plan([Load(senders, 2.0)], COSTS)
        assert math.log2(stage.shards).is_integer()
        assert stage.cores / stage.shards <= 1
        assert stage.shards == 1 or stage.cores / (stage.shards / 2) > 1


@pytest.mark.parametrize("rate", [0.003, 0.05, 0.11, 0.3, 0.9, 1.0, 1.7, 3.0, 5.5, 12.0, 19.0, 21.0, 100.0])
def test_beacons_are_planned_as_the_core_sends_them(rate):
    """Between two datagrams of an evenly speaking sender, and once a second under load."""
    core = SenderCore(SenderOptions(linger=0), NETWORK_DATAGRAM, no_keys()[NO_KEY], name="s", host="h", pid=1)
    core.begin(1, 0, 0.0)
    beacons, seconds = 0, max(50.0, 20 / rate)

    def hand_over(now):
        made = 0
        while (outgoing := core.next_datagram(now, round(now * 1e6), flush=True)) is not None:
            made += not outgoing.count
            core.handed_over(outgoing, None, now)
        return made

    for number in range(1, int(rate * seconds) + 1):
        while core.next_deadline() < number / rate:
            beacons += hand_over(core.next_deadline())
        core.offer(encode_message(("scale.message", number)), number / rate)
        beacons += hand_over(number / rate)
    assert beacons / seconds == pytest.approx(beacons_per_second(rate), rel=0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"senders": 0},
        {"senders": 10**12},
        {"datagrams_per_second": 0.0},
        {"datagrams_per_second": 1e308},
        {"messages_per_datagram": math.nan},
        {"datagram_bytes": math.inf},
    ],
)
def test_loads_that_no_fleet_sends_are_refused(wrong):
    """With the option's name."""
    with pytest.raises(OptionError):
        Load(**{"senders": 1, "datagrams_per_second": 1.0, **wrong})


@pytest.mark.parametrize(
    "wrong",
    [{"headroom": 0.0}, {"headroom": 1.1}, {"carrier_us": -1.0}, {"carrier_us": 1e300}, {"handler_us": math.nan}],
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
