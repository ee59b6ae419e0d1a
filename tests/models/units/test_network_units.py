"""Units of networks: which can go, and networks without them."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import event, given, settings
from numpy.typing import NDArray

from nettrim import (
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    Network,
    ReLU,
    Residual,
)
from nettrim.models.network.steps import _Plain
from nettrim.models.network.units import find_units, keep_units
from nettrim.models.units.unit_map import UnitMap
from support.networks import Array
from support.random_chains import CHAINS, Shape, cases


def without_reading(network: Network, units: UnitMap, kept: NDArray[np.bool_]) -> Network:
    """The network whose layers have no weights on the units that are not kept."""
    positions = {view.name: k for k, view in enumerate(network.prunable_layers())}
    weights = {}
    for layer in units.layers:
        affine = network.prunable_layers()[positions[layer.layer]].affine
        gone = ~np.append(kept, True)[layer.features]
        changed = affine.weights.copy()
        changed[gone] = 0
        weights[positions[layer.layer]] = affine._replace(weights=changed)
    return network.with_weights(weights)


def drawn_mask(units: UnitMap, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Some of the units, at least one of every signal."""
    kept = rng.random(units.n_units) < 0.5
    for signal in units.signals:
        kept[rng.choice(signal.units)] = True
    return kept


def cut(network: Network, X: Array, seed: int = 0) -> tuple[Network, Network, UnitMap]:
    """A network without some units, one that does not read them, and all that could go."""
    units = find_units(network, X)
    kept = drawn_mask(units, np.random.default_rng(seed))
    expected = without_reading(network, units, kept)
    return keep_units(expected, units, kept), expected, units


def assert_same(small: Network, expected: Network, X: Array, tol: float = 1e-12) -> None:
    values = expected.predict(X)
    scale = max(float(np.abs(values).max()), 1.0)
    np.testing.assert_allclose(small.predict(X), values, rtol=0, atol=tol * scale)


@pytest.mark.parametrize("shape", sorted(CHAINS), ids=str)
@settings(max_examples=100)
@given(data=st.data())
def test_smaller_networks_compute_what_is_read(shape: Shape, data: st.DataObject) -> None:
    case = data.draw(cases(shape))
    network, X = case.drawn()
    small, expected, units = cut(network, X, case.seed)
    assert_same(small, expected, X, 1e-12 if case.dtype is np.float64 else 1e-6)
    assert small.predict(X).shape == network.predict(X).shape
    event(f"signals: {min(len(units.signals), 3)}")


def test_costs_are_those_of_the_network() -> None:
    rng = np.random.default_rng(0)
    network = Network(
        [
            Conv2D(rng.standard_normal((6, 3, 3, 3)), np.zeros(6), padding=1),
            MaxPool(2),
            Flatten(),
            Dense(rng.standard_normal((54, 5)), np.zeros(5)),
            Dense(rng.standard_normal((5, 2)), activation="linear"),
        ]
    )
    small, _, units = cut(network, rng.standard_normal((2, 3, 6, 6)))
    whole = np.ones(units.n_units, dtype=bool)
    assert units.parameters(whole) == 6 * 27 + 6 + 54 * 5 + 5 + 10
    assert units.operations(whole) == 36 * 6 * 27 + 54 * 5 + 10
    kept = drawn_mask(units, np.random.default_rng(0))
    sizes = [layer.affine.weights.size for layer in small.prunable_layers()]
    biases = [
        0 if (b := layer.affine.bias) is None else b.size for layer in small.prunable_layers()
    ]
    assert units.parameters(kept) == sum(sizes) + sum(biases)
    assert units.operations(kept) == 36 * sizes[0] + sizes[1] + sizes[2]


def test_sums_tie_units() -> None:
    rng = np.random.default_rng(1)
    network = Network(
        [
            Conv2D(rng.standard_normal((4, 1, 3, 3)), padding=1),
            Residual(
                [
                    Conv2D(rng.standard_normal((6, 4, 3, 3)), padding=1),
                    Conv2D(rng.standard_normal((4, 6, 1, 1)), activation="linear"),
                    BatchNorm(rng.standard_normal(4), np.ones(4)),
                ]
            ),
            ReLU(),
            GlobalAveragePool(),
            Dense(rng.standard_normal((4, 3)), activation="linear"),
        ]
    )
    X = rng.standard_normal((3, 1, 5, 5))
    small, expected, units = cut(network, X, 3)
    assert {signal.name: len(signal.units) for signal in units.signals} == {
        "conv2d1": 4,
        "residual2.conv2d1": 6,
    }
    assert small.layers[0].weights.shape[0] == small.layers[1].body[1].weights.shape[0] < 4
    assert_same(small, expected, X)


def test_depthwise_convolutions_pass_units_on() -> None:
    rng = np.random.default_rng(2)
    network = Network(
        [
            Conv2D(rng.standard_normal((8, 1, 3, 3)), rng.standard_normal(8), padding=1),
            Conv2D(rng.standard_normal((8, 1, 3, 3)), rng.standard_normal(8), groups=8),
            Conv2D(rng.standard_normal((5, 8, 1, 1)), rng.standard_normal(5)),
            Flatten(),
            Dense(rng.standard_normal((45, 2)), activation="linear"),
        ]
    )
    X = rng.standard_normal((3, 1, 5, 5))
    small, expected, units = cut(network, X, 4)
    assert [signal.name for signal in units.signals] == ["conv2d1", "conv2d3"]
    assert small.layers[1].groups == len(small.layers[0].weights) < 8
    assert_same(small, expected, X)


def test_what_must_stay_is_told() -> None:
    class Sort(_Plain):
        kind = "sort_for_units"

        def forward(self, X: Array) -> Array:
            return np.sort(X, axis=-1)

    rng = np.random.default_rng(3)
    grouped = Conv2D(rng.standard_normal((4, 2, 1, 1)), groups=2)
    network = Network(
        [
            Conv2D(rng.standard_normal((4, 1, 1, 1))),
            grouped,
            Flatten(),
            Dense(rng.standard_normal((4, 6))),
            Sort(),
            Dense(rng.standard_normal((6, 2)), activation="linear"),
        ]
    )
    units = find_units(network, rng.standard_normal((2, 1, 1, 1)))
    assert units.n_units == 0
    assert units.signals == ()
    assert units.left_out == {
        "conv2d1": "conv2d2 reads them in groups",
        "conv2d2": "they are made in groups",
        "dense4": "what sort_for_units5 does with them is not known",
        "dense6": "they are the model's output",
    }
