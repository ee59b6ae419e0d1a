"""What `nettrim.trim` refuses, and the odd input it must take."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from nettrim import Conv2D, Dense, Network
from support.networks import Scale, random_network, trim

NET = random_network(np.random.default_rng(0), 3, 2)
DATA = np.random.default_rng(1).standard_normal((6, 3))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"epsilon": None}, ValueError, ["epsilon", "needed"]),
        ({"sparsity": 0.9}, ValueError, ["sparsity", "epsilon"]),
        ({"epsilon": "0.1"}, TypeError, ["epsilon", "number", "str"]),
        ({"epsilon": True}, TypeError, ["epsilon", "number", "bool"]),
        ({"scheme": "serial"}, ValueError, ["scheme", "serial", "cascade", "parallel"]),
        ({"slack": "none"}, ValueError, ["slack", "none", "positive", "paper"]),
        ({"kappa": 0}, ValueError, ["kappa", "0"]),
        ({"kappa": 0.5, "scheme": "parallel"}, ValueError, ["kappa", "cascade"]),
        ({"kappa": 1.0, "scheme": "parallel"}, ValueError, ["kappa", "cascade"]),
        ({"gamma": 5.0, "scheme": "parallel"}, ValueError, ["gamma", "cascade"]),
        ({"slack": "paper", "scheme": "parallel"}, ValueError, ["slack", "cascade"]),
        ({"share": "layer"}, ValueError, ["share", "sparsity"]),
        ({"min_density": 7.0}, ValueError, ["min_density", "sparsity"]),
        ({"epsilon": None, "sparsity": 0.5, "gamma": -7}, ValueError, ["gamma", "epsilon"]),
        ({"epsilon": None, "sparsity": 0.5, "slack": "x"}, ValueError, ["slack", "epsilon"]),
        ({"epsilon": None, "sparsity": 0.5, "kappa": 1}, ValueError, ["kappa", "epsilon"]),
        ({"epsilon": None, "sparsity": 0.5, "tol": 1e-4}, ValueError, ["tol", "epsilon"]),
        ({"epsilon": None, "sparsity": 0.5, "solver": "auto"}, ValueError, ["solver", "epsilon"]),
        ({"epsilon": None, "pattern": "2:4", "max_iter": 9}, ValueError, ["max_iter", "epsilon"]),
        ({"epsilon": None, "pattern": "2:4", "share": "layer"}, ValueError, ["share", "sparsity"]),
        (
            {"epsilon": None, "sparsity": 0.5, "share": "layer", "min_density": 0.1},
            ValueError,
            ["min_density", "share"],
        ),
        ({"epsilon": None, "sparsity": 90}, ValueError, ["sparsity", "got 90", "mean 0.9?"]),
        ({"epsilon": None, "sparsity": 900}, ValueError, ["sparsity", "at most 1", "got 900"]),
        (
            {"epsilon": None, "sparsity": 0.5, "min_density": 2},
            ValueError,
            ["min_density", "got 2", "mean 0.02?"],
        ),
        ({"executor": "threads"}, TypeError, ["executor", "Executor", "str"]),
        ({"outputs": []}, ValueError, ["outputs", "empty"]),
        ({"outputs": ["logits"]}, ValueError, ["outputs", "logits", "output"]),
        ({"outputs": [1]}, ValueError, ["outputs", "1", "out of range"]),
        ({"outputs": 1.5}, TypeError, ["outputs", "float"]),
        ({"layers": []}, ValueError, ["layers", "empty"]),
        ({"layers": [1]}, ValueError, ["layers", "1", "out of range"]),
        ({"layers": ["conv1"]}, ValueError, ["layers", "conv1", "dense1"]),
        ({"layers": [1.5]}, TypeError, ["layers", "float"]),
        ({"layers": [True]}, TypeError, ["layers", "bool"]),
        ({"layers": "re:conv"}, ValueError, ["layers: no prunable layer", "'re:conv'", "dense1"]),
        ({"layers": "re:("}, ValueError, ["layers: 're:('", "no regular expression"]),
        ({"layers": Conv2D}, ValueError, ["layers: no prunable layer is a Conv2D", "['Dense']"]),
        ({"layers": object()}, TypeError, ["layers must hold positions, names or classes"]),
        ({"outputs": "re:logits"}, ValueError, ["outputs: no output", "'re:logits'", "output"]),
        ({"outputs": Dense}, TypeError, ["outputs must hold positions or names, got"]),
        ({"skip": ["conv1"]}, ValueError, ["skip", "conv1", "dense1"]),
        ({"skip": [1]}, ValueError, ["skip", "1", "out of range"]),
        ({"skip": "re:conv"}, ValueError, ["skip", "re:conv", "dense1"]),
        ({"skip": 1.5}, TypeError, ["skip", "float"]),
        ({"skip": Dense}, ValueError, ["skip leaves no layer to prune"]),
        ({"layers": 0, "skip": [-1]}, ValueError, ["skip leaves no layer to prune"]),
        ({"held_out": np.ones((2, 4))}, ValueError, ["held_out", "(4,)", "(3,)"]),
        ({"held_out": np.full((2, 3), np.nan)}, ValueError, ["held_out", "NaN"]),
        ({"max_iter": 0}, ValueError, ["max_iter"]),
        ({"time_limit": -1.0}, ValueError, ["time_limit"]),
        ({"n_threads": 0}, ValueError, ["n_threads"]),
        ({"solver": "magic"}, ValueError, ["solver", "magic"]),
        ({"model": "net.npz"}, TypeError, ["model", "Network", "str"]),
        ({"model": Network([Scale(1.0)])}, ValueError, ["model", "no prunable layer"]),
    ],
)
def test_refuses(options: dict[str, Any], error: type[Exception], words: list[str]) -> None:
    arguments = {"model": NET, "X": DATA, "epsilon": 0.1, **options}
    with pytest.raises(error) as caught:
        trim(**arguments)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@given(
    name=st.sampled_from(["epsilon", "gamma", "kappa", "tol"]),
    value=st.one_of(
        st.sampled_from([np.nan, np.inf, -np.inf, 1j, [0.5]]), st.floats(-1e9, -1e-9), st.text()
    ),
)
def test_refuses_every_wrong_number(name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{name}"):
        trim(NET, DATA, **{"epsilon": 0.1, name: value})


WRONG_DATA: list[Any] = [
    None,
    "X",
    [],
    [[]],
    [[1, 2, 3], [4, 5]],
    np.ones(3),
    np.ones((2, 4)),
    np.ones((0, 3)),
    np.ones((2, 3, 1)),
    np.array([[1.0, np.nan, 0.0]]),
    np.array([[1.0, -np.inf, 0.0]]),
    np.array([[None] * 3]),
    DATA * 1j,
]


@pytest.mark.parametrize("X", WRONG_DATA)
def test_refuses_every_wrong_data(X: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^X "):
        trim(NET, X, epsilon=0.1)


@pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")
@pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")
@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    n_samples=st.integers(1, 20),
    last=st.sampled_from(["relu", "linear"]),
    dtype=st.sampled_from([np.float32, np.float64]),
    scheme=st.sampled_from(["parallel", "cascade"]),
    epsilon=st.sampled_from([0.02, 0.2, 1.0]),
    layout=st.sampled_from(["C", "F", "int", "float32", "view", "read-only"]),
)
def test_every_small_network(
    seed: int,
    sizes: list[int],
    n_samples: int,
    last: str,
    dtype: type,
    scheme: str,
    epsilon: float,
    layout: str,
) -> None:
    """One sample, dead units, more features than samples: a bound holds and shapes stay."""
    rng = np.random.default_rng(seed)
    net = random_network(rng, *sizes, last=last, dtype=dtype)
    plain = rng.integers(-3, 4, (n_samples, sizes[0])).astype(np.float64)
    X = {
        "C": plain,
        "F": np.asfortranarray(plain),
        "int": plain.astype(int),
        "float32": plain.astype(np.float32),
        "view": np.repeat(plain, 2, axis=0)[::2],
        "read-only": plain.copy(),
    }[layout]
    X.setflags(write=layout != "read-only")
    result = trim(net, X, epsilon=epsilon, scheme=scheme, tol=1e-3)
    assert result.converged, str(result)
    for layer in result.layers:
        assert layer.discrepancy <= layer.bound
    assert result.discrepancy <= result.bound
    for before, after in zip(net.layers, result.model.layers, strict=True):
        assert after.weights.shape == before.weights.shape
        assert after.weights.dtype == before.weights.dtype
