"""Measures this machine: what sending and receiving cost here, beside the peers that are installed.

Peers carry a bare payload at their best settings; `atmost` runs with every rule on. Figures move from machine to machine:
what counts are ratios within one run, so the systems take turns, and every figure is a median with its spread.
"""

from __future__ import annotations

from atmost.bench.report import as_svg, as_text
from atmost.bench.results import Results, Row
from atmost.bench.run import Preset, measure

__all__ = ["Preset", "Results", "Row", "as_svg", "as_text", "measure"]
