"""What a function of the user says of the original and of the trimmed model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim import Network
from nettrim.results.recipe import format_snippet, format_summary
from support.networks import Array, random_network, trim


@pytest.fixture
def network(rng: np.random.Generator) -> Network:
    return random_network(rng, 8, 10, 6)


@pytest.fixture
def X(rng: np.random.Generator) -> Array:
    return rng.standard_normal((100, 8))


def weights_left(model: Network) -> int:
    return sum(np.count_nonzero(layer.weights) for layer in model.layers)


def failing_on(original: Network, error: BaseException) -> Any:
    def score(model: Network) -> dict[str, float]:
        if model is not original:
            raise error
        return {"score": 1.0}

    return score


@pytest.mark.parametrize("options", [{"epsilon": 0.2}, {"sparsity": 0.5}])
def test_both_models_are_measured(network: Network, X: Array, options: dict[str, Any]) -> None:
    seen = []

    def score(model: Network) -> int:
        seen.append(model)
        return weights_left(model)

    result = trim(network, X, measure=score, **options)
    assert seen == [network, result.model]
    expected = nettrim.Measured(result.nonzeros_before, result.nonzeros_after)
    assert result.measured == {"score": expected}
    assert "measuring" in result.stages


def test_without_a_function_nothing_is_measured(network: Network, X: Array) -> None:
    result = trim(network, X, epsilon=0.2)
    assert result.measured == result.recipe["measured"] == {}
    assert "measuring" not in result.stages
    assert "measured " not in str(result)
    assert "measure=" not in format_snippet(result.recipe)


def test_reports_show_every_number(network: Network, X: Array, tmp_path: Path) -> None:
    values = iter([{"perplexity": np.float32(12.25), "f1": 0.5}, {"perplexity": 13.5, "f1": 0.25}])
    result = trim(network, X, epsilon=0.2, measure=lambda model: next(values))
    lines = [line.split() for line in str(result).splitlines()]
    assert ["measured", "before", "after"] in lines
    assert ["perplexity", "12.25", "13.5"] in lines
    assert ["f1", "0.5", "0.25"] in lines
    result.report(tmp_path / "page.html")
    assert "12.25 → 13.5" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert result.recipe["measured"]["f1"] == {"before": 0.5, "after": 0.25}
    assert "f1 0.5, after 0.25" in format_summary(result.recipe)
    assert "measure=measure" in format_snippet(result.recipe)


@pytest.mark.parametrize("name", ["lambda", "partial"])
def test_a_number_of_a_function_without_a_name_has_one(
    network: Network, X: Array, name: str
) -> None:
    import functools

    function = (lambda model: 1.0) if name == "lambda" else functools.partial(weights_left)
    assert list(trim(network, X, epsilon=0.2, measure=function).measured) == ["measure"]


def test_an_error_at_the_end_loses_nothing(network: Network, X: Array, tmp_path: Path) -> None:
    whole = trim(network, X, epsilon=0.2)
    function = failing_on(network, ZeroDivisionError("no samples"))
    with pytest.warns(RuntimeWarning, match=r"measure: .* ZeroDivisionError\('no samples'\)"):
        result = trim(network, X, epsilon=0.2, measure=function)
    np.testing.assert_array_equal(result.model.predict(X), whole.model.predict(X))
    before, after = result.measured["score"]
    assert before == 1
    assert math.isnan(after)
    assert not result.interrupted
    assert json.loads(json.dumps(result.recipe))["measured"]["score"]["after"] is None
    assert "score" in str(result)
    result.report(tmp_path / "page.html")


def test_an_interrupt_at_the_end_loses_nothing(network: Network, X: Array) -> None:
    result = trim(network, X, epsilon=0.2, measure=failing_on(network, KeyboardInterrupt()))
    assert result.interrupted
    assert result.converged
    assert result.is_measured
    assert math.isnan(result.measured["score"].after)


def test_an_error_at_the_beginning_is_told_before_any_work(network: Network, X: Array) -> None:
    def broken(model: Network) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        trim(network, X, epsilon=0.2, measure=broken)


def test_other_names_at_the_end_are_kept(network: Network, X: Array) -> None:
    values = iter([{"old": 1.0}, {"new": 2.0}])
    measured = trim(network, X, epsilon=0.2, measure=lambda model: next(values)).measured
    assert list(measured) == ["old", "new"]
    assert math.isnan(measured["old"].after)
    assert math.isnan(measured["new"].before)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (0.5, "measure must be a function of a model"),
        (lambda model: "good", "measure must return a number, .* got str"),
        (lambda model: None, "measure must return a number, .* got NoneType"),
        (lambda model: {"a": [1, 2]}, "measure must return a number, .* got list"),
        (lambda model: {1: 2.0}, "measure must name what it measures by str"),
    ],
)
def test_what_is_no_measure_is_refused(
    network: Network, X: Array, measure: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        trim(network, X, epsilon=0.2, measure=measure)
