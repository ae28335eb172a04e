"""What was typed wrongly gets one line that says what to do, and status 2; no traceback, and nothing is sent."""

import pytest

from atmost.core.limits import MAX_DATAGRAM

SEND, LISTEN, AGENT, COLLECT, DEMO = ("send", "a.b", "1"), ("listen",), ("agent",), ("collect",), ("demo",)


def one_line(done, status=2):
    """The only thing that was said, on standard error."""
    assert done.status == status
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("atmost: ")
    assert "Traceback" not in line
    return line.removeprefix("atmost: ")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("bogus", "no scheme: write udp://HOST:PORT, unix:///PATH, nats://HOST:PORT/CHANNEL or memory://NAME"),
        ("localhost:7140", "no scheme: write udp://HOST:PORT"),
        ("tcp://127.0.0.1:7140", "unknown scheme 'tcp': write udp://HOST:PORT"),
        ("udp://", "no host: write udp://HOST:PORT, for example udp://127.0.0.1:7140"),
        ("udp://127.0.0.1:65536", "the port must be from 0 to 65535"),
        ("udp://127.0.0.1:-1", "the port must be from 0 to 65535"),
        ("udp://127.0.0.1:http", "the port must be from 0 to 65535"),
        ("udp://127.0.0.1:7140/path", "a path (/path) has no meaning for udp"),
        ("udp://a..b:7140", "cannot resolve 'a..b'"),
        ("unix://relative/path", "an absolute path, for example unix:///run/atmost.sock"),
        ("unix:///" + "x" * 200, "has at most 107 bytes"),
        ("memory://", "write memory://NAME"),
    ],
)
@pytest.mark.parametrize("command", [(*SEND, "--url"), ("agent", "--url"), ("listen", "--bind"), ("collect", "--bind")])
def test_an_address_that_cannot_be_used(commands, command, url, problem):
    """The line quotes the address, and says what is wrong with it and what would be right."""
    line = one_line(commands(*command, url))
    assert line.startswith(f"{url!r}: ")
    assert problem in line


@pytest.mark.parametrize("command", ["listen", "collect"])
def test_a_receivers_name_that_cannot_be_resolved(commands, command):
    """Whoever is to receive says so and ends; whoever sends goes on, for the name may be known later."""
    line = one_line(commands(command, "--bind", "udp://no-such-host.invalid:7140"))
    assert line.startswith("'udp://no-such-host.invalid:7140': cannot resolve 'no-such-host.invalid'")


def test_port_0_is_only_for_receiving(commands):
    """A sender cannot guess what the system chose."""
    assert "a sender needs the receiver's port" in one_line(commands(*SEND, "--url", "udp://127.0.0.1:0"))


@pytest.mark.parametrize(("name", "command"), [("ATMOST_URL", SEND), ("ATMOST_URL", AGENT), ("ATMOST_BIND", COLLECT)])
def test_an_address_from_the_environment_is_judged_the_same(commands, monkeypatch, name, command):
    """The line quotes it, so that whoever set it recognises it."""
    monkeypatch.setenv(name, "tcp://elsewhere")
    assert one_line(commands(*command)).startswith("'tcp://elsewhere': unknown scheme")


@pytest.mark.parametrize(
    ("subject", "problem"),
    [
        ("", "must not be empty"),
        ("a..b", "has an empty token: dots may only stand between tokens, as in 'orders.new'"),
        (".a", "has an empty token"),
        ("a b", "must not contain white space or control characters (at 1)"),
        ("a\x1b[31m", "must not contain white space or control characters"),
        ("x" * 256, "is 256 bytes long, at most 255 are allowed"),
        ("orders.>", "wildcards (*, >) are for receiving"),
    ],
)
def test_a_subject_that_cannot_be_sent_on(commands, subject, problem):
    """The line says which rule it breaks."""
    assert problem in one_line(commands("send", subject, "1"))


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("", "must not be empty"),
        ("a..b", "has an empty token"),
        ("orders.n*", "the wildcard in 'n*' must be the whole token"),
        (">.new", "'>' must be the last token"),
        ("\udcff", "must not contain"),
    ],
)
def test_a_pattern_that_matches_nothing_well_formed(commands, pattern, problem):
    """It is refused before anything is bound."""
    assert problem in one_line(commands("listen", "orders.>", pattern))


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ("hello", "'hello' is not JSON"),
        ("", "'' is not JSON"),
        ("{'id': 1}", "Expecting property name enclosed in double quotes"),
        ("[1", "a string needs quotes of its own, as in '\"hello\"'"),
        ("x" * 5000, "xxx...' is not JSON"),
        ("[" * 50_000, "the JSON is nested too deeply"),
        ("\x1b]0;title\x07", r"'\x1b]0;title\x07' is not JSON"),
        ("[" * 400 + "]" * 400 + "x", "is not JSON"),
        ('{"order": [1, 123456789012345678901234567890]}', "payload['order'][1]: an integer beyond 64 bits"),
        ('"\\ud800"', "payload: builtins.str cannot be carried"),
        ('"' + "x" * MAX_DATAGRAM + '"', "at most 61,373 fit one datagram here: send less, split it"),
    ],
)
def test_a_payload_that_cannot_be_sent(commands, payload, problem):
    """The line says where in it the trouble stands, or its size and the limit; a long one is not repeated whole."""
    line = one_line(commands("send", "a.b", payload))
    assert problem in line
    assert len(line) < 400


def test_a_payload_too_large_for_a_network_names_the_option_that_helps(commands):
    """On a network the limit is one Ethernet frame's worth, unless more is allowed."""
    line = one_line(commands("send", "a", '"' + "x" * 600 + '"', "--max-datagram", "508"))
    assert "a message of 606 bytes, at most 441 fit one datagram here" in line
    assert "--max-datagram" in line


@pytest.mark.parametrize("command", [SEND, LISTEN, AGENT, COLLECT, DEMO])
def test_an_unknown_option(commands, command):
    """The line names it, and where the known ones are listed."""
    line = one_line(commands(*command, "--xyzzy"))
    assert line == f"No such option '--xyzzy'. (see atmost {command[0]} --help)"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("frobnicate",), "No such command 'frobnicate'. (see atmost --help)"),
        (("\x1b[31mred",), r"No such command '\x1b[31mred'."),
        (("send",), "Missing argument 'SUBJECT'. (see atmost send --help)"),
        (("send", "a", "1", "2"), "unexpected extra argument"),
        (("send", "a", "1", "--lines"), "--lines reads standard input: give either the JSON or --lines"),
        (("send", "temperature", "-5"), "No such option '-5'"),
        (("send", "a", "1", "--name", "\udcff"), "is not valid UTF-8"),
        (("send", "a", "1", "--audience", "\udcff"), "is not valid UTF-8"),
        (("send", "a", "1", "--url", "unix:///\udcff"), "is not valid UTF-8"),
        (("send", "a", "1", "--max-datagram", "4"), "expected bytes from 508 to 65507"),
        (("send", "a", "1", "--max-datagram", "many"), "'many' is not a valid integer"),
        (("listen", "--count", "0"), "0 is not in the range x>=1"),
        (("listen", "--seconds", "-1"), "not in the range x>=0"),
        (("collect", "--seconds", "soon"), "'soon' is not a valid float"),
        (("agent", "--interval", "0"), "not in the range 0.01<=x<=3600"),
        (("agent", "--interval", "nan"), "'nan' is not a number"),
        (("agent", "--log", "/"), "--log /: a directory; name the file in it"),
        (("demo", "--loss", "1.5"), "1.5 is not in the range 0<=x<=1"),
        (("demo", "--loss", "nan"), "'nan' is not a number"),
        (("demo", "--reorder", "-0.1"), "not in the range"),
        (("demo", "--duplicate", "twice"), "'twice' is not a valid float"),
        (("demo", "--seed", "x"), "'x' is not a valid integer"),
    ],
)
def test_a_command_line_that_makes_no_sense(commands, arguments, problem):
    """The line says which part of it, and in words of the command line."""
    assert problem in one_line(commands(*arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("send", "a.b", "1", "--url", "tcp://127.0.0.1:1"),
        ("send", "a..b", "1"),
        ("send", "a.b", "hello"),
        ("listen", "--bind", "udp://no-such-host.invalid:7140"),
    ],
)
def test_a_process_of_its_own_says_the_same(run, arguments):
    """One line and status 2, as a shell sees it."""
    one_line(run(*arguments))


SECRET = "S3cr3tW0rd"


@pytest.mark.parametrize(
    "command",
    [
        (*SEND, "--url", f"udp://u:{SECRET}@127.0.0.1:7140"),
        (*SEND, "--url", f"nats://u:{SECRET}@host/a%00b"),
        ("listen", "--bind", f"udp://127.0.0.1:7140?token={SECRET}"),
        ("listen", "--bind", f"nats://u:{SECRET}@host"),
        ("collect", "--bind", f"unix://u:{SECRET}@/run/x"),
        ("collect", "--bind", f"tcp://u:{SECRET}@host"),
        ("collect", "--bind", f"nats://host/x?token={SECRET}"),
        ("top", "--collector", f"http://u:{SECRET}@127.0.0.1:1"),
        ("forget", "x", "--collector", f"http://127.0.0.1:1/?token={SECRET}"),
        ("listen", "--collector", f"ftp://u:{SECRET}@h"),
        ("top", "--collector", f"http://u:{SECRET}@127.0.0.1:x"),
        ("collect", "--statsd", f"u:{SECRET}@127.0.0.1:1"),
        ("collect", "--syslog", f"udp://u:{SECRET}@h"),
        ("collect", "--http", f"http://u:{SECRET}@127.0.0.1:1"),
        ("collect", "--http", f"/u:{SECRET}@x"),
        ("collect", "--set", SECRET),
        ("send", f"nats://u:{SECRET}@host/x", "1"),
        ("listen", f"nats://u:{SECRET}@host/x?token={SECRET}"),
    ],
)
def test_no_secret_is_shown_of_an_address(commands, command):
    """Wherever somebody has put a password: what is said of it ends up in logs and in reports."""
    done = commands(*command)
    assert SECRET not in one_line(done)


def test_a_printed_configuration_has_no_credentials(commands):
    """Printed configurations end up in reports; without credentials an address is printed whole."""
    done = commands("collect", "--print-config", "--bind", f"nats://u:{SECRET}@host/x", "--bind", "udp://127.0.0.1:1")
    assert done.status == 0
    assert SECRET not in done.out
    assert '# Credentials are left out here.\nbind = ["nats://host/x", "udp://127.0.0.1:1"]\n' in done.out
