"""Measurements of galaxy_exp against its goals and against what one would otherwise write; run from a checkout.

    python -m benchmarks                     goal beside measured, in half an hour on two cores
    python -m benchmarks --list              the benchmarks there are, each a script with a --help

Only ratios of one run on one machine mean anything.
"""
