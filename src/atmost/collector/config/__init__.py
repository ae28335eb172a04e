"""The collector's configuration: every option with its meaning, unit and default; file < environment < flags."""

from atmost.collector.config.options import CollectorOptions
from atmost.collector.config.printing import print_config
from atmost.collector.config.sources import load_options

__all__ = ["CollectorOptions", "load_options", "print_config"]
