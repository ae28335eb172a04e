"""Samples are safe to show whatever was sent, and pickles are known by their form alone."""

import logging
import pickle
from logging.handlers import DatagramHandler

from hypothesis import given
from hypothesis import strategies as st

from atmost.ingest.pickled import is_pickle
from atmost.ingest.rejected import MAX_SAMPLE, escaped


@given(st.one_of(st.binary(max_size=600), st.text(max_size=600)))
def test_samples_are_printable_and_short(what):
    """No control character, line break or override of direction is left, and a cut is shown."""
    sample = escaped(what)
    assert sample.isprintable()
    assert len(sample) <= MAX_SAMPLE
    characters = what if isinstance(what, str) else what.decode(errors="surrogateescape")
    assert len(characters) <= MAX_SAMPLE or sample.endswith("…")


def test_samples_can_be_read():
    """What is printable stays, what is not becomes an escape, and a backslash is doubled."""
    assert escaped("größe:1|c") == "größe:1|c"
    assert escaped(b"a\x1b[31m\xff\\n\n" + "\u202e".encode()) == "a\\x1b[31m\\xff\\\\n\\n\\u202e"
    assert escaped("x" * MAX_SAMPLE) == "x" * MAX_SAMPLE
    assert escaped("x" * (MAX_SAMPLE + 1)) == "x" * (MAX_SAMPLE - 1) + "…"
    assert escaped("ö".encode() * MAX_SAMPLE) == "ö" * MAX_SAMPLE
    assert escaped("ö".encode() * (MAX_SAMPLE + 1)) == "ö" * (MAX_SAMPLE - 1) + "…"
    assert escaped("\n" * MAX_SAMPLE).endswith("\\n…")


def test_pickles_of_every_protocol_are_known():
    """What `DatagramHandler` makes, and any protocol of pickle in its frame; never a text."""
    handler = DatagramHandler("127.0.0.1", 9)
    assert is_pickle(handler.makePickle(logging.makeLogRecord({"msg": "x"})))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        body = pickle.dumps({"msg": "x"}, protocol)
        assert is_pickle(len(body).to_bytes(4, "big") + body)
        assert not is_pickle(body)
        assert not is_pickle((len(body) + 1).to_bytes(4, "big") + body)
        assert not is_pickle((len(body) - 1).to_bytes(4, "big") + body)
        assert not is_pickle(len(body).to_bytes(4, "big") + body[:-1] + b"!")


@given(st.binary(max_size=50))
def test_bytes_that_are_no_pickle(data):
    """The length alone makes none."""
    framed = len(data).to_bytes(4, "big") + data
    assert not is_pickle(framed) or (data[-1:] == b"." and data[:1] in b"\x80}(]c")
