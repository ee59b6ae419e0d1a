"""Models of the transformers library: tiny ones of random weights."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim.models.model_view import as_view
from support.libraries import import_transformers
from support.networks import trim

torch = pytest.importorskip("torch")
transformers = import_transformers()

pytestmark = [
    pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning"),
    pytest.mark.filterwarnings("ignore:layer 'lm_head' is not pruned"),
    pytest.mark.filterwarnings(r"ignore:layer '(cls\.)?predictions.decoder' is not pruned"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:X has padding"),
]

SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
TOKENS = {"vocab_size": 11, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
PARTS = {
    "gpt2": [f"transformer.h.0.{name}" for name in ("attn.c_attn", "attn.c_proj")]
    + [f"transformer.h.0.mlp.{name}" for name in ("c_fc", "c_proj")],
    "mixtral": [
        f"model.layers.0.mlp.experts.{name}_proj.{expert}"
        for name in ("gate_up", "down")
        for expert in range(3)
    ],
    "albert": [
        f"albert.encoder.albert_layer_groups.0.albert_layers.0.{name}"
        for name in ("attention.query", "attention.dense", "ffn", "ffn_output")
    ],
    "llama": [f"model.layers.0.self_attn.{name}_proj" for name in "qkvo"]
    + [f"model.layers.0.mlp.{name}_proj" for name in ("gate", "up", "down")],
}


def gpt2(**options: Any) -> Any:
    config = transformers.GPT2Config(n_embd=8, n_layer=1, n_head=2, n_positions=16, **TOKENS)
    return transformers.GPT2LMHeadModel(config).eval()


def llama(**options: Any) -> Any:
    config = transformers.LlamaConfig(**SIZES, **TOKENS, intermediate_size=12, **options)
    return transformers.LlamaForCausalLM(config).eval()


def opt() -> Any:
    config = transformers.OPTConfig(
        **SIZES, **TOKENS, ffn_dim=12, word_embed_proj_dim=8, max_position_embeddings=16
    )
    return transformers.OPTForCausalLM(config).eval()


def bert() -> Any:
    config = transformers.BertConfig(
        **SIZES, vocab_size=11, intermediate_size=12, max_position_embeddings=16
    )
    return transformers.BertForMaskedLM(config).eval()


def albert() -> Any:
    """All of its blocks are one."""
    sizes = {**SIZES, "num_hidden_layers": 3, "embedding_size": 4, "intermediate_size": 12}
    config = transformers.AlbertConfig(**sizes, vocab_size=11, max_position_embeddings=16)
    return transformers.AlbertForMaskedLM(config).eval()


def vit() -> Any:
    config = transformers.ViTConfig(**SIZES, intermediate_size=12, image_size=8, patch_size=4)
    return transformers.ViTForImageClassification(config).eval()


def mixtral() -> Any:
    config = transformers.MixtralConfig(
        **SIZES, **TOKENS, num_key_value_heads=2, intermediate_size=12, num_local_experts=3
    )
    return with_eager_experts(transformers.MixtralForCausalLM(config))


def qwen3_moe() -> Any:
    sizes = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 6, "head_dim": 4}
    config = transformers.Qwen3MoeConfig(**SIZES, **TOKENS, **sizes, num_key_value_heads=2)
    return with_eager_experts(transformers.Qwen3MoeForCausalLM(config))


def gpt_oss() -> Any:
    """One whose experts have biases, and weights the other way round."""
    sizes = {"num_key_value_heads": 1, "head_dim": 4, "intermediate_size": 12}
    experts = {"num_local_experts": 3, "num_experts_per_tok": 2}
    config = transformers.GptOssConfig(**SIZES, **TOKENS, **sizes, **experts)
    return with_eager_experts(transformers.GptOssForCausalLM(config))


def with_eager_experts(model: Any) -> Any:
    """Of weights of everyday sizes, and able to compute in float64."""
    model.set_experts_implementation("eager")
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)
    return model.eval()


def settled(model: Any, X: Any) -> Any:
    view: Any = as_view(model)
    view.calibration(X, "X")
    return view


def samples(kind: str, rng: np.random.Generator) -> Any:
    return rng.standard_normal((12, 3, 8, 8)) if kind == "vit" else rng.integers(3, 11, (24, 6))


def logits(model: Any, X: Any) -> Any:
    with torch.no_grad():
        double = copy.deepcopy(model).double()
        X = torch.as_tensor(X)
        return double(X.double() if X.is_floating_point() else X).logits


@pytest.mark.parametrize(
    "kind", ["gpt2", "llama", "opt", "bert", "albert", "vit", "mixtral", "qwen3_moe", "gpt_oss"]
)
def test_models(rng: np.random.Generator, kind: str) -> None:
    model, X = globals()[kind](), samples(kind, rng)
    for options in ({"epsilon": 0.1}, {"sparsity": 0.5}):
        result = trim(model, X, outputs=["logits"], **options)
        before, after = logits(model, X), logits(result.model, X)
        moved = float((after - before).norm() / before.norm())
        assert result.discrepancy == pytest.approx(moved, rel=1e-4)
        assert [type(m) for m in result.model.modules()] == [type(m) for m in model.modules()]
        fresh = copy.deepcopy(model)
        fresh.load_state_dict(result.model.state_dict())
        assert torch.equal(logits(fresh, X), after)
    handled = {layer.name for layer in result.layers}
    assert handled.issuperset(PARTS.get(kind, []))
    weights = {n: p for n, p in result.model.named_parameters() if p.dim() > 1}
    untouched = {w.name.removesuffix(".weight") for w in result.untouched}
    pruned = [p for n, p in weights.items() if n.removesuffix(".weight") not in untouched]
    zeros = sum(int((p == 0).sum()) for p in pruned)
    assert zeros >= 0.49 * sum(p.numel() for p in pruned)
    reasons = {w.reason for w in result.untouched}
    known = {"embedding", "biases of experts", "it shares its parameters with another module"}
    code = (
        "used by the code of ViTEmbeddings",
        "used by the code of Mixtral",
        "used by the code of Q",
        "used by the code of GptOss",
    )
    assert all(r in known or r.startswith(("output head", *code)) for r in reasons)


def test_the_linear_layers_of_gpt2_are_written_as_they_are_stored(
    rng: np.random.Generator,
) -> None:
    model, X = gpt2(), samples("gpt2", rng)
    name = "transformer.h.0.mlp.c_fc"
    result = trim(model, X, pattern="2:4", layers=[name])
    weight = result.model.get_submodule(name).weight  # of shape (inputs, outputs)
    assert weight.shape == (8, 32)
    assert ((weight.T.reshape(-1, 4) != 0).sum(1) <= 2).all()


def test_experts_are_pruned_on_the_tokens_that_are_routed_to_them(
    rng: np.random.Generator,
) -> None:
    """Of a model whose own code of experts does not compute in float64; the layers do."""
    model, X = mixtral(), samples("mixtral", rng)
    model.set_experts_implementation("grouped_mm")
    view = settled(model, X)
    positions = {layer.name: k for k, layer in enumerate(view.prunable_layers())}
    signals = [*view.signals(X, {})]
    routed = [signals[positions[name]] for name in PARTS["mixtral"] if "gate_up" in name]
    for signal in routed:
        assert signal.rows is not None
        assert signal.rows.total == X.size
        assert len(signal.rows.numbers) == len(signal.values)
        assert signal.values.any(axis=1).all()
    tokens = np.concatenate([signal.rows.numbers for signal in routed])
    assert (np.bincount(tokens) == 2).all()  # each is routed to two experts
    result = trim(model, X, pattern="2:4", layers=PARTS["mixtral"])
    experts = result.model.model.layers[0].mlp.experts
    for weight in (experts.gate_up_proj, experts.down_proj):
        assert ((weight.reshape(-1, 4) != 0).sum(1) <= 2).all()


def with_rare_expert(model: Any, *, tokens: int) -> Any:
    """Let nothing but some tokens, the last ones, be routed to the second expert."""
    with torch.no_grad():
        embedding = model.get_input_embeddings().weight
        embedding[:, 0] = 10.0
        if tokens:
            embedding[-tokens:, 0] = -10.0
        (router,) = (m for n, m in model.named_modules() if n.endswith(("mlp.gate", "mlp.router")))
        router.weight[1] = 0.0
        router.weight[1, 0] = -100.0
    return model


@pytest.mark.parametrize("kind", [mixtral, gpt_oss])
@pytest.mark.parametrize("goal", [{"epsilon": 0.2}, {"sparsity": 0.5}])
def test_an_expert_in_a_stack_without_tokens_is_named_and_stays(
    rng: np.random.Generator, kind: Any, goal: dict[str, float]
) -> None:
    model, X = with_rare_expert(kind(), tokens=0), samples("mixtral", rng)
    names = [f"model.layers.0.mlp.experts.{name}_proj.1" for name in ("down", "gate_up")]
    said = f"the layers {names[0]!r}, {names[1]!r} are not pruned: no sample of the data"
    with pytest.warns(UserWarning, match=said):
        result = nettrim.trim(model, X, progress=False, **goal)
    told = {weight.name: weight.reason for weight in result.untouched}
    assert all(told[f"{name}.weight"] == "no sample of the data reaches it" for name in names)
    before, after = (m.model.layers[0].mlp.experts for m in (model, result.model))
    for name in ("gate_up_proj", "down_proj"):
        one, other = getattr(before, name), getattr(after, name)
        assert torch.equal(one[1], other[1])
        assert not torch.equal(one[0], other[0])


def test_padding_counts_in_no_expert_in_a_stack(rng: np.random.Generator) -> None:
    model, ids, mask = mixtral(), samples("mixtral", rng), np.ones((24, 6), dtype=np.int64)
    mask[::2, 4:] = 0
    one, two = (
        trim(
            model,
            {"input_ids": np.where(mask == 1, ids, token), "attention_mask": mask},
            sparsity=0.5,
            layers=PARTS["mixtral"],
        )
        for token in (3, 7)
    )
    n_rows = [layer.n_rows for layer in one.layers if "gate_up" in layer.name]
    assert sum(n_rows) == 2 * mask.sum()
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, two.model.state_dict()[name]), name


@pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")
def test_an_expert_of_few_tokens_keeps_its_share_of_weights(rng: np.random.Generator) -> None:
    model, X = with_rare_expert(mixtral(), tokens=1), rng.integers(3, 10, (24, 6))
    X[0, :2] = 10
    name = "model.layers.0.mlp.experts.gate_up_proj.1"
    with pytest.warns(UserWarning, match=f"{name}'.* are not pruned: fewer rows reach it than"):
        result = nettrim.trim(model, X, epsilon=0.2, progress=False)
    told = {weight.name: weight.reason for weight in result.untouched}
    assert told[name] == (
        "fewer rows reach it than it has inputs (2 for 8): name it in layers to prune it"
    )
    experts = result.model.model.layers[0].mlp.experts
    assert torch.equal(experts.gate_up_proj[1], model.model.layers[0].mlp.experts.gate_up_proj[1])
    named = trim(model, X, epsilon=0.2, layers=[name])
    assert [layer.n_rows for layer in named.layers if layer.pruned] == [2]
    experts = trim(model, X, sparsity=0.5).model.model.layers[0].mlp.experts
    assert int((experts.gate_up_proj[1] != 0).sum()) == experts.gate_up_proj[1].numel() // 2


def test_a_model_of_texts_and_texts(rng: np.random.Generator) -> None:
    config = transformers.T5Config(
        d_model=8, d_kv=4, d_ff=12, num_layers=1, num_heads=2, decoder_start_token_id=0, **TOKENS
    )
    model = transformers.T5ForConditionalGeneration(config).eval()
    ids = samples("t5", rng)
    X = {"input_ids": ids, "decoder_input_ids": ids[:, :4]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        result = trim(model, X, sparsity=0.5, outputs=["logits"])
    attentions = ["encoder.block.0.layer.0.SelfAttention", "decoder.block.0.layer.0.SelfAttention"]
    attentions.append("decoder.block.0.layer.1.EncDecAttention")
    handled = {layer.name for layer in result.layers}
    assert handled.issuperset(f"{name}.{part}" for name in attentions for part in "qkvo")
    assert result.sparsity == pytest.approx(0.5, abs=0.01)


def test_an_output_head_is_pruned_if_it_is_named(rng: np.random.Generator) -> None:
    model, X = llama(tie_word_embeddings=False), samples("llama", rng)
    result = trim(model, X, sparsity=0.5)
    assert [layer.name for layer in result.layers] == PARTS["llama"]
    assert result.sparsity == pytest.approx(0.5, abs=0.01)
    assert torch.equal(result.model.lm_head.weight, model.lm_head.weight)
    told = {w.name: w for w in result.untouched}
    assert told["lm_head"][1:] == (
        (11, 8),
        88,
        "output head of the language model: name it in layers to prune it",
    )
    assert [w["name"] for w in result.recipe["untouched"]] == list(told)
    assert "lm_head" in str(result)
    named = trim(model, X, sparsity=0.5, layers=["lm_head"])
    assert int((named.model.lm_head.weight == 0).sum()) == 44
    assert "lm_head" not in {w.name for w in named.untouched}
    assert [layer.name for layer in named.layers] == [*PARTS["llama"], "lm_head"]


def test_a_model_that_is_nothing_but_a_head(rng: np.random.Generator) -> None:
    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = torch.nn.Embedding(11, 4), torch.nn.Linear(4, 11)

        def get_output_embeddings(self) -> Any:
            return self.head

        def forward(self, ids: Any) -> Any:
            return self.head(self.embedding(ids))

    X = samples("llama", rng)
    with pytest.raises(ValueError, match=r"no prunable layer but those left out \(head: output"):
        trim(Head(), X, epsilon=0.1)
    assert trim(Head(), X, epsilon=0.1, layers=["head"]).layers[0].pruned


def test_heads_of_classifiers_are_pruned(rng: np.random.Generator) -> None:
    view = settled(vit(), samples("vit", rng))
    assert view.prunable_layers()[-1].name == "classifier"
    assert view.prunable_layers()[-1].left_out is None


@pytest.mark.filterwarnings("ignore:model. what follows the layers")
@pytest.mark.filterwarnings("ignore:layer 'lm_head' is not pruned")
def test_experts_in_lists_of_modules(rng: np.random.Generator) -> None:
    """Those of Switch Transformers, on both sides of a padded text."""
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 12, "num_heads": 2, "num_experts": 3}
    layers = {"num_layers": 1, "num_decoder_layers": 1, "expert_capacity": 64}
    sparse = {"num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}
    config = transformers.SwitchTransformersConfig(
        vocab_size=11, **sizes, **layers, **sparse, use_cache=False
    )
    model = transformers.SwitchTransformersForConditionalGeneration(config).eval()
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)
    mask = np.ones((24, 6), dtype=np.int64)
    mask[::2, 4:] = 0
    ids, decoder = rng.integers(3, 11, (24, 6)), rng.integers(3, 11, (24, 5))
    one, two = (
        trim(
            model,
            {
                "input_ids": np.where(mask == 1, ids, token),
                "attention_mask": mask,
                "decoder_input_ids": decoder,
            },
            sparsity=0.5,
            share="layer",
            layers="re:.*experts",
        )
        for token in (0, 7)
    )
    pruned = [layer for layer in one.layers if layer.pruned]
    assert len(pruned) == 2 * 3 * 2
    assert all(layer.nonzeros_after == layer.nonzeros_before / 2 for layer in pruned)
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, two.model.state_dict()[name]), name
