"""Plans a fleet and simulates it: what each stage needs, and what losing, moving and refilling shards costs (docs/scale.md)."""

from atmost.lab.fleet.plan import Costs, Load, Stage, measure_costs, plan
from atmost.lab.fleet.scenario import Fleet, Outcome, run_fleet

__all__ = ["Costs", "Fleet", "Load", "Outcome", "Stage", "measure_costs", "plan", "run_fleet"]
