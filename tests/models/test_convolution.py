"""Convolutions: unfolding and its adjoint, the operator's norm, the layer program on patches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate

import nettrim
from nettrim.layer.reference import ConvolutionOperator
from nettrim.models.unfold import Window

GEOMETRIES = [  # size, kernel, stride, padding, dilation
    ((7, 6), (3, 2), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    ((8, 5), (3, 3), (2, 2), ((1, 1), (0, 1)), (1, 1)),
    ((9, 9), (2, 3), (1, 2), ((2, 0), (1, 1)), (2, 1)),
    ((11,), (4,), (3,), ((1, 2),), (2,)),
]


def fold(window: Window, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Add patches up where they came from: the adjoint of unfolding."""
    places = np.arange(1.0, np.prod(shape) + 1).reshape(shape)
    image = np.zeros(places.size + 1)
    np.add.at(image, window.unfold(places).astype(int).ravel(), rows.ravel())
    return image[1:].reshape(shape)  # the first collects what fell on padding


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_unfolding_and_folding_are_adjoint(geometry, rng) -> None:
    size, *rest = geometry
    window = Window(rest[0], rest[1], rest[2], rest[3])
    x = rng.standard_normal((3, 2, *size))
    rows = window.unfold(x)
    z = rng.standard_normal(rows.shape)
    ours, other = np.sum(rows * z), np.sum(x * fold(window, z, x.shape))
    assert abs(ours - other) <= 1e-12 * np.linalg.norm(rows) * np.linalg.norm(z)


@pytest.mark.parametrize("kernel", [(3,), (2, 3)])
def test_some_rows_are_those_of_all(kernel, rng) -> None:
    axes = len(kernel)
    window = Window(kernel, (2, 1)[:axes], ((1, 2), (0, 1))[:axes], (1, 2)[:axes])
    values = rng.standard_normal((4, 3, *(7, 8)[:axes]))
    rows = window.unfold(values)
    chosen = np.sort(rng.choice(len(rows), 9, replace=False))
    np.testing.assert_array_equal(window.unfold_some(values, chosen), rows[chosen])


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_operator_is_the_unfolded_matrix(geometry, rng) -> None:
    """Without unfolding: the same signals, the adjoint, the ridge step by conjugate gradients."""
    size, *rest = geometry
    window = Window(rest[0], rest[1], rest[2], rest[3])
    values = rng.standard_normal((40, 2, *size))
    operator, X = ConvolutionOperator(values, window), window.unfold(values)
    kernels = rng.standard_normal((3, 2, *window.kernel))
    signals = operator.signals(kernels)
    matrix = kernels.reshape(3, -1).T
    np.testing.assert_allclose(np.moveaxis(signals, 1, -1).reshape(-1, 3), X @ matrix, atol=1e-12)
    Z = rng.standard_normal(signals.shape)
    ours, other = np.sum(signals * Z), np.sum(kernels * operator.correlations(Z))
    assert abs(ours - other) <= 1e-12 * np.linalg.norm(signals) * np.linalg.norm(Z)
    sigma = 0.09 * float((X**2).sum(axis=0).max())
    rows = np.moveaxis(Z, 1, -1).reshape(-1, 3)
    gram = X.T @ X + sigma * np.eye(X.shape[1])
    dense = np.linalg.solve(gram, X.T @ rows + sigma * matrix)
    found = operator.ridge(Z, kernels, sigma).reshape(3, -1).T
    np.testing.assert_allclose(found, dense, rtol=0, atol=1e-9 * np.abs(dense).max())


def test_convolution_against_scipy(rng) -> None:
    """Cross-correlation, as every framework has it."""
    weights, x = rng.standard_normal((4, 3, 3, 2)), rng.standard_normal((2, 3, 7, 6))
    out = nettrim.Conv2D(weights, activation="linear").forward(x)
    for sample, channel in np.ndindex(2, 4):
        planes = [correlate(x[sample, c], weights[channel, c], mode="valid") for c in range(3)]
        np.testing.assert_allclose(out[sample, channel], sum(planes), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [5, 8, 9])
def test_same_padding(size, stride, rng) -> None:
    """``ceil(n / s)`` outputs, the odd zero behind."""
    kernel, x = rng.standard_normal((1, 1, 4)), rng.standard_normal((1, 1, size))
    layer = nettrim.Conv1D(kernel, stride=stride, padding="same", activation="linear")
    positions = -(-size // stride)
    total = max((positions - 1) * stride + 4 - size, 0)
    padded = np.pad(x[0, 0], (total // 2, total - total // 2))
    expected = [padded[i * stride : i * stride + 4] @ kernel[0, 0] for i in range(positions)]
    np.testing.assert_allclose(layer.forward(x)[0, 0], expected, rtol=1e-12, atol=1e-12)


def test_groups_are_convolutions_side_by_side(rng) -> None:
    weights, bias = rng.standard_normal((6, 2, 3, 3)), rng.standard_normal(6)
    x = rng.standard_normal((2, 6, 5, 5))
    whole = nettrim.Conv2D(weights, bias, groups=3, padding=1).forward(x)
    for g in range(3):
        own = slice(2 * g, 2 * g + 2)
        part = nettrim.Conv2D(weights[own], bias[own], padding=1).forward(x[:, own])
        np.testing.assert_allclose(whole[:, own], part, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("groups", [1, 2])
def test_the_bound_of_the_norm(geometry, groups, rng) -> None:
    """Above the norm of the operator as a matrix, and nearly it for a stride of 1."""
    size, kernel, stride, padding, dilation = geometry
    kind = nettrim.Conv2D if len(size) == 2 else nettrim.Conv1D
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    layer = kind(rng.standard_normal((4, 4 // groups, *kernel)), activation="linear", **options)
    unit = np.eye(4 * np.prod(size)).reshape(-1, 4, *size)
    norm = np.linalg.norm(layer.forward(unit).reshape(len(unit), -1), 2)
    bound = layer.lipschitz((1, 4, *size))
    assert norm <= bound * (1 + 1e-12)
    assert bound <= norm * (1.2 if set(stride) == {1} else 1.2 * np.prod(stride))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 9))
@settings(max_examples=40)
def test_an_input_lies_in_at_most_so_many_windows(k, s, d, seed) -> None:
    window = Window((k,), (s,), ((0, 0),), (d,))
    size = (k - 1) * d + 1 + s * 7
    counts = fold(window, np.ones_like(window.unfold(np.ones((1, 1, size)))), (1, 1, size))
    assert counts.max() == window.overlap


# --- the program ----------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_a_fixed_bias_is_moved_into_the_targets(activation, rng) -> None:
    """The program on patches with Y - b, V - b, against the same program given to the solver."""
    conv = nettrim.Conv2D(
        rng.standard_normal((4, 2, 3, 3)), rng.standard_normal(4), activation=activation, padding=1
    )
    X = rng.standard_normal((40, 2, 6, 6))
    result = nettrim.trim(
        nettrim.Network([conv]), X, epsilon=0.1, scheme="parallel", tol=1e-8, progress=False
    )
    rows = conv.unfold(X)
    Z = rows @ conv.affine.weights + conv.bias
    if activation == "relu":
        Y = np.maximum(Z, 0)
        program = {"active": Y > 0, "upper": -conv.bias}
    else:
        Y, program = Z, {}
    direct = nettrim.solve_layer(
        rows,
        Y - conv.bias,
        epsilon=0.1 * np.linalg.norm(Y),
        activation=activation,
        tol=1e-8,
        **program,
    )
    new = result.model.layers[0]
    np.testing.assert_array_equal(new.bias, conv.bias)
    np.testing.assert_allclose(new.affine.weights, direct.weights, atol=1e-6)
    assert result.layers[0].residual == pytest.approx(0.1, rel=1e-6)
    assert result.converged


def test_active_entries_may_be_negative(rng) -> None:
    """With a mask and zero bounds it is the program without one; shifted, the same weights."""
    X, W = rng.standard_normal((80, 6)), rng.standard_normal((6, 3))
    Y = np.maximum(X @ W, 0)
    options = {"epsilon": 0.1 * np.linalg.norm(Y), "tol": 1e-9}
    plain = nettrim.solve_layer(X, Y, **options)
    masked = nettrim.solve_layer(X, Y, active=Y > 0, **options)
    np.testing.assert_allclose(masked.weights, plain.weights, atol=1e-7)
    negative = nettrim.solve_layer(X, -Y, active=Y > 0, upper=50.0, **options)
    turned = nettrim.solve_layer(-X, -Y, active=Y > 0, upper=50.0, **options)
    assert negative.status == turned.status == "optimal"
    np.testing.assert_allclose(negative.weights, -turned.weights, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"active": np.ones((80, 2), bool)}, ValueError),
        ({"active": np.ones((80, 3))}, TypeError),
        ({"active": np.ones((80, 3), bool), "activation": "linear"}, ValueError),
    ],
)
def test_bad_masks_are_refused(change, error, rng) -> None:
    X, Y = rng.standard_normal((80, 6)), rng.standard_normal((80, 3))
    with pytest.raises(error, match=r"^active"):
        nettrim.solve_layer(X, Y, epsilon=1.0, **change)


def test_a_program_nearly_fixed_by_its_bounds(rng) -> None:
    """Nine weights and thousands of bounds leave hardly any room; all of it must be found."""
    conv = nettrim.Conv2D(
        rng.standard_normal((4, 1, 3, 3)), 0.1 * rng.standard_normal(4), padding=1
    )
    X = rng.standard_normal((300, 1, 8, 8))
    result = nettrim.trim(nettrim.Network([conv]), X, epsilon=0.1, tol=1e-6, progress=False)
    assert result.converged
    assert result.discrepancy <= result.bound
    assert result.layers[0].seconds < 30


# --- networks -------------------------------------------------------------------------------------


def small_network(rng) -> nettrim.Network:
    def conv(*shape, **options):
        return nettrim.Conv2D(rng.standard_normal(shape), rng.standard_normal(shape[0]), **options)

    return nettrim.Network(
        [
            conv(6, 1, 3, 3, padding="same"),
            nettrim.MaxPool(2),
            nettrim.Residual(
                [conv(6, 6, 3, 3, padding=1), conv(6, 6, 1, 1, activation="linear")],
                [nettrim.BatchNorm(rng.standard_normal(6), rng.uniform(0.5, 2, 6))],
            ),
            nettrim.ReLU(),
            nettrim.AveragePool((2, 2), 1),
            nettrim.Flatten(),
            nettrim.Dense(rng.standard_normal((54, 5)), activation="linear"),
        ]
    )


@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_a_convolutional_network_with_a_residual_section(scheme, rng) -> None:
    net, X = small_network(rng), rng.standard_normal((60, 1, 8, 8))
    result = nettrim.trim(net, X, epsilon=0.1, scheme=scheme, held_out=X[:20] + 0.1, progress=False)
    names = [layer.name for layer in result.layers]
    assert names == ["conv2d1", "residual3.conv2d1", "residual3.conv2d2", "dense7"]
    assert result.converged
    for layer in result.layers:
        assert layer.discrepancy <= layer.bound * (1 + 1e-9)
    change = np.linalg.norm(result.model.predict(X) - net.predict(X))
    assert result.discrepancy == pytest.approx(change / np.linalg.norm(net.predict(X)), rel=1e-9)
    assert result.discrepancy <= result.bound


def test_gains_bound_what_arrives(rng) -> None:
    """Move the outputs of two layers at once: the signals behind move no further than told."""
    net, X = small_network(rng), rng.standard_normal((30, 1, 8, 8))
    weights = {
        k: layer.affine._replace(weights=layer.affine.weights + 0.01)
        for k, layer in enumerate(net.prunable_layers())
    }
    moved: dict[int, float] = {}
    layers = net.prunable_layers()
    for k, (before, after) in enumerate(
        zip(net.signals(X, {}), net.signals(X, weights), strict=True)
    ):
        assert np.linalg.norm(after.values - before.values) <= before.moved(moved) * (1 + 1e-9)
        if k < len(layers):
            new = layers[k].respond(weights[k], after.values)
            moved[k] = float(
                np.linalg.norm(new - layers[k].respond(layers[k].affine, before.values))
            )


@pytest.mark.parametrize("seed", [7, 24, 34, 51])
@pytest.mark.parametrize("share", [0.9, 0.99, 0.999])
def test_violations_are_within_the_tolerance_of_what_is_proved(seed: int, share: float) -> None:
    """Also where a fixed bias is much larger than the little that comes out."""
    rng = np.random.default_rng(seed)
    kernels = rng.standard_normal((6, 2, 3, 3)) / 4
    X = np.full((6, 2, 3, 3), -1.0)
    reached = nettrim.Conv2D(kernels, padding=1).forward(X).max(axis=(0, 2, 3))
    network = nettrim.Network([nettrim.Conv2D(kernels, -share * reached, padding=1)])
    with pytest.warns(nettrim.CalibrationWarning):
        result = nettrim.trim(network, X, epsilon=0.3, n_threads=1, progress=False)
    layer = result.layers[0]
    assert layer.status == "optimal"
    assert layer.violation <= 1e-4 * (1 + 1e-9)
    assert layer.residual <= layer.epsilon * (1 + 1e-4)


def test_patches_are_drawn_by_seed(rng) -> None:
    net, X = small_network(rng), rng.standard_normal((60, 1, 8, 8))
    options = {"epsilon": 0.1, "progress": False, "max_patches": 500}
    first, again, other = (nettrim.trim(net, X, **options, seed=s) for s in (0, 0, 1))
    for a, b in zip(first.model.layers, again.model.layers, strict=True):
        for x, y in zip(a.to_arrays().values(), b.to_arrays().values(), strict=True):
            np.testing.assert_array_equal(x, y)
    assert first.discrepancy == again.discrepancy != other.discrepancy
    assert {layer.solved_rows for layer in first.layers[:2]} == {500}
    assert "500 of " in str(first)
    assert first.discrepancy <= first.bound


def test_files_hold_every_kind(rng, tmp_path) -> None:
    net, X = small_network(rng), rng.standard_normal((5, 1, 8, 8))
    net.save(tmp_path / "net.npz")
    np.testing.assert_array_equal(
        nettrim.Network.load(tmp_path / "net.npz").predict(X), net.predict(X)
    )


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: nettrim.Conv2D(np.ones((2, 1, 3))), "weights"),
        (lambda: nettrim.Conv2D(np.ones((2, 1, 3, 3)), np.ones(3)), "bias"),
        (lambda: nettrim.Conv2D(np.ones((3, 1, 3, 3)), groups=2), "groups"),
        (lambda: nettrim.Conv2D(np.ones((2, 1, 3, 3)), stride=0), "stride"),
        (lambda: nettrim.Conv2D(np.ones((2, 1, 3, 3)), padding=(1, 1, 1)), "padding"),
        (lambda: nettrim.Conv2D(np.ones((2, 1, 3, 3)), dilation=1.5), "dilation"),
        (lambda: nettrim.Conv1D(np.ones((2, 1, 3)), activation="tanh"), "activation"),
        (lambda: nettrim.MaxPool(0), "size"),
        (lambda: nettrim.BatchNorm(np.ones(2), np.ones(3)), "variance"),
        (lambda: nettrim.Residual([]), "body"),
    ],
)
def test_bad_layers_are_refused_by_name(build, name) -> None:
    with pytest.raises(ValueError, match=f"^{name}"):
        build()


def test_an_input_that_does_not_fit_is_refused() -> None:
    layer = nettrim.Conv2D(np.ones((2, 3, 3, 3)))
    with pytest.raises(ValueError, match="takes 3 channels"):
        layer.forward(np.ones((1, 2, 5, 5)))
    with pytest.raises(ValueError, match="does not fit"):
        layer.forward(np.ones((1, 3, 2, 5)))
