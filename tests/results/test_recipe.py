"""Recipes: complete, plain, in every file, and enough to repeat a run bit for bit."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy

import nettrim
from nettrim import Network, TrimResult
from nettrim.models.io import check_output, load, read_recipe, save
from nettrim.results.recipe import format_snippet, format_summary
from nettrim.trimming.goals import Goal
from support.networks import Array, random_network, trim
from support.onnx_network import onnx_model

# Arguments on which the weights do not depend, or which stand elsewhere in the recipe.
APART = {
    "model",
    "X",
    "goal",
    "options",
    "held_out",
    "measure",
    "checkpoint",
    "progress",
    "executor",
    "skip",
}


@pytest.fixture
def network(rng: np.random.Generator) -> Network:
    return random_network(rng, 10, 8, 5)


@pytest.fixture
def X(rng: np.random.Generator) -> Array:
    return rng.standard_normal((80, 10))


@pytest.fixture
def result(network: Network, X: Array) -> TrimResult[Network]:
    return trim(network, X, epsilon=0.2, held_out=X[:9] + 0.1, n_threads=1)


def arguments_for(kind: type[Goal]) -> set[str]:
    """Those of `nettrim.trim` and of the goal, less the shortcuts for other goals."""
    shared = set(inspect.signature(nettrim.trim).parameters) - APART - {"epsilon", "sparsity"}
    return shared | {field.name for field in fields(kind)}


# --- what is written down -----------------------------------------------------------------------


def test_every_argument_that_matters_is_resolved(result: TrimResult[Network]) -> None:
    arguments = result.recipe["arguments"]
    assert set(arguments) == arguments_for(nettrim.Error)
    assert arguments["epsilon"] == 0.2
    assert arguments["layers"] == ["dense1", "dense2"]
    assert arguments["max_iter"] == 50_000
    assert arguments["n_threads"] == 1
    assert (arguments["max_patches"], arguments["seed"]) == (20_000, 0)


def test_a_sparsity_has_arguments_of_its_own(network: Network, X: Array) -> None:
    arguments = trim(network, X, sparsity=0.5).recipe["arguments"]
    assert set(arguments) == arguments_for(nettrim.Sparsity)
    assert (arguments["sparsity"], arguments["share"]) == (0.5, "network")


def test_versions_and_date(result: TrimResult[Network]) -> None:
    recipe = result.recipe
    assert recipe["nettrim"] == nettrim.__version__
    assert recipe["environment"]["numpy"] == np.__version__
    assert recipe["environment"]["scipy"] == scipy.__version__
    assert recipe["environment"]["build"] == nettrim.build_info()
    age = datetime.now(timezone.utc) - datetime.fromisoformat(recipe["date"])
    assert 0 <= age.total_seconds() < 600


def test_recipes_are_plain_values(network: Network, X: Array) -> None:
    result = trim(
        network, X, epsilon=np.float64(0.2), max_iter=np.int64(900), time_limit=np.float64(9.0)
    )
    assert json.loads(json.dumps(result.recipe)) == result.recipe
    assert "np." not in format_snippet(result.recipe)


def test_hashes_tell_models_and_data_apart(
    rng: np.random.Generator, network: Network, X: Array, result: TrimResult[Network]
) -> None:
    same = trim(Network(network.layers), X.copy(), epsilon=0.3).recipe
    assert same["model"] == result.recipe["model"]
    assert same["calibration"] == result.recipe["calibration"]
    assert same["held_out"] is None
    assert result.recipe["calibration"]["shape"] == [80, 10]
    assert result.recipe["held_out"]["shape"] == [9, 10]
    other = trim(random_network(rng, 10, 8, 5), X + 1e-12, epsilon=0.3).recipe
    assert other["model"]["sha256"] != same["model"]["sha256"]
    assert other["calibration"]["sha256"] != same["calibration"]["sha256"]


def test_hashes_are_those_of_the_checkpoint(network: Network, X: Array, tmp_path: Path) -> None:
    recipe = trim(network, X, epsilon=0.2, checkpoint=tmp_path).recipe
    with np.load(tmp_path / "layer001.npz") as kept:
        identity = json.loads(str(kept["identity"]))
    assert identity["weights of the model"] == recipe["model"]["sha256"]
    assert identity["data X"] == recipe["calibration"]["sha256"]


# --- to repeat it -------------------------------------------------------------------------------


def test_the_snippet_repeats_the_run(
    network: Network, X: Array, result: TrimResult[Network], capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {"model": network, "X": X, "held_out": X[:9] + 0.1}
    exec(format_snippet(result.recipe), names)  # noqa: S102
    again = names["result"]
    for a, b in zip(again.model.layers, result.model.layers, strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)
        np.testing.assert_array_equal(a.bias, b.bias)
    assert again.layers == tuple(  # all but the time is the same
        type(layer)(**{**vars(layer), "seconds": timed.seconds})
        for layer, timed in zip(result.layers, again.layers, strict=True)
    )


@pytest.mark.parametrize("other", ["model", "X"])
def test_the_snippet_notices_another_model_or_data(
    rng: np.random.Generator, network: Network, X: Array, result: TrimResult[Network], other: str
) -> None:
    names = {"model": network, "X": X, "held_out": X[:9] + 0.1}
    names[other] = {"model": random_network(rng, 10, 8, 5), "X": X[::-1]}[other]
    with pytest.raises(AssertionError):
        exec(format_snippet(result.recipe), names)  # noqa: S102


def test_summary_names_the_arguments(result: TrimResult[Network]) -> None:
    text = format_summary(result.recipe)
    assert "epsilon=0.2, scheme='cascade'" in text
    assert result.recipe["model"]["sha256"] in text


# --- in files -----------------------------------------------------------------------------------


def test_numpy_files_carry_it(result: TrimResult[Network], tmp_path: Path) -> None:
    for name in ("net.npz", "net"):  # known by its suffix, or by its content
        save(result.model, tmp_path / name, result.recipe)
        assert read_recipe(tmp_path / name) == result.recipe
        for model in (load(tmp_path / name), Network.load(tmp_path / name)):
            for a, b in zip(model.layers, result.model.layers, strict=True):
                np.testing.assert_array_equal(a.weights, b.weights)
    save(result.model, tmp_path / "plain.npz")
    assert read_recipe(tmp_path / "plain.npz") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net", "net.npz", "plain.npz"]


def test_onnx_files_carry_it(network: Network, X: Array, tmp_path: Path) -> None:
    model = onnx_model(network)
    model.metadata_props.add(key="author", value="someone")
    result = trim(model, X.astype(np.float32), epsilon=0.2)
    for name in ("net.onnx", "net"):
        save(result.model, tmp_path / name, result.recipe)
        save(load(tmp_path / name), tmp_path / name, result.recipe)  # it replaces, it does not add
        properties = {entry.key: entry.value for entry in load(tmp_path / name).metadata_props}
        assert properties.keys() == {"author", "nettrim.results.recipe"}
        assert read_recipe(tmp_path / name) == json.loads(properties["nettrim.results.recipe"])
        assert read_recipe(tmp_path / name) == result.recipe
    assert [entry.key for entry in result.model.metadata_props] == ["author"]
    assert "onnx" in result.recipe["model"]["type"]
    save(model, tmp_path / "plain.onnx")
    assert read_recipe(tmp_path / "plain.onnx") is None


@pytest.mark.parametrize(
    ("source", "output", "wanted"),
    [("a.npz", "b.ONNX", ".npz"), ("a.onnx", "b.npz", ".onnx")],
)
def test_formats_are_not_mixed(source: str, output: str, wanted: str) -> None:
    with pytest.raises(ValueError, match=f"^output '{output}' must be a {wanted} file like"):
        check_output(source, output)
    check_output(source, source)
    check_output(source, "no_suffix")


@pytest.mark.parametrize("name", ["missing.npz", "missing.onnx", "missing"])
def test_missing_files_are_named(tmp_path: Path, name: str) -> None:
    if name.endswith("onnx"):
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    with pytest.raises(FileNotFoundError, match=name):
        load(tmp_path / name)


@pytest.mark.parametrize("name", ["text.npz", "text.onnx", "text"])
def test_other_files_are_refused(tmp_path: Path, name: str) -> None:
    if name.endswith("onnx"):
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    (tmp_path / name).write_text("no model")
    with pytest.raises(ValueError, match=name):
        load(tmp_path / name)
