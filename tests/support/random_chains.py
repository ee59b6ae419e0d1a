"""Random chains of all kinds of layers, of which most weights are zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import numpy as np
from numpy.typing import NDArray

from nettrim import (
    AveragePool,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    Network,
    ReLU,
    Residual,
)
from nettrim.models.network import Layer
from support.networks import Array

Shape = tuple[int, ...]


class Sparse:
    """Makes random layers of which most weights, and some biases, are zero."""

    def __init__(self, seed: int, share: float, dtype: type) -> None:
        self.rng = np.random.default_rng(seed)
        self.share, self.dtype = share, dtype

    def weights(self, *shape: int) -> NDArray[Any]:
        values = self.rng.standard_normal(shape) / np.sqrt(1 + self.share * shape[0])
        kept = self.rng.random(shape) < self.share
        columns = self.rng.random(shape[-1]) < 0.7  # of dense layers: outputs that nothing reaches
        return (values * kept * columns).astype(self.dtype)

    def bias(self, n: int) -> NDArray[Any] | None:
        values = self.rng.standard_normal(n) * (self.rng.random(n) < 0.7)
        return None if self.rng.random() < 0.3 else values.astype(self.dtype)

    def one_of(self, *choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def activation(self) -> str:
        return str(self.one_of("relu", "relu", "linear"))

    def dense(self, shape: Shape) -> Layer:
        n = self.one_of(1, 3, 6)
        return Dense(self.weights(shape[-1], n), self.bias(n), self.activation())

    def convolution(self, shape: Shape) -> Layer:
        groups = self.one_of(*(g for g in (1, 1, 2, 3, shape[0]) if shape[0] % g == 0))
        n, kernel = groups * self.one_of(1, 2, 3), self.one_of(1, 2, 3)
        kind = Conv1D if len(shape) == 2 else Conv2D
        weights = self.weights(n, shape[0] // groups, *(kernel,) * (len(shape) - 1))
        weights[self.rng.random(n) < 0.4] = 0
        weights[:, self.rng.random(weights.shape[1]) < 0.2] = 0
        return kind(
            weights,
            self.bias(n),
            padding=self.one_of(0, 1, "same"),
            stride=self.one_of(1, 1, 2),
            dilation=self.one_of(1, 1, 2),
            groups=groups,
            activation=self.activation(),
        )

    def batch_norm(self, shape: Shape) -> Layer:
        mean, scale, shift = self.rng.standard_normal((3, shape[0]))
        scale *= self.rng.random(shape[0]) < 0.8
        return BatchNorm(mean, self.rng.random(shape[0]) + 0.5, scale, shift)

    def max_pool(self, shape: Shape) -> Layer:
        return MaxPool((2,) * (len(shape) - 1), padding=self.one_of(0, 1))

    def average_pool(self, shape: Shape) -> Layer:
        return AveragePool((2,) * (len(shape) - 1), 1, padding=self.one_of(0, 1))

    def residual(self, shape: Shape) -> Layer:
        if len(shape) == 1:
            inner = Dense(self.weights(shape[0], 4), self.bias(4))
            return Residual(
                [inner, Dense(self.weights(4, shape[0]), self.bias(shape[0]), "linear")]
            )
        kind, ones = (Conv1D, (1,)) if len(shape) == 2 else (Conv2D, (1, 1))
        inner = kind(self.weights(4, shape[0], *ones), self.bias(4))
        body = [inner, kind(self.weights(shape[0], 4, *ones), self.bias(shape[0]))]
        return Residual(body, self.one_of([], [ReLU()]))

    def layer(self, kind: str, shape: Shape) -> Layer | None:
        """A layer for samples of a shape; None if the kind does not fit."""
        is_image = len(shape) > 1
        if kind in ("convolution", "max_pool", "average_pool", "global") and not is_image:
            return None
        plain = {"relu": ReLU, "flatten": Flatten, "global": GlobalAveragePool}
        if kind in plain:
            return plain[kind]()
        made: Layer = getattr(self, kind)(shape)
        return made

    def network(self, shape: Shape, kinds: Sequence[str]) -> Network:
        layers: list[Layer] = []
        for kind in kinds:
            layer = self.layer(kind, shape)
            if layer is None:
                continue
            try:
                after = layer.forward(np.zeros((1, *shape))).shape[1:]
            except ValueError:  # the kernel is larger than what has become of the image
                continue
            shape = after
            layers.append(layer)
        return Network([*layers, Dense(self.weights(shape[-1], 2), self.bias(2), "linear")])


CHAINS = {
    (7,): ("dense", "dense", "dense", "relu", "batch_norm", "flatten", "residual"),
    (3, 9): ("convolution", "convolution", "convolution", "batch_norm", "max_pool", "relu"),
    (3, 8, 7): ("convolution", "convolution", "convolution", "batch_norm", "residual"),
}
ENDS = ("flatten", "global", "flatten", "dense", "average_pool", "max_pool", "residual", "relu")


@dataclass(frozen=True)
class Case:
    """A random network, in a few words."""

    shape: Shape
    kinds: tuple[str, ...]
    share: float
    dtype: type
    seed: int

    def drawn(self) -> tuple[Network, Array]:
        sparse = Sparse(self.seed, self.share, self.dtype)
        return sparse.network(self.shape, self.kinds), sparse.rng.standard_normal((5, *self.shape))


def cases(shape: Shape) -> st.SearchStrategy[Case]:
    front = st.lists(st.sampled_from(CHAINS[shape]), min_size=1, max_size=6)
    end = st.lists(st.sampled_from(ENDS), max_size=4)
    return st.builds(
        Case,
        shape=st.just(shape),
        kinds=st.builds(lambda a, b: (*a, *b), front, end),
        share=st.sampled_from([0.15, 0.3, 0.5]),
        dtype=st.sampled_from([np.float64, np.float64, np.float32]),
        seed=st.integers(0, 2**32 - 1),
    )
