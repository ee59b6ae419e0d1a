"""Weights of modules that are left alone: all of them are told of, each once, with the reason."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

from nettrim.models.model_view import as_view
from support.networks import trim

torch = pytest.importorskip("torch")
F = torch.nn.functional
nn = torch.nn

from torch.nn.utils import parametrizations


def settled(model: Any, X: Any) -> Any:
    """The view of a module that has seen data, whatever it warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        view: Any = as_view(model)
        view.calibration(X, "X")
    return view


def reasons(view: Any) -> dict[str, str]:
    return {weight.name: weight.reason for weight in view.untouched()}


class Zoo(nn.Module):
    """One of each kind of weight that is no prunable layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.table = nn.Embedding(9, 4), nn.Parameter(torch.randn(1, 5, 4))
        self.register_buffer("waves", torch.randn(5, 4))
        self.register_buffer("causal", torch.ones(5, 5, dtype=torch.bool))
        self.register_buffer("passing", torch.ones(5, 5), persistent=False)
        self.norm = nn.LayerNorm([5, 4])
        self.attention = nn.MultiheadAttention(4, 2, add_zero_attn=True, batch_first=True)
        self.lstm = nn.LSTM(4, 5, proj_size=4, batch_first=True)
        self.cell, self.pair = nn.LSTMCell(4, 4), nn.Bilinear(4, 4, 4)
        self.up = nn.ConvTranspose3d(4, 4, 1)
        self.circular = nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular")
        self.experts = nn.Parameter(torch.randn(2, 4, 4))
        self.normed = parametrizations.weight_norm(nn.Linear(4, 4))
        self.twice, self.idle, self.last = nn.Linear(4, 4), nn.Linear(4, 6), nn.Linear(4, 2)

    def forward(self, ids: Any) -> Any:
        x = self.norm(self.tokens(ids) + self.table + self.waves)
        x = self.lstm(self.attention(x, x, x, need_weights=False)[0])[0]
        x = self.circular(self.up(x.mT[..., None, None]).flatten(2)).mT
        x = self.cell(x.mean(1))[0]
        x = self.twice(self.twice(self.normed(self.pair(x, x)).relu()))
        return self.last(torch.einsum("nf,efg->ng", x, self.experts))


def test_every_kind_is_named_with_its_reason(rng: np.random.Generator) -> None:
    model = Zoo()
    view = settled(model, rng.integers(0, 9, (12, 5)))
    assert [layer.name for layer in view.prunable_layers()] == [
        *("cell.ih", "cell.hh", "twice", "last")
    ]
    found = reasons(view)
    computed = "its weights are computed from other parameters; bake them in first"
    code = "used by the code of Zoo"
    assert found == {
        "table": code,
        "experts": code,
        "tokens.weight": "embedding",
        "norm.weight": "normalisation",
        "norm.bias": "normalisation",
        "attention.in_proj_weight": "attention",
        "attention.out_proj.weight": "attention",
        "lstm.weight_ih_l0": "recurrent layer",
        "lstm.weight_hh_l0": "recurrent layer",
        "lstm.weight_hr_l0": "recurrent layer",
        "pair.weight": "bilinear layer",
        "up.weight": "transposed convolution",
        "circular.weight": "padding mode 'circular'",
        "normed.parametrizations.weight.original0": computed,
        "normed.parametrizations.weight.original1": computed,
        "idle.weight": "it does not run",
        "waves": "a buffer, not a parameter",
    }
    handled = sum(layer.affine.weights.size for layer in view.prunable_layers())
    told = sum(w.size for w in view.untouched() if w.name != "waves")
    assert handled + told == sum(p.numel() for p in model.parameters() if p.dim() > 1)


def test_zeros_are_counted_and_shapes_kept() -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
    model[0].weight.data[1:3] = 0.0
    (weight,) = as_view(model).untouched()  # type: ignore[attr-defined]
    assert weight == ("0.weight", (5, 3), 9, "embedding")


def test_before_a_run_all_layers_are_prunable() -> None:
    view: Any = as_view(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    assert [layer.activation for layer in view.prunable_layers()] == ["relu", "linear"]
    assert view.untouched() == []


class Reading(nn.Module):
    """A layer whose weight is read in a second way."""

    def __init__(self, how: Any) -> None:
        super().__init__()
        self.e, self.h, self.how = nn.Linear(5, 4), nn.Linear(4, 4), how

    def forward(self, x: Any) -> Any:
        return self.how(self, self.h(self.e(x).relu()).relu())


SECOND_READS = [
    lambda net, y: F.linear(y, net.e.weight.t()),
    lambda net, y: y @ net.e.weight,
    lambda net, y: y * net.e.weight.norm(),
    lambda net, y: (y, torch.zeros(len(y)) + net.e.weight.square().sum()),
    lambda net, y: torch.einsum("no,of->nf", y, net.e.weight),
    lambda net, y: F.conv1d(y[:, :, None], net.e.weight[:, :4, None]),
    lambda net, y: y + net.e.bias,
    lambda net, y: y + net.e.weight[:, 0].view(1, -1).expand(len(y), -1),
    lambda net, y: y * (1.0 if net.e.weight.sum() < 1e9 else 0.0),  # cannot be traced at all
    lambda net, y: F.linear(y, net.e.weight.double().t().to(y.dtype)),
]


@pytest.mark.filterwarnings("ignore:model. what follows", "ignore::nettrim.CalibrationWarning")
@pytest.mark.parametrize("how", SECOND_READS)
def test_a_weight_that_is_read_a_second_time_is_left_alone(
    rng: np.random.Generator, how: Any
) -> None:
    model, X = Reading(how), rng.standard_normal((40, 5))
    with pytest.warns(UserWarning, match="layer 'e' is not pruned: its weights are read elsewhere"):
        result = trim(model, X, epsilon=0.1)
    assert [layer.name for layer in result.layers] == ["h"]
    assert torch.equal(result.model.e.weight, model.e.weight)
    assert reasons(settled(model, X)) == {"e.weight": "its weights are read elsewhere too"}


@pytest.mark.parametrize(
    "how",
    [
        lambda net, y: y.to(net.e.weight.dtype).reshape(-1, net.e.weight.shape[0]),
        lambda net, y: y if net.e.weight.requires_grad else -y,
        lambda net, y: y + net.e.weight.numel(),
    ],
)
def test_to_look_at_a_weight_is_not_to_read_it(rng: np.random.Generator, how: Any) -> None:
    view: Any = as_view(Reading(how))
    view.calibration(rng.standard_normal((9, 5)), "X")
    assert [layer.name for layer in view.prunable_layers()] == ["e", "h"]


def test_weights_that_share_memory(rng: np.random.Generator) -> None:
    """Not the same parameters, but the same numbers; parts of one buffer are no such thing."""
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    model[1].weight = nn.Parameter(model[0].weight.detach().t())
    both = torch.randn(2, 4, 4)
    model[2].weight, model[3].weight = (nn.Parameter(part) for part in both)
    view = settled(model, rng.standard_normal((9, 4)))
    assert [layer.name for layer in view.prunable_layers()] == ["2", "3"]
    assert set(reasons(view).values()) == {"it shares its parameters with another module"}


def test_weights_shared_with_an_embedding_come_once(rng: np.random.Generator) -> None:
    model = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 4), nn.Linear(4, 6, bias=False))
    model[2].weight = model[0].weight
    view = settled(model, rng.integers(0, 6, (9, 3)))
    assert reasons(view) == {"0.weight": "it shares its parameters with another module"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:model cannot compute in float64")
def test_quantised_layers(rng: np.random.Generator) -> None:
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("PyTorch without quantised operations")
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3), nn.Linear(3, 2))
    model[0].weight.data[:, 0] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.quantize_dynamic(
            model, {"0": torch.ao.quantization.default_dynamic_qconfig}
        )
    view = settled(model, rng.standard_normal((9, 5)))
    (weight,) = view.untouched()
    assert weight[:2] == ("0.weight", (4, 5))
    assert weight.reason == "quantised"
    assert weight.nonzeros <= 16
    assert [layer.name for layer in view.prunable_layers()] == ["2", "3"]


def test_complex_weights_are_left_alone(rng: np.random.Generator) -> None:
    class Waves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.waves, self.last = nn.Linear(3, 3, dtype=torch.complex128), nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            return self.last(torch.fft.irfft(self.waves(torch.fft.rfft(x)), n=4))

    model, X = Waves(), rng.standard_normal((9, 4))
    with pytest.warns(UserWarning, match="layer 'waves' is not pruned: its weights are complex128"):
        view: Any = as_view(model)
    view.calibration(X, "X")
    assert reasons(view) == {"waves.weight": "its weights are complex128"}
    assert math.prod(view.untouched()[0].shape) == 9


class Along(nn.Module):
    """A convolution over the axis of samples."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.over = nn.Linear(8, 8), nn.Conv1d(8, 4, 1)

    def forward(self, x: Any) -> Any:
        return self.over(torch.relu(self.first(x)).t()[None])[0].t()


def test_a_convolution_along_the_samples_is_left_alone(rng: np.random.Generator) -> None:
    with pytest.warns(UserWarning, match="'over' is not pruned: samples run along"):
        result = trim(Along(), rng.standard_normal((64, 8)), epsilon=0.1)
    assert [layer.name for layer in result.layers] == ["first"]
    assert [weight.name for weight in result.untouched] == ["over.weight"]
