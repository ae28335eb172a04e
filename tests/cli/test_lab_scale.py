"""`atmost lab scale` as a user runs it."""


def test_it_plans_and_simulates_and_ends_with_the_verdict(commands):
    """The measured costs, a row a stage, and the account of the fleet."""
    ended = commands("lab", "scale", "--fleet", "80", "--shards", "8")
    assert ended.status == 0, ended.err
    assert "measured here" in ended.out
    assert "1,000,000" in ended.out
    assert "nothing was processed twice, and every account is exact" in ended.out


def test_json_is_one_object(commands):
    """With the same figures."""
    ended = commands("lab", "scale", "--fleet", "80", "--shards", "8", "--senders", "500", "--rate", "10", "--json")
    assert ended.status == 0, ended.err
    [figures] = ended.objects
    assert figures["costs"]["datagram_us"] > 0
    assert [stage["datagrams"] for stage in figures["stages"]] == [10_000.0]
    simulation = figures["simulation"]
    assert simulation["kept"]
    assert simulation["sent"] == 80 * 40
    assert simulation["sent"] == simulation["processed"] + simulation["missing_known"] + simulation["between_owners"]


def test_what_no_fleet_is_is_refused(commands):
    """With a message that names the option, and exit status 2."""
    ended = commands("lab", "scale", "--loss", "2")
    assert ended.status == 2
    assert "--loss" in ended.err
    ended = commands("lab", "scale", "--rate", "1e308")
    assert ended.status == 2
    assert "datagrams_per_second" in ended.err
