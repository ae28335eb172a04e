"""Rows of signals: a receiver is interrupted at every place where a signal can come in, and at every line.

By an exception, by a nested call of each public method, by a fork and by a close: nothing is processed twice, the account balances,
and the receiver works or says that it is closed (R9, H2, H3).
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.endpoint.listening import AWAITED, SCENES, WAYS, Scene, check, works
from tests.harness import Forked
from tests.interrupting import At, Interruption, Place, Where, chosen, places_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
"""An exception may come in between the call of a coroutine function and its await, and between the making of a socket and its first name."""

Take = Callable[[Scene], None]
Action = Callable[[Scene], object]


@pytest.fixture(autouse=True)
def closed(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Every scene is closed at the end of its test, also after a failure; a tracer of a coverage run is given back."""
    caplog.set_level("ERROR", "atmost")  # each scene has more senders than its table has room for, and says so
    before = sys.gettrace()
    yield
    sys.settrace(before)
    while SCENES:
        SCENES.pop().close()
    if "await" in request.node.name and EXCEPTION in request.node.name:
        gc.collect()  # what an exception has left, while its warning is expected


def raises(_scene: Scene) -> None:
    """What `signal.alarm` or Ctrl-C does."""
    raise Interruption


def drains(scene: Scene) -> None:
    """What a handler on a signal may do: take what there is."""
    while (message := scene.receiver.receive(0)) is not None:
        scene.got.append(message.payload)


def looks(scene: Scene) -> None:
    """What a handler on a signal may show."""
    ledger = scene.receiver.ledger()
    assert len(scene.got) <= ledger.delivered + 1
    assert repr(scene.receiver).startswith("<")


def closes(scene: Scene) -> None:
    """What the usual handler of SIGTERM does."""
    scene.receiver.close()


EXCEPTION, CLOSE = "an exception", "a close"
EVERYWHERE: dict[str, Action] = {EXCEPTION: raises, CLOSE: closes, "ledger": looks}
NESTED: dict[str, Action] = {"a drain": drains} | {name: take for name, take in WAYS.items() if name != "receive"}
"""A signal handler that consumes, in each way that there is."""
Kind = tuple[str, Take, str, Action]
"""How the receiver is consumed, and what interrupts it; each with its name."""
KINDS: list[Kind] = [
    *((way, take, name, action) for way, take in WAYS.items() for name, action in (EVERYWHERE | NESTED).items()),
    *((f"await {way}", take, name, action) for way, take in AWAITED.items() for name, action in EVERYWHERE.items()),
]


def scene_of(way: str) -> Scene:
    """A new scene, of the receiver that is consumed in this way."""
    return Scene(awaited=way.startswith("await"))


def places_in(way: str, take: Take, places: str, within: str = "") -> list[Where]:
    """The places of a way."""
    scene = scene_of(way)
    passed = places_of(lambda: scene.consume(take), places=places, within=within)
    scene.close()
    return passed


def drawn(ways: Mapping[str, Take], places: str, seed: str) -> list[tuple[str, Place]]:
    """Every place of these ways: where signals come in, twice a way; a line once, because the ways share most of them."""
    passed = {way: places_in(way, take, places) for way, take in ways.items()}
    if places == "lines":
        return chosen(passed, 1, seed)
    return [one for way in ways for one in chosen({way: passed[way]}, 2, f"{seed} {way}")]


def interrupt(kind: Kind, places: str, place: int | Place, within: str = "") -> bool:
    """Interrupt a new scene at a place; return whether it came there."""
    way, take, name, action = kind
    raised = int(name == EXCEPTION)
    scene = scene_of(way)
    with At(place, lambda: action(scene), places=places, within=within) as at:
        scene.consume(take)
    if at.reached:
        where = f"{name} in {way} at {place}, {at.where}"
        assert scene.receiver.closed == (name == CLOSE), where
        check(scene, where, in_hand=raised)
        # In `run` an exception that comes in right before or after the handler is the handler's.
        assert scene.caught + scene.receiver.ledger().handler_errors == raised, where
        assert scene.receiver.ledger().refused.get("malformed", 0) <= 1, where
        works(scene, where)
    scene.close()
    SCENES.remove(scene)
    return at.reached


def sampled(kind: Kind, places: str, step: int, first: int = 1, within: str = "") -> int:
    """Interrupt at every `step`-th place; return how many they were."""
    numbers = range(first, len(places_in(*kind[:2], places, within)) + 1, step)
    return sum(interrupt(kind, places, number, within) for number in numbers)


def most_of(count: int, tried: int) -> None:
    """Say how many places there were, and check that hardly any was missed: the walks are not always the same to the line."""
    print(f"{count} places interrupted")  # noqa: T201  shown by `pytest -rP`
    assert count > max(200, tried * 0.9)


def ids(kinds: list[Any]) -> list[str]:
    """How the kinds are called."""
    return [f"{name}-{way}" for way, _, name, *_ in kinds]


@pytest.mark.parametrize("kind", KINDS, ids=ids(KINDS))
@pytest.mark.parametrize("places", ["signals", "lines"])
def test_interrupted_here_and_there_nothing_is_lost_or_repeated(kind: Kind, places: str) -> None:
    """A sample of the places; the next test has all."""
    step = 97 if places == "signals" else 389  # there are four times as many lines
    assert sampled(kind, places, step, first=1 + len(kind[0]) % 4) > 4


@pytest.mark.parametrize("way", ["receive", "iteration", "run"])
def test_interrupted_where_the_queue_is_full_nothing_overflows_twice(way: str) -> None:
    """R14: at every line there."""
    assert sampled((way, WAYS[way], EXCEPTION, raises), "lines", 1, within="ReceiverCore.overflowed") > 4


@pytest.mark.parametrize("within", ["AsyncReceiver.ready", "_Watch.start"])
def test_closed_while_the_loop_is_told_of_the_socket_it_is_closed(within: str) -> None:
    """By a signal handler in the first await: nothing raises, and the loop watches nothing that is closed."""
    assert sampled(("await receive", AWAITED["receive"], CLOSE, closes), "signals", 1, within=within) > 1


GROUPS = [(WAYS, name, action) for name, action in (EVERYWHERE | NESTED).items()] + [
    ({f"await {way}": take for way, take in AWAITED.items()}, name, action) for name, action in EVERYWHERE.items()
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ways", "name", "action"), GROUPS, ids=[f"{name}-{next(iter(ways))}" for ways, name, _ in GROUPS]
)
@pytest.mark.parametrize("places", ["signals", "lines"])
def test_interrupted_anywhere_nothing_is_lost_or_repeated(
    ways: dict[str, Take], name: str, action: Action, places: str
) -> None:
    """Every place where a signal can come in, and every line."""
    at = drawn(ways, places, name)
    most_of(sum(interrupt((way, ways[way], name, action), places, place) for way, place in at), len(at))


class Child:
    """A fork at a place, and what becomes of it in both processes."""

    def __init__(self, scene: Scene, *, past_the_hook: bool) -> None:
        self._scene = scene
        self._before = 0
        self.fork = Forked(self._tell, past_the_hook=past_the_hook)

    def __call__(self) -> None:
        """Fork."""
        self._before = len(self._scene.got)
        self.fork()

    def _tell(self) -> dict[str, Any]:
        scene = self._scene
        in_hand = scene.got[self._before :]
        drains(scene) if scene.loop is None else AWAITED["receive"](scene)
        told = {"in hand": in_hand, "more": scene.got[self._before + len(in_hand) :]}
        scene.receiver.close()
        return told | {"closed": scene.receiver.closed, "queued": scene.receiver.ledger().queued}


def fork_at(way: str, take: Take, places: str, place: int | Place, *, past_the_hook: bool, within: str = "") -> bool:
    """Fork a new scene at a place; return whether it came there.

    What the interrupted call was about to hand out may be in the child's hands too, where only a tracer comes in between,
    as it is after a fork that comes right after the call; nothing else is.
    """
    scene = scene_of(way)
    child = Child(scene, past_the_hook=past_the_hook)
    # asyncio itself does not go on in the child of a running loop: what would wait there ends by a RuntimeError.
    expected = (RuntimeError,) if scene.loop is not None else ()
    with child.fork.keeping(*expected), At(place, child, places=places, within=within) as at:
        scene.consume(take)
    told = child.fork.finish()
    if at.reached:
        where = f"{way} forked at {place}, {at.where}: {told}"
        assert len(told["in hand"]) <= int(places == "lines"), where
        assert (told["more"], told["closed"], told["queued"]) == ([], True, 0), where
        assert not scene.receiver.closed
        check(scene, where)
        works(scene, where)
    scene.close()
    SCENES.remove(scene)
    return at.reached


def forks(way: str, take: Take, places: str, step: int, *, past_the_hook: bool, within: str = "") -> int:
    """Fork at every `step`-th place; return how many they were."""
    numbers = range(1, len(places_in(way, take, places, within)) + 1, step)
    return sum(fork_at(way, take, places, number, past_the_hook=past_the_hook, within=within) for number in numbers)


FORKED = WAYS | {f"await {way}": take for way, take in AWAITED.items()}


can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")


@can_fork
@pytest.mark.parametrize("way", FORKED)
@pytest.mark.parametrize("places", ["signals", "lines"])
def test_h2_forked_here_and_there_the_child_processes_nothing(way: str, places: str) -> None:
    """A sample of the places; the next tests have all."""
    assert forks(way, FORKED[way], places, 211 if places == "signals" else 631, past_the_hook=False) > 2


STARTS = [("run", WAYS["run"], "Intake.handle_current"), ("await run", AWAITED["run"], "AsyncReceiver.run")]
"""Where handlers are started."""


@can_fork
@pytest.mark.parametrize("past_the_hook", [False, True], ids=["by Python", "by C"])
@pytest.mark.parametrize("within", ["AsyncReceiver.ready", "_Watch.start"])
def test_h2_forked_while_the_loop_is_told_of_the_socket_the_child_has_none(within: str, past_the_hook: bool) -> None:
    """The child is closed, and its parent's loop goes on, whose list of sockets the child shares."""
    assert forks("await receive", AWAITED["receive"], "signals", 1, past_the_hook=past_the_hook, within=within) > 1


@can_fork
@pytest.mark.parametrize("past_the_hook", [False, True], ids=["by Python", "by C"])
def test_h2_forked_around_the_start_of_a_handler_it_is_started_in_one_process(past_the_hook: bool) -> None:
    """At every place there, where a signal handler may fork."""
    for way, take, within in STARTS:
        assert forks(way, take, "signals", 1, past_the_hook=past_the_hook, within=within) > 20


@can_fork
def test_h2_forked_by_c_here_and_there_the_child_processes_nothing() -> None:
    """A sample of the places where a signal handler may call C code that forks."""
    for way, take in FORKED.items():
        assert forks(way, take, "signals", 211, past_the_hook=True) > 2


@pytest.mark.slow
@can_fork
@pytest.mark.parametrize("places", ["signals", "lines"])
@pytest.mark.parametrize("past_the_hook", [False, True], ids=["by Python", "by C"])
def test_h2_forked_anywhere_the_child_processes_nothing(places: str, past_the_hook: bool) -> None:
    """Every place where a signal can come in, and every line."""
    at = drawn(FORKED, places, "a fork")
    count = sum(fork_at(way, FORKED[way], places, place, past_the_hook=past_the_hook) for way, place in at)
    most_of(count, len(at))
