"""Modules of PyTorch are trimmed like the networks they compute, in batches of any size."""

from __future__ import annotations

import copy
import itertools
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim.models.layer_view import Affine
from support.networks import trim

torch = pytest.importorskip("torch")
F = torch.nn.functional
nn = torch.nn


import nettrim.torch
from nettrim.models.adapters.torch import run as torch_run
from support.torch_modules import (
    After,
    Residual,
    assert_same_state,
    assert_true,
    encoder,
    found,
    outputs,
    perceptron,
    residual,
    settled,
)

TESTS = Path(__file__).parents[2]


class Forking(nn.Module):
    """What torch.fx cannot trace: the data decide which way they go."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        hidden = torch.relu(self.first(x))
        return self.second(hidden if hidden.sum() > 0 else -hidden)


# --- trimming -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["parallel", "cascade"])
def test_a_perceptron_is_trimmed_like_the_network_it_computes(
    rng: np.random.Generator, scheme: str
) -> None:
    module, X = perceptron(), rng.standard_normal((120, 8))
    layers = [m for m in module if isinstance(m, nn.Linear)]
    network = nettrim.Network(
        [
            nettrim.Dense(m.weight.detach().numpy().T, m.bias.detach().numpy(), activation)
            for m, activation in zip(layers, ["relu", "relu", "linear"], strict=True)
        ]
    )
    options = {"epsilon": 0.1, "scheme": scheme, "tol": 1e-8}
    result, expected = trim(module, X, **options), trim(network, X, **options)
    assert [layer.name for layer in result.layers] == ["0", "3", "6"]
    new = [m for m in result.model if isinstance(m, nn.Linear)]
    for layer, dense in zip(new, expected.model.layers, strict=True):
        np.testing.assert_allclose(layer.weight.detach().numpy().T, dense.weights, atol=1e-5)
        np.testing.assert_allclose(layer.bias.detach().numpy(), dense.bias, atol=1e-5)
    assert result.discrepancy == pytest.approx(expected.discrepancy, rel=1e-5)
    assert result.bound == pytest.approx(expected.bound, rel=1e-5)
    assert_true(result, X)


@pytest.mark.parametrize("scheme", ["parallel", "cascade"])
def test_normalisation_pooling_and_a_shortcut(rng: np.random.Generator, scheme: str) -> None:
    model, X = residual(), rng.standard_normal((40, 1, 8, 8))
    before = copy.deepcopy(model)
    result = trim(model, X, epsilon=0.2, scheme=scheme)
    assert_true(result, X)
    assert result.converged
    assert [layer.name for layer in result.layers] == ["conv1", "conv2", "head"]
    assert result.sparsity > 0.1
    assert math.isfinite(result.bound)
    assert_same_state(model, before)
    assert type(result.model) is Residual
    assert [m.training for m in result.model.modules()] == [m.training for m in model.modules()]
    changed = {"conv1.weight", "conv2.weight", "head.weight", "head.bias"}  # others are fixed
    for key, value in result.model.state_dict().items():
        assert value.dtype == model.state_dict()[key].dtype
        assert torch.equal(value, model.state_dict()[key]) == (key not in changed), key


@pytest.mark.parametrize("scheme", ["parallel", "cascade"])
def test_a_transformer(rng: np.random.Generator, scheme: str) -> None:
    model, X = nn.Sequential(encoder(), nn.Linear(8, 2)).eval(), rng.standard_normal((30, 5, 8))
    result = trim(model, X, epsilon=0.1, scheme=scheme)
    assert_true(result, X)
    assert result.converged
    parts = [*(f"self_attn.{part}_proj" for part in ("q", "k", "v", "out")), "linear1", "linear2"]
    blocks = [f"0.layers.{k}.{name}" for k in range(2) for name in parts]
    assert [layer.name for layer in result.layers] == [*blocks, "1"]
    # Nothing limits what attention does with an error; the last layer's own program does.
    assert math.isfinite(result.bound) == (scheme == "cascade")
    assert torch.backends.mha.get_fastpath_enabled()


def test_layers_side_by_side_all_have_the_room_of_the_first(rng: np.random.Generator) -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.last = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 2)

        def forward(self, x: Any) -> Any:
            return self.last(self.left(x) + self.right(x).relu())

    result = trim(Branches(), rng.standard_normal((60, 6)), epsilon=0.1)
    assert result.converged
    assert [layer.epsilon for layer in result.layers[:2]] == pytest.approx([0.1, 0.1])
    assert all(layer.discrepancy <= layer.bound for layer in result.layers)
    assert all(layer.bound <= layer.prior_bound * (1 + 1e-4) for layer in result.layers)
    assert result.discrepancy <= result.bound < 1


def test_a_declared_relu(rng: np.random.Generator) -> None:
    model, X = Forking(), rng.standard_normal((60, 6))
    unknown = r"what follows the layers 'first', 'second' is not known.*nettrim\.torch\.declare"
    with pytest.warns(UserWarning, match=unknown):
        assert found(model, X) == [("first", "linear"), ("second", "linear")]
    declared = nettrim.torch.declare(model, relu=["first"])
    silent = nettrim.torch.declare(model, relu=[])
    result, blind = trim(declared, X, epsilon=0.1), trim(silent, X, epsilon=0.1)
    assert type(result.model) is Forking
    assert result.converged
    assert result.discrepancy <= result.bound
    assert result.layers[0].l1_after < blind.layers[0].l1_after
    with pytest.raises(ValueError, match=r"^relu: no prunable layer is called \['third'\]"):
        nettrim.torch.declare(model, relu=["first", "third"])
    with pytest.raises(TypeError, match=r"^relu must be a list of names, got the string 'first'"):
        nettrim.torch.declare(model, relu="first")
    with pytest.raises(TypeError, match=r"^module must be a torch"):
        nettrim.torch.declare([], relu=[])  # type: ignore[arg-type]


def test_what_was_declared_is_reported(rng: np.random.Generator, tmp_path: Path) -> None:
    declared = nettrim.torch.declare(Forking(), relu=["first"])
    result = trim(declared, rng.standard_normal((60, 6)), epsilon=0.1)
    result.report(tmp_path / "page.html")
    names = [file.name for file in result.export(tmp_path / "files").files]
    assert {"model.pt", "sparse.npz"} <= {*names}


def test_a_declared_relu_that_the_graph_does_not_show(rng: np.random.Generator) -> None:
    view = nettrim.torch.declare(After(F.relu6), relu=["layer"])
    X = rng.standard_normal((20, 4))
    view.calibration(X, "X")
    assert [layer.activation for layer in view.prunable_layers()] == ["relu", "linear"]
    assert [signal.lipschitz for signal in view.signals(X, {})] == [{}, {0: math.inf}, {1: 1.0}]


def deep_encoder() -> Any:
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(8, 2, 12, activation="gelu", batch_first=True)
    return nn.TransformerEncoder(block, 6, enable_nested_tensor=False).eval()


def trim_deep_encoder(checkpoint: Path) -> Any:
    X = np.random.default_rng(0).standard_normal((100, 5, 8))
    options = {"sparsity": 0.5, "share": "layer", "n_threads": 1}
    return trim(deep_encoder(), X, checkpoint=checkpoint, **options)


TOLD = """
import logging, sys
from pathlib import Path
from models.adapters.test_torch_walk import trim_deep_encoder

logging.basicConfig(level=logging.INFO, stream=sys.stdout)
trim_deep_encoder(Path(sys.argv[1]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_a_transformer_killed_in_its_fifth_block_resumes_with_the_same_bits(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", TOLD, str(tmp_path / "kept")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert any("layers.4.linear1" in line for line in run.stdout or ())
        run.kill()
    assert run.returncode == -signal.SIGKILL
    kept = len([*(tmp_path / "kept").iterdir()])
    assert 29 <= kept < 36  # six layers in each of six blocks
    resumed, whole = (trim_deep_encoder(tmp_path / folder) for folder in ("kept", "whole"))
    assert_same_state(resumed.model, whole.model)


# --- signals ------------------------------------------------------------------------------------


def test_weights_count_as_soon_as_the_walk_goes_past(rng: np.random.Generator) -> None:
    model, X = perceptron(), rng.standard_normal((10, 8))
    view = settled(model, X)
    layers = view.prunable_layers()
    weights: dict[int, Affine] = {}
    still, live = view.signals(X, {}), view.signals(X, weights)
    values = X
    for position, layer in enumerate(layers):
        np.testing.assert_allclose(next(live).values, values, atol=1e-12)
        next(still)  # a walk beside it that must not disturb
        if position != 1:
            weights[position] = layer.affine.replaced(
                rng.standard_normal(layer.affine.stacked.shape)
            )
        values = layer.respond(weights.get(position, layer.affine), values)
    np.testing.assert_allclose(next(live).values, values, atol=1e-12)
    np.testing.assert_allclose(next(still).values, outputs(model, X), atol=1e-12)
    np.testing.assert_allclose(outputs(view.with_weights(weights), X), values, atol=1e-12)


def test_signals_do_not_depend_on_batches(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, X = residual(), rng.standard_normal((23, 1, 8, 8))
    view = settled(model, X)
    at_once = [signal.values for signal in view.signals(X, {})]
    monkeypatch.setattr(torch_run, "BATCH", 4)
    for whole, part in zip(at_once, view.signals(X, {}), strict=True):
        np.testing.assert_allclose(part.values, whole, atol=1e-13)
    np.testing.assert_allclose(at_once[-1], outputs(model, X), atol=1e-13)


def test_a_walk_is_one_pass_whatever_changes_on_the_way(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_run, "BATCH", 10)
    model, X = perceptron(), rng.standard_normal((30, 8))
    view = settled(model, X)
    calls: list[nn.Module] = []
    handle = view._running.runner.model.register_forward_pre_hook(
        lambda module, _: calls.append(module)
    )
    trimmed: dict[int, Affine] = {}
    walks = zip(view.signals(X, {}), view.signals(X, trimmed), strict=True)
    for position, layer in enumerate(view.prunable_layers()):
        next(walks)
        trimmed[position] = layer.affine._replace(weights=layer.affine.weights * 0.5)
    original, current = next(walks)
    assert len(calls) == 2 * 3  # each walk calls the model once with each of three batches
    handle.remove()
    np.testing.assert_allclose(original.values, outputs(model, X), atol=1e-12)
    np.testing.assert_allclose(current.values, outputs(view.with_weights(trimmed), X), atol=1e-6)


@pytest.mark.parametrize("goal", [{"epsilon": 0.1}, {"sparsity": 0.5, "share": "layer"}])
def test_a_cascade_takes_four_passes_however_deep(
    rng: np.random.Generator, goal: dict[str, Any]
) -> None:
    """Both models side by side, and both as users run them; beside that a few samples to look."""
    model, X = nn.Sequential(encoder(), nn.Linear(8, 2)).eval(), rng.standard_normal((300, 5, 8))
    passed: list[int] = []
    block = model[0].layers[-1]
    block.register_forward_pre_hook(lambda _, inputs: passed.append(len(inputs[0])))
    trim(model, X, **goal)
    assert 4 * 300 <= sum(passed) < 4 * 300 + 60


def test_ctrl_c_inside_the_model_leaves_what_is_finished(rng: np.random.Generator) -> None:
    class Interrupting(nn.Module):
        def forward(self, x: Any) -> Any:
            if len(x) == 100 and next(whole) == 2:  # the trimmed model's walk
                signal.raise_signal(signal.SIGINT)
                time.sleep(0.05)
            return x

    whole = itertools.count()
    model = nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), Interrupting(), nn.Linear(8, 2)
    )
    before = threading.active_count()
    result = trim(
        nettrim.torch.declare(model, relu=["0"]), rng.standard_normal((100, 6)), epsilon=0.1
    )
    assert result.interrupted
    assert [layer.status for layer in result.layers] == ["optimal", "optimal", "not reached"]
    assert result.is_measured
    assert result.discrepancy <= result.bound
    assert threading.active_count() == before


@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_while_a_walk_is_ended_leaves_no_thread(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Someone who presses it twice."""
    view = settled(perceptron(), rng.standard_normal((30, 8)))
    view._running.runner.batch = 4
    before, left, join = threading.active_count(), [times], threading.Thread.join

    def interrupted(thread: threading.Thread, *args: Any) -> None:
        if left[0]:
            left[0] -= 1
            raise KeyboardInterrupt
        join(thread, *args)

    walk = view.signals(rng.standard_normal((30, 8)), {})
    next(walk)
    assert threading.active_count() == before + 8
    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        walk.close()
    assert threading.active_count() == before
    assert not view._running.runner.layers["0"]._forward_pre_hooks


@pytest.mark.filterwarnings("ignore:model. what follows the layers")
def test_tracing_leaves_no_thread_of_a_progress_bar(rng: np.random.Generator) -> None:
    before = set(threading.enumerate())
    settled(Forking(), rng.standard_normal((30, 6)))
    settled(perceptron(), rng.standard_normal((30, 8)))
    assert not [t.name for t in set(threading.enumerate()) - before if "tqdm" in t.name]


def test_ctrl_c_while_a_thread_begins_leaves_none(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = settled(perceptron(), rng.standard_normal((30, 8)))
    before, wait = threading.active_count(), threading.Event.wait
    started: list[Any] = []

    def interrupted(event: threading.Event, *args: Any) -> bool:
        if not started:
            started.append(event)
            raise KeyboardInterrupt
        return wait(event, *args)

    monkeypatch.setattr(threading.Event, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(view.signals(rng.standard_normal((30, 8)), {}))
    wait(started[0])
    monkeypatch.undo()
    for thread in threading.enumerate():
        if thread.name.endswith("(_target)"):
            thread.join(10)
    assert threading.active_count() == before


def test_a_walk_that_is_left_or_fails_leaves_no_thread(rng: np.random.Generator) -> None:
    model, X = perceptron(), rng.standard_normal((30, 8))
    view, before = settled(model, X), threading.active_count()
    walk = view.signals(X, {})
    next(walk)
    assert threading.active_count() == before + 1
    walk.close()
    assert threading.active_count() == before
    view._running.runner.model[-1].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(view.signals(X, {}))
    assert threading.active_count() == before
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(
    ("before", "shape"),
    [
        (lambda x: x.transpose(0, 1), (7, 5, 4)),  # positions in front of samples
        (lambda x: x.reshape(-1, 4), (7, 5, 4)),  # positions merged with samples
        (lambda x: x.reshape(-1, 2, 2), (7, 10, 2)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*depends on those beside it")
def test_samples_come_first(
    rng: np.random.Generator, before: Callable[[Any], Any], shape: tuple[int, ...]
) -> None:
    class Moved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(shape[-1], 3)

        def forward(self, x: Any) -> Any:
            return self.layer(before(x)).sum() + x[:, 0]

    X = rng.standard_normal((7, 5, 4))
    view = settled(Moved(), X)
    (layer,) = view.prunable_layers()
    values = next(view.signals(X, {})).values
    assert len(values) == 7
    np.testing.assert_array_equal(values.reshape(X.shape), X)
    assert layer.count_rows(values[:1]) == 20 // shape[-1]


def test_a_module_that_knows_one_precision(rng: np.random.Generator) -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.last = nn.Linear(6, 8), nn.Linear(8, 2)

        def forward(self, x: Any) -> Any:
            return self.last(self.layer(x.to(torch.float32)).relu())

    X = rng.standard_normal((80, 6))
    with pytest.warns(UserWarning, match="model cannot compute in float64"):
        result = trim(Single(), X, epsilon=0.1)
    assert result.converged
    assert [layer.nonzeros_after < layer.nonzeros_before for layer in result.layers] == [True, True]
    assert result.discrepancy <= result.bound * (1 + 1e-6)
    with torch.no_grad():
        T = torch.tensor(X)
        before, after = result.original(T), result.model(T)
    distance = torch.linalg.norm(after - before) / torch.linalg.norm(before)
    assert result.discrepancy == pytest.approx(float(distance), rel=1e-3)
