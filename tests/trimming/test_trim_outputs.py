"""Models with several outputs: all of them count, each by its own size, and one can be left out."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import nettrim
from nettrim.results.recipe import format_summary
from support.heads import TABLE, TwoHeads
from support.networks import Array, trim

pytestmark = pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")


@pytest.fixture(scope="module")
def X() -> Array:
    return np.random.default_rng(1).standard_normal((300, 12))


def weights_left(result) -> list[int]:
    return [layer.nonzeros_after for layer in result.layers]


def distances(result, X: Array) -> list[float]:
    """Relative distances of both outputs, from the two models alone."""
    pairs = zip(
        list(result.original.signals(X, {}))[3:], list(result.model.signals(X, {}))[3:], strict=True
    )
    return [np.linalg.norm(b.values - a.values) / np.linalg.norm(a.values) for a, b in pairs]


@pytest.mark.parametrize("options", [{"epsilon": 0.1}, {"sparsity": 0.7}])
@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_every_output_is_measured_and_bounded(X: Array, options, scheme: str) -> None:
    unseen = np.random.default_rng(2).standard_normal((90, 12))
    result = trim(TwoHeads.random(), X, held_out=unseen, scheme=scheme, **options)
    assert [output.name for output in result.outputs] == ["scores", "boxes"]
    for k, output in enumerate(result.outputs):
        assert output.discrepancy == pytest.approx(distances(result, X)[k], rel=1e-9)
        assert output.held_out_discrepancy == pytest.approx(distances(result, unseen)[k], rel=1e-9)
        assert output.discrepancy <= output.bound
    errors = [output.discrepancy for output in result.outputs]
    assert result.discrepancy == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    assert result.discrepancy <= result.bound
    rows = [line.split()[:2] for line in str(result).splitlines()]
    assert ["scores", "output"] in rows
    assert ["boxes", "output"] in rows


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_budget_is_shared_by_relative_errors(X: Array, scale: float) -> None:
    """How large an output is does not matter, and no head is given up for the other one."""
    result, same = (trim(TwoHeads.random(s), X, sparsity=0.7) for s in (scale, 1.0))
    assert weights_left(result) == weights_left(same)
    assert min(weights_left(result)) > 0
    assert max(output.discrepancy for output in result.outputs) < 0.8


def test_an_output_is_left_out_by_naming_the_others(X: Array) -> None:
    both = trim(TwoHeads.random(), X, sparsity=0.7)
    for chosen in (["scores"], "scores", 0, [-2]):
        one = trim(TwoHeads.random(), X, sparsity=0.7, outputs=chosen)
        assert [output.name for output in one.outputs] == ["scores"]
        assert one.discrepancy == one.outputs[0].discrepancy < both.outputs[0].discrepancy
        assert weights_left(one)[2] == 0  # what does not count costs nothing
        assert one.recipe["arguments"]["outputs"] == ["scores"]


def test_weights_left_alone_count_and_are_named(X: Array, tmp_path: Path) -> None:
    result = trim(TwoHeads.random(), X, sparsity=0.7)
    zeros = sum(int((layer.weights == 0).sum()) for layer in result.model.layers)
    size = sum(layer.weights.size for layer in result.model.layers)
    assert result.untouched == (TABLE,)
    assert result.sparsity == pytest.approx(zeros / size)
    assert result.model_sparsity == pytest.approx(zeros / (size + TABLE.size))
    text = str(result)
    assert f"{result.model_sparsity:.1%} of all weights" in text.splitlines()[0]
    assert "table.weight" in text
    assert "embedding" in text
    assert result.recipe["untouched"][0]["name"] == "table.weight"
    assert "table.weight" in format_summary(result.recipe)


# --- what the framework itself computes -----------------------------------------------------------


def test_rounding_of_the_framework_is_measured(X: Array) -> None:
    result = trim(TwoHeads.random(), X, epsilon=0.1)
    exact, rounded = result.outputs
    assert exact.runtime_error == 0
    assert exact.runtime_discrepancy == pytest.approx(exact.discrepancy)
    assert 0 < rounded.runtime_error < 1e-6
    difference = abs(rounded.runtime_discrepancy - rounded.discrepancy)
    assert difference <= 2 * rounded.runtime_error


def test_another_arithmetic_is_told(X: Array) -> None:
    """As where a runtime computes a part of the model in eight bits."""
    with pytest.warns(nettrim.RuntimeMismatchWarning, match="'scores' up to 5"):
        result = trim(TwoHeads.random(gain=1.05), X, epsilon=0.1)
    assert result.outputs[0].runtime_error == pytest.approx(0.05, rel=0.3)
    assert "computes in another way: 'scores'" in str(result)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trim(TwoHeads.random(gain=1.05), X, epsilon=0.1, outputs=["boxes"])


def test_a_framework_that_fails_takes_nothing_along(X: Array) -> None:
    with pytest.warns(nettrim.RuntimeMismatchWarning, match="does not run it on X.*out of memory"):
        result = trim(TwoHeads.random(gain=0.0), X, epsilon=0.1)
    assert result.converged
    assert [output.runtime_error for output in result.outputs] == [None, None]
