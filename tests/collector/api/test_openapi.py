"""The description of the interface is what the types say, and what the interface does."""

import json

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from atmost.collector.api.openapi import document
from tests.collector.scene import T0, Asked, feed_statsd, message


def made():
    """An application that has seen a little of everything."""
    asked = Asked()
    feed_statsd(asked.state, "a:1|c|#x:y\nb:2|g\nbad\nt:3|ms")
    asked.state.feed(message("logs.app", {"message": "m"}), T0, 0.0)
    asked.state.feed(message("metrics.cpu", 0.5), T0, 0.0)
    asked.state.feed(message("heartbeats.w", {"number": 0, "interval": 1.0}), T0, 0.0)
    return asked


def test_the_description_is_served():
    """Twice alike, and it is what the types of the answers make."""
    served = [made().get("/openapi.json") for _ in range(2)]
    assert [answer.json() for answer in served] == [json.loads(json.dumps(document()))] * 2


ASKED = made()
SCHEMA = schemathesis.openapi.from_dict(document()).exclude(path="/api/v1/stream").exclude(path="/api/v1/tap")
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


@SCHEMA.parametrize()
@hypothesis.settings(max_examples=12, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_whatever_is_asked_is_answered_as_described(case):
    """Questions of every shape, right and wrong: the status, type and form of the answer are in the description."""
    case.headers = {**(case.headers or {}), "host": "127.0.0.1"}
    response = case.call(app=ASKED.app, base_url="http://127.0.0.1")
    case.validate_response(response, checks=CHECKS)
