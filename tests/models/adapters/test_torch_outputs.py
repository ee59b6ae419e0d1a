"""What a module returns: which parts count, how they are called, what moves them."""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nettrim.torch
from nettrim.models.model_view import as_view
from support.networks import trim

torch = pytest.importorskip("torch")
nn = torch.nn


@dataclasses.dataclass
class Both:
    mean: Any
    rest: Any = None


Pair = namedtuple("Pair", ["left", "right"])


class Heads(nn.Module):
    """A body and two heads, packed in some way."""

    def __init__(self, pack: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.body, self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 2)
        self.pack = pack

    def forward(self, x: Any) -> Any:
        hidden = self.body(x).relu()
        return self.pack(self.a(hidden), 3.0 * self.b(hidden))


class Untraceable(Heads):
    def forward(self, x: Any) -> Any:
        if x.shape[0] < 1:  # torch.fx cannot follow it, torch.export can
            return None
        return super().forward(x)


PACKS = [
    (lambda a, b: (a, b), ["0", "1"]),
    (lambda a, b: [a, b, b.mean(), 3, None], ["0", "1"]),
    (lambda a, b: {"logits": a, "aux": b, "loss": b.sum()}, ["logits", "aux"]),
    (lambda a, b: OrderedDict(z=a, y={"deep": [b]}), ["z", "y.deep.0"]),
    (lambda a, b: Both(a, (b,)), ["mean", "rest.0"]),
    (lambda a, b: Both(a, Both(b)), ["mean", "rest.mean"]),
    (lambda a, b: Pair(a, b), ["left", "right"]),
    (lambda a, b: (a.argmax(1), a, b, b > 0), ["1", "2"]),  # floats alone
]


@pytest.mark.parametrize("kind", [Heads, Untraceable])
@pytest.mark.parametrize(("pack", "names"), PACKS)
def test_every_output_of_floats_counts(
    rng: np.random.Generator, kind: type[Heads], pack: Callable[[Any, Any], Any], names: list[str]
) -> None:
    X = rng.standard_normal((20, 6))
    view: Any = as_view(kind(pack).double())
    view.calibration(X, "X")
    assert view.outputs() == names
    *_, a, b = signals = list(view.signals(X, {}))
    assert len(signals) == len(view.prunable_layers()) + 2 == 5
    model, x = view.model, torch.tensor(X)
    with torch.no_grad():
        hidden = model.body(x).relu()
        wanted = [model.a(hidden).numpy(), 3.0 * model.b(hidden).numpy()]
    np.testing.assert_allclose(a.values, wanted[0], atol=1e-12)
    np.testing.assert_allclose(b.values, wanted[1], atol=1e-12)
    layers = [layer.name for layer in view.prunable_layers()]
    assert (a.lipschitz, b.lipschitz) == ({layers.index("a"): 1.0}, {layers.index("b"): 3.0})
    for seen, output in zip(view.run(model, X), wanted, strict=True):
        np.testing.assert_allclose(seen, output, atol=1e-12)


def test_a_tensor_alone_is_the_output(rng: np.random.Generator) -> None:
    view: Any = as_view(nn.Sequential(nn.Linear(3, 2)))
    view.calibration(rng.standard_normal((4, 3)), "X")
    assert view.outputs() == ["output"]


def test_what_a_module_of_pytorch_returns_in_parts(rng: np.random.Generator) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.rnn = nn.Linear(4, 3), nn.GRU(3, 2, batch_first=True)

        def forward(self, x: Any) -> Any:
            return self.rnn(self.layer(x))

    X = rng.standard_normal((9, 5, 4))
    view: Any = as_view(Recurrent())
    view.calibration(X, "X")
    assert view.outputs() == ["0", "1"]
    *_, states, last = view.signals(X, {})
    assert (states.values.shape, last.values.shape) == ((9, 5, 2), (9, 1, 2))
    assert states.lipschitz == last.lipschitz == dict.fromkeys(range(3), math.inf)


def test_nothing_with_samples_is_no_output(rng: np.random.Generator) -> None:
    model = Heads(lambda a, b: {"loss": a.mean(), "classes": b.argmax(1)})
    with pytest.raises(ValueError, match=r"^model must return one result for each sample"):
        trim(model, rng.standard_normal((9, 6)), epsilon=0.1)


def test_an_output_that_some_samples_lack(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: Any) -> Any:
            y = self.layer(x)
            return (y, 2.0 * y) if (x > 0).all() else (y,)

    monkeypatch.setattr("nettrim.models.adapters.torch.run.BATCH", 4)
    X = np.abs(rng.standard_normal((12, 3)))
    X[9] = -1.0
    view = nettrim.torch.declare(Sometimes(), relu=[])
    stages: list[Any] = []
    for arguments in [{"X": X}, {"X": X[:9], "held_out": X}]:
        with pytest.raises(
            ValueError, match=r"^model does not return '1' in its turn on samples 8 to 11"
        ):
            trim(view, **arguments, epsilon=0.1, progress=stages.append)
    assert stages == []  # before any work


def test_the_run_of_users_is_in_their_precision(rng: np.random.Generator) -> None:
    """Attention takes its fused path, and the mode of the module is left as it is."""
    block = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    model = nn.Sequential(
        nn.TransformerEncoder(block, 2, enable_nested_tensor=False), nn.Linear(8, 2)
    )
    X = rng.standard_normal((10, 5, 8))
    view: Any = as_view(model.train())
    view.calibration(X, "X")
    (seen,) = view.run(model, X)
    assert model.training
    with torch.no_grad():
        wanted = model.eval()(torch.tensor(X, dtype=torch.float32))
    np.testing.assert_array_equal(seen, wanted.double())


def test_both_heads_keep_their_weights_at_a_given_sparsity(rng: np.random.Generator) -> None:
    result = trim(Heads(lambda a, b: {"a": a, "b": b}), rng.standard_normal((80, 6)), sparsity=0.6)
    assert all((head.weight != 0).any() for head in (result.model.a, result.model.b))


class Centred(nn.Module):
    """Outputs depend on the mean of the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.relu(self.a(x - x.mean(0))))


class TimeFirst(nn.Module):
    """A state goes along the first axis."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.a, self.b = nn.RNN(8, 8), nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.relu(self.a(self.rnn(x)[0])))


@pytest.mark.parametrize("kind", [Centred, TimeFirst])
def test_samples_that_depend_on_each_other_pass_at_once(kind: type[nn.Module]) -> None:
    """More samples than usually pass at a time, in blocks that differ: bounds hold for all."""
    torch.manual_seed(0)
    shape = (600, 8) if kind is Centred else (600, 2, 8)
    X = torch.randn(shape) + 3 * torch.randn(8) * (torch.arange(600) // 256).view(
        -1, *[1] * (len(shape) - 1)
    )
    module = kind()
    with pytest.warns(UserWarning, match="depends on those beside it"):
        result = trim(module, X, epsilon=0.2, n_threads=1)
    with torch.no_grad():
        before, after = module(X), result.model(X)
    true = float((after - before).norm() / before.norm())
    assert result.discrepancy == pytest.approx(true, rel=1e-4)
    assert true <= result.bound * (1 + 1e-6)
