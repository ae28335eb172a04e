"""A forked sender begins a session of its own with empty buffers: nothing of the parent's is sent twice (R8)."""

import pytest

from tests.system.fork_process import CHILDREN, MESSAGES

pytestmark = pytest.mark.needs("linux")

LIVES = {
    # How many sessions there are, and how many messages the children numbered.
    "buffer": (3, None),
    "threads": (1 + CHILDREN, CHILDREN * MESSAGES),
    "pool": (None, CHILDREN * 25),
    "past_the_hook": (2, MESSAGES),
}


@pytest.mark.parametrize("way", LIVES)
def test_a_fork_repeats_nothing_and_loses_nothing(scene, way):
    """Every message is handled once, in a session of the process that sent it, whoever's buffer was full at the fork.

    buffer: a full open datagram, a child whose own is full when it forks again, and a parent that goes on.
    threads: other threads of the parent send, and hold its locks, at the moment of the fork.
    pool: multiprocessing's fork; its workers end without closing the sender.
    past_the_hook: C code forks, so that nothing told the sender; what the child cannot tell from the parent's it drops and counts.
    """
    receiver = scene.receiver().go()
    forks = scene.child("fork_process", way, receiver.ready())
    lives = []
    while "end" not in (facts := forks.line()):
        scene.record.sent[facts["session"]] = facts["ids"]
        lives.append(facts)
    assert forks.wait() == 0
    receiver.wait_settled(*lives)
    ledger = receiver.close()
    verdict = scene.verdict()
    sessions, by_children = LIVES[way]
    assert len(scene.record.sent) == len(lives) == (sessions or len(lives))
    by_parent = sum(each["accepted"] for each in lives if each["ids"][0].startswith("p"))
    everything = sum(each["accepted"] for each in lives)
    assert by_children is None or everything - by_parent == by_children
    assert (verdict.handled + verdict.lost, verdict.unknown) == (everything, 0)
    assert ledger["kernel_drops"] or ledger["lost"] == 0
    assert way == "past_the_hook" or all(each["dropped"] == {} for each in lives)
