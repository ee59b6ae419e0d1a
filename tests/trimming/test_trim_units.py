"""Whole networks with fewer units: shapes shrink, sizes are met, what is left is fitted anew."""

from __future__ import annotations

import inspect
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim import Dense, Network
from nettrim.trimming.methods import to_units
from nettrim.trimming.methods.unit_search import choose_units
from nettrim.trimming.methods.unit_sizes import SignalCurve, count_cost
from support.networks import Array, random_network, trim

# Random networks give up much at any size.
pytestmark = [
    pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning"),
    pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning"),
]


@pytest.fixture(scope="module")
def network() -> Network:
    return random_network(np.random.default_rng(3), 20, 32, 24, 5)


@pytest.fixture(scope="module")
def X() -> Array:
    return np.random.default_rng(4).standard_normal((300, 20))


def n_parameters(network: Network) -> int:
    affines = [layer.affine for layer in network.prunable_layers()]
    return sum(a.weights.size + (0 if a.bias is None else a.bias.size) for a in affines)


def widths(network: Network) -> list[int]:
    return [layer.shape[1] for layer in network.prunable_layers()]


@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_the_size_is_met(network: Network, X: Array, scheme: str, share: float) -> None:
    result = trim(network, X, goal=nettrim.Units(share, multiple_of=1), scheme=scheme)
    left, before = n_parameters(result.model), n_parameters(network)
    assert left <= share * before
    widest = 20 + 1 + 24 + 32 + 1 + 5  # of one unit
    assert left > share * before - widest
    assert result.widths is not None
    assert result.widths.parameters == (before, left)
    assert [signal.units.after for signal in result.widths.signals] == widths(result.model)[:2]
    assert result.discrepancy <= result.bound * (1 + 1e-9)
    assert result.nonzeros_after == sum(
        np.count_nonzero(layer.affine.weights) for layer in result.model.prunable_layers()
    )


def test_errors_are_those_of_the_smaller_network(network: Network, X: Array) -> None:
    unseen = np.random.default_rng(5).standard_normal((200, 20))
    result = trim(network, X, goal=nettrim.Units(operations=0.5), held_out=unseen)
    for data, reported in ((X, result.discrepancy), (unseen, result.held_out_discrepancy)):
        before, after = network.predict(data), result.model.predict(data)
        error = np.linalg.norm(after - before) / np.linalg.norm(before)
        assert reported == pytest.approx(error, rel=1e-9)


def test_widths_are_multiples(network: Network, X: Array) -> None:
    result = trim(network, X, goal=nettrim.Units(0.5))
    assert all(width % 8 == 0 for width in widths(result.model)[:2])
    narrow = trim(network, X, goal=nettrim.Units(0.6, min_width=20, multiple_of=1))
    assert min(widths(narrow.model)[:2]) >= 20


def test_units_that_do_nothing_go_for_nothing(X: Array) -> None:
    """Of 30 units 18 are copies of others, or read by nobody."""
    rng = np.random.default_rng(6)
    first = rng.standard_normal((20, 12))
    weights = np.hstack([first, 2 * first[:, :9], rng.standard_normal((20, 9))])
    second = rng.standard_normal((30, 4))
    second[21:] = 0
    network = Network([Dense(weights, np.zeros(30)), Dense(second, activation="linear")])
    result = trim(network, X, goal=nettrim.Units(0.4, multiple_of=1))
    assert widths(result.model)[0] == 12
    assert result.discrepancy < 1e-2  # a ridge draws weights to what they were


def test_smooth_activations_gates_and_streams_of_pytorch() -> None:
    """Errors are those of the smaller module, whatever stands behind its layers."""
    torch = pytest.importorskip("torch")

    class Block(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            sizes = (8, 24), (24, 16), (16, 24), (16, 24), (24, 16), (16, 16), (16, 3)
            self.layers = torch.nn.ModuleList(torch.nn.Linear(*pair) for pair in sizes)

        def forward(self, x: Any) -> Any:
            first, second, gate, up, down, more, last = self.layers
            stream = second(torch.nn.functional.gelu(first(x)))
            stream = stream + down(torch.nn.functional.silu(gate(stream)) * up(stream))
            return last(torch.relu(more(stream)))

    torch.manual_seed(0)
    module = Block().eval()
    inputs = np.random.default_rng(9).standard_normal((200, 8))
    result = trim(module, inputs, goal=nettrim.Units(0.5, multiple_of=1))
    before, after = (
        m(torch.tensor(inputs, dtype=torch.float32)).detach().double()
        for m in (module, result.model)
    )
    error = float((after - before).norm() / before.norm())
    assert result.discrepancy == pytest.approx(error, rel=1e-4)
    assert result.widths is not None
    sizes = {signal.name: signal.units for signal in result.widths.signals}
    assert {name: size.before for name, size in sizes.items()} == {
        "layers.0": 24,
        "layers.1": 16,
        "layers.2": 24,
        "layers.5": 16,
    }
    left = sum(parameter.numel() for parameter in result.model.parameters())
    assert result.widths.parameters.after == left <= result.widths.parameters.before / 2
    assert result.model.layers[2].out_features == result.model.layers[3].out_features


def test_what_moves_units_about_is_noticed() -> None:
    """Whether a rotation of units commutes with removal depends on which units go."""
    torch = pytest.importorskip("torch")

    class Rotated(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (
                torch.nn.Linear(*pair) for pair in ((8, 32), (32, 32), (32, 3))
            )

        def forward(self, x: Any) -> Any:
            return self.c(torch.relu(self.b(torch.relu(self.a(x)).roll(1, 1))))

    torch.manual_seed(0)
    module, inputs = Rotated().eval(), torch.randn(100, 8)
    for share in (0.5, 0.6, 0.7, 0.8):
        result = trim(module, inputs, goal=nettrim.Units(share, multiple_of=1))
        before, after = module(inputs).detach(), result.model(inputs).detach()
        error = float((after - before).norm() / before.norm())
        assert result.discrepancy == pytest.approx(error, rel=1e-3, abs=1e-5)


def test_groups_of_a_convolution() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 16, 3, groups=2),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 2, 1),
        torch.nn.Flatten(),
    ).eval()
    inputs = torch.randn(16, 3, 8, 8)
    result = trim(module, inputs, goal=nettrim.Units(0.6, multiple_of=1))
    before, after = module(inputs).detach(), result.model(inputs).detach()
    error = float((after - before).norm() / before.norm())
    assert result.discrepancy == pytest.approx(error, rel=1e-4)
    assert sum(p.numel() for p in result.model.parameters()) <= 0.6 * sum(
        p.numel() for p in module.parameters()
    )


def test_what_depthwise_convolutions_have_left_is_counted() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 16, 3, groups=16),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 4, 1),
        torch.nn.Flatten(),
    ).eval()
    result = trim(module, torch.randn(16, 3, 6, 6), goal=nettrim.Units(0.6, multiple_of=1))
    weights = [layer.weight for layer in result.model if hasattr(layer, "weight")]
    assert [layer.nonzeros_after for layer in result.layers] == [w.numel() for w in weights]
    assert result.layers[1].nonzeros_after < result.layers[1].nonzeros_before


def test_depthwise_convolutions_are_fitted_to_what_they_get() -> None:
    rng = np.random.default_rng(2)
    shapes = [(24, 3, 1, 1), (8, 24, 1, 1), (8, 1, 3, 3)]
    kernels = [rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])) for shape in shapes]
    groups = (1, 1, 8)
    convolutions = [nettrim.Conv2D(k, groups=n) for k, n in zip(kernels, groups, strict=True)]
    end = [nettrim.GlobalAveragePool(), Dense(rng.standard_normal((8, 3)), activation="linear")]
    X = rng.standard_normal((60, 3, 6, 6))
    result = trim(Network([*convolutions, *end]), X, goal=nettrim.Units(0.6, min_width=8))
    assert widths(result.model) == [8, 8, 8, 3]
    wanted, arrives = X, X
    for layer in convolutions:
        wanted = layer.forward(wanted)
    for layer in result.model.layers[:2]:
        arrives = layer.forward(arrives)
    errors = [
        np.linalg.norm(layer.forward(arrives) - wanted)
        for layer in (result.model.layers[2], convolutions[2])
    ]
    assert errors[0] < 0.99 * errors[1]


def test_parameters_are_all_of_the_modules() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    module = torch.nn.Sequential(layer, torch.nn.Linear(16, 6)).eval()
    result = trim(module, torch.randn(16, 5, 16), goal=nettrim.Units(0.8))
    assert result.widths is not None
    counts = [sum(p.numel() for p in m.parameters()) for m in (module, result.model)]
    assert result.widths.parameters == tuple(counts)


def test_layers_that_must_not_change(network: Network, X: Array) -> None:
    result = trim(network, X, goal=nettrim.Units(0.8, multiple_of=1), layers=[0, 1])
    first, second, third = result.model.prunable_layers()
    assert first.shape[1] < 32
    assert second.shape[1] == 24
    assert np.array_equal(third.affine.weights, network.layers[2].affine.weights)


def test_the_smallest_network_within_an_error(network: Network, X: Array) -> None:
    result = trim(network, X, goal=nettrim.Units(error=0.3, multiple_of=1))
    assert 0.1 < result.discrepancy <= 0.3
    assert result.widths is not None
    assert result.widths.parameters.after < result.widths.parameters.before
    close = trim(network, X, goal=nettrim.Units(error=0.15, multiple_of=1))
    assert close.discrepancy <= 0.15
    assert n_parameters(close.model) > n_parameters(result.model)


def test_a_share_of_the_time(monkeypatch: pytest.MonkeyPatch, X: Array) -> None:
    """Where time is what operations are, a share of one is a share of the other."""
    rng = np.random.default_rng(8)
    network = random_network(rng, 20, 64, 64, 5)

    def count_operations(calls: list[Callable[[], object]]) -> list[float]:
        models = [inspect.getclosurevars(call).nonlocals["model"] for call in calls]
        return [sum(layer.affine.weights.size for layer in m.prunable_layers()) for m in models]

    monkeypatch.setattr(to_units, "time_calls", count_operations)
    result = trim(network, X, goal=nettrim.Units(seconds=0.5))
    assert result.widths is not None
    before, after = result.widths.operations
    assert 0.35 * before < after <= 0.5 * before
    with pytest.raises(ValueError, match=r"seconds must be at least 0\.0\d+ for this model"):
        trim(network, X, goal=nettrim.Units(seconds=0.001))


def test_sizes_out_of_reach_are_refused(network: Network, X: Array) -> None:
    with pytest.raises(ValueError, match=r"size must be at least 0\.\d+ for this model"):
        trim(network, X, goal=nettrim.Units(0.001))
    with pytest.raises(ValueError, match="no unit of the model can go"):
        trim(Network([Dense(np.eye(20))]), X, size=0.5)


def test_the_least_share_that_is_told_can_be_asked_for(network: Network, X: Array) -> None:
    for name in ("size", "operations"):
        with pytest.raises(ValueError, match=f"{name} must be at least") as refused:
            trim(network, X, goal=nettrim.Units(**{name: 0.01}, min_width=9))
        told = float(re.findall(r"at least (\d\.\d+)", str(refused.value))[0])
        result = trim(network, X, goal=nettrim.Units(**{name: told}, min_width=9))
        assert widths(result.model)[:2] == [16, 16]


def test_an_error_of_next_to_nothing_leaves_all_units(network: Network, X: Array) -> None:
    result = trim(network, X, goal=nettrim.Units(error=1e-9, multiple_of=1))
    assert widths(result.model) == widths(network)
    assert result.discrepancy <= 1e-9


@pytest.mark.parametrize(
    ("options", "arguments", "words"),
    [
        ({"min_width": 40}, {}, r"min_width, .*widest that may is 32 wide, got min_width=40"),
        ({"multiple_of": 32}, {}, r"multiple_of: .* got min_width=1 and multiple_of=32"),
        ({}, {"layers": [1]}, r"layers, skip: .*: dense1 needs dense1, dense2; dense2 needs"),
        ({}, {"skip": [1]}, "layers, skip: no unit can go"),
        ({"multiple_of": 24}, {"layers": [1, 2]}, "widest that may is 24 wide"),
    ],
    ids=["min_width", "multiple_of", "layers", "skip", "multiple_of-layers"],
)
def test_what_leaves_nothing_to_remove_is_named(
    network: Network, X: Array, options: dict[str, int], arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        trim(network, X, goal=nettrim.Units(0.9, **options), **arguments)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "size, operations, seconds or error is needed"),
        ({"size": 0.5, "batch": 3}, "batch belongs to seconds"),
        ({"error": 0.0}, "error must be"),
        ({"size": 0.5, "operations": 0.5}, "one of them"),
        ({"size": 1.5}, "size must be"),
        ({"size": 0.5, "min_width": 0}, "min_width must be"),
        ({"size": 0.5, "multiple_of": 0}, "multiple_of must be"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(map(str, value)),
)
def test_options_are_checked(options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        nettrim.Units(**options)


def test_options_of_other_goals_are_refused(network: Network, X: Array) -> None:
    with pytest.raises(ValueError, match=r"epsilon prescribes the error, .*: give one"):
        trim(network, X, size=0.5, pattern="2:4")
    with pytest.raises(ValueError, match="multiple_of belongs to size"):
        trim(network, X, epsilon=0.1, multiple_of=4)


def test_a_checkpoint_resumes_with_the_same_bits(
    network: Network, X: Array, tmp_path: Path
) -> None:
    goal = nettrim.Units(0.5)
    whole = trim(network, X, goal=goal)
    trim(network, X, goal=goal, checkpoint=tmp_path)
    (tmp_path / "layer003.npz").unlink()
    again = trim(network, X, goal=goal, checkpoint=tmp_path)
    for one, other in zip(whole.model.layers, again.model.layers, strict=True):
        assert np.array_equal(one.weights, other.weights)
    with pytest.raises(ValueError, match=str(tmp_path)):
        trim(network, X, goal=nettrim.Units(0.4), checkpoint=tmp_path)


def test_what_a_reader_sees(network: Network, X: Array, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = trim(network, X, goal=nettrim.Units(0.5), held_out=X[:50] + 0.1)
    text = str(result)
    assert "of the parameters and" in text
    assert re.search(r"dense1 +32 +16 +50.0%", text)
    result.plot(tmp_path / "widths.png")
    result.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "of the parameters" in page
    assert "with size 0.5" in page
    shipped = result.export(tmp_path / "out")
    assert n_parameters(Network.load(tmp_path / "out" / "model.npz")) == n_parameters(result.model)
    assert shipped.files[0].ratio > 1.5
    recipe = json.loads((tmp_path / "out" / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["arguments"]["size"] == 0.5


# --- one price over signals ---------------------------------------------------------------------


def test_the_price_is_shared_well(network: Network, X: Array) -> None:
    """With the same curves no loss is much smaller."""
    units = network.find_units(X[:2])
    rng = np.random.default_rng(7)
    curves = [
        SignalCurve(
            signal.units,
            np.cumsum(np.append(0, np.sort(rng.random(len(signal.units)) ** 3))),
            np.arange(len(signal.units), 0, -1),
        )
        for signal in units.signals
    ]
    whole = count_cost(units, "size", np.ones(units.n_units, dtype=bool))
    for share in (0.3, 0.5, 0.8):
        kept = choose_units(units, curves, "size", share * whole)
        assert kept is not None
        assert count_cost(units, "size", kept) <= share * whole
        removed = [int((~kept[curve.order]).sum()) for curve in curves]
        loss = sum(float(c.losses[n]) for c, n in zip(curves, removed, strict=True))
        assert loss <= 1.1 * _least_loss(units, curves, share * whole)


def _least_loss(units, curves, most, price="size") -> float:  # type: ignore[no-untyped-def]
    """The least loss of all combinations of sizes that cost so much at most."""
    best = np.inf
    for removed in itertools.product(*(curve.removed for curve in curves)):
        kept = np.ones(units.n_units, dtype=bool)
        for curve, count in zip(curves, removed, strict=True):
            kept[curve.order[:count]] = False
        if count_cost(units, price, kept) <= most:
            losses = (float(c.losses[n]) for c, n in zip(curves, removed, strict=True))
            best = min(best, sum(losses))
    return best


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_steps_of_many_units_do_not_overshoot(share: float) -> None:
    """In three signals that depend on each other, in multiples of 8, against all combinations."""
    excess = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        network = random_network(rng, 20, 48, 32, 40, 5)
        units = network.find_units(rng.standard_normal((2, 20)))
        curves = [
            SignalCurve(
                signal.units,
                np.cumsum(np.append(0, np.sort(rng.random(len(signal.units)) ** 3))),
                np.arange(len(signal.units), 0, -8),
            )
            for signal in units.signals
        ]
        most = share * count_cost(units, "operations", np.ones(units.n_units, dtype=bool))
        kept = choose_units(units, curves, "operations", most)
        assert kept is not None
        assert count_cost(units, "operations", kept) <= most
        removed = [int((~kept[curve.order]).sum()) for curve in curves]
        loss = sum(float(c.losses[n]) for c, n in zip(curves, removed, strict=True))
        excess.append(loss / _least_loss(units, curves, most, "operations"))
    assert max(excess) <= 1.05
    assert np.mean(excess) <= 1.01


@pytest.mark.parametrize("at", ["ToUnits.prepare", "ToUnits._choose", "ToUnits._fit"])
@pytest.mark.parametrize("call", [0, 1, 2])
@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_an_interrupt_leaves_units_that_layers_still_read(
    network: Network,
    X: Array,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    at: str,
    call: int,
    scheme: str,
) -> None:
    method = getattr(to_units.ToUnits, at.removeprefix("ToUnits."))
    left = iter([True] * call + [False] * 100)

    def interrupted(*arguments: object) -> object:
        if next(left):
            return method(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(f"nettrim.trimming.methods.to_units.{at}", interrupted)
    result = trim(network, X, goal=nettrim.Units(0.6, multiple_of=1), scheme=scheme)
    if call and at != "ToUnits._fit":  # which are called once
        assert not result.interrupted
        return
    assert result.interrupted
    assert result.widths is None
    assert widths(result.model) == widths(network)
    before, after = network.predict(X), result.model.predict(X)
    error = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert result.discrepancy == pytest.approx(error, rel=1e-9)
    assert error <= result.bound * (1 + 1e-9)
    result.report(tmp_path / "report.html")
    assert "not reached" in str(result)
