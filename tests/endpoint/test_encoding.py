"""A payload that cannot be carried gets the place and the type of what is in the way."""

import datetime as dt
import decimal
import enum
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any

import markupsafe
import msgspec
import numpy as np
import pytest

from atmost.core.datagram import encode_message
from atmost.endpoint.encoding import explain

CARRIED = "send None, bool, int, float, str, bytes, list, tuple, dict, datetime, a msgspec Struct or a dataclass"


class Engine:
    pass


class Order(msgspec.Struct):
    id: int
    note: Any = None


@dataclass
class Basket:
    orders: list[Any]


def problem(payload: Any) -> tuple[str, str]:
    """Return where and what is wrong with a payload that cannot be encoded."""
    with pytest.raises(Exception) as failed:  # noqa: PT011  whatever the encoder raises
        encode_message(("a", payload))
    told = explain(payload, failed.value)
    assert str(told) == f"{told.where}: {told.problem}"
    return told.where, told.problem


@pytest.mark.parametrize(
    ("payload", "where"),
    [
        (Engine(), "payload"),
        ([1, Engine()], "payload[1]"),
        ((1, 2, (3, Engine())), "payload[2][1]"),
        ({"a": {"b": [0, Engine()]}}, "payload['a']['b'][1]"),
        ({7: Engine()}, "payload[7]"),
        ({"k" * 50: Engine()}, f"payload['{'k' * 36}...]"),
        (Order(1, [Engine()]), "payload.note[0]"),
        (Basket([Order(1), Order(2, Engine())]), "payload.orders[1].note"),
        ({"a": Engine(), "b": object()}, "payload['a']"),
        ([[[Engine()]]], "payload[0][0][0]"),
    ],
)
def test_the_innermost_value_is_named(payload: Any, where: str) -> None:
    """With its type, and with what could be sent instead."""
    assert problem(payload) == (where, f"{__name__}.Engine cannot be carried: {CARRIED}")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (lambda: None, "builtins.function"),
        (iter(()), "builtins.tuple_iterator"),
        (1 + 2j, "builtins.complex"),
        (Engine, "builtins.type"),
        (range(3), "builtins.range"),
    ],
)
def test_any_type_is_named(value: Any, kind: str) -> None:
    """With its module."""
    assert problem({"x": value}) == ("payload['x']", f"{kind} cannot be carried: {CARRIED}")


@pytest.mark.parametrize("number", [1 << 64, -(1 << 63) - 1])
def test_a_number_beyond_64_bits_is_told_apart(number: int) -> None:
    """Its type is right, only there is too much of it."""
    assert problem([number]) == ("payload[0]", "an integer beyond 64 bits: send it as text")


def test_what_contains_itself_ends() -> None:
    """However deep it seems."""
    ring: list[Any] = []
    ring.append(ring)
    assert problem(ring) == ("payload", "nested too deeply, or contains itself")


def test_a_key_that_cannot_be_carried_is_named() -> None:
    """It is not the value that is in the way."""
    where, what = problem({"good": 1, Engine(): 2})
    assert where.startswith("payload key <")
    assert where.endswith("...")
    assert what == f"{__name__}.Engine cannot be carried: {CARRIED}"


def test_text_that_is_no_unicode_says_so() -> None:
    """As from a file name that the system could not decode."""
    where, what = problem({"path": "caf\udce9"})
    assert where == "payload['path']"
    assert what.startswith("builtins.str cannot be carried ('utf-8' codec can't encode character '\\udce9'")


def test_a_place_deeper_than_anybody_looks_is_bounded() -> None:
    """Explaining takes no longer for a payload of a thousand levels."""
    deep: Any = Engine()
    for _ in range(200):
        deep = [deep]
    where, _ = problem(deep)
    assert where == "payload" + "[0]" * 64


@pytest.mark.parametrize("value", [decimal.Decimal("1.5"), dt.date(2026, 1, 2), {1, 2}, frozenset({3})])
def test_what_msgspec_carries_besides_is_carried(value: Any) -> None:
    """More than is promised; nothing of it is refused."""
    assert encode_message(("a", value))


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "not this"


class Whole(int):
    def __int__(self) -> int:
        return 7

    __index__ = __int__


class Real(float):
    def __float__(self) -> float:
        return 7.0


class Octets(bytes):
    def __bytes__(self) -> bytes:
        return b"not this"


class Level(enum.IntEnum):
    HIGH = 2


class Colour(enum.StrEnum):
    RED = "red"


class Row(tuple[int, ...]):
    __slots__ = ()


class Rows(list[int]):
    pass


@pytest.mark.parametrize(
    ("value", "travels_as"),
    [
        (Text("a"), "a"),
        (Whole(2), 2),
        (Real(1.5), 1.5),
        (Octets(b"a"), b"a"),
        (Level.HIGH, 2),
        (Colour.RED, "red"),
        (Row((1, 2)), [1, 2]),
        (Rows([1, 2]), [1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (markupsafe.Markup("<b>"), "<b>"),
        (np.float64(0.25), 0.25),
        (np.int64(-3), -3),
        (np.str_("a"), "a"),
        ({Text("key"): [Whole(1), {"deep": Real(2.5)}]}, {"key": [1, {"deep": 2.5}]}),
    ],
)
def test_a_class_of_its_own_travels_as_the_type_it_extends(value: Any, travels_as: Any) -> None:
    """With the value it has, whatever its methods say, wherever it stands; nothing raises in the hot path of its user."""
    assert msgspec.msgpack.decode(encode_message(("a", value))) == ["a", travels_as]


def test_a_number_of_a_class_of_its_own_may_be_too_large_too() -> None:
    """And only then is it called so."""
    assert problem([Whole(1 << 64)]) == ("payload[0]", "an integer beyond 64 bits: send it as text")
