"""What a sweep would do, found out without running it: the space, the first networks, and the cost.

Nothing is imported here; take names from the modules. `probing` runs in a process of its own.
"""
