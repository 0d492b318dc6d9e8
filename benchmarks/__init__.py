"""Measurements of galaxy_exp against what one would otherwise write oneself; run from a checkout, not installed.

    python -m benchmarks                     what there is, and the quickest comparison
    python benchmarks/compare.py             galaxy_exp against the hand-wired script, side by side
    python benchmarks/handwired.py           the hand-wired script alone
    python benchmarks/workers.py             one worker with all cores against several
    python benchmarks/data.py                memory and speed of the data path
    python benchmarks/search.py              samplers and pruners against KerasTuner's and Optuna's
    python benchmarks/curves.py              the learning curves that search.py replays
    python benchmarks/memory_estimate.py     the memory that `galaxy-exp check` estimates, and what is taken
    python benchmarks/chaos.py               sweeps killed at random moments, against one left in peace
    python benchmarks/scale.py               thousands of short trials on many workers
    python benchmarks/block_order.py         where pooling stands in a block
    python benchmarks/sim_to_real.py         trained on simulated galaxies, tested on real ones

Only ratios of one run on one machine mean anything.
"""
