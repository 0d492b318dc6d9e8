"""Where pooling stands in a block with batch normalisation: before it, as GalaxyCNN has it, or after the ReLU.

    python benchmarks/block_order.py --data galaxies.h5 --seeds 3 --epochs 20

Trains one network of four blocks in both orders with the same seeds on the same split, and prints the best epoch's
validation scores and the time in epochs. Other work on the machine shifts the times.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.side_by_side import Variant, compare_variants

NETWORK: dict[str, Any] = {
    "n_blocks": 4,
    "convs_per_block": 1,
    "filters_1": 32,
    "filters_2": 64,
    "width_growth": 1.5,
    "batch_norm": True,
    "head": "gap",
    "dense_width": 0,
    "dropout_1": 0.1,
    "dropout_2": 0.3,
    "augmentation": "flips+rotations",
    "learning_rate": 2e-3,
    "batch_size": 32,
    "optimizer": "adam",
    "schedule": "cosine",
    "class_weighting": "sqrt",
}
ORDERS = {
    "pool, norm, relu": Variant(NETWORK),
    "norm, relu, pool": Variant(NETWORK, hypermodel="benchmarks.networks:NormFirstCNN"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and prints the table."""
    compare_variants(__doc__ or "", ORDERS, arguments)


if __name__ == "__main__":
    main()
