"""Modules as people have them: wrapped, compiled, masked, normed, sparse; and what is refused."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nettrim.torch
from nettrim.models.model_view import as_view
from support.networks import trim

torch = pytest.importorskip("torch")
F = torch.nn.functional
nn = torch.nn

from torch.nn.utils import prune


def perceptron() -> Any:
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3))


def weights(model: Any) -> list[Any]:
    return [p.detach() for p in model.parameters()]


# --- ReLUs ----------------------------------------------------------------------------------------


class After(nn.Module):
    """Two layers and something of one's choice between them."""

    def __init__(self, what: Callable[..., Any], *modules: Any) -> None:
        super().__init__()
        self.layer, self.what, self.parts = nn.Linear(4, 6), what, nn.ModuleList(modules)
        self.last = nn.Linear(6, 2)

    def forward(self, x: Any) -> Any:
        return self.last(self.what(self.layer(x), *self.parts))


class Untraceable(After):
    def forward(self, x: Any) -> Any:
        if x.shape[0] < 1:  # torch.fx cannot follow it, torch.export can
            return x
        return super().forward(x)


RELUS = [
    (lambda y: y.clamp(min=0.0), []),
    (lambda y: y.clip(0), []),
    (lambda y: torch.clamp_min(y, 0.0), []),
    (lambda y: y.clamp_(min=0), []),
    (lambda y: torch.maximum(y, torch.zeros_like(y)), []),
    (lambda y: torch.maximum(torch.zeros(6, dtype=y.dtype), y), []),
    (lambda y: torch.max(y, torch.tensor(0.0, dtype=torch.float64).to(y.dtype)), []),
    (lambda y: F.threshold(y, 0.0, 0.0), []),
    (lambda y, step: step(y), [nn.Threshold(0.0, 0.0)]),
    (lambda y, step: step(y), [nn.LeakyReLU(0.0)]),
    (lambda y, step: step(y), [nn.Hardtanh(0.0, math.inf)]),
    (lambda y, step: step(y), [nn.ELU(0.0)]),
    (lambda y: F.leaky_relu(y, 0.0), []),
    (lambda y: y * (y > 0), []),
    (lambda y: (y >= 0).to(y.dtype) * y, []),
    (lambda y: torch.where(y > 0, y, 0.0), []),
    (lambda y: y.masked_fill(y < 0, 0.0), []),
    (lambda y: (y + y.abs()) / 2, []),
    (lambda y, norm: norm(y).clamp(min=0.0), [nn.BatchNorm1d(6)]),
    (lambda y, drop: drop(y.clone()).clamp(min=0.0), [nn.Dropout()]),
]

NO_RELUS = [
    (lambda y: y.clamp(0.0, 6.0), [], 1.0),
    (lambda y: y.clamp(0.0, 1e9), [], 1.0),
    (F.relu6, [], 1.0),
    (lambda y: y.clamp(min=1e-6), [], 1.0),
    (lambda y: y.clamp(max=0.0), [], 1.0),
    (lambda y: F.threshold(y, 1e-3, 0.0), [], math.inf),
    (lambda y: F.leaky_relu(y, 1e-3), [], 1.0),
    (lambda y: y * (y > 1), [], math.inf),
    (lambda y: y * (y < 0), [], math.inf),
    (lambda y: torch.maximum(y, -y), [], 2.0),
    (lambda y: F.softplus(y, 100.0), [], 1.0),
    (lambda y: F.gelu(y), [], 1.13),
    (lambda y: y.clamp(min=0.0) - y, [], 2.0),  # of a negative sign
    (lambda y: y.half().clamp(min=0.0).to(y.dtype), [], math.inf),
]


@pytest.mark.parametrize("kind", [After, Untraceable])
@pytest.mark.parametrize(("what", "modules"), RELUS)
def test_a_relu_however_it_is_written(
    rng: np.random.Generator, kind: type[After], what: Callable[..., Any], modules: list[Any]
) -> None:
    X = rng.standard_normal((9, 4))
    view: Any = as_view(kind(what, *modules))
    view.calibration(X, "X")
    assert [layer.activation for layer in view.prunable_layers()] == ["relu", "linear"]
    first, second, _ = view.signals(X, {})
    layer = view.prunable_layers()[0]
    np.testing.assert_allclose(layer.respond(layer.affine, first.values), second.values, atol=1e-5)
    assert second.lipschitz == {0: 1.0}


@pytest.mark.parametrize("kind", [After, Untraceable])
@pytest.mark.parametrize(("what", "modules", "gain"), NO_RELUS)
def test_what_is_nearly_a_relu(
    rng: np.random.Generator,
    kind: type[After],
    what: Callable[..., Any],
    modules: list[Any],
    gain: float,
) -> None:
    X = rng.standard_normal((9, 4))
    view: Any = as_view(kind(what, *modules))
    view.calibration(X, "X")
    assert [layer.activation for layer in view.prunable_layers()] == ["linear", "linear"]
    _, second, _ = view.signals(X, {})
    assert second.lipschitz[0] == gain or (kind is Untraceable and second.lipschitz[0] >= gain)


class Convolutional(nn.Module):
    """A chain of what torch.export writes otherwise than torch.fx."""

    def __init__(self, followed: bool) -> None:
        super().__init__()
        self.followed = followed
        self.conv, self.norm, self.last = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Linear(12, 2)

    def forward(self, x: Any) -> Any:
        if not self.followed and x.shape[0] < 1:
            return x
        x = F.max_pool2d(self.norm(self.conv(x)).relu(), 3, 2)
        x = F.dropout(F.gelu(x), 0.1, self.training).clamp(0.0, 6.0)
        return (self.last(torch.flatten(x, 1)) / 2.0).sigmoid(), x.mean((2, 3))


def test_gains_are_the_same_by_either_way_of_tracing(rng: np.random.Generator) -> None:
    X = rng.standard_normal((7, 1, 8, 8))
    found = []
    for followed in (True, False):
        view: Any = as_view(Convolutional(followed).eval())
        view.calibration(X, "X")
        assert [layer.activation for layer in view.prunable_layers()] == ["relu", "linear"]
        found.append([dict(signal.lipschitz) for signal in view.signals(X, {})])
    assert found[0] == found[1]
    assert all(math.isfinite(gain) for gains in found[0] for gain in gains.values())


def test_a_norm_that_is_not_all_that_follows(rng: np.random.Generator) -> None:
    model = After(lambda y, norm: (norm(y) + y).relu(), nn.BatchNorm1d(6))
    view: Any = as_view(model)
    view.calibration(rng.standard_normal((9, 4)), "X")
    assert [layer.activation for layer in view.prunable_layers()] == ["linear", "linear"]


def test_layers_inside_of_modules_that_are_not_followed(rng: np.random.Generator) -> None:
    """torch.fx stops at the modules of PyTorch, torch.export does not."""
    block = nn.TransformerEncoderLayer(
        8, 2, 12, batch_first=True, activation=lambda y: y.clamp(min=0)
    )
    view: Any = as_view(nn.Sequential(block, nn.Linear(8, 2)))
    view.calibration(rng.standard_normal((9, 5, 8)), "X")
    found = [(layer.name, layer.activation) for layer in view.prunable_layers()]
    attention = [(f"0.self_attn.{part}_proj", "linear") for part in ("q", "k", "v", "out")]
    assert found == [*attention, ("0.linear1", "relu"), ("0.linear2", "linear"), ("1", "linear")]


def test_what_data_decide_is_unknown(
    rng: np.random.Generator, capfd: pytest.CaptureFixture[str]
) -> None:
    model = After(lambda y: y.relu() if y.sum() < 1e9 else y)
    view: Any = as_view(model)
    with pytest.warns(UserWarning, match=r"what follows the layers 'layer', 'last' is not known"):
        view.calibration(rng.standard_normal((9, 4)), "X")
    assert [layer.activation for layer in view.prunable_layers()] == ["linear", "linear"]
    nettrim.torch.declare(model, relu=["layer"]).calibration(np.ones((9, 4)), "X")  # no warning
    assert capfd.readouterr() == ("", "")  # torch.export says nothing of what it does not follow


def test_a_graph_does_not_lose_a_forward_of_ones_own(rng: np.random.Generator) -> None:
    model = Untraceable(lambda y: y.relu())
    before = dict(vars(model))
    trim(model, rng.standard_normal((60, 4)), epsilon=0.1)
    assert vars(model) == before


# --- wrappers -------------------------------------------------------------------------------------


def compiled(module: Any) -> Any:
    return torch.compile(module, backend="eager")


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        compiled,
        lambda module: nn.DataParallel(compiled(module)),
        lambda module: compiled(nn.DataParallel(module)),
    ],
)
def test_a_wrapper_comes_back(rng: np.random.Generator, wrap: Callable[[Any], Any]) -> None:
    plain, X = perceptron(), rng.standard_normal((80, 6))
    expected = trim(plain, X, epsilon=0.1)
    wrapped = wrap(copy.deepcopy(plain))
    result = trim(wrapped, X, epsilon=0.1)
    assert [layer.name for layer in result.layers] == ["0", "2", "4"]
    assert result.original is wrapped
    assert type(result.model) is type(wrapped)
    for one, other in zip(weights(result.model), weights(expected.model), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(weights(wrapped), weights(plain), strict=True):
        assert torch.equal(one, other)
    x = torch.tensor(X[:3], dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(result.model(x), expected.model(x))


def test_a_wrapper_that_cannot_come_back_is_told_of(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Distributed(nn.parallel.DistributedDataParallel):
        def __init__(self, module: Any) -> None:  # without processes
            nn.Module.__init__(self)
            self.module = module

    with pytest.warns(
        UserWarning, match="the result is the plain module; wrap it into Distributed"
    ):
        result = trim(Distributed(perceptron()), rng.standard_normal((80, 6)), epsilon=0.1)
    assert type(result.model) is nn.Sequential


def test_compiled_parts_run_as_they_are_written(rng: np.random.Generator) -> None:
    def backend(*_: Any) -> Any:
        raise AssertionError("compiled")

    model = perceptron()
    model[2] = torch.compile(model[2], backend=backend)
    view: Any = as_view(nn.Sequential(model, nn.Linear(3, 2)))
    X = rng.standard_normal((9, 6))
    view.calibration(X, "X")
    assert all(np.isfinite(signal.values).all() for signal in view.signals(X, {}))
    assert all(np.isfinite(values).all() for values in view.run(view.model, X))


# --- weights that are computed by hooks -----------------------------------------------------------


def masked(model: Any) -> str:
    prune.l1_unstructured(model[0], "weight", 0.4)
    prune.random_unstructured(model[0], "bias", 0.3)
    return "mask"


def masked_in_structures(model: Any) -> str:
    prune.ln_structured(model[0], "weight", 0.3, n=2, dim=0)
    prune.l1_unstructured(model[0], "weight", 0.1)  # a container of two
    return "mask"


def normed(model: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.nn.utils.weight_norm(model[0])
    return "weight_norm"


def spectral(model: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.nn.utils.spectral_norm(model[0])
    return "spectral_norm"


def plain_sparse(model: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # beta state
        model[0].weight = nn.Parameter(model[0].weight.detach().to_sparse_csr())
    return "sparse tensor"


@pytest.mark.parametrize("change", [masked, masked_in_structures, normed, spectral, plain_sparse])
def test_what_computes_a_weight_is_baked_in(
    rng: np.random.Generator, change: Callable[[Any], str]
) -> None:
    model, X = perceptron(), rng.standard_normal((80, 6)).astype(np.float32)
    what = change(model)
    model.eval()
    keys = list(model.state_dict())
    with torch.no_grad():
        before = model(torch.tensor(X)).numpy()
    with pytest.warns(UserWarning, match=what):
        result = trim(model, X, epsilon=0.1)
    assert [layer.name for layer in result.layers] == ["0", "2", "4"]
    assert set(result.model.state_dict()) == set(perceptron().state_dict())
    assert list(model.state_dict()) == keys
    with torch.no_grad():
        np.testing.assert_array_equal(model(torch.tensor(X)).numpy(), before)
        after = result.model(torch.tensor(X)).numpy()
    error = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert error == pytest.approx(result.discrepancy, rel=1e-3)
    assert result.discrepancy <= result.bound


def test_fine_tuning_takes_a_module_with_masks() -> None:
    model = perceptron()
    masked(model)
    loader = [(torch.randn(8, 6), torch.randint(3, (8,)))]
    tuned = nettrim.torch.fine_tune(model, loader, epochs=1)
    assert (tuned[2].weight != model[2].weight).any()


# --- what is refused ------------------------------------------------------------------------------


def scripted() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(perceptron())


def quantised() -> Any:
    """A module of operations with packed weights."""
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("PyTorch without quantised operations")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(perceptron(), {nn.Linear})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (quantised, "model is quantised.*give the module that it was made from"),
        (scripted, "model is a TorchScript module.*give the torch.nn.Module that"),
        (
            lambda: torch.export.export(perceptron(), (torch.ones(2, 6),)),
            "model is an ExportedProgram.*give the torch.nn.Module that was exported",
        ),
        (lambda: torch.ones(3), "model must be a torch.nn.Module, got Tensor"),
        (lambda: perceptron().to("meta"), "model: '0.weight' is on the meta device"),
        (
            lambda: perceptron().to(torch.float8_e4m3fn),
            r"model: the weight of layer '0' must be.*model\.float\(\)",
        ),
    ],
)
def test_models_that_are_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        as_view(make())
