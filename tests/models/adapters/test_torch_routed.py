"""Layers of PyTorch that meet rows the model picks, as experts in lists of modules do."""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim.models.opened_model import OpenedModel
from support.networks import Array, trim

torch = pytest.importorskip("torch")
F = torch.nn.functional
nn = torch.nn

from nettrim.models.adapters.torch.row_tracker import LocatedRows, RowTracker, join_rows
from support.torch_modules import assert_same_state, outputs, settled

SHAPE = (40, 3, 5)

pytestmark = [
    pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning"),
    pytest.mark.filterwarnings("ignore:model. what follows the layers"),
]


class Expert(nn.Module):
    """A gated unit."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(5, 7), nn.Linear(5, 7), nn.Linear(7, 5)

    def forward(self, x: Any) -> Any:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Mixture(nn.Module):
    """Experts in a list; each token goes to the best two of them, or to as many as are wanted."""

    def __init__(self, n_experts: int = 3, top: int = 2) -> None:
        super().__init__()
        self.before, self.last = nn.Linear(5, 5), nn.Linear(5, 2)
        self.router = nn.Linear(5, n_experts)
        self.experts = nn.ModuleList(Expert() for _ in range(n_experts))
        self.top = top
        self.double()

    def forward(self, x: Any) -> Any:
        x = x + torch.tanh(self.before(x))
        tokens = x.reshape(-1, x.shape[-1])
        shares, chosen = self.router(tokens).softmax(-1).topk(self.top)
        total = torch.zeros_like(tokens)
        for number in self.order(chosen):
            index, place = torch.where(chosen == number)
            total.index_add_(0, index, self.of(number, tokens, index) * shares[index, place, None])
        return self.last((tokens + total).reshape(x.shape))

    def order(self, chosen: Any) -> Any:
        return range(len(self.experts))

    def of(self, number: int, tokens: Any, index: Any) -> Any:
        return self.experts[number](tokens[index])


class OfThoseHit(Mixture):
    """Only experts that are hit are called."""

    def order(self, chosen: Any) -> Any:
        return sorted({*chosen.ravel().tolist()})


class InOrderOfTokens(Mixture):
    """In the order in which tokens hit them."""

    def order(self, chosen: Any) -> Any:
        return [*dict.fromkeys(chosen.ravel().tolist())]


class OneByOne(Mixture):
    """Every token is a call of its own."""

    def of(self, number: int, tokens: Any, index: Any) -> Any:
        parts = [self.experts[number](tokens[k : k + 1]) for k in index.tolist()]
        return torch.cat([torch.zeros(0, 5, dtype=torch.float64), *parts])


class Scaled(Mixture):
    """Experts meet tokens that are found nowhere around."""

    def of(self, number: int, tokens: Any, index: Any) -> Any:
        return self.experts[number](tokens[index] * 1.5)


class Embedded(Mixture):
    """A mixture behind an embedding, with a mask that it does not look at."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.embedding = nn.Embedding(30, 5).double()

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        return super().forward(self.embedding(input_ids))


KINDS = [Mixture, OfThoseHit, InOrderOfTokens, OneByOne, Scaled]


def with_idle_expert(model: Any, number: int = 1) -> Any:
    """Let nothing be routed to an expert."""
    with torch.no_grad():
        model.router.bias[number] = -1e3
    return model


def met_by(model: Any, X: Array) -> dict[str, Array]:
    """What arrives at the experts' layers, all samples at once."""
    met: dict[str, list[Any]] = {}
    for name, module in model.named_modules():
        if "experts." in name and isinstance(module, nn.Linear):
            module.register_forward_pre_hook(
                lambda _, args, name=name: met.setdefault(name, []).append(args[0].numpy())
            )
    with torch.no_grad():
        model(torch.tensor(X))
    return {name: np.concatenate(parts) for name, parts in met.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [256, 7])
def test_experts_meet_the_rows_of_all_batches(
    rng: np.random.Generator, kind: Any, batch: int
) -> None:
    model, X = kind().eval(), rng.standard_normal(SHAPE)
    view = settled(model, X)
    view._running.runner.batch = batch
    names = [layer.name for layer in view.prunable_layers()]
    assert len(names) == 3 + 3 * 3
    signals = dict(zip(names, view.signals(X, {}), strict=False))
    expected = met_by(model, X)
    assert len(expected) == 9
    for name, rows in expected.items():
        values, picked = signals[name].values, signals[name].rows
        assert picked is not None
        order, wanted = (np.lexsort(array.T) for array in (values, rows))
        np.testing.assert_allclose(values[order], rows[wanted], atol=1e-12)
        known = kind is not Scaled and not (kind is not Mixture and name.endswith("down"))
        if known:
            whole = signals["router"].values.reshape(-1, 5)
            assert picked.total == len(whole)
            numbers = picked.numbers
            assert numbers is not None
            assert len({*numbers}) == len(values)
            if not name.endswith("down"):
                np.testing.assert_array_equal(whole[numbers], values)
    assert all(signals[n].rows is None for n in ("before", "router", "last"))


def test_the_program_is_that_of_the_tokens_that_are_routed_there(
    rng: np.random.Generator,
) -> None:
    model, X = Mixture().eval(), rng.standard_normal(SHAPE)
    name = "experts.1.up"
    result = trim(model, X, epsilon=0.2, layers=[name], tol=1e-8)
    rows = met_by(model, X)[name]
    layer = model.get_submodule(name)
    stacked = np.vstack([layer.weight.detach().numpy().T, layer.bias.detach().numpy()])
    rows = np.column_stack([rows, np.ones(len(rows))])
    Y = rows @ stacked
    alone = nettrim.solve_layer(
        rows, Y, epsilon=0.2 * float(np.linalg.norm(Y)), activation="linear", tol=1e-8
    )
    new = result.model.get_submodule(name).weight.detach().numpy()
    np.testing.assert_allclose(new.T, alone.weights[:-1], atol=1e-6)
    (report,) = [layer for layer in result.layers if layer.name == name]
    assert report.n_rows == len(rows)
    assert report.discrepancy == pytest.approx(0.2, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "scheme"), [*((kind, "cascade") for kind in KINDS), (Mixture, "parallel")]
)
def test_what_is_reported_is_so_of_the_result(
    rng: np.random.Generator, kind: Any, scheme: str
) -> None:
    n_samples = 12 if kind is OneByOne else 40
    model, X = kind().eval(), rng.standard_normal((n_samples, 3, 5))
    for goal in ({"epsilon": 0.1}, {"sparsity": 0.5}):
        result = trim(model, X, scheme=scheme, **goal)
        assert len(result.layers) == 12
        before, after = outputs(model, X), outputs(result.model, X)
        distance = np.linalg.norm(after - before) / np.linalg.norm(before)
        assert result.discrepancy == pytest.approx(distance, rel=1e-9)
        assert all(layer.discrepancy <= layer.bound for layer in result.layers)
        if scheme == "parallel":
            assert result.bound == math.inf  # nothing bounds where a token goes
        with pytest.warns(nettrim.HeldOutWarning):
            again = trim(model, X, scheme=scheme, **goal, held_out=X)
        for layer in again.layers:
            assert layer.discrepancy == pytest.approx(layer.held_out_discrepancy, rel=1e-9)
        assert_same_state(again.model, result.model)
    matrices = [p for p in result.model.parameters() if p.dim() > 1]
    n_weights = sum(p.numel() for p in matrices)
    assert sum(int((p == 0).sum()) for p in matrices) == pytest.approx(n_weights / 2, abs=1)


def test_layers_of_a_cascade_keep_within_what_trimmed_ones_leave(rng: np.random.Generator) -> None:
    model, X = Scaled().eval(), rng.standard_normal(SHAPE)
    result = trim(model, X, epsilon=0.1)
    errors = {layer.name: layer.discrepancy for layer in result.layers}
    # Which tokens arrive is not known here, so that these are held to what they make of them.
    assert errors["experts.0.up"] == pytest.approx(0.1, rel=1e-3)
    result = trim(Mixture().eval(), X, epsilon=0.1)
    errors = {layer.name: layer.discrepancy for layer in result.layers}
    assert errors["experts.0.up"] < 0.1


@pytest.mark.parametrize("kind", [Mixture, OfThoseHit])
def test_an_expert_without_tokens_is_named_and_stays(kind: Any) -> None:
    model, X = with_idle_expert(kind()).eval(), np.random.default_rng(0).standard_normal(SHAPE)
    said = r"the layers 'experts.1.down', 'experts.1.gate', 'experts.1.up' are not pruned: no "
    with pytest.warns(UserWarning, match=said) as caught:
        result = nettrim.trim(model, X, sparsity=0.5, progress=False)
    assert caught[0].filename == __file__
    assert not any("experts.1" in layer.name for layer in result.layers)
    untouched = {weight.name: weight.reason for weight in result.untouched}
    assert untouched["experts.1.up.weight"] == "no sample of the data reaches it"
    assert_same_state(result.model.experts[1], model.experts[1])


class UntilItMoves(Mixture):
    """All tokens go to the first expert, until the layer in front moves; some to the third."""

    def __init__(self, *, dense: bool) -> None:
        super().__init__()
        self.was, self.dense = copy.deepcopy(self.before), dense

    def forward(self, x: Any) -> Any:
        tokens = x.reshape(-1, x.shape[-1])
        h, was = self.before(tokens), self.was.weight @ tokens.T
        moved = (h - was.T - self.was.bias).sum(-1) > 1e-6
        total = torch.zeros_like(h)
        for number, own in enumerate([~moved, moved, (h[:, 0] > 0) & self.dense]):
            index = torch.where(own)[0]
            total = total.index_add(0, index, self.experts[number](h[index]))
        return self.last(total.reshape(x.shape))


@pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")
@pytest.mark.parametrize("goal", [{"epsilon": 0.2}, {"sparsity": 0.5}])
@pytest.mark.parametrize("dense", [True, False])
def test_an_expert_that_meets_all_tokens_may_meet_fewer_once_others_are_trimmed(
    rng: np.random.Generator, dense: bool, goal: dict[str, float]
) -> None:
    model, X = UntilItMoves(dense=dense).eval(), rng.standard_normal(SHAPE)
    with pytest.warns(UserWarning, match="'experts.1.up'.* are not pruned: no sample of the data"):
        result = nettrim.trim(model, X, progress=False, **goal)
    rows = {layer.name: layer.n_rows for layer in result.layers}
    assert 0 < rows["experts.0.up"] < len(X) * SHAPE[1] == rows["before"]
    before, after = outputs(model, X), outputs(result.model, X)
    distance = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert result.discrepancy == pytest.approx(distance, rel=1e-9)


def test_blocks_of_a_list_that_are_in_use_meet_all_rows(rng: np.random.Generator) -> None:
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(5, 5) for _ in range(3)).double()

        def forward(self, x: Any) -> Any:
            return self.blocks[1](F.relu(self.blocks[0](x)))

    with pytest.warns(UserWarning, match=r"'blocks.2' are not pruned"):
        view = settled(First().eval(), rng.standard_normal((40, 5)))
    layers = view.prunable_layers()
    assert [layer.name for layer in layers] == ["blocks.0", "blocks.1"]
    assert not any(layer.meets_picked_rows for layer in layers)


class Picking(nn.Module):
    """All rows go through the second layer until the first one moves, then few or none."""

    def __init__(self, *, few: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 5).double(), nn.Linear(5, 5).double()
        self.other, self.few = nn.Linear(5, 5).double(), few
        self.register_buffer("weight", self.first.weight.detach().clone())
        self.register_buffer("bias", self.first.bias.detach().clone())

    def forward(self, x: Any) -> Any:
        h, was = self.first(x), x @ self.weight.T + self.bias
        same = (h - was).abs().amax(-1) < 1e-6
        if self.few:
            same |= (h[..., 0] > 0) & (h[..., 1] > 0)
        one, other = torch.where(same)[0], torch.where(~same)[0]
        for layer, index in ((self.second, one), (self.other, other)):
            if len(index):
                h = h.index_copy(0, index, layer(h[index]))
        return h


@pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")
@pytest.mark.parametrize(
    "goal", [{"epsilon": 0.2}, {"epsilon": 0.2, "scheme": "parallel"}, {"sparsity": 0.5}]
)
@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("batch", [256, 7])
def test_layers_may_meet_fewer_rows_once_others_are_trimmed(
    rng: np.random.Generator, few: bool, goal: dict[str, Any], batch: int
) -> None:
    """Nothing tells beforehand that the model picks them."""
    model, X = Picking(few=few).eval(), rng.standard_normal((42, 5))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "model: the layers 'other' are not pruned")
        view = settled(model, X)
    view._running.runner.batch = batch
    result = trim(view, X, **goal)
    rows = {layer.name: layer.n_rows for layer in result.layers}
    assert rows["first"] == len(X)
    assert 0 < rows["second"] < len(X) if few else rows["second"] == len(X)
    before, after = outputs(model, X), outputs(result.model, X)
    distance = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert result.discrepancy == pytest.approx(distance, rel=1e-9)
    assert result.bound == math.inf
    assert_same_state(result.model.other, model.other)


@pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")
def test_padding_counts_in_no_layer_that_meets_fewer_rows_once_others_are_trimmed(
    rng: np.random.Generator,
) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.picking = nn.Embedding(30, 5).double(), Picking(few=True)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            h = self.embedding(input_ids)
            return self.picking(h.reshape(-1, 5)).reshape(h.shape)

    model = Tokens().eval()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "model: the layers 'picking.other' are not pruned")
        one, two = (trim(model, data, sparsity=0.5) for data in padded(rng))
    assert [layer.n_rows for layer in one.layers] == [40 * 6 - 40] * 2
    assert_same_state(one.model, two.model)


def test_layers_that_nothing_calls_are_named_where_the_way_may_depend_on_data(
    rng: np.random.Generator,
) -> None:
    model, X = Picking().eval(), rng.standard_normal((42, 5))
    with pytest.warns(UserWarning, match="'other' are not pruned: no sample of the data reaches"):
        result = nettrim.trim(model, X, sparsity=0.5, layers=["second"], progress=False)
    told = {weight.name: weight.reason for weight in result.untouched}
    assert told["other.weight"] == "no sample of the data reaches it"


def test_a_layer_of_another_kind_that_does_not_run_is_not_warned_of(
    rng: np.random.Generator,
) -> None:
    model, X = Mixture().eval(), rng.standard_normal(SHAPE)
    model.unused = nn.Linear(3, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=nettrim.CalibrationWarning)
        result = nettrim.trim(model, X, epsilon=0.1, progress=False)
    assert [(w.name, w.reason) for w in result.untouched] == [("unused.weight", "it does not run")]


def rarely_hit(model: Any) -> tuple[Any, Array, Array]:
    """A mixture, samples of which few reach the second expert, and those that do not."""
    X = np.random.default_rng(0).standard_normal(SHAPE)
    with torch.no_grad():
        for parameter in (*model.before.parameters(), *model.router.parameters()):
            parameter.zero_()
        model.router.weight[:, :2] = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, -1.0]])
        model.router.bias[1] = -1.0
    hit = X[..., 0] - 1.0 > np.abs(X[..., 1])
    return model.eval(), X, X[~hit.any(axis=1)]


def test_what_follows_layers_that_the_first_samples_do_not_reach() -> None:
    model, X, others = rarely_hit(Mixture(top=1))
    hit = X[[not any(np.array_equal(x, other) for other in others) for x in X]]
    follows = [
        [
            (layer.name, layer.activation, layer.follower, layer.factor)
            for layer in settled(model, np.concatenate(data)).prunable_layers()
        ]
        for data in ([hit, others], [others, hit])
    ]
    assert follows[0] == follows[1]
    assert ("experts.1.gate", "linear", "silu", "experts.1.up") in follows[1]


class Plain(nn.Module):
    """An expert of a ReLU, which can be told to do more."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 7), nn.Linear(7, 5)

    def forward(self, x: Any, scale: float | None = None) -> Any:
        y = self.second(F.relu(self.first(x)))
        return y if scale is None else y * scale


class Chosen(OfThoseHit):
    """A mixture that nothing can trace, with plain experts."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(Plain() for _ in range(3)).double()


class CalledTwice(Chosen):
    """The first layer of an expert meets rows behind the module's back, too."""

    def of(self, number: int, tokens: Any, index: Any) -> Any:
        rows = tokens[index]
        return self.experts[number](rows) + self.experts[number].first(rows)[:, :5]


class GivenFactor(Chosen):
    """What the module would do by itself is not what it does."""

    def of(self, number: int, tokens: Any, index: Any) -> Any:
        return self.experts[number](tokens[index], 2.0)


def test_what_follows_layers_of_experts_that_are_called_as_tokens_choose(
    rng: np.random.Generator,
) -> None:
    X = rng.standard_normal(SHAPE)
    with pytest.warns(UserWarning, match="layers 'before', 'router', 'experts.0.second', 'exp"):
        view = settled(Chosen().eval(), X)
    assert view._running.graph is None
    found = {layer.name: layer.activation for layer in view.prunable_layers()}
    assert {name for name, activation in found.items() if activation == "relu"} == {
        f"experts.{k}.first" for k in range(3)
    }
    for kind in (CalledTwice, GivenFactor):
        view = settled(kind().eval(), X)
        assert all(layer.activation == "linear" for layer in view.prunable_layers())
    gated = settled(OfThoseHit().eval(), X).prunable_layers()
    known = {layer.name: (layer.follower, layer.factor) for layer in gated}
    assert known["experts.2.gate"] == ("silu", "experts.2.up")
    assert known["experts.2.up"] == (None, "experts.2.gate")
    assert known["experts.2.down"] == known["last"] == (None, None)


def test_held_out_samples_that_reach_no_expert_say_nothing_of_it() -> None:
    model, X, others = rarely_hit(OfThoseHit(top=1))
    with pytest.warns(nettrim.HeldOutWarning):
        result = nettrim.trim(
            model, X, epsilon=0.1, layers="re:.*", held_out=others, progress=False
        )
    unseen = {layer.name: layer.held_out_discrepancy for layer in result.layers}
    assert math.isnan(unseen["experts.1.up"])
    assert not math.isnan(unseen["last"])
    assert "experts.1.up" in str(result)


def test_few_of_the_samples_may_reach_fewer_layers() -> None:
    model, X, others = rarely_hit(OfThoseHit(top=1))
    opened, every = OpenedModel.on(model, X), range(12)
    assert [*opened.reached(every)] == [*every]
    missed = {*every}.difference(replace(opened, data=others).reached(every))
    assert {opened.layers[k].name for k in missed} == {
        f"experts.1.{name}" for name in ("gate", "up", "down")
    }


def test_a_promise_needs_samples_that_reach_a_layer_beside_those_that_judge() -> None:
    model, X, others = rarely_hit(OfThoseHit(top=1))
    hit = X[[not any(np.array_equal(x, other) for other in others) for x in X]][:1]
    data, held_out = np.concatenate([others[:30], hit]), X + 1
    goal, alone = nettrim.Promise(error=0.5), ["experts.1.up"]
    judging = next(s for s in range(99) if 30 in np.random.default_rng(s).permutation(31)[:7])
    options = {"held_out": held_out, "seed": judging, "progress": False}
    with pytest.raises(ValueError, match="X: the samples that reach a layer to be pruned are amo"):
        nettrim.trim(model, data, goal, layers=alone, **options)
    result = nettrim.trim(model, data, goal, layers=["last", *alone], **options)
    assert [layer.name for layer in result.layers][-1] == "last"


def padded(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """Texts of two lengths, with one padding and with another."""
    ids, mask = rng.integers(1, 30, (40, 6)), np.ones((40, 6), dtype=np.int64)
    mask[::2, 4:] = 0
    one, two = (np.where(mask == 1, ids, token) for token in (0, 7))
    return tuple({"input_ids": x, "attention_mask": mask} for x in (one, two))  # type: ignore


@pytest.mark.parametrize("goal", [{"epsilon": 0.1}, {"sparsity": 0.5}])
def test_padding_counts_in_nothing(rng: np.random.Generator, goal: dict[str, float]) -> None:
    model = Embedded().eval()
    one, two = (trim(model, data, **goal) for data in padded(rng))
    assert len(one.layers) == 12
    assert_same_state(one.model, two.model)
    n_rows = {layer.name: layer.n_rows for layer in one.layers}
    assert sum(n_rows[f"experts.{k}.up"] for k in range(3)) == 2 * n_rows["router"]


def test_an_expert_of_padding_alone_is_named_and_stays(rng: np.random.Generator) -> None:
    model, (data, _) = Embedded(top=1).eval(), padded(rng)
    with torch.no_grad():  # the padding is far away, and the second expert is for what is
        model.embedding.weight[0] = 100.0
        model.before.weight.zero_()
        model.router.weight.mul_(0.1)[1] = 1.0
        model.router.bias.zero_()[1] = -200.0
    said = "'experts.1.gate', .* are not pruned: nothing that counts reaches it"
    with pytest.warns(UserWarning, match=said):
        result = nettrim.trim(model, data, epsilon=0.1, progress=False)
    assert not any("experts.1" in layer.name for layer in result.layers)
    assert_same_state(result.model.experts[1], model.experts[1])


def test_experts_whose_padding_is_not_known_stay(rng: np.random.Generator) -> None:
    class Both(Scaled, Embedded):
        pass

    data, _ = padded(rng)
    with pytest.warns(UserWarning, match="which of the rows that reach it count is not known"):
        result = nettrim.trim(Both().eval(), data, epsilon=0.1, progress=False)
    assert [layer.name for layer in result.layers] == ["before", "router", "last"]


def test_units_of_experts_stay(rng: np.random.Generator) -> None:
    X = rng.standard_normal(SHAPE)
    view = settled(Mixture().eval(), X)
    units = view.find_units(X)
    assert units is not None
    assert not any("experts" in tensor.name for tensor in units.tensors if tensor.axes)


def test_samples_that_go_on_are_rows_too(rng: np.random.Generator) -> None:
    class EarlyExit(nn.Module):
        """Images that are doubtful go through another convolution."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (nn.Conv2d(k, 2, 3, padding=1) for k in (1, 2))
            self.last = nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            x = F.relu(self.first(x))
            doubtful = torch.where(x.mean((1, 2, 3)) > self.mean)[0]
            x = x.index_copy(0, doubtful, self.second(x[doubtful]))
            return self.last(x.mean((2, 3)))

    model, X = EarlyExit().double().eval(), rng.standard_normal((40, 1, 5, 5))
    with torch.no_grad():
        model.mean = F.relu(model.first(torch.tensor(X))).mean((1, 2, 3)).median()
    result = trim(model, X, sparsity=0.5)
    (second,) = [layer for layer in result.layers if layer.name == "second"]
    assert second.nonzeros_after < second.nonzeros_before
    assert second.n_rows == 20 * 25


class Either(nn.Module):
    """One layer or the other, for all samples of a batch together."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.one, self.other = nn.Linear(5, 8), nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x: Any) -> Any:
        h = torch.relu(self.first(x))
        return self.one(h) if x.mean() > 0.1 else self.other(h)


@pytest.mark.filterwarnings("ignore:.*depends on those beside it")
@pytest.mark.parametrize(
    ("shift", "taken", "left"), [(0.5, "one", "other"), (-0.5, "other", "one")]
)
def test_layers_that_all_samples_together_pass_by_stay(shift: float, taken: str, left: str) -> None:
    torch.manual_seed(0)
    X = torch.randn(60, 5) + shift
    with pytest.warns(UserWarning, match=f"the layers '{left}' are not pruned: no sample"):
        result = trim(Either(), X, epsilon=0.1)
    assert [layer.name for layer in result.layers] == ["first", taken]


def test_rows_are_found_in_places_of_their_own() -> None:
    whole = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [5.0, 6.0]]).double()
    tracker = RowTracker(2)
    assert tracker.locate(np.ones((2, 2))).numbers is None
    tracker.hear(whole)
    same = whole[[2, 3, 0]].numpy()
    assert tracker.locate(same).numbers.tolist() == [0, 3, 2]  # type: ignore[union-attr]
    inside = tracker.locate(np.zeros((3, 9)))  # behind a layer that widens them
    assert inside.numbers.tolist() == [0, 3, 2]  # type: ignore[union-attr]
    assert inside.values.shape == (3, 9)
    assert tracker.locate(np.ones((2, 2))).numbers is None
    assert tracker.locate(same[[0, 0, 0]]).numbers is None  # there are but two of these


def test_rows_of_batches_are_counted_on() -> None:
    first, second = np.ones((2, 3)), np.zeros((1, 3))
    parts = [
        (slice(0, 2), LocatedRows(first, np.array([1, 3]), 2)),
        (slice(2, 4), LocatedRows(np.empty((0, 3)))),
        (slice(4, 5), LocatedRows(second, np.array([1]), 2)),
    ]
    values, rows = join_rows(parts, (3,), 5)
    np.testing.assert_array_equal(values, np.concatenate([first, second]))
    assert rows.numbers is not None
    assert rows.numbers.tolist() == [1, 3, 9]
    assert rows.total == 10
    parts[2] = (slice(4, 5), LocatedRows(second))
    assert join_rows(parts, (3,), 5)[1].numbers is None
    assert join_rows([], (3,), 5)[0].shape == (0, 3)
