"""The architectures of today as their libraries build them: tiny ones of random weights."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import nettrim
from nettrim.models.layer_view import LayerView
from nettrim.models.model_view import as_view
from support.libraries import import_timm, import_torchvision, import_transformers

torch = pytest.importorskip("torch")
nn = torch.nn

pytestmark = [
    pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning"),
    pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning"),
    pytest.mark.filterwarnings("ignore:layer 'lm_head' is not pruned"),  # tied to the embeddings
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SPARSITY, CLOSELY = 0.5, 0.95
# Parameters of many dimensions that no one prunes: embeddings, positions, and heads tied to them.
APART = ("embed", "token", "position", "wte", "wpe", "shared", "lm_head", "relative_attention_bias")
SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
TOKENS = {"vocab_size": 11, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
N_SAMPLES, N_CLASSES = 12, 3


class Architecture(NamedTuple):
    """A model, what it is given, and what is known of its layers.

    Attributes
    ----------
    build : callable
    samples : callable
        Takes a random generator.
    behind : mapping
        How many layers are ReLU layers ("relu"), linear ones in front of a smooth activation (its
        name), are multiplied by another one ("factor"), or none of that ("linear").
    """

    build: Callable[[], Any]
    samples: Callable[[np.random.Generator], Any]
    behind: dict[str, int]


def texts(rng: np.random.Generator) -> Any:
    tokens = torch.tensor(rng.integers(3, 11, (N_SAMPLES, 5)))
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


def texts_and_texts(rng: np.random.Generator) -> Any:
    tokens = rng.integers(3, 11, (2, N_SAMPLES, 5))
    return dict(zip(("input_ids", "decoder_input_ids"), torch.tensor(tokens), strict=True))


def images(size: int, n_samples: int = N_SAMPLES) -> Callable[[np.random.Generator], Any]:
    return lambda rng: torch.tensor(rng.standard_normal((n_samples, 3, size, size))).float()


def sequences(rng: np.random.Generator) -> Any:
    return torch.tensor(rng.standard_normal((N_SAMPLES, 5, 8))).float()


def bert(activation: str) -> Any:
    config = import_transformers().BertConfig(
        **SIZES, vocab_size=11, intermediate_size=12, max_position_embeddings=16,
        hidden_act=activation,
    )  # fmt: skip
    return import_transformers().BertModel(config)


def opt() -> Any:
    config = import_transformers().OPTConfig(
        **SIZES, **TOKENS, ffn_dim=12, word_embed_proj_dim=8, max_position_embeddings=16
    )
    return import_transformers().OPTForCausalLM(config)


def llama() -> Any:
    config = import_transformers().LlamaConfig(
        **SIZES, **TOKENS, num_key_value_heads=1, intermediate_size=12
    )
    return import_transformers().LlamaForCausalLM(config)


def mixtral() -> Any:
    config = import_transformers().MixtralConfig(
        **SIZES, **TOKENS, num_key_value_heads=1, intermediate_size=12, num_local_experts=3
    )
    return import_transformers().MixtralForCausalLM(config)


def gpt2() -> Any:
    config = import_transformers().GPT2Config(
        n_embd=8, n_layer=1, n_head=2, n_positions=16, **TOKENS
    )
    return import_transformers().GPT2LMHeadModel(config)


def t5() -> Any:
    config = import_transformers().T5Config(
        vocab_size=11, d_model=8, d_kv=4, d_ff=12, num_layers=1, num_heads=2,
        decoder_start_token_id=2,
    )  # fmt: skip
    return import_transformers().T5ForConditionalGeneration(config)


def vit_of_transformers() -> Any:
    config = import_transformers().ViTConfig(
        **SIZES, intermediate_size=12, image_size=8, patch_size=4
    )
    return import_transformers().ViTForImageClassification(config)


def vit_of_timm() -> Any:
    return import_timm().models.VisionTransformer(
        img_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2, num_classes=N_CLASSES
    )


def vit_of_torchvision() -> Any:
    return import_torchvision().models.VisionTransformer(
        image_size=8, patch_size=4, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=12,
        num_classes=N_CLASSES,
    )  # fmt: skip


def encoder(activation: str) -> Any:
    layer = nn.TransformerEncoderLayer(8, 2, 12, activation=activation, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


class Attention(nn.Module):
    """Attention as PyTorch has it, and a layer behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(8, N_CLASSES)

    def forward(self, x: Any) -> Any:
        return self.out(self.attention(x, x, x, need_weights=False)[0])


def resnet18() -> Any:
    block = import_timm().models.resnet.BasicBlock
    channels = (4, 4, 8, 8)
    return import_timm().models.ResNet(
        block, (2, 2, 2, 2), N_CLASSES, channels=channels, stem_width=4
    )


def mobilenet_v3_small() -> Any:
    module = import_torchvision().models.mobilenetv3
    setting, last = module._mobilenet_v3_conf("mobilenet_v3_small", width_mult=0.1)
    return module.MobileNetV3(setting, last, num_classes=N_CLASSES)


def efficientnet_b0() -> Any:
    module = import_torchvision().models.efficientnet
    setting, last = module._efficientnet_conf("efficientnet_b0", width_mult=0.1, depth_mult=1.0)
    return module.EfficientNet(setting, 0.2, num_classes=N_CLASSES, last_channel=last)


def convnext_tiny() -> Any:
    module = import_torchvision().models.convnext
    widths = [(4, 8, 1), (8, 8, 1), (8, 12, 2), (12, None, 1)]
    setting = [module.CNBlockConfig(*width) for width in widths]
    return module.ConvNeXt(setting, num_classes=N_CLASSES)


ARCHITECTURES = {
    "bert gelu": Architecture(lambda: bert("gelu"), texts, {"linear": 5, "gelu": 1, "tanh": 1}),
    "bert relu": Architecture(lambda: bert("relu"), texts, {"linear": 5, "relu": 1, "tanh": 1}),
    "opt": Architecture(opt, texts, {"linear": 5, "relu": 1}),
    "llama": Architecture(llama, texts, {"linear": 6, "silu": 1, "factor": 1}),
    "mixtral": Architecture(mixtral, texts, {"linear": 11}),
    "gpt2": Architecture(gpt2, texts, {"linear": 3, "gelu_tanh": 1}),
    "t5": Architecture(t5, texts_and_texts, {"linear": 14, "relu": 2}),
    "vit of transformers": Architecture(vit_of_transformers, images(8), {"linear": 7, "gelu": 1}),
    "vit of timm": Architecture(vit_of_timm, images(8), {"linear": 5, "gelu": 1}),
    "vit of torchvision": Architecture(vit_of_torchvision, images(8), {"linear": 7, "gelu": 1}),
    "encoder relu": Architecture(lambda: encoder("relu"), sequences, {"linear": 10, "relu": 2}),
    "encoder gelu": Architecture(lambda: encoder("gelu"), sequences, {"linear": 10, "gelu": 2}),
    "attention": Architecture(Attention, sequences, {"linear": 5}),
    "resnet18": Architecture(resnet18, images(32), {"linear": 13, "relu": 9}),
    "mobilenet v3 small": Architecture(
        mobilenet_v3_small, images(32), {"linear": 21, "hardswish": 19, "relu": 12}
    ),
    "efficientnet b0": Architecture(
        efficientnet_b0, images(32), {"silu": 49, "linear": 17, "sigmoid": 16}
    ),
    "convnext": Architecture(convnext_tiny, images(32), {"linear": 15, "gelu": 5}),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_matrix_is_pruned_and_it_is_known_what_follows(
    rng: np.random.Generator, name: str
) -> None:
    build, samples, behind = ARCHITECTURES[name]
    torch.manual_seed(0)
    model, fresh = build().eval(), build()
    X = samples(rng)
    view = as_view(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        view.calibration(X, "X")
    assert not [w for w in caught if "not known" in str(w.message)]
    assert Counter(map(what_follows, view.prunable_layers())) == behind
    result = nettrim.trim(view, X, sparsity=SPARSITY, n_threads=1, progress=False)
    assert zeros_of_matrices(result.model) >= CLOSELY * SPARSITY
    assert np.isfinite(result.discrepancy)
    fresh.load_state_dict(result.model.state_dict())


def what_follows(layer: LayerView) -> str:
    if layer.activation == "relu":
        return "relu"
    return layer.follower or ("factor" if layer.factor else "linear")


def zeros_of_matrices(model: Any) -> float:
    """Return the share of zeros in all parameters with two long axes, embeddings apart."""
    matrices = [
        parameter
        for name, parameter in model.named_parameters()
        if sum(size > 1 for size in parameter.shape) > 1 and not any(part in name for part in APART)
    ]
    zeros = sum(int((matrix == 0).sum()) for matrix in matrices)
    return zeros / sum(matrix.numel() for matrix in matrices)
