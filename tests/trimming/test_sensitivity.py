"""What errors of a layer's signals do to a network's outputs."""

from dataclasses import replace

import numpy as np
import pytest

from nettrim.base.stopwatch import Stopwatch
from nettrim.budget.trace import TYPICAL
from nettrim.models.network import Conv2D, Dense, Flatten, Network
from nettrim.models.opened_model import OpenedModel
from nettrim.trimming.methods.judge import Judge
from nettrim.trimming.methods.method import RowSample, Run
from nettrim.trimming.methods.removal_curves import RemovalCurves
from nettrim.trimming.methods.sensitivity import SHRINKAGE, Sensitivity
from nettrim.trimming.methods.shared_budget import SharedBudget
from nettrim.trimming.progress import make_reporter


def run_on(net, X, position=0):
    opened = OpenedModel.on(net, X)
    with make_reporter(False, 1) as report:
        return Run(opened, [position], [0], RowSample(20_000, 0), 1, report, Stopwatch())


def asked(net, X, position):
    """What is asked of the sensitivity to a layer."""
    (signal,) = [s for k, s in enumerate(net.signals(X, {})) if k == position]
    layer = net.prunable_layers()[position]
    return position, layer.affine, layer.affine.inputs(layer.unfold(signal.values))


def root_of(net, X, position):
    return Sensitivity.of(run_on(net, X, position)).root(*asked(net, X, position))


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


@pytest.fixture
def classifier():
    """Two linear layers, and samples."""
    rng = np.random.default_rng(0)
    first = Dense(rng.standard_normal((5, 6)), rng.standard_normal(6), activation="linear")
    second = Dense(rng.standard_normal((6, 3)), rng.standard_normal(3), activation="linear")
    return Network([first, second]), rng.standard_normal((50, 5))


def test_signals_by_themselves(classifier):
    net, X = classifier
    counts = Sensitivity.of(run_on(net, X)).by_signal(*asked(net, X, 0))
    behind, size = net.layers[1].weights, np.linalg.norm(net.predict(X))
    np.testing.assert_allclose(counts, 50 * (behind**2).sum(axis=1) / size**2, rtol=1e-5)


def test_answers_move_with_the_margins_of_the_closest(classifier):
    net, X = classifier
    ranked = np.sort(net.predict(X), axis=1)
    margins = ranked[:, -1] - ranked[:, -2]
    closest = np.argsort(margins)[:10]  # a fifth
    judge = Judge.on(run_on(net, X), 10, by_answers=True)
    counts = Sensitivity(judge).by_signal(*asked(net, X, 0))
    expected, soft = np.zeros(6), np.median(margins[closest])
    for row in closest:
        second, first = np.argsort(net.predict(X[row : row + 1])[0])[-2:]
        behind = net.layers[1].weights[:, first] - net.layers[1].weights[:, second]
        expected += behind**2 / (margins[row] ** 2 + soft**2) / 10
    np.testing.assert_allclose(counts, expected, rtol=1e-5)
    assert judge.effect({}) == 0


def test_outputs_that_no_answer_hangs_on_go_first():
    """Of two outputs alike, one moves what is added to all classes, and so no answer."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 8))
    weights = rng.standard_normal((8, 4))
    behind = np.column_stack([rng.standard_normal((2, 3)).T, 3 * np.ones((3, 2))]).T
    net = Network(
        [Dense(weights, np.zeros(4)), Dense(behind, np.arange(3) / 9, activation="linear")]
    )
    known = {}
    for by_answers in (False, True):
        run = replace(run_on(net, X), chosen=[0, 1], by_answers=by_answers)
        curves = RemovalCurves(run, None, TYPICAL)
        SharedBudget(run, curves, 0.5, None, "network", 0.0, None).split()
        losses = curves.known[0].groups[0].elimination.losses
        sums = np.where(np.isfinite(losses), losses, 0).sum(axis=1)  # a bias stays
        known[by_answers] = sums[2:].sum() / sums[:2].sum()
    assert known[True] < 0.01 * known[False]
