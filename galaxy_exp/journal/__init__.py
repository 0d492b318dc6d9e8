"""The journal: an append-only record of everything that happened in a sweep, and the state that follows from it."""
