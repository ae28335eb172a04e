"""Counting without a lock: exact under threads and signals, and levels of any name."""

import dis
import threading

import pytest

from atmost.logs.wire import MAX_LEVELS, OTHER, level_key, level_name
from atmost.logs.writer import LevelTally


def counted(tally):
    """The counts so far."""
    return tally.spread(tally.packed)


@pytest.mark.parametrize("name", ["number", "number_under_lock"])
def test_threads_get_numbers_of_their_own(name):
    """No two records have the same counts before them, and none is missing."""
    tally, seen = LevelTally(), []
    steps = [tally.step("INFO")[0], tally.step("ERROR")[0]]

    def run():
        number = getattr(tally, name)
        seen.extend([number(steps[turn & 1]) for turn in range(5000)])

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted(tally) == {20: 10_000, 40: 10_000}
    assert {sum(tally.spread(prior).values()) for prior in seen} == set(range(20_000))


def test_nothing_comes_between_reading_and_storing():
    """No call and no jump backward, where CPython changes threads or runs signal handlers."""
    code = [one for one in dis.get_instructions(LevelTally.number) if one.opname not in {"CACHE", "EXTENDED_ARG"}]
    load = next(at for at, one in enumerate(code) if one.argval == "packed" and "LOAD_ATTR" in one.opname)
    store = next(at for at, one in enumerate(code) if one.opname == "STORE_ATTR")
    assert load < store
    between = {one.opname for one in code[load : store + 1]}
    assert not any(name.startswith(("CALL", "PRECALL", "JUMP", "RESUME", "SEND", "YIELD")) for name in between)


def test_levels_beyond_the_limit_are_counted_together():
    """So the counts stay a few bytes, whatever levels a program makes up."""
    tally = LevelTally()
    names = [tally.step(f"L{number}")[1] for number in range(200)]
    for name in names:
        tally.number(tally.step(name)[0])
    assert len(counted(tally)) <= MAX_LEVELS
    assert counted(tally)[OTHER] == names.count(OTHER) > 0
    assert sum(counted(tally).values()) == 200


@pytest.mark.parametrize(
    ("given", "name"), [("x" * 100, "x" * 32), ("", OTHER), (None, OTHER), ([], OTHER), ("\ud800", "?")]
)
def test_odd_names(given, name):
    """Any of them counts."""
    tally = LevelTally()
    step, shown = tally.step(given)
    tally.number(step)
    assert shown == name
    assert counted(tally) == {name: 1}


def test_standard_levels_are_numbers_only_under_their_own_name():
    """A level renamed by the program is another one."""
    assert (level_key("WARNING"), level_key("WARN")) == (30, "WARN")
    assert (level_name(30), level_name("WARN"), level_name(35)) == ("WARNING", "WARN", "35")
