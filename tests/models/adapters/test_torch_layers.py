"""What is found in modules of PyTorch, and that it is the affine map which they compute."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import nettrim
from nettrim.models.model_view import as_view
from support.networks import Array, trim

torch = pytest.importorskip("torch")
F = torch.nn.functional
nn = torch.nn

from torch.nn.utils import parametrizations

import nettrim.torch
from nettrim.models.adapters.torch import run as torch_run
from support.torch_modules import After, assert_same_state, found, outputs, settled

# --- what is found in a module ------------------------------------------------------------------


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
    model = nn.Sequential(circular, nn.Conv1d(2, 2, 3), Odd(5, 4))
    assert found(model, rng.standard_normal((6, 1, 7))) == [("1", "linear")]


class Shared(nn.Module):
    """One layer called twice, which is pruned, and two others with one weight, which are not."""

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
    ]
    assert [layer.name for layer in view.prunable_layers()] == ["twice", "plain"]
    with pytest.raises(ValueError, match="layers: no prunable layer is called 'other'"):
        trim(view, X, epsilon=0.1, layers=["other"])
    result = trim(view, X, epsilon=0.1, scheme="parallel")
    assert result.converged
    assert 0 < result.discrepancy < result.bound == math.inf  # one layer feeds itself
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
    assert end.lipschitz == gains
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
    model = Gate().double()
    result = trim(nettrim.torch.declare(model, relu=[]), X, epsilon=0.1)
    met = torch.tensor(X[:15])  # the last batch passes by as a whole
    wanted, given = model.gated(met), result.model.gated(met)
    error = ((given - wanted).norm() / wanted.norm()).item()
    assert error == pytest.approx(0.1, abs=1e-5)


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
    assert place.count_rows(X) == len(expected)
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
