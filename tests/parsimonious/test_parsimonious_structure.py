"""Which units of a model have gates, and models from which units were taken out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from nettrim.parsimonious import CollapseWarning, ComplexityCost, UnitGates
from nettrim.parsimonious.structure import INPUTS
from support.gated import Attending, Block, ConvNet, ResNet, depthwise, mlp, residual_mlp


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(20220510)


# --- taking units out -----------------------------------------------------------------------------


def close_some(gates: UnitGates, rng: np.random.Generator) -> None:
    """Let keep probabilities say that some units are to go: never all of a group."""
    for keep in gates._keep.values():
        mask = torch.tensor(rng.random(len(keep.probability)) < 0.3)
        stays, goes = rng.permutation(len(mask))[[0, -1]]
        mask[goes], mask[stays] = True, False
        keep.probability[:] = torch.where(mask, 0.0, 1.0)
        keep.quiet[:] = torch.where(mask, 10**6, 0)


class Branching(nn.Module):
    """One group of units that two layers read, and one that two layers write."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.left, self.right = nn.Linear(64, 9), nn.Linear(9, 6), nn.Linear(9, 6)
        self.last = nn.Linear(6, 10)

    def forward(self, x):
        x = torch.sigmoid(self.first(x))
        return self.last(torch.relu(self.left(x) + self.right(x)))


def sequence() -> nn.Module:
    """Units along the last of three axes, and a mean over positions at the end."""
    return nn.Sequential(
        nn.Linear(8, 6), nn.GELU(), nn.Linear(6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(40, 10)
    )


MODELS = {
    "mlp": (lambda: mlp(64, 12, 9, 10), (64,)),
    "sigmoid": (lambda: mlp(64, 12, 9, 10, activation=nn.Sigmoid), (64,)),
    "convolutions": (ConvNet, (1, 8, 8)),
    "branches": (Branching, (64,)),
    "depthwise": (depthwise, (2, 4, 4)),
    "attention": (Attending, (6, 8)),
    "residual": (lambda: residual_mlp(3), (64,)),
    "resnet": (ResNet, (1, 8, 8)),
    "sequence": (sequence, (8, 8)),
    "conv1d": (
        lambda: nn.Sequential(
            nn.Conv1d(8, 6, 3, padding=1, bias=False),
            nn.BatchNorm1d(6),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(6, 4, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(4, 10),
        ),
        (8, 8),
    ),
}


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("name", MODELS)
def test_closed_gates_and_missing_units_are_the_same(name: str, optimizer: str, rng) -> None:
    make, shape = MODELS[name]
    net, x = make(), torch.randn(32, *shape)
    y = torch.randint(10, (32,))
    options = {"momentum": 0.9} if optimizer == "SGD" else {}
    steps = getattr(torch.optim, optimizer)(net.parameters(), lr=1e-3, **options)
    gates = UnitGates(net, x, unit_cost=0.01, steps=100)

    def train() -> None:
        net.train()
        nn.functional.cross_entropy(gates(x), y).backward()
        steps.step()
        steps.zero_grad()

    def outputs() -> torch.Tensor:
        net.eval()
        with torch.no_grad():
            return gates(x)

    for _ in range(2):
        train()
        width = sum(gates.widths.values())
        close_some(gates, rng)
        before = outputs()
        assert gates.prune(steps) == width - sum(gates.widths.values())
        assert sum(gates.widths.values()) < width
        torch.testing.assert_close(outputs(), before, rtol=0, atol=1e-5)
        for parameter, state in steps.state.items():
            assert any(parameter is p for p in net.parameters())
            buffers = [v for v in state.values() if v.dim()]
            assert all(buffer.shape == parameter.shape for buffer in buffers)
        for keep in gates._keep.values():
            keep.probability[:] = 1.0
    finished = gates.finish(steps).eval()
    with torch.no_grad():
        torch.testing.assert_close(finished(x), outputs(), rtol=0, atol=1e-6)


def test_inputs_are_gated_on_request(rng) -> None:
    net, x = mlp(64, 12, 10).double(), torch.randn(5, 64).double()
    gates = UnitGates(net.eval(), x, unit_cost=0.01, steps=10, inputs=True)
    close_some(gates, rng)
    before = gates(x)
    gates.prune()
    assert net[0].in_features == gates.widths[INPUTS] == len(gates.inputs) < 64
    torch.testing.assert_close(gates(x), before)
    torch.testing.assert_close(net(x[:, gates.inputs]), before)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 10))
    with pytest.raises(ValueError, match="inputs cannot be gated"):
        UnitGates(flat, torch.randn(5, 1, 8, 8), unit_cost=0.01, steps=10, inputs=True)


def test_sections_leave_whole() -> None:
    net, x = residual_mlp(3).eval(), torch.randn(5, 64)
    gates = UnitGates(net, x, unit_cost=0.01, section_cost=0.1, steps=10)
    assert gates.sections == ["2.fall", "3.fall", "4.fall"]
    assert set(gates.widths) == {"0", "2.rise", "3.rise", "4.rise"}
    gates._keep["3.fall"].probability[:] = 0
    gates._keep["3.fall"].quiet[:] = 10**6
    gates._keep["4.rise"].quiet[:] = 10**6
    gates._keep["4.rise"].probability[1:] = 0  # one unit stays: the section's own gate decides
    before = gates(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gates.prune()
    assert gates.sections == ["2.fall", "4.fall"]
    assert gates.widths == {"0": 48, "2.rise": 32, "4.rise": 1}
    assert gates.size.parameters == 64 * 48 + 2 * 48 * 33 + 48 * 10
    assert not gates.collapsed
    torch.testing.assert_close(gates(x), before)
    torch.testing.assert_close(net(x), before)


def test_convolutional_sections_leave_whole() -> None:
    net, x = ResNet().eval(), torch.randn(5, 1, 8, 8)
    for norm in (net.norm1, net.norm2):
        nn.init.uniform_(norm.running_mean, -1, 1)
        nn.init.uniform_(norm.bias, -1, 1)
    gates = UnitGates(net, x, unit_cost=0.01, section_cost=0.1, steps=10)
    assert gates.sections == ["conv2", "conv4"]
    assert set(gates.widths) == {"stem", "conv1", "beside.0", "conv3"}
    differences = gates.differences(x, torch.randint(10, (5,)))
    assert differences["conv2"].shape == (1,)
    gates._keep["conv2"].probability[:] = 0
    gates._keep["conv2"].quiet[:] = 10**6
    before = gates(x)
    gates.prune(torch.optim.SGD(net.parameters(), lr=0.1))
    assert gates.sections == ["conv4"]
    torch.testing.assert_close(gates(x), before)
    torch.testing.assert_close(net(x), before)
    assert sum(p.numel() for p in net.conv1.parameters()) == 0


def test_the_last_unit_stays_with_a_warning() -> None:
    net, x = mlp(4, 6, 5, 3), torch.randn(16, 4)
    gates = UnitGates(net, x, unit_cost=0.01, steps=10)
    gates._keep["0"].probability[:] = 0
    gates._keep["0"].quiet[:] = 10**6
    with pytest.warns(CollapseWarning, match="all units of '0'"):
        gates.prune()
    assert gates.collapsed
    assert net(x).shape == (16, 3)
    assert gates.widths == {"0": 1, "2": 5}
    before = gates.keep_probabilities
    gates.update(x, torch.randint(3, (16,)))
    assert all(torch.equal(p, before[n]) for n, p in gates.keep_probabilities.items())


# --- what is found in a model ---------------------------------------------------------------------


class Viewed(nn.Module):
    """Flattens to a number that is written into the code."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.hidden, self.last = nn.Conv2d(1, 3, 3), nn.Linear(108, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.last(torch.relu(self.hidden(self.conv(x).view(-1, 108))))


class Turned(nn.Module):
    """Lets a layer read units with its positions in front of the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(self, x):
        x = self.second(torch.relu(self.first(x)).transpose(0, 1)).transpose(0, 1)
        return self.last(torch.relu(x))


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.last(torch.relu(self.twice(torch.relu(self.twice(self.first(x))))))


class Branchy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else -self.layer(x)


@pytest.mark.parametrize(
    ("model", "shape", "gated", "reason"),
    [
        (Viewed, (1, 8, 8), {"hidden"}, "the model's code needs their number"),
        (Turned, (3, 4), {"second"}, "samples do not come one after another"),
        (
            lambda: nn.Sequential(
                nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 2)
            ),
            (4,),
            {"2"},
            "LayerNorm (1) takes them together",
        ),
    ],
)
def test_what_cannot_be_gated_is_left_out_with_its_reason(model, shape, gated, reason) -> None:
    gates = UnitGates(model(), torch.randn(4, *shape), unit_cost=0.01, steps=10)
    assert set(gates.widths) == gated
    assert any(reason in said for said in gates.left_out.values())


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (Branchy, (4,), "model cannot be traced by torch.fx"),
        (lambda: nn.Linear(4, 2), (4,), "model has no units that can be gated"),
        (Shared, (4,), "called more than once|goes into"),
    ],
)
def test_models_without_gates_are_refused(model, shape, words) -> None:
    with pytest.raises(ValueError, match=words):
        UnitGates(model(), torch.randn(4, *shape), unit_cost=0.01, steps=10)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unit_cost": -1.0}, "unit_cost must be finite and at least 0"),
        ({"unit_cost": {"nowhere": 1.0}}, r"unit_cost names \['nowhere'\]; gates are on"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"start": 0.0}, "start must be between 0 and 1"),
        ({"warm_up": 1.5}, "warm_up must be between 0 and 1"),
        ({"estimator": "guess"}, "estimator must be one of"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"loss": nn.CrossEntropyLoss()}, "loss must return one value for each sample"),
        ({"unit_cost": ComplexityCost(1.0, parameters=9), "section_cost": 1.0}, "section_cost"),
    ],
)
def test_wrong_arguments_are_named(options, words) -> None:
    options = {"unit_cost": 0.1, "steps": 10, **options}
    x, y = torch.randn(4, 4), torch.randint(3, (4,))
    with pytest.raises(ValueError, match=words):
        UnitGates(mlp(4, 5, 3), x, **options).differences(x, y)


def test_complexity_costs_are_slopes_of_the_size() -> None:
    net, x = ConvNet(), torch.randn(2, 1, 8, 8)
    cost = ComplexityCost(0.5, parameters=100, flops=1000, flops_share=0.25)
    gates = UnitGates(net, x, unit_cost=cost, steps=10, start=1.0)
    assert gates.size.parameters == 6 * 9 + 5 * 6 * 9 + 20 * 7 + 70
    work = 2 * (64 * 6 * 9 + 4 * 5 * 6 * 9 + 20 * 7 + 70)
    assert gates.size.flops == work
    # A channel of the first convolution: its own 9 weights, and 45 of the next.
    expected = 0.5 * (0.75 * (9 + 45) / 100 + 0.25 * 2 * (64 * 9 + 4 * 45) / 1000)
    np.testing.assert_allclose(gates.costs["conv1"].numpy(), expected)


def test_dropout_follows_the_model() -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 50), nn.Linear(50, 2)

        def forward(self, x):
            hidden = nn.functional.dropout(self.first(x).relu(), 0.5, self.training)
            return self.last(hidden)

    x = torch.randn(3, 4)
    gates = UnitGates(Dropping(), x, unit_cost=0.01, steps=10, start=1.0)
    assert not torch.equal(gates(x), gates(x))
    gates.model.eval()
    assert torch.equal(gates(x), gates(x))
    assert torch.equal(gates(x), gates.model(x))


def test_block_is_a_section_and_a_linear_shortcut_is_none() -> None:
    class Shortcut(Block):
        def __init__(self) -> None:
            super().__init__(6, 4)
            self.beside = nn.Linear(6, 6)

        def forward(self, x):
            return self.beside(x) + self.fall(self.rise(x).relu())

    net = nn.Sequential(nn.Linear(3, 6), Shortcut(), nn.Linear(6, 2))
    gates = UnitGates(net, torch.randn(4, 3), unit_cost=0.1, section_cost=0.1, steps=10)
    assert gates.sections == ["1.fall"]
