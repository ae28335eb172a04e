"""The hot loops cost no more machine instructions than they should: counted under valgrind, so that no other work on the machine matters."""

import pytest

from benchmarks.instructions import CALIBRATION, HERE, LOOPS, SCALE, count

MOST = {"datagram of 1 message, core": 2.2, "counter.inc()": 0.06}
"""As a multiple of a loop of plain Python under the same interpreter; about one and a half times what was measured with CPython 3.11."""


@pytest.mark.slow
@pytest.mark.needs("valgrind")
def test_the_hot_loops_cost_what_they_should():
    """A change that makes accepting or counting half as dear again shows here, on any machine, however busy."""
    unit = count(CALIBRATION, HERE, 1.0)
    found = {name: count(LOOPS[name], HERE, SCALE.get(name, 1.0)) / unit for name in MOST}
    assert {name: share for name, share in found.items() if share > MOST[name]} == {}, found
