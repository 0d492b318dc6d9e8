"""Measurements of galaxy_exp against what one would otherwise write oneself; run from a checkout, not installed.

    python -m benchmarks                     what there is, and the quickest comparison
    python benchmarks/compare.py             galaxy_exp against the hand-wired script, side by side
    python benchmarks/handwired.py           the hand-wired script alone

Only ratios of one run on one machine mean anything.
"""
