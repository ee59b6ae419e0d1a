"""Units go on evidence only, and only once training has begun; who learned nothing is told so."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from nettrim.parsimonious import CollapseWarning, ParsimoniousTrainer, UnitGates
from nettrim.parsimonious.evidence import Evidence
from nettrim.parsimonious.keep_probability import KeepProbability, Schedule
from support.gated import Digits, mlp


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_evidence_is_mean_and_standard_error(count: int, rng) -> None:
    values = torch.tensor(rng.normal(3.0, 2.0, (count, 5)))
    known = Evidence.none(5)
    for value in values:
        known = known.updated(value, memory=40)
    torch.testing.assert_close(known.mean, values.mean(dim=0))
    if count > 1:
        error = values.std(dim=0) / np.sqrt(count)
        torch.testing.assert_close(known.noise, 2 * error)


def test_old_evidence_is_forgotten(rng) -> None:
    known = Evidence.none(1)
    for value in [*rng.normal(5.0, 0.1, 200), *rng.normal(-5.0, 0.1, 200)]:
        known = known.updated(torch.tensor([value]), memory=20)
    assert known.mean.item() == pytest.approx(-5.0, abs=0.1)
    assert (-known.mean - known.noise).item() > 0


@pytest.mark.parametrize("noise", [0.0, 0.001, 1.0])
def test_an_open_gate_closes_on_evidence_only(noise: float, rng) -> None:
    """Useless units of a price of 0.01: gone where noise lets it be seen, and else open."""
    schedule = Schedule(steps=1000, start=1.0, warm_up=0.0)
    keep = KeepProbability.of(50, 1.0, torch.device("cpu"))
    cost = torch.full((50,), 0.01, dtype=torch.float64)
    for _ in range(schedule.memory):
        keep = keep.updated(torch.tensor(noise * rng.normal(size=50)), schedule)
    for step in range(70):
        keep = keep.moved(torch.tensor(noise * rng.normal(size=50)), cost, step, schedule)
    gone = (keep.quiet >= schedule.quiet_steps).double().mean()
    assert gone == 1.0 if noise < 0.01 else gone < 0.1
    assert bool(keep.is_open(cost, schedule).double().mean() > 0.8) == (noise > 0.01)


def plateau(kind: str) -> tuple[nn.Module, float]:
    """Networks that do not learn: too slow, or behind a wall of zeros."""
    net = mlp(64, 20, 15, 10)
    if kind == "dead":
        for layer in (net[0], net[2]):
            layer.weight.data.zero_()
            layer.bias.data.fill_(-1.0)
    return net, 1e-7 if kind == "slow" else 0.05


@pytest.mark.parametrize("kind", ["slow", "dead"])
@pytest.mark.parametrize("start", [0.3, 0.5, 1.0])
def test_nothing_goes_before_training_has_begun(kind: str, start: float) -> None:
    torch.manual_seed(0)
    net, lr = plateau(kind)
    trainer = ParsimoniousTrainer(net, 1e-2, lr=lr, start=start)
    with pytest.warns(CollapseWarning, match=r"the loss ended at .*, near the .* it began with"):
        result = trainer.fit(Digits(), 6, progress=False)
    assert result.collapsed
    assert result.widths == result.widths_before
    assert not result.certificate.learned
    assert "! the network has learned next to nothing" in str(result)


@pytest.mark.parametrize("seed", [0, 1])
def test_without_warm_up_gates_move_at_once_and_units_wait(seed: int) -> None:
    """Before training some units help by chance: their gates open, others close, and none goes."""
    torch.manual_seed(seed)
    net, lr = plateau("slow")
    trainer = ParsimoniousTrainer(net, 1e-3, lr=lr, warm_up=0.0)
    with pytest.warns(CollapseWarning, match="the loss ended at"):
        result = trainer.fit(Digits(), 6, progress=False)
    probabilities = [p for group in result.history[-1].keep_probabilities.values() for p in group]
    assert min(probabilities) == 0
    assert max(probabilities) == 1
    assert result.widths == result.widths_before


def test_frequencies_of_classes_are_nothing_learned() -> None:
    """A loss that falls far, by an output bias alone, is that of a network without inputs."""
    torch.manual_seed(0)
    net = plateau("dead")[0]
    net[4].bias.data[:] = torch.linspace(-5, 5, 10)
    with pytest.warns(CollapseWarning):
        result = ParsimoniousTrainer(net, 1e-2).fit(Digits(), 8, progress=False)
    assert result.history[-1].loss < 0.7 * result.history[0].loss
    assert result.certificate.start < 0.7 * result.history[0].loss
    assert result.widths == result.widths_before


def test_gates_of_a_loop_of_ones_own_wait_too() -> None:
    torch.manual_seed(0)
    x, y = Digits().X[:64], Digits().y[:64]
    gates = UnitGates(mlp(64, 12, 10), x, unit_cost=1.0, steps=60)
    for _ in range(60):
        gates.update(x, y)  # and no step of the weights
        assert gates.prune() == 0
    assert not gates.onset.begun
    assert (gates.keep_probabilities["0"] == 1).all()
    assert gates.finish()[0].out_features == 12


def small_cnn() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(12, 16, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
    )


@pytest.mark.slow
def test_a_network_that_begins_slowly_is_as_good_as_without_gates() -> None:
    class Images(Digits):
        def __iter__(self):
            for x, y in super().__iter__():
                yield x.view(-1, 1, 8, 8), y

    data, images = Digits(), Images()
    X, y = data.test[0][0].view(-1, 1, 8, 8), data.test[0][1]

    def accuracy(net: nn.Module) -> float:
        with torch.no_grad():
            return (net(X).argmax(dim=1) == y).double().mean().item()

    def trained(cost: float, **options) -> nn.Module:
        trainer = ParsimoniousTrainer(small_cnn(), cost, lr=0.2, **options)
        result = trainer.fit(images, 20, progress=False)
        assert not result.collapsed
        return result.model

    dense = accuracy(trained(1e-4, warm_up=1.0, start=1.0))  # gates that are always open
    assert dense > 0.8
    assert accuracy(trained(1e-4)) > dense - 0.03
