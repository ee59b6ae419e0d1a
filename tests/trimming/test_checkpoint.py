"""Runs that end early: killed, interrupted, resumed, and checkpoints that do not belong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim import BatchNorm, Network
from nettrim.layer.solution import LayerSolution
from nettrim.layer.solve import solve_layer
from support.networks import random_network

OPTIONS: dict[str, Any] = {"epsilon": 0.1, "scheme": "cascade", "progress": False}

# The child process solves layer 1, then hangs at layer 2 until a signal comes. Its solver is real.
CHILD = """
import time
import numpy as np
import nettrim
from nettrim import walk

solve_layer, count = walk.solve_layer, 0

def hang_at_the_second(X, Y, **options):
    global count
    count += 1
    if count == 2:
        print("second layer", flush=True)
        {hang}
    return solve_layer(X, Y, **options)

walk.solve_layer = hang_at_the_second
net, X = nettrim.Network.load("net.npz"), np.load("X.npy")
result = nettrim.trim(net, X, epsilon=0.1, scheme="cascade", progress=False, checkpoint="kept")
print(result)
print("interrupted" if result.interrupted else "finished", [r.status for r in result.layers])
"""
DIFFERENT = r"layer001\.npz' was made with a different weights of the model; delete it"
SLEEP = "time.sleep(600)"
ENDLESS = 'options |= {"tol": 1e-300, "max_iter": 10**9}'  # a solve that does not end by itself


@pytest.fixture
def network(rng: np.random.Generator, tmp_path: Path) -> Network:
    network = random_network(rng, 12, 10, 8, 6)
    network.save(tmp_path / "net.npz")
    return network


@pytest.fixture
def X(rng: np.random.Generator, tmp_path: Path) -> np.ndarray:
    X = rng.standard_normal((100, 12))
    np.save(tmp_path / "X.npy", X)
    return X


def child(folder: Path, hang: str, stop: signal.Signals) -> tuple[int, str]:
    """Run the child until it is in its second layer, send it a signal, return what it said."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(hang=hang)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line == "second layer\n", line + process.stdout.read()
        time.sleep(0.3)
        process.send_signal(stop)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    return process.returncode, output


class Counting:
    """The solver, and how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *arguments: Any, **options: Any) -> LayerSolution:
        self.calls += 1
        return solve_layer(*arguments, **options)


@pytest.fixture
def solver(monkeypatch: pytest.MonkeyPatch) -> Counting:
    counting = Counting()
    monkeypatch.setattr("nettrim.trimming.walk.solve_layer", counting)
    return counting


def assert_equal_bits(one: Network, other: Network) -> None:
    for a, b in zip(one.prunable_layers(), other.prunable_layers(), strict=True):
        np.testing.assert_array_equal(a.affine.stacked, b.affine.stacked, strict=True)


# --- killed -------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_killed_run_resumes_with_the_same_bits(
    network: Network, X: np.ndarray, tmp_path: Path, solver: Counting
) -> None:
    code, _ = child(tmp_path, SLEEP, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["layer001.npz"]
    resumed = nettrim.trim(network, X, **OPTIONS, checkpoint=tmp_path / "kept")
    assert solver.calls == 2  # the first layer is not solved again
    fresh = nettrim.trim(network, X, **OPTIONS)
    assert_equal_bits(resumed.model, fresh.model)
    assert (resumed.discrepancy, resumed.bound) == (fresh.discrepancy, fresh.bound)
    assert [r.status for r in resumed.layers] == ["optimal"] * 3
    solver.calls = 0
    again = nettrim.trim(network, X, **OPTIONS, checkpoint=tmp_path / "kept")
    assert solver.calls == 0
    assert_equal_bits(again.model, fresh.model)
    assert again.layers == resumed.layers


@pytest.mark.parametrize("scheme", ["parallel", "cascade"])
def test_every_prefix_of_a_checkpoint_gives_the_same_result(
    network: Network, X: np.ndarray, tmp_path: Path, solver: Counting, scheme: str
) -> None:
    options = {**OPTIONS, "scheme": scheme, "checkpoint": tmp_path / "kept"}
    whole = nettrim.trim(network, X, **options)
    for n_left in (2, 1, 0):
        (tmp_path / "kept" / f"layer{n_left + 1:03d}.npz").unlink()
        for missing in range(n_left + 2, 4):  # what the previous round solved again
            (tmp_path / "kept" / f"layer{missing:03d}.npz").unlink()
        solver.calls = 0
        assert_equal_bits(nettrim.trim(network, X, **options).model, whole.model)
        assert solver.calls == 3 - n_left


# --- interrupted --------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT between processes")
@pytest.mark.parametrize("hang", [SLEEP, ENDLESS], ids=["in Python", "in the solver"])
def test_ctrl_c_returns_what_is_finished(
    network: Network, X: np.ndarray, tmp_path: Path, hang: str
) -> None:
    code, output = child(tmp_path, hang, signal.SIGINT)
    assert code == 0, output
    assert "interrupted ['optimal', 'not reached', 'not reached']" in output
    assert "! interrupted: layers not reached are as they were" in output
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["layer001.npz"]


def test_interrupted_result_is_a_model(
    network: Network, X: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = iter([solve_layer])

    def solve(*arguments: Any, **options: Any) -> LayerSolution:
        for real in once:
            return real(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr("nettrim.trimming.walk.solve_layer", solve)
    result = nettrim.trim(network, X, **OPTIONS)
    assert result.interrupted
    assert not result.converged
    assert [layer.status for layer in result.layers] == ["optimal", "not reached", "not reached"]
    for before, after in zip(network.layers[1:], result.model.layers[1:], strict=True):
        np.testing.assert_array_equal(after.weights, before.weights)
    moved = np.linalg.norm(result.model.predict(X) - network.predict(X))
    assert result.discrepancy == pytest.approx(moved / np.linalg.norm(network.predict(X)))
    assert 0 < result.discrepancy <= result.bound


# --- checkpoints that do not belong ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epsilon": 0.2}, ["epsilon (0.1, now 0.2)"]),
        ({"gamma": 1.2, "tol": 1e-3}, ["gamma (1.1, now 1.2)", "tol (0.0001, now 0.001)"]),
        ({"slack": "paper"}, ["slack (positive, now paper)"]),
        ({"max_iter": 10_000}, ["max_iter (None, now 10000)"]),
        ({"scheme": "parallel"}, ["scheme (cascade, now parallel)", "gamma"]),
        ({"X": 1.0}, ["data X"]),
        ({"weights": 1.0}, ["weights of the model"]),
    ],
)
def test_stale_checkpoint_is_refused(
    network: Network, X: np.ndarray, tmp_path: Path, change: dict[str, Any], words: list[str]
) -> None:
    options = {**OPTIONS, "checkpoint": tmp_path / "kept", "layers": [0]}
    nettrim.trim(network, X, **options)
    X = X + change.pop("X", 0.0)
    if change.pop("weights", None):
        network = random_network(np.random.default_rng(5), 12, 10, 8, 6)
    with pytest.raises(ValueError, match=r"layer001\.npz' was made with a different") as caught:
        nettrim.trim(network, X, **{**options, **change})
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_other_statistics_are_another_model(
    rng: np.random.Generator, X: np.ndarray, tmp_path: Path, solver: Counting
) -> None:
    """What is not pruned itself decides on what the layers behind it see."""
    first, last = random_network(rng, 12, 10, 6).layers
    one, other = (
        Network([first, BatchNorm(np.full(10, mean), np.ones(10)), last]) for mean in (0.0, 0.1)
    )
    options = {**OPTIONS, "checkpoint": tmp_path / "kept"}
    nettrim.trim(one, X, **options)
    with pytest.raises(ValueError, match=DIFFERENT):
        nettrim.trim(other, X, **options)
    nettrim.trim(Network(one.layers), X, **options)
    assert solver.calls == 2


def test_other_statistics_are_another_module(
    X: np.ndarray, tmp_path: Path, solver: Counting
) -> None:
    nn = pytest.importorskip("torch").nn
    module = nn.Sequential(
        nn.Linear(12, 10), nn.ReLU(), nn.BatchNorm1d(10), nn.Linear(10, 6)
    ).eval()
    options = {**OPTIONS, "checkpoint": tmp_path / "kept"}
    nettrim.trim(module, X, **options)
    nettrim.trim(module, X, **options)
    assert solver.calls == 2
    module[2].running_mean += 0.1
    with pytest.raises(ValueError, match=DIFFERENT):
        nettrim.trim(module, X, **options)


def test_kappa_can_be_raised_without_starting_over(
    network: Network, X: np.ndarray, tmp_path: Path, solver: Counting
) -> None:
    """kappa concerns the last layer alone, so an infeasible one leaves the others in place."""
    options = {**OPTIONS, "checkpoint": tmp_path / "kept"}
    with pytest.raises(nettrim.InfeasibleError):
        nettrim.trim(network, X, **options, kappa=0.01)
    solver.calls = 0
    assert nettrim.trim(network, X, **options, kappa=0.9).converged
    assert solver.calls == 1


def test_more_layers_can_be_pruned_later(
    network: Network, X: np.ndarray, tmp_path: Path, solver: Counting
) -> None:
    options = {**OPTIONS, "checkpoint": tmp_path / "kept"}
    nettrim.trim(network, X, **options, layers=[0, 1])
    nettrim.trim(network, X, **options)
    assert solver.calls == 3
    with pytest.raises(ValueError, match="pruned in front"):
        nettrim.trim(network, X, **options, layers=[1, 2])


def test_other_files_are_not_mistaken_for_a_checkpoint(
    network: Network, X: np.ndarray, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "layer001.npz").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"layer001\.npz' is not an \.npz file"):
        nettrim.trim(network, X, **OPTIONS, checkpoint=folder)
    np.savez(folder / "layer001.npz", weights=np.ones(3))
    with pytest.raises(ValueError, match=r"layer001\.npz' is not a checkpoint"):
        nettrim.trim(network, X, **OPTIONS, checkpoint=folder)
    with pytest.raises(ValueError, match="checkpoint must be a folder"):
        nettrim.trim(network, X, **OPTIONS, checkpoint=tmp_path / "net.npz")
