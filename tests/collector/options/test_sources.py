"""File < environment < settings and flags; what is not known or wrong is told with what would be right."""

import os
from pathlib import Path

import pytest

from atmost import ConfigError, InvalidKey
from atmost.collector.options import CollectorOptions, load_mapping, load_options, parse_place, read_token
from atmost.endpoint.checking import find_keys


@pytest.fixture
def file(tmp_path):
    """A function that writes a configuration file."""

    def write(text, mode=0o600):
        path = tmp_path / "collector.toml"
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return str(path)

    return write


def test_without_anything_there_are_defaults():
    """An operator who starts it has every listener on loopback."""
    options = load_options()
    assert options == CollectorOptions()
    assert (options.statsd, options.http) == (("127.0.0.1:8125",), "127.0.0.1:7141")


def test_each_source_overrides_the_one_before(file):
    """File, then environment, then settings, then flags."""
    path = file('max_series = 1\nmax_senders = 1\nmax_streams = 1\nstatsd = "off"\nmax_rejected = 1\n')
    environment = {
        "ATMOST_COLLECT_MAX_SENDERS": "2",
        "ATMOST_COLLECT_MAX_STREAMS": "2",
        "ATMOST_COLLECT_STATSD": "a:1, b:2",
    }
    options = load_options(path, environment, ["max_streams=3"], {"statsd": ("c:3",), "http": None, "syslog": ()})
    assert (options.max_series, options.max_senders, options.max_streams) == (1, 2, 3)
    assert (options.statsd, options.http) == (("c:3",), CollectorOptions().http)
    assert load_options(path, environment).statsd == ("a:1", "b:2")


def test_a_list_in_a_file_may_be_one_text_and_off_may_be_false(file):
    """As people write TOML."""
    options = load_options(file('bind = ["udp://127.0.0.1:1", "unix:///a"]\nsyslog = "off"\nhttp = false\n'))
    assert (options.bind, options.syslog, options.http) == (("udp://127.0.0.1:1", "unix:///a"), ("off",), "off")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("max_serie = 3", "max_serie: no such option: did you mean max_series?"),
        ("zzz = 3", "zzz: no such option; 'atmost collect --print-config' shows every option"),
        ("max_series = 'many'", "max_series: 'many': expected a whole number"),
        ("max_series = true", "max_series: True: expected a whole number"),
        ("max_series = 0", "max_series: 0: expected 1 or more series"),
        ("grace = 100", "grace: 100: expected 0.001 to 60 seconds"),
        ("statsd = 8125", "statsd: 8125: expected a text or a list of texts"),
        ("statsd = [8125]", "expected a text or a list of texts"),
        ("http = 7141", "http: 7141: expected a text"),
        ("log_format = 'xml'", "log_format: 'xml': expected keyvalue or json"),
        ("unix_mode = '0968'", "unix_mode: '0968': expected three octal digits in quotes, such as '0660'"),
        ("unix_mode = '4755'", "unix_mode: '4755': expected three octal digits in quotes, such as '0660'"),
        ("statsd_gauges = 'on'", "statsd_gauges: 'on': expected statsd or dogstatsd"),
        ("syslog_host = ''", "syslog_host: '': expected field or peer"),
        ("statsd_timer_unit = 'ms'", "statsd_timer_unit: 'ms': expected seconds or milliseconds"),
        ("token = 'a'\ntoken_file = 'b'", "token: give token or token_file, not both"),
        ("max_series =", "is not TOML"),
    ],
)
def test_a_mistake_in_the_file_is_told(file, text, problem):
    """One line with the option, what is wrong and what would be right."""
    with pytest.raises(ConfigError) as told:
        load_options(file(text))
    assert problem in str(told.value)
    assert "\n" not in str(told.value).replace("(at line", "")


@pytest.mark.parametrize(
    ("environment", "settings", "problem"),
    [
        ({"ATMOST_COLLECT_STATSDD": "off"}, (), "did you mean ATMOST_COLLECT_STATSD?"),
        ({"ATMOST_COLLECT_MAX_SERIES": "many"}, (), "ATMOST_COLLECT_MAX_SERIES: 'many': expected a whole number"),
        ({}, ["grace=soon"], "--set grace: 'soon': expected a number"),
        ({}, ["grace"], "--set: 'grace': expected NAME=VALUE"),
        ({}, ["grce=1"], "--set grce: no such option: did you mean grace?"),
    ],
)
def test_a_mistake_elsewhere_is_told_with_its_source(environment, settings, problem):
    """So that whoever set it recognises it."""
    with pytest.raises(ConfigError, match=r".*") as told:
        load_options(None, environment, settings)
    assert problem in str(told.value)


def test_other_variables_are_not_ours():
    """Only what begins with the prefix is read."""
    assert load_options(None, {"ATMOST_URL": "x", "PATH": "y"}) == CollectorOptions()


def test_a_file_that_is_not_there(tmp_path):
    """The system's reason stands in the line."""
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        load_options(str(tmp_path / "none.toml"))


def test_a_token_comes_from_a_file_that_only_its_owner_reads(file):
    """Else anybody on the host could show it."""
    path = file("0123456789abcdef0123\n")
    assert read_token(CollectorOptions(token_file=path)) == "0123456789abcdef0123"
    with pytest.raises(ConfigError, match="can be read by others: chmod 600"):
        read_token(CollectorOptions(token_file=file("0123456789abcdef0123", mode=0o644)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_a_token_file_that_is_a_fifo_is_refused(tmp_path):
    """At once: without a writer it would keep the collector from starting."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(ConfigError, match="not a regular file"):
        read_token(CollectorOptions(token_file=str(tmp_path / "fifo")))


@pytest.mark.parametrize("token", ["short", "with spaces in it and long enough", "é" * 20, "x" * 15])
def test_a_weak_token_is_refused(token):
    """Short ones can be guessed, others cannot be written into a header."""
    with pytest.raises(ConfigError, match="16 or more printable ASCII characters"):
        read_token(CollectorOptions(token=token))


def test_no_token_is_empty_and_an_empty_file_is_a_mistake(file, tmp_path):
    """Nobody who names a file means no token."""
    assert read_token(CollectorOptions()) == ""
    with pytest.raises(ConfigError, match="holds no token"):
        read_token(CollectorOptions(token_file=file("\n")))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(CollectorOptions(token_file=str(tmp_path / "none")))


@pytest.mark.parametrize("text", ["max_series = " + "9" * 5000, "bind = " + "[" * 5000, "a = [{b = " * 2000])
def test_a_file_that_python_refuses_to_read_is_told_as_any_other(file, text):
    """Numbers too long for it, or nested too deeply: a running collector that reloads it goes on."""
    with pytest.raises(ConfigError, match="is not TOML"):
        load_options(file(text))


def test_a_path_that_is_none_is_told():
    """As one that is missing."""
    with pytest.raises(ConfigError, match="token_file"):
        read_token(CollectorOptions(token_file="a\0b"))
    with pytest.raises(InvalidKey, match="cannot be read"):
        find_keys(None, "a\0b")
    with pytest.raises(ConfigError, match="expected HOST:PORT"):
        parse_place("127.0.0.1:" + "9" * 5000, "http")


@pytest.mark.parametrize("what", ["fifo", "device", "folder", "large"])
@pytest.mark.parametrize("option", ["config", "statsd_mapping"])
def test_a_file_that_is_none_is_refused_at_once(tmp_path, option, what):
    """A FIFO would wait for its writer and a device never end, at the start and at each SIGHUP."""
    path = tmp_path / "file"
    if what == "fifo":
        os.mkfifo(path)
    elif what == "device":
        path = Path("/dev/zero")
    elif what == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"#" * ((1 << 20) + 1))
    said = {"large": "is larger than 1,048,576 bytes", "folder": "cannot be read: Is a directory"}
    expected = said.get(what, "cannot be read: it is not a regular file")
    given = CollectorOptions(statsd_mapping=str(path))
    with pytest.raises(ConfigError, match=expected):
        load_options(str(path), {}) if option == "config" else load_mapping(given)
