"""A digit classifier that sheds its units while it trains, and then its weights.

    pip install "nettrim[torch,sklearn,cli]"
    python parsimonious_digits.py [training.png]

Training begins with two layers of 128 units. Whatever a unit must be worth is said in nats of
training loss; those that are not leave on the way, and the rest of the training is cheaper for it.
Of the network that is left, trim removes the weights that its outputs miss least. The picture shows
the training.
"""

from __future__ import annotations

import copy
import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import nettrim
from nettrim.parsimonious import ParsimoniousTrainer

X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X / 16, dtype=torch.float32), torch.tensor(y)
order = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
train, test = TensorDataset(X[order[:1257]], y[order[:1257]]), (X[order[1257:]], y[order[1257:]])

torch.manual_seed(0)
net = nn.Sequential(
    nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
)
dense = copy.deepcopy(net)
trainer = ParsimoniousTrainer(net, unit_cost=0.01, weight_decay=1e-3)
result = trainer.fit(DataLoader(train, 64, shuffle=True), epochs=50, validation=[test])
print(result)  # the units of every layer, what was saved, and whether each unit is worth its cost
result.plot(sys.argv[1] if len(sys.argv) > 1 else "training.png")


def accuracy(model: nn.Module) -> str:
    """Return the share of test images that are told right."""
    with torch.no_grad():
        return f"{(model(test[0]).argmax(dim=1) == test[1]).double().mean():.1%}"


def weights(model: nn.Module) -> str:
    """Return how many weights are not zero."""
    return f"{sum(int((p != 0).sum()) for p in model.parameters() if p.dim() > 1):,} weights"


trimmed = nettrim.trim(result.model, train.tensors[0], sparsity=0.4, progress=False)
print(f"at the start:     {weights(dense)}")
print(f"units shed:       {weights(result.model)}, accuracy {accuracy(result.model)}")
print(f"and then trimmed: {weights(trimmed.model)}, accuracy {accuracy(trimmed.model)}")
