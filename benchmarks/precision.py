"""Whether bfloat16 costs anything: the tutorial's network in both precisions, and a larger one, with the same seeds.

    python benchmarks/precision.py --data galaxies.h5 --seeds 5 --epochs 10

Prints the best epoch's validation scores by seed and the time in epochs. Other work on the machine shifts the times.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.block_order import NETWORK
from benchmarks.side_by_side import Variant, compare_variants

PRECISIONS = {
    "tutorial's, float32, batch 32": Variant({}, precision="float32"),
    "tutorial's, bfloat16, batch 32": Variant({}, precision="mixed_bfloat16"),
    "tutorial's, bfloat16, batch 128": Variant({"batch_size": 128}, precision="mixed_bfloat16"),
    "four blocks, float32": Variant(NETWORK, precision="float32"),
    "four blocks, bfloat16": Variant(NETWORK, precision="mixed_bfloat16"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and prints the table."""
    compare_variants(__doc__ or "", PRECISIONS, arguments)


if __name__ == "__main__":
    main()
