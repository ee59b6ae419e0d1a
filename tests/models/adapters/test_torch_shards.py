"""Modules whose weights stay in files are trimmed as in memory, bit for bit, in less memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim import TrimResult
from support.libraries import import_transformers
from support.networks import trim

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
nn = torch.nn

import nettrim.torch
from nettrim.models.adapters.torch.stored import DoubleView
from support.blocks import Decoder

pytestmark = pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")

TESTS = Path(__file__).parents[2]
INDEX = "model.safetensors.index.json"
HALF = {"sparsity": 0.5, "share": "layer"}


def decoder() -> Any:
    return Decoder(2, width=8)


def convolutional() -> Any:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 3, 2, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3 * 64, 5),
    )


def attentive() -> Any:
    """What uses its weights directly: attention, whose expansions are views of them."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


class Recurrent(nn.Module):
    """A recurrent layer whose last step is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.steps, self.head = nn.LSTM(8, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.steps(x)[0][:, -1])


class Tied(nn.Module):
    """An embedding whose weights are the head's as well, and are read in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.middle = nn.Embedding(50, 8), nn.Linear(8, 8)

    def forward(self, tokens: Any) -> Any:
        hidden = torch.relu(self.middle(self.embedding(tokens)))
        return nn.functional.linear(hidden, self.embedding.weight)


MAKERS = [decoder, convolutional, attentive, Recurrent, Tied]


def samples(make: Callable[[], Any], rng: np.random.Generator, n_samples: int = 40) -> Any:
    if make in (decoder, Tied):
        return rng.integers(0, 50, (n_samples, 6))
    return rng.standard_normal((n_samples, 2, 4, 4) if make is convolutional else (n_samples, 5, 8))


def stored(make: Callable[[], Any], folder: Path, dtype: Any = torch.float32) -> Any:
    """A module of random weights and statistics, in evaluation mode, and in a folder of shards."""
    module = make().to(dtype).eval()
    for name, buffer in module.named_buffers():
        if "running" in name:
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    names = sorted(module.state_dict())
    folder.mkdir()
    where = {}
    for number, own in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        safetensors.save_file({n: module.state_dict()[n].clone() for n in own}, folder / file)
        where.update(dict.fromkeys(own, file))
    (folder / INDEX).write_text(json.dumps({"weight_map": where}))
    (folder / "tokenizer.json").write_text("{}")
    return module


def opened(make: Callable[[], Any], folder: Path, into: Path) -> Any:
    with nettrim.torch.skeleton():
        module = make()
    return nettrim.torch.open_shards(module, folder, into)


def assert_same(one: TrimResult[Any], other: TrimResult[Any]) -> None:
    """The same weights to the last bit, and the same findings up to the order of sums."""
    states = one.model.state_dict(), other.model.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        assert tensor.dtype == states[1][name].dtype
        assert torch.equal(tensor, states[1][name]), name
    for own, others in ((one.layers, other.layers), (one.outputs, other.outputs)):
        for found, wanted in zip(own, others, strict=True):
            assert found.name == wanted.name
            assert numbers(found) == pytest.approx(numbers(wanted), rel=1e-12, nan_ok=True)
    assert one.untouched == other.untouched
    assert one.recipe["model"] == other.recipe["model"]


def numbers(report: Any) -> dict[str, Any]:
    """All numbers of a report but times."""
    found = {name: value for name, value in vars(report).items() if isinstance(value, (int, float))}
    return {name: value for name, value in found.items() if name != "seconds"}


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# --- the same as in memory ----------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("goal", [{"epsilon": 0.1}, HALF], ids=["error", "sparsity"])
def test_the_same_as_in_memory(
    rng: np.random.Generator, tmp_path: Path, make: Callable[[], Any], goal: dict[str, Any]
) -> None:
    module, X = stored(make, tmp_path / "dense"), samples(make, rng)
    before = content(tmp_path / "dense")
    wanted = trim(module, X, **goal)
    found = trim(opened(make, tmp_path / "dense", tmp_path / "half"), X, **goal)
    assert_same(found, wanted)
    assert found.layers[0].nonzeros_after < found.layers[0].nonzeros_before
    assert content(tmp_path / "dense") == before
    assert content(tmp_path / "half").keys() == before.keys()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dense", "half"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_in_every_precision(rng: np.random.Generator, tmp_path: Path, dtype: Any) -> None:
    module, X = stored(decoder, tmp_path / "dense", dtype), samples(decoder, rng)
    view = opened(decoder, tmp_path / "dense", tmp_path / "half")
    assert_same(trim(view, X, **HALF), trim(module, X, **HALF))


def first_positions(tokens: Any) -> Any:
    return np.broadcast_to(np.arange(tokens.shape[1]) < 4, tokens.shape)


@pytest.mark.parametrize("scheme", ["parallel", "cascade"])
def test_with_held_out_and_masked_samples(
    rng: np.random.Generator, tmp_path: Path, scheme: str
) -> None:
    module, X = stored(decoder, tmp_path / "dense"), samples(decoder, rng)
    options: dict[str, Any] = {"epsilon": 0.1, "scheme": scheme}
    options |= {"held_out": samples(decoder, rng), "mask": first_positions}
    view = opened(decoder, tmp_path / "dense", tmp_path / "half")
    assert_same(trim(view, X, **options), trim(module, X, **options))


def test_a_shared_budget(rng: np.random.Generator, tmp_path: Path) -> None:
    """Layers are judged with weights that are not written anywhere."""
    module, X = stored(decoder, tmp_path / "dense"), samples(decoder, rng)
    view = opened(decoder, tmp_path / "dense", tmp_path / "half")
    assert_same(trim(view, X, sparsity=0.5), trim(module, X, sparsity=0.5))


@pytest.mark.filterwarnings("ignore:layer 'lm_head' is not pruned")
@pytest.mark.parametrize("tied", [False, True])
def test_a_model_of_transformers(rng: np.random.Generator, tmp_path: Path, tied: bool) -> None:
    transformers = import_transformers()
    config = transformers.LlamaConfig(
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=50,
        tie_word_embeddings=tied,
        use_cache=False,
    )
    model, X = transformers.LlamaForCausalLM(config).eval(), samples(decoder, rng)
    model.save_pretrained(tmp_path / "dense", max_shard_size="2KB")
    result = trim(
        opened(lambda: type(model)(config), tmp_path / "dense", tmp_path / "half"), X, **HALF
    )
    assert_same(result, trim(model, X, **HALF))
    again = type(model).from_pretrained(tmp_path / "half").state_dict()
    assert all(torch.equal(again[k], v) for k, v in result.model.state_dict().items())


def test_what_comes_out_is_a_module_like_any_other(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    module, X = stored(decoder, tmp_path / "dense"), samples(decoder, rng)
    view = opened(decoder, tmp_path / "dense", tmp_path / "half")
    assert all(torch.equal(v, module.state_dict()[k]) for k, v in view.model.state_dict().items())
    result = trim(view, X, **HALF, measure=lambda model: isinstance(model, Decoder))
    assert type(result.model) is Decoder
    assert result.measured == {"measure": (1.0, 1.0)}
    result.report(tmp_path / "page.html")
    assert result.export(tmp_path / "files").files
    assert result.latency(X, batch=2).before > 0.0
    wanted = content(tmp_path / "half")
    with torch.no_grad():
        for parameter in result.model.parameters():
            assert parameter.requires_grad
            parameter.zero_()  # in memory
    assert content(tmp_path / "half") == wanted


# --- runs that end early ------------------------------------------------------------------------


def test_a_run_that_failed_leaves_nothing(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, X = stored(decoder, tmp_path / "dense"), samples(decoder, rng)
    view = opened(decoder, tmp_path / "dense", tmp_path / "half")
    with monkeypatch.context() as patched:
        patched.setattr("nettrim.trimming.walk.Walk._resume", fail_at(5))
        with pytest.raises(OSError, match="full"):
            trim(view, X, epsilon=0.1)
    assert not (tmp_path / "half").exists()
    only = trim(view, X, **HALF, layers=["blocks.1.down"])
    assert torch.equal(only.model.blocks[0].query.weight, module.blocks[0].query.weight)
    assert torch.count_nonzero(only.model.blocks[1].down.weight) == 64
    with pytest.raises(ValueError, match=r"half' is there already"):
        trim(view, X, **HALF)
    del view, only
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dense", "half"]


def fail_at(count: int) -> Callable[..., bool]:
    """What takes no layer from a checkpoint, and fails at the last of some."""
    asked = [0]

    def resume(*_: Any) -> bool:
        asked[0] += 1
        if asked[0] == count:
            raise OSError("full")
        return False

    return resume


def test_a_checkpoint_of_the_same_in_memory(rng: np.random.Generator, tmp_path: Path) -> None:
    module, X = stored(decoder, tmp_path / "dense"), samples(decoder, rng)
    wanted = trim(module, X, **HALF, checkpoint=tmp_path / "kept")
    view = opened(decoder, tmp_path / "dense", tmp_path / "half")
    found = trim(view, X, **HALF, checkpoint=tmp_path / "kept")
    assert_same(found, wanted)
    assert [a.seconds for a in found.layers] == [b.seconds for b in wanted.layers]


# --- refusals -----------------------------------------------------------------------------------


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    stored(decoder, tmp_path / "dense")

    def refused(message: str, make: Callable[[], Any] = decoder, **folders: Path) -> None:
        places = {"folder": tmp_path / "dense", "into": tmp_path / "half"} | folders
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            opened(make, *places.values())

    refused(r"folder: .* has neither model.safetensors.index.json nor", folder=tmp_path)
    refused("into: .*dense' is there already", into=tmp_path / "dense")
    refused("into: there is no folder", into=tmp_path / "nowhere" / "half")
    refused(r"'embedding.weight' has shape \(50, 8\) there, and \(50, 12\)", lambda: Decoder(1, 12))


def test_models_that_do_not_fit(tmp_path: Path) -> None:
    stored(lambda: nn.Sequential(nn.Linear(3, 3)), tmp_path / "dense")
    with pytest.raises(ValueError, match=r"no tensor '1.weight' of the model"):
        opened(
            lambda: nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)),
            tmp_path / "dense",
            tmp_path / "half",
        )
    with pytest.raises(TypeError, match="module must be a torch"):
        nettrim.torch.open_shards(None, tmp_path, tmp_path)  # type: ignore[arg-type]


def test_buffers_without_numbers(tmp_path: Path) -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.register_buffer("shift", torch.ones(3), persistent=False)

    stored(Shifted, tmp_path / "dense")
    with torch.device("meta"):
        module = Shifted()
    with pytest.raises(ValueError, match=r"'shift' is on the meta device.*nettrim.torch.skeleton"):
        nettrim.torch.open_shards(module, tmp_path / "dense", tmp_path / "half")
    assert opened(Shifted, tmp_path / "dense", tmp_path / "half").model.shift.tolist() == [1] * 3


def test_a_model_that_computes_in_float64_only(rng: np.random.Generator, tmp_path: Path) -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 3)

        def forward(self, x: Any) -> Any:
            return self.layer(x) @ torch.ones(3, 2, dtype=torch.float64)

    stored(Mixed, tmp_path / "dense")
    view = opened(Mixed, tmp_path / "dense", tmp_path / "half")
    with pytest.raises(ValueError, match=r"does not pass through the model: .* same dtype"):
        trim(view, rng.standard_normal((9, 8)), **HALF)


def test_units_stay(rng: np.random.Generator, tmp_path: Path) -> None:
    stored(decoder, tmp_path / "dense")
    view = opened(decoder, tmp_path / "dense", tmp_path / "half")
    with pytest.raises(TypeError, match="its view cannot tell which of its units could go"):
        trim(view, samples(decoder, rng), goal=nettrim.Units(0.5))


def test_masks_that_files_do_not_hold(tmp_path: Path) -> None:
    def masked() -> Any:
        module = nn.Sequential(nn.Linear(3, 3))
        nn.utils.prune.identity(module[0], "weight")
        return module

    stored(masked, tmp_path / "dense")
    module = masked()
    with (
        pytest.warns(UserWarning, match="its mask is baked"),
        pytest.raises(ValueError, match="computes weights from others"),
    ):
        nettrim.torch.open_shards(module, tmp_path / "dense", tmp_path / "half")


def test_numbers_at_any_byte(tmp_path: Path) -> None:
    """Libraries align them, which the format does not ask for; and some tensors are empty."""
    told = {
        "0.weight": {"dtype": "F32", "shape": [3, 3], "data_offsets": [0, 36]},
        "none": {"dtype": "F64", "shape": [0, 3], "data_offsets": [36, 36]},
        "one": {"dtype": "I64", "shape": [], "data_offsets": [36, 44]},
    }
    for padding in range(2):
        header = json.dumps(told).encode() + b" " * padding
        numbers = np.arange(9, dtype="<f4").tobytes() + bytes(8)
        (tmp_path / "model.safetensors").write_bytes(
            len(header).to_bytes(8, "little") + header + numbers
        )
        view = opened(
            lambda: nn.Sequential(nn.Linear(3, 3, bias=False)), tmp_path, tmp_path / "half"
        )
        assert view.model[0].weight.flatten().tolist() == list(range(9))


def entry(**changes: Any) -> bytes:
    """A file of one tensor whose header tells something else of it."""
    told = {"dtype": "F32", "shape": [3, 3], "data_offsets": [0, 36]} | changes
    header = json.dumps({"0.weight": told}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(36)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        (1 << 40).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        entry(dtype="F8_E4M3"),
        entry(shape=[3, 4]),
        entry(shape=[-3, -3]),
        entry(shape="33"),
        entry(data_offsets=[0, 1 << 40]),
        entry(data_offsets=[36, 0]),
        entry(data_offsets=[0]),
        entry()[:-1],
    ],
    ids=[
        "empty",
        "no length",
        "no header",
        "a list",
        "type",
        "size",
        "negative",
        "text",
        "beyond",
        "backwards",
        "one offset",
        "cut off",
    ],
)
def test_damaged_files(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=r"model.safetensors' is no safetensors file"):
        opened(lambda: nn.Sequential(nn.Linear(3, 3, bias=False)), tmp_path, tmp_path / "half")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"weight_map": {"a": 1}}', '{"weight_map": {"a": "../a"}}'],
    ids=["empty", "list", "nothing", "number", "elsewhere"],
)
def test_damaged_indices(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(ValueError, match=re.escape(INDEX)):
        opened(decoder, tmp_path, tmp_path / "half")


# --- what it takes ------------------------------------------------------------------------------


def test_a_view_computes_as_float64() -> None:
    stored_values = torch.randn(5, 4)
    view, double = DoubleView(stored_values), stored_values.double()
    X, numbers = torch.randn(3, 4).double(), torch.tensor([4, 0])
    assert view.dtype is torch.float64
    for function in (
        lambda weight: nn.functional.linear(X, weight),
        lambda weight: nn.functional.embedding(numbers, weight),
        lambda weight: (weight[1:].t() + 1.0).sum(0),
        lambda weight: nn.Parameter(weight, requires_grad=False) @ X.t(),
    ):
        found = function(view)
        assert type(found) is torch.Tensor
        assert torch.equal(found, function(double))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells what is a file's")
def test_memory_does_not_depend_on_depth(tmp_path: Path) -> None:
    sizes = []
    for n_blocks in (1, 3, 9):
        folder = tmp_path / str(n_blocks)
        folder.mkdir()
        safetensors.save_model(Decoder(n_blocks), str(folder / "model.safetensors"))
        sizes.append((folder / "model.safetensors").stat().st_size)
    # The first one takes what is loaded once, whatever the depth.
    (_, less, more), (_, smaller, larger) = memory_taken(tmp_path), sizes
    assert more - less < (larger - smaller) / 4
    assert more < larger  # in memory it is five times the weights


def memory_taken(folder: Path) -> list[int]:
    """What trimming took in a process of its own, which gives back at once what it frees."""
    options = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    options["OMP_NUM_THREADS"] = "1"  # others would wait for work busily
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "support.blocks", str(folder)],
        env={**os.environ, **options, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return [*map(int, run.stdout.split())]
