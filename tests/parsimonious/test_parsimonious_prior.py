"""The flattening hyper-prior: a density, whose best parameter leaves a linear price (spec G.1)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

pytest.importorskip("torch")

from nettrim.parsimonious import (
    best_prior,
    flattening_log_prior,
    flattening_profile,
    gate_divergence,
)

SLOPES = [0.1, 1.0, 3.0]


@pytest.mark.parametrize("log_gamma", [*SLOPES, 10.0])
def test_it_is_a_density(log_gamma: float) -> None:
    # pi = exp(t): the density is steep at zero
    total, _ = quad(
        lambda t: np.exp(t + flattening_log_prior(np.exp(t), log_gamma)), -60, 0, epsabs=1e-11
    )
    assert total == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("log_gamma", SLOPES)
@pytest.mark.parametrize("theta", [0.02, 0.1, 0.5, 0.9, 0.98])
def test_best_prior_minimises_and_leaves_a_line(theta: float, log_gamma: float) -> None:
    def cost(pi: float) -> float:
        return float(gate_divergence(theta, pi) - flattening_log_prior(pi, log_gamma))

    found = minimize_scalar(cost, bounds=(1e-12, 1 - 1e-12), options={"xatol": 1e-12})
    assert best_prior(theta, log_gamma) == pytest.approx(found.x, abs=1e-5)
    assert flattening_profile(theta, log_gamma) == pytest.approx(found.fun, abs=1e-6)


@pytest.mark.parametrize("log_gamma", [*SLOPES, 60.0])
def test_profile_is_linear(log_gamma: float) -> None:
    slopes = np.diff(flattening_profile(np.linspace(0, 1, 101), log_gamma)) / 0.01
    np.testing.assert_allclose(slopes, log_gamma, rtol=1e-9)


def test_gamma_itself_is_never_formed() -> None:
    density = flattening_log_prior([0.0, 0.5, 1.0], 5000.0)
    assert np.isfinite(density).all()
    assert density[0] - density[2] == pytest.approx(5000)
    np.testing.assert_array_equal(best_prior([0.0, 1.0], 5000.0), [0.0, 1.0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: flattening_log_prior([0.5], 0.0), "log_gamma must be finite and greater than 0"),
        (lambda: flattening_log_prior([1.5], 1.0), "pi must be between 0 and 1, got 1.5"),
        (lambda: best_prior([-0.1], 1.0), "theta must be between 0 and 1"),
        (lambda: gate_divergence([np.nan], 0.5), "theta holds NaN"),
    ],
)
def test_wrong_arguments_are_named(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
