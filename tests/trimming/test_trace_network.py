"""Paths of models: work is shared, and every model is what it would be alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim import trace_network
from nettrim.demo import load_digits
from nettrim.trimming.methods import removal_curves
from support.networks import random_network, trim

DIGITS = load_digits()
X, HELD_OUT, LABELS = DIGITS.X[:200], DIGITS.X_test[:100], DIGITS.labels_test[:100]


def trace(**options: Any) -> nettrim.NetworkTrace[Any]:
    return trace_network(DIGITS.network, X, **{"progress": False, "n_threads": 1, **options})


@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_models_of_a_path_by_sparsity_are_those_of_trim_to_the_last_bit(scheme: str) -> None:
    traced = trace(sparsities=[0.9, 0.6], scheme=scheme)
    assert [point.level for point in traced.points] == [0.6, 0.9]
    for level in (0.6, 0.9):
        alone = trim(DIGITS.network, X, sparsity=level, scheme=scheme, n_threads=1)
        for a, b in zip(traced.at(level).model.layers, alone.model.layers, strict=True):
            np.testing.assert_array_equal(a.weights, b.weights)
        assert traced.at(level).recipe["arguments"] == alone.recipe["arguments"]


def test_layers_are_traced_and_tuned_once_for_bold_sparsities_once_for_others(monkeypatch) -> None:
    calls = dict.fromkeys(("trace_elimination", "tune_regularisation"), 0)
    for name in calls:
        whole = getattr(removal_curves, name)

        def counted(*arguments: Any, whole: Any = whole, name: str = name) -> Any:
            calls[name] += 1
            return whole(*arguments)

        monkeypatch.setattr(removal_curves, name, counted)
    trace(sparsities=[0.6, 0.7, 0.8, 0.9])
    assert calls == {"trace_elimination": 6, "tune_regularisation": 6}  # of three layers


def test_few_samples_are_told_once_for_all_models() -> None:
    with pytest.warns(nettrim.CalibrationWarning) as told:
        trace_network(DIGITS.network, X[:40], epsilons=[0.05, 0.1, 0.3], progress=False)
    assert [type(warning.message) for warning in told].count(nettrim.CalibrationWarning) == 1


def test_models_of_a_path_by_epsilon_are_optimal_as_alone() -> None:
    traced = trace(epsilons=[0.05, 0.06])
    for level in (0.05, 0.06):
        own, alone = traced.at(level), trim(DIGITS.network, X, epsilon=level, n_threads=1)
        assert own.converged
        first, other = own.layers[0], alone.layers[0]
        assert first.l1_after == pytest.approx(other.l1_after, rel=2e-4)


def test_what_is_told_of_every_model(tmp_path: Path) -> None:
    traced = trace(sparsities=[0.5, 0.95], held_out=HELD_OUT, labels=LABELS)
    careful, bold = traced.points
    original = DIGITS.network.predict(HELD_OUT).argmax(axis=1)
    trimmed = traced.at(0.95).model.predict(HELD_OUT).argmax(axis=1)
    assert bold.flips == pytest.approx(np.mean(original != trimmed))
    assert bold.flips < bold.flips_limit
    assert bold.accuracy == pytest.approx(np.mean(trimmed == LABELS))
    assert traced.original_accuracy == pytest.approx(np.mean(original == LABELS))
    assert (careful.kept, bold.kept) == pytest.approx((0.5, 0.05), abs=1e-3)
    assert careful.error < bold.error <= bold.bound
    assert careful.unseen < bold.unseen
    lines = str(traced).splitlines()
    heading = ["sparsity", "kept", "error", "unseen", "bound", "flips", "at", "most", "accuracy"]
    assert lines[0].split() == heading
    assert "by itself" in lines[-1]
    traced.report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "sparsity 0.95" in page
    assert page.count("<svg") >= 2


@pytest.mark.parametrize("held_out", [None, HELD_OUT])
def test_picture(held_out: np.ndarray | None, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    trace(epsilons=[0.1, 0.2], held_out=held_out).plot(tmp_path / "path.png")
    assert (tmp_path / "path.png").read_bytes().startswith(b"\x89PNG")


def test_a_network_without_decisions(rng: np.random.Generator) -> None:
    network, data = random_network(rng, 6, 5, 1), rng.standard_normal((60, 6))
    options = {"held_out": data[40:], "sparsities": [0.1, 0.3], "progress": False}
    traced = trace_network(network, data[:40], **options)
    assert [point.flips for point in traced.points] == [None, None]
    assert "flips" not in str(traced)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sparsities": []}, "sparsities is empty"),
        ({"epsilons": [0.1], "sparsities": [0.1]}, "sparsities"),
        ({"sparsities": [1.5]}, "sparsities"),
        ({"epsilons": [-1]}, "epsilons"),
        ({"epsilons": 0.1}, "epsilons must be several numbers"),
        ({"labels": LABELS}, "labels"),
        ({"labels": LABELS[:3], "held_out": HELD_OUT}, "labels"),
    ],
)
def test_what_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        trace(**options)


def test_a_level_there_is_no_model_of() -> None:
    with pytest.raises(ValueError, match=r"level: there are models of epsilon \[0.2\], got 0.3"):
        trace(epsilons=[0.2]).at(0.3)


def test_an_interrupt_leaves_the_models_that_are_finished(monkeypatch) -> None:
    whole, calls = nettrim.trimming.methods.to_error.solve_layer, iter(range(100))

    def stop(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 4:  # the second layer of the second model
            raise KeyboardInterrupt
        return whole(*arguments, **options)

    monkeypatch.setattr("nettrim.trimming.methods.to_error.solve_layer", stop)
    traced = trace(epsilons=[0.1, 0.2, 0.3])
    assert traced.interrupted
    assert [point.level for point in traced.points] == [0.1, 0.2]
    assert [result.interrupted for result in traced.results] == [False, True]


@pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")
def test_a_model_that_keeps_nothing_is_drawn(tmp_path: Path) -> None:
    with np.errstate(all="raise"):
        trace(sparsities=[0.5, 1]).plot(tmp_path / "path.png")
    assert (tmp_path / "path.png").stat().st_size > 0


def test_held_out_batches_that_can_be_walked_once() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    data = torch.tensor(rng.standard_normal((90, 6)), dtype=torch.float32)
    labels = model(data[50:]).argmax(1)
    options: dict[str, Any] = {"sparsities": [0.3], "labels": labels, "progress": False}
    once, whole = (
        trace_network(model, data[:50], held_out=held_out, **options)
        for held_out in ((batch for batch in data[50:].split(20)), data[50:])
    )
    assert once.original_accuracy == 1.0
    assert once.points == whole.points
