"""Training that sheds units: digits in the robust setting, traps, runs that go on."""

from __future__ import annotations

import copy
import math
import signal
from functools import cache
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import killed
import nettrim
from nettrim.parsimonious import CollapseWarning, ComplexityCost, ParsimoniousTrainer, UnitGates
from nettrim.parsimonious.keep_probability import KeepProbability
from support.gated import Attending, Digits, mlp, residual_mlp

ROBUST = {"unit_cost": 1e-2, "weight_decay": 1e-3}
EPOCHS = 40


@cache
def digits() -> Digits:
    return Digits()


@cache
def trained(width: int, scale: float = 1.0):
    """The robust setting from a start of two layers of the same width."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = mlp(64, width, width, 10, scale=scale)
    trainer = ParsimoniousTrainer(net, **ROBUST)
    return trainer.fit(digits(), EPOCHS, validation=digits().test, progress=False)


def hidden(result) -> int:
    return sum(result.widths.values())


def total(result) -> int:
    return sum(p.numel() for p in result.model.parameters())


# --- the robust setting ---------------------------------------------------------------------------


def test_digits() -> None:
    result = trained(128)
    assert result.status == "decided"
    assert result.history[-1].accuracy >= 0.95
    assert total(result) <= 2000
    assert result.settled <= 0.4 * EPOCHS
    last = [p for group in result.history[-1].keep_probabilities.values() for p in group]
    assert np.mean([min(p, 1 - p) <= 0.05 for p in last]) >= 0.9
    assert result.flops_saved > 0.5
    with torch.no_grad():
        X, y = digits().test[0]
        accuracy = (result.model(X).argmax(dim=1) == y).double().mean().item()
    assert accuracy == result.history[-1].accuracy


@pytest.mark.slow
def test_the_start_width_does_not_matter() -> None:
    results = [trained(32), trained(128)]
    sizes = [total(result) for result in results]
    assert max(sizes) <= 1.35 * min(sizes)
    assert all(result.history[-1].accuracy >= 0.95 for result in results)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_the_initial_weights_do_not_matter(scale: float) -> None:
    result = trained(128, scale)
    assert hidden(result) == pytest.approx(hidden(trained(128)), rel=0.35)
    assert result.history[-1].accuracy >= 0.945


def test_every_unit_is_worth_its_cost() -> None:
    result = trained(128)
    proof = result.certificate
    assert proof.n_samples == 1257
    assert proof.n_units == hidden(result)
    assert proof.share(0.5) >= 0.95
    objective = proof.loss + 1e-2 * hidden(result)
    assert objective < math.log(10) / 2
    # Every rise by itself: the module with a row of zeros where a unit was.
    net = copy.deepcopy(result.model)
    X, y = digits().X[:1257], digits().y[:1257]
    with torch.no_grad():
        net[2].weight[:, 0] = 0
        net.double()
        without = nn.functional.cross_entropy(net(X.double()), y).item()
    assert without - proof.loss == pytest.approx(proof.rises["0"][0].item(), abs=1e-5)


def test_a_fixed_prior_decides_nothing(monkeypatch) -> None:
    """The control: the divergence from a fixed prior holds probabilities between 0 and 1."""
    flattening = KeepProbability.moved

    def fixed(self, difference, cost, step, schedule):
        p = self.probability.clamp(1e-6, 1 - 1e-6)
        scale = 1e-3 / math.log(3)
        slope = scale * (torch.logit(p) - math.log(0.25 / 0.75))
        return flattening(self, difference + slope - cost, cost, step, schedule)

    monkeypatch.setattr(KeepProbability, "moved", fixed)
    torch.manual_seed(0)
    trainer = ParsimoniousTrainer(mlp(64, 64, 64, 10), 1e-3, weight_decay=1e-3, snap=0.0)
    result = trainer.fit(digits(), 30, progress=False, certify=0)
    last = [p for group in result.history[-1].keep_probabilities.values() for p in group]
    assert np.mean([min(p, 1 - p) < 1e-3 for p in last]) < 0.2
    assert result.status == "undecided"
    assert "were rounded" in str(result)


def test_too_fast_and_unprepared_collapses_with_a_warning(tmp_path: Path) -> None:
    def fit():
        torch.manual_seed(0)
        trainer = ParsimoniousTrainer(
            mlp(64, 128, 128, 10), 1e-2, weight_decay=1e-3, warm_up=0.0, fall=0.0125
        )
        return trainer.fit(digits(), EPOCHS, progress=False, checkpoint=tmp_path / "run.pt")

    with pytest.warns(CollapseWarning, match="unit_cost"):
        result = fit()
    assert_same(fit(), result)  # a run that collapsed does not go on
    assert result.collapsed
    assert str(result).startswith("! collapsed")
    assert min(result.widths.values()) == 1
    assert result.model(digits().test[0][0]).shape == (540, 10)


# --- sections and complexity ----------------------------------------------------------------------


@pytest.mark.slow
def test_sections_leave_until_as_many_are_left_from_every_start() -> None:
    left, accuracies = [], []
    for count in (3, 6):
        torch.manual_seed(0)
        trainer = ParsimoniousTrainer(
            residual_mlp(count), 0.0, section_cost=0.04, weight_decay=1e-3
        )
        result = trainer.fit(digits(), 30, validation=digits().test, progress=False, certify=0)
        left.append(result.sections)
        accuracies.append(result.history[-1].accuracy)
        assert result.status == "decided"
        assert result.sections_before == count
        assert "sections" in str(result)
    assert len(set(left)) == 1
    assert min(accuracies) >= 0.95


def test_a_residual_stream_sheds_units() -> None:
    torch.manual_seed(0)
    trainer = ParsimoniousTrainer(residual_mlp(2), 3e-3, section_cost=0.01, weight_decay=1e-3)
    result = trainer.fit(digits(), 20, validation=digits().test, progress=False, certify=0)
    assert result.status == "decided"
    assert result.history[-1].accuracy >= 0.95
    assert result.widths["0"] <= 36 < result.widths_before["0"]
    assert result.model[2].fall.out_features == result.model[-1].in_features == result.widths["0"]


def marked(count: int) -> TensorDataset:
    """Sequences in which one token is marked, and says which class it is."""
    X, rows, tokens = torch.randn(count, 6, 8), torch.arange(count), torch.randint(6, (count,))
    X[..., 0] = 0
    X[rows, tokens, 0] = 4
    return TensorDataset(X, X[rows, tokens, 1:5].argmax(dim=1))


def test_attention_sheds_heads() -> None:
    torch.manual_seed(0)
    net, data, test = Attending(16, heads=8), marked(1024), marked(512)
    batches = DataLoader(data, 64, shuffle=True, generator=torch.Generator().manual_seed(0))
    trainer = ParsimoniousTrainer(net, 1e-2, optimizer=torch.optim.Adam, lr=1e-2)
    result = trainer.fit(batches, 15, validation=DataLoader(test, 512), progress=False, certify=0)
    assert result.status == "decided"
    assert result.history[-1].accuracy >= 0.9
    heads = result.widths["query"]
    assert heads == net.heads <= 7
    assert net.query.out_features == net.out.in_features == 2 * heads


# --- runs -----------------------------------------------------------------------------------------


def small(seed: int = 0, **options) -> ParsimoniousTrainer:
    torch.manual_seed(0)
    net = nn.Sequential(*mlp(64, 40, 30, 10)[:2], nn.Dropout(0.1), *mlp(40, 30, 10))
    return ParsimoniousTrainer(net, 2e-2, weight_decay=1e-3, seed=seed, **options)


def assert_same(one, other) -> None:
    assert one.widths == other.widths
    for key, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[key]), key
    for a, b in zip(one.history, other.history, strict=True):
        assert (a.loss, a.keep_probabilities) == (b.loss, b.keep_probabilities)


def test_the_same_seed_gives_the_same_bits_and_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    one = small()
    result = one.fit(digits(), 8, progress=False)
    torch.set_rng_state(before)
    other = small()
    state = torch.get_rng_state()
    assert_same(result, other.fit(digits(), 8, progress=False))
    assert torch.equal(torch.get_rng_state(), state)
    different = small(seed=1).fit(digits(), 8, progress=False, callback=lambda epoch: True)
    assert different.history[0].loss != result.history[0].loss


@pytest.mark.parametrize(
    ("kind", "adam"),
    [
        ("iterable", False),
        ("iterable", True),
        ("loader", False),
        ("loader with a generator", True),
    ],
)
def test_a_run_that_was_stopped_goes_on_with_the_same_bits(
    kind: str, adam: bool, tmp_path: Path
) -> None:
    data = TensorDataset(digits().X[:1257], digits().y[:1257])

    def loader():
        if kind == "iterable":
            return digits()
        own = torch.Generator().manual_seed(5) if kind.endswith("generator") else None
        return DataLoader(data, 64, shuffle=True, generator=own)

    options = {"optimizer": torch.optim.Adam, "lr": 2e-3} if adam else {}

    def fit(**call):
        return small(**options).fit(loader(), 8, progress=False, certify=0, **call)

    whole = fit()
    assert sum(whole.widths.values()) < 70  # something left on the way

    class Stopped(Exception):
        pass

    def stop(epoch) -> None:
        if epoch.epoch == 5:
            raise Stopped

    file = tmp_path / "run.pt"
    with pytest.raises(Stopped):
        fit(checkpoint=file, callback=stop)
    assert file.exists()
    seen = []
    resumed = fit(checkpoint=file, callback=lambda e: seen.append(e.epoch))
    assert seen == [6, 7, 8]
    assert_same(resumed, whole)
    assert_same(fit(checkpoint=file), whole)


def test_fine_tuning_trains_what_is_left() -> None:
    """Nothing of the run before is another, no unit goes any more, and the loss falls further."""
    once = small().fit(digits(), 8, progress=False, certify=0)
    trained_on = small().fit(digits(), 8, fine_tune=3, progress=False, certify=0)
    assert trained_on.widths == once.widths
    assert trained_on.undecided == once.undecided
    assert trained_on.history[7].loss == once.history[7].loss
    for epoch in trained_on.history[8:]:
        assert epoch.widths == once.widths
        assert all(p == 1 for group in epoch.keep_probabilities.values() for p in group)
    assert trained_on.history[-1].loss < once.history[-1].loss


def test_the_rate_of_fine_tuning_falls_from_the_beginning_to_zero() -> None:
    rates = []

    class Rates(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    small(optimizer=Rates).fit(digits(), 4, fine_tune=2, progress=False, certify=0)
    steps = len(rates) // 6
    wanted = [0.05 / 2 * (1 + math.cos(math.pi * k / (2 * steps))) for k in range(2 * steps)]
    assert rates[4 * steps :] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("last", [3, 5, 6])
def test_a_run_stopped_about_where_gates_are_decided_goes_on(last: int, tmp_path: Path) -> None:
    def fit(**call):
        return small(optimizer=torch.optim.Adam, lr=2e-3).fit(
            digits(), 5, fine_tune=3, progress=False, certify=0, **call
        )

    whole = fit()
    file = tmp_path / "run.pt"
    fit(checkpoint=file, callback=lambda e: e.epoch == last)
    resumed = fit(checkpoint=file)
    assert len(resumed.history) == 8
    assert_same(resumed, whole)
    assert resumed.undecided == whole.undecided


def test_sections_and_inputs_are_resumed(tmp_path: Path) -> None:
    def trainer() -> ParsimoniousTrainer:
        torch.manual_seed(0)
        cost = ComplexityCost(0.3, parameters=3000, section_share=0.3)
        return ParsimoniousTrainer(residual_mlp(4), cost, inputs=True, samples=8)

    def fit(**call):
        return trainer().fit(digits(), 16, progress=False, certify=0, **call)

    whole = fit()
    file = tmp_path / "run.pt"
    fit(checkpoint=file, callback=lambda e: e.epoch == 10)
    resumed = fit(checkpoint=file)
    assert whole.sections < 4
    assert len(whole.inputs) < 64
    assert_same(resumed, whole)
    assert torch.equal(resumed.inputs, whole.inputs)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    small(warm_up=1.0).fit(digits(), 2, progress=False, checkpoint=file, certify=0)
    with pytest.raises(ValueError, match=r"different lr \(0\.05, now 0\.1\)"):
        small(warm_up=1.0, lr=0.1).fit(digits(), 2, progress=False, checkpoint=file)
    with pytest.raises(ValueError, match=r"different optimizer \(SGD, now Adam\)"):
        small(warm_up=1.0, optimizer=torch.optim.Adam).fit(digits(), 2, checkpoint=file)
    file.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is not a checkpoint of nettrim"):
        small().fit(digits(), 2, progress=False, checkpoint=file)


# --- whose checkpoint it is -----------------------------------------------------------------------


def doubled(outputs, targets):
    return 2 * nn.functional.cross_entropy(outputs, targets, reduction="none")


def smoothed(amount: float):
    return lambda outputs, targets: nn.functional.cross_entropy(
        outputs, targets, reduction="none", label_smoothing=amount
    )


def fitted(file: Path, *, data=None, model=None, **options):
    torch.manual_seed(0)
    net = mlp(64, 12, 10) if model is None else model()
    trainer = ParsimoniousTrainer(net, 1e-3, **{"lr": 0.1, **options})
    loader = list(digits()) if data is None else data
    return trainer.fit(loader, 3, progress=False, certify=0, checkpoint=file)


def changed(part: int) -> list:
    """The same batches, but for the last sample of the last one: its inputs, or its target."""
    torch.manual_seed(0)
    mlp(64, 12, 10)
    batches = [tuple(map(torch.clone, batch)) for batch in digits()]
    batches[-1][part][-1] += 1
    return batches


def reordered() -> list:
    torch.manual_seed(0)
    mlp(64, 12, 10)
    return list(digits())[::-1]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda: {"model": lambda: mlp(64, 12, 10, scale=1.001)}, "model"),
        (lambda: {"model": lambda: mlp(64, 12, 10, activation=nn.Tanh)}, "model"),
        (lambda: {"data": changed(0)}, "train_loader"),
        (lambda: {"data": changed(1)}, "train_loader"),
        (lambda: {"data": reordered()}, "train_loader"),
        (lambda: {"loss": doubled}, "loss"),
        (lambda: {"loss": smoothed(0.1)}, "loss"),
        (
            lambda: {"optimizer": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.8)},
            "options of the optimizer",
        ),
        (lambda: {"seed": 1}, "seed"),
        (lambda: {"start": 0.6}, "start"),
        (lambda: {"samples": 16}, "samples"),
    ],
)
def test_a_checkpoint_names_what_differs(change, name: str, tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    given = {"loss": smoothed(0.2)} if name == "loss" else {}
    fitted(file, **given)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=f"checkpoint .*run.pt.* different .*{name}"):
        fitted(file, **change())
    assert file.read_bytes() == before


def test_damaged_checkpoints_are_refused_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    fitted(file)
    content = file.read_bytes()
    state = torch.load(file, weights_only=True)
    state["model"]["0.weight"][3, 5] += 1e-6
    torch.save(state, tmp_path / "one weight.pt")
    torch.save({"identity": {}}, tmp_path / "no state.pt")
    torch.save(nn.Linear(2, 2), tmp_path / "a module.pt")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "a folder.pt").mkdir()
    for share in (0.1, 0.5, 0.9, 0.999):
        (tmp_path / f"cut {share}.pt").write_bytes(content[: int(share * len(content))])
    flipped = bytearray(content)
    flipped[content.index(state["model"]["2.bias"].numpy().tobytes()) + 1] ^= 64
    (tmp_path / "one bit.pt").write_bytes(flipped)
    for bad in sorted(set(tmp_path.iterdir()) - {file}):
        with pytest.raises(ValueError, match="checkpoint") as raised:
            fitted(bad)
        assert str(raised.value).startswith(f"checkpoint {str(bad)!r} ")
        assert "\n" not in str(raised.value)


def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    assert killed.survives(tmp_path, rounds=1)


def test_an_interrupt_leaves_a_model_that_works() -> None:
    class Interrupting(Digits):
        epochs = 0

        def __iter__(self):
            for k, batch in enumerate(super().__iter__()):
                if self.epochs == 3 and k == 5:
                    signal.raise_signal(signal.SIGINT)
                yield batch
            self.epochs += 1

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = small().fit(Interrupting(), 20, progress=False)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert result.status == "interrupted"
    assert len(result.history) in (2, 3)
    assert result.model(digits().test[0][0]).shape == (540, 10)


def test_progress_callbacks_and_picture(tmp_path: Path, capsys) -> None:
    seen = []
    result = small().fit(
        digits(), 20, validation=digits().test, callback=lambda e: seen.append(e) or e.epoch == 15
    )
    assert list(result.history) == seen
    assert len(seen) == 15
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("epoch 2/20: loss ")
    assert "units 40-30" in told[0]
    result.plot(tmp_path / "history.png")
    assert (tmp_path / "history.png").stat().st_size > 10_000
    assert "layer" in str(result)
    assert result.status in ("decided", "undecided")


def test_other_losses() -> None:
    """A regression: one value for each sample, no accuracy."""
    torch.manual_seed(0)
    x = torch.randn(256, 3)
    y = x[:, :1] * x[:, 1:2]
    batches = list(zip(x.split(32), y.split(32), strict=True))

    def squares(outputs, targets):
        return ((outputs - targets) ** 2).sum(dim=1)

    torch.manual_seed(0)
    trainer = ParsimoniousTrainer(mlp(3, 32, 1), 0.02, loss=squares, lr=0.02)
    result = trainer.fit(batches, 40, validation=batches, progress=False)
    assert result.history[-1].accuracy is None
    assert result.history[-1].validation_loss < y.var().item()
    assert result.widths["0"] < 32


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ParsimoniousTrainer("net", 0.1), TypeError, "model must be a torch.nn.Module"),
        (lambda: small(lr=0.0), ValueError, "lr must be finite and greater than 0"),
        (lambda: small().fit([], 2), ValueError, "train_loader is empty"),
        (lambda: small().fit(digits(), 0), ValueError, "epochs must be at least 1"),
        (lambda: small().fit(digits(), 2, fine_tune=-1), ValueError, "fine_tune must be at least"),
        (lambda: small().fit([digits().X[:5]], 2), ValueError, "must yield pairs"),
        (lambda: small().fit(iter(digits()), 2), ValueError, "train_loader .*walked"),
        (lambda: small(lr=1e9).fit(digits(), 2, progress=False), ValueError, "lr=1e.09: the loss"),
        (lambda: small(warmup=1).fit(digits(), 2), TypeError, "warmup"),
    ],
)
def test_wrong_arguments_are_named(call, error, words) -> None:
    with pytest.raises(error, match=words):
        call()


# --- and on into trim -----------------------------------------------------------------------------


def test_the_result_goes_on_into_trim() -> None:
    result = trained(128)
    X = digits().X[:1257].numpy()
    trimmed = nettrim.trim(copy.deepcopy(result.model), X, sparsity=0.5, progress=False)
    weights = [p for p in trimmed.model.parameters() if p.dim() == 2]
    zeros = sum(int((w == 0).sum()) for w in weights)
    assert zeros >= 0.5 * sum(w.numel() for w in weights) - 1
    inputs, labels = digits().test[0]
    with torch.no_grad():
        accuracy = (trimmed.model(inputs).argmax(dim=1) == labels).double().mean().item()
    assert accuracy >= 0.9


def test_what_sections_leave_behind_can_be_trimmed_with_a_bound() -> None:
    torch.manual_seed(0)
    net, X = residual_mlp(2), digits().X[:300]
    gates = UnitGates(net.eval(), X, unit_cost=0.01, section_cost=0.1, steps=10)
    gates._keep["3.fall"].probability[:] = 0
    gates._keep["3.fall"].quiet[:] = 10**6
    gates.prune()
    result = nettrim.trim(net, X.numpy(), epsilon=0.1, scheme="parallel", progress=False)
    assert np.isfinite(result.bound)
    assert result.discrepancy <= result.bound
