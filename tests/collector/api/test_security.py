"""Who may ask: host names, tokens, methods; and the headers that every answer carries."""

import pytest

from tests.collector.scene import Asked

TOKEN = "0123456789abcdef"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@pytest.fixture
def asked():
    """An application."""
    return Asked()


@pytest.mark.parametrize(
    "path", ["/", "/style.css", "/api/v1/overview", "/metrics", "/nothing", "/healthz", "/api/v1/query"]
)
def test_every_answer_has_the_headers(asked, path):
    """Errors too."""
    answer = asked.get(path)
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == ("no-cache" if path in {"/", "/style.css"} else "no-store")
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_only_reading_is_answered(asked, method):
    """Nothing here changes anything, but that a heartbeat is forgotten."""
    answer = asked.get("/api/v1/overview", method)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("host", "right"),
    [
        ("127.0.0.1:7141", True),
        ("localhost:9", True),
        ("LOCALHOST", True),
        ("[::1]:7141", True),
        ("rebound.example:7141", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("192.168.0.1", False),
    ],
)
def test_on_loopback_the_host_must_be_this_one(asked, host, right):
    """A page of a stranger may let its own name point here (DNS rebinding)."""
    assert asked.get("/api/v1/overview", host=host).status_code == (200 if right else 403)
    assert asked.app.gate.refused["bad_host"] == (not right)


def test_a_name_that_the_operator_gave_is_right(asked):
    """Such as that of a proxy; in any case."""
    asked.app.gate.change("", ["Metrics.example"])
    assert asked.get("/healthz", host="metrics.EXAMPLE:80").status_code == 200


def test_elsewhere_the_token_decides():
    """Where other hosts reach it, names are not known before."""
    from atmost.collector.api.security import Gate

    asked = Asked()
    asked.app.gate = Gate(asked.app.gate._app, host="0.0.0.0", token=TOKEN)
    assert asked.get("/api/v1/overview", host="any.example").status_code == 401
    assert asked.get("/api/v1/overview", host="any.example", authorization=f"Bearer {TOKEN}").status_code == 200
    asked.app.gate.change(TOKEN, ["only.example"])
    assert asked.get("/healthz", host="any.example").status_code == 403


@pytest.mark.parametrize(
    "host", ["", "127.0.0.1%.evil.example", "[::1].evil.example", "[::1]:80:80", "::1", "127.0.0.1."]
)
def test_a_host_header_that_is_none_names_nobody(asked, host):
    """What merely begins with this host's address is another one's name, or no name at all."""
    assert not asked.app.gate._knows(host)


@pytest.mark.parametrize(
    "shown",
    ["", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer 0123456789abcdeF"],
)
@pytest.mark.parametrize("path", ["/api/v1/overview", "/api/v1/stream", "/metrics", "/api/v1/nothing"])
def test_data_is_behind_the_token(asked, path, shown):
    """Anything but the token is refused and counted."""
    asked.app.gate.change(TOKEN, [])
    answer = asked.get(path, **({"authorization": shown} if shown else {}))
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["error"]["code"] == "unauthorized"
    assert TOKEN not in answer.text
    assert asked.app.gate.refused["unauthorized"] == 1


def test_the_page_holds_no_data_and_is_open(asked):
    """A browser cannot show a token for its first request."""
    asked.app.gate.change(TOKEN, [])
    for path in ("/", "/style.css", "/healthz", "/readyz"):
        assert asked.get(path).status_code == 200
    assert asked.get("/metrics", authorization=f"bearer {TOKEN}").status_code == 200


def test_a_token_in_the_address_shows_nothing(asked):
    """Addresses end up in logs."""
    asked.app.gate.change(TOKEN, [])
    assert asked.get(f"/api/v1/overview?token={TOKEN}").status_code == 401


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_a_page_of_another_site_reads_and_changes_nothing(asked, site):
    """The browser tells where a request comes from; the page itself, which holds no data, may be linked to."""
    for path, method in (("/api/v1/overview", "GET"), ("/metrics", "GET"), ("/api/v1/heartbeats?name=a", "DELETE")):
        answer = asked.get(path, method, **{"sec-fetch-site": site})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_site")
    assert asked.get("/", **{"sec-fetch-site": site}).status_code == 200
    for own in ("same-origin", "none"):
        assert asked.get("/api/v1/overview", **{"sec-fetch-site": own}).status_code == 200


@pytest.mark.parametrize("header", [{"content-length": "5"}, {"transfer-encoding": "chunked"}])
def test_a_question_has_no_body(asked, header):
    """What a proxy and this server might divide differently is refused."""
    assert asked.get("/api/v1/overview", **header).json()["error"]["code"] == "body"
    assert asked.get("/api/v1/overview", **{"content-length": "0"}).status_code == 200
