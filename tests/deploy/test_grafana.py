"""deploy/grafana: a dashboard that Grafana's own model knows whole, whose queries speak of what is really exposed."""

import json
import re
from typing import Any

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.deploy.conftest import DEPLOY
from tests.deploy.promql import infer

DASHBOARD = json.loads((DEPLOY / "grafana/atmost.json").read_text(encoding="utf-8"))
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"]}
VARIABLES = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
QUERIED = {title: panel for title, panel in PANELS.items() if panel["type"] != "row"}
OUTSIDE = {
    "/__requires",
    "/id",
    "/templating/list/1/definition",
    "/templating/list/2/definition",
    "/templating/list/3/definition",
}
"""What exported dashboards have, and Grafana's model of them does not: read at import, or repeated for older versions."""
COLUMNS = 24


def plain(expression: str) -> str:
    """A query with Grafana's variables as it would fill them in."""
    for name, value in {
        "$__rate_interval": "1m",
        "$__range": "1h",
        "$instance": ".*",
        "$sender": ".*",
        "$histogram": "order_seconds_bucket",
    }.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def test_grafana_knows_every_field():
    """Read into the model that Grafana generates its clients from, and written again, nothing is missing or changed."""
    plugins.register_default_plugins()
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))
    assert set(_differences(DASHBOARD, again)) == OUTSIDE
    panel = DASHBOARD["panels"][0]
    panel = {**panel, "options": {**panel["options"], "graphMood": "area"}}
    spoilt = Dashboard.from_json({**DASHBOARD, "panels": [panel]})
    assert set(_differences([panel], json.loads(JSONEncoder().encode(spoilt))["panels"])) == {"/0/options/graphMood"}


def test_panels_have_places_of_their_own():
    """Unique numbers and titles, within 24 columns, on no other panel, each row in order."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(PANELS) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert cells
        assert all(0 <= x < COLUMNS for x, _ in cells), panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len(taken) == COLUMNS * (1 + max(y for _, y in taken))
    tops = [panel["gridPos"]["y"] for panel in panels]
    assert tops == sorted(tops)


def test_the_source_is_asked_for():
    """The dashboard can be imported beside any Prometheus, and provisioned: its source is a variable it has itself."""
    assert VARIABLES["DS_PROMETHEUS"]["type"] == "datasource"
    assert VARIABLES["DS_PROMETHEUS"]["query"] == "prometheus"
    source = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
    asking = [*QUERIED.values(), VARIABLES["instance"], VARIABLES["sender"]]
    asking += [target for panel in QUERIED.values() for target in panel["targets"]]
    assert all(each["datasource"] == source for each in asking)
    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD["uid"]
    provisioned = yaml.safe_load((DEPLOY / "container/grafana/datasource.yml").read_text(encoding="utf-8"))
    assert [each["type"] for each in provisioned["datasources"]] == ["prometheus"]


@pytest.mark.parametrize("title", QUERIED)
def test_queries_speak_of_what_is_exposed(scrape, title):
    """Every query parses; its names, labels and values, and the labels in its legends, are in a real scrape."""
    panel = QUERIED[title]
    assert panel["description"]
    assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGH"[: len(panel["targets"])])
    for target in panel["targets"]:
        labels = infer(promql_parser.parse(plain(target["expr"])), scrape)
        assert target["legendFormat"]
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels
        assert (target.get("format") == "table") == (panel["type"] == "table")


def test_variables_come_from_what_is_exposed(scrape):
    """`label_values` of a selector and a label that are there."""
    for name in ("instance", "sender"):
        query = VARIABLES[name]["query"]["query"]
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()
        assert label in infer(promql_parser.parse(plain(selector)), scrape)


def test_histograms_to_choose_from_are_those_of_the_senders(samples):
    """Whatever is exposed with buckets; the collector has none itself."""
    [pattern] = re.fullmatch(r"metrics\((.*)\)", VARIABLES["histogram"]["query"]["query"]).groups()
    assert {name for name in samples if re.fullmatch(pattern, name)} == {"order_seconds_bucket"}


def test_nothing_is_drawn_over_a_gap():
    """Unknown is not 0, and not the line between its neighbours either."""
    lines = [panel for panel in QUERIED.values() if panel["type"] == "timeseries"]
    drawn = [panel["fieldConfig"]["defaults"]["custom"] for panel in lines]
    assert all(not custom.get("spanNulls") for custom in drawn)
    assert not any("or vector(0)" in target["expr"] for panel in lines for target in panel["targets"])


def _differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where what is in `one` is missing in `other`, or not the same."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            found
            for key in one
            for found in (_differences(one[key], other[key], f"{path}/{key}") if key in other else [f"{path}/{key}"])
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            found
            for number, (a, b) in enumerate(zip(one, other, strict=True))
            for found in _differences(a, b, f"{path}/{number}")
        ]
    return [] if one == other else [path]
