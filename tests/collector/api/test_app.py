"""What is answered at each path: the shapes of the contract, null for what is unknown, errors with what would be right."""

import re

import msgspec
import pytest

from atmost.collector.api import shapes
from atmost.collector.state.listing import SeriesList
from atmost.collector.state.series import QueryAnswer
from atmost.core.accounts import Ledger, SessionLedger, merge_ledgers, retire
from atmost.core.events import Tail
from tests.collector.scene import T0, Asked, feed_statsd, message, session

URL = "udp://127.0.0.1:7140"


@pytest.fixture
def asked():
    """An application over a state that has seen nothing."""
    return Asked()


def account(name="web-1", **changes):
    """A session's account."""
    facts = {
        "id": session(name).id,
        "name": name,
        "host": "host-1",
        "pid": 7,
        "key_id": 0,
        "tail": Tail.ALIVE,
        "sent": 13,
    }
    return SessionLedger(
        **facts | {"datagrams": 5, "last_seen": 0.5, "delivered": 10, "lost": 2, "overflow": 1} | changes
    )


def give_ledger(asked, *rows, **sums):
    """An account of one receiver."""
    asked.state.observe({URL: Ledger(sessions=list(rows), datagrams_in=9, accepted=5, **sums)}, T0, 0.0)


def test_the_overview_of_a_collector_that_has_seen_everything(asked):
    """Listeners of both kinds, totals whose places add up, limits, who is alive, and warnings."""
    feed_statsd(asked.state, "a:1|c\nbad")
    asked.state.warnings["x"] = "look here"
    sums = {"delivered": 10, "lost": 2, "overflow": 1, "lost_by_place": {"in_flight": 2}, "refused": {"duplicate": 4}}
    give_ledger(asked, account(), **sums)
    found = asked.json("/api/v1/overview")
    assert set(found) == {"now", "started", "version", "host", "listeners", "totals", "alive", "memory", "warnings"}
    ours, theirs = found["listeners"]
    assert (ours["kind"], ours["address"], ours["received"], ours["accepted"], ours["queue_drops"]) == (
        "atmost",
        URL,
        9,
        5,
        1,
    )
    assert (theirs["kind"], theirs["accepted"], theirs["rejected"]) == ("statsd", 1, {"malformed_line": 1})
    assert theirs["kernel_drops"] is None
    totals = found["totals"]
    assert totals["lost_by_place"] == {"sender_socket": 0, "in_flight": 2, "receiver_queue": 1}
    assert totals["lost"] == sum(totals["lost_by_place"].values())
    assert (totals["senders"], totals["delivered"], totals["duplicates_refused"]) == (1, 10, 4)
    assert set(found["alive"]) == {"up", "late", "suspect", "down", "failed", "stopped", "unknown"}
    assert found["memory"]["bytes"] > 1 << 20
    assert {"series", "log_bytes", "senders"} <= {limit["name"] for limit in found["memory"]["limits"]}
    assert found["warnings"] == ["look here"]


def test_the_senders(asked):
    """By name, with loss by place, and a ratio that is null while nothing was due."""
    rows = [account(refused={"future": 2}), account("new", delivered=0, lost=0, overflow=0, sent=0, id="0" * 16)]
    give_ledger(asked, *rows)
    found = asked.json("/api/v1/senders")
    first, second = found["senders"]
    assert (first["name"], first["lost"], first["loss_ratio"], first["tail"]) == ("web-1", 3, 3 / 13, "alive")
    assert "2 of its datagrams were refused for its clock" in first["clock_warning"]
    assert (second["loss_ratio"], second["clock_warning"]) == (None, None)
    assert asked.json("/api/v1/senders?limit=1")["truncated"] == 1
    assert [one["name"] for one in asked.json("/api/v1/senders?match=NEW")["senders"]] == ["new"]


def test_fifteen_hundred_cron_jobs_are_one_row(asked):
    """Their sums are the sender's, and each of them is found by its name."""
    ended = [
        account("cron", id=f"{number:016}", tail=Tail.CLOSED, delivered=1, lost=0, overflow=0) for number in range(1500)
    ]
    give_ledger(asked, *ended, account("cron", id="f" * 16, host="host-2"), account("web"))
    found = asked.json("/api/v1/senders")
    assert (len(found["senders"]), found["truncated"]) == (2, 0)
    [cron] = [one for one in found["senders"] if one["name"] == "cron"]
    assert (cron["sessions"], cron["alive"], cron["closed"], cron["tail"]) == (1501, 1, 1500, "alive")
    assert (cron["delivered"], cron["lost"], cron["host"], cron["hosts"]) == (1510, 3, "host-2", 2)
    sessions = asked.json("/api/v1/sessions?sender=cron&limit=2")
    assert [one["tail"] for one in sessions["sessions"]] == ["alive", "closed"]
    assert sessions["truncated"] == 1499
    assert asked.error("/api/v1/sessions") == "bad_sender"


def test_now_is_the_last_minute(asked):
    """Beside the sums since the start: of all, and of each sender, in messages."""
    for second, lost in ((0, 0), (1, 4), (2, 4)):
        asked.t = T0 + second
        row = account(
            delivered=10 + second, lost=lost, overflow=0, lost_by_place={"sender_socket": 0, "in_flight": lost}
        )
        asked.state.observe(
            {URL: Ledger(sessions=[row], delivered=row.delivered, lost=lost, lost_by_place=row.lost_by_place)},
            asked.t,
            0.0,
        )
    minute = {"delivered": 12, "lost": 4, "late": 0, "refused": 0}
    assert asked.json("/api/v1/overview")["totals"]["minute"] == minute
    assert asked.json("/api/v1/senders")["senders"][0]["minute"] == minute
    points = asked.json("/api/v1/query?name=atmost.lost&sender=web-1&range=3&end=" + str(T0 + 2.5))["points"]
    assert [point["value"] for point in points] == [0.0, 4.0, 0.0]
    asked.t = T0 + 90
    assert asked.json("/api/v1/overview")["totals"]["minute"]["lost"] == 0


def test_loss_is_a_series_like_any_other(asked):
    """Listed with its sender, merged over senders, and not twice at /metrics."""
    rows = [
        account("a", lost=3, overflow=0, lost_by_place={"in_flight": 3}),
        account("b", id="b" * 16, lost=0, overflow=0),
    ]
    give_ledger(asked, *rows, delivered=20, lost=3, lost_by_place={"in_flight": 3})
    listed = asked.json("/api/v1/series?match=atmost.lost")["series"]
    assert [(one["sender"], one["source"], one["kind"], one["last"]) for one in listed] == [
        ("a", "collector", "counter", 3.0),
        ("b", "collector", "counter", 0.0),
        ("other", "collector", "counter", 0.0),
    ]
    asked.t = T0 + 1.5
    assert asked.json("/api/v1/query?name=atmost.lost&range=1")["points"][0]["value"] == 3.0
    assert asked.json("/api/v1/query?name=atmost.lost&range=1")["merged"] == 3
    assert "atmost_lost" not in asked.get("/metrics").text


def test_the_ledger(asked):
    """Every figure of a receiver's account, and whether it balances."""
    give_ledger(asked, account())
    [found] = asked.json("/api/v1/ledger")["receivers"]
    assert (found["address"], found["accepted"], found["balanced"]) == (URL, 5, False)
    assert set(found) == set(shapes.ReceiverLedger.__struct_fields__)


def test_the_ledger_after_a_worker_was_killed(asked):
    """What was pending or queued there is `unknown`, and the figures of the answer alone add up to what was sent."""
    killed = Ledger(sent=13, delivered=6, pending=3, queued=2, lost=2, datagrams_in=5, accepted=5)
    merged = merge_ledgers([Ledger(sent=10, delivered=9, lost=1), retire(killed, killed=True)])
    asked.state.observe({URL: merged}, T0, 0.0)
    [found] = asked.json("/api/v1/ledger")["receivers"]
    assert (found["unknown"], found["balanced"]) == (5, True)
    known = ("delivered", "queued", "overflow", "discarded", "pending", "lost", "unknown")
    assert found["sent"] - found["before_join"] == sum(found[name] for name in known)


def test_series_and_their_steps(asked):
    """One point for every step, the gaps null, the loss of StatsD unknown."""
    feed_statsd(asked.state, "bar.hits:3|c|#route:home\nbar.temperature:21|g", T0 + 1)
    asked.t = T0 + 2.5
    listed = asked.json("/api/v1/series?match=bar")
    assert [(each["name"], each["kind"], each["completeness"]) for each in listed["series"]] == [
        ("bar.hits", "counter", None),
        ("bar.temperature", "gauge", None),
    ]
    found = asked.json("/api/v1/query?name=bar.hits&range=2&label=route%3Dhome&as=rate")
    assert found["points"] == [
        {"t": T0, "value": None, "lost": None, "completeness": None},
        {"t": T0 + 1, "value": 3.0, "lost": None, "completeness": None},
    ]
    assert (found["name"], found["step"], found["start"], found["end"]) == ("bar.hits", 1.0, T0, T0 + 2)


def test_the_log_tail(asked):
    """Records and gaps, by type, filtered, from a cursor on."""
    for number in range(5):
        asked.state.feed(message("logs.app", {"message": f"line {number}"}), T0, 0.0)
    found = asked.json("/api/v1/logs?limit=2")
    assert [record["message"] for record in found["records"]] == ["line 3", "line 4"]
    assert (found["truncated"], found["records"][0]["type"]) == (True, "record")
    first = asked.json("/api/v1/logs?limit=1&after=0")
    assert first["records"][0]["message"] == "line 0"
    after = asked.json(f"/api/v1/logs?after={first['cursor']}&text=LINE")
    assert [record["message"] for record in after["records"]] == ["line 1", "line 2", "line 3", "line 4"]
    before = asked.json(f"/api/v1/logs?before={first['cursor'] + 2}&sender=web-1")
    assert [record["message"] for record in before["records"]] == ["line 0", "line 1"]
    assert asked.json("/api/v1/logs?sender=nobody")["records"] == []
    assert set(found["records"][0]) == {*shapes.Record.__struct_fields__, "type"}


def test_heartbeats_and_rejected_input(asked):
    """As the state has them."""
    asked.state.feed(message("heartbeats.w-1", {"number": 0, "interval": 1.0}), T0, 0.0)
    feed_statsd(asked.state, "bad\x1b[2J")
    [row] = asked.json("/api/v1/heartbeats")["heartbeats"]
    assert (row["name"], row["state"], row["sender"], row["last_beat"]) == ("w-1", "up", "web-1", T0)
    [sample] = asked.json("/api/v1/rejected")["rejected"]
    assert (sample["reason"], sample["listener"], sample["sample"]) == ("malformed_line", "statsd", "bad\\x1b[2J")


def test_health_and_readiness(asked):
    """Ready is not the same as alive."""
    assert asked.json("/healthz")["status"] == "ok"
    assert asked.json("/readyz")["status"] == "ready"
    asked.checks["receiving"] = False
    answer = asked.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]) == (503, {"receiving": False})


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v1/overview?x=1", "unknown_parameter"),
        ("/api/v1/query", "bad_name"),
        ("/api/v1/query?name=a&range=x", "bad_range"),
        ("/api/v1/query?name=a&range=nan", "bad_range"),
        ("/api/v1/query?name=a&range=1e9", "bad_range"),
        ("/api/v1/query?name=a&range=0", "bad_range"),
        ("/api/v1/query?name=a&end=0", "bad_end"),
        ("/api/v1/query?name=a&step=-1", "bad_step"),
        ("/api/v1/query?name=a&range=21600&step=10", "too_many_points"),
        ("/api/v1/query?name=a&as=p95", "bad_as"),
        ("/api/v1/query?name=a&combine=avg", "bad_combine"),
        ("/api/v1/query?name=a&as=p99&combine=max", "bad_combine"),
        ("/api/v1/query?name=a&label=x", "bad_label"),
        ("/api/v1/query?name=" + "a" * 300, "too_long"),
        ("/api/v1/query?" + "&".join(f"label=a%3D{n}" for n in range(20)), "bad_name"),
        ("/api/v1/query?name=a&" + "&".join(f"label=a%3D{n}" for n in range(20)), "bad_label"),
        ("/api/v1/query?" + "&".join("label=a%3D" for n in range(40)), "too_many_parameters"),
        ("/api/v1/series?limit=0", "bad_limit"),
        ("/api/v1/series?limit=999999", "bad_limit"),
        ("/api/v1/series?limit=²", "bad_limit"),
        ("/api/v1/logs?level=LOUD", "bad_level"),
        ("/api/v1/logs?after=-1", "bad_after"),
        ("/api/v1/logs?before=" + "9" * 30, "bad_before"),
    ],
)
def test_a_question_out_of_bounds_is_told(asked, path, code):
    """With the bounds in the message."""
    assert asked.error(path) == code


def test_the_page_and_its_files(asked):
    """With the types that a browser insists on; nothing outside the folder, nothing that is no file of it."""
    page = asked.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    scripts = re.findall(r'src="\.?/?([\w./-]+\.js)"', page.text)
    assert scripts
    for script in scripts:
        found = asked.get(f"/{script}")
        assert (found.status_code, found.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    for path in ("/none.js", "/../api/app.py", "/%2e%2e/api/app.py", "/__init__.py", "//etc/passwd"):
        answer = asked.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_the_description_is_served(asked):
    """For whoever builds on it."""
    assert asked.json("/openapi.json")["info"]["title"] == "atmost collector"


def test_a_fault_of_ours_is_an_answer_without_our_insides(asked, monkeypatch):
    """And the next question is answered."""

    def fail():
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(asked.views, "heartbeats", fail)
    answer = asked.get("/api/v1/heartbeats")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "defect")
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert asked.get("/healthz").status_code == 200


def test_every_answer_is_of_its_type(asked):
    """What the types say is what is sent."""
    feed_statsd(asked.state, "a:1|c")
    give_ledger(asked, account())
    asked.state.feed(message("logs.app", {"message": "m"}), T0, 0.0)
    for path, kind in (
        ("overview", shapes.Overview),
        ("senders", shapes.Senders),
        ("ledger", shapes.Ledgers),
        ("series", SeriesList),
        ("query?name=a", QueryAnswer),
        ("logs", shapes.LogPage),
        ("heartbeats", shapes.Heartbeats),
        ("rejected", shapes.RejectedList),
    ):
        msgspec.json.decode(asked.get(f"/api/v1/{path}").content, type=kind)


def test_an_answer_of_log_lines_is_bounded_in_bytes(asked, monkeypatch):
    """The latest that fit, or the earliest after a cursor, which then says where to go on."""
    monkeypatch.setattr("atmost.collector.api.views.MAX_ANSWER", 3000)
    for number in range(20):
        asked.state.feed(message("logs.app", {"message": f"{number:02} " + "\x00" * 100}), T0, 0.0)
    answer = asked.get("/api/v1/logs?limit=20")
    assert len(answer.content) < 3500
    found = answer.json()
    assert found["truncated"]
    assert found["records"][-1]["message"].startswith("19 ")
    seen, cursor = [], 0
    while True:
        page = asked.json(f"/api/v1/logs?limit=20&after={cursor}")
        seen += [one["message"][:2] for one in page["records"]]
        cursor = page["cursor"]
        if not page["truncated"]:
            break
    assert seen == [f"{number:02}" for number in range(20)]
