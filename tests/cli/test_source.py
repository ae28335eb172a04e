"""Asking a collector: one kept connection, answers that can be shown, and words that help where there are none."""

import socket
import threading
from contextlib import suppress

import pytest

from atmost.cli.source import MAX_ANSWER, Source, SourceError
from tests.collector.page.answers import record


def messages(snapshot):
    """The log's lines of a snapshot."""
    return [one["message"] for one in snapshot.logs["records"]]


def test_only_new_lines_after_the_first_look(fake):
    """The end of the log first, then what came since; another life of the collector begins anew."""
    source = Source(fake.url)
    fake.log(record("one"), record("two"))
    assert messages(source.snapshot()) == ["one", "two"]
    assert messages(source.snapshot()) == []
    fake.log(record("three"))
    assert messages(source.snapshot()) == ["three"]
    fake.stop()
    with pytest.raises(SourceError, match="no collector answers"):
        source.snapshot()
    fake.forget()
    fake.log(record("new"))
    fake.start()
    assert messages(source.snapshot()) == ["new"]
    source.close()


def test_a_connection_that_was_closed_meanwhile_is_opened_again(fake):
    """A collector may close what is idle; that is no failure."""
    source = Source(fake.url)
    source.snapshot()
    fake.stop()
    fake.start()
    assert source.get("overview")["host"] == "web-3"
    source.close()


@pytest.mark.parametrize("url", ["", "127.0.0.1:7141", "ftp://a:1", "http://", "udp://127.0.0.1:7140", "http://h:x"])
def test_what_is_no_address(url):
    """It is refused before anything is asked."""
    with pytest.raises(ValueError, match=r"Port|not the address of a collector"):
        Source(url)


def test_a_path_before_the_interface_is_kept(fake):
    """Behind a proxy that serves the collector under a path."""
    source = Source(f"{fake.url}/collector/")
    with pytest.raises(SourceError, match=r"is no collector|refuses"):
        source.snapshot()
    source.close()
    assert fake.paths() == ["/collector/api/v1/overview"]


def test_the_token_is_shown_in_a_header(fake):
    """And nowhere else; without it the message says how to give it."""
    fake.token = "s3cret"
    with pytest.raises(SourceError, match="give it with --token, or in ATMOST_TOKEN"):
        Source(fake.url).snapshot()
    source = Source(fake.url, "s3cret")
    assert source.snapshot().overview["host"] == "web-3"
    source.close()
    assert not any("s3cret" in path or query for path, query, _ in fake.asked if path != "/api/v1/logs")


REFUSAL = b'{"error":{"code":"x","message":"go away"}}'
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", "is no collector"),
        (OK + b"Content-Length: 2\r\n\r\n[]", "is no collector"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", r"is no collector \(status 404\)"),
        (b"HTTP/1.1 503 No\r\nContent-Length: %d\r\n\r\n" % len(REFUSAL) + REFUSAL, "refuses: go away"),
        (b"SSH-2.0-x\r\n", "no collector answers"),
        (b"", "no collector answers"),
        (OK + b"\r\n" + b" " * (MAX_ANSWER + 1), "an answer of more than"),
        (OK + b"Content-Length: 101\r\n\r\n" + b" " * 100, "the answer ended early"),
        (OK + b"Content-Length: 100000\r\n\r\n" + b"[" * 100_000, "is no collector"),
    ],
    ids=["text", "list", "missing", "refusal", "another protocol", "nothing", "too large", "cut off", "nested"],
)
def test_whatever_else_answers_there(answer, problem):
    """Any stranger on the port: a message that says what to do, never a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def speak():
            with suppress(OSError):
                while True:
                    one, _ = listening.accept()
                    with one, suppress(OSError):
                        one.recv(4096)
                        one.sendall(answer)

        thread = threading.Thread(target=speak)
        thread.start()
        source = Source(f"http://127.0.0.1:{listening.getsockname()[1]}")
        try:
            with pytest.raises(SourceError, match=problem):
                source.snapshot()
        finally:
            source.close()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
