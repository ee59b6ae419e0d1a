"""Random programs of several snapshots against Clarabel, which gets them spelled out.

    python tests/random_snapshots.py --count 1000 --seed 0

Sizes, regularizer, slack, dictionaries (one or many), noise and missing measurements are random. A
program is right if its objective is Clarabel's to 1e-6 and its bound follows from its multipliers.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

import numpy as np

import nettrim
from support.hulls import proved_bound, referee
from support.snapshots import Array, Scenes, random_scenes

RIGHT = 1e-6


def random_program(seed: int) -> tuple[Scenes, str, float | None]:
    """Return measurements, a regularizer and a price of slack."""
    rng = np.random.default_rng(seed)
    L, J, K, N = (int(rng.integers(1, most)) for most in (17, 8, 7, 7))
    scenes = random_scenes(
        L,
        J,
        K,
        N,
        common=bool(rng.integers(2)),
        noise=float(rng.choice([0.0, 0.1, 1.0])),
        missing=float(rng.choice([0.0, 0.3])),
        seed=seed,
    )
    regularizer = str(rng.choice(["l1", "l2"]))
    slack = float(rng.choice([0.05, 0.5, 5.0])) if regularizer == "l1" and rng.integers(2) else None
    return scenes, regularizer, slack


def error(seed: int) -> float:
    """Return how far objective and bound of a program are from what they should be, relative."""
    scenes, regularizer, slack = random_program(seed)
    s = scenes.solve(regularizer=regularizer, slack=slack)
    explicit = scenes.spelled_out()
    optimum = referee(explicit, regularizer, slack)
    proved = proved_bound(explicit, kept_multipliers(scenes, s), slack)
    assert s.status == "optimal", f"seed {seed}: {s}"
    return max(abs(s.objective - optimum), abs(s.dual_bound - proved)) / optimum


def kept_multipliers(scenes: Scenes, solution: nettrim.HullSolution) -> nettrim.HullSolution:
    """Return a solution whose multipliers are those of the measurements that were spelled out."""
    kept = np.broadcast_to(scenes.signs.reshape(len(scenes.B), -1), scenes.y.shape).T.ravel() != 0
    p, q = (part.T.ravel()[kept] for part in (solution.p, solution.q))
    return replace(solution, p=p, q=q)


def main() -> int:
    """Run the command line; 0 if all are right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    errors: Array = np.array(
        [error(seed) for seed in range(options.seed, options.seed + options.count)]
    )
    wrong = np.flatnonzero(errors > RIGHT)
    print(f"{options.count} programs, largest error {errors.max():.1e}, {len(wrong)} above {RIGHT}")
    print(f"seeds {(wrong + options.seed).tolist()}")
    return int(len(wrong) > 0)


if __name__ == "__main__":
    sys.exit(main())
