"""The sweep file: its schema, defaults and checks."""

from galaxy_exp.config.reading import dump_sweep, load_sweep, parse_sweep
from galaxy_exp.config.sweep import SweepConfig

__all__ = ["SweepConfig", "dump_sweep", "load_sweep", "parse_sweep"]
