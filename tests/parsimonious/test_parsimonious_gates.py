"""Gates: estimates against enumeration, theory of the objective, units that leave (spec G.2-5, G.9)."""

from __future__ import annotations

import copy
import itertools
import warnings

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import root

torch = pytest.importorskip("torch")

from torch import nn

from nettrim.parsimonious import CollapseWarning, ComplexityCost, UnitGates
from nettrim.parsimonious.keep import Keep, Schedule
from nettrim.parsimonious.structure import INPUTS
from support.gated import Block, ConvNet, enumerated, mlp, program_of, residual_mlp


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(20220510)


def small_gates(start: float = 0.5, **options):
    """Six gates in two layers, in double precision."""
    net = mlp(4, 3, 3, 3, activation=nn.Tanh).double()
    x, y = torch.randn(16, 4).double(), torch.randint(3, (16,))
    options = {"unit_cost": 0.1, "steps": 10, "samples": 16, **options}
    return UnitGates(net, x, start=start, **options), x, y


def expected_loss(gates: UnitGates, x, y, probabilities):
    program, groups = program_of(gates), gates.widths

    def loss(masks):
        return nn.functional.cross_entropy(program(x, masks, training=False), y)

    return enumerated(program, probabilities, groups, loss, len(x))


def exact_differences(gates: UnitGates, x, y, theta: float):
    p = torch.full((6,), theta, dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(expected_loss(gates, x, y, p), p)
    return slopes


class ResNet(nn.Module):
    """A block of convolutions beside a convolution, one beside nothing, and sizes that are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.conv1, self.norm1 = nn.Conv2d(4, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.norm2 = nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.beside = nn.Sequential(nn.Conv2d(4, 8, 1, 2, bias=False), nn.BatchNorm2d(8))
        self.conv3, self.conv4 = nn.Conv2d(8, 5, 1), nn.Conv2d(5, 8, 1)
        self.last = nn.Linear(8, 10)

    def forward(self, x):
        count = x.shape[0]
        x = torch.relu(self.stem(x))
        branch = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        x = torch.relu(branch + self.beside(x))
        x = x + self.conv4(torch.relu(self.conv3(x)))
        return self.last(x.mean(dim=(2, 3)).view(count, -1))


# --- the objective and its estimates ---------------------------------------------------------------


def test_the_slope_is_the_difference_and_the_loss_is_affine() -> None:
    gates, x, y = small_gates()
    p = torch.rand(6, dtype=torch.float64)
    slopes = torch.autograd.functional.jacobian(lambda q: expected_loss(gates, x, y, q), p)
    for i in range(6):
        at = [torch.where(torch.arange(6) == i, value, p) for value in (0.0, 0.5, 1.0)]
        closed, half, opened = (expected_loss(gates, x, y, q).item() for q in at)
        assert slopes[i].item() == pytest.approx(opened - closed, abs=1e-10)
        assert half == pytest.approx((opened + closed) / 2, abs=1e-12)


@pytest.mark.parametrize("theta", [0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("estimator", ["one-flip", "random-flip"])
def test_flips_are_unbiased(estimator: str, theta: float) -> None:
    gates, x, y = small_gates(theta, estimator=estimator)
    exact = exact_differences(gates, x, y, theta)
    draws = torch.stack([torch.cat([*gates.differences(x, y).values()]) for _ in range(2000)])
    error = draws.std(dim=0) / 2000**0.5
    assert (((draws.mean(dim=0) - exact).abs() <= 4 * error + 1e-12).all()).item()


def test_taylor_is_biased_where_gates_are_open() -> None:
    gates, x, y = small_gates(1.0, estimator="taylor")
    exact = exact_differences(gates, x, y, 1.0)
    estimate = torch.cat([*gates.differences(x, y).values()])
    assert (estimate - exact).abs().max() > 0.1 * exact.abs().max()


def test_one_flip_is_the_same_by_the_short_way_and_the_long_one(monkeypatch) -> None:
    gates, x, y = small_gates()
    drawn = gates._drawn(x)
    monkeypatch.setattr(gates, "_drawn", lambda x: drawn)
    short = gates.differences(x, y)
    monkeypatch.setattr(
        "nettrim.parsimonious.program.Program.linear_reader", lambda self, name: None
    )
    monkeypatch.setattr("nettrim.parsimonious.estimators.LARGEST", 1)  # one gate at a time
    for name, long in gates.differences(x, y).items():
        torch.testing.assert_close(long, short[name], rtol=0, atol=1e-14)


@pytest.mark.parametrize("estimator", ["one-flip", "random-flip"])
@pytest.mark.parametrize("model", [ConvNet, ResNet])
def test_flips_agree_with_brute_force_in_a_convolutional_network(model, estimator: str) -> None:
    net = model().double().train()
    x, y = torch.randn(8, 1, 8, 8).double(), torch.randint(10, (8,))
    gates = UnitGates(net, x, unit_cost=0.1, steps=10, start=1.0, estimator=estimator, repeats=40)
    statistics = copy.deepcopy(net.state_dict())
    found = gates.differences(x, y)
    net.eval()
    for name in gates.widths:
        for unit in range(gates.widths[name]):
            mask = torch.ones(8, gates.widths[name], dtype=torch.float64)
            losses = []
            for value in (1.0, 0.0):
                mask[:, unit] = value
                outputs = program_of(gates)(x, {name: mask}, training=False)
                losses.append(nn.functional.cross_entropy(outputs, y).item())
            exact = losses[0] - losses[1]
            if estimator == "one-flip":
                assert found[name][unit].item() == pytest.approx(exact, abs=1e-12)
            else:
                assert found[name][unit].item() == pytest.approx(exact, abs=0.2)
    for key, value in net.state_dict().items():  # estimating leaves no trace
        assert torch.equal(value, statistics[key])


# --- theory -------------------------------------------------------------------------------------------


class Enumerated:
    """The whole objective of three gated units: a function of weights and probabilities alone."""

    COST, DECAY = 0.05, 0.02

    def __init__(self) -> None:
        self.x = torch.randn(40, 2, dtype=torch.float64)
        self.y = (self.x[:, 0] * self.x[:, 1] > 0).long()
        self.states = torch.tensor([*itertools.product([0.0, 1.0], repeat=3)], dtype=torch.float64)
        self.shapes = [(3, 2), (3,), (2, 3), (2,)]
        self.sizes = [int(np.prod(shape)) for shape in self.shapes]

    def objective(self, z):
        theta, weights = z[:3], z[3:]
        W1, b1, W2, b2 = (
            part.reshape(shape)
            for part, shape in zip(weights.split(self.sizes), self.shapes, strict=True)
        )
        hidden = torch.tanh(self.x @ W1.T + b1)
        chances = torch.where(self.states == 1, theta, 1 - theta).prod(dim=1)
        outputs = (self.states[:, None] * hidden) @ W2.T + b2
        losses = torch.logsumexp(outputs, dim=2) - outputs[:, range(40), self.y]
        price = self.COST * theta.sum() + 0.5 * self.DECAY * (weights**2).sum()
        return price + chances @ losses.mean(dim=1)

    def gradient(self, z: np.ndarray) -> np.ndarray:
        at = torch.tensor(z, requires_grad=True)
        return torch.autograd.grad(self.objective(at), at)[0].numpy()

    def hessian(self, z: np.ndarray) -> np.ndarray:
        at = torch.tensor(z)
        return torch.autograd.functional.hessian(self.objective, at).numpy()

    def start(self) -> np.ndarray:
        return torch.cat([torch.rand(3).double(), torch.randn(sum(self.sizes)).double()]).numpy()


def test_interior_stationary_points_are_saddles() -> None:
    problem, lowest = Enumerated(), []
    for _ in range(40):
        found = root(problem.gradient, problem.start(), jac=problem.hessian, method="hybr")
        inside = ((found.x[:3] > 1e-3) & (found.x[:3] < 1 - 1e-3)).all()
        if inside and np.abs(problem.gradient(found.x)).max() < 1e-9:
            lowest.append(np.linalg.eigvalsh(problem.hessian(found.x))[0])
    assert len(lowest) >= 3
    assert max(lowest) < -1e-6


def test_projected_descent_ends_at_vertices() -> None:
    problem = Enumerated()
    for _ in range(3):
        z = problem.start()
        for _ in range(4000):
            z -= 0.5 * problem.gradient(z)
            z[:3] = z[:3].clip(0, 1)
        assert (np.minimum(z[:3], 1 - z[:3]) < 1e-6).all()


@pytest.mark.parametrize(("G", "decay", "cost"), [(1.0, 0.1, 0.3), (3.0, 0.01, 0.05)])
def test_basin_of_zero(G: float, decay: float, cost: float) -> None:
    """Inside theta + (mu/G) r < cost/mu everything dies, and the bound on it never rises."""
    mu = (np.sqrt(decay**2 + 4 * G**2) - decay) / 2

    def flow(_, state):
        theta, r = max(state[0], 0.0), state[1]
        slope = G * r - cost
        return [slope if state[0] > 0 or slope > 0 else 0.0, G * theta - decay * r]

    rng = np.random.default_rng(0)
    for _ in range(20):
        share = rng.random()
        level = 0.98 * rng.random() * cost / mu
        start = [share * level, (1 - share) * level * G / mu]
        path = solve_ivp(flow, (0, 12 / mu), start, max_step=0.01 / mu, rtol=1e-8)
        bound = np.maximum(path.y[0], 0) + mu / G * path.y[1]
        assert path.y[0][-1] < 1e-3
        assert np.diff(bound).max() < 1e-4 * level


def test_a_useless_unit_falls_in_the_time_that_was_said() -> None:
    schedule = Schedule(steps=2000, warm_up=0.0, fall=0.05)
    keep = Keep.of(2, schedule.start, torch.device("cpu"))
    cost = torch.full((2,), 0.01, dtype=torch.float64)
    worth = torch.tensor([0.0, -0.02], dtype=torch.float64)  # nothing, and twice the cost
    steps = 0
    while keep.probability[0] > 0:
        keep = keep.moved(worth, cost, steps, schedule)
        steps += 1
    assert abs(steps - 0.05 * 2000) <= 1
    assert keep.probability[1] == 1
    assert schedule.rate(2000) == 0


def test_units_that_nothing_reads_die_in_that_time_too() -> None:
    net = mlp(4, 6, 3)
    net[2].weight.data[:, :4] = 0
    x, y = torch.randn(8, 4), torch.randint(3, (8,))
    gates = UnitGates(net, x, unit_cost=0.02, steps=2000, warm_up=0.0, fall=0.02, snap=0.0)
    steps = 0
    while (gates.keep_probabilities["0"][:4] > 0).any():
        gates.update(x, y)
        steps += 1
    assert abs(steps - 0.02 * 2000) <= 1


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
    """One group of units that two layers read, and one that cannot be gated."""

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
    assert set(gates.widths) == {"2.rise", "3.rise", "4.rise"}  # what is added stays
    gates._keep["3.fall"].probability[:] = 0
    gates._keep["3.fall"].quiet[:] = 10**6
    gates._keep["4.rise"].quiet[:] = 10**6
    gates._keep["4.rise"].probability[1:] = 0  # one unit stays: the section's own gate decides
    before = gates(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gates.prune()
    assert gates.sections == ["2.fall", "4.fall"]
    assert gates.widths == {"2.rise": 32, "4.rise": 1}
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
    assert set(gates.widths) == {"stem", "conv1", "conv3"}
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
        (Viewed, (1, 8, 8), {"hidden"}, "fixed number of features"),
        (Branching, (64,), {"first"}, "it is added to other signals"),
        (
            lambda: nn.Sequential(
                nn.Conv2d(2, 4, 1),
                nn.Conv2d(4, 4, 3, groups=4),
                nn.Conv2d(4, 4, 1),
                nn.ReLU(),
                nn.Conv2d(4, 1, 1),
            ),
            (2, 8, 8),
            {"2"},
            "made in groups",
        ),
        (
            lambda: nn.Sequential(
                nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 2)
            ),
            (4,),
            {"2"},
            "it goes into LayerNorm",
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
