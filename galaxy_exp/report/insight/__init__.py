"""What a sweep says about its hyperparameters, as figures and one interactive page, from its record alone.

Each figure is computed into a small record first, then drawn. Nothing is imported here; take names from the modules:
`files` writes everything, `importance` has the numbers.
"""
