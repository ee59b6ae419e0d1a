"""Layers of PyTorch that run more than once in a pass are pruned on what all their calls meet."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest

import nettrim
from support.networks import trim

torch = pytest.importorskip("torch")
F = torch.nn.functional
nn = torch.nn

from nettrim.models.adapters.torch.expansions.expand import expand
from support.torch_modules import assert_same_state, assert_true, found, outputs, settled


class Loop(nn.Module):
    """A layer that meets its own outputs, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.last = nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, x: Any) -> Any:
        return self.last(torch.relu(self.step(torch.relu(self.step(torch.relu(self.step(x)))))))


class Siamese(nn.Module):
    """The same two layers for both halves of a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 6)
        self.last = nn.Linear(12, 3)

    def forward(self, x: Any) -> Any:
        halves = [self.second(F.relu(self.first(half))) for half in x.chunk(2, -1)]
        return self.last(torch.cat(halves, -1))


class FedByLater(nn.Module):
    """A layer that meets what a later one puts out, not its own outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.between, self.last = (nn.Linear(5, k) for k in (5, 5, 2))

    def forward(self, x: Any) -> Any:
        before = self.twice(x)
        return self.last(before + self.twice(self.between(x).relu()))


class Around(nn.Module):
    """A layer that meets its own outputs by way of another one."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.between, self.last = (nn.Linear(5, k) for k in (5, 5, 2))

    def forward(self, x: Any) -> Any:
        before = self.twice(x)
        return self.last(before + self.twice(self.between(before.relu())))


class OfManyNames(nn.Module):
    """Two layers under several names; torch.export alone can follow it, and takes other names."""

    def __init__(self) -> None:
        super().__init__()
        one, two, self.last = (nn.Linear(5, k) for k in (5, 5, 2))
        self.layers = nn.ModuleList([one, two, one])
        self.again = two

    def forward(self, x: Any) -> Any:
        for layer in self.layers if x.shape[0] else ():
            x = F.relu(layer(x))
        return self.last(x + self.again(x))


class Inside(nn.Module):
    """A layer in what torch.fx takes for a module of PyTorch's own, and does not follow."""

    __module__ = "torch.nn.modules.inside"

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 5)

    def forward(self, x: Any) -> Any:
        return self.layer(x) if bool(x.isfinite().all()) else x  # nor does torch.export


class HalfSeen(nn.Module):
    """A layer that is called where it can be seen, and then inside of what nothing can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.last = Inside(), nn.Linear(5, 2)

    def forward(self, x: Any) -> Any:
        return self.last(torch.tanh(self.inside(torch.relu(self.inside.layer(x)))))


class SharedHead(nn.Module):
    """A convolution for two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(k, 4, 3, padding=1) for k in (1, 4))
        self.head = nn.Conv2d(4, 2, 3)

    def forward(self, x: Any) -> Any:
        one = F.relu(self.first(x))
        return torch.stack([self.head(one), self.head(F.relu(self.second(one)))], 1)


class Unrolled(nn.Module):
    """A cell that runs over the steps of a sequence."""

    def __init__(self, cell: Any) -> None:
        super().__init__()
        self.cell, self.last = cell, nn.Linear(cell.hidden_size, 2)

    def forward(self, x: Any) -> Any:
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.last(state[0] if isinstance(state, tuple) else state)


class OfTokens(nn.Module):
    """A block of attention and a layer, twice; a mask says which tokens count."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.MultiheadAttention(4, 2, batch_first=True)
        self.up, self.down = nn.Linear(4, 6), nn.Linear(6, 4)

    def forward(self, x: Any, mask: Any) -> Any:
        for _ in range(2):
            x = x + self.mix(x, x, x, key_padding_mask=mask == 0, need_weights=False)[0]
            x = x + self.down(torch.relu(self.up(x)))
        return x


VECTORS, IMAGES, STEPS = (40, 5), (12, 1, 6, 6), (30, 4, 3)
MODELS: list[tuple[Any, tuple[int, ...]]] = [
    (Loop, VECTORS),
    (Siamese, (40, 8)),
    (FedByLater, VECTORS),
    (Around, VECTORS),
    (OfManyNames, VECTORS),
    (SharedHead, IMAGES),
    (lambda: Unrolled(nn.RNNCell(3, 4)), STEPS),
]
CELLS = [
    lambda: nn.LSTMCell(3, 4),
    lambda: nn.LSTMCell(3, 4, bias=False),
    lambda: nn.GRUCell(3, 4),
    lambda: nn.RNNCell(3, 4),
    lambda: nn.RNNCell(3, 4, nonlinearity="relu"),
]


def test_all_calls_arrive_in_their_order(rng: np.random.Generator) -> None:
    model, X = Loop().eval(), rng.standard_normal(VECTORS)
    assert found(model, X) == [("step", "relu"), ("last", "linear")]
    view = settled(model, X)
    halved = {0: view.prunable_layers()[0].affine}
    halved[0] = halved[0].replaced(halved[0].stacked / 2)
    for weights, changed in [({}, model), (halved, view.with_weights(halved))]:
        step, last = changed.step.double(), X
        for signal in itertools.islice(view.signals(X, weights), 1):
            assert signal.values.shape == (40, 3, 5)
            for call in range(3):
                np.testing.assert_allclose(signal.values[:, call], last, atol=1e-12)
                last = torch.relu(step(torch.tensor(last))).detach().numpy()


def test_the_program_is_that_of_all_calls_together(rng: np.random.Generator) -> None:
    model, X = Siamese().double(), rng.standard_normal((40, 8))
    result = trim(model, X, epsilon=0.2, scheme="parallel", layers=["first"], tol=1e-8)
    rows = np.column_stack([X.reshape(-1, 4), np.ones(80)])
    layer = model.first
    stacked = np.vstack([layer.weight.detach().numpy().T, layer.bias.detach().numpy()])
    Y = np.maximum(rows @ stacked, 0.0)
    alone = nettrim.solve_layer(rows, Y, epsilon=0.2 * float(np.linalg.norm(Y)), tol=1e-8)
    new = result.model.first
    np.testing.assert_allclose(new.weight.detach().numpy().T, alone.weights[:-1], atol=1e-6)


@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
@pytest.mark.parametrize(("kind", "shape"), MODELS, ids=[*"abcdefg"])
def test_what_is_reported_is_so_of_the_result(
    rng: np.random.Generator, kind: Any, shape: tuple[int, ...], scheme: str
) -> None:
    model, X = kind().eval(), rng.standard_normal(shape)
    names = [name for name, _ in found(model, X)]
    for layers in [None, names[:1], names[1:2]]:
        result = trim(model, X, epsilon=0.1, scheme=scheme, layers=layers)
        assert_true(result, X)
        with pytest.warns(nettrim.HeldOutWarning):
            again = trim(model, X, epsilon=0.1, scheme=scheme, layers=layers, held_out=X)
        for layer in again.layers:
            assert layer.discrepancy == pytest.approx(layer.held_out_discrepancy, rel=1e-9)
        assert_same_state(again.model, result.model)


@pytest.mark.parametrize(("kind", "shape"), MODELS, ids=[*"abcdefg"])
def test_budgets_count_a_weight_once(
    rng: np.random.Generator, kind: Any, shape: tuple[int, ...]
) -> None:
    model, X = kind().eval(), rng.standard_normal(shape)
    result = trim(model, X, sparsity=0.5)
    matrices = [p for p in result.model.parameters() if p.dim() > 1]
    n_weights = sum(p.numel() for p in matrices)
    assert sum(int((p == 0).sum()) for p in matrices) == pytest.approx(n_weights / 2, abs=1)
    moved = outputs(result.model, X) - outputs(model, X)
    assert result.discrepancy == pytest.approx(
        np.linalg.norm(moved) / np.linalg.norm(outputs(model, X)), rel=1e-6
    )


def test_every_call_counts_as_operations(rng: np.random.Generator) -> None:
    X = rng.standard_normal((40, 8))
    view = settled(Siamese().eval(), X)
    units = view.find_units(X)
    assert units is not None
    assert units.operations(np.ones(units.n_units, dtype=bool)) == 2 * (4 * 8 + 8 * 6) + 12 * 3
    images = rng.standard_normal(IMAGES)
    units = settled(SharedHead().eval(), images).find_units(images)
    assert units is not None
    of_maps, of_heads = 36 * 9 * (4 + 4 * 4), 2 * 16 * 9 * 4 * 2
    assert units.operations(np.ones(units.n_units, dtype=bool)) == of_maps + of_heads


def test_how_far_signals_follow_a_layer_of_two_calls(rng: np.random.Generator) -> None:
    model, X = Siamese().eval(), rng.standard_normal((40, 8))
    first, second, last, _ = settled(model, X).signals(X, {})
    assert first.lipschitz == {}
    assert second.lipschitz == {0: pytest.approx(math.sqrt(2))}  # each call may move as far
    assert set(last.lipschitz) == {1}
    assert math.isfinite(last.lipschitz[1])


def test_nothing_bounds_what_comes_back(rng: np.random.Generator) -> None:
    X = rng.standard_normal(VECTORS)
    step, last, _ = settled(Loop().eval(), X).signals(X, {})
    assert step.lipschitz == {0: math.inf}
    assert last.lipschitz == {0: math.inf}
    twice, between, end, _ = settled(FedByLater().eval(), X).signals(X, {})
    assert twice.lipschitz == {1: 1.0}
    assert between.lipschitz == {}
    assert set(end.lipschitz) == {0, 1}
    assert end.lipschitz[1] == math.inf


def test_calls_that_are_not_seen_leave_no_bound(rng: np.random.Generator) -> None:
    model, X = HalfSeen().eval(), rng.standard_normal(VECTORS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what follows is not known either
        layer, last, _ = settled(model, X).signals(X, {})
        result = trim(model, X, epsilon=0.1, scheme="parallel", layers=["inside.layer"])
    assert layer.lipschitz[0] == last.lipschitz[0] == math.inf
    assert_true(result, X)


@pytest.mark.parametrize("cell", CELLS)
def test_expanded_cells_compute_the_same(cell: Any) -> None:
    given = cell().eval()
    expanded, x = expand(nn.Sequential(given)).model[0], torch.randn(6, 3)
    state = torch.randn(6, 4)
    states = (state, state + 1.0) if isinstance(given, nn.LSTMCell) else state
    for arguments in [(x,), (x, states), (x[0],)]:
        torch.testing.assert_close(given(*arguments), expanded(*arguments))


@pytest.mark.parametrize("cell", CELLS)
def test_cells_are_pruned(rng: np.random.Generator, cell: Any) -> None:
    model, X = Unrolled(cell()).eval(), rng.standard_normal(STEPS)
    view = settled(model, X)
    assert [layer.name for layer in view.prunable_layers()] == ["cell.ih", "cell.hh", "last"]
    assert view.untouched() == []
    result = trim(model, X, sparsity=0.5)
    assert type(result.model.cell) is type(model.cell)
    assert result.discrepancy < 0.5


def test_padding_counts_in_nothing(rng: np.random.Generator) -> None:
    model, X = OfTokens().eval(), rng.standard_normal((20, 6, 4))
    mask = np.ones((20, 6), dtype=np.int64)
    mask[::2, 4:] = 0
    other = np.where(mask[..., None] == 1, X, rng.standard_normal(X.shape))
    one, two = (trim(model, {"x": x, "mask": mask}, epsilon=0.1, mask="mask") for x in (X, other))
    assert len(one.layers) == 6
    assert_same_state(one.model, two.model)


def test_a_layer_that_some_samples_meet_more_often(rng: np.random.Generator) -> None:
    class Once(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.last = nn.Linear(5, 5), nn.Linear(5, 2)

        def forward(self, x: Any) -> Any:
            return self.last(torch.cat([self.layer(sample) for sample in x.split(1)]))

    X = rng.standard_normal(VECTORS)
    reason = "what arrives there does not go with the samples"
    with pytest.warns(UserWarning, match=f"layer 'layer' is not pruned: {reason}") as caught:
        result = nettrim.trim(Once(), X, epsilon=0.1, progress=False)
    assert caught[0].filename == __file__
    assert [layer.name for layer in result.layers] == ["last"]


def test_a_layer_that_runs_more_often_on_other_samples(rng: np.random.Generator) -> None:
    class UntilSmall(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.last = nn.Linear(5, 5), nn.Linear(5, 2)

        def forward(self, x: Any) -> Any:
            for _ in range(2 if x.abs().max() < 10 else 3):
                x = self.layer(x).tanh()
            return self.last(x)

    X = rng.standard_normal((300, 5))
    X[-1] *= 100.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # nothing can follow such code
        with pytest.raises(ValueError, match="'layer' more often on some"):
            trim(UntilSmall(), X, epsilon=0.1)


class Triplet(nn.Module):
    """Layers for three parts of a sample, behind a layer for all of it, and with heads between."""

    def __init__(self, n_layers: int = 2) -> None:
        super().__init__()
        self.before = nn.Linear(12, 12)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(n_layers))
        self.between, self.last = nn.Linear(4, 2), nn.Linear(14, 3)

    def forward(self, x: Any) -> Any:
        x = torch.tanh(self.before(x))
        parts = []
        for number, part in enumerate(x.chunk(3, -1)):
            for layer in self.layers:
                part = part + F.relu(layer(part))
            if number == 0:
                parts.append(self.between(part))
            parts.append(part)
        return self.last(torch.cat(parts, -1))


def waiting_points(model: Any, X: Any) -> list[str]:
    return settled(model, X)._points


def test_calls_that_do_not_meet_each_other_are_known(rng: np.random.Generator) -> None:
    X = rng.standard_normal((40, 12))
    assert waiting_points(Triplet().eval(), X) == ["before", "layers.0", "layers.1"]
    assert waiting_points(Siamese().eval(), rng.standard_normal((40, 8))) == ["first", "second"]
    for kind in (Loop, FedByLater, Around, OfManyNames):
        assert waiting_points(kind().eval(), rng.standard_normal(VECTORS)) == []
    assert waiting_points(SharedHead().eval(), rng.standard_normal(IMAGES)) == []


@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
@pytest.mark.parametrize(("kind", "width"), [(Siamese, 8), (Triplet, 12)])
def test_passes_side_by_side_change_nothing(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, kind: Any, width: int, scheme: str
) -> None:
    model, X = kind().eval(), rng.standard_normal((300, width))
    view = settled(model, X)
    affine = view.prunable_layers()[0].affine
    weights = {0: affine.replaced(affine.stacked / 2)}
    signals = [signal.values for signal in view.signals(X, weights)]
    result = trim(model, X, sparsity=0.4, scheme=scheme)
    monkeypatch.setattr("nettrim.models.adapters.torch.model.find_waiting_points", lambda _: [])
    again = settled(model, X)
    assert again._points == []
    for one, other in zip(signals, again.signals(X, weights), strict=True):
        np.testing.assert_array_equal(one, other.values)
    assert_same_state(trim(model, X, sparsity=0.4, scheme=scheme).model, result.model)


@pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")
def test_passes_do_not_grow_with_the_number_of_layers(rng: np.random.Generator) -> None:
    X, counts = rng.standard_normal((40, 12)), []
    for n_layers in (2, 6):
        model = Triplet(n_layers).eval()
        passes: list[int] = []
        model.register_forward_pre_hook(lambda *_, passes=passes: passes.append(1))
        trim(model, X, epsilon=0.1)
        counts.append(len(passes))
    assert 0 < counts[0] == counts[1]


@pytest.mark.parametrize(("budget", "expected"), [(1 << 29, 1), (0, 6)])
def test_a_pass_serves_as_many_layers_as_there_is_room_for(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, budget: int, expected: int
) -> None:
    module = "nettrim.models.adapters.torch"
    monkeypatch.setattr(f"{module}.repeated.BUDGET", budget)
    monkeypatch.setattr(f"{module}.model.find_waiting_points", lambda _: [])
    X = rng.standard_normal((40, 12))
    view = settled(Triplet(6).eval(), X)
    runner, asked = view._running.runner, []
    inputs_of_calls = runner.inputs_of_calls
    monkeypatch.setattr(
        runner, "inputs_of_calls", lambda *args: asked.append(1) or inputs_of_calls(*args)
    )
    assert len([*view.signals(X, {})]) == 10
    assert len(asked) == expected


def test_a_layer_that_is_called_more_often_than_it_was_is_refused(
    rng: np.random.Generator,
) -> None:
    X = rng.standard_normal((40, 8))
    view = settled(Siamese().eval(), X)
    model = view._running.runner.model
    as_it_was = model.forward

    def forward(x: Any) -> Any:
        model.first(x[:, :4])
        return as_it_was(x)

    model.forward = forward
    with pytest.raises(ValueError, match="calls 'first' more often on some samples"):
        [*view.signals(X, {})]
