"""What errors of a layer's signals do to a network's outputs."""

import numpy as np
import pytest

from nettrim.base.stopwatch import Stopwatch
from nettrim.models.network import Conv2D, Dense, Flatten, Network
from nettrim.models.opened_model import OpenedModel
from nettrim.trimming.methods.method import RowSample, Run
from nettrim.trimming.methods.sensitivity import SHRINKAGE, Sensitivity
from nettrim.trimming.progress import make_reporter


def root_of(net, X, position):
    opened = OpenedModel.on(net, X)
    with make_reporter(False, 1) as report:
        run = Run(opened, [position], [0], RowSample(20_000, 0), 1, report, Stopwatch())
        (signal,) = [s for k, s in enumerate(net.signals(X, {})) if k == position]
        layer = opened.layers[position]
        inputs = layer.affine.inputs(layer.unfold(signal.values))
        return Sensitivity.of(run).root(position, layer.affine, inputs)


def shrunk(matrix):
    return (1 - SHRINKAGE) * matrix + SHRINKAGE * np.trace(matrix) / len(matrix) * np.eye(
        len(matrix)
    )


@pytest.mark.parametrize("has_bias", [True, False])
def test_signals_in_front_of_linear_layers_count_as_their_images(has_bias):
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(50), rng.standard_normal((50, 4))])
    bias = rng.standard_normal(6) if has_bias else None
    behind = rng.standard_normal((6, 3))
    net = Network(
        [
            Dense(rng.standard_normal((5, 6)), bias, activation="linear"),
            Dense(behind, rng.standard_normal(3), activation="linear"),
        ]
    )
    root = root_of(net, X, 0)
    expected = shrunk(behind @ behind.T) / np.linalg.norm(net.predict(X)) ** 2
    np.testing.assert_allclose(root @ root, expected, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(root, root.T, rtol=1e-9, atol=1e-15)


def test_channels_count_for_all_rows_of_a_sample_together():
    rng = np.random.default_rng(0)
    X = np.ones((20, 1, 3, 3))  # so that a kernel alone can shift its channel
    behind = np.repeat(rng.standard_normal((4, 1, 2)), 9, axis=1).reshape(36, 2)
    kernels, bias = rng.standard_normal((4, 1, 1, 1)), rng.standard_normal(4)
    net = Network(
        [
            Conv2D(kernels, bias, activation="linear"),
            Flatten(),
            Dense(behind, activation="linear"),
        ]
    )
    root = root_of(net, X, 0)
    per_channel = behind.reshape(4, 9, 2).sum(axis=1)
    samples, rows = 20, 20 * 9
    expected = shrunk(per_channel @ per_channel.T) * samples / rows
    expected /= np.linalg.norm(net.predict(X)) ** 2
    np.testing.assert_allclose(root @ root, expected, rtol=1e-5, atol=1e-8)


def test_signals_that_reach_no_output_have_no_root():
    rng = np.random.default_rng(0)
    net = Network(
        [
            Dense(rng.standard_normal((3, 4)), np.zeros(4)),
            Dense(np.zeros((4, 2)), np.ones(2), activation="linear"),
        ]
    )
    assert root_of(net, rng.standard_normal((10, 3)), 0) is None


def test_fixed_biases_change_where_the_model_takes_others():
    rng = np.random.default_rng(0)
    conv = Conv2D(rng.standard_normal((2, 1, 1, 1)), rng.standard_normal(2))
    net = Network([conv, Flatten(), Dense(np.ones((2, 1)), activation="linear")])
    layer = net.prunable_layers()[0].with_free_bias
    stacked = rng.standard_normal((2, 2))
    np.testing.assert_array_equal(layer.affine.stacked, [conv.weights.ravel(), conv.bias])
    changed = net.with_weights({0: conv.affine.replaced(stacked)}).layers[0]
    np.testing.assert_array_equal(changed.weights.ravel(), stacked[0])
    np.testing.assert_array_equal(changed.bias, stacked[1])
