"""The check of a sweep that has not run: its space, its first networks, and its cost."""
