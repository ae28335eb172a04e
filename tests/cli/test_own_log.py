"""The collector's own log: what a line is, whose events are in it, and for how long."""

import json
import logging

from atmost.cli.own_log import OwnFormatter, set_up_logging, take_down_logging


def test_lines_of_the_log_stay_lines():
    """Whatever a stranger's text holds; in both forms."""
    record = logging.LogRecord("atmost", logging.WARNING, "f", 1, 'bad "name"\nlevel=error \x1b[2J', (), None)
    record.peer = "10.0.0.1"
    for form in ("keyvalue", "json"):
        line = OwnFormatter(form).format(record)
        assert "\n" not in line
        assert "\x1b" not in line
        assert "10.0.0.1" in line
    assert OwnFormatter("keyvalue").format(record).split(" ", 3)[1:3] == ["level=warning", "logger=atmost"]


def test_what_serves_http_is_in_it_too(capsys):
    """In the same form; of uvicorn only errors, for what strangers send is counted."""
    handler = set_up_logging("json")
    try:
        logging.getLogger("atmost.collector").info("started")
        for name in ("uvicorn.error", "asyncio"):
            logging.getLogger(name).error("no descriptor is left")
        logging.getLogger("uvicorn.error").warning("invalid request")
    finally:
        take_down_logging(handler)
    said = [json.loads(line)["logger"] for line in capsys.readouterr().err.splitlines()]
    assert said == ["atmost.collector", "uvicorn.error", "asyncio"]


def test_afterwards_all_is_as_it_was():
    """For a program that runs a collector for a while."""

    def state():
        names = ("atmost", "atmost.collector", "uvicorn", "asyncio")
        return [(one.level, one.propagate, [*one.handlers]) for one in map(logging.getLogger, names)]

    before = state()
    take_down_logging(set_up_logging("keyvalue"))
    assert state() == before
