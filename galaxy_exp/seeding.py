"""Seeds derived from the seed of a sweep and a name, so that no random choice depends on the order of calls."""

from __future__ import annotations

import hashlib

__all__ = ["derive_seed"]


def derive_seed(*parts: int | str) -> int:
    """A seed from 1 to 2**31 - 1 that depends only on the parts, on any machine.

    With SHA-256, the seeds of neighbours (sweep seeds 1 and 2, trials 3 and 4) are unrelated. 0 is never returned, as
    some libraries read it as "no seed".
    """
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") % (2**31 - 1) + 1
