"""Files to ship: what is in them, what they save, and that they compute the same."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from nettrim import (
    AveragePool,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    Network,
    ReLU,
    Residual,
    TrimResult,
)
from nettrim.base.storage import read_npz, write_npz
from nettrim.models.network import Layer
from nettrim.models.network.shrink import shrink
from nettrim.models.network.sparse_storage import pack, unpack
from nettrim.results.export import FORMATS, load_weights
from nettrim.results.export.header import header
from support.networks import Array, random_network, trim

CC = shutil.which("cc")
needs_compiler = pytest.mark.skipif(CC is None, reason="needs a C compiler")
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
MAIN = """\
#include <stdio.h>
#include "network.h"

int main(void)
{
    static float input[NETTRIM_INPUTS], output[NETTRIM_OUTPUTS];
    while (fread(input, sizeof input, 1, stdin) == 1) {
        nettrim_predict(input, output);
        fwrite(output, sizeof output, 1, stdout);
    }
    return 0;
}
"""


def sparse(rng: np.random.Generator, *shape: int, share: float = 0.3) -> NDArray[np.float32]:
    """Weights of which a share is not zero."""
    scale = np.sqrt(share * max(np.prod(shape) / max(shape[0], shape[-1]), 1))
    kept = rng.random(shape) < share
    return (rng.standard_normal(shape) * kept / scale).astype(np.float32)


def bias(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    return rng.standard_normal(n).astype(np.float32)


def result_of(model: Any, original: Any = None, **fields: Any) -> TrimResult[Any]:
    """The result of a trim that was not run."""
    numbers = {"layers": (), "scheme": "parallel", "n_samples": 1, "discrepancy": 0.0, "bound": 0.0}
    return TrimResult(model=model, original=original or model, **{**numbers, **fields})


@pytest.fixture(scope="module")
def result() -> TrimResult[Network]:
    rng = np.random.default_rng(5)
    network = random_network(rng, 40, 60, 30, 5, dtype=np.float32)
    return trim(network, rng.standard_normal((400, 40)), epsilon=0.4)


def assert_equal_bits(one: Network, other: Network) -> None:
    assert repr(one) == repr(other)
    for a, b in zip(one.prunable_layers(), other.prunable_layers(), strict=True):
        np.testing.assert_array_equal(a.affine.weights, b.affine.weights, strict=True)
        np.testing.assert_array_equal(a.affine.bias, b.affine.bias, strict=True)  # type: ignore[arg-type]


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
    assert shipped.notes == ()


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


# --- CSR and bit masks --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sparse.npz", "bitmask.npz"])
def test_networks_come_back_from_sparse_files(
    result: TrimResult[Network], tmp_path: Path, name: str
) -> None:
    result.export(tmp_path)
    assert_equal_bits(Network.load(tmp_path / name), result.model)


def test_every_kind_of_layer_comes_back(rng: np.random.Generator, tmp_path: Path) -> None:
    network = Network(
        [
            Conv2D(sparse(rng, 6, 2, 3, 3, share=0.1), padding="same", groups=1, dilation=2),
            BatchNorm(*rng.random((4, 6))),
            Residual([Conv2D(sparse(rng, 6, 6, 5, 5, share=0.05), padding=2)], [ReLU()]),
            MaxPool(2),
            Flatten(),
            Dense(rng.standard_normal((24, 3)), bias(rng, 3), "linear"),  # not sparse
        ]
    )
    X = rng.standard_normal((5, 2, 4, 4))
    for encoding in ("csr", "bitmask"):
        result_of(network).export(tmp_path)
        file = tmp_path / {"csr": "sparse.npz", "bitmask": "bitmask.npz"}[encoding]
        keys = read_npz(file).keys()
        assert f"2.body.0.weights@{encoding}.values" in keys
        assert "5.weights" in keys  # would be larger
        np.testing.assert_array_equal(Network.load(file).predict(X), network.predict(X))


floats = st.floats(-2, 2, width=32) | st.just(0.0)
shapes = hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=9)


@given(hnp.arrays(st.sampled_from([np.float32, np.float64]), shapes, elements=floats))
def test_packing_loses_nothing(array: Array) -> None:
    for encoding in ("csr", "bitmask"):
        packed = pack({"a": array, "b": np.arange(3), "c": ["x"]}, encoding)
        back = unpack({name: np.asarray(value) for name, value in packed.items()})
        np.testing.assert_array_equal(back["a"], array, strict=True)
        assert set(back) == {"a", "b", "c"}


def test_csr_is_what_scipy_takes(rng: np.random.Generator) -> None:
    scipy_sparse = pytest.importorskip("scipy.sparse")
    array = sparse(rng, 30, 20, share=0.1)
    packed = pack({"W": array}, "csr")
    parts = (packed[f"W@csr.{part}"] for part in ("values", "columns", "starts"))
    made = scipy_sparse.csr_array(tuple(parts), shape=array.shape)
    np.testing.assert_array_equal(made.toarray(), array)


@pytest.mark.parametrize(("n", "kind"), [(256, np.uint8), (257, np.uint16), (65_537, np.uint32)])
def test_indices_are_as_small_as_they_can_be(n: int, kind: type) -> None:
    array = np.zeros((2, n))
    array[0, -1] = 1.0
    packed = pack({"W": array}, "csr")
    assert packed["W@csr.columns"].dtype == kind
    assert packed["W@csr.starts"].dtype == np.uint8
    np.testing.assert_array_equal(unpack(packed)["W"], array)


def test_dense_arrays_stay_as_they_are(rng: np.random.Generator) -> None:
    array = rng.standard_normal((10, 10))
    for encoding in ("csr", "bitmask"):
        assert pack({"W": array}, encoding).keys() == {"W"}


@pytest.mark.parametrize(
    ("key", "damage"),
    [
        ("csr.columns", lambda a: a + 200),
        ("csr.values", lambda a: a[:-1]),
        ("csr.starts", lambda a: a[:-1]),
        ("csr.shape", lambda a: a[::-1] * 2),
        ("bitmask.bits", lambda a: a[:1]),
        ("bitmask.values", lambda a: a[:1]),
        ("bitmask.shape", None),
    ],
)
def test_damaged_files_are_refused(
    rng: np.random.Generator,
    tmp_path: Path,
    key: str,
    damage: Callable[[Array], Array] | None,
) -> None:
    network = Network([Dense(sparse(rng, 30, 20, share=0.1))])
    result_of(network).export(tmp_path)
    path = tmp_path / ("sparse.npz" if key.startswith("csr") else "bitmask.npz")
    arrays = read_npz(path)
    name = f"0.weights@{key}"
    whole = arrays.pop(name)
    if damage is not None:
        arrays[name] = damage(whole)
    write_npz(path, arrays)
    with pytest.raises(ValueError, match=r"does not hold a network: 0\.weights is no array in"):
        Network.load(path)


# --- C ------------------------------------------------------------------------------------------


def dense_chain(rng: np.random.Generator) -> tuple[list[Layer], tuple[int, ...]]:
    hidden = Dense(sparse(rng, 784, 300, share=0.1), bias(rng, 300))
    middle = Dense(sparse(rng, 300, 100), bias(rng, 100))
    return [hidden, middle, Dense(sparse(rng, 100, 10), bias(rng, 10), "linear")], (784,)


def image_chain(rng: np.random.Generator) -> tuple[list[Layer], tuple[int, ...]]:
    layers = [
        Conv2D(sparse(rng, 6, 2, 3, 5), bias(rng, 6), padding=((1, 0), (2, 1)), stride=(2, 1)),
        BatchNorm(*np.abs(bias(rng, 24)).reshape(4, 6)),
        Conv2D(sparse(rng, 9, 2, 3, 3), groups=3, dilation=(1, 2), activation="linear"),
        ReLU(),
        MaxPool(3, stride=2, padding=1),
        AveragePool((2, 3), stride=1, padding=((1, 0), (1, 1))),
        Flatten(),
        Dense(sparse(rng, 72, 4), bias(rng, 4), "linear"),
    ]
    return layers, (2, 11, 12)


def signal_chain(rng: np.random.Generator) -> tuple[list[Layer], tuple[int, ...]]:
    layers = [
        Conv1D(sparse(rng, 4, 3, 4), bias(rng, 4), padding="same", stride=2),
        Conv1D(rng.random((4, 1, 3)), bias(rng, 4), groups=4, dilation=2, padding=2),
        MaxPool((2,)),
        AveragePool((3,), 1, padding=1),
        GlobalAveragePool(),
        Dense(sparse(rng, 4, 3, share=0.8), activation="linear"),
    ]
    return layers, (3, 27)


def residual_chain(rng: np.random.Generator) -> tuple[list[Layer], tuple[int, ...]]:
    """Sections in sections, shortcuts that change the signal, and a section right at the input."""
    inner = Residual(
        [Conv2D(sparse(rng, 3, 3, 1, 1))], [BatchNorm(*np.abs(bias(rng, 12)).reshape(4, 3))]
    )
    layers = [
        Residual([ReLU()]),
        Residual(
            [Conv2D(sparse(rng, 3, 2, 3, 3), padding=1), inner], [Conv2D(sparse(rng, 3, 2, 1, 1))]
        ),
        Residual([inner, inner], [MaxPool(3, 1, 1)]),
        GlobalAveragePool(),
        Residual([Dense(sparse(rng, 3, 5)), Dense(sparse(rng, 5, 3), activation="linear")]),
    ]
    return layers, (2, 6, 7)


def sequence_chain(rng: np.random.Generator) -> tuple[list[Layer], tuple[int, ...]]:
    """Dense layers take the last axis of whatever comes."""
    layers = [ReLU(), Conv1D(sparse(rng, 3, 2, 2)), Dense(sparse(rng, 5, 4), bias(rng, 4))]
    return [*layers, Flatten()], (2, 6)


def dead_chain(rng: np.random.Generator) -> tuple[list[Layer], tuple[int, ...]]:
    """No weight at all, and float64 that floats have to do for."""
    return [Dense(np.zeros((3, 2)), [1.5, -1.0]), Dense(rng.standard_normal((2, 2)))], (3,)


def wide_chain(rng: np.random.Generator) -> tuple[list[Layer], tuple[int, ...]]:
    """More inputs than indices of two bytes can tell apart."""
    return [Dense(sparse(rng, 70_000, 2, share=0.001))], (70_000,)


CHAINS = [
    dense_chain,
    image_chain,
    signal_chain,
    residual_chain,
    sequence_chain,
    dead_chain,
    wide_chain,
]


def answers(folder: Path, X: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a compiled header answers, in one row for each sample."""
    (folder / "main.c").write_text(MAIN)
    subprocess.run([str(CC), *FLAGS, "main.c", "-o", "main"], cwd=folder, check=True)
    run = subprocess.run([folder / "main"], input=X.tobytes(), capture_output=True, check=True)
    return np.frombuffer(run.stdout, np.float32).reshape(len(X), -1)


def assert_close(found: NDArray[np.float32], expected: Array) -> None:
    """To a millionth of the norm."""
    norm = np.linalg.norm(expected)
    assert norm > 0
    assert np.linalg.norm(found - expected.reshape(found.shape)) <= 1e-6 * norm


@needs_compiler
@pytest.mark.parametrize("chain", CHAINS)
def test_compiled_headers_predict(
    rng: np.random.Generator,
    tmp_path: Path,
    chain: Callable[[np.random.Generator], tuple[list[Layer], tuple[int, ...]]],
) -> None:
    layers, shape = chain(rng)
    X = rng.standard_normal((6, *shape)).astype(np.float32)
    (tmp_path / "network.h").write_text(header(Network(layers), shape))
    assert_close(answers(tmp_path, X), Network(layers).predict(X))


@needs_compiler
def test_exported_headers_predict(
    result: TrimResult[Network], rng: np.random.Generator, tmp_path: Path
) -> None:
    result.export(tmp_path, formats=["header"])
    X = rng.standard_normal((6, 40)).astype(np.float32)
    assert_close(answers(tmp_path, X), result.model.predict(X))


def test_headers_hold_what_they_need(rng: np.random.Generator) -> None:
    layers, shape = dense_chain(rng)
    text = header(Network(layers), shape)
    assert re.findall(r"#include.*", text) == ["#include <stdint.h>"]
    assert "typedef uint16_t nettrim_index;" in text
    assert not re.search("malloc|nettrim_convolution|nettrim_window", text)
    assert "typedef uint32_t nettrim_index;" in header(Network(wide_chain(rng)[0]), (70_000,))
    sizes = [int(n) for n in re.findall(r"static float nettrim_scratch\d\[(\d+)\]", text)]
    assert sorted(sizes) == [100, 300]


def test_scratch_is_used_again(rng: np.random.Generator) -> None:
    """A chain needs two arrays, however long it is."""
    text = header(random_network(rng, *itertools.repeat(5, 10)), (5,))
    assert len(re.findall(r"static float", text)) == 2


class Twice(Layer):
    """A kind of layer of which nettrim knows nothing."""

    kind = "twice"

    def lipschitz(self, shape: tuple[int, ...]) -> float:
        return 2.0

    def forward(self, X: Array) -> Array:
        return 2 * X

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def from_arrays(cls, arrays: Any) -> Twice:
        return cls()


@pytest.mark.parametrize(
    ("layers", "shape", "words"),
    [
        ([Twice()], (3,), "header has no C for layers of kind 'twice'"),
        ([MaxPool((2, 2, 2))], (1, 4, 4, 4), "header has no C for windows of 3 axes"),
        ([Dense([[1e39]])], (1,), r"network has numbers beyond float: 1e\+39"),
        ([Conv2D(np.ones((1, 1, 3, 3)))], (1, 2, 2), r"input_shape \(1, 2, 2\) does not fit"),
    ],
)
def test_what_has_no_c_is_refused(layers: list[Layer], shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        header(Network(layers), shape)


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
    assert [file.name for file in shipped.files[:3]] == ["model.pt", "sparse.npz", "bitmask.npz"]
    assert [note.split()[2] for note in shipped.notes] == ["shrunk", "header"]
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
