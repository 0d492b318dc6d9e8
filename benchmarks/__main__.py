"""`python -m benchmarks`: goal beside measured; see `benchmarks/goals.py`."""

from __future__ import annotations

import sys

from benchmarks.goals import main

if __name__ == "__main__":
    sys.exit(main())
