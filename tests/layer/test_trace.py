"""The curve of a layer: every point certified, the same as a single solve, in good order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nettrim
from support.problems import Program, describe, g1, random_programs

GAINS = np.array([0.3, 0.02, 0.1, 0.6, 1.2])


def traced(program: Program, gains: np.ndarray = GAINS, **options: object) -> nettrim.LayerTrace:
    return nettrim.trace(
        program.X,
        program.Y,
        epsilons=gains * np.linalg.norm(program.Y),
        activation=program.activation,
        upper=program.upper,
        **options,
    )


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_every_point_is_the_optimum(activation: str) -> None:
    program = g1(activation)
    trace = traced(program)
    assert trace.converged
    for gain, point in zip(np.sort(GAINS), trace, strict=True):
        assert point.epsilon == pytest.approx(gain * np.linalg.norm(program.Y), rel=1e-12)
        alone = program.at(gain).solve(tol=1e-8, solver="admm")
        assert point.objective == pytest.approx(alone.objective, rel=2e-6, abs=1e-12)


@pytest.mark.parametrize("program", random_programs(), ids=describe)
def test_points_prove_their_bounds(program: Program) -> None:
    trace = traced(program, np.geomspace(0.01, 0.5, 6))
    norm = float(np.linalg.norm(program.Y))
    for point in trace:
        assert point.converged or point.status == "infeasible"
        if point.converged:
            assert program.residual(point.weights) <= point.epsilon * (1 + 2e-6) + 1e-9 * norm
            assert point.dual_bound <= point.objective * (1 + 1e-6)
    assert (np.diff(trace.objectives[[p.converged for p in trace]]) <= 1e-6 * norm).all()


def test_it_prints_and_slices() -> None:
    trace = traced(g1())
    assert len(trace) == len(GAINS) == len(trace[1:]) + 1
    assert (np.diff(trace.epsilons) > 0).all()
    assert (np.diff(trace.objectives) < 0).all()
    assert trace.sparsities[-1] == 1.0  # epsilon beyond the outputs themselves
    assert len(str(trace).splitlines()) == len(GAINS) + 2


def test_it_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    traced(g1()).plot(tmp_path / "trace.png")
    assert (tmp_path / "trace.png").stat().st_size > 1000


def test_a_stop_leaves_what_is_finished() -> None:
    first = traced(g1(), GAINS[:1]).solutions[0]
    seen: list[float] = []

    def stop_at_the_second(progress: nettrim.LayerProgress) -> bool:
        seen.append(progress.objective)
        return progress.objective > 1.01 * first.objective

    trace = traced(g1(), GAINS[[0, 1]], callback=stop_at_the_second)
    assert [p.status for p in trace] == ["interrupted", "optimal"]
    assert trace[1].objective == pytest.approx(first.objective, rel=1e-6)
    assert not trace.converged
    assert "interrupted, NOT CONVERGED" in str(trace)


def test_out_of_reach() -> None:
    """A linear layer's part of Y outside the range of X cannot be reproduced."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((40, 5)), rng.standard_normal((40, 3))
    outside = float(np.linalg.norm(Y - X @ np.linalg.lstsq(X, Y, rcond=None)[0]))
    trace = nettrim.trace(X, Y, epsilons=[0.9 * outside, 1.01 * outside], activation="linear")
    assert [p.status for p in trace] == ["infeasible", "optimal"]


@pytest.mark.parametrize(
    ("epsilons", "message"),
    [([], "epsilons"), ([1.0, 0.0], "positive"), ([[1.0]], "dimensions"), ([np.nan], "NaN")],
)
def test_bad_epsilons(epsilons: object, message: str) -> None:
    program = g1()
    with pytest.raises(ValueError, match=message):
        nettrim.trace(program.X, program.Y, epsilons=epsilons)
