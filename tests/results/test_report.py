"""What is said of answers that are not proved, and how results look."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettrim import ConvergenceWarning, Network
from nettrim.base.table import shorten_names
from nettrim.results.outcome import LayerReport
from nettrim.results.trim_result import TrimResult
from support.networks import Array, assert_bounded, random_network, trim


@pytest.fixture
def network(rng: np.random.Generator) -> Network:
    return random_network(rng, 12, 10, 10, 8, 6)


@pytest.fixture
def X(rng: np.random.Generator) -> Array:
    return rng.standard_normal((100, 12))


# --- answers that are not proved ----------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["parallel", "cascade"])
def test_unconverged_layers_are_flagged_and_still_bounded(
    network: Network, X: Array, scheme: str
) -> None:
    with pytest.warns() as caught:
        result = trim(network, X, epsilon=0.1, scheme=scheme, max_iter=3)
    (told,) = [str(w.message) for w in caught if w.category is ConvergenceWarning]
    assert "dense1 (max_iter, gap" in told
    assert not result.converged
    assert {layer.status for layer in result.layers} == {"max_iter"}
    assert "max_iter!" in str(result)
    assert "not solved to the tolerance" in str(result)
    assert_bounded(result, X)


def test_broken_solves_leave_the_original_weights(
    network: Network, X: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nettrim.layer.solve import solve_layer

    def broken(*arguments: Any, **options: Any) -> Any:
        solution = solve_layer(*arguments, **options)
        weights = np.full_like(solution.weights, np.nan)
        return dataclasses.replace(solution, weights=weights, status="numerical")

    monkeypatch.setattr("nettrim.trimming.methods.to_error.solve_layer", broken)
    with pytest.warns(ConvergenceWarning, match="numerical"):
        result = trim(network, X, epsilon=0.1)
    np.testing.assert_array_equal(result.model.predict(X), network.predict(X))


# --- what is shown ------------------------------------------------------------------------------


def report(**fields: Any) -> LayerReport:
    return LayerReport(
        **{
            "name": "dense1",
            "shape": (25088, 4096),
            "nonzeros_before": 102_760_448,
            "nonzeros_after": 12_760_448,
            "l1_before": 1e6,
            "l1_after": 1e5,
            "output_norm": 1.0,
            "discrepancy": 0.01234,
            "bound": 0.123456,
            "prior_bound": 1e20,
            "status": "time_limit",
            "epsilon": 0.05,
            "residual": 0.05,
            "violation": 1e-7,
            "gap": -1.2e-3,
            "iterations": 50_000,
            "seconds": 1234.5,
            "held_out_discrepancy": 0.0123,
            **fields,
        }
    )


def test_table_fits_100_columns() -> None:
    mnist = report(shape=(784, 300), nonzeros_before=235_200, nonzeros_after=109_000)
    result = TrimResult(None, None, (mnist, mnist), "cascade", 5000, 0.01, 0.1, 0.02)
    assert max(map(len, str(result).splitlines())) <= 100
    huge = dataclasses.replace(result, layers=(report(),), held_out_discrepancy=None)
    assert max(map(len, str(huge).splitlines())) <= 110  # a layer of a hundred million weights


def test_table_and_summary(network: Network, X: Array) -> None:
    result = trim(network, X, epsilon=0.1)
    lines = str(result).splitlines()
    assert lines[0].startswith("cascade on 100 calibration samples: ")
    assert re.split(r"\s{2,}", lines[1]) == [
        "layer", "shape", "before", "after", "kept",
        "epsilon", "error", "bound", "gap", "status", "time",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[2:]] == [*network.names, "signals", "network"]
    assert float(lines[0].rpartition(" ")[2][:-1]) == pytest.approx(100 * result.discrepancy, 1e-2)
    assert repr(result).startswith("TrimResult(cascade, 4 layers, sparsity 0.")


def test_plot(network: Network, X: Array, tmp_path: Path) -> None:
    result = trim(network, X, epsilon=0.1)
    result.plot(tmp_path / "trim.png")
    assert (tmp_path / "trim.png").read_bytes().startswith(b"\x89PNG")


def test_plot_says_what_it_needs(
    network: Network, X: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = trim(network, X, epsilon=0.1, layers=[0])
    for name in [m for m in sys.modules if m.split(".")[0] == "matplotlib"] + ["matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    with pytest.raises(ImportError, match=r'pip install "nettrim\[cli\]"'):
        result.plot(tmp_path / "trim.png")


@settings(max_examples=60)
@given(
    names=st.lists(
        st.lists(
            st.sampled_from(["encoder", "layers", "3", "linear1", "x" * 60, "\n"]), min_size=1
        ),
        min_size=1,
        max_size=6,
    ).map(lambda parts: [".".join(part) for part in parts])
)
def test_layers_of_different_names_are_different_in_the_table(names: list[str]) -> None:
    assert len(set(shorten_names(names))) == len(set(names))
    layers = tuple(report(name=name, shape=(4, 4)) for name in names)
    lines = str(TrimResult(None, None, layers, "cascade", 5, 0.01, 0.1, 0.02)).splitlines()
    shown = [line[: lines[1].index("shape")].strip() for line in lines[2 : 2 + len(names)]]
    assert [line.partition("  ")[0] for line in shown] == shorten_names(names)


def test_long_names_keep_what_tells_them_apart() -> None:
    names = [f"model.transformer.encoder.layers.{k}.linear1" for k in range(12)]
    short = shorten_names([*names, "head"])
    assert max(map(len, short)) == 24
    assert short[3].endswith("yers.3.linear1")
    assert short[3].startswith("model.")
    assert short[-1] == "head"
    mirrored = [f"{k}.{'same' * 20}" for k in ("first", "second")]
    assert len(set(shorten_names(mirrored))) == 2
    middle = [f"{'front' * 9}{k}{'back' * 9}" for k in range(3)]
    assert len(set(shorten_names(middle))) == 3
