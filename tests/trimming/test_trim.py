"""Trimming whole networks: the theorems, the bounds, and what the walk does."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from nettrim import Dense, Error, InfeasibleError, Network, Sparsity, TrimResult
from nettrim.trimming.methods.method import LayerPosition
from support.networks import (
    Array,
    Scale,
    assert_bounded,
    distances,
    link_normalised,
    outputs,
    random_network,
    spirals,
    train,
    trim,
)
from support.problems import (
    SECOND_LAYER_EPSILON,
    SECOND_LAYER_OUTPUT_NORM,
    SECOND_LAYER_PAPER,
    SECOND_LAYER_POSITIVE,
    SECOND_LAYER_WEIGHTS_L1,
    two_layers,
)


@pytest.fixture
def network(rng: np.random.Generator) -> Network:
    return random_network(rng, 12, 10, 10, 8, 6)


@pytest.fixture
def X(rng: np.random.Generator) -> Array:
    return rng.standard_normal((100, 12))


# --- theorems -----------------------------------------------------------------------------------


def test_normalisation_with_biases(network: Network, X: Array) -> None:
    unit, factors = link_normalised(network)
    for layer, before, after, factor in zip(
        unit.prunable_layers(), outputs(network, X), outputs(unit, X), factors, strict=True
    ):
        assert np.abs(layer.affine.stacked).sum() == pytest.approx(1.0, rel=1e-12)
        np.testing.assert_allclose(after * factor, before, rtol=1e-9, atol=1e-12)


def normalised_case(rng: np.random.Generator, last: str) -> tuple[Network, Array]:
    """A link-normalised net of four layers with biases, and data that do not die out in it.

    Its signals shrink from layer to layer while the ones that stand for the biases do not; the
    large data keep both comparable, which the solver's pace depends on.
    """
    unit, _ = link_normalised(random_network(rng, 8, 6, 6, 5, 4, last=last, bias=1.0))
    return unit, 1000.0 * rng.standard_normal((100, 8))


@pytest.mark.parametrize("last", ["relu", "linear"])
def test_theorem_1(rng: np.random.Generator, last: str) -> None:
    unit, X = normalised_case(rng, last)
    result = trim(unit, X, epsilon=0.05, scheme="parallel")
    assert result.converged
    assert_bounded(result, X)
    total = 0.0
    for layer in result.layers:
        assert layer.epsilon is not None
        total += layer.epsilon * layer.output_norm
        assert layer.l1_after <= layer.l1_before * (1 + 1e-4)
        assert layer.discrepancy * layer.output_norm <= total * (1 + 1e-3)
        assert layer.bound * layer.output_norm <= total * (1 + 1e-3)
        assert layer.prior_bound * layer.output_norm == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("slack", ["positive", "paper"])
@pytest.mark.parametrize("last", ["relu", "linear"])
def test_theorem_2(rng: np.random.Generator, last: str, slack: str) -> None:
    unit, X = normalised_case(rng, last)
    result = trim(unit, X, epsilon=0.05, gamma=1.1, slack=slack)
    assert result.converged
    assert_bounded(result, X)
    first = 0.05 * result.layers[0].output_norm
    for position, layer in enumerate(result.layers):
        theorem = first * np.sqrt(1.1) ** position
        # Against rounding noise epsilon is not taken below tol, which the theorem does not know.
        assert layer.discrepancy <= theorem / layer.output_norm + 1e-4
        assert layer.bound <= layer.prior_bound * (1 + 1e-3)


def test_bounds_without_normalisation(network: Network, X: Array) -> None:
    parallel = trim(network, X, epsilon=0.1, scheme="parallel")
    cascade = trim(network, X, epsilon=0.1, scheme="cascade")
    for result in (parallel, cascade):
        assert_bounded(result, X)
        assert all(layer.bound <= layer.prior_bound * (1 + 1e-3) for layer in result.layers)
    # The parallel bound is the chain of spectral norms and the layers' own errors.
    arriving = 0.0
    signals = [X, *outputs(network, X)]
    for k, (layer, new) in enumerate(zip(parallel.layers, parallel.model.layers, strict=True)):
        own = np.linalg.norm(new.forward(signals[k]) - signals[k + 1])
        arriving = np.linalg.norm(new.weights, 2) * arriving + own
        assert layer.bound * layer.output_norm == pytest.approx(arriving, rel=1e-6)
    # The cascade's is a property of each layer's own program: far tighter.
    assert cascade.bound < 0.5 * parallel.bound
    assert cascade.layers[0].bound == pytest.approx(0.1, rel=1e-3)
    last = cascade.layers[-1]
    assert last.bound == pytest.approx(last.epsilon, rel=1e-3)


@pytest.mark.parametrize("slack", ["positive", "paper"])
@pytest.mark.parametrize("gamma", [1.0, 1.1])
def test_original_weights_are_feasible_in_every_cascade_program(
    network: Network, X: Array, gamma: float, slack: str
) -> None:
    trimmed = trim(network, X, epsilon=0.1).model
    run: Any = None  # posing a program takes none
    method = Error(0.1, gamma=gamma, slack=slack).method(run, "cascade", None)
    before, after = [X, *outputs(network, X)], [X, *outputs(trimmed, X)]
    for k, layer in enumerate(network.prunable_layers()):
        ball = method.pose(layer, before[k], after[k], LayerPosition(k == 0, k == 3))
        program = ball.program
        Z = program.X @ layer.affine.stacked
        active = program.Y > 0 if layer.activation == "relu" else np.ones_like(Z, dtype=bool)
        upper = 0.0 if program.upper is None else program.upper[~active]
        np.testing.assert_array_equal(program.Y, before[k + 1])
        assert np.linalg.norm((Z - program.Y)[active]) <= ball.epsilon * (1 + 1e-12)
        assert (Z[~active] <= upper).all()


@pytest.mark.parametrize(
    ("slack", "optimum"), [("paper", SECOND_LAYER_PAPER), ("positive", SECOND_LAYER_POSITIVE)]
)
def test_two_layers_with_known_optima(slack: str, optimum: float) -> None:
    first, second = two_layers()
    layers = [Dense(W[:-1], W[-1]) for W in (first.weights, second)]
    result = trim(Network(layers), first.X[:, :-1], epsilon=0.1, gamma=1.1, slack=slack, tol=1e-7)
    report = result.layers[1]
    assert report.epsilon is not None
    assert report.output_norm == pytest.approx(SECOND_LAYER_OUTPUT_NORM, rel=1e-8)
    assert report.epsilon * report.output_norm == pytest.approx(SECOND_LAYER_EPSILON, rel=1e-4)
    assert report.l1_before == pytest.approx(SECOND_LAYER_WEIGHTS_L1, rel=1e-5)
    assert report.l1_after == pytest.approx(optimum, rel=1e-4)


def test_positive_slack_never_costs_l1(X: Array) -> None:
    for seed in range(3):
        unit, _ = link_normalised(random_network(np.random.default_rng(seed), 12, 10, 8))
        positive, paper = (
            trim(unit, X, epsilon=0.1, slack=slack, layers=[0, 1])
            for slack in ("positive", "paper")
        )
        assert positive.layers[0].l1_after == paper.layers[0].l1_after  # the same input behind it
        assert positive.layers[1].l1_after <= paper.layers[1].l1_after * (1 + 2e-4)


@pytest.mark.parametrize("scheme", ["parallel", "cascade"])
def test_small_signals_beside_the_ones_of_the_bias(scheme: str, X: Array) -> None:
    """Data in small units make columns of very different length, and must not stall the solver."""
    usual = random_network(np.random.default_rng(6), 12, 10, 4)
    small = Network([Dense(d.weights, 1e-3 * d.bias, d.activation) for d in usual.layers])
    result = trim(small, 1e-3 * X, epsilon=0.1, scheme=scheme)
    assert result.converged
    assert_bounded(result, 1e-3 * X)


# --- kappa --------------------------------------------------------------------------------------


def test_kappa_lowers_the_discrepancy(network: Network, X: Array) -> None:
    usual = trim(network, X, epsilon=0.05)
    strict = trim(network, X, epsilon=0.05, kappa=0.95)
    assert strict.converged
    assert_bounded(strict, X)
    assert strict.discrepancy == pytest.approx(0.95 * usual.discrepancy, rel=1e-2)
    assert strict.layers[-1].l1_after > usual.layers[-1].l1_after
    assert [layer.l1_after for layer in strict.layers[:-1]] == [
        layer.l1_after for layer in usual.layers[:-1]
    ]


def test_too_small_a_kappa_is_infeasible(network: Network, X: Array) -> None:
    with pytest.raises(InfeasibleError, match=r"'dense4': no weights meet kappa=0\.01") as caught:
        trim(network, X, epsilon=0.1, kappa=0.01)
    hint = re.search(r"choose a larger kappa \(feasible from ([\d.]+) on\)", str(caught.value))
    assert hint
    least = float(hint[1])
    assert trim(network, X, epsilon=0.1, kappa=(least + 1) / 2).converged
    with pytest.raises(InfeasibleError):
        trim(network, X, epsilon=0.1, kappa=0.98 * least)


# --- what the walk does -------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")
def test_a_layer_that_nothing_reaches_has_the_room_of_the_first(X: Array) -> None:
    """A dead first layer is trimmed to nothing and changes nothing."""
    rng = np.random.default_rng(3)
    dead = Dense(rng.standard_normal((12, 5)), np.full(5, -100.0))
    net = Network([dead, Dense(rng.standard_normal((5, 4)), [1.0, 2.0, -1.0, 3.0])])
    result = trim(net, X, epsilon=0.05, tol=1e-3)
    first, second = result.layers
    assert (first.nonzeros_after, first.discrepancy, first.bound) == (0, 0.0, 0.0)
    assert second.epsilon == pytest.approx(0.05)
    assert result.converged
    assert second.nonzeros_after == 0  # the input is zero: the bias alone explains the output
    assert second.discrepancy <= second.bound


def test_layers_are_chosen_by_position_and_name(network: Network, X: Array) -> None:
    for choice in ([1, "dense4"], [-1, "dense2", 1], (np.int64(1), 3)):
        result = trim(network, X, epsilon=0.1, layers=choice)
        assert [layer.pruned for layer in result.layers] == [False, True, False, True]
        assert [layer.status for layer in result.layers] == ["kept", "optimal"] * 2
        assert result.model.layers[0].weights is not None
        np.testing.assert_array_equal(result.model.layers[2].weights, network.layers[2].weights)
        assert result.layers[1].epsilon == pytest.approx(0.1)  # the first that is pruned
        assert_bounded(result, X)
    assert pruned(trim(network, X, epsilon=0.1, layers="dense3")) == ["dense3"]


def pruned(result: TrimResult[Network]) -> list[str]:
    return [layer.name for layer in result.layers if layer.pruned]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"layers": "re:dense[13]"}, "13"),
        ({"layers": ["re:dense[13]", -1]}, "134"),
        ({"layers": "re:d"}, "1234"),  # the beginning of a name is enough
        ({"layers": Dense}, "1234"),
        ({"layers": ["dense1", object]}, "1234"),
        ({"skip": [0, "dense4"]}, "23"),
        ({"skip": "re:.*[14]$"}, "23"),
        ({"skip": []}, "1234"),
        ({"layers": Dense, "skip": ["re:dense[12]"]}, "34"),
    ],
    ids=str,
)
def test_layers_are_chosen_by_pattern_and_class(
    network: Network, X: Array, options: dict[str, Any], expected: str
) -> None:
    result = trim(network, X, epsilon=0.1, **options)
    assert pruned(result) == [f"dense{number}" for number in expected]
    assert result.recipe["arguments"]["layers"] == pruned(result)


@pytest.mark.parametrize("scheme", ["parallel", "cascade"])
def test_steps_between_the_layers_enter_the_bound(
    rng: np.random.Generator, X: Array, scheme: str
) -> None:
    a, b = random_network(rng, 12, 10, 8, last="relu").layers
    net = Network([a, Scale(3.0), b, Scale(-0.5)])
    result = trim(net, X, epsilon=0.1, scheme=scheme)
    final = np.linalg.norm(result.model.predict(X) - net.predict(X)) / np.linalg.norm(
        net.predict(X)
    )
    assert result.discrepancy == pytest.approx(final)
    assert result.discrepancy <= result.bound
    assert result.bound == pytest.approx(result.layers[1].bound, rel=1e-6)  # both halved
    assert result.layers[1].discrepancy <= result.layers[1].bound


def test_parallel_layers_do_not_know_each_other(network: Network, X: Array) -> None:
    together = trim(network, X, epsilon=0.1, scheme="parallel")
    alone = trim(network, X, epsilon=0.1, scheme="parallel", layers=[2])
    np.testing.assert_array_equal(together.model.layers[2].weights, alone.model.layers[2].weights)


def test_float32_models_stay_float32_and_true_to_their_report(
    rng: np.random.Generator, X: Array
) -> None:
    net = random_network(rng, 12, 10, 6, dtype=np.float32)
    for scheme in ("parallel", "cascade"):
        result = trim(net, X, epsilon=0.05, scheme=scheme)
        assert {d.weights.dtype for d in result.model.layers} == {np.dtype(np.float32)}
        assert_bounded(result, X)


def test_layers_without_bias(rng: np.random.Generator, X: Array) -> None:
    net = Network(
        [Dense(rng.standard_normal((12, 9))), Dense(rng.standard_normal((9, 3)), None, "linear")]
    )
    result = trim(net, X, epsilon=0.1)
    assert all(layer.bias is None for layer in result.model.layers)
    assert_bounded(result, X)


def test_held_out_samples_are_measured_only(network: Network, X: Array) -> None:
    unseen = np.random.default_rng(9).standard_normal((50, 12))
    with_held_out = trim(network, X, epsilon=0.1, held_out=unseen)
    without = trim(network, X, epsilon=0.1)
    np.testing.assert_array_equal(with_held_out.model.predict(X), without.model.predict(X))
    measured = distances(network, with_held_out.model, unseen)
    reported = [layer.held_out_discrepancy for layer in with_held_out.layers]
    np.testing.assert_allclose(reported, measured, rtol=1e-9)
    assert with_held_out.held_out_discrepancy == pytest.approx(measured[-1])
    assert without.held_out_discrepancy is None
    assert "unseen" in str(with_held_out)
    assert "unseen" not in str(without)


def test_the_original_is_left_alone(network: Network, X: Array) -> None:
    before = network.predict(X)
    result = trim(network, X, epsilon=0.2)
    np.testing.assert_array_equal(network.predict(X), before)
    assert result.original is network
    assert result.sparsity > 0.1
    zeros = sum(int((layer.weights == 0).sum()) for layer in result.model.layers)
    assert result.sparsity == pytest.approx(zeros / (120 + 100 + 80 + 48))


def test_equal_calls_give_equal_bits(network: Network, X: Array) -> None:
    one, two = (trim(network, X, epsilon=0.1) for _ in range(2))
    for a, b in zip(one.model.layers, two.model.layers, strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)
        np.testing.assert_array_equal(a.bias, b.bias)


def test_another_model_view(X: Array) -> None:
    """`trim` uses the three methods and nothing else."""

    class Wrapped:
        def __init__(self, inner: Network) -> None:
            self.inner = inner

        def prunable_layers(self) -> Any:
            return self.inner.prunable_layers()

        def signals(self, X: Array, weights: Any) -> Any:
            return self.inner.signals(X, weights)

        def with_weights(self, weights: Any) -> Wrapped:
            return Wrapped(self.inner.with_weights(weights))

    net = random_network(np.random.default_rng(4), 12, 8, 4)
    result = trim(Wrapped(net), X, epsilon=0.1)
    assert isinstance(result.model, Wrapped)
    np.testing.assert_array_equal(
        result.model.inner.predict(X), trim(net, X, epsilon=0.1).model.predict(X)
    )


# --- a trained network --------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")
def test_spirals() -> None:
    """The two-spiral network 2-200-200-2 of the Net-Trim supplement, on points of our own."""
    X, labels = spirals(np.random.default_rng(0))
    net = train(X, labels, 200, 200, steps=1200)
    assert (net.predict(X).argmax(axis=1) == labels).all()
    result = trim(net, X, epsilon=0.01, gamma=1.1)
    assert result.converged
    first, middle, _ = result.layers
    assert first.nonzeros_after > 0.95 * first.nonzeros_before
    assert middle.nonzeros_after < 0.12 * middle.nonzeros_before
    assert result.discrepancy < 0.1
    assert (result.model.predict(X).argmax(axis=1) == labels).mean() >= 0.95
    assert_bounded(result, X)


def test_names_that_no_goal_has_are_refused_even_without_a_value(
    network: Network, X: Array
) -> None:
    for arguments in ({"epsilon": 0.1}, {"goal": Error(0.1)}):
        with pytest.raises(TypeError, match="unexpected keyword argument 'kapa'"):
            trim(network, X, **arguments, kapa=None)
    with pytest.raises(ValueError, match=r"^share belongs to sparsity"):
        trim(network, X, goal=Error(0.1), share="layer")
    with pytest.raises(ValueError, match=r"^kappa belongs into the goal: nettrim.Error"):
        trim(network, X, goal=Error(0.1), kappa=0.5)


def test_a_checkpoint_knows_its_goal() -> None:
    assert Error(0.1).identity("cascade")["goal"] == "Error"
    assert Sparsity(0.1).identity("cascade")["goal"] == "Sparsity"
