"""docs/collector.md names what a collector tells of itself at /metrics, with its labels, and nothing else."""

import re

from tests.deploy.conftest import DEPLOY

PAGE = (DEPLOY.parent / "docs/collector.md").read_text(encoding="utf-8")
NAME = re.compile(r"`(atmost_[a-z_]+)(?:\{([a-z_,]+)(?:=[^}]*)?\})?`")


def test_page_names_every_metric_and_its_labels(samples):
    """A family that no page explains helps nobody, and one that is not there misleads."""
    told: dict[str, set[str]] = {}
    for name, labels in NAME.findall(PAGE):
        told.setdefault(name, set()).update(filter(None, labels.split(",")))
    exposed = {name: set().union(*rows) for name, rows in samples.items() if name.startswith("atmost_")}
    assert told == exposed
