"""Units of modules of PyTorch: the smaller module computes what the whole one does without them."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettrim.models.model_view import as_view
from nettrim.models.units.unit_map import UnitMap
from support.libraries import import_timm, import_torchvision, import_transformers

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional

pytestmark = [
    pytest.mark.filterwarnings("ignore:layer .* is not pruned"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

OUTPUT = "they are the model's output"
NEEDED = "the model's code needs their number"
IMAGES = np.random.default_rng(0).normal(size=(3, 3, 16, 16))
ROWS = np.random.default_rng(1).normal(size=(7, 5))
SEQUENCES = np.random.default_rng(2).normal(size=(3, 6, 5))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(20171204)


class Shrunk:
    """A module, one without half of its units, and one in which nothing reads them."""

    def __init__(self, model: Any, X: Any) -> None:
        _shake_norms(model)
        view = as_view(model.eval())
        data = view.calibration(X, "X")
        found = view.find_units(data)
        assert found is not None
        self.units: UnitMap = found
        self.kept = _drop_half(found)
        self.whole = view.with_weights(_silent(view, found, self.kept))
        self.model = view.keep_units(self.whole, found, self.kept)
        self.wanted, self.computed = (view.run(m, data) for m in (self.whole, self.model))

    @property
    def sizes(self) -> dict[str, int]:
        """How many units each signal has."""
        return {signal.name: len(signal.units) for signal in self.units.signals}

    def check(self) -> Shrunk:
        """Check that the smaller module computes the same, and is as small as is said."""
        for wanted, computed in zip(self.wanted, self.computed, strict=True):
            np.testing.assert_allclose(computed, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())
        everything = np.ones(self.units.n_units, dtype=bool)
        gone = self.units.parameters(everything) - self.units.parameters(self.kept)
        assert gone > 0
        assert _entries(self.whole) - _entries(self.model) == gone
        assert self.units.operations(self.kept) < self.units.operations(everything)
        return self


def shrink(model: Any, X: Any) -> Shrunk:
    return Shrunk(model, X).check()


def _entries(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _silent(view: Any, units: UnitMap, kept: Any) -> Mapping[int, Any]:
    """Return weights that are zero on the units that go."""
    layers = {layer.name: (k, layer.affine) for k, layer in enumerate(view.prunable_layers())}
    silent = {}
    for name, features, _ in units.layers:
        position, affine = layers[name]
        stays = np.append(kept, True)[features]
        silent[position] = affine._replace(weights=affine.weights * stays[:, np.newaxis])
    return silent


def _drop_half(units: UnitMap) -> Any:
    rng = np.random.default_rng(20171204)
    kept = np.ones(units.n_units, dtype=bool)
    for signal in units.signals:
        kept[rng.permutation(signal.units)[: len(signal.units) // 2]] = False
    for layer in units.layers:
        if not np.append(kept, True)[layer.outputs].any():
            kept[layer.outputs[0]] = True
    return kept


def _shake_norms(model: Any) -> None:
    """Give batch normalisations numbers as after training."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low in [
                *((module.weight, 0.5), (module.running_var, 0.5)),
                *((module.bias, -0.5), (module.running_mean, -0.5)),
            ]:
                nn.init.uniform_(tensor, low, 1.5)


class Residual(nn.Module):
    def __init__(self, body: Any, shortcut: Any = None) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut or nn.Identity()

    def forward(self, x: Any) -> Any:
        return F.relu(self.body(x) + self.shortcut(x))


class Concat(nn.Module):
    def __init__(self, *branches: Any) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Any) -> Any:
        return torch.cat([x, *(branch(x) for branch in self.branches)], 1)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(channels, 4), nn.Linear(4, channels)

    def forward(self, x: Any) -> Any:
        return x * torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))[:, :, None, None]


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.up = nn.ConvTranspose2d(12, 8, 2, stride=2)
        self.last, self.out = nn.Conv2d(16, 6, 3, padding=1), nn.Conv2d(6, 2, 1)

    def forward(self, x: Any) -> Any:
        first = F.relu(self.down1(x))
        second = F.relu(self.down2(F.max_pool2d(first, 2)))
        return self.out(F.relu(self.last(torch.cat([self.up(second), first], 1))))


class GatedLinear(nn.Module):
    """A gated linear unit, whose two halves may come from one layer."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused, self.norm = fused, nn.LayerNorm(8)
        self.up = nn.Linear(8, 20 if fused else 10)
        self.gate = None if fused else nn.Linear(8, 10)
        self.down = nn.Linear(10, 8)

    def forward(self, x: Any) -> Any:
        normed = self.norm(x)
        if self.gate is None:
            gate, up = self.up(normed).chunk(2, -1)
        else:
            gate, up = self.gate(normed), self.up(normed)
        return x + self.down(F.silu(gate) * up)


class Attention(nn.Module):
    """Attention written by hand; its groups of heads share keys and values."""

    def __init__(self, heads: int, groups: int, told: bool = False) -> None:
        super().__init__()
        self.heads, self.groups, self.told, self.head_dim = heads, groups, told, 4
        self.width = 4 * heads
        self.q, self.k, self.v = (nn.Linear(8, 4 * n) for n in (heads, groups, groups))
        self.norm, self.out = nn.LayerNorm(8), nn.Linear(4 * heads, 8)

    def forward(self, x: Any) -> Any:
        normed = self.norm(x)
        heads, groups = (self.heads, self.groups) if self.told else (-1, -1)
        q = self.q(normed).view(*x.shape[:2], heads, 4).transpose(1, 2)
        k = self.k(normed).view(*x.shape[:2], groups, 4).transpose(1, 2)
        v = self.v(normed).view(*x.shape[:2], groups, 4).transpose(1, 2)
        k, v = (part.repeat_interleave(self.heads // self.groups, 1) for part in (k, v))
        shares = torch.softmax(q @ k.transpose(-1, -2) / 2, -1)
        mixed = (shares @ v).transpose(1, 2)
        width = self.width if self.told else -1
        return x + self.out(mixed.reshape(*x.shape[:2], width))


def body(channels: int, width: int, stride: int = 1) -> Any:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
    )


def test_mlp() -> None:
    model = nn.Sequential(
        *(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 6), nn.GELU(), nn.Linear(6, 3))
    )
    shrunk = shrink(model, ROWS)
    assert shrunk.sizes == {"0": 8, "3": 6}
    assert shrunk.units.left_out == {"5": OUTPUT}
    assert [m.out_features for m in shrunk.model if isinstance(m, nn.Linear)] == [4, 3, 3]
    assert model[0].out_features == 8


def test_convolutions_with_all_that_stands_between_them() -> None:
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.PReLU(8), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 6, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Upsample(scale_factor=2)),
        *(nn.ZeroPad2d(1), nn.Conv2d(6, 4, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        *(nn.Linear(16, 10), nn.ReLU(), nn.Linear(10, 3)),
    )
    shrunk = shrink(model, IMAGES)
    assert shrunk.sizes == {"0": 8, "4": 6, "9": 4, "12": 10}
    assert shrunk.model[1].num_features == shrunk.model[2].num_parameters == 4
    assert shrunk.model[12].in_features == 8  # four positions of each channel


@pytest.mark.parametrize("shortcut", [True, False])
def test_a_residual_stream_goes_as_one(shortcut: bool) -> None:
    convolution = nn.Conv2d(8, 12, 1, 2) if shortcut else None
    width, stride = (12, 2) if shortcut else (8, 1)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        Residual(body(8, width, stride), convolution),
        nn.Flatten(2),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(width, 3),
    )
    sizes = {"0": 8, "1.body.0": width}
    assert shrink(model, IMAGES).sizes == sizes | ({"1.body.3": 12} if shortcut else {})


def test_depthwise_convolutions_pass_units_on() -> None:
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 3, groups=8), nn.BatchNorm2d(16), nn.ReLU6()),
        *(nn.Conv2d(16, 6, 1), nn.Conv2d(6, 2, 1)),
    )
    shrunk = shrink(model, IMAGES)
    assert shrunk.sizes == {"0": 8, "4": 6}
    depthwise = shrunk.model[1]
    assert (depthwise.groups, depthwise.in_channels, depthwise.out_channels) == (4, 4, 8)


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize(("groups", "sizes"), [(2, {"0": 4, "1": 4}), (4, {"0": 4})])
def test_convolutions_in_groups(kind: Any, groups: int, sizes: dict[str, int]) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), kind(8, 8, 3, groups=groups), nn.ReLU(), nn.Conv2d(8, 2, 1)
    )
    shrunk = shrink(model, IMAGES)
    assert shrunk.sizes == sizes
    assert shrunk.model[1].groups == 2


def test_gates_of_channels_go_with_them() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), SqueezeExcite(8), nn.Conv2d(8, 2, 1))
    assert shrink(model, IMAGES).sizes == {"0": 8, "2.down": 4}


def test_concatenated_channels() -> None:
    blocks = [
        Concat(nn.Sequential(nn.BatchNorm2d(n), nn.ReLU(), nn.Conv2d(n, 4, 3, padding=1)))
        for n in (3, 7, 11)
    ]
    model = nn.Sequential(*blocks, nn.BatchNorm2d(15), nn.Flatten(), nn.Linear(15 * 256, 3))
    shrunk = shrink(model, IMAGES)
    assert [*shrunk.sizes.values()] == [4, 4, 4]
    assert shrunk.model[3].num_features == 3 + 3 * 2  # those of the input stay


def test_skips_beside_transposed_convolutions() -> None:
    assert shrink(UNet(), IMAGES).sizes == {"down1": 8, "down2": 12, "up": 8, "last": 6}


@pytest.mark.parametrize("fused", [True, False])
def test_gated_linear_units(fused: bool) -> None:
    model = nn.Sequential(nn.Linear(5, 8), GatedLinear(fused), nn.Linear(8, 2))
    shrunk = shrink(model, ROWS)
    assert [*shrunk.sizes.values()] == [10]
    assert shrunk.model[1].up.out_features == (10 if fused else 5)
    reason = "LayerNorm (1.norm) takes them together"
    assert shrunk.units.left_out == {"0": reason, "1.down": reason, "2": OUTPUT}


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("groups", [6, 3])
def test_heads_of_attention(groups: int, told: bool) -> None:
    model = nn.Sequential(nn.Linear(5, 8), Attention(6, groups, told), nn.Linear(8, 2))
    shrunk = shrink(model, SEQUENCES)
    assert shrunk.sizes == {"1.q": groups}
    attention = shrunk.model[1]
    assert (attention.heads, attention.groups) == (
        6 * (groups - groups // 2) // groups,
        groups - groups // 2,
    )
    assert attention.head_dim == 4
    assert attention.q.out_features == attention.out.in_features == 4 * attention.heads


def test_scales_of_channels() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)
            self.scale = nn.Parameter(torch.rand(8, 1, 1))

        def forward(self, x: Any) -> Any:
            return self.last(self.scale * self.first(x))

    shrunk = shrink(Scaled(), IMAGES)
    assert shrunk.model.scale.shape == (4, 1, 1)
    assert shrunk.model.scale.requires_grad


def test_embeddings_write_units() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.slide = nn.Embedding(11, 6), nn.Conv1d(6, 8, 3)
            self.out = nn.Linear(8, 3)

        def forward(self, x: Any) -> Any:
            return self.out(F.relu(self.slide(self.embedding(x).transpose(1, 2))).amax(-1))

    shrunk = shrink(Words(), np.random.default_rng(0).integers(0, 11, (5, 9)))
    assert shrunk.sizes == {"embedding": 6, "slide": 8}
    assert shrunk.model.embedding.embedding_dim == 3


def test_windows_padded_with_zeros_need_their_channels() -> None:
    model = nn.Sequential(
        *(nn.Conv2d(3, 4, 1), nn.Unfold(3, padding=1), nn.Conv1d(36, 8, 1), nn.Conv1d(8, 2, 1))
    )
    assert shrink(model, IMAGES).sizes == {"2": 8}


def test_channels_that_become_positions() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.PixelShuffle(2), nn.Conv2d(4, 2, 1))
    assert shrink(model, IMAGES).sizes == {"0": 4}


class Shuffle(nn.Module):
    """Half of the channels go past a convolution, and all are shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(4, 4, 1)

    def forward(self, x: Any) -> Any:
        past, through = x.chunk(2, 1)
        both = torch.stack([past, F.relu(self.body(through))], 2)
        return both.flatten(1, 2)


def test_halves_of_channels_stay_alike() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), Shuffle(), Shuffle(), nn.Conv2d(8, 2, 1))
    shrunk = shrink(model, IMAGES)
    assert shrunk.sizes == {"0": 2}
    assert shrunk.model[1].body.out_channels == 2


def test_code_that_no_graph_shows() -> None:
    class Untraced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(5, 4), nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            return self.b(self.a(x)) if float(x.abs().max()) >= 0 else x

    view = as_view(Untraced())
    with pytest.warns(UserWarning, match="is not known"):
        data = view.calibration(ROWS, "X")
    assert view.find_units(data) is None


def stays(model: Any, X: Any) -> Mapping[str, str]:
    """Return why layers of a module stay, of which no units can go."""
    shrunk = Shrunk(model, X)
    assert shrunk.units.n_units == 0
    return shrunk.units.left_out


def entropy(shares: Any) -> Any:
    """Return what no other numbers can be given to."""
    return F.binary_cross_entropy(shares, torch.full_like(shares, 0.5), reduction="none")


class Code(nn.Module):
    """Two layers, and any code between them."""

    def __init__(self, between: Callable[[Any], Any], width: int = 8) -> None:
        super().__init__()
        self.first, self.last, self.between = nn.Linear(5, 8), nn.Linear(width, 3), between

    def forward(self, x: Any) -> Any:
        return self.last(self.between(self.first(x)))


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (lambda x: x.softmax(-1), "softmax takes them together"),
        (lambda x: F.layer_norm(x, (8,)), "layer_norm takes them together"),
        (lambda x: x / x.norm(dim=-1, keepdim=True), "norm takes them together"),
        (lambda x: x.view(-1, 8), NEEDED),
        (lambda x: x.cumsum(-1), "cumsum takes them together"),
        (lambda x: entropy(x.sigmoid()), "binary_cross_entropy takes them together"),
        (lambda x: torch.cat([x[:, 4:], x[:, :4]], 1), NEEDED),
    ],
    ids=["softmax", "normalised", "norm", "fixed size", "sum", "shares", "halves"],
)
def test_code_that_needs_all_units(between: Any, reason: str) -> None:
    assert stays(Code(between), ROWS)["first"] == reason


def test_layers_that_are_called_twice_or_share_their_weights() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)

        def forward(self, x: Any) -> Any:
            return self.c(F.relu(self.b(F.relu(self.b(self.a(x))))))

    reason = "b, which reads them, is not pruned: it runs more than once"
    assert stays(Twice(), ROWS)["a"].startswith(reason)


def test_modules_that_compute_with_their_own_weights() -> None:
    model = nn.Sequential(
        nn.Linear(5, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 2)
    )
    shrunk = shrink(model, SEQUENCES)
    assert shrunk.sizes == {"1.linear1": 16}
    assert shrunk.units.left_out["1.self_attn.q_proj"] == (
        "the module around it computes with its own weights"
    )


def test_data_of_other_lengths_and_wrappers() -> None:
    model = nn.DataParallel(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)))
    shrunk = shrink(model, ROWS)
    assert isinstance(shrunk.model, nn.DataParallel)
    assert shrunk.model.module[0].out_features == 4


# --- architectures of libraries -------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch.onnx.export itself
def test_resnet18() -> None:
    models = import_torchvision().models
    model = models.ResNet(models.resnet.BasicBlock, [2, 2, 2, 2], width_per_group=64)
    shrunk = shrink(_narrow(model), IMAGES)
    assert len(shrunk.sizes) == 12
    assert shrunk.units.left_out == {"fc": OUTPUT}
    _check_that_it_is_a_module_like_any_other(shrunk)


def _narrow(model: Any) -> Any:
    """Return a residual network with an eighth of its channels, cut by what is tested here."""
    view = as_view(model.eval())
    units = view.find_units(view.calibration(IMAGES, "X"))
    return view.keep_units(model, units, np.arange(units.n_units) % 8 == 0)


def test_mobilenet_v3() -> None:
    model = import_torchvision().models.mobilenet_v3_small(width_mult=0.25)
    shrunk = shrink(model, IMAGES)
    assert shrunk.units.left_out == {"classifier.3": OUTPUT}
    assert _entries(shrunk.model) < 0.5 * _entries(shrunk.whole)


def test_vit() -> None:
    model = import_timm().models.VisionTransformer(
        img_size=16, patch_size=4, embed_dim=24, depth=2, num_heads=4, num_classes=3
    )
    shrunk = shrink(model, IMAGES)
    wanted = {
        f"blocks.{k}.{name}": size
        for k in (0, 1)
        for name, size in (("attn.qkv", 4), ("mlp.fc1", 96))
    }
    assert shrunk.sizes == wanted
    assert shrunk.model.blocks[1].attn.num_heads == 2
    assert {"blocks.0.attn.proj", "blocks.0.mlp.fc2"} <= shrunk.units.left_out.keys()


SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 6}
TOKENS = {"vocab_size": 11, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}


def bert(library: Any) -> Any:
    config = library.BertConfig(
        **SIZES, vocab_size=11, intermediate_size=12, max_position_embeddings=16
    )
    return library.BertForMaskedLM(config)


def llama(library: Any) -> Any:
    config = library.LlamaConfig(**SIZES, **TOKENS, intermediate_size=12, num_key_value_heads=3)
    return library.LlamaForCausalLM(config)


def gpt2(library: Any) -> Any:
    config = library.GPT2Config(n_embd=24, n_layer=2, n_head=6, n_positions=16, **TOKENS)
    return library.GPT2LMHeadModel(config)


@pytest.mark.parametrize(
    ("build", "heads", "hidden"), [(bert, 6, 12), (llama, 3, 12), (gpt2, 6, 96)]
)
def test_transformers(build: Any, heads: int, hidden: int) -> None:
    model = build(import_transformers())
    words = np.random.default_rng(0).integers(3, 11, (3, 7))
    shrunk = shrink(model, {"input_ids": torch.tensor(words)})
    assert [*shrunk.sizes.values()] == [heads, hidden] * 2
    assert all(
        "takes them together" in shrunk.units.left_out[name]
        for name in shrunk.units.left_out
        if name.endswith(("down_proj", "o_proj"))
    )


@pytest.mark.parametrize(("build", "with_heads"), [(llama, True), (bert, False), (gpt2, False)])
def test_transformers_are_saved_where_their_blocks_are_alike(
    build: Any, with_heads: bool, tmp_path: Any
) -> None:
    model = build(import_transformers()).eval()
    words = {"input_ids": torch.tensor([[3, 4, 5, 6, 7]])}
    view = as_view(model)
    units = view.find_units(view.calibration(words, "X"))
    kept = np.ones(units.n_units, dtype=bool)
    for signal in units.signals:
        if with_heads or len(signal.units) > 6:
            kept[signal.units[1:3]] = False
    shrunk = view.keep_units(model, units, kept)
    assert model.config.to_dict() != shrunk.config.to_dict()
    shrunk.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(loaded(**words).logits, shrunk(**words).logits)


def test_a_configuration_stays_where_blocks_differ() -> None:
    model = llama(import_transformers())
    shrunk = Shrunk(model, {"input_ids": torch.tensor([[3, 4, 5, 6, 7]])})
    kept = np.arange(shrunk.units.n_units) != shrunk.units.signals[1].units[0]
    smaller = as_view(model).keep_units(model, shrunk.units, kept)
    assert smaller.config.to_dict() == model.config.to_dict()


def _check_that_it_is_a_module_like_any_other(shrunk: Shrunk) -> None:
    model, images = shrunk.model, torch.tensor(IMAGES, dtype=torch.float32)
    model.load_state_dict(copy.deepcopy(model.state_dict()))
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    with torch.no_grad():
        np.testing.assert_array_equal(loaded(images), model(images))
    if find_spec("onnxscript") and find_spec("onnxruntime"):
        import onnxruntime

        program = torch.onnx.export(model, (images,), dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
        (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        np.testing.assert_allclose(found, shrunk.computed[0], rtol=0, atol=1e-5)


# --- random graphs --------------------------------------------------------------------------------


def _step(kind: str, channels: int) -> Any:
    """Return a step that leaves channels as they are."""
    if kind == "norm":
        return nn.BatchNorm2d(channels)
    if kind == "depthwise":
        return nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
    if kind == "gate":
        return SqueezeExcite(channels)
    return nn.ReLU() if kind == "relu" else nn.AvgPool2d(3, 1, 1)


@st.composite
def modules(draw: Any) -> Any:
    """A random chain of steps on three channels of 8 x 8 positions, and linear layers."""
    channels = draw(st.integers(2, 6))
    steps = [nn.Conv2d(3, channels, 3, padding=1)]
    kinds = ["conv", "norm", "relu", "pool", "residual", "shortcut", "concat", "depthwise", "gate"]
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=6)):
        width = draw(st.integers(2, 6))
        if kind == "conv":
            steps.append(nn.Conv2d(channels, width, draw(st.sampled_from([1, 3])), padding=1))
            channels = width
        elif kind == "residual":
            steps.append(
                Residual(
                    nn.Sequential(
                        nn.Conv2d(channels, width, 1), nn.ReLU(), nn.Conv2d(width, channels, 1)
                    )
                )
            )
        elif kind == "shortcut":
            steps.append(Residual(nn.Conv2d(channels, width, 1), nn.Conv2d(channels, width, 1)))
            channels = width
        elif kind == "concat":
            steps.append(Concat(nn.Conv2d(channels, width, 3, padding=1)))
            channels += width
        else:
            steps.append(_step(kind, channels))
    side = draw(st.sampled_from([1, 2]))
    steps += [nn.AdaptiveAvgPool2d(side), nn.Flatten(), nn.Linear(channels * side**2, 5)]
    return nn.Sequential(*steps, nn.ReLU(), nn.Linear(5, 2))


@settings(max_examples=100)
@given(modules())
def test_random_graphs(model: Any) -> None:
    shrunk = shrink(model, IMAGES[:, :, :8, :8])
    assert all(name == [*model._modules][-1] for name in shrunk.units.left_out)
