import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.agent.lines import MAX_LINE_BYTES, Line, LineSplitter


def cut(*chunks, max_line_bytes=MAX_LINE_BYTES, flush=True):
    """Feed chunks one after another and return every line."""
    splitter = LineSplitter(max_line_bytes)
    lines, offset = [], 0
    for chunk in chunks:
        splitter.feed(chunk, offset)
        offset += len(chunk)
        while (line := splitter.next_line()) is not None:
            lines.append(line)
    if flush and (line := splitter.flush()) is not None:
        lines.append(line)
    return lines


def test_a_line_ends_at_its_newline():
    """Lines come without their ending, with their place and length in the file."""
    assert cut(b"one\n\nthree\n") == [Line("one", 0, 3), Line("", 4, 0), Line("three", 5, 5)]


def test_a_line_may_come_in_pieces():
    """A line is returned once its newline arrived, however many chunks it took."""
    assert cut(b"he", b"l", b"lo\nwor", flush=False) == [Line("hello", 0, 5)]


@pytest.mark.parametrize("chunks", [(b"a\r\nb\r\n",), (b"a\r", b"\nb", b"\r\n")])
def test_crlf_is_stripped(chunks):
    """The CR of a CRLF is part of the ending, also where a chunk ends between the two; any other CR is text."""
    assert [line.text for line in cut(*chunks)] == ["a", "b"]
    assert cut(b"a\rb\r\r\n") == [Line("a\rb\r", 0, 4)]


def test_bytes_that_are_no_text_survive():
    """Junk never raises: what is not UTF-8 becomes the replacement character, NUL and control characters stay."""
    assert [line.text for line in cut(b"\xff\xfe\x00x\x1b\xc3\n", b"\x80" * 3 + b"\n")] == [
        "\ufffd\ufffd\x00x\x1b\ufffd",
        "\ufffd" * 3,
    ]


def test_a_character_may_be_split_between_chunks():
    """Chunks end where they end: a character in two pieces is put together."""
    assert [line.text for line in cut("é€".encode()[:3], "é€".encode()[3:] + b"\n")] == ["é€"]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_a_line_of_just_the_bound_is_whole(ending):
    """The bound counts the text: a line as long as the bound is not truncated, whatever its ending."""
    assert cut(b"x" * 10 + ending, max_line_bytes=10) == [Line("x" * 10, 0, 10)]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_a_longer_line_keeps_its_head(ending):
    """A line beyond the bound keeps its head, and tells its whole length; the next line is not touched."""
    assert cut(b"x" * 5, b"y" * 95 + ending, b"next\n", max_line_bytes=10) == [
        Line("xxxxxyyyyy", 0, 100, truncated=True),
        Line("next", 100 + len(ending), 4),
    ]


def test_truncation_spares_characters():
    """The cut does not leave half a character behind, while real junk at the cut is still shown."""
    assert cut("aé€\n".encode(), max_line_bytes=5)[0].text == "aé"
    assert cut(b"ab\xff\xffcd\n", max_line_bytes=3)[0].text == "ab\ufffd"


def test_flush_returns_the_line_begun():
    """A flushed line says that its ending was not seen; nothing is begun any more after it."""
    splitter = LineSplitter()
    splitter.feed(b"whole\nhal", 0)
    assert splitter.next_line() == Line("whole", 0, 5)
    assert splitter.next_line() is None
    assert splitter.flush() == Line("hal", 6, 3, complete=False)
    assert splitter.flush() is None


@pytest.mark.parametrize(("before", "after"), [(b"a", b"\nb\n"), (b"a", b"\r\nb\n"), (b"a\r", b"\nb\n")])
def test_an_ending_after_a_flush_is_no_line(before, after):
    """The ending that arrives for a flushed line makes no empty line of its own."""
    splitter = LineSplitter()
    splitter.feed(before, 0)
    assert splitter.next_line() is None
    assert splitter.flush().text == "a"
    splitter.feed(after, len(before))
    assert splitter.next_line() == Line("b", len(before) + len(after) - 2, 1)


def test_what_follows_a_flush_is_a_line_of_its_own():
    """The rest of a flushed line is not joined to anything, and empty lines after it count again."""
    splitter = LineSplitter()
    splitter.feed(b"a", 0)
    assert splitter.next_line() is None
    assert splitter.flush() is not None
    splitter.feed(b"b\n\n", 1)
    assert [splitter.next_line(), splitter.next_line()] == [Line("b", 1, 1), Line("", 3, 0)]


def test_restart_forgets():
    """Another stream begins with nothing of the one before."""
    splitter = LineSplitter()
    splitter.feed(b"a\nb", 0)
    assert splitter.waiting_bytes == 3
    splitter.restart()
    assert (splitter.held_bytes, splitter.waiting_bytes, splitter.in_line) == (0, 0, False)
    splitter.feed(b"c\n", 0)
    assert splitter.next_line() == Line("c", 0, 1)


def test_a_hole_is_skipped_on_request_only():
    """NUL bytes before the first text are dropped where a hole is expected, over any number of chunks, never later."""
    splitter = LineSplitter()
    splitter.restart(skip_leading_nul=True)
    splitter.feed(b"\0" * 8, 0)
    assert splitter.next_line() is None
    splitter.feed(b"\0\0a\n\0b\n", 8)
    assert [splitter.next_line(), splitter.next_line()] == [Line("a", 10, 1), Line("\0b", 12, 2)]


def test_an_endless_line_holds_bounded_memory():
    """However much comes without a newline, only the head is held, and the length is still known."""
    splitter = LineSplitter(1000)
    chunk = b"x" * 4096
    tracemalloc.start()
    try:
        for number in range(5000):
            splitter.feed(chunk, number * len(chunk))
            assert splitter.next_line() is None
            assert splitter.held_bytes <= 1000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(chunk)
    assert splitter.flush() == Line("x" * 1000, 0, 5000 * 4096, truncated=True, complete=False)


def test_feeding_twice_is_a_mistake_of_ours():
    """A chunk not consumed would be lost: the next one is refused."""
    splitter = LineSplitter()
    splitter.feed(b"a\n", 0)
    with pytest.raises(AssertionError, match="feed"):
        splitter.feed(b"b\n", 2)


@given(st.lists(st.text("ab\r\n\0é", max_size=12).map(str.encode)), st.integers(1, 8))
def test_lines_are_those_of_the_whole_text(chunks, bound):
    """However a stream is cut into chunks, its lines are those that splitting it at once would give."""
    whole = b"".join(chunks).split(b"\n")
    *ended, last = (part.removesuffix(b"\r") for part in whole)
    expected = [*ended, last] if whole[-1] else ended
    lines = cut(*chunks, max_line_bytes=bound)
    assert [line.original_bytes for line in lines] == [len(part) for part in expected]
    assert [line.truncated for line in lines] == [len(part) > bound for part in expected]
    for line, part in zip(lines, expected, strict=True):
        assert part.decode().startswith(line.text)
        assert line.truncated or part.decode() == line.text
    assert [line.complete for line in lines] == [True] * len(ended) + [False] * bool(whole[-1])
    assert all(b"".join(chunks)[line.offset :].startswith(line.text.encode()) for line in lines)
