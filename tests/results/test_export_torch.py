"""Modules of PyTorch as files that others read: safetensors, transformers, ONNX."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nettrim import TrimResult
from support.libraries import import_transformers
from support.networks import random_network, trim

torch = pytest.importorskip("torch")
nn = torch.nn


class Tied(nn.Module):
    """An embedding whose weights are those of the head as well."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.inner = nn.Linear(6, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Any) -> Any:
        return self.head(torch.relu(self.inner(self.embedding(tokens))))


def perceptron() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 2))


@pytest.fixture
def result(rng: np.random.Generator) -> TrimResult[Any]:
    return trim(perceptron(), rng.standard_normal((100, 6)), sparsity=0.7)


def assert_same_tensors(one: Any, other: Any) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
        assert tensor.dtype == other[name].dtype


# --- safetensors ----------------------------------------------------------------------------------


def test_safetensors_hold_the_state(result: TrimResult[Any], tmp_path: Path) -> None:
    safe = pytest.importorskip("safetensors.torch")
    (file,) = result.export(tmp_path, formats=["safetensors"]).files
    assert (file.name, file.ratio) == ("model.safetensors", 1)
    assert_same_tensors(safe.load_file(tmp_path / file.name), result.model.state_dict())
    assert "model.safetensors" in {f.name for f in result.export(tmp_path / "all").files}


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_tensors_keep_their_precision(dtype: str, tmp_path: Path) -> None:
    safe = pytest.importorskip("safetensors.torch")
    model = perceptron().to(getattr(torch, dtype))
    result = trim(model, np.random.default_rng(0).standard_normal((100, 6)), sparsity=0.5)
    result.export(tmp_path, formats=["safetensors"])
    assert_same_tensors(safe.load_file(tmp_path / "model.safetensors"), result.model.state_dict())


def test_shared_tensors_are_in_the_file_once(tmp_path: Path) -> None:
    safe = pytest.importorskip("safetensors.torch")
    torch.manual_seed(0)
    tokens = np.random.default_rng(0).integers(0, 11, (90, 3))
    with pytest.warns(UserWarning, match="shares its parameters"):
        result = trim(Tied(), tokens, sparsity=0.5, layers=["inner"])
    result.export(tmp_path, formats=["safetensors"])
    assert len(safe.load_file(tmp_path / "model.safetensors")) == 3
    again = Tied()
    safe.load_model(again, tmp_path / "model.safetensors")
    assert_same_tensors(again.state_dict(), result.model.state_dict())
    assert again.head.weight is again.embedding.weight


def test_the_library_is_named_where_it_is_missing(
    result: TrimResult[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    shipped = result.export(tmp_path)
    assert "model.safetensors" not in {file.name for file in shipped.files}
    assert any('pip install "nettrim[safetensors]"' in note for note in shipped.notes)
    with pytest.raises(ValueError, match=r'^formats: safetensors .*"nettrim\[safetensors\]"'):
        result.export(tmp_path, formats=["safetensors"])


def test_other_models_have_no_safetensors(rng: np.random.Generator, tmp_path: Path) -> None:
    result = trim(random_network(rng, 4, 3), rng.standard_normal((50, 4)), sparsity=0.5)
    with pytest.raises(ValueError, match=r"^formats: safetensors wants a module of PyTorch"):
        result.export(tmp_path, formats=["safetensors"])


# --- transformers ---------------------------------------------------------------------------------


def bert() -> Any:
    transformers = import_transformers()
    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=12,
    )
    torch.manual_seed(0)
    return transformers.BertForMaskedLM(config).eval()  # embedding and decoder are one tensor


@pytest.fixture(scope="module")
def trimmed_bert() -> TrimResult[Any]:
    tokens = np.random.default_rng(0).integers(0, 30, (40, 8))
    with pytest.warns(UserWarning, match="shares its parameters"):
        return trim(bert(), {"input_ids": tokens}, pattern="2:4")


def test_pretrained_models_come_back(trimmed_bert: TrimResult[Any], tmp_path: Path) -> None:
    model = trimmed_bert.model
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert_same_tensors(again.state_dict(), model.state_dict())
    weights = again.bert.encoder.layer[1].intermediate.dense.weight
    assert int((weights.reshape(-1, 4) != 0).sum(dim=1).max()) == 2


def test_exported_tensors_are_a_pretrained_model(
    trimmed_bert: TrimResult[Any], tmp_path: Path
) -> None:
    """Beside its configuration the file is what ``from_pretrained`` reads."""
    pytest.importorskip("safetensors")
    model = trimmed_bert.model
    trimmed_bert.export(tmp_path, formats=["safetensors"])
    model.config.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert_same_tensors(again.state_dict(), model.state_dict())


# --- ONNX -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::FutureWarning:torch|copyreg")
def test_zeros_survive_an_export_to_onnx(result: TrimResult[Any], tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    x, model = torch.ones(1, 6), result.model.eval()
    torch.onnx.export(model, (x,), tmp_path / "model.onnx", dynamo=True, verbose=False)
    initializers = onnx.load(tmp_path / "model.onnx").graph.initializer
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in initializers}
    for name, tensor in result.model.state_dict().items():
        np.testing.assert_array_equal(arrays[name], tensor.numpy())
