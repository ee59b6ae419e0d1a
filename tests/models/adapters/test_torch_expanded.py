"""Attention and recurrent layers of PyTorch: pruned by the linear layers that they are made of."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim.models.model_view import as_view
from support.networks import trim

torch = pytest.importorskip("torch")
nn = torch.nn

from nettrim.models.adapters.torch.expansions.expand import expand
from nettrim.models.adapters.torch.graph import TorchGraph

pytestmark = pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")

SIZES = (6, 5, 8)  # samples, steps, features


def settled(model: Any, X: Any) -> Any:
    view: Any = as_view(model)
    view.calibration(X, "X")
    return view


def names(view: Any) -> list[str]:
    return [layer.name for layer in view.prunable_layers()]


def zeros(model: Any) -> float:
    """The share of zeros among all weights of two or more dimensions."""
    weights = [p.detach() for p in model.parameters() if p.dim() > 1]
    return sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)


def change(model: Any, trimmed: Any, X: Any) -> float:
    """How far the output moved, as users of the modules see it."""
    with torch.no_grad():
        before, after = (
            m.double()(torch.as_tensor(X)) for m in map(copy.deepcopy, (model, trimmed))
        )
    return float((after - before).norm() / before.norm())


def assert_pruned(model: Any, X: Any) -> None:
    """It can be trimmed to an error and to a sparsity, and what is reported is so."""
    before = copy.deepcopy(model.state_dict())
    for options in ({"epsilon": 0.1}, {"sparsity": 0.5}):
        result = trim(model, X, **options)
        assert result.discrepancy == pytest.approx(change(model, result.model, X), rel=1e-4)
        assert result.discrepancy <= result.bound
        assert [type(m) for m in result.model.modules()] == [type(m) for m in model.modules()]
        fresh = copy.deepcopy(model)
        fresh.load_state_dict(result.model.state_dict())
        assert change(result.model, fresh, X) == 0.0
        assert zeros(result.model) == pytest.approx(result.model_sparsity)
    assert zeros(result.model) >= 0.49  # to one weight
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


# --- attention ------------------------------------------------------------------------------------


class Attending(nn.Module):
    """Attention of some kind, and a head."""

    def __init__(self, attend: Callable[..., Any], **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, **{"batch_first": True, **options})
        self.attend, self.head = attend, nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.attend(self.attention, x)[0])


PARTS = [f"attention.{part}_proj" for part in ("q", "k", "v", "out")]
WAYS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (lambda attention, x: attention(x, x, x), {}),
    (lambda attention, x: attention(x, x, x, need_weights=False), {"bias": False}),
    (lambda attention, x: attention(x[:, :2], x, x.flip(1)), {}),
    (lambda attention, x: attention(x, x[..., :3], x[..., :4]), {"kdim": 3, "vdim": 4}),
    (lambda attention, x: attention(x, x[..., :3], x), {"kdim": 3, "bias": False}),
]


@pytest.mark.parametrize(("attend", "options"), WAYS)
def test_attention(
    rng: np.random.Generator, attend: Callable[..., Any], options: dict[str, Any]
) -> None:
    model, X = Attending(attend, **options).eval(), rng.standard_normal((20, 5, 8))
    view = settled(model, X)
    assert names(view) == [*PARTS, "head"]
    assert view.untouched() == []
    assert_pruned(model, X)


def masks() -> list[dict[str, Any]]:
    n, steps, _ = SIZES
    later = torch.ones(steps, steps, dtype=torch.bool).triu(1)
    padding = torch.zeros(n, steps, dtype=torch.bool)
    padding[1, 3:] = padding[4, 1:] = True
    by_head = torch.rand(2 * n, steps, steps)
    return [
        {},
        {"need_weights": False},
        {"average_attn_weights": False},
        {"attn_mask": later},
        {"attn_mask": later, "is_causal": True, "need_weights": False},
        {"attn_mask": torch.rand(steps, steps)},
        {"attn_mask": by_head, "key_padding_mask": padding},
        {"attn_mask": by_head > 0.7, "key_padding_mask": padding, "need_weights": False},
        {"key_padding_mask": padding},
        {"key_padding_mask": padding.float() * -5.0, "need_weights": False},
    ]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("number", range(len(masks())))
@pytest.mark.filterwarnings("ignore:Support for mismatched")
def test_expanded_attention_computes_the_same(number: int, batch_first: bool) -> None:
    arguments = masks()[number]
    attention = nn.MultiheadAttention(8, 2, batch_first=batch_first).eval()
    expanded = expand(nn.Sequential(attention)).model[0]
    q, k, v = torch.randn(3, *SIZES).unbind()
    if not batch_first:
        q, k, v = (x.transpose(0, 1) for x in (q, k, v))
    for one, other in zip(
        attention(q, k, v, **arguments), expanded(q, k, v, **arguments), strict=True
    ):
        if one is None:
            assert other is None
        else:
            torch.testing.assert_close(one, other)
    assert torch.equal(expanded.in_proj_weight, attention.in_proj_weight)
    assert torch.equal(expanded.in_proj_bias, attention.in_proj_bias)


@pytest.mark.parametrize("batch_first", [True, False])
def test_expanded_attention_of_one_sample(batch_first: bool) -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=batch_first).eval()
    expanded, x = expand(nn.Sequential(attention)).model[0], torch.randn(5, 8)
    for one, other in zip(attention(x, x, x), expanded(x, x, x), strict=True):
        torch.testing.assert_close(one, other)


def test_a_pattern_runs_along_the_inputs(rng: np.random.Generator) -> None:
    model = Attending(WAYS[0][0]).eval()
    result = trim(model, rng.standard_normal((20, 5, 8)), pattern="2:4")
    weights = result.model.attention.in_proj_weight.reshape(-1, 4)
    assert ((weights != 0).sum(1) <= 2).all()


def test_one_projection_alone(rng: np.random.Generator) -> None:
    model = Attending(WAYS[0][0]).eval()
    result = trim(model, rng.standard_normal((20, 5, 8)), sparsity=0.5, layers=["attention.k_proj"])
    kept = (result.model.attention.in_proj_weight != 0).reshape(3, -1).sum(1)
    assert kept.tolist() == [64, 32, 64]


@pytest.mark.filterwarnings("ignore:model. what follows")  # neither tracer knows what masks hold
def test_transformers_of_pytorch(rng: np.random.Generator) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            options = {"dim_feedforward": 12, "batch_first": True}
            encoder = nn.TransformerEncoderLayer(8, 2, **options)
            self.encoder = nn.TransformerEncoder(encoder, 1)
            self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, **options), 1)

        def forward(self, x: Any) -> Any:
            later = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)
            return self.decoder(x.flip(1), self.encoder(x, later, is_causal=True), later)

    assert_pruned(Both().eval(), rng.standard_normal((20, 5, 8)))


def test_attention_does_not_hide_what_follows(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph of torch.fx goes through it."""
    monkeypatch.setattr(TorchGraph, "exported", lambda *_: None)
    model = nn.Sequential(Attending(WAYS[0][0]), nn.ReLU(), nn.Linear(3, 2)).eval()
    view = settled(model, rng.standard_normal((9, 5, 8)))
    found = {layer.name: layer.activation for layer in view.prunable_layers()}
    assert found["0.head"] == "relu"


# --- recurrent layers -----------------------------------------------------------------------------


class Recurrent(nn.Module):
    """A recurrent layer and a head, of samples along the first axis."""

    def __init__(self, layer: Any, *, whole: bool = True, state: Any = None) -> None:
        super().__init__()
        self.layer, self.whole, self.state = layer, whole, state
        directions = 2 if layer.bidirectional else 1
        self.head = nn.Linear(layer.hidden_size * directions, 3)

    def forward(self, x: Any) -> Any:
        values = x if self.layer.batch_first else x.transpose(0, 1)
        state = None if self.state is None else self.state(self.layer, x)
        outputs, last = self.layer(values, state)
        if not self.whole:
            return self.head((last[0] if isinstance(last, tuple) else last)[-1])
        return self.head(outputs if self.layer.batch_first else outputs.transpose(0, 1))


LAYERS = [
    lambda: nn.LSTM(4, 5, batch_first=True),
    lambda: nn.GRU(4, 5, 2, batch_first=True, bidirectional=True, dropout=0.5),
    lambda: nn.LSTM(4, 5, 2, bias=False, bidirectional=True),
    lambda: nn.GRU(4, 5),
    lambda: nn.RNN(4, 5, nonlinearity="relu", batch_first=True),
    lambda: nn.RNN(4, 5, 2, bidirectional=True, batch_first=True),
]


@pytest.mark.parametrize("layer", LAYERS)
def test_recurrent_layers(rng: np.random.Generator, layer: Callable[..., Any]) -> None:
    model, X = Recurrent(layer()).eval(), rng.standard_normal((20, 5, 4))
    view = settled(model, X)
    parts = [n.partition("_")[2] for n in dict(model.layer.named_parameters()) if "weight" in n]
    assert names(view) == [*(f"layer.{part}" for part in parts), "head"]
    assert view.untouched() == []
    assert_pruned(model, X)


@pytest.mark.parametrize("layer", LAYERS)
def test_what_is_in_front_of_a_recurrent_layer_and_behind_it_is_seen(
    rng: np.random.Generator, layer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph of torch.fx goes through it."""
    monkeypatch.setattr(TorchGraph, "exported", lambda *_: None)
    recurrent = Recurrent(layer())
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), recurrent, nn.ReLU(), nn.Linear(3, 2))
    view = settled(model.eval(), rng.standard_normal((9, 5, 4)))
    found = {layer.name: layer.activation for layer in view.prunable_layers()}
    assert {name for name, activation in found.items() if activation == "relu"} == {"0", "2.head"}


@pytest.mark.parametrize("layer", LAYERS)
def test_expanded_recurrent_layers_compute_the_same(layer: Callable[..., Any]) -> None:
    recurrent = layer().eval()
    expanded, x = expand(nn.Sequential(recurrent)).model[0], torch.randn(5, 5, 4)
    count = recurrent.num_layers * (2 if recurrent.bidirectional else 1)
    state = torch.randn(count, 5, 5)
    states = (state, state + 1.0) if isinstance(recurrent, nn.LSTM) else state
    for arguments in [(x,), (x, states)]:
        (one, first), (other, second) = recurrent(*arguments), expanded(*arguments)
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(first, second)


def test_the_last_state_of_a_recurrent_layer(rng: np.random.Generator) -> None:
    def state(layer: Any, x: Any) -> Any:
        return x.new_ones(1, len(x), layer.hidden_size)

    model = Recurrent(nn.GRU(4, 5, batch_first=True), whole=False, state=state).eval()
    assert_pruned(model, rng.standard_normal((20, 5, 4)))


def test_a_model_that_is_nothing_but_a_recurrent_layer(rng: np.random.Generator) -> None:
    model, X = nn.LSTM(4, 5, batch_first=True), rng.standard_normal((20, 5, 4))
    result = trim(model, X, sparsity=0.5, outputs=["0"])
    assert [layer.name for layer in result.layers] == ["ih_l0", "hh_l0"]
    assert type(result.model) is nn.LSTM
    assert zeros(result.model) == 0.5


def test_hidden_states_arrive_one_step_late(rng: np.random.Generator) -> None:
    model, X = Recurrent(nn.GRU(4, 5, batch_first=True)).eval(), rng.standard_normal((7, 5, 4))
    _, hidden, outputs, _ = settled(model, X).signals(X, {})
    np.testing.assert_array_equal(hidden.values[:, 0], 0.0)
    np.testing.assert_allclose(hidden.values[:, 1:], outputs.values[:, :-1])
    assert hidden.lipschitz == dict.fromkeys((0, 1), math.inf)


@pytest.mark.parametrize("layer", LAYERS)
def test_walks_side_by_side_do_not_disturb_each_other(
    rng: np.random.Generator, layer: Callable[..., Any]
) -> None:
    model, X = Recurrent(layer()).eval(), rng.standard_normal((9, 5, 4))
    view = settled(model, X)
    halves = {
        position: layer.affine.replaced(layer.affine.stacked / 2)
        for position, layer in enumerate(view.prunable_layers())
    }
    trimmed = settled(view.with_weights(halves), X)
    pairs = zip(view.signals(X, {}), view.signals(X, halves), strict=True)
    alone = zip(settled(model, X).signals(X, {}), trimmed.signals(X, {}), strict=True)
    for signals, expected in zip(pairs, alone, strict=True):
        for signal, wanted in zip(signals, expected, strict=True):
            np.testing.assert_allclose(signal.values, wanted.values, atol=1e-12)


@pytest.mark.parametrize("options", [{"epsilon": 0.1}, {"sparsity": 0.5}])
def test_what_is_reported_of_a_recurrent_layer_is_so_of_the_result(
    rng: np.random.Generator, options: dict[str, float]
) -> None:
    """Its hidden states are those of the new weights, which were not there when it was solved."""
    model, X = Recurrent(nn.LSTM(4, 5, batch_first=True)), rng.standard_normal((20, 5, 4))
    with pytest.warns(nettrim.HeldOutWarning, match="20 of its 20 samples are in X"):
        result = trim(model, X, held_out=X, **options)
    for layer in result.layers:
        assert layer.discrepancy == pytest.approx(layer.held_out_discrepancy, rel=1e-9)
        assert layer.discrepancy <= layer.bound


@pytest.mark.parametrize("layers", [["layer.hh_l0"], ["layer.ih_l0"], ["head"]])
@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_bounds_of_a_part_of_a_recurrent_layer(
    rng: np.random.Generator, layers: list[str], scheme: str
) -> None:
    """A change of the recurrent weights comes back to them, and nothing bounds that."""
    model, X = Recurrent(nn.LSTM(4, 5, batch_first=True)), rng.standard_normal((20, 5, 4))
    result = trim(model, X, epsilon=0.1, layers=layers, scheme=scheme)
    assert all(layer.discrepancy <= layer.bound * (1 + 1e-9) for layer in result.layers)
    assert result.discrepancy <= result.bound
    assert math.isfinite(result.bound) == (layers == ["head"])
    assert result.discrepancy == pytest.approx(change(model, result.model, X), rel=1e-4)


# --- what stays as it is --------------------------------------------------------------------------


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x: Any) -> Any:
        lengths = torch.full((len(x),), x.shape[1] - 1)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return self.head(self.layer(packed)[1][0])


def test_packed_sequences_are_left_alone(rng: np.random.Generator) -> None:
    model, X = Packed(), rng.standard_normal((9, 5, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        view = settled(model, X)
    assert names(view) == ["head"]
    assert {weight.reason for weight in view.untouched()} == {"recurrent layer"}


class Sharing(nn.Module):
    """Attention whose weights something else reads, holds, or changes."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.first = how, nn.MultiheadAttention(8, 2, batch_first=True)
        self.second = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 2)
        if how == "holds":
            self.second.in_proj_weight = self.first.in_proj_weight
        if how == "hooks":
            self.first.register_forward_hook(lambda module, args, out: (2.0 * out[0], out[1]))

    def forward(self, x: Any) -> Any:
        second = self.first if self.how == "twice" else self.second
        y = second(self.first(x, x, x)[0], x, x)[0]
        if self.how == "reads":
            y = y @ self.first.in_proj_weight[:8]
        return self.head(y)


@pytest.mark.parametrize(
    ("how", "left"),
    [
        ("reads", ["first.q_proj", "first.k_proj", "first.v_proj"]),
        ("holds", ["first.in_proj", "first.out_proj", "second.out_proj"]),
        ("hooks", ["first.in_proj", "first.out_proj"]),
        ("twice", [f"second.{p}_proj" for p in ("q", "k", "v", "out")]),  # which does not run
    ],
)
def test_weights_with_another_use_are_left_alone(
    rng: np.random.Generator, how: str, left: list[str]
) -> None:
    model, X = Sharing(how).eval(), rng.standard_normal((12, 5, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        view = settled(model, X)
        result = trim(model, X, sparsity=0.5)
    told = [w.name.removesuffix("_weight").removesuffix(".weight") for w in view.untouched()]
    assert sorted(told) == sorted(left)
    assert result.discrepancy == pytest.approx(change(model, result.model, X), rel=1e-4)
    assert zeros(result.model) == pytest.approx(result.model_sparsity)


def test_an_expansion_that_computes_something_else_is_dropped(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = nn.GRU.forward
    monkeypatch.setattr(nn.GRU, "forward", lambda self, *x: (forward(self, *x)[0] * 1.001, None))
    recurrent = Recurrent(nn.GRU(3, 5, batch_first=True))
    view = settled(
        nn.Sequential(Attending(WAYS[0][0]), recurrent).eval(), rng.standard_normal((9, 5, 8))
    )
    assert names(view) == [*(f"0.{part}" for part in PARTS), "0.head", "1.head"]
    assert {weight.reason for weight in view.untouched()} == {"recurrent layer"}


def test_where_only_the_module_itself_will_do(rng: np.random.Generator) -> None:
    class Insisting(Attending):
        def forward(self, x: Any) -> Any:
            known = isinstance(self.attention, nn.MultiheadAttention)
            return super().forward(x) * (1.0 if known else 2.0)

    view = settled(Insisting(WAYS[0][0]).eval(), rng.standard_normal((9, 5, 8)))
    assert names(view) == ["head"]
    assert {weight.reason for weight in view.untouched()} == {"attention"}
