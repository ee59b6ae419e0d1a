"""A layer in blocks of outputs: the same optimum, proved again for the whole layer."""

from __future__ import annotations

import numpy as np
import pytest

import nettrim
import problems
from nettrim.reference import Program, certificate


def layer():
    g5 = problems.g5()
    return g5.X, g5.Y


def both(X, Y, width, **form):
    """Solve at once and in blocks; check the blocks' proof from their arrays alone."""
    whole = nettrim.solve_layer(X, Y, n_threads=1, **form)
    blocks = nettrim.solve_layer(X, Y, block_outputs=width, n_threads=1, **form)
    program_form = {k: v for k, v in form.items() if k != "tol"}
    proof = certificate(Program.of(X, Y, **program_form), blocks.weights, blocks.dual)
    assert proof.objective == pytest.approx(blocks.objective, rel=1e-9, abs=1e-12)
    assert proof.dual_bound == pytest.approx(blocks.dual_bound, rel=1e-7, abs=1e-12)
    return whole, blocks


@pytest.mark.parametrize(("width", "gain"), [(7, 0.05), (7, 0.3), (7, 0.6), (1, 0.05)])
def test_the_optimum_does_not_depend_on_the_blocks(width, gain):
    X, Y = layer()
    whole, blocks = both(X, Y, width, epsilon=gain * np.linalg.norm(Y))
    assert (whole.status, blocks.status) == ("optimal", "optimal")
    assert blocks.objective == pytest.approx(whole.objective, rel=2e-6)
    assert blocks.residual <= blocks.epsilon * (1 + 1e-6)
    assert blocks.penalty == pytest.approx(whole.penalty, rel=1e-3)


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_penalised_blocks_are_independent(activation):
    X, Y = layer()
    whole, blocks = both(X, Y, 7, penalty=3.0, activation=activation)
    assert blocks.status == "optimal"
    assert blocks.objective == pytest.approx(whole.objective, rel=2e-6)


def test_linear_layers():
    X, Y = layer()
    Y = X @ problems.g5().weights
    whole, blocks = both(X, Y, 11, epsilon=0.2 * np.linalg.norm(Y), activation="linear")
    assert blocks.status == "optimal"
    assert blocks.objective == pytest.approx(whole.objective, rel=2e-6)


def test_dead_outputs_fill_a_block():
    X, Y = layer()
    Y = Y[:, :12].copy()
    Y[:, 4:8] = 0
    whole, blocks = both(X, Y, 4, epsilon=0.1 * np.linalg.norm(Y))
    assert blocks.status == "optimal"
    assert blocks.objective == pytest.approx(whole.objective, rel=2e-6)
    assert not blocks.weights[:, 4:8].any()


def test_zero_is_the_answer_at_a_large_epsilon():
    X, Y = layer()
    _, blocks = both(X, Y, 7, epsilon=float(np.linalg.norm(Y)))
    assert blocks.status == "optimal"
    assert not blocks.weights.any()


def test_what_stops_a_block_stops_the_layer():
    X, Y = layer()
    epsilon = 0.05 * np.linalg.norm(Y)
    stopped = nettrim.solve_layer(X, Y, epsilon=epsilon, block_outputs=7, callback=lambda _: True)
    assert stopped.status == "interrupted"
