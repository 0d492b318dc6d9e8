"""The journal: the append-only record of a sweep's events, and the state of the sweep that follows from it."""
