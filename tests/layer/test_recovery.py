"""A sparse neuron is found again from few samples (Net-Trim, NIPS 2017, Theorem 3)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

import nettrim
from support import problems
from support.problems import sparse_neuron

TRIALS = 20


class Rate(NamedTuple):
    """Share of trials that recovered; a few stay undecided and could count on either side."""

    sure: float
    possible: float


def recovered(n_features: int, sparsity: int, n_samples: int, seed: int) -> bool | None:
    """Whether the program with epsilon = 0 returns the weights that made the data."""
    rng = np.random.default_rng([n_features, sparsity, n_samples, seed])
    program = sparse_neuron(rng, n_features, sparsity, n_samples)
    truth, size = program.weights, float(np.linalg.norm(program.Y))
    l1 = float(np.abs(truth).sum())

    def something_better_exists(progress: nettrim.LayerProgress) -> bool:
        """Cheaper than the truth by much more than its infeasibility could have saved."""
        excess = max(progress.residual, progress.violation) / size
        return progress.objective < l1 * (1 - max(1e-3, 1e3 * excess))

    solution = program.solve(tol=1e-7, callback=something_better_exists)
    assert solution.dual_bound <= l1 * (1 + 1e-9), "the truth is feasible"
    if solution.status == "max_iter":
        return None
    assert solution.status in ("optimal", "interrupted")
    return bool(np.linalg.norm(solution.weights - truth) <= 1e-5 * np.linalg.norm(truth))


def success_rate(n_features: int, sparsity: int, n_samples: int, trials: int = TRIALS) -> Rate:
    found = [recovered(n_features, sparsity, n_samples, seed) for seed in range(trials)]
    return Rate(found.count(True) / trials, 1 - found.count(False) / trials)


def test_golden_linear_program() -> None:
    program = sparse_neuron(np.random.default_rng(7), 50, 4, 80)
    solution = program.solve(tol=1e-8)
    assert solution.status == "optimal"
    assert solution.objective == pytest.approx(problems.LP_L1, rel=1e-7)
    np.testing.assert_allclose(solution.weights, program.weights, atol=1e-6)
    assert np.count_nonzero(solution.weights) == 4


def test_enough_samples_recover() -> None:
    assert success_rate(100, 5, 75).sure >= 0.95


def test_too_few_samples_do_not_recover() -> None:
    assert success_rate(100, 5, 22).possible <= 0.15


@pytest.mark.slow
@pytest.mark.parametrize(("n_features", "sparsity"), [(100, 5), (100, 10), (200, 10)])
def test_the_transition_lies_where_it_was_measured(n_features: int, sparsity: int) -> None:
    """Half of the trials succeed somewhere between 2 and 3.5 times s ln(N / s) samples."""
    unit = sparsity * np.log(n_features / sparsity)
    assert success_rate(n_features, sparsity, round(2 * unit)).possible < 0.5
    assert success_rate(n_features, sparsity, round(3.5 * unit)).sure > 0.5


def test_the_number_of_samples_of_the_theorem_always_suffices() -> None:
    n_features, sparsity, mu = 100, 5, 1.5
    n_samples = int(np.ceil((11 * sparsity + 7) * mu * np.log(n_features)))
    assert success_rate(n_features, sparsity, n_samples, trials=30).sure == 1.0
