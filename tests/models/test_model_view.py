"""Views that users write themselves: what they must tell, and what they may leave out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nettrim import Network
from nettrim.models.layer_view import Affine, LayerView, Signal
from nettrim.models.model_view import ModelView
from support.networks import Array, random_network, trim

NETWORK = random_network(np.random.default_rng(0), 6, 8, 3)
X = np.random.default_rng(1).standard_normal((60, 6))


class BoxView(ModelView):
    """A model that is a list with a network in it, whose layers have other names."""

    def __init__(self, model: Sequence[Network], names: Sequence[str] = ("left", "right")) -> None:
        (self.inner,), self.names = model, names

    def prunable_layers(self) -> list[LayerView]:
        layers = self.inner.prunable_layers()
        return [replace(layer, name=name) for name, layer in zip(self.names, layers, strict=True)]

    def signals(self, X: Array, weights: Mapping[int, Affine]) -> Iterator[Signal]:
        return self.inner.signals(X, weights)

    def with_weights(self, weights: Mapping[int, Affine]) -> list[Network]:
        return [self.inner.with_weights(weights)]


class CompleteView(BoxView):
    def view_of(self, model: list[Network]) -> CompleteView:
        return CompleteView(model)


class DuckView:
    """No subclass, and yet a view."""

    def __init__(self, model: Sequence[Network]) -> None:
        view = CompleteView(model)
        self.prunable_layers, self.signals = view.prunable_layers, view.signals
        self.with_weights, self.view_of = view.with_weights, view.view_of


def test_layers_of_one_name_are_refused_by_it() -> None:
    for layers in (None, ["same"], [0]):
        with pytest.raises(ValueError, match=r"^model: .* two prunable layers called 'same'"):
            trim(BoxView([NETWORK], ["same", "same"]), X, epsilon=0.2, layers=layers)


def test_outputs_of_one_name_are_refused_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoxView, "outputs", lambda view: ["y", "y"])
    with pytest.raises(ValueError, match=r"^model: .* two outputs called 'y'"):
        trim(BoxView([NETWORK]), X, epsilon=0.2)


@pytest.mark.parametrize("kind", [CompleteView, DuckView])
def test_the_result_of_a_view_that_knows_its_copies_does_all_that_it_can(
    kind: Any, tmp_path: Path
) -> None:
    result = trim(kind([NETWORK]), X, epsilon=0.2)
    assert [layer.name for layer in result.layers] == ["left", "right"]
    result.report(tmp_path / "page.html")
    result.plot(tmp_path / "weights.png")
    shipped = result.export(tmp_path / "files")
    assert {"sparse.npz", "recipe.json"} <= {file.name for file in shipped.files}
    assert "not written: dense has no file format for a list" in shipped.notes
    before = NETWORK.predict(X).argmax(axis=1)
    accuracy = result.accuracy(X, before)
    assert (accuracy.before, accuracy.n_samples) == (1.0, 60)
    assert accuracy.after == np.mean(result.model[0].predict(X).argmax(axis=1) == before)


def test_what_another_view_lacks_is_said_in_one_sentence(tmp_path: Path) -> None:
    result = trim(BoxView([NETWORK]), X, epsilon=0.2)
    assert "left" in str(result)
    for look in (
        lambda: result.report(tmp_path / "page.html"),
        lambda: result.plot(tmp_path / "weights.png"),
        lambda: result.export(tmp_path / "files"),
        lambda: result.accuracy(X, np.zeros(60, int)),
    ):
        with pytest.raises(TypeError, match=r"^model: BoxView has no view_of\(model\), .* list"):
            look()
    assert list(tmp_path.iterdir()) == []
