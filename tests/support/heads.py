"""A model view of the tests' own: a body with two heads, and things that are left alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nettrim import Dense, Network, Untouched
from nettrim.models.layer_view import Affine, LayerView, Signal
from support.networks import Array

TABLE = Untouched("table.weight", (50, 8), 400, "embedding")


@dataclass(frozen=True)
class TwoHeads:
    """``body`` is a ReLU layer, ``heads`` are two linear layers on its output.

    Attributes
    ----------
    gain : float
        What the framework multiplies the first output by when it runs the model itself; 0: it
        fails.
    """

    body: Dense
    heads: tuple[Dense, Dense]
    gain: float = 1.0

    @classmethod
    def random(cls, scale: float = 1.0, gain: float = 1.0) -> TwoHeads:
        """Return a model whose second output is so many times as large as the first one."""
        rng = np.random.default_rng(0)
        heads = (rng.standard_normal((20, 4)), scale * rng.standard_normal((20, 3)))
        body = Dense(rng.standard_normal((12, 20)), rng.standard_normal(20))
        return cls(body, (Dense(heads[0], None, "linear"), Dense(heads[1], None, "linear")), gain)

    @property
    def layers(self) -> list[Dense]:
        return [self.body, *self.heads]

    def prunable_layers(self) -> list[LayerView]:
        views = [Network([layer]).prunable_layers()[0] for layer in self.layers]
        names = ["body", "scores", "boxes"]
        return [replace(view, name=name) for view, name in zip(views, names, strict=True)]

    def outputs(self) -> list[str]:
        return ["scores", "boxes"]

    def untouched(self) -> list[Untouched]:
        return [TABLE]

    def signals(self, X: Array, weights: Mapping[int, Affine]) -> Iterator[Signal]:
        yield Signal(X)
        hidden = self._layer(0, weights).forward(X)
        yield Signal(hidden, {0: 1.0})
        yield Signal(hidden, {0: 1.0})
        yield Signal(self._layer(1, weights).forward(hidden), {1: 1.0})
        yield Signal(self._layer(2, weights).forward(hidden), {2: 1.0})

    def with_weights(self, weights: Mapping[int, Affine]) -> TwoHeads:
        body, scores, boxes = (self._layer(k, weights) for k in range(3))
        return replace(self, body=body, heads=(scores, boxes))

    def run(self, model: TwoHeads, X: Array) -> list[Any]:
        if not self.gain:
            raise RuntimeError("out of memory")
        *_, scores, boxes = model.signals(X, {})
        return [self.gain * scores.values, boxes.values.astype(np.float32)]

    def _layer(self, position: int, weights: Mapping[int, Affine]) -> Dense:
        layer = self.layers[position]
        return layer.with_affine(weights[position]) if position in weights else layer
