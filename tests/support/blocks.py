"""A deep module of blocks like Llama's, and the memory that trimming it takes.

``python -m support.blocks FOLDER`` trims some of them whose weights are in its folders, called by
their numbers of blocks, and prints by how many bytes each made the memory of the process's own
grow, those of mapped files not counted.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import nettrim
import nettrim.torch

WIDTH, HEADS, TOKENS = 256, 4, 6
LAYERS = "re:.*out"


class Block(nn.Module):
    """Attention and a gated unit, each behind a normalisation and beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.between = nn.RMSNorm(width), nn.RMSNorm(width)
        self.query, self.key = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(width, 2 * width, bias=False) for _ in range(2))
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attend(self.before(x))
        hidden = self.between(x)
        return x + self.down(F.silu(self.gate(hidden)) * self.up(hidden))

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        heads = [
            layer(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        ]
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(-2))


class Decoder(nn.Module):
    """Blocks between an embedding and a head."""

    def __init__(self, n_blocks: int, width: int = WIDTH) -> None:
        super().__init__()
        # Not nn.Embedding(50, width), which loads half of PyTorch to draw numbers on a meta device.
        self.embedding = nn.Embedding.from_pretrained(torch.randn(50, width), freeze=False)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(n_blocks)))
        self.head = nn.Linear(width, 50, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.embedding(tokens)))


def trim_on_disk(folder: Path, n_blocks: int) -> int:
    """Trim a decoder whose weights are in a folder; return the bytes it took at most."""
    with nettrim.torch.skeleton():
        module = Decoder(n_blocks)
    tokens = np.random.default_rng(0).integers(0, 50, (20, TOKENS))
    before, most, done = own_memory(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, own_memory())
            time.sleep(0.004)

    watcher = threading.Thread(target=watch)
    watcher.start()
    view = nettrim.torch.open_shards(module, folder, folder / "half")
    options = {"layers": LAYERS, "sparsity": 0.5, "share": "layer", "n_threads": 1}
    nettrim.trim(view, tokens, **options, progress=False)
    done.set()
    watcher.join()
    return most - before


def own_memory() -> int:
    """The bytes of this process that no file backs."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("RssAnon:")[2].split(maxsplit=1)[0])


if __name__ == "__main__":
    for folder in sorted(Path(sys.argv[1]).iterdir()):
        print(trim_on_disk(folder, int(folder.name)))
