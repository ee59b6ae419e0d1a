"""Train the third network of `layer/compare_budget.py`: a ReLU MLP 784-400-200-10 on Fashion-MNIST.

    python -m bench.networks.train_fashion --data DIR --output FILE

Needs nettrim[torch]. 12 epochs of AdamW in batches of 100, learning rate 1e-3 with cosine decay,
weight decay 1e-2, always from the same seed and on one thread: a test accuracy of .898. The file
holds W1, b1, W2, ... as float32, as those of DIR/reference do. It is data, and no part of the
package.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.common import data
from nettrim.base.storage import write_npz

KIND = "fashion_mnist"
SIZES = (784, 400, 200, 10)
EPOCHS, BATCH, RATE, DECAY, SEED = 12, 100, 1e-3, 1e-2, 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    write_npz(options.output, train(*data.mnist(options.data, "train", kind=KIND)))
    test = data.mnist(options.data, "t10k", kind=KIND)
    accuracy = data.accuracy(data.stored(options.output), *test)
    print(f"{options.output}: test accuracy {accuracy:.4f}")


def train(images: data.Array, labels: data.Labels) -> dict[str, np.ndarray]:
    import torch  # only those who train need it
    from torch import nn

    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    X, y = torch.tensor(images, dtype=torch.float32), torch.tensor(labels)
    linear = [nn.Linear(n, m) for n, m in pairwise(SIZES)]
    net = nn.Sequential(linear[0], nn.ReLU(), linear[1], nn.ReLU(), linear[2])
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * -(-len(X) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(1, EPOCHS + 1):
        total = 0.0
        for batch in torch.randperm(len(X)).split(BATCH):
            loss = nn.functional.cross_entropy(net(X[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        print(f"epoch {epoch} of {EPOCHS}: cross entropy {total / len(X):.4f}", flush=True)
    arrays = {f"W{k}": layer.weight.detach().numpy().T for k, layer in enumerate(linear, start=1)}
    return arrays | {
        f"b{k}": layer.bias.detach().numpy() for k, layer in enumerate(linear, start=1)
    }


if __name__ == "__main__":
    main()
