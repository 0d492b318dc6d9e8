"""`python -m benchmarks`: says which benchmarks exist and runs the quickest."""

from __future__ import annotations

import sys

from benchmarks.compare import main as compare

BENCHMARKS = {
    "benchmarks/compare.py": "galaxy_exp against KerasTuner and MLflow wired by hand: time, memory, accuracy, runs",
    "benchmarks/handwired.py": "the hand-wired script alone; its measurements as JSON",
    "benchmarks/workers.py": "one worker with all cores against several that share them",
    "benchmarks/data.py": "memory and speed of the data path, on sets of the sizes of Galaxy10 DECaLS and SDSS",
    "benchmarks/search.py": "samplers and pruners against KerasTuner's and Optuna's, on learning curves and functions",
    "benchmarks/curves.py": "trains the configurations whose learning curves search.py replays",
    "benchmarks/memory_over_trials.py": "memory of a worker and its driver over 200 trials",
    "benchmarks/memory_estimate.py": "the memory that `galaxy-exp check` estimates, and what training really takes",
    "benchmarks/chaos.py": "kill -9 of driver, worker and MLflow server at random moments: what is lost or doubled",
    "benchmarks/scale.py": "thousands of short trials on many workers, MLflow's UI with them, and a simulation of more",
    "benchmarks/predict.py": "memory and speed of galaxy-exp predict, by number of images",
    "benchmarks/block_order.py": "where pooling stands in a block with batch normalisation: scores and time",
    "benchmarks/fuzz.py": "damaged sweep files and journals: each is read or refused in clear lines, nothing hangs",
    "benchmarks/sim_to_real.py": "trained on simulated galaxies alone, tested on a file of real ones",
}


def main() -> int:
    """Lists the benchmarks, then runs `compare --quick`; exit code 0 unless a contender failed."""
    for file, what in BENCHMARKS.items():
        print(f"{file:<34}{what}")
    print("\nnow: python benchmarks/compare.py --quick\n")
    return compare(["--quick"])


if __name__ == "__main__":
    sys.exit(main())
