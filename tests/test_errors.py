"""What a caller who erred is told: one line with what to do, and the facts as fields."""

import copy
import pickle
import re
from typing import Any

import pytest

from atmost import errors
from atmost.errors import (
    AddressError,
    AddressInUse,
    AtMostError,
    BindError,
    ConfigError,
    InvalidKey,
    LossNotTolerated,
    MetricError,
    MissingExtra,
    OptionError,
    PayloadNotEncodable,
    PayloadTooLarge,
    SubjectError,
)

URL = "udp://127.0.0.1:7140"
IN_USE = f"{URL} is in use by collector (pid 7): stop that receiver, or bind another address"
TOO_LARGE = (
    "message of 2000 bytes, at most 1365 fit one datagram of this sender: "
    "send less, split it, or construct the Sender with a larger max_datagram"
)
NOT_TOLERATED = (
    "subject 'payments.captured' must be delivered (declared by 'payments.>'), and send() may lose it: "
    "publish it with atmost.durable.AtLeastOnce or ExactlyOnce (pip install 'atmost[nats]')"
)
EXAMPLES: list[tuple[AtMostError, type[Exception], dict[str, Any], str]] = [
    (AddressError(URL, "no"), ValueError, {"url": URL, "problem": "no"}, f"'{URL}': no"),
    (AddressInUse(URL, "collector (pid 7)"), OSError, {"url": URL, "holder": "collector (pid 7)"}, IN_USE),
    (
        AddressInUse(URL, None),
        OSError,
        {"url": URL, "holder": None},
        f"{URL} is in use: stop that receiver, or bind another address",
    ),
    (BindError(URL, "no"), OSError, {"url": URL, "problem": "no"}, f"cannot receive on {URL}: no"),
    (
        OptionError("linger", -1, "seconds from 0 to 60"),
        ValueError,
        {"option": "linger", "value": -1, "expected": "seconds from 0 to 60"},
        "linger=-1: expected seconds from 0 to 60",
    ),
    (
        LossNotTolerated("payments.captured", "payments.>"),
        ValueError,
        {"subject": "payments.captured", "pattern": "payments.>"},
        NOT_TOLERATED,
    ),
    (SubjectError("a b", "no"), ValueError, {"subject": "a b", "problem": "no"}, "subject 'a b': no"),
    (
        PayloadNotEncodable("payload[0]", "no"),
        TypeError,
        {"where": "payload[0]", "problem": "no"},
        "payload[0]: no",
    ),
    (
        PayloadTooLarge(2000, 1365),
        ValueError,
        {"size": 2000, "limit": 1365},
        TOO_LARGE,
    ),
    (ConfigError("max_series", "no"), ValueError, {"where": "max_series", "problem": "no"}, "max_series: no"),
    (InvalidKey("no"), ValueError, {"problem": "no"}, "no"),
    (
        MissingExtra("nats", "nats://"),
        ImportError,
        {"extra": "nats"},
        "nats:// needs an optional dependency: pip install 'atmost[nats]'",
    ),
]


@pytest.mark.parametrize(("error", "parent", "fields", "line"), EXAMPLES)
def test_each_error_is_one_line_with_fields(
    error: AtMostError, parent: type[Exception], fields: dict[str, Any], line: str
) -> None:
    """It can be caught as ours, or as what Python calls such a mistake."""
    assert isinstance(error, AtMostError)
    assert isinstance(error, parent)
    assert str(error) == line
    assert {name: getattr(error, name) for name in fields} == fields


@pytest.mark.parametrize("error", [error for error, *_ in EXAMPLES] + [AtMostError("plain")])
def test_each_error_travels_between_processes(error: AtMostError) -> None:
    """A pool's worker hands it to its parent: whole, with its fields."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301  our own
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_a_long_subject_is_not_repeated_in_full() -> None:
    """One line stays one line."""
    assert len(str(SubjectError("x" * 10_000, "no"))) < 120


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Every class is in it, once, and each is a child of `AtMostError`."""
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AtMostError)]
    assert sorted(["AtMostError", *drawn]) == sorted(kind.__name__ for kind in classes)
    assert MetricError in classes
