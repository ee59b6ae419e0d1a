#!/usr/bin/env bash
# torch-pruning 1.6.1, torch 2.13.0 (CPU): a small language model whose output layer is tied to its embedding, half
# of the channels pruned by MagnitudePruner, the output layer among its ignored_layers.
# Guess: the two stay one matrix (or the layer that must not change keeps out of it), and there are fewer parameters.
# Seen: neither. Channels are cut from the output layer's inputs alone, in a new matrix: the tie is gone without a
# word, and the pruned model has a quarter more parameters than the one before, 1336 for 1072.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch-pruning==1.6.1
"$work/env/bin/python" - <<'PYTHON'
import warnings

import torch
import torch_pruning
from torch import nn

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.hidden = nn.Embedding(50, 16), nn.Linear(16, 16)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(torch.relu(self.hidden(self.embedding(tokens))))

def count(module):
    return sum(p.numel() for p in module.parameters())

torch.manual_seed(0)
model, tokens = Tied(), torch.arange(5)[None]
before = count(model)
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        tokens,
        importance=torch_pruning.importance.MagnitudeImportance(),
        pruning_ratio=0.5,
        ignored_layers=[model.head],
    )
    pruner.step()
after, tied = count(model), model.head.weight is model.embedding.weight
told = [str(w.message) for w in warned if "tied" in str(w.message).lower() or "shared" in str(w.message).lower()]
print(model, model(tokens).shape)
print(f"parameters: {before}, after pruning {after}; still tied: {tied}; warnings of it: {told}")
assert not tied and after > before and not told, "this has changed"
PYTHON
