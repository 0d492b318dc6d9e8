"""The sweep file: reading it, checking it, and the frozen record it becomes."""

from galaxy_exp.config.reading import dump_sweep, load_sweep, parse_sweep
from galaxy_exp.config.sweep import SweepConfig

__all__ = ["SweepConfig", "dump_sweep", "load_sweep", "parse_sweep"]
