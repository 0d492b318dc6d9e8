"""Commands run with the rights that files and folders state, also where the tests run as root."""

import os
from collections.abc import Sequence


def without_roots_rights(command: Sequence[str]) -> list[str]:
    """The command, without root's capability to read and write whatever permissions say (Linux, util-linux)."""
    if os.getuid() != 0:
        return list(command)
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", *command]
