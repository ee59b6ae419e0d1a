"""Networks that become smaller and compute the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import event, given, settings
from numpy.typing import NDArray

import nettrim
from nettrim import (
    BatchNorm,
    Conv1D,
    Conv2D,
    Dense,
    Flatten,
    MaxPool,
    Network,
    Residual,
)
from nettrim.models.network import Layer
from nettrim.models.network.interval_bounds import input_range, output_range
from nettrim.models.network.shrink import shrink
from support.networks import Array, outputs, random_network
from support.random_chains import CHAINS, Shape, cases

TOLERANCE = {np.float64: 1e-12, np.float32: 1e-6}


def n_weights(network: Network) -> int:
    return sum(layer.affine.weights.size for layer in network.prunable_layers())


def assert_same(small: Network, network: Network, X: Array, tol: float = 1e-12) -> None:
    expected = network.predict(X)
    scale = max(float(np.abs(expected).max()), 1.0)
    np.testing.assert_allclose(small.predict(X), expected, rtol=0, atol=tol * scale)


@pytest.mark.parametrize("shape", sorted(CHAINS), ids=str)
@settings(max_examples=60)
@given(data=st.data())
def test_shrunk_networks_compute_the_same(shape: Shape, data: st.DataObject) -> None:
    case = data.draw(cases(shape))
    network, X = case.drawn()
    small = shrink(network)
    assert_same(small, network, X, TOLERANCE[case.dtype])
    assert n_weights(small) <= n_weights(network)
    assert [layer.kind for layer in small.layers] == [layer.kind for layer in network.layers]
    dtypes = {layer.affine.weights.dtype for layer in small.prunable_layers()}
    assert dtypes == {np.dtype(case.dtype)}
    again = shrink(small)
    assert repr(again) == repr(small)
    np.testing.assert_array_equal(again.predict(X), small.predict(X))
    event(f"smaller: {n_weights(small) < n_weights(network)}")


@pytest.mark.parametrize("shape", sorted(CHAINS), ids=str)
@settings(max_examples=60)
@given(data=st.data())
def test_ranges_hold(shape: Shape, data: st.DataObject) -> None:
    """Interval arithmetic: every unit stays within its range."""
    network, X = data.draw(cases(shape)).drawn()
    signal = input_range(network.layers)
    for layer, values in zip(network.layers, outputs(network, X), strict=True):
        signal = output_range(layer, signal)
        axis = 1 if signal.channels and not signal.flat else -1
        units = np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis])
        n = units.shape[1] // len(signal.low)
        low, high = (np.repeat(bound, n) for bound in (signal.low, signal.high))
        slack = 1e-12 * (1 + np.abs(units))
        assert (units >= low - slack).all()
        assert (units <= high + slack).all()


# --- what goes --------------------------------------------------------------------------------


def test_units_nobody_reads_go_back_to_the_inputs(rng: np.random.Generator) -> None:
    """A unit that only unread units read is not read either."""
    first, second, last = (layer.weights.copy() for layer in random_network(rng, 5, 6, 4, 3).layers)  # type: ignore[attr-defined]
    last[2] = 0  # nobody reads the third unit of the second layer,
    second[1, [0, 1, 3]] = 0  # which alone reads the second of the first
    network = Network([Dense(first), Dense(second), Dense(last, activation="linear")])
    small = shrink(network)
    assert [layer.shape for layer in small.prunable_layers()] == [(5, 5), (5, 3), (3, 3)]
    assert_same(small, network, rng.standard_normal((20, 5)))


def test_constants_run_forward(rng: np.random.Generator) -> None:
    """A unit that only constants reach is a constant; both end in a bias that was not there."""
    first, second, last = (layer.weights.copy() for layer in random_network(rng, 5, 6, 4, 3).layers)  # type: ignore[attr-defined]
    first[:, 1] = 0
    second[[0, 2, 3, 4, 5], 3] = 0
    second[1, 3] = 2.0
    bias = rng.standard_normal(6)
    bias[1] = 1.5
    network = Network([Dense(first, bias), Dense(second), Dense(last, activation="linear")])
    small = shrink(network)
    assert [layer.shape for layer in small.prunable_layers()] == [(5, 5), (5, 3), (3, 3)]
    np.testing.assert_allclose(small.layers[2].bias, 3.0 * last[3], rtol=1e-15)  # type: ignore[attr-defined]
    assert_same(small, network, rng.standard_normal((20, 5)))


def test_signs_alone_can_silence_a_unit(rng: np.random.Generator) -> None:
    """Behind a ReLU nothing is negative: negative weights and no bias give zero."""
    first, second, last = (layer.weights.copy() for layer in random_network(rng, 5, 6, 4, 3).layers)  # type: ignore[attr-defined]
    second[:, 2] = -np.abs(second[:, 2])
    for activation, n_units in (("relu", 3), ("linear", 4)):
        layers = [Dense(first, activation=activation), Dense(second), Dense(last)]
        small = shrink(Network(layers))
        assert small.layers[1].n_outputs == n_units
        assert_same(small, Network(layers), rng.standard_normal((20, 5)))


def test_one_unit_stays_of_a_dead_layer(rng: np.random.Generator) -> None:
    """An output that depends on no input needs nothing of the layers in front."""
    first, _ = random_network(rng, 5, 6, 7).layers
    constants = Dense(np.zeros((6, 4)), [1.0, 2.0, -1.0, 0.0])
    network = Network([first, constants, Dense(rng.standard_normal((4, 2)), activation="linear")])
    small = shrink(network)
    assert [layer.shape for layer in small.prunable_layers()] == [(5, 1), (1, 1), (1, 2)]
    assert all(not layer.affine.weights.any() for layer in small.prunable_layers())
    assert_same(small, network, rng.standard_normal((20, 5)))


@pytest.mark.parametrize(
    ("constant", "padding", "n_channels"),
    [(0.0, 1, 3), (2.0, 0, 3), (2.0, 1, 4), (2.0, "same", 4)],
)
def test_constant_channels_stay_in_front_of_padding(
    rng: np.random.Generator, constant: float, padding: Any, n_channels: int
) -> None:
    """What is padded is zero, so another constant is none at the border."""
    kernels = rng.standard_normal((4, 2, 3, 3))
    kernels[1] = 0
    reader = Conv2D(rng.standard_normal((2, 4, 3, 3)), padding=padding)
    network = Network([Conv2D(kernels, [1.0, constant, 0.0, -1.0]), reader])
    small = shrink(network)
    assert len(small.layers[0].weights) == n_channels  # type: ignore[attr-defined]
    assert_same(small, network, rng.standard_normal((3, 2, 8, 9)))


def test_channels_go_with_their_positions_behind_flatten(rng: np.random.Generator) -> None:
    kernels = rng.standard_normal((4, 1, 3, 3))
    kernels[2] = 0
    reader = rng.standard_normal((4 * 6, 5))
    reader[:6] = 0
    norm = BatchNorm(*rng.random((4, 4)))
    network = Network([Conv2D(kernels, rng.random(4)), norm, MaxPool(2), Flatten(), Dense(reader)])
    small = shrink(network)
    assert [layer.shape for layer in small.prunable_layers()] == [(9, 2), (12, 5)]
    assert_same(small, network, rng.standard_normal((3, 1, 6, 8)))


def test_depthwise_convolutions_are_no_obstacle(rng: np.random.Generator) -> None:
    """A channel whose depthwise kernel is zero is a constant behind it, and goes in all three."""
    depthwise = rng.standard_normal((5, 1, 3, 3))
    depthwise[[1, 4]] = 0
    reader = Conv2D(rng.standard_normal((3, 5, 1, 1)))
    between = Conv2D(depthwise, rng.standard_normal(5), groups=5, padding=1)
    network = Network([Conv2D(rng.standard_normal((5, 2, 3, 3))), between, reader])
    small = shrink(network)
    assert repr(small.layers[1]) == "Conv2D(3 -> 3, 3x3, 3 groups, relu)"
    assert [layer.shape for layer in small.prunable_layers()] == [(18, 3), (9, 3), (3, 3)]
    assert_same(small, network, rng.standard_normal((3, 2, 8, 9)))


def test_groups_stay_equally_large(rng: np.random.Generator) -> None:
    """Three dead channels in one group and one in the other: one goes of each."""
    kernels = rng.standard_normal((8, 2, 3, 3))
    kernels[[0, 1, 3, 6]] = 0
    reader = Conv2D(rng.standard_normal((4, 4, 2, 2)), groups=2)
    network = Network([Conv2D(kernels, rng.standard_normal(8)), reader])
    small = shrink(network)
    assert [layer.shape for layer in small.prunable_layers()] == [(18, 6), (12, 4)]
    assert_same(small, network, rng.standard_normal((3, 2, 8, 9)))


def test_residual_sections_shrink_inside(rng: np.random.Generator) -> None:
    inner, outer = rng.standard_normal((6, 8)), rng.standard_normal((8, 6))
    inner[:, :3] = 0
    outer[:, 0] = 0  # of a sum: the unit stays
    section = Residual([Dense(inner), Dense(outer, activation="linear")])
    first = rng.standard_normal((4, 6))
    first[:, 0] = 0
    network = Network([Dense(first), section, Dense(rng.standard_normal((6, 2)))])
    small = shrink(network)
    shapes = [layer.shape for layer in small.prunable_layers()]
    assert shapes == [(4, 6), (6, 5), (5, 6), (6, 2)]
    assert_same(small, network, rng.standard_normal((20, 4)))


class Mixing(Layer):
    """A layer kind nettrim knows nothing of, which mixes units."""

    kind = "mixing"

    def lipschitz(self, shape: Shape) -> float:
        return 1.0

    def forward(self, X: Array) -> Array:
        return X[:, ::-1] + 0.0

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Mixing:
        return cls()


def test_units_next_to_unknown_layers_stay(rng: np.random.Generator) -> None:
    weights = rng.standard_normal((5, 4))
    weights[:, 1] = 0
    reader = rng.standard_normal((4, 3))
    reader[0] = 0
    network = Network([Dense(weights), Mixing(), Dense(reader)])
    assert repr(shrink(network)) == repr(network)


def test_dense_layers_on_sequences_keep_what_another_axis_reads(rng: np.random.Generator) -> None:
    """Units on the last axis are no channels."""
    weights = rng.standard_normal((6, 4))
    weights[:, 1] = 0
    kernels = rng.standard_normal((2, 3, 2))
    kernels[:, 1] = 0
    layers = [Conv1D(np.ones((3, 1, 1))), Dense(weights, np.ones(4)), Conv1D(kernels)]
    X = rng.standard_normal((5, 1, 6))
    small = shrink(Network(layers))
    assert repr(small) == repr(Network(layers))
    behind_dense = [*layers[:2], Dense(rng.standard_normal((4, 2)))]
    small = shrink(Network(behind_dense))
    assert small.layers[1].n_outputs == 3
    assert_same(small, Network(behind_dense), X)


@pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")
def test_trimmed_networks_shrink(rng: np.random.Generator) -> None:
    network, X = random_network(rng, 12, 30, 20, 4), rng.standard_normal((150, 12))
    result = nettrim.trim(network, X, epsilon=0.7, progress=False)
    small = shrink(result.model)
    assert n_weights(small) < n_weights(network)
    assert_same(small, result.model, X)


def test_only_networks_shrink() -> None:
    with pytest.raises(TypeError, match=r"^network must be a nettrim\.Network, got ndarray"):
        shrink(np.eye(2))  # type: ignore[arg-type]
