"""`atmost lab simulate`: what it prints, and what its exit status says."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner, Result

from atmost.cli import lab as module
from atmost.lab.guarantee import BEYOND_GUARD, Hypotheses, Run, campaign, simulate

OVERLAPPING = Hypotheses(one_at_a_time=False)
"""Two receivers live at once, which H2 rules out: a promise is broken for certain."""


def run(*arguments: str) -> Result:
    """Runs the command."""
    return CliRunner().invoke(module.lab, ["simulate", *arguments])


def test_one_seed_prints_its_trace():
    """The trace, the figures and the verdict; the same each time."""
    result = run("--seed", "3")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].startswith("seed 3: Parameters(")
    assert "r starts" in lines[1]
    assert lines[-1] == "no promise was broken"
    assert "\n".join(simulate(3, trace=True).trace) in result.output
    assert run("--seed", "3").output == result.output


def test_one_seed_as_json():
    """The same as one object."""
    result = run("--seed", "3", "--steps", "20", "--json")
    told = json.loads(result.output)
    assert result.exit_code == 0
    assert (told["seed"], told["violations"], told["alarmed"]) == (3, [], False)
    assert told["trace"] == list(simulate(3, steps=20, trace=True).trace)
    assert told["parameters"]["receiver"]["window"] >= 1


def test_beyond_the_guard():
    """R18: the violation is shown with the alarm, which is what was asked for."""
    result = run("--seed", "3", "--beyond-guard")
    assert result.exit_code == 0
    assert "The alarm was raised" in result.output
    shown = result.output.partition("the fewest steps found that show it:")[2]
    assert "STEPPED_BACK" in shown
    assert "DUPLICATE" in shown
    assert len(shown.splitlines()) < 60


def test_a_campaign():
    """Two runs break nothing and reach too little, which is a failure."""
    result = run("--campaign", "2", "--first-seed", "7", "--steps", "50")
    assert result.exit_code == 1
    assert "2 seeds in" in result.output
    assert "no promise was broken" in result.output
    assert "not reached: refusal, implausible" in result.output
    assert "not reachable here: unsynchronised" in result.output


def test_a_campaign_as_json():
    """The same as one object."""
    result = run("--campaign", "2", "--steps", "50", "--json")
    told = json.loads(result.output)
    assert result.exit_code == 1
    assert (told["seeds"], told["violations"], told["passed"]) == (2, 0, False)
    assert told["coverage"]["refusal"]["duplicate"] >= 0
    assert told["seconds"] > 0


def _broken(seed: int, **options) -> Run:
    return simulate(seed, **{**options, "hypotheses": OVERLAPPING})


def test_a_violation_fails_with_the_seed_and_the_fewest_steps(monkeypatch):
    """As a broken core would look."""
    asked = []
    monkeypatch.setattr(module, "simulate", _broken)
    monkeypatch.setattr(module, "shorten", lambda run, kind, with_alarm: asked.append((run.seed, kind)) or ["steps"])
    seed = next(seed for seed in range(50) if _broken(seed).violations)
    result = run("--seed", str(seed))
    assert result.exit_code == 1
    assert f"seed {seed}: " in result.output
    assert result.output.splitlines()[-1] == "steps"
    assert asked


def test_a_campaign_with_violations_tells_their_seeds(monkeypatch):
    """The first ones with their fewest steps, the others by name."""
    monkeypatch.setattr(module, "campaign", lambda seeds, **rest: campaign(seeds, hypotheses=OVERLAPPING, **rest))
    monkeypatch.setattr(module, "shorten", lambda run, kind, with_alarm: ["steps"])
    result = run("--campaign", "30")
    assert result.exit_code == 1
    assert result.output.count("the fewest steps found that show it:") == 3
    assert "seeds broke a promise" in result.output


@pytest.mark.parametrize(
    "arguments", [(), ("--seed", "1", "--campaign", "2"), ("--campaign", "2", "--beyond-guard"), ("--seed", "-1")]
)
def test_wrong_usage(arguments):
    """Used wrongly, it says how to use it."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage" in result.output


def test_the_alarm_must_be_there(monkeypatch):
    """A violation without its alarm is a failure of R18."""
    monkeypatch.setattr(
        module, "simulate", lambda seed, **rest: replace(simulate(seed, hypotheses=BEYOND_GUARD), alarmed=False)
    )
    result = run("--seed", "3", "--beyond-guard", "--json")
    assert result.exit_code == 1
