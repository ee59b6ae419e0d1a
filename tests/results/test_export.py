"""Files to ship: what is in them, what they save, what they say of their origin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nettrim import Conv2D, Network, TrimResult
from nettrim.base.storage import write_npz
from nettrim.models.network.shrink import shrink
from nettrim.results.export import FORMATS, load_weights
from support.exports import result_of, sparse
from support.networks import random_network, trim

# --- the account ------------------------------------------------------------------------------


def test_everything_is_written_and_told(result: TrimResult[Network], tmp_path: Path) -> None:
    shipped = result.export(tmp_path / "new" / "out")
    names = [file.name for file in shipped.files]
    assert names == [
        "model.npz",
        "sparse.npz",
        "bitmask.npz",
        "shrunk.npz",
        "network.h",
        "recipe.json",
    ]
    assert sorted(path.name for path in shipped.folder.iterdir()) == sorted(names)  # nothing else
    for file in shipped.files:
        if file.name != "network.h":
            assert file.after == (shipped.folder / file.name).stat().st_size
        assert (file.ratio is None) == (file.name == "recipe.json")
        assert file.name in str(shipped)
        assert f"{file.after:,}" in str(shipped)
    assert [note.split()[2] for note in shipped.notes] == ["safetensors"]  # of PyTorch


def test_every_file_is_smaller_than_with_all_zeros(
    result: TrimResult[Network], tmp_path: Path
) -> None:
    files = {file.name: file for file in result.export(tmp_path).files}
    result.original.save(tmp_path / "original.npz")
    original = (tmp_path / "original.npz").stat().st_size
    for name in ("model.npz", "sparse.npz", "bitmask.npz", "shrunk.npz"):
        assert files[name].before == original
        assert files[name].after < original
    weights = [layer.affine for layer in result.original.prunable_layers()]
    numbers = sum(a.weights.size + a.bias.size for a in weights)  # type: ignore[union-attr]
    assert files["network.h"].before == 4 * numbers


def test_tables_take_what_is_said(result: TrimResult[Network], tmp_path: Path) -> None:
    """Six bytes for each weight that is left, two for each output, four for each bias."""
    (file,) = result.export(tmp_path, formats=["header"]).files
    weights = [layer.affine.weights for layer in shrink(result.model).prunable_layers()]
    left = sum(int(np.count_nonzero(w)) for w in weights)
    assert file.after == 6 * left + (2 + 4) * sum(w.shape[1] for w in weights)
    assert f"tables take {file.after} bytes" in (tmp_path / "network.h").read_text()


def test_files_are_replaced_whole_or_not_at_all(
    result: TrimResult[Network], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result.export(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken(path: Path, arrays: Any) -> None:
        Path(path).write_bytes(b"half a fi")
        raise OSError("disk full")

    monkeypatch.setattr("nettrim.results.export.sparse.write_npz", broken)
    with pytest.raises(OSError, match="disk full"):
        result.export(tmp_path, formats=["sparse"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_one_format_may_be_named_alone(result: TrimResult[Network], tmp_path: Path) -> None:
    assert [file.name for file in result.export(tmp_path, formats="bitmask").files] == [
        "bitmask.npz"
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"formats": ["zip"]}, "formats must be among .*got 'zip'"),
        ({"formats": ["header"], "input_shape": (39,)}, r"input_shape \(39,\) does not fit"),
        ({"input_shape": (0,)}, "input_shape must be a whole number or numbers"),
    ],
)
def test_bad_arguments_are_named(
    result: TrimResult[Network], tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        result.export(tmp_path, **options)


def test_a_file_is_no_folder(result: TrimResult[Network], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"^folder must be a folder, .* is a file"):
        result.export(tmp_path / "file")


def test_convolutions_need_a_shape_for_c(rng: np.random.Generator, tmp_path: Path) -> None:
    """A network of convolutions takes images of any size, C does not."""
    result = result_of(Network([Conv2D(sparse(rng, 2, 1, 3, 3))]))
    shipped = result.export(tmp_path)
    assert "network.h" not in {file.name for file in shipped.files}
    assert any("header wants input_shape" in note for note in shipped.notes)
    assert "header wants input_shape" in str(shipped)
    with pytest.raises(ValueError, match=r"^formats: header wants input_shape"):
        result.export(tmp_path, formats=["header"])
    assert result.export(tmp_path, formats=["header"], input_shape=(1, 8, 8)).files
    given = (tmp_path / "network.h").read_text()
    calibrated = result_of(result.model, recipe={"calibration": {"shape": [7, 1, 8, 8]}})
    assert calibrated.export(tmp_path, formats=["header"]).files
    assert (tmp_path / "network.h").read_text() == given


# --- the recipe -----------------------------------------------------------------------------------


def test_recipes_tell_results_apart(result: TrimResult[Network], tmp_path: Path) -> None:
    def recipe(of: TrimResult[Network]) -> dict[str, Any]:
        of.export(tmp_path, formats=["recipe"])
        read: dict[str, Any] = json.loads((tmp_path / "recipe.json").read_text())
        return read

    mine = recipe(result)
    assert {key: mine[key] for key in result.recipe} == json.loads(json.dumps(result.recipe))
    assert mine["layers"] == {"dense1": [40, 60], "dense2": [60, 30], "dense3": [30, 5]}
    assert mine["trimmed"] != mine["model"]["sha256"]
    assert recipe(result) == mine
    other = recipe(result_of(result.original, recipe=result.recipe))
    assert other["trimmed"] != mine["trimmed"]
    assert other["trimmed"]["sha256"] == mine["model"]["sha256"]  # the untrimmed weights


def test_results_without_a_recipe_say_so(rng: np.random.Generator, tmp_path: Path) -> None:
    shipped = result_of(random_network(rng, 3, 2)).export(tmp_path)
    assert any("recipe" in note for note in shipped.notes)
    assert not (tmp_path / "recipe.json").exists()


# --- models of other frameworks -------------------------------------------------------------------


def test_perceptrons_are_written_as_networks(rng: np.random.Generator, tmp_path: Path) -> None:
    neural = pytest.importorskip("sklearn.neural_network")
    X, y = rng.standard_normal((60, 5)), rng.integers(0, 3, 60)
    with pytest.warns(Warning, match="Maximum iterations"):
        model = neural.MLPClassifier((8,), max_iter=5, random_state=0).fit(X, y)
    result = trim(model, X, epsilon=0.3)
    shipped = result.export(tmp_path)
    assert {file.name for file in shipped.files} >= {"model.npz", "sparse.npz", "network.h"}
    assert "MLPClassifier" in str(shipped)
    logits = Network.load(tmp_path / "sparse.npz").predict(X)
    np.testing.assert_array_equal(logits.argmax(axis=1), result.model.predict(X))


def test_torch_modules(rng: np.random.Generator, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    nn = torch.nn
    module = nn.Sequential(
        nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 15), nn.ReLU(), nn.Linear(15, 2)
    )
    result = trim(module, rng.standard_normal((100, 6)), epsilon=0.4)
    shipped = result.export(tmp_path)
    names = [file.name for file in shipped.files if file.name != "model.safetensors"]
    assert names == ["model.pt", "sparse.npz", "bitmask.npz", "recipe.json"]
    assert {note.split()[2] for note in shipped.notes} >= {"shrunk", "header"}
    fresh = nn.Sequential(
        nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 15), nn.ReLU(), nn.Linear(15, 2)
    )
    fresh.load_state_dict(torch.load(tmp_path / "model.pt"))
    for made in (
        fresh,
        *(load_weights(tmp_path / f"{n}.npz", module) for n in ("sparse", "bitmask")),
    ):
        for name, wanted in result.model.state_dict().items():
            assert torch.equal(made.state_dict()[name], wanted), name
    with pytest.raises(ValueError, match=r"^formats: header wants a nettrim\.Network"):
        result.export(tmp_path, formats=["header"])


def test_onnx_models(rng: np.random.Generator, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    parser = pytest.importorskip("onnx.parser")
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[N, 6] x) => (float[N, 2] y) {
            h = MatMul(x, W1)
            r = Relu(h)
            y = MatMul(r, W2)
        }
    """)
    for name, shape in (("W1", (6, 20)), ("W2", (20, 2))):
        values = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    result = trim(model, rng.standard_normal((100, 6)).astype(np.float32), epsilon=0.4)
    shipped = result.export(tmp_path)
    assert [file.name for file in shipped.files[:3]] == ["model.onnx", "sparse.npz", "bitmask.npz"]
    made = [load_weights(tmp_path / f"{name}.npz", model) for name in ("sparse", "bitmask")]
    for model in (onnx.load(tmp_path / "model.onnx"), *made):
        assert model.graph.initializer == result.model.graph.initializer


def test_weights_must_fit_the_model(rng: np.random.Generator, tmp_path: Path) -> None:
    network = random_network(rng, 4, 3, 2)
    result_of(network).export(tmp_path, formats=["sparse"])
    with pytest.raises(ValueError, match=r"does not hold the weights of the model: its format is"):
        load_weights(tmp_path / "sparse.npz", network)  # Network.load reads it
    arrays = {"format": "nettrim-layers-1", "dense1.weights": np.ones((4, 3))}
    write_npz(tmp_path / "layers.npz", {**arrays, "dense1.bias": np.ones(3)})
    with pytest.raises(ValueError, match=r"'dense2.weights' is missing"):
        load_weights(tmp_path / "layers.npz", network)
    write_npz(tmp_path / "layers.npz", {**arrays, "dense1.bias": np.ones(4)})
    with pytest.raises(ValueError, match=r"dense1\.bias has shape \(4,\), the model \(3,\)"):
        load_weights(tmp_path / "layers.npz", network)


def test_formats_are_documented() -> None:
    assert all(f'``"{name}"``' in str(TrimResult.export.__doc__) for name in FORMATS)
