"""Gates: estimates against enumeration, theory of the objective."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import root

torch = pytest.importorskip("torch")

from torch import nn

from nettrim.parsimonious import UnitGates
from nettrim.parsimonious.keep_probability import KeepProbability, Schedule
from support.gated import ConvNet, ResNet, enumerated, mlp, program_of


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


# --- the objective and its estimates --------------------------------------------------------------


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
    gates, x, y = small_gates(theta, estimator=estimator, samples=8 * 16)
    exact = exact_differences(gates, x, y, theta)
    many = x.repeat(8, 1), y.repeat(8)  # the same mean loss, of gates drawn eight times
    draws = torch.stack([torch.cat([*gates.differences(*many).values()]) for _ in range(250)])
    error = draws.std(dim=0) / 250**0.5
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
        "nettrim.parsimonious.gated_program.GatedProgram.linear_reader", lambda self, name: None
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


# --- theory ---------------------------------------------------------------------------------------


class Enumerated:
    """The whole objective of three gated units: a function of weights and probabilities alone.

    It takes many points at once, one in each row.
    """

    def __init__(self, cost: float, decay: float) -> None:
        self.cost, self.decay = cost, decay
        self.x = torch.randn(40, 2, dtype=torch.float64)
        self.y = (self.x[:, 0] * self.x[:, 1] > 0).long()
        self.states = torch.tensor([*itertools.product([0.0, 1.0], repeat=3)], dtype=torch.float64)
        self.shapes = [(2, 3), (1, 3), (3, 2), (1, 2)]
        self.sizes = [int(np.prod(shape)) for shape in self.shapes]

    def objective(self, z):
        theta, weights = z[:, None, :3], z[:, 3:]
        W1, b1, W2, b2 = (
            part.reshape(-1, *shape)
            for part, shape in zip(weights.split(self.sizes, dim=1), self.shapes, strict=True)
        )
        hidden = torch.tanh(self.x @ W1 + b1)
        chances = torch.where(self.states == 1, theta, 1 - theta).prod(dim=2)
        outputs = (self.states[:, None] * hidden[:, None]) @ W2[:, None] + b2[:, None]
        losses = torch.logsumexp(outputs, dim=3) - outputs[:, :, range(40), self.y]
        price = self.cost * theta.sum(dim=(1, 2)) + 0.5 * self.decay * (weights**2).sum(dim=1)
        return price + (chances * losses.mean(dim=2)).sum(dim=1)

    def gradients(self, z: np.ndarray) -> np.ndarray:
        at = torch.tensor(z, requires_grad=True)
        return torch.autograd.grad(self.objective(at).sum(), at)[0].numpy()

    def gradient(self, z: np.ndarray) -> np.ndarray:
        return self.gradients(z[None])[0]

    def hessian(self, z: np.ndarray) -> np.ndarray:
        """Central differences of the gradient."""
        step = 1e-5 * np.eye(len(z))
        return (self.gradients(z + step) - self.gradients(z - step)) / 2e-5

    def starts(self, count: int) -> np.ndarray:
        theta = torch.rand(count, 3, dtype=torch.float64)
        return torch.hstack([theta, torch.randn(count, sum(self.sizes)).double()]).numpy()


def test_interior_stationary_points_are_saddles() -> None:
    problem, lowest = Enumerated(cost=0.05, decay=0.02), []
    for start in problem.starts(40):
        found = root(problem.gradient, start, jac=problem.hessian, method="hybr")
        inside = ((found.x[:3] > 1e-3) & (found.x[:3] < 1 - 1e-3)).all()
        if inside and np.abs(problem.gradient(found.x)).max() < 1e-9:
            lowest.append(np.linalg.eigvalsh(problem.hessian(found.x))[0])
    assert len(lowest) >= 3
    assert max(lowest) < -1e-6


@pytest.mark.parametrize(("cost", "decay"), [(0.05, 0.02), (0.03, 0.002)])
def test_projected_descent_ends_at_vertices(cost: float, decay: float) -> None:
    problem = Enumerated(cost, decay)
    z = problem.starts(8)
    for _ in range(1000):
        z -= 0.5 * problem.gradients(z)
        z[:, :3] = z[:, :3].clip(0, 1)
    assert (np.minimum(z[:, :3], 1 - z[:, :3]) < 1e-6).all()


@pytest.mark.parametrize(("G", "decay", "cost"), [(1.0, 0.1, 0.3), (3.0, 0.01, 0.05)])
def test_basin_of_zero(G: float, decay: float, cost: float) -> None:
    """Inside theta + (mu/G) r < cost/mu everything dies, and the bound on it never rises."""
    mu = (np.sqrt(decay**2 + 4 * G**2) - decay) / 2

    def flow(_, state):
        theta, r = np.maximum(state[:20], 0), state[20:]
        slope = G * r - cost
        moves = (state[:20] > 0) | (slope > 0)
        return np.hstack([np.where(moves, slope, 0), G * theta - decay * r])

    rng = np.random.default_rng(0)
    share, level = rng.random(20), 0.98 * rng.random(20) * cost / mu
    start = np.hstack([share * level, (1 - share) * level * G / mu])
    path = solve_ivp(flow, (0, 12 / mu), start, max_step=0.01 / mu, rtol=1e-8)
    theta, r = path.y[:20], path.y[20:]
    bound = np.maximum(theta, 0) + mu / G * r
    assert (theta[:, -1] < 1e-3).all()
    assert (np.diff(bound).max(axis=1) < 1e-4 * level).all()


def test_a_useless_unit_falls_in_the_time_that_was_said() -> None:
    schedule = Schedule(steps=2000, warm_up=0.0, fall=0.05)
    keep = KeepProbability.of(2, schedule.start, torch.device("cpu"))
    cost = torch.full((2,), 0.01, dtype=torch.float64)
    worth = torch.tensor([0.0, -0.02], dtype=torch.float64)  # nothing, and twice the cost
    steps = 0
    while keep.probability[0] > 0:
        keep = keep.moved(worth, cost, steps, schedule)
        steps += 1
    assert abs(steps - 0.05 * 2000) <= 1
    assert keep.probability[1] == 1
    assert schedule.rate(2000) == 0


def test_units_worth_a_little_less_or_more_than_they_cost_are_decided_at_the_end() -> None:
    """Steps vanish there, and half way between zero and one such units would never arrive."""
    schedule = Schedule(steps=400)
    keep = KeepProbability.of(3, 0.6, torch.device("cpu"))
    cost = torch.full((3,), 0.01, dtype=torch.float64)
    worth = torch.tensor([0.0099, 0.0101, 0.01], dtype=torch.float64)  # and one in doubt
    for step in range(360, 400):
        wobble = torch.tensor([0.0, 0.0, (-1) ** step * 1e-3])
        keep = keep.moved(wobble - worth, cost, step, schedule)
    assert keep.probability.tolist() == [0.0, 1.0, 1.0]
    assert keep.quiet[0] >= schedule.quiet_steps


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
