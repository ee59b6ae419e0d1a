"""What is said before and after a run whose answer is proved and yet worth little."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim import Dense, Network
from nettrim.trimming import assessment, bounds
from nettrim.trimming.runs import Runs
from support.networks import Array, random_network, trim


def deep(n_layers: int, width: int = 16) -> Network:
    """A network whose layers pass errors on and make them larger."""
    rng = np.random.default_rng(0)
    layers = [Dense(rng.standard_normal((width, width)) * 1.6 / 4) for _ in range(n_layers)]
    return Network([*layers, Dense(rng.standard_normal((width, 4)), activation="linear")])


@pytest.fixture(scope="module")
def X() -> Array:
    return np.random.default_rng(1).standard_normal((300, 16))


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_without_time_layers_stay_as_they_were_and_that_is_said(
    X: Array, scheme: str, workers: int
) -> None:
    """The nearest to the answer that is known is then the layer itself, which has no error."""
    network = deep(2)
    executor = ThreadPoolExecutor(workers) if workers else None
    with pytest.warns(nettrim.ConvergenceWarning, match="time_limit"):
        result = trim(network, X, epsilon=0.1, scheme=scheme, time_limit=1e-9, executor=executor)
    assert result.discrepancy == 0
    for layer, before in zip(result.layers, network.layers, strict=True):
        assert layer.unchanged
        assert layer.nonzeros_after == np.count_nonzero(before.weights)
        assert (layer.status, layer.residual, layer.violation) == ("time_limit", 0, 0)
        assert 0 <= layer.gap <= 1
    assert "left as they were" in str(result)
    assert all(layer.name in str(result).splitlines()[-1] for layer in result.layers)


@pytest.mark.parametrize("stage", ["measure_changes", "run_framework", "measure_and_bound"])
def test_an_interrupt_while_errors_are_measured_loses_no_layer(
    X: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    network, scheme = deep(2), "parallel"  # a cascade measures on its way
    whole = trim(network, X, epsilon=0.1, scheme=scheme, held_out=X[:50] + 0.1)

    def interrupted(*arguments: Any) -> Iterator[Any]:
        yield from itertools.islice(getattr(bounds, stage)(*arguments), 1)
        raise KeyboardInterrupt

    def immediately(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(assessment, stage, immediately if stage == "run_framework" else interrupted)
    monkeypatch.setattr("nettrim.trimming.job.run_before", lambda opened: Runs([X]))
    result = trim(network, X, epsilon=0.1, scheme=scheme, held_out=X[:50] + 0.1)
    assert result.interrupted
    assert result.converged
    np.testing.assert_array_equal(result.model.predict(X), whole.model.predict(X))
    measured = [layer.is_measured for layer in result.layers]
    assert measured == [stage == "measure_and_bound", False, False]
    assert not result.is_measured
    assert "interrupted while errors were measured" in str(result)
    result.report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Errors were not all measured." in page
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)
    result.export(tmp_path / "files")


def test_an_answer_that_stopped_near_epsilon_is_used(X: Array) -> None:
    with pytest.warns(nettrim.ConvergenceWarning, match="max_iter"):
        result = trim(deep(2), X, epsilon=0.1, solver="admm", max_iter=60, tol=1e-9)
    assert not result.converged
    assert not any(layer.unchanged for layer in result.layers)
    assert "left as they were" not in str(result)


def test_a_cascade_that_loses_the_network_says_so_on_the_way(X: Array) -> None:
    network = deep(12)
    with pytest.warns(nettrim.LargeErrorWarning, match="may move by") as caught:
        result = trim(network, X, epsilon=0.2)
    assert sum(w.category is nettrim.LargeErrorWarning for w in caught) == 1
    assert max(layer.epsilon for layer in result.layers) > 0.5
    assert "may do nothing of what it did" in str(result)


@pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")
@pytest.mark.parametrize("options", [{"sparsity": 0.99}, {"epsilon": 0.8, "scheme": "parallel"}])
def test_a_large_error_is_told_at_the_end(X: Array, options) -> None:
    with pytest.warns(nettrim.LargeErrorWarning, match="output of the network moved by"):
        result = trim(deep(2), X, **options)
    assert result.discrepancy > 0.5


def test_an_epsilon_that_was_asked_for_is_no_surprise(X: Array) -> None:
    """Only where errors pile up beyond half of an output is there something to say beforehand."""
    result = trim(random_network(np.random.default_rng(2), 16, 8, bias=1.0), X, epsilon=0.45)
    assert result.layers[0].epsilon == pytest.approx(0.45)


def test_a_large_epsilon_has_not_grown_by_rounding(X: Array) -> None:
    network = random_network(np.random.default_rng(2), 16, 8, 4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epsilon in np.arange(0.6, 0.9, 0.01):
            trim(network, X, epsilon=epsilon, tol=0.1, scheme="parallel")
    assert not [w for w in caught if "errors in front" in str(w.message)]


@pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")
@pytest.mark.parametrize("options", [{"epsilon": 0.05}, {"sparsity": 0.5}])
@pytest.mark.parametrize(
    ("data", "different"),
    [
        (lambda X: X[:1], 1),
        (lambda X: 0 * X, 1),
        (lambda X: np.tile(X[:5], (40, 1)), 5),  # copies are no more samples
        (lambda X: X[:12], 12),
    ],
)
def test_few_different_samples_are_told(X: Array, data, different: int, options) -> None:
    network = random_network(np.random.default_rng(0), 16, 12, 4)
    with pytest.warns(nettrim.CalibrationWarning, match="16 inputs|17 inputs") as caught:
        result = trim(network, data(X), **options)
    assert sum(w.category is nettrim.CalibrationWarning for w in caught) == 1
    assert result.layers[0].active_rows <= different
    assert "sparse without meaning: " in str(result)


def test_active_rows_are_counted(X: Array) -> None:
    network = random_network(np.random.default_rng(0), 16, 12, 4)
    result = trim(network, X, epsilon=0.1)
    active = network.layers[0].forward(X) > 0
    assert result.layers[0].active_rows == int(np.median(active.sum(axis=0)))
    assert result.layers[1].active_rows == len(X)  # linear: every row counts
    assert "without meaning" not in str(result)


@pytest.mark.parametrize("options", [{"epsilon": 0.1}, {"sparsity": 0.5}])
def test_the_times_add_up(X: Array, options) -> None:
    result = trim(random_network(np.random.default_rng(0), 16, 40, 30, 4), X, **options)
    told = sum(layer.seconds for layer in result.layers) + sum(result.stages.values())
    assert told == pytest.approx(result.seconds, abs=0.05, rel=0.1)
    assert min(result.stages.values()) >= 0
    stages = {"tuning", "sharing", "signals"} if "sparsity" in options else {"signals"}
    assert set(result.stages) == stages
    lines = str(result).splitlines()
    assert stages <= {line.split()[0] for line in lines}
