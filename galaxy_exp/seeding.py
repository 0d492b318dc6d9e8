"""Every random choice of a sweep follows from its seed, by name; nothing depends on the order of calls."""

from __future__ import annotations

import hashlib

__all__ = ["derive_seed"]


def derive_seed(*parts: int | str) -> int:
    """A seed in 1..2**31-1 that depends on all parts and on nothing else, on any machine.

    SHA-256 keeps the seeds of neighbours (sweep seed 1 and 2, trial 3 and 4) unrelated, and 0 is never
    returned because some libraries read it as "no seed".
    """
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") % (2**31 - 1) + 1
