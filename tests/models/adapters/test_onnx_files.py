"""Files of ONNX models: whole, with their external data beside them, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nettrim
from support.networks import random_network, trim

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import TensorProto, numpy_helper

from nettrim.models.adapters import onnx as adapter
from nettrim.models.adapters.onnx import files as onnx_files
from support.onnx_models import assert_sound, build, chain, run


@pytest.fixture
def model(rng: np.random.Generator) -> onnx.ModelProto:
    return chain(random_network(rng, 30, 20, 4, dtype=np.float32))


def test_a_file_comes_back_as_it_was(tmp_path: Path, model: onnx.ModelProto) -> None:
    path = tmp_path / "model.onnx"
    adapter.write(model, path)
    adapter.write(model, str(path))
    assert adapter.read(path) == model
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")  # what is computed counts
def test_external_data_stays_external(
    tmp_path: Path,
    model: onnx.ModelProto,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save_model(
        onnx.ModelProto.FromString(model.SerializeToString()),
        tmp_path / "in.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    X = rng.standard_normal((50, 30)).astype(np.float32)
    result = trim(adapter.read("in.onnx"), X, epsilon=0.2)
    assert_sound(result, X)
    (tmp_path / "out").mkdir()
    path = Path("out", "trimmed.onnx")
    adapter.write(result.model, path)
    adapter.write(result.model, path)
    assert sorted(f.name for f in path.parent.iterdir()) == ["trimmed.onnx", "trimmed.onnx.data"]
    np.testing.assert_array_equal(run(adapter.read(path), X), run(result.model, X))
    onnx.checker.check_model(str(path), full_check=True)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": X})[0], run(result.model, X))


def test_large_models_have_their_data_beside_them(
    tmp_path: Path,
    model: onnx.ModelProto,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnx_files, "LIMIT", 2000)
    tensor = model.graph.initializer[0]
    values = numpy_helper.to_array(tensor)
    tensor.ClearField("raw_data")
    tensor.float_data.extend(values.ravel())
    path = tmp_path / "model.onnx"
    adapter.write(model, path)
    assert (tmp_path / "model.onnx.data").stat().st_size == values.nbytes
    assert path.stat().st_size < values.nbytes
    np.testing.assert_array_equal(
        numpy_helper.to_array(adapter.read(path).graph.initializer[0]), values
    )
    X = rng.standard_normal((50, 30)).astype(np.float32)
    table = build(
        [("MatMul", "x W", "h"), ("Add", "h x", "s"), ("Add", "s big", "y")],
        {"W": np.eye(30, dtype="f4"), "big": rng.standard_normal((1, 30)).astype("f4")},
        ["n", 30],
    )
    assert_sound(trim(table, X, epsilon=0.2), X)


def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    adapter.write(model, path)
    before = path.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(onnx_files.os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        adapter.write(model, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_refused(tmp_path: Path, model: onnx.ModelProto) -> None:
    path = tmp_path / "model.onnx"
    whole = model.SerializeToString()
    damaged = [b"", b"not a model at all\n" * 9, whole[:-7], whole[: len(whole) // 2], whole[9:]]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.onnx' does not hold a valid ONNX model"):
            adapter.read(path)
    with pytest.raises(FileNotFoundError):
        adapter.read(tmp_path / "missing.onnx")


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as stream:
        stream.truncate(1 << 31)  # takes no room
    with pytest.raises(ValueError, match=r"large\.onnx' has 2,147,483,648 bytes"):
        adapter.read(path)


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ({"location": "../outside.bin"}, "outside the directory"),
        ({"location": "/etc/hostname"}, "absolute path"),
        ({"location": "missing.bin"}, "not regular file"),
        ({"location": "link.bin"}, "link.bin"),
        ({"location": "data.bin", "offset": "-8"}, "non-negative"),
        ({"location": "data.bin", "length": "99999999999"}, "exceeds available data"),
        ({"location": "data.bin", "length": "16"}, "too small"),
    ],
)
def test_external_data_that_is_refused(
    tmp_path: Path, model: onnx.ModelProto, note: dict[str, str], words: str
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(2400))
    (folder / "data.bin").write_bytes(bytes(2400))
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in note.items():
        tensor.external_data.add(key=key, value=value)
    (folder / "bad.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"bad\.onnx' does not hold a valid ONNX model") as caught:
        adapter.read(folder / "bad.onnx")
    assert words in str(caught.value)


def test_other_constants_are_another_model(rng: np.random.Generator, tmp_path: Path) -> None:
    nodes = [
        ("Gemm", "x W1 b1", "z"),
        ("Relu", "z", "a"),
        ("Mul", "a scale", "s"),
        ("MatMul", "s W2", "y"),
    ]
    arrays = {
        "W1": rng.standard_normal((6, 5)),
        "b1": rng.standard_normal(5),
        "scale": np.ones(5),
        "W2": rng.standard_normal((5, 3)),
    }
    X = rng.standard_normal((40, 6))
    one, other = (
        build(nodes, {**arrays, "scale": np.full(5, scale)}, ["n", 6], dtype=np.float64)
        for scale in (1.0, 1.1)
    )
    trim(one, X, epsilon=0.2, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="was made with a different weights of the model; delete"):
        trim(other, X, epsilon=0.2, checkpoint=tmp_path)


@pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")  # what is computed counts
def test_a_checkpoint_resumes_with_the_same_bits(
    tmp_path: Path, model: onnx.ModelProto, rng: np.random.Generator
) -> None:
    X = rng.standard_normal((60, 30))
    first = trim(model, X, epsilon=0.1, checkpoint=tmp_path)
    again = nettrim.trim(model, X, epsilon=0.1, checkpoint=tmp_path, progress=False)
    assert again.model == first.model
    assert again.discrepancy == first.discrepancy
