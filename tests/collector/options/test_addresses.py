"""Where a listener is, as people write it."""

import pytest

from atmost import ConfigError
from atmost.collector.options import is_loopback, parse_place


@pytest.mark.parametrize(
    ("text", "url", "loopback"),
    [
        ("127.0.0.1:8125", "udp://127.0.0.1:8125", True),
        ("localhost:0", "udp://localhost:0", True),
        ("udp://10.0.0.1:514", "udp://10.0.0.1:514", False),
        ("[::1]:8125", "udp://[::1]:8125", True),
        ("0.0.0.0:7141", "udp://0.0.0.0:7141", False),
        ("/run/statsd.sock", "unix:///run/statsd.sock", True),
        ("unix:///run/statsd.sock", "unix:///run/statsd.sock", True),
    ],
)
def test_a_place_is_host_and_port_or_a_path(text, url, loopback):
    """With the address that the transports take, and whether other hosts reach it."""
    place = parse_place(text, "statsd")
    assert place is not None
    assert (place.url, place.loopback) == (url, loopback)


@pytest.mark.parametrize(
    ("text", "kind", "options"),
    [
        ("127.0.0.1:8126?gauges=dogstatsd", "statsd", {"statsd_gauges": "dogstatsd"}),
        ("/run/dsd.sock?gauges=dogstatsd", "statsd", {"statsd_gauges": "dogstatsd"}),
        ("[::1]:514?host=peer", "syslog", {"syslog_host": "peer"}),
        ("unix:///run/log.sock?host=field", "syslog", {"syslog_host": "field"}),
    ],
)
def test_a_place_may_have_options_of_its_own(text, kind, options):
    """Behind a question mark, apart from its address."""
    place = parse_place(text, kind)
    assert place is not None
    assert dict(place.options) == options
    assert "?" not in place.url


@pytest.mark.parametrize(
    ("text", "kind", "problem"),
    [
        ("127.0.0.1:8126?gauge=dogstatsd", "statsd", r"'gauge=dogstatsd': expected gauges="),
        ("127.0.0.1:8126?gauges=datadog", "statsd", "expected gauges=statsd or dogstatsd"),
        ("127.0.0.1:8126?", "statsd", "expected gauges="),
        ("127.0.0.1:8126?host=peer", "gelf", "expected HOST:PORT"),
    ],
)
def test_an_option_that_a_place_does_not_have_is_named(text, kind, problem):
    """With those it has."""
    with pytest.raises(ConfigError, match=f"^{kind}: .*{problem}"):
        parse_place(text, kind)


def test_off_is_no_place():
    """The listener is switched off."""
    assert parse_place("off", "statsd") is None


@pytest.mark.parametrize(
    "text", ["", "8125", ":8125", "host:", "host:99999", "host:http", "::1:8125", "no/path", "host:²"]
)
def test_what_is_no_place_names_the_option_and_the_form(text):
    """So that the line can be put right."""
    with pytest.raises(ConfigError, match=r"^gelf: .*expected HOST:PORT .*PATH or off$"):
        parse_place(text, "gelf")


def test_http_has_no_path():
    """A browser cannot open a Unix socket."""
    with pytest.raises(ConfigError, match="expected HOST:PORT or off"):
        parse_place("/run/it.sock", "http", path=False)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.8.9.1", True),
        ("::1", True),
        ("LOCALHOST.", True),
        ("localhost.evil.example", False),
        ("", False),
        ("::", False),
    ],
)
def test_only_this_host_is_loopback(host, local):
    """A name that merely begins like it is not."""
    assert is_loopback(host) is local
