"""Modules of PyTorch: what is found in them, what is computed, what comes back, what training keeps."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import nettrim
from nettrim.models.model_view import Affine, as_view
from support.networks import Array, trim

torch = pytest.importorskip("torch")
F = torch.nn.functional
nn = torch.nn

from torch.nn.utils import parametrizations
from torch.utils.data import DataLoader, TensorDataset

import nettrim.torch
from nettrim.models.adapters.torch import TorchView
from nettrim.models.adapters.torch import run as torch_run


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(20171204)


def settled(model: Any, X: Any) -> TorchView:
    """The view of a module that has seen data."""
    view = as_view(model)
    assert isinstance(view, TorchView)
    view.calibration(X, "X")
    return view


def outputs(model: Any, X: Array) -> Array:
    """What a module computes in evaluation mode and float64."""
    with torch.no_grad():
        return copy.deepcopy(model).double().eval()(torch.tensor(X)).numpy()


def assert_same_state(one: Any, other: Any) -> None:
    assert one.state_dict().keys() == other.state_dict().keys()
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def assert_true(result: Any, X: Array) -> None:
    """What is reported of the output is what the two modules do, and no bound is broken."""
    before, after = outputs(result.original, X), outputs(result.model, X)
    distance = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert result.discrepancy == pytest.approx(distance, rel=1e-9)
    assert result.discrepancy <= result.bound
    assert all(layer.discrepancy <= layer.bound for layer in result.layers)


def perceptron() -> Any:
    return nn.Sequential(
        *(nn.Linear(8, 10), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(10, 6), nn.Dropout(0.1), nn.ReLU(), nn.Linear(6, 3)),
    )


class Residual(nn.Module):
    """Normalisation, pooling and a shortcut around one convolution, in its own forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding="same", bias=False), nn.BatchNorm2d(4)
        self.pool, self.relu = nn.MaxPool2d(2), nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Any, scale: Any = None) -> Any:
        x = self.pool(self.relu(self.norm1(self.conv1(x))))
        y = self.norm2(self.conv2(x))
        y += x
        y = F.adaptive_avg_pool2d(self.relu(y), 1)
        if scale is not None:
            y = y * scale
        return self.head(torch.flatten(y, 1))


def residual() -> Residual:
    """One whose normalisations have seen data, the first of them frozen."""
    model = Residual()
    for _ in range(5):
        model(2.0 * torch.randn(32, 1, 8, 8) + 1.0)
    model.norm1.eval()
    return model


class Forking(nn.Module):
    """What torch.fx cannot trace: the data decide which way they go."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        hidden = torch.relu(self.first(x))
        return self.second(hidden if hidden.sum() > 0 else -hidden)


class Tokens(nn.Module):
    """A transformer over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.encoder = nn.Embedding(11, 8), encoder()
        self.head = nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.encoder(self.embedding(x)).mean(1))


def encoder() -> Any:
    block = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    return nn.TransformerEncoder(block, 2, enable_nested_tensor=False)


# --- trimming -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["parallel", "cascade"])
def test_a_perceptron_is_trimmed_like_the_network_it_computes(
    rng: np.random.Generator, scheme: str
) -> None:
    module, X = perceptron(), rng.standard_normal((120, 8))
    layers = [m for m in module if isinstance(m, nn.Linear)]
    network = nettrim.Network(
        [
            nettrim.Dense(m.weight.detach().numpy().T, m.bias.detach().numpy(), activation)
            for m, activation in zip(layers, ["relu", "relu", "linear"], strict=True)
        ]
    )
    options = {"epsilon": 0.1, "scheme": scheme, "tol": 1e-8}
    result, expected = trim(module, X, **options), trim(network, X, **options)
    assert [layer.name for layer in result.layers] == ["0", "3", "6"]
    new = [m for m in result.model if isinstance(m, nn.Linear)]
    for layer, dense in zip(new, expected.model.layers, strict=True):
        np.testing.assert_allclose(layer.weight.detach().numpy().T, dense.weights, atol=1e-5)
        np.testing.assert_allclose(layer.bias.detach().numpy(), dense.bias, atol=1e-5)
    assert result.discrepancy == pytest.approx(expected.discrepancy, rel=1e-5)
    assert result.bound == pytest.approx(expected.bound, rel=1e-5)
    assert_true(result, X)


@pytest.mark.parametrize("scheme", ["parallel", "cascade"])
def test_normalisation_pooling_and_a_shortcut(rng: np.random.Generator, scheme: str) -> None:
    model, X = residual(), rng.standard_normal((40, 1, 8, 8))
    before = copy.deepcopy(model)
    result = trim(model, X, epsilon=0.2, scheme=scheme)
    assert_true(result, X)
    assert result.converged
    assert [layer.name for layer in result.layers] == ["conv1", "conv2", "head"]
    assert result.sparsity > 0.1
    assert math.isfinite(result.bound)
    assert_same_state(model, before)
    assert type(result.model) is Residual
    assert [m.training for m in result.model.modules()] == [m.training for m in model.modules()]
    changed = {"conv1.weight", "conv2.weight", "head.weight", "head.bias"}  # others are fixed
    for key, value in result.model.state_dict().items():
        assert value.dtype == model.state_dict()[key].dtype
        assert torch.equal(value, model.state_dict()[key]) == (key not in changed), key


@pytest.mark.parametrize("scheme", ["parallel", "cascade"])
def test_a_transformer(rng: np.random.Generator, scheme: str) -> None:
    model, X = nn.Sequential(encoder(), nn.Linear(8, 2)).eval(), rng.standard_normal((30, 5, 8))
    result = trim(model, X, epsilon=0.1, scheme=scheme)
    assert_true(result, X)
    assert result.converged
    blocks = [f"0.layers.{k}.{name}" for k in range(2) for name in ("linear1", "linear2")]
    assert [layer.name for layer in result.layers] == [*blocks, "1"]
    # Nothing limits what attention does with an error; the last layer's own program does.
    assert math.isfinite(result.bound) == (scheme == "cascade")
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_declared_relu(rng: np.random.Generator) -> None:
    model, X = Forking(), rng.standard_normal((60, 6))
    unknown = r"what follows the layers 'first', 'second' is not known.*nettrim\.torch\.declare"
    with pytest.warns(UserWarning, match=unknown):
        assert found(model, X) == [("first", "linear"), ("second", "linear")]
    declared = nettrim.torch.declare(model, relu=["first"])
    silent = nettrim.torch.declare(model, relu=[])
    result, blind = trim(declared, X, epsilon=0.1), trim(silent, X, epsilon=0.1)
    assert type(result.model) is Forking
    assert result.converged
    assert result.discrepancy <= result.bound
    assert result.layers[0].l1_after < blind.layers[0].l1_after
    with pytest.raises(ValueError, match=r"^relu: no prunable layer is called \['third'\]"):
        nettrim.torch.declare(model, relu=["first", "third"])
    with pytest.raises(TypeError, match=r"^relu must be a list of names, got the string 'first'"):
        nettrim.torch.declare(model, relu="first")
    with pytest.raises(TypeError, match=r"^module must be a torch"):
        nettrim.torch.declare([], relu=[])  # type: ignore[arg-type]


def test_a_declared_relu_that_the_graph_does_not_show(rng: np.random.Generator) -> None:
    view = nettrim.torch.declare(After(F.relu6), relu=["layer"])
    X = rng.standard_normal((20, 4))
    view.calibration(X, "X")
    assert [layer.activation for layer in view.prunable_layers()] == ["relu", "linear"]
    assert [signal.gains for signal in view.signals(X, {})] == [{}, {0: math.inf}, {1: 1.0}]


# --- what is found in a module ------------------------------------------------------------------


def found(model: Any, X: Any) -> list[tuple[str, str]]:
    """Names and activations, in the order of the calls."""
    return [(layer.name, layer.activation) for layer in settled(model, X).prunable_layers()]


class After(nn.Module):
    """Two layers and something of one's choice between them."""

    def __init__(self, what: Callable[..., Any], *modules: Any) -> None:
        super().__init__()
        self.layer, self.what, self.parts = nn.Linear(4, 6), what, nn.ModuleList(modules)
        self.last = nn.Linear(6, 2)

    def forward(self, x: Any) -> Any:
        return self.last(self.what(self.layer(x), *self.parts))


@pytest.mark.parametrize(
    ("what", "modules", "activation"),
    [
        (F.relu, [], "relu"),
        (torch.relu, [], "relu"),
        (lambda y: y.relu_(), [], "relu"),
        (lambda y, relu: relu(y), [nn.ReLU()], "relu"),
        (lambda y: F.dropout(y, 0.5, training=False).relu(), [], "relu"),
        (lambda y, drop, norm: norm(drop(y)).relu(), [nn.Dropout(), nn.BatchNorm1d(6)], "relu"),
        (lambda y, one, two: two(one(y)).relu(), [nn.BatchNorm1d(6), nn.BatchNorm1d(6)], "linear"),
        (lambda y, norm: norm(y).relu(), [nn.BatchNorm1d(6, track_running_stats=False)], "linear"),
        (lambda y: y.relu() + y, [], "linear"),  # more than the ReLU uses it
        (lambda y: F.gelu(y), [], "linear"),
        (lambda y: torch.relu(2.0 * y), [], "linear"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*depends on those beside it")
def test_whether_a_relu_follows(
    rng: np.random.Generator, what: Callable[..., Any], modules: list[Any], activation: str
) -> None:
    X = rng.standard_normal((9, 4))
    assert found(After(what, *modules), X) == [("layer", activation), ("last", "linear")]


def test_normalised_positions_are_not_normalised_outputs(rng: np.random.Generator) -> None:
    model = After(lambda y, norm: norm(y).relu(), nn.BatchNorm1d(6))
    X = rng.standard_normal((9, 6, 4))  # the normalisation takes the second axis for channels
    assert found(model, X) == [("layer", "linear"), ("last", "linear")]


class Wayward(nn.Module):
    """Layers in another order than declared, one unused, one given its input by name."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.unused, self.first = nn.Linear(3, 2), nn.Linear(9, 9), nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        if x.shape[0] < 0:  # torch.fx cannot trace it
            return x
        return {"logits": self.last(input=self.first(x).relu()), "loss": 0.0}


def test_layers_come_in_the_order_of_their_calls(rng: np.random.Generator) -> None:
    model, X = Wayward(), rng.standard_normal((30, 4))
    assert found(model, X) == [("first", "relu"), ("last", "linear")]
    late = as_view(model)
    late.prunable_layers()
    with pytest.raises(ValueError, match=r"^X must go to `calibration` before `prunable_layers`"):
        next(late.signals(X, {}))
    *_, end = as_view(model).signals(X, {})
    assert end.values.shape == (30, 2)
    result = trim(model, X, epsilon=0.1)
    assert [layer.name for layer in result.layers] == ["first", "last"]
    assert result.converged
    assert torch.equal(result.model.unused.weight, model.unused.weight)


def test_the_report_shows_the_layers_that_run(rng: np.random.Generator, tmp_path: Path) -> None:
    """A new view of the module lists them as declared, and one more."""
    result = trim(Wayward(), rng.standard_normal((30, 4)), epsilon=0.1)
    result.report(tmp_path / "trim.html")
    result.plot(tmp_path / "trim.png")
    page = (tmp_path / "trim.html").read_text(encoding="utf-8")
    for name, size in (("first", 12), ("last", 6)):
        assert f"Pattern of {name} before: {size} of {size} weights are not zero" in page
    assert "Pattern of unused" not in page


def test_what_cannot_be_pruned_is_left_alone(rng: np.random.Generator) -> None:
    class Odd(nn.Linear):
        def forward(self, x: Any) -> Any:
            return super().forward(x) ** 2

    circular = nn.Conv1d(1, 2, 3, padding=1, padding_mode="circular")
    model = nn.Sequential(circular, nn.ConvTranspose1d(2, 2, 1), nn.Conv1d(2, 2, 3), Odd(5, 4))
    assert found(model, rng.standard_normal((6, 1, 7))) == [("2", "linear")]


class Shared(nn.Module):
    """One layer called twice, two others with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.plain = nn.Linear(4, 4), nn.Linear(4, 4)
        self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.other.weight = self.one.weight

    def forward(self, x: Any) -> Any:
        x = self.twice(self.plain(self.twice(x)).relu())
        return self.other(self.one(x))


def test_shared_layers_are_left_out(rng: np.random.Generator) -> None:
    model, X = Shared(), rng.standard_normal((30, 4))
    with pytest.warns(UserWarning, match="is not pruned") as caught:
        view = settled(model, X)
    assert [str(warning.message).split(":")[0] for warning in caught] == [
        "layer 'one' is not pruned",
        "layer 'other' is not pruned",
        "layer 'twice' is not pruned",
    ]
    assert [layer.name for layer in view.prunable_layers()] == ["plain"]
    for name in ("twice", "other"):
        with pytest.raises(ValueError, match=f"layers: no prunable layer is called '{name}'"):
            trim(view, X, epsilon=0.1, layers=[name])
    result = trim(view, X, epsilon=0.1, scheme="parallel")
    assert result.converged
    assert 0 < result.discrepancy <= result.bound < math.inf
    assert result.model.other.weight is result.model.one.weight


@pytest.mark.parametrize(
    ("pack", "gains"),
    [
        (lambda x, y: (x.shape[0], y, x.mean()), {0: 1.0}),
        (lambda x, y: {"loss": None, "logits": 2.0 * y}, {0: 2.0}),
        (lambda x, y: x.sub_(1.0) + y, {0: 1.0}),  # its input is not what it was either
    ],
)
def test_tensors_with_samples_are_outputs(
    rng: np.random.Generator, pack: Callable[[Any, Any], Any], gains: dict[int, float]
) -> None:
    class Packing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            return pack(x, self.layer(x))

    X = rng.standard_normal((20, 4))
    *_, end = settled(Packing(), X).signals(X, {})
    assert end.gains == gains
    assert end.values.shape == (20, 4)


def test_weights_that_are_used_directly_too(rng: np.random.Generator) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            return self.last(self.layer(x) + F.linear(x, self.layer.weight))

    X = rng.standard_normal((20, 4))
    with pytest.warns(UserWarning, match="layer 'layer' is not pruned: its weights are read"):
        view = settled(Reader(), X)
    assert [layer.name for layer in view.prunable_layers()] == ["last"]


def test_a_layer_that_some_samples_pass_by(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gated, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            return self.last(self.gated(x) if (x[:, 0] > 0).all() else x)

    monkeypatch.setattr(torch_run, "BATCH", 5)
    X = np.abs(rng.standard_normal((20, 4)))
    X[17, 0] = -1.0
    with pytest.raises(ValueError, match=r"^model does not call \['gated'\] on samples 15 to 19"):
        trim(nettrim.torch.declare(Gate(), relu=[]), X, epsilon=0.1)


@pytest.mark.parametrize("parametrised", [parametrizations.weight_norm, nettrim.torch.keep_zeros])
def test_computed_weights_are_left_out(
    rng: np.random.Generator, parametrised: Callable[[Any], Any]
) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    parametrised(model[0])
    with pytest.warns(UserWarning, match="layer '0' is not pruned: its weights are computed"):
        assert found(model, rng.standard_normal((5, 4))) == [("2", "linear")]


# --- layers as affine maps ----------------------------------------------------------------------

sizes = st.integers(1, 3)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Any, Array]:
    """A convolution of any geometry, and data that fit."""
    axes = draw(st.sampled_from([1, 2]))
    per_axis = st.tuples(*[sizes] * axes)
    groups, kernel, dilation = draw(sizes), draw(per_axis), draw(per_axis)
    padding = draw(st.sampled_from(["same", "valid", "numbers"]))
    stride = (1,) * axes if padding == "same" else draw(per_axis)
    layer = (nn.Conv1d, nn.Conv2d)[axes - 1](
        groups * draw(sizes),
        groups * draw(sizes),
        kernel,
        stride=stride,
        padding=draw(st.tuples(*[st.integers(0, 2)] * axes)) if padding == "numbers" else padding,
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
    ).double()
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    size = [(k - 1) * d + draw(sizes) for k, d in zip(kernel, dilation, strict=True)]
    return layer, rng.standard_normal((4, layer.in_channels, *size))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@given(convolutions())
def test_convolutions_are_affine_maps_of_patches(case: tuple[Any, Array]) -> None:
    layer, X = case
    model = nn.Sequential(layer)
    view = settled(model, X)
    (place,) = view.prunable_layers()
    computed = np.moveaxis(outputs(model, X), 1, -1)
    expected = computed.reshape(-1, computed.shape[-1])
    np.testing.assert_allclose(place.apply(place.affine, X), expected, atol=1e-12)
    assert place.rows_per_sample(X) * len(X) == len(expected)
    other = X + np.random.default_rng(1).standard_normal(X.shape)
    moved = np.linalg.norm(outputs(model, other) - outputs(model, X))
    assert moved <= place.lipschitz(place.affine, X.shape) * np.linalg.norm(other - X) * (1 + 1e-9)


def test_a_depthwise_convolution(rng: np.random.Generator) -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=4), nn.ReLU(), nn.Conv2d(8, 2, 1))
    X = rng.standard_normal((20, 4, 6, 6))
    view = settled(model, X)
    first = view.prunable_layers()[0]
    assert (first.affine.groups, first.shape) == (4, (9, 8))
    sparser = first.affine.replaced(np.where(rng.random((9, 8)) < 0.5, 0.0, first.affine.weights))
    walk = view.signals(X, weights := {})
    next(walk)
    weights[0] = sparser
    now = np.moveaxis(next(walk).values, 1, -1).reshape(-1, 8)
    np.testing.assert_allclose(now, first.respond(sparser, X), atol=1e-12)
    written = view.with_weights({0: sparser})[0].weight.detach().numpy()
    np.testing.assert_array_equal(written.reshape(8, 9).T, sparser.weights)
    result = trim(model, X, epsilon=0.2)
    assert result.converged
    assert result.discrepancy <= result.bound
    zeros = int((result.model[0].weight == 0).sum())
    assert zeros == 72 - result.layers[0].nonzeros_after


@pytest.mark.parametrize("layer", [nn.Linear(5, 4), nn.Linear(5, 4, bias=False)])
def test_a_normalisation_is_folded_in(rng: np.random.Generator, layer: Any) -> None:
    norm = nn.BatchNorm1d(4).eval()
    for name, values in {"weight": [2.0, -1.0, 0.0, 0.3], "bias": [0.5, 0.0, 1.0, -0.2]}.items():
        getattr(norm, name).data.copy_(torch.tensor(values))
    norm.running_mean.copy_(torch.randn(4))
    norm.running_var.copy_(torch.rand(4) + 0.5)
    model, X = nn.Sequential(layer, norm, nn.ReLU()), rng.standard_normal((30, 5))
    view = settled(model, X)
    (place,) = view.prunable_layers()
    assert place.affine.fixed_bias
    np.testing.assert_allclose(place.respond(place.affine, X), outputs(model, X), atol=1e-12)
    # An answer counts as rounded, like the weights in the module.
    answer = place.affine.replaced(np.where(rng.random((5, 4)) < 0.5, 0.0, rng.random((5, 4))))
    trimmed = view.with_weights({0: answer})
    np.testing.assert_array_equal(
        as_view(trimmed).prunable_layers()[0].affine.weights, answer.weights
    )
    np.testing.assert_allclose(place.respond(answer, X), outputs(trimmed, X), atol=1e-12)
    assert not trimmed[0].weight[2].any()  # what is multiplied by zero
    assert not trimmed[0].weight[3].all()
    assert_same_state(trimmed[1], norm)
    if layer.bias is not None:
        assert torch.equal(trimmed[0].bias, layer.bias)


# --- signals ------------------------------------------------------------------------------------


def test_weights_count_as_soon_as_the_walk_goes_past(rng: np.random.Generator) -> None:
    model, X = perceptron(), rng.standard_normal((10, 8))
    view = settled(model, X)
    layers = view.prunable_layers()
    weights: dict[int, Affine] = {}
    still, live = view.signals(X, {}), view.signals(X, weights)
    values = X
    for position, layer in enumerate(layers):
        np.testing.assert_allclose(next(live).values, values, atol=1e-12)
        next(still)  # a walk beside it that must not disturb
        if position != 1:
            weights[position] = layer.affine.replaced(
                rng.standard_normal(layer.affine.stacked.shape)
            )
        values = layer.respond(weights.get(position, layer.affine), values)
    np.testing.assert_allclose(next(live).values, values, atol=1e-12)
    np.testing.assert_allclose(next(still).values, outputs(model, X), atol=1e-12)
    np.testing.assert_allclose(outputs(view.with_weights(weights), X), values, atol=1e-12)


def test_signals_do_not_depend_on_batches_and_memory(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, X = residual(), rng.standard_normal((23, 1, 8, 8))
    view = settled(model, X)
    at_once = [signal.values for signal in view.signals(X, {})]
    monkeypatch.setattr(torch_run, "BATCH", 4)
    monkeypatch.setattr("nettrim.models.adapters.torch.model.MEMORY", 20_000)
    for whole, part in zip(at_once, view.signals(X, {}), strict=True):
        np.testing.assert_allclose(part.values, whole, atol=1e-13)
    np.testing.assert_allclose(at_once[-1], outputs(model, X), atol=1e-13)


@pytest.mark.parametrize(
    ("before", "shape"),
    [
        (lambda x: x.transpose(0, 1), (7, 5, 4)),  # positions in front of samples
        (lambda x: x.reshape(-1, 4), (7, 5, 4)),  # positions merged with samples
        (lambda x: x.reshape(-1, 2, 2), (7, 10, 2)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*depends on those beside it")
def test_samples_come_first(
    rng: np.random.Generator, before: Callable[[Any], Any], shape: tuple[int, ...]
) -> None:
    class Moved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(shape[-1], 3)

        def forward(self, x: Any) -> Any:
            return self.layer(before(x)).sum() + x[:, 0]

    X = rng.standard_normal((7, 5, 4))
    view = settled(Moved(), X)
    (layer,) = view.prunable_layers()
    values = next(view.signals(X, {})).values
    assert len(values) == 7
    np.testing.assert_array_equal(values.reshape(X.shape), X)
    assert layer.rows_per_sample(values) == 20 // shape[-1]


def test_a_module_that_knows_one_precision(rng: np.random.Generator) -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.last = nn.Linear(6, 8), nn.Linear(8, 2)

        def forward(self, x: Any) -> Any:
            return self.last(self.layer(x.to(torch.float32)).relu())

    X = rng.standard_normal((80, 6))
    with pytest.warns(UserWarning, match="model cannot compute in float64"):
        result = trim(Single(), X, epsilon=0.1)
    assert result.converged
    assert [layer.nonzeros_after < layer.nonzeros_before for layer in result.layers] == [True, True]
    assert result.discrepancy <= result.bound * (1 + 1e-6)
    with torch.no_grad():
        T = torch.tensor(X)
        before, after = result.original(T), result.model(T)
    distance = torch.linalg.norm(after - before) / torch.linalg.norm(before)
    assert result.discrepancy == pytest.approx(float(distance), rel=1e-3)


# --- gains --------------------------------------------------------------------------------------


def gain(*steps: Any, size: int = 8, axes: int = 2) -> float:
    """How far the output of a convolution and some steps follows the convolution; checked on data."""
    kind = (nn.Conv1d, nn.Conv2d)[axes - 1]
    model = nn.Sequential(kind(2, 4, 1), *steps).eval()
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5, 2, *[size] * axes))
    view = settled(model, X)
    layer = view.prunable_layers()[0]
    *_, end = view.signals(X, {})
    for scale in (1e-3, 1.0, 30.0):
        moved = layer.affine.weights + scale * rng.standard_normal(layer.affine.weights.shape)
        new = {0: layer.affine._replace(weights=moved)}
        *_, other = view.signals(X, new)
        distance = np.linalg.norm(layer.respond(new[0], X) - layer.respond(layer.affine, X))
        assert np.linalg.norm(other.values - end.values) <= end.gains[0] * distance * (1 + 1e-9)
    return end.gains[0]


class Step(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (nn.ReLU(), 1.0),
        (nn.Sequential(nn.Tanh(), nn.LeakyReLU(0.1)), 1.0),
        (nn.LeakyReLU(-2.0), 2.0),
        (nn.GELU(), 1.13),
        (nn.GELU(approximate="tanh"), 1.13),
        (nn.SiLU(), 1.1),
        (lambda x: F.leaky_relu(x, 0.2), 1.0),
        (torch.sigmoid, 0.25),
        (nn.Softmax(dim=1), 1.0),
        (nn.MaxPool2d(2), 1.0),
        (nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), 2.0),
        (nn.MaxPool2d((3, 1), stride=1, dilation=2), math.sqrt(3)),
        (lambda x: F.max_pool2d(x, 3, 1), 3.0),
        (nn.AvgPool2d(2), 0.5),
        (lambda x: F.avg_pool2d(x, 3, 2), 2 / 3),
        (nn.AvgPool2d(2, stride=2, padding=1, count_include_pad=False), 1.0),
        (nn.AvgPool2d(2, divisor_override=1), math.inf),
        (nn.AdaptiveAvgPool2d(1), 1 / 8),
        (lambda x: F.adaptive_avg_pool2d(x, 4), 0.5),
        (nn.AdaptiveAvgPool2d(3), math.inf),
        (nn.AdaptiveMaxPool2d(2), 1.0),
        (lambda x: x.mean(dim=(2, 3)), 1 / 8),
        (lambda x: F.log_softmax(x.flatten(1), dim=1), 16.0),
        (lambda x: x.view(x.size(0), -1), 1.0),
        (lambda x: x[:, :2].permute(0, 2, 3, 1), 1.0),
        (lambda x: x[:, [0, 0]], math.inf),
        (lambda x: F.pad(x, (1, 1)), 1.0),
        (lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"), math.inf),
        (lambda x: x + x.relu(), 2.0),
        (lambda x: x + x.mean(dim=(2, 3), keepdim=True), 2.0),
        (lambda x: torch.cat([x, x.tanh()], dim=1), 2.0),
        (lambda x: torch.add(x, x, alpha=3), math.inf),
        (lambda x: -(3.0 * x) / 2.0, 1.5),
        (lambda x: x * x, math.inf),
        (lambda x: 1.0 / x, math.inf),
        (lambda x: F.dropout(x, 0.5, training=False), 1.0),
        (lambda x: x.chunk(2, dim=1)[1], 1.0),
        (nn.LayerNorm(8), math.inf),
        (nn.Upsample(scale_factor=2), math.inf),
    ],
)
def test_gains_are_lipschitz_constants(function: Any, expected: float) -> None:
    step = function if isinstance(function, nn.Module) else Step(function)
    assert gain(step) == pytest.approx(expected)


def test_gains_along_one_axis() -> None:
    assert gain(nn.MaxPool1d(3, 1), axes=1) == pytest.approx(math.sqrt(3))
    assert gain(nn.AvgPool1d(3, 3), axes=1) == pytest.approx(1 / math.sqrt(3))
    assert gain(nn.AdaptiveAvgPool1d(2), axes=1) == pytest.approx(0.5)


def test_gains_of_modules_with_weights() -> None:
    norm = nn.BatchNorm2d(4)
    norm.weight.data.copy_(torch.tensor([1.0, -3.0, 2.0, 0.0]))
    assert gain(norm) == pytest.approx(3 / math.sqrt(1 + 1e-5))
    twice = nn.Conv2d(4, 4, 1)
    with pytest.warns(UserWarning, match="layer '1' is not pruned: it runs more than once"):
        stretch = gain(twice, nn.ReLU(), twice)
    norm_of_weight = np.linalg.norm(twice.weight.detach().numpy().reshape(4, 4), 2)
    assert stretch == pytest.approx(norm_of_weight**2)


def test_gains_of_a_shortcut_add_up(rng: np.random.Generator) -> None:
    X = rng.standard_normal((6, 1, 8, 8))
    model = residual()
    gains = [signal.gains for signal in settled(model, X).signals(X, {})]
    norm = model.norm2
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).abs().max().item()
    assert gains[:2] == [{}, {0: 1.0}]
    assert gains[2] == pytest.approx({0: 0.25, 1: 0.25 * scale}, rel=1e-6)  # a mean of 4 by 4
    assert gains[3] == {2: 1.0}


def test_nothing_is_promised_of_tensors_that_are_overwritten(rng: np.random.Generator) -> None:
    def overwrites(x: Any) -> Any:
        y = x.tanh()
        part = y.view(len(y), -1)
        part += 1.0
        return y  # not what a graph takes it for

    X = rng.standard_normal((6, 4))
    with pytest.warns(UserWarning, match="what follows the layers '0' is not known"):
        view = settled(nn.Sequential(nn.Linear(4, 3), Step(overwrites)), X)
    *_, end = view.signals(X, {})
    assert end.gains == {0: math.inf}


# --- calibration data ---------------------------------------------------------------------------


def test_calibration_data_of_every_kind(rng: np.random.Generator) -> None:
    X = rng.standard_normal((10, 8)).astype(np.float32)
    labels = torch.zeros(10)
    view = as_view(perceptron())
    kinds = [
        X,
        X.tolist(),
        torch.tensor(X),
        torch.tensor(X, requires_grad=True),
        DataLoader(torch.tensor(X), batch_size=4),
        DataLoader(TensorDataset(torch.tensor(X), labels), batch_size=4),
    ]
    for values in kinds:
        array = view.calibration(values, "X")
        assert array.dtype == np.float64
        np.testing.assert_allclose(array, X, rtol=1e-7)


def test_a_loader_is_as_good_as_an_array(rng: np.random.Generator) -> None:
    X, seen = rng.standard_normal((2, 40, 8)).astype(np.float32)
    model, options = perceptron(), {"epsilon": 0.2, "scheme": "parallel"}
    loaders = [DataLoader(TensorDataset(torch.tensor(v)), batch_size=16) for v in (X, seen)]
    result = trim(model, loaders[0], held_out=loaders[1], **options)
    expected = trim(model, X, held_out=seen, **options)
    assert result.held_out_discrepancy == expected.held_out_discrepancy
    assert_same_state(result.model, expected.model)


def test_a_model_of_tokens_is_trimmed(rng: np.random.Generator) -> None:
    model, ids = Tokens(), rng.integers(0, 11, (40, 6))
    result = trim(model, ids, held_out=ids[:5], epsilon=0.1)
    assert_true(result, ids)
    assert result.converged
    assert result.layers[-1].name == "head"
    assert torch.equal(result.model.embedding.weight, model.embedding.weight)


def test_tokens_stay_whole(rng: np.random.Generator) -> None:
    ids = torch.tensor(rng.integers(0, 11, (9, 6)), dtype=torch.int32)
    view = as_view(Tokens().eval())
    X = view.calibration(ids, "X")
    assert X.dtype == np.int64
    signals = list(view.signals(X, {}))
    assert [signal.values.shape for signal in signals] == [
        *[(9, 6, 8), (9, 6, 12)] * 2,
        *[(9, 8), (9, 3)],
    ]
    np.testing.assert_allclose(signals[-1].values, outputs(view.model, X), atol=1e-12)


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        (np.zeros((5, 7)), ValueError, ["X does not pass through the model", "5x7"]),
        (np.array([["a", "b"]]), TypeError, ["X must hold real numbers"]),
        (np.full((5, 8), np.nan), ValueError, ["X holds NaN"]),
        (np.zeros((0, 8)), ValueError, ["X is empty"]),
        (3.0, ValueError, ["X must hold samples"]),
        (torch.zeros(5, 8, dtype=torch.complex64), TypeError, ["X must hold real numbers"]),
        (DataLoader([{"x": torch.zeros(8)}]), ValueError, ["X has none", "(input)", "it has x"]),
        (DataLoader(torch.zeros(0, 8)), ValueError, ["X is empty"]),
        (
            DataLoader([torch.zeros(8), torch.zeros(7)]),  # type: ignore[arg-type]
            ValueError,
            ["X has batches that do not fit each other"],
        ),
    ],
)
def test_bad_data_are_named(X: Any, error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        as_view(perceptron()).calibration(X, "X")
    message = str(caught.value)
    assert message.startswith("X")
    assert all(word.replace("5x7", "") in message for word in words), message


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Linear(8, 2), "model is a single layer"),
        (nn.Sequential(nn.LazyLinear(3)), "model: the weight of layer '0' does not exist yet"),
        (
            nn.Sequential(nn.Linear(8, 2)).bfloat16(),
            "model: the weight of layer '0' must be float16",
        ),
        (nn.Sequential(nn.ReLU()), "model has no prunable layer"),
        (nn.Sequential(nn.Linear(8, 2), Step(torch.mean)), "model must return one result for each"),
        (
            nn.Sequential(nn.Linear(8, 2), Step(lambda x: "text")),
            "model must return one result for each sample",
        ),
    ],
)
def test_bad_models_are_named(rng: np.random.Generator, model: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        trim(model, rng.standard_normal((9, 8)), epsilon=0.1)


def test_weights_that_are_no_numbers(rng: np.random.Generator) -> None:
    model = perceptron()
    model[3].weight.data[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"^model: the weight of layer '3' holds NaN"):
        as_view(model)


# --- masks and training -------------------------------------------------------------------------


def sparse() -> Any:
    """A module with zeros in two of its layers."""
    model = nn.Sequential(nn.Conv1d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 4)).train()
    for layer in (model[0], model[3]):
        layer.weight.data[torch.rand_like(layer.weight) < 0.6] = 0.0
    return model


def zeros(model: Any) -> list[Any]:
    return [model[k].weight == 0 for k in (0, 3)]


def assert_same_zeros(one: Any, other: Any) -> None:
    assert all(map(torch.equal, zeros(one), zeros(other)))
    assert any(part.any() for part in zeros(one))


def batches(n: int = 4) -> list[tuple[Any, Any]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(6, 1, 8, generator=generator), torch.randint(4, (6,), generator=generator))
        for _ in range(n)
    ]


def step(model: Any) -> None:
    """One step of an optimiser that moves everything."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9, weight_decay=0.1)
    X, targets = batches(1)[0]
    F.cross_entropy(model(X), targets).backward()
    optimizer.step()


def test_masks_keep_zeros() -> None:
    model = sparse()
    original = copy.deepcopy(model)
    assert nettrim.torch.keep_zeros(nettrim.torch.keep_zeros(model)) is model
    X = batches(1)[0][0]
    assert torch.equal(model(X), original(X))
    step(model)
    assert_same_zeros(model, original)
    assert not torch.equal(model[3].weight, original[3].weight)
    copied = copy.deepcopy(model)
    step(copied)
    assert_same_zeros(copied, original)
    loaded = nettrim.torch.keep_zeros(sparse())
    loaded.load_state_dict(model.state_dict())
    assert torch.equal(loaded(X), model(X))
    step(loaded)
    assert_same_zeros(loaded, original)
    expected = model(X)
    assert nettrim.torch.remove_masks(model) is model
    assert model.state_dict().keys() == original.state_dict().keys()
    assert torch.equal(model(X), expected)
    assert_same_zeros(model, original)


# torch.onnx copies what its own torch.utils marks as deprecated.
@pytest.mark.filterwarnings("ignore:`isinstance:FutureWarning")
def test_masks_go_into_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = nettrim.torch.keep_zeros(sparse())
    step(model)
    X = batches(1)[0][0]
    torch.onnx.export(model.eval(), (X,), tmp_path / "model.onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (computed,) = session.run(None, {session.get_inputs()[0].name: X.numpy()})
    np.testing.assert_allclose(computed, model(X).detach().numpy(), atol=1e-5)


def test_other_parametrisations_are_not_removed() -> None:
    model = nettrim.torch.keep_zeros(sparse())
    parametrizations.orthogonal(model[3])
    with pytest.raises(ValueError, match=r"^module: the weight of layer '3' has other"):
        nettrim.torch.remove_masks(model)


def test_fine_tuning_keeps_zeros() -> None:
    model = sparse()
    model[0].eval()
    original, losses = copy.deepcopy(model), []

    def tuned() -> Any:
        torch.manual_seed(0)
        loader = DataLoader(TensorDataset(*map(torch.cat, zip(*batches()))), 5, shuffle=True)  # noqa: B905
        return nettrim.torch.fine_tune(
            model, loader, epochs=20, lr=0.02, callback=lambda epoch, loss: losses.append(loss)
        )

    first, second = tuned(), tuned()
    assert_same_state(first, second)
    assert_same_state(model, original)
    assert_same_zeros(first, original)
    assert first.state_dict().keys() == original.state_dict().keys()
    assert [m.training for m in first.modules()] == [m.training for m in original.modules()]
    assert len(losses) == 40
    assert losses[19] < 0.9 * losses[0]


def test_fine_tuning_takes_a_loss_an_optimiser_and_a_callback() -> None:
    model, epochs = sparse(), []

    def stop(epoch: int, loss: float) -> bool:
        epochs.append(epoch)
        return epoch == 2

    def towards_zero(outputs: Any, targets: Any) -> Any:
        return (outputs**2).mean()

    tuned = nettrim.torch.fine_tune(
        model, batches(), epochs=9, loss=towards_zero, optimizer=torch.optim.SGD, callback=stop
    )
    assert epochs == [0, 1, 2]
    assert_same_zeros(tuned, model)
    assert tuned(batches()[0][0]).norm() < model(batches()[0][0]).norm()
    assert_same_state(nettrim.torch.fine_tune(model, batches(), epochs=0), model)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"epochs": -1}, ValueError, "epochs must be at least 0"),
        ({"epochs": 1.5}, TypeError, "epochs must be a whole number"),
        ({"lr": 0.0}, ValueError, "lr must be finite and greater than 0"),
        ({"lr": 1e30}, ValueError, "lr=1e+30: the loss was"),
        ({"module": "net"}, TypeError, "module must be a torch.nn.Module, got str"),
        ({"module": nn.ReLU()}, ValueError, "module has no parameter that can be trained"),
        ({"train_loader": [torch.zeros(3, 1, 8)]}, ValueError, "train_loader must yield pairs"),
        ({"train_loader": []}, ValueError, "train_loader is empty"),
    ],
)
def test_fine_tuning_names_what_is_wrong(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    given = {"module": sparse(), "train_loader": batches(), "epochs": 3, **arguments}
    with pytest.raises(error, match=f"^{re.escape(words)}"):
        nettrim.torch.fine_tune(given.pop("module"), given.pop("train_loader"), **given)
