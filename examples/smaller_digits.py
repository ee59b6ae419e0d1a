"""A digit classifier made four times smaller, without labels and without retraining.

    pip install "nettrim[torch,sklearn,cli]"
    python smaller_digits.py [widths.png]

A network with two hidden layers of 256 units is trained as usual. Then three quarters of its
parameters go, whole units at a time, and the layers that are left are fitted to what they gave. The
module that comes back is an ordinary one with smaller layers; it is timed beside the original. The
picture shows the widths.
"""

from __future__ import annotations

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

import nettrim

X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X / 16, dtype=torch.float32), torch.tensor(y)
order = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
train, test = order[:1257], order[1257:]

torch.manual_seed(0)
net = nn.Sequential(
    nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
)
optimiser = torch.optim.Adam(net.parameters(), weight_decay=1e-4)
for _ in range(30):
    for batch in train[torch.randperm(len(train))].split(64):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(X[batch]), y[batch]).backward()
        optimiser.step()


def accuracy(model: nn.Module) -> float:
    """Return the share of test images that are told right."""
    with torch.no_grad():
        return float((model(X[test]).argmax(dim=1) == y[test]).double().mean())


result = nettrim.trim(net, X[train], size=0.25, held_out=X[test], measure=accuracy, progress=False)
print(result)
print(result.model)  # an ordinary module
print(result.latency(X[test], batch=64))
result.plot(sys.argv[1] if len(sys.argv) > 1 else "widths.png")
