"""The fleet on paper and in virtual time: what each stage needs, and what losing, moving and refilling shards costs (docs/scale.md)."""

from atmost.lab.scale.costs import Costs, measure_costs
from atmost.lab.scale.plan import Load, Stage, plan
from atmost.lab.scale.scenario import Fleet, Outcome, run_fleet

__all__ = ["Costs", "Fleet", "Load", "Outcome", "Stage", "measure_costs", "plan", "run_fleet"]
